#!/usr/bin/env python3
"""Runs the bench: every contender at every work, in turn, so many rounds, and writes down what came of it.

  bench.py run     --build DIR --dir DIR [--rounds N] [--ms N] [--only WORD,...] [--peers NAME,...]
  bench.py check   --build DIR --dir DIR [--peers NAME,...]
  bench.py report  --build DIR
  bench.py publish --build DIR --docs DIR

`run` measures and reports; `check` counts syncs with strace and kills writers, and fails where a contender does less
than its class says; `report` makes tables and plots of what was measured last; `publish` puts them into docs/.
Results are lines of JSON in DIR/results. docs/performance.md explains the works. Python's standard library only.
"""
import argparse
import datetime
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time

import checks
import report

PAYLOADS = (16, 128, 1024, 16384)
BATCH = 100
STORED = 1000000      # records of 128 B that are read back, and that a killed writer leaves
SMALL_SEGMENTS = 10000
# How many records at once a store is filled with. raft-engine reads the whole batch for each record of it.
FILLED, FILLED_BY = 1000, {"raft-engine": 100}
LARGE_STORE = 1 << 20  # records of 1 KiB: the gigabyte that only libseglog is asked to open after a kill
MIN_WARM, MAX_WARM = 64 << 20, 4 << 30


def append_works(ms):
    """(key, options of `peers append`) of each work that appends."""
    works = []

    def add(key, kind, payload, threads=1, batch=1, hist=False, factor=1):
        works.append((key, {"class": kind, "payload": payload, "threads": threads, "batch": batch, "hist": hist,
                            "ms": int(ms * factor)}))
    for payload in PAYLOADS:
        add(f"process-{payload}", "process", payload)
    for payload in PAYLOADS:
        add(f"kernel-{payload}", "kernel", payload)
    add("kernel-128-4t", "kernel", 128, threads=4)
    add("kernel-128-16t", "kernel", 128, threads=16)
    # By itself, since a look at the clock for each append costs as much as some appends.
    add("kernel-128-latency", "kernel", 128, hist=True)
    for payload in PAYLOADS:
        # Longer where percentiles are asked for: a disk gives few samples.
        add(f"disk-{payload}", "disk", payload, hist=payload == 128, factor=3 if payload == 128 else 1.3)
    add("disk-128-4t", "disk", 128, threads=4, hist=True, factor=1.3)
    add("disk-128-16t", "disk", 128, threads=16, hist=True, factor=1.3)
    for payload in PAYLOADS:
        add(f"batch-{payload}", "disk", payload, batch=BATCH, hist=payload == 128, factor=1.3)
    return works


def filled(peer):
    return FILLED_BY.get(peer["peer"], FILLED)


