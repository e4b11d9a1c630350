# SPDX-License-Identifier: MIT
"""`report.html`: one page that needs nothing but itself, tells what the records say, whatever they
hold, and can be read on a wide screen, on a phone and in the dark."""
import os
import re
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from browser import Strict, measure, show
from disks import KIB, MIB, make_disk, noise, write_at
from tap import diagnose

# Every character that a name may have, 64 of them.
LONG_NAME = "Az09._-" + "aB3-dE6_gH9.jK2-" * 3 + "mN5.pQ8_r"
HOSTILE = "<script>alert('x')</script>\"&amp;<!--]]>"
TAGS = {"html", "head", "meta", "title", "style", "body", "a", "header", "div", "h1", "h2", "h3", "h4",
        "code", "span", "p", "time", "nav", "main", "section", "dl", "dt", "dd", "ul", "li", "svg", "rect",
        "b", "table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "defs", "g",
        "use", "path", "pattern", "circle", "line", "text", "footer", "wbr"}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "href", "datetime", "id",
              "aria-label", "aria-labelledby", "aria-hidden", "role", "scope", "colspan", "open",
              "width", "height", "style", "x", "y", "x1", "x2", "y1", "y2", "dx", "rx", "r", "d", "fill",
              "viewbox", "text-anchor", "patternunits", "patterntransform"}


