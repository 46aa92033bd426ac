"""That the bench counts and sums up rightly what was measured: python3 -m unittest discover -s benches."""
import contextlib
import io
import json
import os
import tempfile
import unittest

import checks
import report

TRACE = """\
10 openat(AT_FDCWD</x>, "d", O_RDWR|O_CREAT, 0600) = 4</x/d>
10 openat(AT_FDCWD</x>, "d", O_RDWR|O_DSYNC) = 5</x/d>
11 openat(AT_FDCWD</x>, "e", O_RDWR|O_DSYNC <unfinished ...>
10 fdatasync(4</x/d>) = 0
11 <... openat resumed>) = 7</x/e>
10 write(-1, "bench begin", 11) = -1 EBADF (Bad file descriptor)
10 pwrite64(4</x/d>, "a", 1, 0) = 1
10 fdatasync(4</x/d> <unfinished ...>
11 pwrite64(7</x/e>, "a", 1, 0) = 1
10 <... fdatasync resumed>) = 0
10 pwrite64(5</x/d>, "a", 1, 0) = 1
10 msync(0x7f, 4096, MS_ASYNC) = 0
10 msync(0x7f, 4096, MS_SYNC) = 0
10 io_uring_enter(8, 1, 1, 0, NULL, 8) = 1
10 write(-1, "bench end", 9) = -1 EBADF (Bad file descriptor)
10 fdatasync(4</x/d>) = 0
"""


def run(peer, key, rate, number=0, **more):
    return {"peer": peer, "version": "1", "work": "append", "payload": 128, "class": "kernel", "threads": 1, "batch": 1,
            "records": rate, "seconds": 1.0, "key": key, "round": number, **more}


def checked(kind, single, found):
    counted = {"calls": 100, "syncs": single, "by": {"fdatasync": single}}
    return {"class": kind, "single": counted, "batch": {"calls": 20, "syncs": 20, "by": {"fdatasync": 20}},
            "threads": {"calls": 320, "syncs": 40, "by": {"fdatasync": 40}},
            "killed": {"records": 5000, "found": found}}


class Statistics(unittest.TestCase):
    def test_a_percentile_is_the_least_value_that_so_many_samples_do_not_exceed(self):
        histogram = report.merged([[[n, 1] for n in range(1, 51)], [[n, 1] for n in range(51, 101)]])
        self.assertEqual(report.quantile(histogram, 0.5), 50)
        self.assertEqual(report.quantile(histogram, 0.99), 99)
        self.assertEqual(report.quantile(histogram, 1.0), 100)

    def test_a_percentile_beyond_which_no_sample_lies_is_not_given(self):
        histogram = [(n, 1) for n in range(1, 101)]
        self.assertIsNone(report.quantile(histogram, 0.999))
        self.assertIsNone(report.quantile([], 0.5))

    def test_a_ratio_is_the_median_of_the_rounds_to_the_best_peer_and_write_is_none(self):
        rates = {"libseglog": (10, 30, 20), "lmdb": (10, 10, 10), "sqlite": (1, 1, 1), "write": (99, 99, 99)}
        runs = [run(peer, "kernel-128", rate, n) for peer, all_ in rates.items() for n, rate in enumerate(all_)]
        results = report.summarize(runs)["results"]["kernel-128"]
        self.assertEqual(report.ratio(results), (2.0, "lmdb"))
        self.assertEqual((results["libseglog"]["low"], results["libseglog"]["median"], results["libseglog"]["high"]),
                         (10, 20, 30))

    def test_where_less_is_better_the_best_peer_has_the_least(self):
        peers = {name: report.spread(values) for name, values in
                 (("libseglog", [2.0]), ("lmdb", [1.0]), ("redb", [4.0]))}
        self.assertEqual(report.ratio(peers, lower_is_better=True), (0.5, "lmdb"))


class Syncs(unittest.TestCase):
    def test_syncs_are_counted_between_the_marks_and_by_descriptor(self):
        found = checks.count_syncs(TRACE.splitlines())
        self.assertEqual(found["by"], {"fdatasync": 1, "O_DSYNC write": 2, "msync": 1, "io_uring_enter": 1})
        self.assertEqual(found["syncs"], 4)

    def test_a_durable_append_without_a_sync_is_complained_of(self):
        self.assertEqual(checks.complaints("disk", checked("disk", 100, 5000)), [])
        self.assertEqual(len(checks.complaints("disk", checked("disk", 99, 5000))), 1)

    def test_a_record_that_a_kill_takes_is_complained_of_but_where_the_class_says_so(self):
        self.assertEqual(len(checks.complaints("kernel", checked("kernel", 0, 4999))), 1)
        self.assertEqual(checks.complaints("process", checked("process", 0, 0)), [])


class Report(unittest.TestCase):
    # A contender that got no append done in a round was once the end of the report.
    def test_a_page_shows_what_won_and_what_failed_and_the_rest_of_it_stays(self):
        peers = {name: {"peer": name, "version": "1"} for name in ("libseglog", "lmdb", "sqlite")}
        meta = {"date": "2026-01-01", "processor": "p", "cores": 2, "memory_gib": 4, "kernel": "k", "file_system": "f",
                "load": 0.0, "commit": "c", "rounds": 1, "ms": 1, "stored": 1, "peers": peers,
                "whole": True}
        runs = [run("libseglog", "kernel-128", 1000), run("lmdb", "kernel-128", 2000),
                run("sqlite", "kernel-128", 0), run("libseglog", "kernel-16", 0), run("lmdb", "kernel-16", 0),
                run("lmdb", "disk-128", 50, **{"class": "disk", "hist": [[10, 5], [20, 5]]}),
                {"peer": "libseglog", "error": "it broke", "key": "disk-128", "round": 0}]
        with tempfile.TemporaryDirectory() as place:
            results, docs = os.path.join(place, "results"), os.path.join(place, "docs")
            os.makedirs(results)
            os.makedirs(docs)
            with open(os.path.join(results, "meta.json"), "w") as file:
                json.dump(meta, file)
            with open(os.path.join(results, "runs.jsonl"), "w") as file:
                file.write("".join(json.dumps(line) + "\n" for line in runs))
            with open(os.path.join(docs, "performance.md"), "w") as file:
                file.write(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
            with contextlib.redirect_stdout(io.StringIO()):
                report.write(results, docs)
            with open(os.path.join(docs, "performance.md")) as file:
                page = file.read()
            self.assertTrue(page.startswith(f"before\n{report.BEGIN}\n") and page.endswith(f"\n{report.END}\nafter\n"))
            self.assertNotIn("old", page)
            self.assertLess(page.index("| lmdb | 0.00 ±0% | 2.00"), page.index("| **libseglog** | 0.00 ±0% | 1.00"))
            self.assertIn("0.50 (lmdb)", page)
            self.assertIn("libseglog, disk-128, round 1: it broke", page)
            for name in ("bench.json", "throughput-kernel.svg", "latency-disk.svg"):
                self.assertTrue(os.path.exists(os.path.join(docs, "bench", name)), name)


    def test_a_part_of_the_bench_is_not_published(self):
        with tempfile.TemporaryDirectory() as place:
            with open(os.path.join(place, "meta.json"), "w") as file:
                json.dump({"whole": False}, file)
            with self.assertRaises(SystemExit):
                report.write(place, place)


if __name__ == "__main__":
    unittest.main()
