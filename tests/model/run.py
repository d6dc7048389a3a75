#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Searches tests/model/delivery.pml: safe configurations completely, and planted faults until each is found.

    run.py [--all] [--jobs n] [name ...]

A safe configuration passes when its search was complete and found no error; a plant passes when its search found a violated
assertion. --all adds the larger bounds (several minutes, below 4 GB each). A name (or the start of one) runs only that.
"""

import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "delivery.pml")
MEGABYTES = 4000
DEPTH = 20000

# Every fault off; a configuration names what it turns on.
QUIET = {"FJOB": 0, "FSTORE": 0, "FROUTER": 0, "RECONN": 0}

SAFE = {
    # Register, then read: alone enough when nothing is lost.
    "connect": "NOCOMPARE SPLIT=1 RECONN=1",
    "faults": "FJOB=1 FSTORE=1 RECONN=1",
    "router": "FJOB=1 FROUTER=1 RECONN=1 SPLIT=1",
    "amnesia": "FSTORE=2 FROUTER=1",
    "overlap": "JOBS=2 FSTORE=1",
    "one-look": "ONELOOK=1 FJOB=1 FSTORE=2",
    "read-takes-time": "SPLIT=1 FJOB=1 FSTORE=1 RECONN=1",
    "devices": "DEVICES=2 FSTORE=1 RECONN=1",
    "devices-crash": "DEVICES=2 FJOB=1 FSTORE=1",
    "devices-late": "DEVICES=2 LATE=1 FSTORE=1",
    "retry": "RETRY=1 FSTORE=1 RECONN=1",
    "retry-crash": "RETRY=1 FJOB=1 FSTORE=1",
    "retry-overlap": "RETRY=1 N=1 JOBS=2 FSTORE=1",
    "retry-devices": "RETRY=1 DEVICES=2 FSTORE=1",
    "retry-expire": "RETRY=1 EXPIRE=1 FSTORE=1",
    "retry-limit": "RETRY=1 LIMIT=1 FSTORE=1 RECONN=1",
    "limit": "LIMIT=1 FJOB=1 FSTORE=1 RECONN=1",
    "limit-2-of-3": "LIMIT=2 N=3 FSTORE=1 RECONN=1",
    "limit-devices": "LIMIT=1 DEVICES=2 FSTORE=1 RECONN=1",
    "limit-late": "LIMIT=1 LATE=1 FSTORE=1 RECONN=1",
    "expire": "EXPIRE=2 FSTORE=1 RECONN=1",
    "late": "LATE=2 FSTORE=1 RECONN=1",
}

LARGE = {
    "all-faults": "FJOB=1 FSTORE=2 FROUTER=1 RECONN=1",
    "all-faults-split": "SPLIT=1 FJOB=1 FSTORE=1 FROUTER=1 RECONN=1",
    "three-messages": "N=3 FJOB=1 FSTORE=1 RECONN=1",
    "overlap-reconnect": "JOBS=2 FSTORE=1 RECONN=1",
    "overlap-devices": "JOBS=2 DEVICES=2 FSTORE=1",
    "overlap-limit": "JOBS=2 LIMIT=1 FSTORE=1 RECONN=1",
    "overlap-expire": "JOBS=2 EXPIRE=1 FSTORE=1",
    "overlap-one-look": "JOBS=2 ONELOOK=1 EXPIRE=1 FSTORE=1",
    "overlap-late": "JOBS=2 LATE=1 FSTORE=1",
    "retry-all-faults": "RETRY=1 FJOB=1 FSTORE=1 FROUTER=1 RECONN=1",
    "retry-overlap-reconnect": "RETRY=1 N=1 JOBS=2 FSTORE=1 RECONN=1",
    "retry-devices-reconnect": "RETRY=1 DEVICES=2 FSTORE=1 RECONN=1",
    "retry-late": "RETRY=1 LATE=2 FSTORE=1 RECONN=1",
    "devices-late-reconnect": "DEVICES=2 LATE=1 FSTORE=1 RECONN=1",
    "devices-late-expire": "DEVICES=2 LATE=1 EXPIRE=1 FSTORE=1",
    "late-reconnects": "LATE=2 FSTORE=1 FROUTER=1 RECONN=2",
}

PLANTS = {
    1: ("no comparison", ""),
    2: ("rebuild to the committed offset", "JOBS=2 FSTORE=1"),
    3: ("marker ignored", "FSTORE=1 RECONN=1"),
    4: ("commit before append", "FJOB=1"),
    5: ("prev ignored", ""),
    6: ("complete without cas", "FSTORE=2"),
    7: ("read before register", "NOCOMPARE"),
    8: ("one ack shortens for all", "DEVICES=2"),
    9: ("msgid tags ignored", "RETRY=1"),
    10: ("limit leaves the floor", "LIMIT=1"),
    11: ("cursor set, not raised", "LATE=2 RECONN=1"),
    12: ("devices not restored", "DEVICES=2 FSTORE=1"),
    13: ("again cleared too late", "NOCOMPARE SPLIT=1"),
    14: ("written is acknowledged", "LATE=1"),
    15: ("no gap told", "LIMIT=1"),
    16: ("cas unique repeats", "LATE=1 FSTORE=1"),
    17: ("comparison without floor", "EXPIRE=2"),
    18: ("ack without cas", "LATE=1"),
    19: ("tags below the floor skipped", "RETRY=1 EXPIRE=1 FSTORE=1"),
    20: ("floor below the rebuilt range", "EXPIRE=1 FSTORE=1"),
    21: ("start fixed after the end", "RETRY=1 EXPIRE=1 FSTORE=1"),
    22: ("ack without the marker", "N=1 JOBS=2 DEVICES=2 LATE=1 FSTORE=1"),
}


class Run:
    def __init__(self, name, bounds, plant=0):
        self.name, self.bounds, self.plant = name, bounds, plant
        self.states = self.depth = "-"
        self.seconds = 0.0
        self.passed = False
        self.verdict = "not run"

    def defines(self):
        values = dict(QUIET)
        for word in self.bounds.split():
            key, _, value = word.partition("=")
            values[key] = value or 1
        if self.plant:
            values["PLANT"] = self.plant
        return ["-D%s=%s" % item for item in values.items()]

    def search(self, top):
        started = time.monotonic()
        folder = os.path.join(top, re.sub(r"\W+", "-", self.name))
        os.mkdir(folder)
        try:
            shutil.copy(MODEL, folder)
            self.command(folder, ["spin", "-a"] + self.defines() + ["delivery.pml"])
            self.command(folder, ["cc", "-O1" if self.plant else "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=%d" % MEGABYTES,
                                  "-o", "pan", "pan.c"])
            self.judge(self.command(folder, ["./pan", "-m%d" % DEPTH]))
        except (OSError, RuntimeError) as error:
            self.verdict = str(error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self.seconds = time.monotonic() - started
        return self

    @staticmethod
    def command(folder, words):
        done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise RuntimeError("%s failed (%d): %s" % (words[0], done.returncode, done.stdout.strip()[-300:]))
        return done.stdout

    def judge(self, text):
        def number(pattern):
            found = re.search(pattern, text)
            return int(found.group(1)) if found else -1

        self.states, self.depth = number(r"(\d+) states, stored"), number(r"depth reached (\d+)")
        errors = number(r"errors: (\d+)")
        first = re.search(r"pan:\d+: (.*?)[ (]", text)
        violated = "assertion violated" in text
        cut = [words for words in ("max search depth too small", "out of memory", "reached -DMEMLIM", "Search not completed",
                                   "hash factor too small") if words in text]
        if self.plant:
            self.passed = errors > 0 and violated
            self.verdict = "found" if self.passed else "NOT FOUND"
        elif errors != 0:
            self.verdict = "ERROR (%s)" % (first.group(1) if first else "no result")
        elif cut:
            self.verdict = "INCOMPLETE (%s)" % cut[0]
        else:
            self.passed, self.verdict = True, "complete"


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--all", action="store_true", help="the larger bounds too (several minutes)")
    options.add_argument("--jobs", type=int, default=2, help="searches at a time (default 2)")
    options.add_argument("name", nargs="*", help="only what begins so")
    args = options.parse_args()

    runs = [Run(name, bounds) for name, bounds in SAFE.items()]
    if args.all or args.name:
        runs += [Run(name, bounds) for name, bounds in LARGE.items()]
    runs += [Run("plant %d: %s" % (n, what), bounds, n) for n, (what, bounds) in PLANTS.items()]
    if args.name:
        runs = [run for run in runs if run.name.startswith(tuple(args.name))]

    print("%-40s %-52s %10s %6s %8s  %s" % ("configuration", "bounds", "states", "depth", "seconds", "verdict"))
    with tempfile.TemporaryDirectory(prefix="imgo-model-") as top, concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for run in pool.map(lambda run: run.search(top), runs):
            print("%-40s %-52s %10s %6s %8.1f  %s" % (run.name, run.bounds, run.states, run.depth, run.seconds, run.verdict), flush=True)
    passed = sum(run.passed for run in runs)
    print("%d passed, %d failed" % (passed, len(runs) - passed))
    return 0 if runs and passed == len(runs) else 1


if __name__ == "__main__":
    sys.exit(main())
