"""The record of what clients saw, one JSON object a line, as tests/sim/history_check reads it. Each
process writes a part of its own; times are nanoseconds of the machine's monotonic clock."""

import base64
import json
import threading
import time

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"


def now():
    return time.monotonic_ns()


class Part:
    """A file that threads write lines to."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="ascii", buffering=1 << 16)
        self.lock = threading.Lock()

    def write(self, *lines):
        """One after the other, with no other thread's between them."""
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        with self.lock:
            self.file.write(text)

    def close(self):
        self.file.close()


def text_of(b64):
    """Keys and values of the load are ASCII."""
    return base64.b64decode(b64).decode()


def change_of(event):
    """One event of a watch as the gateway says it."""
    kv = event["kv"]
    change = {"revision": int(kv["mod_revision"]), "key": text_of(kv["key"])}
    if event.get("type") == "DELETE":
        change["delete"] = True
    else:
        change["value"] = text_of(kv.get("value", ""))
        if "lease" in kv:
            change["lease"] = int(kv["lease"])
    return change
