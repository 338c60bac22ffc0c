"""Clients that watch and do not read: what they make a member hold is bounded, and nobody else
notices."""

import json
import os
import socket
import time
import unittest

from cluster import Cluster, b64

# What the sanitizer keeps of freed memory is not the member's.
os.environ.setdefault("ASAN_OPTIONS", "quarantine_size_mb=1")

STALLED = 20
HISTORY_BYTES = 95_000_000
VALUE_BYTES = 100_000


def rss_mb(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1]) / 1024


def stalled_watcher(port, **fields):
    """A socket on which a watch has been asked for and from which nothing is ever read."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", port))
    body = json.dumps({"create_request": fields})
    s.sendall(f"POST /v3/watch HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}"
              .encode())
    return s


class WatchMemory(unittest.TestCase):
    def grows(self, member, seconds):
        """The most that it takes meanwhile, and the longest that another client waits."""
        most, slowest = 0, 0
        end = time.monotonic() + seconds
        client = member.client()
        while time.monotonic() < end:
            begin = time.monotonic()
            client.range("/none")  # Refused would be raised here
            slowest = max(slowest, time.monotonic() - begin)
            most = max(most, rss_mb(member.process.pid))
        client.close()
        return most, slowest

    def test_watchers_of_a_long_history_that_do_not_read(self):
        with Cluster(1) as cluster:
            member = cluster.start()
            client = member.client()
            for i in range(HISTORY_BYTES // VALUE_BYTES):
                client.put(f"/big/{i % 10}", "x" * VALUE_BYTES)
            before = rss_mb(member.process.pid)
            stalled = [stalled_watcher(member.client_port, key=b64("/"), range_end=b64("0"),
                                       start_revision=2, prev_kv=i % 2 == 1)
                       for i in range(STALLED)]
            most, slowest = self.grows(member, 3)
            print(f"{STALLED} stalled: {before:.0f} -> {most:.0f} MB, "
                  f"slowest range {slowest * 1000:.0f} ms")
            # Each holds at most what is high for a stream, a batch and a revision, in base64.
            self.assertLess(most - before, STALLED * 2.5)
            self.assertLess(slowest, 2)
            client.put("/big/0", "after")  # nor are those who write held up
            for s in stalled:
                s.close()
            client.close()


if __name__ == "__main__":
    unittest.main()