def read_page(case):
    """The page, after what must be true of each was found true: strict HTML, nothing injected,
    nothing from outside, headings in order, tables with heads."""
    text = (case.mnt / "report.html").read_text()
    page = Strict(text)
    check(text.startswith("<!DOCTYPE html>\n<html lang=\"en\">"), "begins as HTML")
    eq({tag for tag, _ in page.tags} - TAGS, set(), "elements that nobody put there")
    eq({name for _, attributes in page.tags for name in attributes} - ATTRIBUTES, set(),
       "attributes that nobody put there")
    for tag, attributes in page.tags:
        check(attributes.get("href", "#").startswith("#"), f"<{tag}> refers to {attributes}")
        if tag == "svg":
            check(attributes.get("aria-hidden") == "true" or attributes.get("aria-label"),
                  f"a picture without words: {attributes}")
        if tag == "a":
            check(attributes["href"][1:] in page.ids, f"{attributes['href']} leads nowhere")
    policy = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
    eq(policy, ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"], "the policy")
    check("url(" not in re.sub(r"url\(#\w+\)", "", text) and "@import" not in text, "outside sources")
    check_headings(page)
    eq([c for c in text if ord(c) < 32 and c != "\n" or 0x7f <= ord(c) < 0xa0], [], "control characters")
    return page


def check_headings(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    eq(levels.count(1), 1, "one first heading")
    for before, after in zip(levels, levels[1:]):
        check(after <= before + 1, f"headings skip a level: {levels}")
    tables = [tag for tag, _ in page.tags if tag in ("table", "thead")]
    eq(tables.count("table"), tables.count("thead"), "tables with a head")
    for tag, attributes in page.tags:
        check(tag != "th" or attributes.get("scope") in ("row", "col"), "th has a scope")


def titles(page):
    """What the marks of the charts say."""
    found = []
    for path, data in page.texts:
        if path[-1:] == ("title",) and "svg" in path:
            found.append(data)
    return found


def cards(page):
    """{"Snapshots": "2"} of the figures at the top."""
    found, name = {}, None
    for path, data in page.texts:
        if path[-1:] == ("dt",):
            name = data
        elif "dd" in path:
            found.setdefault(name, data)
    return found


def rich(case):
    """VMs with two disks and several chains, deltas, a failure that stands and one that was made
    good, a protected snapshot, a safety copy, damage, one VM without a backup."""
    case.start()
    vda = make_disk(case.dir / "vda.raw", 16 * MIB, [(0, 4 * MIB)])
    vdb = make_disk(case.dir / "vdb.raw", 8 * MIB, [(MIB, MIB)], seed=2)
    case.add(LONG_NAME, vda=vda)
    case.add("web1", vda=vda, vdb=vdb)
    case.add("idle", vda=vdb)
    for number in range(6):
        write_at(vda, number * MIB + 4096, noise(2000, f"change {number}"))
        case.backup("web1", "full tag=weekly" if number == 3 else "")
        case.backup(LONG_NAME)
    (case.snapshots("web1", "vda")[1] / "protected").write_text("1\n")
    case.restore(case.snapshots("web1", "vda")[2], vda)
    vdb.rename(case.dir / "away.raw")
    case.backup("web1", state="failed")
    (case.dir / "away.raw").rename(vdb)
    case.backup("web1")
    vda.rename(case.dir / "away.raw")
    case.backup(LONG_NAME, state="failed")
    (case.dir / "away.raw").rename(vda)
    return vda


def damage(case):
    """Makes the data of one snapshot unreadable, and has a verification find that."""
    pack = max(case.data_packs(), key=lambda path: path.stat().st_size)
    write_at(pack, pack.stat().st_size // 2, b"damage")
    (case.mnt / "control/verify").write_text("\n")
    case.wait_job(case.catalog.newest_job("verify"), state="failed")


def test_what_it_tells(case):
    rich(case)
    page = read_page(case)
    check("failing jobs" in page.text("header"), "the state")
    check(page.text("head", "title").startswith("failing: backups in "), "the title")
    seen = cards(page)
    rows = case.catalog.rows("SELECT * FROM backup_disks WHERE state = 'completed'")
    eq((seen["Snapshots"], seen["VMs"]), (str(len(rows)), "3"), "figures")
    eq(seen["Last backup"][:10], time.strftime("%Y-%m-%d", time.gmtime()), "the last backup")
    told = titles(page)
    for row in rows:
        name = f"{row['number']:04}-{'full' if row['kind'] == 'full' else 'incr'}-"
        check(any(name in title for title in told), f"{name} is in no chart: {told}")
    # Each snapshot is on a time line and in a chart of generations, each failure on a time line.
    eq(len(told), 2 * len(rows) + 2, "marks")
    eq(sum("protected" in title for title in told), 2, "protected ones")
    eq(sum("safety copy" in title for title in told), 2, "safety copies")
    eq(sum("failed: " in title and "No such file" in title for title in told), 2, "failed attempts")
    check("What needs a look" in page.text("section") and "No such file" in page.text("section", "ul"),
          "the failure that stands")
    check("no backup yet" in page.text("table") and LONG_NAME in page.text("table"), "the table of VMs")
    check("weekly" in page.text("table"), "tags of jobs")
    check(case.catalog.value("SELECT sum(delta_count) FROM packs") > 0, "there are deltas")
    damage(case)
    page = read_page(case)
    check("! damage" in page.text("header"), "the state")
    check(sum("DAMAGED" in title for title in titles(page)) >= 2, "damaged marks")
    check("cannot be read wholly" in page.text("section", "ul"), "what is damaged")


def test_empty_repository(case):
    case.start()
    page = read_page(case)
    check("healthy" in page.text("header"), "the state")
    check("No VMs yet" in page.text("main") and "No jobs yet" in page.text("main"), "says so")
    eq(cards(page)["Snapshots"], "0", "snapshots")
    case.add("web1")
    case.add("web2", vda=make_disk(case.dir / "vda.raw", MIB))
    read_page(case)
    case.backup("web2")
    check("0001-full-" in "".join(titles(read_page(case))), "a snapshot without content")


def test_copies_as_a_file(case):
    case.start()
    case.add("web1", vda=make_disk(case.dir / "vda.raw", MIB, [(0, 64 * KIB)]))
    case.backup("web1")
    case.sh(f"cp {case.mnt}/report.html page.html && test -s page.html && ls -l {case.mnt}")
    Strict((case.dir / "page.html").read_text())
    with open(case.mnt / "report.html", "rb") as one:
        first = one.read()
        one.seek(0)
        case.backup("web1")
        eq(one.read(), first, "the same within one open")
    check((case.mnt / "report.html").stat().st_size > 5000, "it has a size")


def test_hostile_words(case):
    """Names of files may hold anything; the page holds them as text."""
    case.repo = case.dir / "<i>\"&repo'"
    case.catalog.path = case.repo / "catalog.db"
    case.start()
    folder = case.dir / "a'b\"<b>&lt; <\u202eabc"
    folder.mkdir()
    broken = os.fsencode(str(folder)) + b"/\xff\xc0\xaf<img src=x onerror=alert(1)>"
    make_disk(os.fsdecode(broken), MIB, [(0, 64 * KIB)])
    for disk in ("vda", "vdb"):
        case.add("w", **{disk: make_disk(case.dir / "plain.raw", MIB, [(0, 64 * KIB)])})
    (case.vm("w") / "vdb/source").write_bytes(broken + b"\n")
    case.backup("w")
    os.rename(broken, case.dir / "away")
    case.backup("w", state="failed")
    case.umount()
    # What no command lets in: control characters, and bytes that are no text in a reason.
    with sqlite3.connect(case.repo / "catalog.db", timeout=60) as db:
        db.execute("UPDATE backup_jobs SET tags = ?", (HOSTILE,))
        db.execute("INSERT INTO backup_jobs (uuid, kind, state, \"trigger\", mode, context_id, "
                   "created_at, finished_at, reason) SELECT '00000000-0000-4000-8000-000000000000', "
                   "kind, state, \"trigger\", mode, context_id, created_at, finished_at, "
                   "CAST(x'62656c6c07fec01b5b33316d7fc285' AS TEXT) FROM backup_jobs "
                   "WHERE state = 'failed'")
    db.close()
    case.mount()
    page = read_page(case)
    text = page.text("body")
    for words in ("<img src=x onerror=alert(1)>", HOSTILE, "<i>\"&repo'",
                  "a'b\"<b>&lt; <\ufffdabc", "\ufffd\ufffd\ufffd<img", "bell\ufffd\ufffd\ufffd\ufffd[31m\ufffd\ufffd"):
        check(words in text, f"{words!r} stands there as it is")
    check(any("onerror" in title for title in titles(page)), "in a chart as well")
    copy = case.dir / "page.html"
    copy.write_bytes((case.mnt / "report.html").read_bytes())
    eq(show(case, copy).console, [], "what the console says")


def test_a_console_that_speaks_is_heard(case):
    """The control of the tests beside this one: what breaks the policy, and what fails, is told."""
    bad = case.dir / "bad.html"
    bad.write_text("<!DOCTYPE html><html><head><meta http-equiv=\"Content-Security-Policy\" "
                   "content=\"default-src 'none'\"></head><body><img src=x><p>x</body></html>")
    check(show(case, bad).console, "a picture that the policy forbids")
    bad.write_text("<!DOCTYPE html><html><body><script>nothing.there()</script></body></html>")
    check(show(case, bad).console, "a script that fails")


# The contrast of every text with what is behind it, by WCAG's formula; what reaches past the right
# edge of the page, but for what a box of its own scrolls; how bright the page is.
PROBE = """
function rgb(text) { return text.match(/[\\d.]+/g).map(Number); }
function light(c) { var p = c.slice(0, 3).map(function (v) { v /= 255;
  return v <= 0.03928 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4); });
  return 0.2126 * p[0] + 0.7152 * p[1] + 0.0722 * p[2]; }
function behind(e) { for (; e; e = e.parentElement) { var c = rgb(getComputedStyle(e).backgroundColor);
  if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; }
var worst = 21, where = '', past = [], texts = 0;
document.querySelectorAll('body *').forEach(function (e) {
  var box = e.getBoundingClientRect(), svg = e instanceof SVGElement;
  if (box.width === 0 || e.closest('script, .skip, defs')) return;
  if (!e.closest('.wide') && !(svg && e.tagName !== 'svg') && box.right > innerWidth + 0.5)
    past.push(e.tagName + '.' + e.className);
  var own = Array.prototype.some.call(e.childNodes, function (n) {
    return n.nodeType === 3 && n.data.trim(); });
  if (!own || e.tagName === 'title') return;
  var style = getComputedStyle(e), a = light(rgb(svg ? style.fill : style.color)),
      b = light(behind(svg ? e.closest('svg').parentElement : e));
  var contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  texts++;
  if (contrast < worst) { worst = contrast; where = e.tagName + ' ' + e.textContent.slice(0, 40); }
});
var root = document.documentElement;
return {inner: innerWidth, scroll: root.scrollWidth, past: past.slice(0, 5), worst: worst, where: where,
  texts: texts, bright: light(behind(document.body)),
  small: Math.min.apply(null, Array.prototype.map.call(document.querySelectorAll('p, td, svg text'),
    function (e) { return parseFloat(getComputedStyle(e).fontSize); }))};
"""


def test_in_a_browser(case):
    """No word on the console, wide and narrow, light and dark."""
    rich(case)
    damage(case)
    text = (case.mnt / "report.html").read_text()
    copy = case.dir / "page.html"
    copy.write_text(text)
    shown = show(case, copy)
    eq(shown.console, [], "what the console says")
    check(LONG_NAME in shown.dom and "<svg" in shown.dom, "it is shown")
    opened = text.replace("<details", "<details open").replace(" open open", " open")
    opened = re.sub(r'(<details open class="vm" id="[^"]*") open', r"\1", opened)
    bright = {}
    for name, flags, width in (("light", (), 1200), ("phone", (), 390),
                               ("dark", ("--blink-settings=preferredColorScheme=0",), 1200),
                               ("dark phone", ("--blink-settings=preferredColorScheme=0",), 390)):
        seen = measure(case, opened, PROBE, *flags, width=width)
        eq(seen["inner"], width, f"{name}: width of the window")
        eq((seen["scroll"], seen["past"]), (width, []), f"{name}: nothing reaches past the edge")
        check(seen["worst"] >= 4.5, f"{name}: contrast {seen['worst']:.2f} of {seen['where']!r}")
        check(seen["texts"] > 100 and seen["small"] >= 12, f"{name}: texts that can be read: {seen}")
        bright[name] = seen["bright"]
    check(bright["light"] > 0.8 and bright["phone"] > 0.8, f"light: {bright}")
    check(bright["dark"] < 0.05 and bright["dark phone"] < 0.05, f"dark: {bright}")


def grow(case, vms, snapshots, jobs):
    """Rows as many backups would leave them, copies of one that was really made."""
    with sqlite3.connect(case.repo / "catalog.db", timeout=60) as db:
        db.row_factory = sqlite3.Row
        job = dict(db.execute("SELECT * FROM backup_jobs WHERE id = 1").fetchone())
        disk = dict(db.execute("SELECT * FROM backup_disks WHERE id = 1").fetchone())
        place = dict(db.execute("SELECT * FROM vm_disks WHERE id = 1").fetchone())
        vm = dict(db.execute("SELECT * FROM vm_backup_contexts WHERE id = 1").fetchone())
        chain = dict(db.execute("SELECT * FROM backup_chains WHERE id = 1").fetchone())

        def insert(table, row, **other):
            row = {**row, **other}
            names = ", ".join(f'"{name}"' for name in row)
            db.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})",
                       list(row.values()))

        def uuid(number):
            return f"00000000-0000-4000-8000-{number:012}"

        serial = 1000
        for number in range(2, vms + 1):
            insert("vm_backup_contexts", vm, id=number, uuid=uuid(number), name=f"vm{number:04}")
            insert("vm_disks", place, id=number, uuid=uuid(number), context_id=number)
            insert("backup_chains", chain, id=number, uuid=uuid(number), disk_id=number)
        for number in range(1, vms + 1):
            for generation in range(2 if number == 1 else 1, snapshots + 1):
                serial += 1
                insert("backup_jobs", job, id=serial, uuid=uuid(serial), context_id=number)
                insert("backup_disks", disk, id=serial, uuid=uuid(serial), job_id=serial,
                       disk_id=number, context_id=number, chain_id=number, number=generation,
                       kind="incremental", taken_at=disk["taken_at"] + generation * 10**9)
        for _ in range(jobs):
            serial += 1
            insert("backup_jobs", job, id=serial, uuid=uuid(serial), state="failed",
                   reason=f"reason {serial}")
    db.close()


