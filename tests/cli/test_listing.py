# SPDX-License-Identifier: MIT
"""list, jobs, show and stats: what they tell, their filters, and that --json is JSON everywhere."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from backtree_testing import *
from disks import KIB, MIB, make_disk, noise, write_at
from terminal import on_terminal


def history(case):
    """web1 with two disks and web2 with one: six jobs, one of them failed, one a restore."""
    case.init("--keep-all")
    for name in ("a", "b", "c"):
        make_disk(case.dir / f"{name}.raw", MIB, [(0, 200 * KIB)], seed=name)
    case.backtree("add", case.repo, "web1", f"vda={case.dir}/a.raw", f"vdb={case.dir}/b.raw")
    case.backtree("add", case.repo, "web2", f"root={case.dir}/c.raw")
    case.backtree("backup", case.repo, "web1", "--tag=first")
    write_at(case.dir / "a.raw", 0, noise(100, 1))
    case.backtree("backup", case.repo, "web1/vda", "--scheduled", "--tag=nightly")
    case.backtree("backup", case.repo, "web2", "--tag=nightly", "--tag=x")
    (case.dir / "c.raw").rename(case.dir / "away.raw")
    case.backtree("backup", case.repo, "web2", status=1)
    case.backtree("restore", case.repo, "web1/vdb", case.dir / "new.raw")


def jobs(case, *options):
    return [job["job"] for job in case.backtree("jobs", case.repo, "--json", *options).json()]


def test_list(case):
    history(case)
    out = case.backtree("list", case.repo).out
    for word in ("web1", "web2", "vda", "vdb", "root", "0001-full-", "0002-incr-"):
        check(word in out, f"{word} is listed: {out}")
    eq(len(case.listed()), 4, "snapshots")
    case.mount()
    for name in case.listed():
        check((case.vm(name) / "disk.raw").exists(), f"{name} is a path below vms/")


def test_list_for_programs(case):
    """Off a terminal: a line each, as many columns, the path first, sizes in bytes, no drawing."""
    history(case)
    lines = case.backtree("list", case.repo).out.splitlines()
    eq(lines[0].split(), ["NAME", "KIND", "TAKEN", "SIZE", "NEW", "RATIO", "PARENT", "STATE"], "titles")
    rows = {line.split()[0]: line.split(None, 7) for line in lines[1:]}
    check(all(len(row) == 8 for row in rows.values()), f"columns: {rows}")
    eq(list(rows), case.backtree("list", case.repo, "--names").out.split(), "paths")
    for record in case.backtree("list", case.repo, "--json").json():
        row = rows[record["path"]]
        parent = record["parent"].split("-")[0] if record["parent"] else "-"
        eq(row[1:5] + row[6:7], [record["kind"], record["taken_at"], str(record["capacity"]),
                                 str(record["new_bytes"]), parent], record["path"])
        check(row[7].startswith("completed"), f"state: {row}")
        eq(abs(float(row[5].rstrip("x")) - record["data_bytes"] / record["new_bytes"]) < 0.6, True, f"{row}")
    chain = [r for r in case.backtree("list", case.repo, "--json").json() if r["disk"] == "vda"]
    eq(int(rows["web1/vda"][4]), sum(r["new_bytes"] for r in chain), "what a disk's add up to")
    eq(int(rows["web1"][4]), sum(r["new_bytes"] for r in case.backtree("list", case.repo, "web1", "--json").json()),
       "what a VM's add up to")
    check(all(ord(c) < 128 for line in lines for c in line), "plain characters")
    failed = case.backtree("list", case.repo, "--state=failed").out.splitlines()[-1].split(None, 7)
    eq((failed[0], failed[4]), ("web2/root/job-4", "-"), "what is no snapshot")


def drawn(case, *arguments, **more):
    status, seen = on_terminal([arguments[0], case.repo, *arguments[1:]], **more)
    eq(status, 0, f"exit status of {arguments}: {seen!r}")
    return seen.replace("\r\n", "\n")


def without_colour(text):
    return re.sub("\033\\[[0-9;]*m", "", text)


def test_list_on_a_terminal(case):
    history(case)
    case.mount()
    (case.vm(case.listed()[1]) / "protected").write_text("1\n")
    seen = drawn(case, "list", width=160)
    lines = without_colour(seen).splitlines()
    for begin in ("web1 ", "├─ vda ", "└─ vdb ", "web2 ", "└─ root "):
        check(any(line.startswith(begin) for line in lines), f"a line that begins with {begin!r}: {seen}")
    check("│  └─ chain-0001" in seen and "│     ├─ 0001-full-" in seen and "│     └─ 0002-incr-" in seen,
          f"a chain: {seen}")
    check("\033[33mscheduled, protected [nightly]\033[0m" in seen, f"marks stand out: {seen!r}")
    check("completed" not in seen, f"what is usual is not said: {seen}")
    check(re.search(r"1\.0 MiB .* [0-9.]+x ", seen), f"sizes and ratio: {seen}")
    red = drawn(case, "list", "--state=failed", width=160)
    check("\033[1;31mfailed: web2/root: cannot open" in red, f"failures are red: {red!r}")


@each({"NO_COLOR": {"NO_COLOR": "1"}, "a plain locale": {"LC_ALL": "C", "NO_COLOR": "1"}})
def test_a_plainer_terminal(case, env):
    history(case)
    seen = drawn(case, "list", width=160, env=env)
    check("\033" not in seen, f"no colour: {seen!r}")
    eq("└─" in seen, env.get("LC_ALL") != "C", f"branches: {seen}")
    eq("`- 0002-incr" in seen, env.get("LC_ALL") == "C", f"ASCII branches: {seen}")


def test_a_narrow_terminal(case):
    """Every line fits, names are whole, and the state is there however it is cut."""
    history(case)
    for width in (200, 120, 100, 80, 64, 56):
        for arguments in (("list",), ("list", "--state=failed"), ("show", "web1/vda")):
            seen = without_colour(drawn(case, *arguments, width=width))
            table = seen[seen.index("NAME"):].splitlines()
            check(all(len(line) <= width for line in table), f"{arguments} in {width}: {seen}")
            check("STATE" in table[0], f"the state in {width}: {seen}")
            check(arguments[-1] == "--state=failed" or "0001-full-" in seen, f"names in {width}: {seen}")


def test_show_draws_the_chain(case):
    history(case)
    listed = case.listed()
    for name in ("web1", "web1/vda", "web1/vda/chain-0001", listed[1]):
        seen = drawn(case, "show", name, width=160)
        check("└─ " in seen and listed[1].rsplit("/", 1)[1] in seen, f"show {name}: {seen}")
        check("vdb" not in seen or name == "web1", f"nothing else is drawn for {name}: {seen}")
    check(re.search(r"\033\[1m[^\n]*" + listed[1].rsplit("/", 1)[1], drawn(case, "show", listed[1], width=160)),
          "the snapshot stands out")
    eq(drawn(case, "show", listed[1], "--json", width=160), case.backtree("show", case.repo, listed[1], "--json").out,
       "--json is the same on a terminal")
    check("└─" not in case.backtree("show", case.repo, "web1").out, "no drawing off a terminal")


def test_list_json(case):
    history(case)
    rows = case.backtree("list", case.repo, "--json").json()
    eq(len(rows), 4, "snapshots")
    case.mount()
    for row, name in zip(rows, case.listed()):
        eq(row, case.info(case.vm(name)), f"the record of {name} is that of the tree")


LIST_FILTERS = {
    "--vm=web1": 3,
    "--vm=web2": 1,
    "--disk=web1/vda": 2,
    "--vm=web1 --disk=vdb": 1,
    "--kind=full": 3,
    "--kind=incremental": 1,
    "--trigger=scheduled": 1,
    "--trigger=manual": 3,
    "--trigger=pre_restore_safety": 0,
    "--tag=nightly": 2,
    "--tag=nothing": 0,
    "--state=completed": 4,
    "--since=1h": 4,
    "--until=1h": 0,
    "--since=2000-01-01": 4,
    "--until=2000-01-01": 0,
    "--limit=2": 2,
    "--vm=web1 --kind=incremental": 1,
    "--vm=web2 --kind=incremental": 0,
}
JOB_FILTERS = {
    "": [1, 2, 3, 4, 5],
    "--vm=web1": [1, 2, 5],
    "--vm=web2": [3, 4],
    "--disk=web1/vdb": [1, 5],
    "--kind=backup": [1, 2, 3, 4],
    "--kind=restore": [5],
    "--state=failed": [4],
    "--state=completed": [1, 2, 3, 5],
    "--state=pending": [],
    "--trigger=scheduled": [2],
    "--tag=nightly": [2, 3],
    "--active": [],
    "--since=1h": [1, 2, 3, 4, 5],
    "--until=1h": [],
    "--limit=2": [4, 5],
    "--vm=web2 --state=failed": [4],
}


def test_list_filters(case):
    history(case)
    for options, count in LIST_FILTERS.items():
        eq(len(case.listed(*options.split())), count, f"list {options}")
        eq(len(case.backtree("list", case.repo, "--json", *options.split()).json()), count,
           f"list --json {options}")
        case.backtree("list", case.repo, *options.split())


def test_job_filters(case):
    history(case)
    for options, expected in JOB_FILTERS.items():
        eq(jobs(case, *options.split()), expected, f"jobs {options}")
        case.backtree("jobs", case.repo, *options.split())


def test_since_and_until_at_a_moment(case):
    history(case)
    time.sleep(1.1)
    moment = int(time.time())
    case.backtree("backup", case.repo, "web1/vdb")
    eq(len(case.listed(f"--since=@{moment}")), 1, "since")
    eq(len(case.listed(f"--until=@{moment}")), 4, "until")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    eq(jobs(case, f"--since={stamp}"), [6], "jobs since")
    eq(jobs(case, f"--until={stamp}"), [1, 2, 3, 4, 5], "jobs until")


BAD_FILTERS = {
    "--vm=nothing": 1,
    "--disk=web1/nothing": 1,
    "--kind=nonsense": 2,
    "--state=nonsense": 2,
    "--trigger=nonsense": 2,
    "--since=yesterday-ish": 2,
    "--until=2020-13-45": 2,
    "--limit=x": 2,
    "--limit=-1": 2,
    "--nonsense": 2,
}


@each({f"{command} {options}": (command, options, status)
       for command in ("list", "jobs") for options, status in BAD_FILTERS.items()})
def test_bad_filter(case, row):
    command, options, status = row
    history(case)
    done = case.backtree(command, case.repo, *options.split(), status=(1, 2))
    eq(done.status, status, f"exit status of {done}")
    check(done.err.startswith("backtree: "), f"says why: {done}")


def test_show(case):
    history(case)
    first = case.listed()[0]
    chain = first.rsplit("/", 1)[0]
    for name, key, value in (("web1", "vm", "web1"), ("web1/vda", "disk", "vda"),
                             (first, "kind", "full"), (first, "path", first),
                             (chain, "chain", "chain-0001"), ("web1/vda/latest", "number", 2)):
        record = case.backtree("show", case.repo, name, "--json").json()
        eq(record[key], value, f"{name}: {key}")
        check(str(value) in case.backtree("show", case.repo, name).out, f"show {name} tells {key}")


def test_show_job(case):
    history(case)
    record = case.backtree("show", case.repo, "4", "--json").json()
    eq((record["job"], record["state"]), (4, "failed"), "the job")
    check("No such file" in record["reason"], f"the reason: {record}")
    eq(record["disks"][0]["state"], "failed", "its disk")
    check(record["log"], "its log")
    record = case.backtree("show", case.repo, "5", "--json").json()
    eq(record["kind"], "restore", "kind")
    case.backtree("show", case.repo, "5")


def test_show_tells_every_recorded_detail(case):
    """Each column of the catalog's rows is in the record."""
    history(case)
    snapshot = case.backtree("show", case.repo, case.listed()[1], "--json").json()
    for key in ("name", "path", "uuid", "state", "kind", "trigger", "tags", "started_at", "finished_at",
                "taken_at", "capacity", "chunk_size", "digest", "change_id", "data_bytes",
                "read_bytes", "changed_bytes", "new_bytes", "protected", "parent", "job", "number"):
        check(key in snapshot, f"{key} of a snapshot: {sorted(snapshot)}")


