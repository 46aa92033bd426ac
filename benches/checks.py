"""What a contender does for durability, out of a trace of its system calls by strace -f -y, and whether that is what
its class says."""
import re

BEGIN, END = '"bench begin"', '"bench end"'
SYNCS = ("fsync", "fdatasync", "sync", "syncfs")
WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2")
RINGS = ("io_uring_enter", "io_submit")
CALL = re.compile(r"^(\d+)\s+(\w+)\((.*)")
RESUMED = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>(.*)")
OPENED = re.compile(r"= (\d+)")
FD = re.compile(r"^(\d+)")


def count_syncs(lines):
    """{"syncs": how many, "by": {call: how many}} between the marks. An msync without MS_SYNC is none; a write to a
    file that was opened with O_DSYNC or O_SYNC is one. What goes through io_uring is not seen, but that it does is."""
    by = {}
    synchronous = {}  # file descriptor: opened so that each write is synced
    opening = {}      # thread: flags of an openat that has not returned
    inside = False

    def count(name):
        by[name] = by.get(name, 0) + 1
    for line in lines:
        if BEGIN in line or END in line:
            inside = BEGIN in line
            continue
        resumed = RESUMED.match(line)
        if resumed:
            thread, name, rest = resumed.groups()
            if name == "openat" and thread in opening:
                note_open(synchronous, opening.pop(thread), rest)
            continue
        call = CALL.match(line)
        if not call:
            continue
        thread, name, rest = call.groups()
        if name == "openat":
            synced = "O_DSYNC" in rest or "O_SYNC" in rest
            if "<unfinished" in rest:
                opening[thread] = synced
            else:
                note_open(synchronous, synced, rest[rest.rfind("="):])
        elif not inside:
            continue
        elif name in SYNCS or (name == "msync" and "MS_SYNC" in rest):
            count(name)
        elif name in WRITES:
            fd = FD.match(rest)
            if "RWF_DSYNC" in rest or "RWF_SYNC" in rest or (fd and synchronous.get(fd.group(1))):
                count("O_DSYNC write")
        elif name in RINGS:
            count(name)
    return {"syncs": sum(n for name, n in by.items() if name not in RINGS), "by": by}


def note_open(synchronous, synced, result):
    opened = OPENED.search(result)
    if opened:
        synchronous[opened.group(1)] = synced


def complaints(kind, result):
    """What it does not do that its class says. Threads may share a sync; one thread that waits cannot."""
    found = []
    if kind == "disk":
        for name in ("single", "batch"):
            if result[name]["syncs"] < result[name]["calls"]:
                found.append(f"{name}: {result[name]['syncs']} syncs for {result[name]['calls']} durable appends")
        if result["threads"]["syncs"] == 0:
            found.append("threads: no sync")
    if kind != "process" and result["killed"]["found"] < result["killed"]["records"]:
        found.append(f"killed: {result['killed']['found']} of {result['killed']['records']} records left")
    return found


def described(counted):
    """1.00 fdatasync, 1.00 O_DSYNC write: for each call that appends."""
    if not counted["by"]:
        return "none"
    return ", ".join(f"{n / counted['calls']:.2f} {name}" for name, n in sorted(counted["by"].items()))


def line(result):
    """One contender in one class, for whoever watches."""
    if "killed" not in result:
        return f"{result['peer']:16} {result['class']:8} FAILED: {result['complaints']}"
    killed = result["killed"]
    return (f"{result['peer']:16} {result['class']:8} each: {described(result['single'])}; "
            f"batch: {described(result['batch'])}; 16 threads: {described(result['threads'])}; "
            f"killed: {killed['found']} of {killed['records']} left"
            + "".join(f"; BAD: {complaint}" for complaint in result["complaints"]))