def test_figures_beyond_reason(case):
    """Times and sizes that no backup leaves, in a catalog that somebody has damaged, end nothing."""
    case.start()
    case.add("web1", vda=make_disk(case.dir / "vda.raw", MIB, [(0, 64 * KIB)]))
    for _ in range(4):
        case.backup("web1")
    case.umount()
    with sqlite3.connect(case.repo / "catalog.db", timeout=60) as db:
        for number, (taken, size) in enumerate(((-2**63, 0), (2**63 - 1, 2**61), (1, 2**61), (-1, 1)), 1):
            db.execute("UPDATE backup_disks SET taken_at = ?, data_bytes = ?, new_bytes = ? WHERE id = ?",
                       (taken, size, size, number))
    db.close()
    case.mount()
    check("2.0 EiB" in "".join(titles(read_page(case))) or "2048.0 PiB" in "".join(titles(read_page(case))),
          "the sizes are told")


@each({"a chain of 1,000": (1, 1000, 2000), "120 VMs": (120, 30, 300)})
def test_bounded(case, shape):
    """The page shows the newest, says how many there are, and stays small."""
    vms, snapshots, jobs = shape
    case.start()
    case.add("vm0001", vda=make_disk(case.dir / "vda.raw", MIB, [(0, 64 * KIB)]))
    case.backup("vm0001")
    case.umount()
    grow(case, vms, snapshots, jobs)
    case.mount()
    begun = time.monotonic()
    text = (case.mnt / "report.html").read_bytes()
    if case.verbose:
        diagnose(f"{len(text)} bytes, {time.monotonic() - begun:.3f} s")
    page = read_page(case)
    check(len(text) < 1500 * 1000, f"{len(text)} bytes")
    check(cards(page)["Snapshots"] == str(vms * snapshots), "all are counted")
    words = page.text("main")
    shown = 60 if vms == 1 else 1800 // vms
    check(f"Showing the newest {shown} of {snapshots}." in words, "snapshots")
    check(f"Showing the newest 10 of {jobs}." in words, "failures")
    if vms > 100:
        check(f"Showing charts of 100 of {vms}." in words, "VMs")
    eq(sum(f"{snapshots:04}-incr" in title for title in titles(page)), 2 * min(vms, 100),
       "the newest of each VM")


main()