def test_unknown_names(case):
    history(case)
    for name, says in (("web9", "web9"), ("web1/vdz", "vdz"), ("web1/vda/chain-0009", "chain-0009"),
                       ("web1/vda/chain-0001/0009-full-20200101T000000Z", "0009"), ("99", "99"),
                       ("web1/../web2", None), ("-1", None), ("web1//vda", None), ("", None)):
        done = case.backtree("show", case.repo, "--", name, status=(1, 2))
        check(done.err.startswith("backtree: ") and (says is None or says in done.err),
              f"says {says}: {done}")


def test_stats(case):
    history(case)
    stats = case.backtree("stats", case.repo, "--json").json()
    totals = stats["totals"]
    eq(totals["snapshots"], 4, "snapshots")
    eq(totals["logical_bytes"], 4 * MIB, "logical bytes")
    eq(totals["stored_bytes"], case.pack_bytes(), "stored bytes")
    eq((totals["jobs"]["completed"], totals["jobs"]["failed"]), (4, 1), "jobs by state")
    check(0 < totals["unique_bytes"] <= totals["data_bytes"] <= totals["logical_bytes"], f"{totals}")
    check(0 < stats["free_bytes"] <= stats["capacity_bytes"], f"room: {stats}")
    eq((stats["state"], stats["path"]), ("failing", str(case.repo)), "state: a backup has failed")
    check(stats["dedup_ratio"] > 0 and stats["compression_ratio"] > 0, f"ratios: {stats}")
    eq(totals["failing_jobs"], 1, "failing jobs")
    check("web1" in stats["vms"] and "web2" in stats["vms"], f"by VM: {stats}")
    text = case.backtree("stats", case.repo).out
    check("web1" in text and "web2" in text, f"text: {text}")
    case.mount()
    lines = dict(line.split(" ", 1) for line in (case.mnt / "status").read_text().splitlines())
    for key in ("snapshots", "protected_snapshots", "failing_jobs", "logical_bytes", "unique_bytes",
                "stored_bytes", "deltas"):
        eq(int(lines[key]), totals[key], f"{key} of status and of stats")


