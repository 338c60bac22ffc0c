"""Bad and hostile clients: every one gets a clear answer or is cut off, memory stays bounded, and good
clients do not notice."""

import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

import api_server
from api_grpc import field, frame
from api_server import b64
from cluster import program, until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def h2(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def grpc_headers(path):
    return b"".join(header(n, v) for n, v in (
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x"),
        (b"content-type", b"application/grpc"), (b"te", b"trailers")))


def request(stream, path, body, end=True):
    return (h2(HEADERS, END_HEADERS, stream, grpc_headers(path)) +
            h2(DATA, END_STREAM if end else 0, stream, body))


class H2:
    """Just enough of an HTTP/2 client to misbehave."""

    def __init__(self, port, timeout=5, window=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        settings = b"" if window is None else struct.pack(">HI", 4, window)
        self.send(PREFACE + h2(SETTINGS, 0, 0, settings))
        self.pending = b""

    def send(self, data):
        self.socket.sendall(data)

    def exactly(self, n):
        while len(self.pending) < n:
            part = self.socket.recv(65536)
            if not part:
                return None
            self.pending += part
        out, self.pending = self.pending[:n], self.pending[n:]
        return out

    def frame(self):
        """(kind, flags, stream, payload) or None at the end."""
        head = self.exactly(9)
        if head is None:
            return None
        payload = self.exactly(int.from_bytes(head[:3], "big"))
        return head[3], head[4], int.from_bytes(head[5:], "big"), payload

    def until(self, kind, stream=None):
        while (f := self.frame()) is not None:
            if f[0] == kind and stream in (None, f[2]):
                return f
        return None

    def goaway_code(self):
        try:
            f = self.until(GOAWAY)
        except ConnectionError:
            return "reset"
        return None if f is None else int.from_bytes(f[3][4:8], "big")

    def close(self):
        self.socket.close()


def exchange(port, data, timeout=5):
    """Raw bytes in, all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout) as s:
        s.sendall(data)
        out = b""
        try:
            while part := s.recv(65536):
                out += part
        except ConnectionResetError:
            pass
        return out


def rss_kb(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1])


class Hostile(unittest.TestCase):
    def setUp(self):
        self.folder = api_server.folder()
        self.addCleanup(api_server.remove, self.folder)
        self.sock = os.path.join(self.folder, "s")
        self.server = api_server.ours(self.folder, f"unix://{self.sock}")
        self.addCleanup(self.end)
        self.port = self.server.port

    def end(self):
        """Whatever happened, it still serves and stops cleanly: leaks and asserts would show."""
        self.assertEqual(api_server.post(self.port, "/v3/kv/range", {"key": b64("a")})[0], 200)
        self.assertEqual(self.server.stop(), 0)

    # ---- HTTP/1.1 ----

    def refused(self, data, status=b"400"):
        answer = exchange(self.port, data)
        self.assertTrue(answer.startswith(b"HTTP/1.1 " + status), (data[:80], answer))
        self.assertIn(b"Connection: close", answer)
        self.assertEqual(answer.count(b"HTTP/1.1"), 1)

    def test_smuggling_is_refused(self):
        host = b"POST /v3/kv/range HTTP/1.1\r\nHost: x\r\n"
        body = b"\r\n{}"
        self.refused(host + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n" + body)
        self.refused(host + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n" + body)
        self.refused(host + b"Content-Length: 2\r\nContent-Length: 2\r\n" + body)
        self.refused(host + b"Content-Length: 2\r\nContent-Length: 3\r\n" + body)
        self.refused(host + b"Content-Length: 2, 2\r\n" + body)
        self.refused(host + b"Content-Length: -2\r\n" + body)
        self.refused(host + b"Content-Length: 0x2\r\n" + body)
        self.refused(host + b"Content-Length: 99999999999999999999999\r\n" + body)
        self.refused(host + b"Transfer-Encoding: identity, chunked, foo\r\n" + body)
        self.refused(host + b"Content-Length: 2\nX: y\r\n" + body)
        self.refused(host + b"X: a\r\n folded\r\nContent-Length: 2\r\n" + body)
        self.refused(host + b"X: a\r\n\tfolded\r\nContent-Length: 2\r\n" + body)
        self.refused(host + b"X: a\0b\r\nContent-Length: 2\r\n" + body)
        self.refused(host + b"X : a\r\nContent-Length: 2\r\n" + body)
        self.refused(host + b"Host: y\r\nContent-Length: 2\r\n" + body)
        self.refused(b"GET /version HTTP/1.1\n\n")
        self.refused(b"GET /version HTTP/1.1\r\n\r\n")  # no Host
        self.refused(b"GET http://x/version HTTP/1.1\r\nHost: x\r\n\r\n")
        self.refused(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n")
        self.refused(b"NONSENSE\r\n\r\n")
        self.refused(b"GET /version HTTP/2.0\r\nHost: x\r\n\r\n")
        chunked = host + b"Transfer-Encoding: chunked\r\n\r\n"
        self.refused(chunked + b"zz\r\n{}\r\n0\r\n\r\n")
        self.refused(chunked + b"-2\r\n{}\r\n0\r\n\r\n")
        self.refused(chunked + b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n")

    def test_large_headers_are_refused(self):
        head = b"GET /version HTTP/1.1\r\nHost: x\r\n"
        self.refused(head + b"X: " + b"y" * 17000 + b"\r\n\r\n", b"431")
        self.refused(head + b"X: y\r\n" * 101 + b"\r\n")
        self.refused(b"GET /" + b"a" * 20000, b"431")

    def test_chunks_pipelining_and_continue(self):
        body = json.dumps({"key": b64("a")}).encode()
        chunked = b"".join(b"%x\r\n%b\r\n" % (1, bytes([c])) for c in body) + b"0\r\n\r\n"
        head = b"POST /v3/kv/range HTTP/1.1\r\nHost: x\r\n"
        one = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked
        plain = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        last = plain.replace(b"Host: x", b"Host: x\r\nConnection: close")
        answer = exchange(self.port, (one + plain) * 200 + last)
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK"), 401)
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            s.sendall(head + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body))
            self.assertEqual(s.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            s.sendall(body)
            self.assertTrue(s.recv(1000).startswith(b"HTTP/1.1 200"))
        old = exchange(self.port, b"GET /version HTTP/1.0\r\n\r\n")
        self.assertTrue(old.startswith(b"HTTP/1.1 200"))

    def test_body_byte_by_byte_and_cut_off(self):
        body = json.dumps({"key": b64("a")}).encode()
        whole = b"POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for c in whole:
                s.send(bytes([c]))
            self.assertTrue(s.recv(1000).startswith(b"HTTP/1.1 200"))
        for cut in range(0, len(whole), 7):
            with socket.create_connection(("127.0.0.1", self.port), 5) as s:
                s.sendall(whole[:cut])

    def test_large_body_is_refused(self):
        text = '{"key":"' + "A" * 3 * 1024 * 1024 + '"}'
        data = (b"POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(text) +
                text.encode())
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            sender = threading.Thread(target=lambda: self.send_all_quietly(s, data))
            sender.start()
            answer = s.recv(1000)
            self.assertTrue(answer.startswith(b"HTTP/1.1 429"), answer)
            sender.join()

    def test_json_bodies_end_at_a_limit(self):
        # What the largest message takes as base64; whitespace counts.
        limit = 2 * 1024 * 1024 // 3 * 4
        text = '{"key":"YQ=="}'
        fits = text.ljust(limit)
        self.assertEqual(api_server.post(self.port, "/v3/kv/range", fits)[0], 200)
        status, answer = api_server.post(self.port, "/v3/kv/range", fits + " ")
        self.assertEqual((status, answer["code"]), (429, 8))
        self.assertIn(f"({limit + 1} vs. {limit})", answer["message"])

    @staticmethod
    def send_all_quietly(s, data):
        try:
            s.sendall(data)
        except OSError:
            pass

    def test_browsers_of_other_sites_are_refused(self):
        def status(**headers):
            headers = {k.replace("_", "-"): v for k, v in headers.items()}
            return api_server.call(self.port, "POST", "/v3/kv/range", '{"key":"YQ=="}', headers)[0]

        here = f"127.0.0.1:{self.port}"
        self.assertEqual(status(), 200)
        self.assertEqual(status(Origin=f"http://{here}"), 200)
        self.assertEqual(status(Sec_Fetch_Site="same-origin"), 200)
        self.assertEqual(status(Origin="http://evil.example"), 403)
        self.assertEqual(status(Origin="null"), 403)
        self.assertEqual(status(Sec_Fetch_Site="cross-site"), 403)
        self.assertEqual(status(Sec_Fetch_Site="same-site"), 403)
        self.assertEqual(status(Host="evil.example", Origin="http://evil.example"), 421)
        self.assertEqual(status(Host="evil.example"), 200)

    # ---- JSON and protobuf bombs ----

    def test_json_bombs_are_refused(self):
        for text in ("[" * 100000, '{"a":' * 5000 + "1" + "}" * 5000, '{"key":"YQ==","key":"Yg=="}',
                     '{"key":"YQ==\\u0000"}', '{"key":"\xff"}'.encode("latin-1").decode("latin-1")):
            status, answer = api_server.post(self.port, "/v3/kv/range", text)
            self.assertEqual((status, answer["code"]), (400, 3), text[:40])
        deep = '{"success":[{"request_txn":' * 30 + "{}" + "}]}" * 30
        self.assertEqual(api_server.post(self.port, "/v3/kv/txn", deep)[0], 400)
        wide = json.dumps({"success": [{}] * 100000})
        self.assertEqual(api_server.post(self.port, "/v3/kv/txn", wide)[1]["message"],
                         "etcdserver: too many operations in txn request")

    # ---- HTTP/2 ----

    def test_half_a_preface_is_closed_in_time(self):
        with socket.create_connection(("127.0.0.1", self.port), 15) as s:
            s.sendall(PREFACE[:20])
            begin = time.monotonic()
            self.assertEqual(s.recv(100), b"")
            self.assertLess(time.monotonic() - begin, 12)

    def test_rapid_resets_end_the_connection(self):
        c = H2(self.port)
        flood = b"".join(request(i, b"/etcdserverpb.KV/Range", frame(field(1, b"a")), end=False) +
                         h2(RST, 0, i, struct.pack(">I", 8)) for i in range(1, 6001, 2))
        self.send_all_quietly(c.socket, flood)
        self.assertIn(c.goaway_code(), (11, 1, 2, "reset", None))
        c.close()

    def test_floods_of_frames_end_the_connection(self):
        for flood in (h2(SETTINGS, 0, 0), h2(PING, 0, 0, b"12345678"), h2(DATA, 0, 1)):
            c = H2(self.port)
            c.send(h2(HEADERS, END_HEADERS, 1, grpc_headers(b"/etcdserverpb.Watch/Watch")))
            before = rss_kb(self.server.pid)
            self.send_all_quietly(c.socket, flood * 20000)
            self.assertLess(rss_kb(self.server.pid) - before, 32 * 1024)
            c.close()

    def test_continuation_flood_ends_the_connection(self):
        c = H2(self.port)
        c.send(h2(HEADERS, 0, 1, grpc_headers(b"/etcdserverpb.KV/Range")))
        self.send_all_quietly(c.socket, h2(CONTINUATION, 0, 1, header(b"x", b"y")) * 1000)
        c.goaway_code()  # or no frame at all: but it ends
        c.close()

    def test_large_header_list_resets_the_stream(self):
        c = H2(self.port)
        block = grpc_headers(b"/etcdserverpb.KV/Range") + header(b"x", b"y" * 120) * 130
        for i in range(0, len(block), 16000):
            part, last = block[i:i + 16000], i + 16000 >= len(block)
            c.send(h2(CONTINUATION if i else HEADERS, END_HEADERS if last else 0, 1, part))
        self.assertEqual(c.until(RST)[2], 1)
        c.send(request(3, b"/etcdserverpb.KV/Range", frame(field(1, b"a"))))
        self.assertIsNotNone(c.until(HEADERS, 3))
        c.close()

    def test_more_streams_than_allowed_are_refused(self):
        c = H2(self.port)
        watch = frame(field(1, field(1, b"a")))
        for i in range(1, 2200, 2):
            c.send(request(i, b"/etcdserverpb.Watch/Watch", watch, end=False))
        self.assertIsNotNone(c.until(HEADERS, 1999))
        f = c.until(RST)
        self.assertIn(int.from_bytes(f[3], "big"), (1, 7))
        c.close()
        until(5, "its watchers are gone", lambda: self.has_watchers(0))

    def test_claimed_length_allocates_nothing(self):
        before = rss_kb(self.server.pid)
        clients = [H2(self.port) for _ in range(20)]
        for c in clients:
            for i in range(1, 400, 2):
                c.send(request(i, b"/etcdserverpb.KV/Put", b"\0\0\x1f\xff\xff", end=False))
        self.assertLess(rss_kb(self.server.pid) - before, 100 * 1024)
        for c in clients:
            c.close()

    def test_unread_answers_are_bounded(self):
        api_server.post(self.port, "/v3/kv/put", {"key": b64("big"), "value": b64("v" * 1000000)})
        before = rss_kb(self.server.pid)
        c = H2(self.port, window=2 ** 31 - 1)
        c.send(h2(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2 ** 31 - 1 - 65535)))
        c.socket.settimeout(1)
        try:
            for i in range(1, 2000, 2):
                c.send(request(i, b"/etcdserverpb.KV/Range", frame(field(1, b"big"))))
        except TimeoutError:
            pass
        until(5, "it answers others", lambda: api_server.post(
            self.port, "/v3/kv/range", {"key": b64("a")})[0] == 200)
        # 1,000 answers of 1 MB were asked for, all in a few turns.
        self.assertLess(rss_kb(self.server.pid) - before, 64 * 1024)
        c.close()

    def test_small_windows_take_large_answers_side_by_side(self):
        size, n = 1000000, 40
        api_server.post(self.port, "/v3/kv/put", {"key": b64("big"), "value": b64("v" * size)})
        c = H2(self.port, timeout=20, window=20000)
        for i in range(n):
            c.send(request(2 * i + 1, b"/etcdserverpb.KV/Range", frame(field(1, b"big"))))
        got, ended = {}, set()
        while len(ended) < n:
            kind, flags, stream, payload = c.frame()
            if kind == DATA and payload:
                got[stream] = got.get(stream, 0) + len(payload)
                update = struct.pack(">I", len(payload))
                c.send(h2(WINDOW_UPDATE, 0, 0, update) + h2(WINDOW_UPDATE, 0, stream, update))
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                ended.add(stream)
        self.assertEqual(len(got), n)
        self.assertTrue(all(size < bytes_ < size + 200 for bytes_ in got.values()))
        c.close()

    def test_long_lists_of_one_connection_do_not_mix(self):
        """A read waits for the one before it, a write for nobody; all are whole."""
        n = 300
        for at in range(0, n, 100):
            api_server.post(self.port, "/v3/kv/txn", {"success": [
                {"request_put": {"key": b64(f"l{i:03}"), "value": b64(f"v{i:03}")}}
                for i in range(at, at + 100)]})
        everything = field(1, b"l") + field(2, b"m")
        read = field(2, field(1, everything))  # RequestOp.request_range
        delete = field(2, field(3, everything + field(3, 1)))
        c = H2(self.port, timeout=20)
        c.send(request(1, b"/etcdserverpb.KV/Range", frame(everything)) +
               request(3, b"/etcdserverpb.KV/Txn", frame(read + read)) +
               request(5, b"/etcdserverpb.KV/Txn", frame(read + delete + read)) +
               request(7, b"/etcdserverpb.KV/DeleteRange", frame(everything + field(3, 1))))
        got, ended = {}, set()
        while len(ended) < 4:
            kind, flags, stream, payload = c.frame()
            if kind == DATA and payload:
                got[stream] = got.get(stream, b"") + payload
                update = struct.pack(">I", len(payload))
                c.send(h2(WINDOW_UPDATE, 0, 0, update) + h2(WINDOW_UPDATE, 0, stream, update))
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                ended.add(stream)
        c.close()
        for answer in got.values():
            self.assertEqual(struct.unpack(">BI", answer[:5]), (0, len(answer) - 5))
        seen = {stream: re.findall(rb"\x0a\x04(l\d{3})", answer) for stream, answer in got.items()}
        keys = [b"l%03d" % i for i in range(n)]
        self.assertEqual(seen[1], keys)
        self.assertEqual(seen[5], keys + keys)  # read, deleted, and nothing more to read
        self.assertEqual(seen[7], [])
        self.assertIn(seen[3], ([], keys + keys))  # asked again when the first one was through

    def test_progress_requests_without_reading_are_bounded(self):
        c = H2(self.port, window=0)
        c.send(h2(HEADERS, END_HEADERS, 1, grpc_headers(b"/etcdserverpb.Watch/Watch")))
        before = rss_kb(self.server.pid)
        self.send_all_quietly(c.socket, h2(DATA, 0, 1, frame(field(3, b"")) * 2000) * 300)
        self.assertLess(rss_kb(self.server.pid) - before, 64 * 1024)
        c.close()

    # ---- watches ----

    def watch(self, **fields):
        return api_server.Stream(self.port, "/v3/watch", {"create_request": fields})

    def test_slow_watcher_is_bounded_and_loses_nothing(self):
        slow = socket.create_connection(("127.0.0.1", self.port), 5)
        body = json.dumps({"create_request": {"key": b64("s")}}).encode()
        slow.sendall(b"POST /v3/watch HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) +
                     body)
        slow.recv(1, socket.MSG_PEEK)
        n = 200
        for i in range(n):
            api_server.post(self.port, "/v3/kv/put", {"key": b64("s"), "value": b64("x" * 60000)})
        text = api_server.call(self.port, "GET", "/metrics")[2]
        waiting = int(re.search(r"^decree_api_waiting_bytes (\d+)$", text, re.M)[1])
        self.assertLess(waiting, 1024 * 1024)
        self.assertIn("etcd_debugging_mvcc_slow_watcher_total 1\n", text)
        answer = http.client.HTTPResponse(slow)
        answer.begin()
        revisions = []
        while len(revisions) < n:
            events = json.loads(answer.readline())["result"].get("events", [])
            revisions += [int(e["kv"]["mod_revision"]) for e in events]
        self.assertEqual(revisions, list(range(revisions[0], revisions[0] + n)))
        answer.close()
        slow.close()

    def test_compaction_ends_a_watch(self):
        for i in range(5):
            api_server.post(self.port, "/v3/kv/put", {"key": b64("c"), "value": b64(str(i))})
        api_server.post(self.port, "/v3/kv/compaction", {"revision": 4})
        w = self.watch(key=b64("c"), start_revision=2)
        self.assertTrue(w.line()["result"]["created"])
        last = w.line()["result"]
        self.assertEqual((last["canceled"], last["compact_revision"]), (True, "4"))
        w.close()
        w = self.watch(key=b64("c"), start_revision=-1)
        self.assertEqual(w.line()["result"]["cancel_reason"],
                         "etcdserver: mvcc: required revision has been compacted")
        w.close()

    def test_future_watch_gets_nothing_older(self):
        w = self.watch(key=b64("f"), start_revision=6)
        self.assertTrue(w.line()["result"]["created"])
        for i in range(7):
            api_server.post(self.port, "/v3/kv/put", {"key": b64("f"), "value": b64(str(i))})
        first = w.line()["result"]["events"][0]["kv"]
        self.assertEqual(first["mod_revision"], "6")
        w.close()

    def test_fragments_split_what_is_large(self):
        for i in range(5):
            api_server.post(self.port, "/v3/kv/put",
                            {"key": b64(f"g/{i}"), "value": b64("x" * 700000)})
        w = self.watch(key=b64("g/"), range_end=b64("g0"), start_revision=2, fragment=True)
        self.assertTrue(w.line()["result"]["created"])
        seen, parts = 0, 0
        while seen < 5:
            result = w.line()["result"]
            seen += len(result["events"])
            parts += 1
        self.assertGreater(parts, 1)
        self.assertNotIn("fragment", result)
        w.close()

    def has_watchers(self, n):
        text = api_server.call(self.port, "GET", "/metrics")[2]
        return f"etcd_debugging_mvcc_watcher_total {n}\n" in text

    def test_leaderless_streams_are_cut(self):
        body, headers = (os.path.join(self.folder, n) for n in ("body", "headers"))
        with open(body, "wb") as f:
            f.write(frame(field(1, field(1, b"a"))))
        curl = subprocess.Popen(
            ["curl", "-s", "-m", "20", "--http2-prior-knowledge", "-D", headers, "-o", os.devnull,
             "-H", "content-type: application/grpc", "-H", "hasleader: true", "--data-binary",
             "@" + body, self.server.url + "/etcdserverpb.Watch/Watch"])
        until(5, "it watches", lambda: self.has_watchers(1))
        self.server.process.send_signal(signal.SIGUSR1)
        self.assertEqual(curl.wait(10), 0)
        with open(headers, encoding="utf-8") as f:
            text = f.read()
        self.assertIn("grpc-status: 14", text)
        self.assertIn("grpc-message: etcdserver: no leader", text)
        self.assertTrue(self.has_watchers(0))
        self.leaderless_answers()
        self.server.process.send_signal(signal.SIGUSR2)
        until(5, "it has a leader", lambda: api_server.call(self.port, "GET", "/health")[0] == 200)

    def leaderless_answers(self):
        status, _, health = api_server.call(self.port, "GET", "/health")
        self.assertEqual((status, json.loads(health)["reason"]), (503, "RAFT NO LEADER"))
        self.assertEqual(api_server.call(self.port, "GET", "/livez")[0], 200)
        self.assertEqual(api_server.call(self.port, "GET", "/readyz")[0], 503)
        self.assertEqual(api_server.post(self.port, "/v3/kv/range", {"key": b64("a")}),
                         (503, {"error": "etcdserver: no leader", "code": 14,
                                "message": "etcdserver: no leader"}))

    def test_progress_is_told_when_nothing_happens(self):
        other = api_server.ours(self.folder, f"unix://{self.sock}2", env={"FAKE_PROGRESS_MS": "200"})
        try:
            w = api_server.Stream(other.port, "/v3/watch", {"create_request": {
                "key": b64("p"), "progress_notify": True}})
            self.assertTrue(w.line()["result"]["created"])
            self.assertEqual(set(w.line()["result"]), {"header"})
            api_server.post(other.port, "/v3/kv/put", {"key": b64("p"), "value": b64("1")})
            revisions = []
            while not revisions:
                result = w.line()["result"]
                revisions = [e["kv"]["mod_revision"] for e in result.get("events", [])]
            self.assertGreaterEqual(int(w.line()["result"]["header"]["revision"]),
                                    int(revisions[0]))
            w.close()
        finally:
            self.assertEqual(other.stop(), 0)

    # ---- life ----

    def test_stop_ends_streams_and_lets_calls_finish(self):
        w = self.watch(key=b64("a"))
        self.assertTrue(w.line()["result"]["created"])
        idle = H2(self.port)
        idle.until(SETTINGS)
        begin = time.monotonic()
        self.server.process.send_signal(signal.SIGTERM)
        self.assertEqual(idle.goaway_code(), 0)
        self.assertEqual(w.line()["error"]["message"], "etcdserver: server stopped")
        self.assertIsNone(w.line())
        self.assertEqual(self.server.process.wait(20), 0)
        self.assertLess(time.monotonic() - begin, 4)
        self.assertFalse(os.path.exists(self.sock))
        w.close()
        idle.close()
        self.server.log.close()
        self.server = api_server.ours(self.folder, f"unix://{self.sock}")
        self.port = self.server.port

    def test_listening_problems_are_named(self):
        plain = os.path.join(self.folder, "plain")
        open(plain, "w", encoding="utf-8").close()
        for url, text in ((f"http://127.0.0.1:{self.port}", "address already in use"),
                          (f"unix://{self.sock}", "another process serves it"),
                          (f"unix://{plain}", "no socket"), ("unix://relative", "expected"),
                          ("ftp://x:1", "expected"), ("http://x", "expected"),
                          ("http://127.0.0.1:99999", "expected"), ("http://no.such.host.invalid:1", "no.such")):
            run = subprocess.run([program("fake_server"), url], stderr=subprocess.PIPE, text=True,
                                 timeout=30, check=False,
                                 env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
            self.assertEqual(run.returncode, 1, url)
            self.assertIn(text, run.stderr)

    def test_stale_socket_is_replaced(self):
        path = os.path.join(self.folder, "stale")
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        s.close()
        other = api_server.ours(self.folder, f"unix://{path}")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o660)
        self.assertEqual(other.stop(), 0)


if __name__ == "__main__":
    unittest.main()
