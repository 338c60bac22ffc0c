"""Where the bytes of a stopped member's files lie (store/wal/wal_record.h, snap_file.h): what the tests
that damage them need to know, and no more."""

import os
import shutil
import struct

RECORDS_START, HEADER, ALIGN = 4096, 48, 8
AT_LENGTH, AT_TYPE, AT_MARK, SALT_AT = 12, 16, 40, 24
ENTRY = 5
SECTOR = 512


class Record:
    def __init__(self, start, data):
        (length,) = struct.unpack_from("<I", data, start + AT_LENGTH)
        self.start, self.end = start, start + HEADER + (length + ALIGN - 1) // ALIGN * ALIGN
        self.type = data[start + AT_TYPE]
        (self.mark,) = struct.unpack_from("<Q", data, start + AT_MARK)


def segments(data_dir):
    """The log's files, oldest first; the last ones may be prepared and empty."""
    folder = os.path.join(data_dir, "wal")
    return [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.endswith(".seg")]


def records(path):
    """The records of one segment in order; each begins with the low half of the segment's salt."""
    with open(path, "rb") as f:
        data = f.read()
    tag, at, found = data[SALT_AT:SALT_AT + 4], RECORDS_START, []
    while at + HEADER <= len(data) and data[at:at + 4] == tag:
        record = Record(at, data)
        if record.end > len(data):
            break
        found.append(record)
        at = record.end
    return found


def used(data_dir):
    """What is in use of log and snapshots: (file, bytes from its beginning)."""
    parts = []
    for path in segments(data_dir):
        found = records(path)
        if found:
            parts.append((path, found[-1].end))
    folder = os.path.join(data_dir, "snap")
    for name in sorted(os.listdir(folder)):
        if name.endswith(".snap"):
            path = os.path.join(folder, name)
            parts.append((path, os.path.getsize(path)))
    return parts


def copy(data_dir, to):
    """The files of a stopped member; the socket it left is none."""
    shutil.copytree(data_dir, to, ignore=shutil.ignore_patterns("*.sock"))
