"""What one client does to the others, on a real member: large ranges are whole and of one revision while
writes go on, and greedy or stalled clients take nothing from those that ask for little."""

import struct
import subprocess
import threading
import time
import os
import unittest

from api_grpc import field, frame
from api_hostile import H2, DATA, END_HEADERS, END_STREAM, HEADERS, RST, WINDOW_UPDATE
from api_hostile import grpc_headers, h2, request, rss_kb
from cluster import Cluster, b64, program, unb64

KEYS = 12000


def key(i):
    return f"/{i:06}"


class Fair(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(1)
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)
        cls.cluster.start()
        cls.member = cls.cluster.members[0]
        cls.client = cls.member.client(30)
        for at in range(0, KEYS, 100):
            cls.client.call("/v3/kv/txn", {"success": [
                {"request_put": {"key": b64(key(i)), "value": b64(f"{KEYS - i:06}")}}
                for i in range(at, at + 100)]})

    def setUp(self):
        self.assertIsNone(self.member.process.poll())

    def ranged(self, **more):
        got = self.client.range("/", "0", **more)
        return got, [unb64(kv["key"]).decode() for kv in got.get("kvs", [])]

    def test_large_ranges_are_whole_in_every_order(self):
        all_keys = [key(i) for i in range(KEYS)]
        got, keys = self.ranged()
        self.assertEqual((keys, got["count"], got.get("more")), (all_keys, str(KEYS), None))
        self.assertEqual(unb64(got["kvs"][7]["value"]).decode(), f"{KEYS - 7:06}")
        got, keys = self.ranged(limit=KEYS - 1)
        self.assertEqual((keys, got["count"], got["more"]), (all_keys[:-1], str(KEYS), True))
        got, keys = self.ranged(sort_order="DESCEND", limit=5000)
        self.assertEqual((keys, got["more"]), (all_keys[:-5001:-1], True))
        got, keys = self.ranged(sort_order="ASCEND", sort_target="VALUE", serializable=True)
        self.assertEqual(keys, all_keys[::-1])
        got, keys = self.ranged(keys_only=True, min_mod_revision=got["kvs"][KEYS // 2]["mod_revision"])
        self.assertEqual((len(keys), got["count"]), (len(keys), str(KEYS)))
        self.assertTrue(0 < len(keys) < KEYS and all("value" not in kv for kv in got["kvs"]))

    def test_large_ranges_over_grpc(self):
        got = subprocess.run(
            ["etcdctl", "--endpoints", f"http://127.0.0.1:{self.member.client_port}", "get",
             "--prefix", "/", "--keys-only"], env={**os.environ, "ETCDCTL_API": "3"}, check=True,
            stdout=subprocess.PIPE, text=True).stdout.split()
        self.assertEqual(got, [key(i) for i in range(KEYS)])

    def test_large_ranges_are_of_one_revision_while_writes_go_on(self):
        """Each write gives two keys far apart the same value: a range sees both or neither."""
        over = threading.Event()
        failed = []

        def write():
            client, n = self.member.client(30), 0
            while not over.is_set():
                n += 1
                try:
                    client.call("/v3/kv/txn", {"success": [
                        {"request_put": {"key": b64(k), "value": b64(str(n))}}
                        for k in ("/00000a", "/zzz")]})
                    if n % 20 == 0:
                        client.call("/v3/kv/compaction",
                                    {"revision": client.range("a")["header"]["revision"]})
                except Exception as e:  # pylint: disable=broad-except
                    failed.append(e)
                    return
            client.close()

        writer = threading.Thread(target=write)
        writer.start()
        seen = set()
        try:
            for _ in range(12):
                got, _ = self.ranged()
                pair = [kv for kv in got["kvs"] if unb64(kv["key"]) in (b"/00000a", b"/zzz")]
                if pair:
                    self.assertEqual(len(pair), 2)
                    self.assertEqual(pair[0]["mod_revision"], pair[1]["mod_revision"])
                    self.assertEqual(pair[0]["value"], pair[1]["value"])
                    self.assertLessEqual(int(pair[0]["mod_revision"]),
                                         int(got["header"]["revision"]))
                    seen.add(pair[0]["value"])
        finally:
            over.set()
            writer.join()
        self.assertEqual(failed, [])
        self.assertGreater(len(seen), 2)
        self.client.call("/v3/kv/deleterange", {"key": b64("/00000a")})
        self.client.call("/v3/kv/deleterange", {"key": b64("/zzz")})

    def test_a_greedy_connection_delays_the_next_one_little(self):
        load = subprocess.Popen(
            [program("decree-bench"), "put", "--endpoints",
             f"http://127.0.0.1:{self.member.client_port}", "--conns", "1", "--streams", "1000",
             "--seconds", "4", "--warmup", "0"], stdout=subprocess.PIPE, text=True)
        client = self.member.client(30)
        waits = []
        while load.poll() is None:
            begun = time.monotonic()
            client.put("light", "1")
            waits.append(time.monotonic() - begun)
        out = load.communicate()[0]
        self.assertEqual(load.returncode, 0, out)
        self.assertIn(" 0 errors", out)
        # A thousand puts of the greedy one are ahead at any time, far less than all of them here.
        self.assertLess(sorted(waits)[len(waits) // 2], 0.5)
        client.close()


if __name__ == "__main__":
    unittest.main()
