"""What the bench measured, as a summary, tables and plots: medians of the rounds, with spread."""
import json
import os
import shutil
import statistics
import sys

import checks
import plot

OURS = "libseglog"
# No log: no lengths, no checksums, no recovery. It shows what a system call costs, and is no peer.
BARE = "write"
PAYLOADS = (("16", "16 B"), ("128", "128 B"), ("1024", "1 KiB"), ("16384", "16 KiB"))
QUANTILES = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99"), (1.0, "max"))
BEGIN, END = "<!-- bench begin -->", "<!-- bench end -->"
PLOTS = ("throughput-kernel.svg", "throughput-disk.svg", "throughput-batch.svg", "reading.svg", "latency-kernel.svg",
         "latency-disk.svg", "latency-disk-16t.svg")


# ---- statistics ----

def spread(values):
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "rounds": values}


def merged(histograms):
    """One histogram of several: [[highest ns of a bucket, count], ...], ascending."""
    counts = {}
    for histogram in histograms:
        for ns, count in histogram:
            counts[ns] = counts.get(ns, 0) + count
    return sorted(counts.items())


def quantile(histogram, q):
    """The least value that a part q of all samples do not exceed. None where not one sample lies beyond it."""
    samples = sum(count for _, count in histogram)
    if samples == 0 or (q < 1 and samples * (1 - q) < 0.9999):
        return None
    left = q * samples
    for ns, count in histogram:
        left -= count
        if left <= 1e-9:
            return ns
    return histogram[-1][0]


def sub_key(run):
    """Works of one process are separate results."""
    if run.get("key") in ("read", "kill", "kill-1gib", "segments"):
        name = {"scan": "scan", "open": "open", "read": f"read-{run.get('threads')}", "fill": "bytes"}[run["work"]]
        return name if run["key"] == "read" else f"{name}-{run['key']}"
    return run["key"]


def value_of(run):
    if run["work"] == "open":
        return run["seconds"]
    if run["work"] == "fill":
        return (run["disk_bytes"] - run["records"] * run["payload"]) / run["records"]
    return run["records"] / run["seconds"]


def summarize(runs):
    """What the JSON says, out of the lines of all runs: `results` is {key: {peer: spread}}."""
    values, histograms, limits, found, files, errors = {}, {}, {}, {}, {}, []
    for run in runs:
        if "error" in run:
            errors.append({name: run[name] for name in ("key", "round", "peer", "error")})
            continue
        if run["key"] == "limits":
            limits.setdefault(run["work"], []).append(run)
            continue
        if run["key"] == "segments-fill":
            continue
        key = sub_key(run)
        values.setdefault(key, {}).setdefault(run["peer"], []).append(value_of(run))
        if "hist" in run:
            histograms.setdefault(key, {}).setdefault(run["peer"], []).append(run["hist"])
        if run["work"] == "open":
            least = found.setdefault(key, {}).get(run["peer"], run["found"])
            found[key][run["peer"]] = min(least, run["found"])
            files.setdefault(key, {})[run["peer"]] = run["files"]
    latency = {}
    for key, peers in histograms.items():
        for peer, parts in peers.items():
            histogram = merged(parts)
            latency.setdefault(key, {})[peer] = {
                "samples": sum(count for _, count in histogram),
                **{name: quantile(histogram, q) for q, name in QUANTILES},
                "curve": [[q, quantile(histogram, q)] for q in plot.CURVE if quantile(histogram, q) is not None],
            }
    return {
        "results": {key: {peer: spread(v) for peer, v in peers.items()} for key, peers in values.items()},
        "latency": latency,
        "limits": {work: {"against": lines[0]["against"], "goal": lines[0]["goal"], "required": lines[0]["required"],
                          **{name: spread([line[name] for line in lines]) for name in ("limit_ns", "ours_ns", "ratio")}}
                   for work, lines in limits.items()},
        "found": found,
        "files": files,
        "errors": errors,
    }


def ratio(peers, lower_is_better=False):
    """Ours against the best peer: (the median of the rounds' ratios, the peer's name). Above 1: we are better."""
    others = {name: s for name, s in peers.items() if name not in (OURS, BARE)}
    if OURS not in peers or not others:
        return None
    best = (min if lower_is_better else max)(others, key=lambda name: others[name]["median"])
    pairs = [(a, b) for a, b in zip(peers[OURS]["rounds"], others[best]["rounds"]) if a > 0 and b > 0]
    if not pairs:
        return None
    return statistics.median([b / a if lower_is_better else a / b for a, b in pairs]), best


# ---- tables ----

def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(s, scale):
    if s is None:
        return "-"
    half = (s["high"] - s["low"]) / 2 / s["median"] if s["median"] else 0
    return f"{number(s['median'] * scale)} ±{half * 100:.0f}%"


def named(peer, text=None):
    return f"**{text or peer}**" if peer == OURS else (text or peer)


