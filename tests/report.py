#!/usr/bin/env python3
"""Makes docs/proof.md out of what a full run of the tests has counted.

The tests print lines such as `counted: schedules 3000`; numbers of one name add up. Nothing here is a figure of its own:
what was not counted in the run is not in the page.
"""

import collections
import datetime
import platform
import re
import subprocess
import sys

SECTIONS = [
    ("Schedules of the shipped code in a fake world", "The engine and everything it decides, in virtual time, with every call "
     "passing through one function that loses, delays, repeats, refuses or crashes it. The invariants are checked after every "
     "effect; then the faults stop, and all must come to rest.",
     ["schedules", "faults in schedules", "calls in schedules", "lives by chance"]),
    ("Fleets in a fake world", "Three generations of keys in seven accounts while calls fail: nobody follows before the first has "
     "served for as long as the hold, and no more are on the way than a batch has.",
     ["fleets", "rotations in waves", "faults in fleets"]),
    ("Crash points", "One life with a first rotation and a second; a fault at every call, and a crash after every fault.",
     ["lives with one fault", "lives with two faults", "ordered pairs of crash points", "crash points"]),
    ("Several daemons on one journal", "Leases, fencing tokens, stopped and cut-off processes.",
     ["replica lives with one fault", "replica lives with two faults"]),
    ("The fault matrix", "Every cell of the table in docs/protocol.md that is not empty is a case; a cell without one, or one "
     "that was never hit, fails the run.",
     ["cells of the fault matrix played", "cells of the fault matrix tested elsewhere"]),
    ("Rules switched off", "Each safety rule is taken away in turn, and the schedules must notice.", ["rules switched off"]),
    ("The real binary", "kill -9, real OpenBao, Secrets Manager emulator, PostgreSQL and SQLite.", ["kills", "torture runs"]),
    ("Bad input", "Each with its exact outcome; and inputs by chance against properties.", ["policy files", "answers"]),
    ("Secrets", "Places and encodings in which a canary was looked for, and rotations after which the memory was searched.",
     ["canary places", "canary encodings", "rotations searched in memory", "commands closed at start",
      "doors closed to a neighbour", "errors that repeated a secret"]),
]


def counted(lines):
    sums = collections.Counter()
    for line in lines:
        found = re.search(r"counted: (.*?) (\d+)(?: cases)?\s*$", line)
        if found:
            sums[found.group(1)] += int(found.group(2))
    return sums


def main(log, command):
    with open(log, encoding="utf-8", errors="replace") as file:
        lines = file.readlines()
    sums = counted(lines)
    summary = [line.strip() for line in lines if re.search(r"Summary \[", line)]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    out = ["# What was tried", "",
           f"Written by `{command}` at commit {commit} on {datetime.date.today().isoformat()}, {platform.machine()} with "
           f"{__import__('os').cpu_count()} cores. Every number was counted by the tests of that run; none is typed.", ""]
    if summary:
        out += [f"All tests: `{re.sub(r'.*?[0-9.]+s[]] *', '', summary[-1])}`", ""]
    named = set()
    for title, text, names in SECTIONS:
        rows = [(name, sums[name]) for name in names if name in sums]
        named.update(names)
        if rows:
            out += [f"## {title}", "", text, "", "| what | how many |", "|---|---|"]
            out += [f"| {name} | {number:,} |" for name, number in rows] + [""]
    rest = sorted(name for name in sums if name not in named)
    if rest:
        out += ["## Inputs by chance, and the rest", "", "| what | how many |", "|---|---|"]
        out += [f"| {name} | {sums[name]:,} |" for name in rest] + [""]
    missed = [line.strip() for line in lines if re.search(r"^\s*\w+ was missed in (its own story|story \d+):", line)]
    if missed:
        out += ["## How each missing rule was noticed", ""]
        out += ["- " + re.sub(r"SK[0-9a-f]{32}", "SK…", line)[:160] for line in sorted(missed)] + [""]
    with open("docs/proof.md", "w", encoding="utf-8") as page:
        page.write("\n".join(out).rstrip() + "\n")


main(sys.argv[1], sys.argv[2])
