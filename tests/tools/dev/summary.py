#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sums up what ./dev test ran: summary.py FILE, a line FOLDER=STATUS a build folder, where STATUS is the exit status of
meson test, "compiles", "build-failed" or "fuzz:STATUS:PASSED:FAILED". Ends with "N passed, N failed, N skipped"; exits 1 when anything failed
or nothing ran."""

import collections
import json
import os
import re
import sys

PASSED = {"OK", "EXPECTEDFAIL"}
COLUMNS = ("passed", "failed", "skipped")


def kind(result):
    return "passed" if result in PASSED else "skipped" if result == "SKIP" else "failed"


def reason(test):
    """Why a test was skipped: its last line that says so."""
    lines = (test.get("stdout") or "").splitlines() + (test.get("stderr") or "").splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    said = [line for line in lines if re.search("skip", line, re.I)]
    return (said or lines or ["no reason given"])[-1][:100]


def read_log(folder):
    try:
        with open(os.path.join(folder, "meson-logs", "testlog.json"), encoding="utf-8") as log:
            return [json.loads(line) for line in log if line.strip()]
    except FileNotFoundError:
        return []


def main():
    table = collections.defaultdict(lambda: dict.fromkeys(COLUMNS, 0) | {"seconds": 0.0})
    failed, skipped = [], []

    def count(folder, suite, what, seconds=0.0):
        table[folder, suite][what] += 1
        table[folder, suite]["seconds"] += seconds

    with open(sys.argv[1], encoding="utf-8") as runs:
        for folder, status in (line.strip().rsplit("=", 1) for line in runs):
            if status in ("compiles", "build-failed"):
                count(folder, "compiles", "passed" if status == "compiles" else "failed")
                if status == "build-failed":
                    failed.append(f"{folder}: does not build")
                continue
            if status.startswith("fuzz:"):
                ended, passed, broken = (int(number) for number in status.split(":")[1:])
                for what, n in (("passed", passed), ("failed", broken or (ended != 0))):
                    for _ in range(n):
                        count(folder, "fuzz", what)
                if ended or broken:
                    failed.append(f"{folder}: fuzzing ended with status {ended}, see .imgo/logs/fuzz.log")
                continue
            tests = read_log(folder)
            for test in tests:
                suite, _, name = test["name"].rpartition(" / ")
                what = kind(test["result"])
                count(folder, suite.partition(":")[2] or suite or "-", what, test["duration"])
                if what == "failed":
                    failed.append(f"{folder}: {name}: {test['result']}")
                elif what == "skipped":
                    skipped.append(f"{folder}: {name}: {reason(test)}")
            if status != "0" and not any(kind(test["result"]) == "failed" for test in tests):
                count(folder, "meson test", "failed")
                failed.append(f"{folder}: meson test ended with status {status}")

    print(f"\n{'folder':14} {'suite':24} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for (folder, suite), row in table.items():
        print(f"{folder:14} {suite:24} {row['passed']:7} {row['failed']:7} {row['skipped']:8} {row['seconds']:8.1f}")
    for title, names in (("SKIPPED", skipped), ("FAILED", failed)):
        if names:
            print(f"\n{title}:")
            print("\n".join("  " + name for name in names))
    total = [sum(row[column] for row in table.values()) for column in COLUMNS]
    print("\n%d passed, %d failed, %d skipped" % tuple(total))
    if sum(total) == 0:
        print("no such test", file=sys.stderr)
    return 1 if total[1] or sum(total) == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