def table(results, columns, scale, order, lower_is_better=False, extra=None, extra_head=()):
    """Rows: contenders, the best in the column `order` first. Columns: (key, head)."""
    columns = [column for column in columns if column[0] in results]
    if not columns:
        return []
    order = order if order in results else columns[0][0]
    peers = sorted({peer for key, _ in columns for peer in results[key]},
                   key=lambda peer: (results[order].get(peer, {}).get("median", float("inf") if lower_is_better else 0)
                                     * (1 if lower_is_better else -1), peer))
    lines = ["| | " + " | ".join([head for _, head in columns] + list(extra_head)) + " |",
             "|---" * (len(columns) + 1 + len(extra_head)) + "|"]
    for peer in peers:
        cells = [cell(results[key].get(peer), scale) for key, _ in columns]
        lines.append("| " + " | ".join([named(peer)] + cells + (extra(peer) if extra else [])) + " |")
    ratios = []
    for key, _ in columns:
        against = ratio(results[key], lower_is_better)
        ratios.append("" if against is None else f"{against[0]:.2f} ({against[1]})")
    if any(ratios):
        lines.append("| " + " | ".join(["*libseglog against the best peer*"] + ratios + [""] * len(extra_head)) + " |")
    return lines + [""]


def by_payload(prefix):
    return [(f"{prefix}-{key}", head) for key, head in PAYLOADS]


def counted(counts, key, peer):
    return f"{counts[key][peer]:,}" if peer in counts.get(key, {}) else "-"


def by_threads(prefix):
    return [(f"{prefix}-128-4t", "128 B, 4 threads"), (f"{prefix}-128-16t", "128 B, 16 threads")]


def latency_table(latency):
    if not latency:
        return []
    lines = ["| | samples | " + " | ".join(name for _, name in QUANTILES) + " |", "|---" * (len(QUANTILES) + 2) + "|"]
    for peer in sorted(latency, key=lambda peer: latency[peer]["p99"] or float("inf")):
        cells = ["-" if latency[peer][name] is None else number(latency[peer][name] / 1000) for _, name in QUANTILES]
        lines.append("| " + " | ".join([named(peer), f"{latency[peer]['samples']:,}"] + cells) + " |")
    return lines + [""]


def checks_table(results):
    lines = ["| | class | each append | a batch of 100 | 16 threads, each append | after a kill |", "|---" * 6 + "|"]
    names = {"process": "held in the process", "kernel": "reaches the kernel", "disk": "durable"}
    for result in results:
        if "killed" not in result:
            continue
        killed = result["killed"]
        lines.append("| " + " | ".join(
            [named(result["peer"]), names[result["class"]]]
            + [checks.described(result[name]) for name in ("single", "batch", "threads")]
            + [f"{killed['found']:,} of {killed['records']:,}"]) + " |")
    return lines + [""] if len(lines) > 2 else []


def limits_table(limits):
    if not limits:
        return []
    lines = ["| work | against | limit, ns | libseglog, ns | ratio | goal |", "|---" * 6 + "|"]
    for work, line in limits.items():
        goal = f"{line['goal']:.2f}" if line["goal"] else ""
        lines.append(f"| {work} | {line['against']} | {cell(line['limit_ns'], 1)} | {cell(line['ours_ns'], 1)} | "
                     "{median:.2f} ({low:.2f} to {high:.2f})".format(**line["ratio"]) + f" | {goal} |")
    return lines + [""]


