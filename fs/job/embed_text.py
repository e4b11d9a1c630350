#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes a C source of a text file: embed_text.py INPUT OUTPUT NAME gives `const char NAME[]`.

Comments of CSS and the blanks that begin its lines are left out: nobody reads them in a page.
"""
import re
import sys


def main():
    source, target, name = sys.argv[1:]
    with open(source, encoding="ascii") as text:
        style = re.sub(r"/\*.*?\*/", "", text.read(), flags=re.S)
    lines = [line.strip() for line in style.splitlines() if line.strip()]
    with open(target, "w", encoding="ascii") as out:
        out.write(f"extern const char {name}[];\nconst char {name}[] =\n")
        for line in lines:
            out.write('    "' + line.replace("\\", "\\\\").replace('"', '\\"') + '\\n"\n')
        out.write("    ;\n")


main()
