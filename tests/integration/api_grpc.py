"""gRPC as it is on the wire: the same bytes to Debian's etcd and to us, through curl; and etcdctl."""

import base64
import hashlib
import json
import os
import re
import struct
import subprocess
import threading
import unittest

import api_server


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def frame(message, flag=0):
    return struct.pack(">BI", flag, len(message)) + message


class Answer:
    def __init__(self, code, headers, body):
        self.code, self.body = code, body
        self.status = headers.get("grpc-status")
        self.message = headers.get("grpc-message")
        self.http = headers.get(":status")
        self.type = headers.get("content-type")

    def __repr__(self):
        return f"curl={self.code} http={self.http} status={self.status} {self.message!r} {self.body!r}"

    def __eq__(self, other):
        return repr(self) == repr(other)


class Grpc(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.folder = api_server.folder()
        cls.addClassCleanup(api_server.remove, cls.folder)
        cls.theirs = api_server.etcd(cls.folder)
        cls.addClassCleanup(cls.theirs.stop)
        cls.ours = api_server.ours(cls.folder)
        cls.addClassCleanup(cls.ours.stop)

    def call(self, server, path, body, *options, seconds=5):
        names = [os.path.join(self.folder, n) for n in ("body", "headers", "answer")]
        with open(names[0], "wb") as f:
            f.write(body)
        for n in names[1:]:
            open(n, "wb").close()
        run = subprocess.run(
            ["curl", "-s", "-m", str(seconds), "--http2-prior-knowledge", "-D", names[1], "-o",
             names[2], "-H", "content-type: application/grpc", "-H", "te: trailers", *options,
             "--data-binary", "@" + names[0], server.url + path], check=False)
        headers = {}
        with open(names[1], encoding="utf-8") as f:
            for line in f:
                name, colon, value = line.strip().partition(": ")
                if line.startswith("HTTP/2"):
                    headers[":status"] = line.split()[1]
                elif colon:
                    headers[name.lower()] = value
        with open(names[2], "rb") as f:
            return Answer(run.returncode, headers, f.read())

    def same(self, path, body, *options, body_too=False):
        theirs = self.call(self.theirs, path, body, *options)
        for _ in range(10):  # etcd may answer before curl has sent all, which confuses curl
            if theirs.code == 0:
                break
            theirs = self.call(self.theirs, path, body, *options)
        ours = self.call(self.ours, path, body, *options)
        if not body_too:
            theirs.body, ours.body = len(theirs.body) > 0, len(ours.body) > 0
        self.assertEqual(theirs, ours, f"{path} {body[:50]} {options}")
        return ours

    def test_calls_and_errors_are_etcds(self):
        key = field(1, b"a")
        put = frame(key + field(2, b"value"))
        self.same("/etcdserverpb.KV/Put", put)
        self.same("/etcdserverpb.KV/Range", frame(key))
        self.same("/etcdserverpb.KV/Range", frame(b""))
        self.same("/etcdserverpb.KV/Range", b"")
        self.same("/etcdserverpb.KV/Range", frame(b"\x0a\x05a"))
        self.same("/etcdserverpb.KV/Range", frame(key, flag=1))
        self.same("/etcdserverpb.KV/Range", frame(key), "-H", "grpc-encoding: gzip")
        self.same("/etcdserverpb.KV/Range", frame(key), "-H", "grpc-encoding: identity")
        self.same("/etcdserverpb.KV/Range", b"\0\x7f\0\0\x03\x0a\x01a")
        self.same("/etcdserverpb.KV/Range", frame(key) + frame(key))
        self.same("/etcdserverpb.KV/Nope", frame(key))
        self.same("/etcdserverpb.Nope/Nope", frame(key))
        self.same("/nope", frame(key))
        self.same("/grpc.health.v1.Health/Check", frame(b""), body_too=True)
        self.same("/grpc.health.v1.Health/Check", frame(field(1, b"x")))
        self.same("/etcdserverpb.KV/Compact", frame(field(1, 99999)))
        self.same("/etcdserverpb.KV/Compact", frame(field(1, 2)))
        self.same("/etcdserverpb.KV/Compact", frame(field(1, 1)))
        self.same("/etcdserverpb.KV/Txn", frame(field(2, b"") * 200))
        self.same("/etcdserverpb.KV/Txn", frame(field(2, b"")))
        self.same("/etcdserverpb.Lease/LeaseRevoke", frame(field(1, 5)))
        self.same("/etcdserverpb.Lease/LeaseGrant", frame(field(1, 9000000001)))
        self.same("/etcdserverpb.Lease/LeaseKeepAlive", frame(field(1, 5)))
        self.same("/etcdserverpb.Lease/LeaseKeepAlive", frame(field(1, 5)) * 3)
        self.same("/etcdserverpb.Cluster/MemberList", frame(b""))
        self.same("/etcdserverpb.Maintenance/Status", frame(b""))

    def test_large_messages(self):
        exact = 2 * 1024 * 1024
        answer = self.call(self.ours, "/etcdserverpb.KV/Put", frame(b"\0" * (exact + 1)))
        self.assertEqual((answer.status, answer.message), (
            "8", "grpc: received message larger than max (2097153 vs. 2097152)"))
        ok = field(1, b"large") + field(2, b"v" * 1024 * 1024)
        self.same("/etcdserverpb.KV/Put", frame(ok))
        theirs = self.call(self.theirs, "/etcdserverpb.KV/Range", frame(field(1, b"large")))
        ours = self.call(self.ours, "/etcdserverpb.KV/Range", frame(field(1, b"large")))
        self.assertEqual(len(theirs.body) > 1024 * 1024, len(ours.body) > 1024 * 1024)
        self.assertIn(b"v" * 1024 * 1024, ours.body)

    def test_an_answer_larger_than_any_window(self):
        for i in range(12):
            value = field(1, b"w/%02d" % i) + field(2, bytes([65 + i]) * 1024 * 1024)
            self.assertEqual(self.call(self.ours, "/etcdserverpb.KV/Put", frame(value)).status, "0")
        everything = frame(field(1, b"w/") + field(2, b"w0"))
        answer = self.call(self.ours, "/etcdserverpb.KV/Range", everything, seconds=20)
        self.assertEqual((answer.code, answer.status), (0, "0"))
        self.assertEqual(struct.unpack(">I", answer.body[1:5])[0], len(answer.body) - 5)
        for i in range(12):
            self.assertIn(bytes([65 + i]) * 1024 * 1024, answer.body)

    def test_what_is_not_here_yet_is_unimplemented(self):
        for path, text in (
                ("/etcdserverpb.KV/RangeStream",
                 "unknown method RangeStream for service etcdserverpb.KV"),
                ("/etcdserverpb.Maintenance/Downgrade",
                 "unknown method Downgrade for service etcdserverpb.Maintenance"),
                ("/etcdserverpb.Auth/AuthEnable", "unknown service etcdserverpb.Auth"),
                ("/v3lockpb.Lock/Lock", "unknown service v3lockpb.Lock")):
            answer = self.call(self.ours, path, frame(b""))
            self.assertEqual((answer.status, answer.message), ("12", text))

    def test_what_is_not_here_yet_is_unimplemented_as_json_too(self):
        for path, text in (
                ("/v3/lock/lock", "unknown service v3lockpb.Lock"),
                ("/v3/lock/unlock", "unknown service v3lockpb.Lock"),
                ("/v3beta/election/campaign", "unknown service v3electionpb.Election"),
                ("/v3/auth/enable", "unknown service etcdserverpb.Auth"),
                ("/v3/maintenance/downgrade",
                 "unknown method Downgrade for service etcdserverpb.Maintenance")):
            self.assertEqual(api_server.post(self.ours.port, path, {}),
                             (501, {"error": text, "message": text, "code": 12}), path)
        for path in ("/v3/nope", "/v3/maintenance/nope", "/v3/lock", "/lock/lock"):
            self.assertEqual(api_server.call(self.ours.port, "POST", path, "{}")[0], 404, path)

    def test_timeout_is_honoured(self):
        answer = self.call(self.ours, "/etcdserverpb.Watch/Watch", frame(field(1, field(1, b"a"))),
                           "-H", "grpc-timeout: 200m")
        self.assertEqual((answer.code, answer.status, answer.message),
                         (0, "4", "context deadline exceeded"))
        answer = self.call(self.ours, "/etcdserverpb.KV/Range", frame(field(1, b"a")),
                           "-H", "grpc-timeout: soon")
        self.assertEqual(answer.status, "13")

    def test_nesting_is_bounded(self):
        def txn(depth):
            op = field(1, field(1, b"a"))
            for _ in range(depth):
                op = field(4, field(2, op))
            return frame(field(2, op))

        self.assertEqual(self.call(self.ours, "/etcdserverpb.KV/Txn", txn(5)).status, "0")
        for depth in (20, 400, 10000):
            answer = self.call(self.ours, "/etcdserverpb.KV/Txn", txn(depth))
            self.assertEqual(answer.status, "3", depth)

    def test_message_text_is_percent_encoded(self):
        answer = self.call(self.ours, "/100%25/%C3%BC", frame(b""))
        self.assertEqual(answer.status, "12")
        self.assertEqual(answer.message, "unknown service 100%2525")
        self.assertRegex(answer.message, r"^[ -~]*$")


class Etcdctl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = api_server.folder()
        cls.addClassCleanup(api_server.remove, cls.folder)
        cls.ours = api_server.ours(cls.folder)
        cls.addClassCleanup(cls.ours.stop)

    def ctl(self, *arguments, code=0):
        run = subprocess.run(["etcdctl", "--endpoints", self.ours.url, *arguments],
                             env={**os.environ, "ETCDCTL_API": "3"}, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, timeout=20, check=False)
        self.assertEqual(run.returncode, code, run.stdout)
        return run.stdout

    def test_keys(self):
        self.assertEqual(self.ctl("put", "e/1", "one"), "OK\n")
        self.assertEqual(self.ctl("put", "e/2", "two"), "OK\n")
        self.assertEqual(self.ctl("get", "--prefix", "e/"), "e/1\none\ne/2\ntwo\n")
        self.assertEqual(self.ctl("get", "--prefix", "e/", "--keys-only"), "e/1\n\ne/2\n\n")
        self.assertEqual(self.ctl("put", "--prev-kv", "e/1", "1"), "OK\ne/1\none\n")
        self.assertEqual(self.ctl("del", "--prev-kv", "e/1"), "1\ne/1\n1\n")
        self.assertIn("key not found", self.ctl("put", "e/none", "--ignore-value", code=1))

    def test_txn(self):
        run = subprocess.run(["etcdctl", "--endpoints", self.ours.url, "txn"],
                             env={**os.environ, "ETCDCTL_API": "3"}, text=True, timeout=20,
                             input='create("t") = "0"\n\nput t 1\n\nget t\n\n',
                             stdout=subprocess.PIPE, check=True)
        self.assertEqual(run.stdout.split(), ["SUCCESS", "OK"])

    def test_txn_with_long_lists(self):
        for i in range(5):
            self.ctl("put", f"n/{i}", f"v{i}")
        everything = [word for i in range(5) for word in (f"n/{i}", f"v{i}")]
        run = subprocess.run(["etcdctl", "--endpoints", self.ours.url, "txn"],
                             env={**os.environ, "ETCDCTL_API": "3"}, text=True, timeout=20,
                             input='\nget n/ --prefix\nput n 1\ndel n/ --prefix --prev-kv\n'
                             'get n/ --prefix\n\n\n', stdout=subprocess.PIPE, check=True)
        self.assertEqual(run.stdout.split(), ["SUCCESS", *everything, "OK", "5", *everything])
        for i in range(5):
            self.ctl("put", f"n/{i}", f"v{i}")
        self.assertEqual(self.ctl("del", "--prefix", "n/", "--prev-kv").split(), ["5", *everything])

    def test_leases(self):
        lease = re.match(r"lease ([0-9a-f]+) granted with TTL\(60s\)", self.ctl("lease", "grant", "60"))
        self.ctl("put", "--lease", lease[1], "l/1", "x")
        self.assertIn(f"lease {lease[1]} granted with TTL(60s), remaining(",
                      self.ctl("lease", "timetolive", lease[1], "--keys"))
        self.assertIn(lease[1], self.ctl("lease", "list"))
        self.assertIn("keepalived with TTL(60)",
                      self.ctl("lease", "keep-alive", "--once", lease[1]))
        self.assertIn("revoked", self.ctl("lease", "revoke", lease[1]))
        self.assertEqual(self.ctl("get", "l/1"), "")
        self.assertIn("requested lease not found", self.ctl("lease", "revoke", lease[1], code=1))

    def test_watch(self):
        watch = subprocess.Popen(["etcdctl", "--endpoints", self.ours.url, "watch", "--prefix", "w/",
                                  "--rev", "1"], env={**os.environ, "ETCDCTL_API": "3"},
                                 stdout=subprocess.PIPE, text=True)
        killer = threading.Timer(20, watch.kill)
        killer.start()
        try:
            self.ctl("put", "w/1", "a")
            self.ctl("del", "w/1")
            got = [watch.stdout.readline().strip() for _ in range(5)]
            self.assertEqual(got, ["PUT", "w/1", "a", "DELETE", "w/1"])
        finally:
            killer.cancel()
            watch.kill()
            watch.wait()
            watch.stdout.close()

    def test_answers_of_many_megabytes(self):
        """More than a connection may have waiting: the client says on it when there is room."""
        n, value = 80, "x" * 100_000
        for i in range(n):
            api_server.post(self.ours.port, "/v3/kv/put",
                            {"key": api_server.b64(f"m/{i:02}"), "value": api_server.b64(value)})
        got = self.ctl("get", "--prefix", "m/").split("\n")
        self.assertEqual(got[:-1:2], [f"m/{i:02}" for i in range(n)])
        self.assertTrue(all(v == value for v in got[1::2]))
        watch = subprocess.Popen(["etcdctl", "--endpoints", self.ours.url, "watch", "--prefix", "m/",
                                  "--rev", "1"], env={**os.environ, "ETCDCTL_API": "3"},
                                 stdout=subprocess.PIPE, text=True)
        killer = threading.Timer(20, watch.kill)
        killer.start()
        try:
            for i in range(n):
                got = [watch.stdout.readline().strip() for _ in range(3)]
                self.assertEqual((got[:2], len(got[2])), (["PUT", f"m/{i:02}"], len(value)))
        finally:
            killer.cancel()
            watch.kill()
            watch.wait()
            watch.stdout.close()

    def test_z_compaction_and_cluster(self):
        for i in range(5):
            self.ctl("put", "c", str(i))
        self.assertIn("compacted revision 3", self.ctl("compaction", "3"))
        self.assertIn("required revision has been compacted", self.ctl("compaction", "3", code=1))
        self.assertIn("required revision is a future revision",
                      self.ctl("compaction", "99999", code=1))
        self.assertIn("required revision has been compacted",
                      self.ctl("get", "c", "--rev", "2", code=1))
        self.assertIn("started", self.ctl("member", "list"))
        self.assertRegex(self.ctl("endpoint", "status"), r", 3\.\d+\.\d+, ")
        self.assertIn("is healthy", self.ctl("endpoint", "health"))

    def test_snapshot(self):
        for i in range(4):
            self.ctl("put", f"s/{i}", "x" * 50000)
        path = os.path.join(self.folder, "saved.db")
        self.assertIn("Snapshot saved at", self.ctl("snapshot", "save", path))
        with open(path, "rb") as f:
            saved = f.read()
        self.assertEqual(len(saved) % 512, 32)
        self.assertEqual(hashlib.sha256(saved[:-32]).digest(), saved[-32:])
        lines = [json.loads(line)["result"] for line in api_server.call(
            self.ours.port, "POST", "/v3/maintenance/snapshot", "{}")[2].splitlines()]
        blobs = [base64.b64decode(line["blob"]) for line in lines]
        self.assertTrue(all(len(b) == 32 * 1024 for b in blobs[:-2]))
        self.assertEqual(len(blobs[-1]), 32)
        self.assertEqual(hashlib.sha256(b"".join(blobs[:-1])).digest(), blobs[-1])
        left = [int(line.get("remaining_bytes", "0")) for line in lines]
        self.assertEqual(left, sorted(left, reverse=True))
        self.assertEqual(left[-2:], [0, 0])
        self.assertNotIn(0, left[:-2])

    def test_maintenance(self):
        self.assertIn("Finished defragmenting", self.ctl("defrag"))
        self.assertRegex(self.ctl("endpoint", "hashkv"), r", \d+\n$")
        self.assertEqual(self.ctl("alarm", "list"), "")
        api_server.post(self.ours.port, "/v3/maintenance/alarm",
                        {"action": "ACTIVATE", "memberID": 9, "alarm": "CORRUPT"})
        self.assertEqual(self.ctl("alarm", "list"), "memberID:9 alarm:CORRUPT \n")
        self.assertIn("corrupt cluster", self.ctl("put", "a", "b", code=1))
        self.assertEqual(api_server.call(self.ours.port, "GET", "/health")[2],
                         '{"health":"false","reason":"ALARM CORRUPT"}')
        self.assertEqual(api_server.call(self.ours.port, "GET", "/readyz")[0], 503)
        self.assertEqual(self.ctl("alarm", "disarm"), "memberID:9 alarm:CORRUPT \n")
        self.assertEqual(self.ctl("alarm", "list"), "")
        self.assertIn("is healthy", self.ctl("endpoint", "health"))


if __name__ == "__main__":
    unittest.main()