def markdown(meta, summary, checked):
    r = summary["results"]
    versions = ", ".join(f"{name} {peer['version']}" for name, peer in meta["peers"].items() if peer["version"] != "-")
    text = [
        f"Measured on {meta['date']}: {meta['processor']}, {meta['cores']} cores, {meta['memory_gib']} GiB, Linux "
        f"{meta['kernel']}, {meta['file_system']}; load {meta['load']:.1f} before; commit {meta['commit']}; "
        f"{meta['rounds']} rounds of {meta['ms']} ms. {versions}.", "",
        "Medians, and half the distance between the lowest and the highest round. "
        "`write` is no log and no peer: no lengths, no checksums, no recovery.", ""]
    sections = [
        ("Appends that survive a killed process, not synced (thousand records a second)",
         table(r, by_payload("kernel") + by_threads("kernel"), 1e-3, "kernel-128"), "throughput-kernel.svg"),
        ("Appends held in the process, lost when it is killed (thousand records a second; libseglog has no such mode)",
         table(r, by_payload("process"), 1e-3, "process-128"), None),
        ("Appends, each durable (thousand records a second)",
         table(r, by_payload("disk") + by_threads("disk"), 1e-3, "disk-128"), "throughput-disk.svg"),
        ("Batches of 100, each durable (thousand records a second)",
         table(r, by_payload("batch"), 1e-3, "batch-128"), "throughput-batch.svg"),
        (f"Reading {meta['stored']:,} records of 128 B, warm (thousand records a second)",
         table(r, [("scan", "scan"), ("read-1", "at random, 1 thread"), ("read-2", "at random, 2 threads")], 1e-3,
               "read-1"), "reading.svg"),
        (f"Opening {meta['stored']:,} records of 128 B, and 10,000 segments (milliseconds)",
         table(r, [("open", "after a close"), ("open-kill", "after a kill"), ("open-segments", "small segments"),
                   ("open-kill-1gib", "1 GiB after a kill")], 1e3,
               "open-kill", True,
               lambda peer: [counted(summary["found"], "open-kill", peer),
                             counted(summary["files"], "open-segments", peer)],
               ("records left by the kill", "files of the small segments")), None),
        ("Bytes on the disk beyond the payload, for each record of 128 B, after a close",
         table(r, [("bytes", "bytes a record")], 1, "bytes", True), None),
        ("Latency of an append of 128 B, not synced (microseconds)",
         latency_table(summary["latency"].get("kernel-128-latency")), "latency-kernel.svg"),
        ("Latency of a durable append of 128 B (microseconds)",
         latency_table(summary["latency"].get("disk-128")), "latency-disk.svg"),
        ("Latency of a durable append of 128 B beside 15 threads that do the same (microseconds)",
         latency_table(summary["latency"].get("disk-128-16t")), "latency-disk-16t.svg"),
        ("Latency of a durable batch of 100 x 128 B (microseconds)",
         latency_table(summary["latency"].get("batch-128")), None),
        ("Syncs, counted by strace, and what a kill leaves (`make bench-peers-check`)", checks_table(checked), None),
        ("Against the bare loops", limits_table(summary["limits"]), None),
    ]
    for title, lines, image in sections:
        if lines:
            text += [f"### {title}", ""] + lines
            if image:
                text += [f"![{title}](bench/{image})", ""]
    if summary["errors"]:
        text += ["### Failed", ""] + [f"- {e['peer']}, {e['key']}, round {e['round'] + 1}: {e['error'].strip()}"
                                      for e in summary["errors"]] + [""]
    return "\n".join(text)


# ---- files ----

def read_lines(path):
    if not os.path.exists(path):
        return []
    with open(path) as lines:
        return [json.loads(line) for line in lines]


def plots(summary, where):
    r = summary["results"]

    def panels(columns):
        return [(head, {peer: s["median"] / 1000 for peer, s in r[key].items()}) for key, head in columns if key in r]
    for name, columns, title in (
            ("kernel", by_payload("kernel") + by_threads("kernel"), "Appends that survive a killed process"),
            ("disk", by_payload("disk") + by_threads("disk"), "Appends, each durable"),
            ("batch", by_payload("batch"), "Batches of 100, each durable")):
        path = os.path.join(where, f"throughput-{name}.svg")
        plot.bars(path, title, "thousand records a second", panels(columns), OURS)
    plot.bars(os.path.join(where, "reading.svg"), "Reading records of 128 B, warm", "thousand records a second",
              panels([("scan", "scan"), ("read-1", "at random, 1 thread"), ("read-2", "at random, 2 threads")]), OURS)
    for key, name, title in (("kernel-128-latency", "kernel", "Latency of an append of 128 B, not synced"),
                             ("disk-128", "disk", "Latency of a durable append of 128 B"),
                             ("disk-128-16t", "disk-16t", "Latency of a durable append of 128 B, 16 threads")):
        curves = {peer: line["curve"] for peer, line in summary["latency"].get(key, {}).items()}
        plot.curves(os.path.join(where, f"latency-{name}.svg"), title, curves, OURS)


def write(results, docs):
    """Into `results`; with `docs`, its performance.md, between the marks, and its bench/ as well."""
    runs = read_lines(os.path.join(results, "runs.jsonl"))
    with open(os.path.join(results, "meta.json")) as file:
        meta = json.load(file)
    if docs is not None and not meta["whole"]:
        sys.exit("bench: a part of the works, of the contenders, or of five rounds is not published")
    checked = read_lines(os.path.join(results, "checks.jsonl"))
    summary = summarize(runs)
    text = markdown(meta, summary, checked)
    with open(os.path.join(results, "bench.md"), "w") as file:
        file.write(text)
    with open(os.path.join(results, "bench.json"), "w") as file:
        json.dump({"meta": meta, **summary, "checks": checked}, file, separators=(",", ":"))
    plots(summary, results)
    print(f"bench: {results}/bench.md, bench.json, *.svg")
    if docs is None:
        return
    page = os.path.join(docs, "performance.md")
    with open(page) as file:
        before, rest = file.read().split(BEGIN)
        after = rest.split(END)[1]
    with open(page, "w") as file:
        file.write(f"{before}{BEGIN}\n{text}\n{END}{after}")
    os.makedirs(os.path.join(docs, "bench"), exist_ok=True)
    for name in PLOTS + ("bench.json",):
        if os.path.exists(os.path.join(results, name)):
            shutil.copy(os.path.join(results, name), os.path.join(docs, "bench", name))
    print(f"bench: published into {page} and {docs}/bench")
