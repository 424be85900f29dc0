#!/usr/bin/env python3
"""Measures how plainly the project speaks: its doc comments, comments and Markdown.

  tests/plain.py            prints the figures beside their limits
  tests/plain.py --list N   also prints the first N places of each kind, as file:line

Exits with 1 if a figure is above its limit. Never raise a limit.
"""
import os
import re
import subprocess
import sys

LIMITS = {  # kind: (share of all doc comments or count, aim)
    "doc comments that begin with a question word or a bare preposition": ("share", 0.03),
    "doc comments of one or two words": ("share", 0.04),
    "sentences of more than 30 words in doc comments": ("share", 0.03),
    "he, him, his, she, her of a person": ("count", 0),
    "comment and Markdown lines over 100 columns (tables and links aside)": ("count", 60),
    "public modules, traits and builders without an example": ("count", 12),
    "lines of README.md": ("count", 220),
    "citations of a document that is not in the repository (DESIGN, section N)": ("count", 0),
}
OPENERS = re.compile(
    r"^(What|Whether|How|Who|Whom|Whose|Which|Why|By|Of|In|To|From|At|As|For|With|Under|On|Where|When|Until)\b"
    r"(?! (all|each|every|the (same|whole)) )", re.I)
FINE = re.compile(r"^(When (true|false|set)|In seconds|In UTC|On success|On error)\b", re.I)
PERSON = re.compile(r"\b(he|him|his|himself|she|her|hers|herself)\b", re.I)


def files(*patterns):
    """Lists the files of the work tree that match, also new ones that git does not ignore."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "--", *patterns]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    return [f for f in out.stdout.splitlines() if os.path.exists(f)]


def docs(path):
    """Finds the doc comments of a Rust file: (line, text, the code line that follows)."""
    block, start, kind = [], 0, None
    lines = open(path, encoding="utf-8").read().split("\n")
    for number, line in enumerate(lines, 1):
        found = re.match(r"\s*(///|//!)(?!/) ?(.*)", line)
        if found:
            if kind != found.group(1):
                if block:
                    yield start, "\n".join(block), line
                block, start, kind = [], number, found.group(1)
            block.append(found.group(2))
        elif block and not re.match(r"\s*#\[|\s*\)\]", line):  # attributes stand between a comment and its item
            yield start, "\n".join(block), line
            block, kind = [], None


def prose(text):
    """Leaves out code, tables, headings and lists of links."""
    out, fence = [], False
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            fence = not fence
        elif not fence and not line.lstrip().startswith(("|", "#", "- [", "    ")):
            out.append(line)
    return "\n".join(out)


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    show = int(sys.argv[sys.argv.index("--list") + 1]) if "--list" in sys.argv else 0
    hits, total = {name: [] for name in LIMITS}, 0
    names = list(LIMITS)
    for path in files("*.rs"):
        for line, text, after in docs(path):
            total += 1
            words = prose(text).strip()
            first = words.split("\n\n")[0].replace("\n", " ").strip()
            at = f"{path}:{line}: {first[:90]}"
            if OPENERS.match(first) and not FINE.match(first):
                hits[names[0]].append(at)
            if 0 < len(first.split()) <= 2 and not first.startswith("#"):
                hits[names[1]].append(at)
            plain = re.sub(r"`[^`]*`|\[[^\]]*\]\([^)]*\)", "x", words)
            if any(len(sentence.split()) > 30 for sentence in re.split(r"(?<=[.:;!?])\s+", plain)):
                hits[names[2]].append(at)
            if PERSON.search(plain):
                hits[names[3]].append(at)
            public = re.match(r"\s*pub (trait|mod) |\s*pub struct \w*(Builder|Config)\b", after)
            if public and "testkit" not in path and "tests/" not in path and "```" not in text and "include_str" not in text:
                hits[names[5]].append(at)
    for path in files("*.rs", "*.md", "*.toml", "*.sh"):
        fence = False
        for number, line in enumerate(open(path, encoding="utf-8"), 1):
            line = line.rstrip("\n")
            if line.lstrip().startswith("```"):
                fence = not fence
            comment = re.match(r"\s*(//|#|--)", line) if not path.endswith(".md") else not fence and not line.startswith("|")
            if comment and len(line) > 100 and "http" not in line:
                hits[names[4]].append(f"{path}:{number}")
            if re.search(r"\bDESIGN(\.md)?\b|\bsection \d+ of the design", line) and not path.startswith("docs/"):
                hits[names[7]].append(f"{path}:{number}")
    try:
        hits[names[6]] = [""] * sum(1 for _ in open("README.md"))
    except OSError:
        pass
    bad = False
    print(f"{total} doc comments")
    for name, (how, limit) in LIMITS.items():
        count = len(hits[name])
        value = count / max(total, 1) if how == "share" else count
        over = value > limit
        bad |= over
        figure, bound = (f"{value:.1%}", f"{limit:.1%}") if how == "share" else (str(count), str(limit))
        print(f"{'OVER' if over else 'ok  '}  {figure:>7} (limit {bound})  {name}")
        for at in hits[name][:show]:
            if at:
                print(f"          {at}")
    sys.exit(bad)


main()
