#!/usr/bin/env python3
"""Checks the links of every Markdown file: the file is there, and so is the heading.

Addresses of other hosts are not asked: the machine that tests may reach none.
"""
import os
import re
import subprocess
import sys


def anchors(path):
    """Returns the anchors of a file's headings, as GitHub and mdBook make them."""
    found, fence = set(), False
    for line in open(path, encoding="utf-8"):
        if line.lstrip().startswith("```"):
            fence = not fence
        heading = re.match(r"#+ (.*)", line)
        if heading and not fence:
            text = re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading.group(1)).strip().lower()
            found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def main():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", "*.md"], capture_output=True, text=True, check=True)
    wrong, links = [], 0
    for path in listed.stdout.splitlines():
        if not os.path.exists(path) or os.path.islink(path):
            continue
        fence = False
        for number, line in enumerate(open(path, encoding="utf-8"), 1):
            if line.lstrip().startswith("```"):
                fence = not fence
            if fence:
                continue
            for to in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
                if re.match(r"[a-z]+:", to):
                    continue
                links += 1
                file, _, anchor = to.partition("#")
                target = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
                if not os.path.exists(target):
                    wrong.append(f"{path}:{number}: there is no {target}")
                elif anchor and target.endswith(".md") and anchor not in anchors(target):
                    wrong.append(f"{path}:{number}: {target} has no heading #{anchor}")
    for line in wrong:
        print(line)
    print(f"{links} links, {len(wrong)} wrong")
    sys.exit(bool(wrong))


main()