def test_stats_of_an_empty_repository(case):
    case.init()
    stats = case.backtree("stats", case.repo, "--json").json()["totals"]
    eq((stats["snapshots"], stats["stored_bytes"]), (0, 0), "totals")
    case.backtree("stats", case.repo)
    eq(case.backtree("list", case.repo, "--json").json(), [], "list")
    eq(case.backtree("jobs", case.repo, "--json").json(), [], "jobs")
    case.backtree("list", case.repo)
    case.backtree("jobs", case.repo)


def test_listing_beside_a_daemon(case):
    """The same words mounted and unmounted."""
    history(case)
    commands = (("list",), ("list", "--names"), ("list", "--json"), ("jobs",), ("jobs", "--json"),
                ("show", "web1"), ("show", "web1/vda", "--json"), ("show", "1", "--json"))
    before = [case.backtree(c[0], case.repo, *c[1:]).out for c in commands]
    case.mount()
    after = [case.backtree(c[0], case.repo, *c[1:]).out for c in commands]
    eq(after, before, "output")


def test_listing_changes_nothing(case):
    history(case)
    before = {p: p.stat().st_mtime_ns for p in case.repo.rglob("*")
              if not p.name.startswith("catalog.db-") and p.is_file()}
    for command in ("list", "jobs", "stats"):
        case.backtree(command, case.repo)
    eq({p: p.stat().st_mtime_ns for p in before}, before, "files of the repository")


def test_a_pipe_that_closes_early(case):
    history(case)
    done = case.sh(f"{BINARY} list {case.repo} | head -1; echo ${{PIPESTATUS[1]}}")
    check(done.out.strip(), "a line")


def test_full_output_device(case):
    history(case)
    done = case.sh(f"{BINARY} list {case.repo} > /dev/full", status=1)
    check("No space left" in done.err, f"a listing that could not be written is an error: {done}")


main()