class Bench:
    def __init__(self, options):
        self.options = options
        self.program = os.path.join(options.build, "peers")
        self.limits = os.path.join(options.build, "limits")
        self.dir = os.path.join(options.dir, f"bench-{os.getpid()}")
        self.results = os.path.join(options.build, "results")
        os.makedirs(self.results, exist_ok=True)
        os.makedirs(self.dir)
        self.peers = [json.loads(line) for line in self.output([self.program, "list"]).splitlines()]
        if options.peers:
            names = options.peers.split(",")
            self.peers = [peer for peer in self.peers if peer["peer"] in names]
            missing = set(names) - {peer["peer"] for peer in self.peers}
            if missing:
                sys.exit(f"bench: no such contender: {', '.join(sorted(missing))}")
        self.lines = None
        self.failures = 0

    @staticmethod
    def output(command, killed=False):
        # A panic says what happened in its first lines; no backtrace behind them.
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300,
                              env={**os.environ, "RUST_BACKTRACE": "0"})
        if done.returncode != (-signal.SIGKILL if killed else 0):
            said = " ".join(done.stderr.split())[:300]
            raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {said}")
        return done.stdout

    def call(self, work, peer, where, killed=False, **options):
        command = [self.program, work, peer["peer"], where]
        for name, value in options.items():
            if value is True:
                command.append(f"--{name}")
            elif value is not False:
                command += [f"--{name}", str(value)]
        return [json.loads(line) for line in self.output(command, killed).splitlines()]

    def note(self, key, number, results):
        for result in results:
            result.update(key=key, round=number)
            self.lines.write(json.dumps(result, separators=(",", ":")) + "\n")
        self.lines.flush()

    def tried(self, key, number, peer, function):
        """One contender that fails does not end the bench, but the table and the exit status tell."""
        try:
            results = function()
            self.note(key, number, results)
            return results
        except (RuntimeError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
            self.failures += 1
            print(f"bench: {key}: {peer['peer']}: {error}", file=sys.stderr)
            self.note(key, number, [{"peer": peer["peer"], "error": str(error)[-400:]}])
            return []

    def wanted(self, key):
        return not self.options.only or any(word in key for word in self.options.only.split(","))

    def turn(self, peers, number):
        """Who begins changes from round to round and from work to work."""
        if not peers:
            return peers
        at = number % len(peers)
        return peers[at:] + peers[:at]

    # ---- the works of a round ----

    def append(self, key, work, number):
        for peer in self.turn([p for p in self.peers if p[work["class"]]], number):
            name = (key, peer["peer"])
            if name not in self.rates:
                # How much a run will write is known from a short one.
                try:
                    probe, = self.call("append", peer, self.dir, **{**work, "hist": False, "ms": 20})
                    self.rates[name] = probe["records"] / probe["seconds"]
                except RuntimeError:
                    self.rates[name] = 0
            written = self.rates[name] * work["ms"] / 1000 * (work["payload"] + 64)
            warm = int(min(max(2 * written, MIN_WARM), MAX_WARM))
            results = self.tried(key, number, peer, lambda: self.call("append", peer, self.dir, warm=warm, **work))
            for result in results:
                self.rates[name] = max(self.rates[name], result["records"] / result["seconds"])

    def read(self, number):
        """A store of its own for each: filled, opened, read through, read at random."""
        where = os.path.join(self.dir, "store")

        def work(peer):
            batch = filled(peer)
            results = self.call("fill", peer, where, records=STORED, batch=batch)
            results += self.call("open", peer, where, records=STORED)
            if peer["scan"] or peer["read"]:
                results += self.call("read", peer, where, records=STORED, batch=batch, ms=self.options.ms)
            return results
        for peer in self.turn(self.peers, number):
            self.warm(2 * STORED * 200)
            self.tried("read", number, peer, lambda: work(peer))
            shutil.rmtree(where, ignore_errors=True)

    def kill(self, number):
        where = os.path.join(self.dir, "killed")

        def work(peer, records, payload):
            # It was killed in the middle of everything; what it wrote is in the page cache.
            self.call("fill", peer, where, killed=True, records=records, payload=payload, batch=filled(peer),
                      kill=True)
            return self.call("open", peer, where, records=records, payload=payload)
        for peer in self.turn([p for p in self.peers if p["kernel"] or p["disk"]], number):
            self.tried("kill", number, peer, lambda: work(peer, STORED, 128))
            shutil.rmtree(where, ignore_errors=True)
            if peer["peer"] == "libseglog":
                self.tried("kill-1gib", number, peer, lambda: work(peer, LARGE_STORE, 1024))
                shutil.rmtree(where, ignore_errors=True)

    def segments(self, number):
        for peer in self.turn([p for p in self.peers if p["segments"]], number):
            where = os.path.join(self.dir, "segments-" + peer["peer"].replace(" ", "-"))
            # A segment of 4 KiB has 28 records of 128 B, or a few more or less, by contender.
            records = SMALL_SEGMENTS * 30
            if not os.path.exists(where):
                self.tried("segments-fill", number, peer,
                           lambda: self.call("fill", peer, where, records=records, segments=True))
            self.tried("segments", number, peer,
                       lambda: self.call("open", peer, where, records=records, segments=True))

    def bare(self, number):
        output = self.output([self.limits, "--json", "--rounds", "1", "--dir", self.dir])
        self.note("limits", number, [json.loads(line) for line in output.splitlines()])

    def warm(self, size):
        path = os.path.join(self.dir, "warm")
        with open(path, "wb") as file:
            piece = bytes(1 << 20)
            for _ in range(size >> 20):
                file.write(piece)
        os.remove(path)

    # ---- whole runs ----

    def run(self):
        began = time.monotonic()
        self.rates = {}
        works = [(key, work) for key, work in append_works(self.options.ms) if self.wanted(key)]
        with open(os.path.join(self.results, "meta.json"), "w") as file:
            json.dump(machine(self.options, self.peers), file, indent=1)
        with open(os.path.join(self.results, "runs.jsonl"), "w") as self.lines:
            for number in range(self.options.rounds):
                print(f"bench: round {number + 1} of {self.options.rounds}, after "
                      f"{time.monotonic() - began:.0f} s", flush=True)
                if self.wanted("limits") and not self.options.peers:
                    self.bare(number)
                for index, (key, work) in enumerate(works):
                    self.append(key, work, number + index)
                for key in ("read", "kill", "segments"):
                    if self.wanted(key):
                        getattr(self, key)(number)
        print(f"bench: done after {time.monotonic() - began:.0f} s")
        return self.failures

    # ---- what a contender's class says, and what it does ----

    def check(self):
        """Counts the syncs of each class, and kills a writer of each."""
        bad = 0
        with open(os.path.join(self.results, "checks.jsonl"), "w") as self.lines:
            for peer in self.peers:
                for kind in ("process", "kernel", "disk"):
                    if not peer[kind]:
                        continue
                    result = {"peer": peer["peer"], "version": peer["version"], "class": kind}
                    try:
                        for name, calls, batch, threads in (("single", 100, 1, 1), ("batch", 20, BATCH, 1),
                                                            ("threads", 20, 1, 16)):
                            result[name] = self.syncs(peer, kind, calls, batch, threads)
                        result["killed"] = self.kept(peer, kind)
                        result["complaints"] = checks.complaints(kind, result)
                    except (RuntimeError, subprocess.TimeoutExpired) as error:
                        result["complaints"] = [str(error)[-400:]]
                    bad += len(result["complaints"])
                    self.note("check", 0, [result])
                    print(checks.line(result), flush=True)
        return bad

    def syncs(self, peer, kind, calls, batch, threads):
        """The system calls between the marks that make something durable, by name, and how many appends there were."""
        trace = os.path.join(self.dir, "trace")
        self.output(["strace", "-f", "-qq", "-y", "-o", trace, "-e",
                     "trace=fsync,fdatasync,msync,sync,syncfs,openat,write,writev,pwrite64,pwritev,pwritev2,"
                     "io_uring_enter,io_submit", self.program, "append", peer["peer"], self.dir, "--class", kind,
                     "--payload", "128", "--calls", str(calls), "--batch", str(batch), "--threads", str(threads)])
        with open(trace, errors="replace") as lines:
            found = checks.count_syncs(lines)
        return {"calls": calls * threads, **found}

    def kept(self, peer, kind):
        """How many of the records that were acknowledged are there after a kill."""
        where = os.path.join(self.dir, "kept")
        shutil.rmtree(where, ignore_errors=True)
        records = 5000
        self.call("fill", peer, where, killed=True, records=records, batch=BATCH, kill=True, **{"class": kind})
        opened, = self.call("open", peer, where, records=records)
        shutil.rmtree(where, ignore_errors=True)
        return {"records": records, "found": opened["found"]}


def first_line(path, pattern):
    try:
        with open(path) as lines:
            for line in lines:
                match = re.match(pattern, line)
                if match:
                    return match.group(1).strip()
    except OSError:
        pass
    return "?"


def command_line(*command):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
    except OSError:
        return ""


def machine(options, peers):
    here = os.path.dirname(os.path.abspath(__file__))
    memory = first_line("/proc/meminfo", r"MemTotal:\s+(\d+)")
    return {
        "date": datetime.date.today().isoformat(),
        "processor": first_line("/proc/cpuinfo", r"model name\s*:\s*(.*)"),
        "mhz": first_line("/proc/cpuinfo", r"cpu MHz\s*:\s*(.*)"),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory) / (1 << 20)) if memory.isdigit() else "?",
        "kernel": platform.release(),
        "file_system": command_line("findmnt", "-n", "-o", "FSTYPE,SOURCE", "-T", options.dir) or "?",
        "load": os.getloadavg()[0],
        "commit": command_line("git", "-C", here, "describe", "--always", "--dirty"),
        "rounds": options.rounds,
        "ms": options.ms,
        "stored": STORED,
        "whole": not options.only and not options.peers and options.rounds >= 5,
        "peers": {peer["peer"]: peer for peer in peers},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "check", "report", "publish"))
    parser.add_argument("--build", required=True, help="where the programs are and the results go")
    parser.add_argument("--dir", default=".", help="on the disk that is to be measured; 8 GiB are needed")
    parser.add_argument("--docs", help="the docs/ to publish into")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ms", type=int, default=150, help="of a measurement; some take up to three times that")
    parser.add_argument("--only", default="", help="only works whose key has one of these words")
    parser.add_argument("--peers", default="", help="only these contenders")
    options = parser.parse_args()
    if options.what in ("report", "publish"):
        report.write(os.path.join(options.build, "results"), options.docs if options.what == "publish" else None)
        return 0
    bench = Bench(options)
    try:
        failed = bench.run() if options.what == "run" else bench.check()
    finally:
        shutil.rmtree(bench.dir, ignore_errors=True)
    if options.what == "run":
        report.write(bench.results, None)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
