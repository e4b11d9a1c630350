# SPDX-License-Identifier: MIT
"""Pages as a browser shows them (headless Chromium), and as a strict reader of HTML does.

A browser is asked by its command line alone: it loads a page, prints what has become of it, and
writes what its console said to stderr. What has to be measured in the page (widths, colours) is
measured by a script in a *copy* of it, whose policy was taken out; `measure()` makes that.
"""
import html
import json
import os
import re
import shutil
import signal
import subprocess
from html.parser import HTMLParser

from daemon import SLOWDOWN, Failure
from tap import Skip

VOID = {"meta", "wbr", "br", "hr", "img", "input", "link", "col"}
CONSOLE = re.compile(r"CONSOLE[:(].*")


class Strict(HTMLParser):
    """Every element is closed where it should be, attributes are not repeated, ids are unique.

    tags: (name, attributes) in order. texts: (path of open elements, text).
    """

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.ids = [], [], [], set()
        self.feed(page)
        self.close()
        if self.open:
            raise Failure(f"left open: {self.open}")

    def handle_starttag(self, tag, attrs):
        self.note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        if "svg" not in self.open and "defs" not in self.open:
            raise Failure(f"<{tag}/> outside of SVG at {self.getpos()}")
        self.note(tag, attrs)

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            raise Failure(f"</{tag}> at {self.getpos()} where {self.open} are open")
        self.open.pop()

    def note(self, tag, attrs):
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            raise Failure(f"<{tag}> repeats an attribute: {attrs}")
        attributes = dict(attrs)
        if "id" in attributes:
            if attributes["id"] in self.ids:
                raise Failure(f"the id {attributes['id']} stands twice")
            self.ids.add(attributes["id"])
        self.tags.append((tag, attributes))

    def handle_data(self, data):
        self.texts.append((tuple(self.open), data))

    def text(self, *inside):
        """All text within elements of these names, blanks as one."""
        found = "".join(data for path, data in self.texts
                        if all(name in path for name in inside) and "style" not in path)
        return re.sub(r"[ \n]+", " ", found)


def chromium():
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        raise Skip("chromium is not installed")
    return found


class Shown:
    """What came of a page: dom, and the lines of the browser's console."""

    def __init__(self, dom, errors):
        self.dom = dom
        self.console = CONSOLE.findall(errors)


def show(case, page, *flags, width=1200, height=900, seconds=90):
    """Loads a file and returns what it has become. Generous: the machine may be busy."""
    profile = case.dir / "chromium"
    command = [chromium(), "--headless", "--disable-gpu", "--disable-dev-shm-usage",
               "--disable-background-networking", "--disable-extensions", "--no-first-run",
               "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
               f"--user-data-dir={profile}", f"--window-size={width},{height}", *flags,
               "--dump-dom", f"file://{page}"]
    if os.geteuid() == 0:
        command.insert(1, "--no-sandbox")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, start_new_session=True, text=True,
                          errors="replace", env=dict(os.environ, HOME=str(case.dir))) as child:
        try:
            dom, errors = child.communicate(timeout=seconds * SLOWDOWN)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            raise Failure(f"chromium did not show {page} in {seconds * SLOWDOWN:g} s") from None
    if child.returncode != 0 or "<html" not in dom:
        raise Failure(f"chromium ended with {child.returncode}: {errors[-2000:]}")
    return Shown(dom, errors)


def measure(case, text, script, *flags, width=1200):
    """What `script` returns as an object, run in a copy of the page `text` that is `width` wide: a
    frame, for a window of the browser cannot be as narrow as a phone."""
    without_policy, count = re.subn(r"<meta http-equiv=[^>]*>", "", text)
    if count != 1:
        raise Failure(f"{count} policies in the page")
    probe = ("<script>window.onload = function () { var told = (function () {" + script +
             "})(), home = parent.document, box = home.createElement('pre'); box.id = 'told';"
             "box.textContent = JSON.stringify(told); home.body.appendChild(box); };</script>")
    framed = html.escape(without_policy.replace("</body>", probe + "</body>"))
    copy = case.dir / "measured.html"
    copy.write_text("<!DOCTYPE html><html><head><meta charset='utf-8'>"
                    "<meta name='color-scheme' content='light dark'></head><body>"
                    f"<iframe style='border:0' width='{width}' height='900' srcdoc=\"{framed}\">"
                    "</iframe></body></html>")
    shown = show(case, copy, *flags)
    if shown.console:
        raise Failure(f"the console says {shown.console}")
    told = re.search(r'<pre id="told">(.*?)</pre>', shown.dom, re.S)
    if not told:
        raise Failure("the script in the page told nothing")
    return json.loads(html.unescape(told.group(1)))
