#!/usr/bin/env python3
"""quickstart: open a log, append, read one record back, walk them all, close. Python's ctypes, nothing installed.

    python3 quickstart.py [DIR]

The library is taken from $SEGLOG_LIBRARY, else from ../target/release or ../target/debug, else from the system.
"""

import ctypes
import ctypes.util
import os
import sys
from ctypes import POINTER, byref, c_char, c_char_p, c_int32, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

LOG_END, LOG_E_BUFFER = 1, 12
LOG_VERSION = (0, 1)  # what the structs below are written for: before 1.0 each minor version has its own ABI


# The structs of seglog.h that this program uses.


class LogError(ctypes.Structure):
    _fields_ = [("status", c_int32), ("os_error", c_int32), ("offset", c_uint64), ("message", c_char * 240)]


class LogRecord(ctypes.Structure):  # log_bytes_t payload stands here as its two fields
    _fields_ = [("offset", c_uint64), ("timestamp_ns", c_uint64), ("data", c_void_p), ("len", c_size_t)]


class LogStat(ctypes.Structure):
    _fields_ = (
        [("struct_size", c_uint32), ("segment_count", c_uint32)]
        + [(name, c_uint64) for name in ("first_offset", "next_offset", "durable_offset")]
        + [(name, c_uint64) for name in ("disk_bytes", "payload_bytes", "recovered_records", "dropped_bytes")]
        + [(name, c_uint64) for name in ("appends", "syncs", "syncs_shared")]
        + [("io", c_uint32), ("writer_pid", c_int32), ("log_id", c_uint8 * 16)]
    )


def load_library():
    """Finds the library, and tells ctypes the signature of each function: without that it would cut pointers."""
    target = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "target")
    built = [os.path.join(target, kind, "libseglog.so") for kind in ("release", "debug")]
    path = os.environ.get("SEGLOG_LIBRARY") or next((p for p in built if os.path.exists(p)), None)
    lib = ctypes.CDLL(path or ctypes.util.find_library("seglog") or "libseglog.so.0.1")

    log, cursor, error = c_void_p, c_void_p, POINTER(LogError)
    lib.log_version.argtypes = []
    lib.log_version.restype = c_uint32
    lib.log_status_name.argtypes = [c_int32]
    lib.log_status_name.restype = c_char_p
    lib.log_open.argtypes = [c_char_p, c_void_p, POINTER(log), error]
    lib.log_close.argtypes = [log, error]
    lib.log_append.argtypes = [log, c_char_p, c_size_t, POINTER(c_uint64), error]
    lib.log_read.argtypes = [log, c_uint64, c_void_p, c_size_t, POINTER(c_size_t), error]
    lib.log_stat.argtypes = [log, POINTER(LogStat), error]
    lib.log_cursor_open.argtypes = [log, c_uint64, POINTER(cursor), error]
    lib.log_cursor_next.argtypes = [cursor, POINTER(LogRecord), error]
    lib.log_cursor_close.argtypes = [cursor]
    lib.log_cursor_close.restype = None
    for name in ("open", "close", "append", "read", "stat", "cursor_open", "cursor_next"):
        getattr(lib, "log_" + name).restype = c_int32  # log_status_t

    version = (lib.log_version() >> 16, lib.log_version() >> 8 & 0xFF)
    if version != LOG_VERSION:
        raise ImportError("libseglog is version %d.%d, this program needs %d.%d" % (version + LOG_VERSION))
    return lib


lib = load_library()


class SeglogError(Exception):
    """A call failed; the text is the library's own sentence."""

    def __init__(self, error):
        name = lib.log_status_name(error.status).decode()
        super().__init__("%s: %s" % (name, error.message.decode(errors="replace")))
        self.status, self.os_error, self.offset = error.status, error.os_error, error.offset


def call(function, *arguments):
    """Calls, adds the log_error_t, and makes a failure an exception. 1 to 9 are answers, not failures."""
    error = LogError()
    status = function(*arguments, byref(error))
    if status >= 10:
        raise SeglogError(error)
    return status


class Log:
    def __init__(self, directory):
        self._log = c_void_p()
        call(lib.log_open, os.fsencode(directory), None, byref(self._log))  # None: the safest configuration

    def append(self, data):
        """Returns the record's offset once the record survives power loss."""
        offset = c_uint64()
        call(lib.log_append, self._log, data, len(data), byref(offset))
        return offset.value

    def read(self, offset):
        length = c_size_t(4096)
        while True:
            buffer = ctypes.create_string_buffer(length.value)
            try:
                call(lib.log_read, self._log, offset, buffer, len(buffer), byref(length))
                return buffer.raw[: length.value]
            except SeglogError as error:
                if error.status != LOG_E_BUFFER:
                    raise  # else the buffer was too small, and length says by now what it takes

    def __iter__(self):
        """Yields (offset, payload) of each record, from the first on."""
        stat = LogStat(struct_size=ctypes.sizeof(LogStat))
        call(lib.log_stat, self._log, byref(stat))
        cursor, record = c_void_p(), LogRecord()
        call(lib.log_cursor_open, self._log, stat.first_offset, byref(cursor))
        try:
            while call(lib.log_cursor_next, cursor, byref(record)) != LOG_END:
                # The record is lent until the next call on the cursor: copy it.
                yield record.offset, ctypes.string_at(record.data, record.len) if record.len else b""
        finally:
            lib.log_cursor_close(cursor)

    def close(self):
        log, self._log = self._log, c_void_p()  # freed even if closing fails, and then closing NULL is fine
        call(lib.log_close, log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def main():
    with Log(sys.argv[1] if len(sys.argv) > 1 else "my-log") as log:
        offset = log.append(b"hello")
        log.append(b"world")
        print("appended and read back at offset %d: %s" % (offset, log.read(offset).decode()))
        for offset, payload in log:
            print("%d: %s" % (offset, payload.decode(errors="replace")))


if __name__ == "__main__":
    try:
        main()
    except SeglogError as error:
        sys.exit("quickstart.py: %s" % error)
