"""The same requests to Debian's etcd and to us: the answers must be equal, but for ids, sizes and the
words in which a JSON parser complains."""

import itertools
import json
import os
import random
import re
import subprocess
import unittest

import api_server
from api_server import b64

KNOWN_400 = {412: 400}  # etcd 3.4's code for FailedPrecondition; newer ones say 400 as we do


def normal(value, key=None):
    """Without what differs between two clusters."""
    if isinstance(value, dict):
        return {k: normal(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [normal(v, key) for v in value]
    if key in ("cluster_id", "member_id", "raft_term", "leader", "raftIndex", "raftTerm",
               "raftAppliedIndex", "dbSize", "dbSizeInUse"):
        return "*"
    return value


def error_code(answer):
    return answer.get("code") if "error" in answer else None


class ApiDiff(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.folder = api_server.folder()
        cls.addClassCleanup(api_server.remove, cls.folder)
        cls.theirs = api_server.etcd(cls.folder)
        cls.addClassCleanup(cls.theirs.stop)
        cls.ours = api_server.ours(cls.folder)
        cls.addClassCleanup(cls.ours.stop)
        cls.count = 0

    def same(self, path, body, words=True):
        """words=False: an error's text is the parser's own, only codes are compared."""
        status_a, a = api_server.post(self.theirs.port, path, body)
        status_b, b = api_server.post(self.ours.port, path, body)
        type(self).count += 1
        where = f"{path} {body}"
        self.assertEqual(KNOWN_400.get(status_a, status_a), status_b, f"{where}\n{a}\n{b}")
        if not words:
            self.assertEqual(error_code(a), error_code(b), f"{where}\n{a}\n{b}")
            return b
        self.assertEqual(normal(a), normal(b), where)
        return b

    def range(self, **fields):
        return self.same("/v3/kv/range", fields)

    def put(self, key, value, **fields):
        return self.same("/v3/kv/put", {"key": b64(key), "value": b64(value), **fields})

    # The tests run in the order of their names and build on what is there: one history on each side.

    def test_01_put_and_range(self):
        for i in range(20):
            self.put(f"k/{i:02d}", f"value {i}")
        for i in range(0, 20, 3):
            self.put(f"k/{i:02d}", f"second {i}", prev_kv=True)
        self.put("empty", "")
        self.put("bytes", bytes(range(256)))
        self.range(key=b64("k/03"))
        self.range(key=b64("bytes"))
        self.range(key=b64("nothing"))
        self.range(key=b64("k/"), range_end=b64("k0"))
        self.range(key=b64("\0"), range_end=b64("\0"))
        self.range(key=b64("k/10"), range_end=b64("\0"))
        self.range(key=b64("k/05"), range_end=b64("k/05"))
        self.range(key=b64("k/05"), range_end=b64("k/01"))

    def same_order(self, body):
        """etcd's sort is not stable: only what is sorted by is compared where it may be equal."""
        field = {"VERSION": "version"}.get(body["sort_target"])
        if field is None:
            self.same("/v3/kv/range", body)
            return
        answers = [api_server.post(s.port, "/v3/kv/range", body)[1] for s in (self.theirs, self.ours)]
        self.assertEqual(*[[kv[field] for kv in a["kvs"]] for a in answers], body)
        self.assertEqual(*[(a.get("more"), a["count"]) for a in answers], body)

    def test_02_range_options(self):
        whole = {"key": b64("k/"), "range_end": b64("k0")}
        for order, target in itertools.product(("NONE", "ASCEND", "DESCEND", 2), (
                "KEY", "VERSION", "CREATE", "MOD", "VALUE", 3)):
            self.same_order({**whole, "sort_order": order, "sort_target": target})
            self.same_order({**whole, "sort_order": order, "sort_target": target, "limit": 3})
        for limit in (0, 1, "2", 19, 20, 21, -1):
            self.range(**whole, limit=limit)
        for flag in ("serializable", "keys_only", "count_only"):
            self.range(**whole, **{flag: True})
            self.range(**whole, **{flag: True}, limit=2)
        for bound in ("min_mod_revision", "max_mod_revision", "min_create_revision",
                      "max_create_revision"):
            for revision in (1, 5, 12, 30, 100):
                self.range(**whole, **{bound: revision})
                self.range(**whole, **{bound: revision}, limit=4)
        for revision in (-1, 0, 1, 2, 10, 25, 27, 28):
            self.range(**whole, revision=revision)
        self.range(**whole, revision=100000)

    def test_03_put_errors(self):
        self.same("/v3/kv/put", {})
        self.same("/v3/kv/put", {"value": b64("x")})
        self.put("a", "x", ignore_value=True)
        self.same("/v3/kv/put", {"key": b64("absent"), "ignore_value": True})
        self.same("/v3/kv/put", {"key": b64("absent"), "ignore_lease": True})
        self.same("/v3/kv/put", {"key": b64("k/01"), "ignore_value": True, "prev_kv": True})
        self.put("k/02", "x", lease=5, ignore_lease=True)
        self.put("k/02", "x", lease="12345")
        self.same("/v3/kv/range", {})
        self.same("/v3/kv/deleterange", {})

    def test_03_sort_option_of_newer_versions(self):
        for order, target in ((9, 0), (0, 9), (-1, 0)):  # 3.4 passes over them, 3.5 refuses
            status, answer = api_server.post(self.ours.port, "/v3/kv/range", {
                "key": b64("a"), "sort_order": order, "sort_target": target})
            self.assertEqual((status, answer["error"], answer["code"]),
                             (400, "etcdserver: invalid sort option", 3))

    def test_04_delete(self):
        self.same("/v3/kv/deleterange", {"key": b64("nothing")})
        self.same("/v3/kv/deleterange", {"key": b64("k/00"), "prev_kv": True})
        self.same("/v3/kv/deleterange", {"key": b64("k/01")})
        self.same("/v3/kv/deleterange",
                  {"key": b64("k/02"), "range_end": b64("k/05"), "prev_kv": True})
        self.put("k/00", "again")
        self.range(key=b64("k/00"))

    def test_05_txn(self):
        def txn(compare=(), success=(), failure=()):
            return self.same("/v3/kv/txn", {"compare": list(compare), "success": list(success),
                                            "failure": list(failure)})

        get = {"request_range": {"key": b64("k/06")}}
        put = {"request_put": {"key": b64("t"), "value": b64("1"), "prev_kv": True}}
        delete = {"request_delete_range": {"key": b64("t"), "prev_kv": True}}
        txn()
        txn(success=[get])
        txn(success=[put], failure=[delete])
        txn(success=[put, get])
        txn(success=[delete])
        targets = {"VERSION": "version", "CREATE": "create_revision", "MOD": "mod_revision",
                   "LEASE": "lease"}
        for (target, field), result, n, key in itertools.product(
                targets.items(), ("EQUAL", "GREATER", "LESS", "NOT_EQUAL"), (0, 1, 2),
                ("k/06", "absent")):
            txn([{"key": b64(key), "target": target, "result": result, field: n}], [get], [])
        for result, value, key in itertools.product(
                ("EQUAL", "GREATER", "LESS", "NOT_EQUAL"), ("second 6", "a", "z"),
                ("k/06", "absent")):
            txn([{"key": b64(key), "target": "VALUE", "result": result, "value": b64(value)}],
                [], [get])
        txn([{"key": b64("k/"), "range_end": b64("k0"), "target": "VERSION", "result": "GREATER",
              "version": 0}], [get])
        txn([{"key": b64("k/06"), "target": "MOD", "version": "1"}], [get])  # another operand
        nested = {"request_txn": {"compare": [], "success": [put, get], "failure": []}}
        txn(success=[nested])
        txn(success=[{"requestTxn": {"success": [{"requestRange": {"key": b64("k/06")}}]}}])
        two = {"request_put": {"key": b64("t2"), "value": b64("2")}}
        txn(success=[two, {"request_range": {"key": b64("t2")}}, delete])

    def test_06_txn_errors(self):
        def txn(**fields):
            return self.same("/v3/kv/txn", fields)

        put = {"request_put": {"key": b64("e"), "value": b64("1")}}
        txn(success=[put, put])
        txn(success=[put, {"request_delete_range": {"key": b64("a"), "range_end": b64("f")}}])
        txn(success=[put], failure=[put])
        txn(success=[{"request_range": {}}])
        txn(success=[{"request_put": {}}])
        txn(success=[{"request_delete_range": {}}])
        txn(success=[{}])
        txn(compare=[{}])
        txn(success=[{"request_range": {"key": b64("a")}}] * 128)
        txn(success=[{"request_range": {"key": b64("a")}}] * 129)
        txn(failure=[{"request_range": {"key": b64("a")}}] * 129)
        txn(compare=[{"key": b64("a")}] * 129)
        txn(success=[put, {"request_txn": {"success": [put]}}])
        txn(success=[{"request_range": {"key": b64("a"), "revision": 99999}}])
        txn(success=[{"request_put": {"key": b64("e"), "value": b64("1"), "lease": 777}}])
        txn(success=[{"request_put": {"key": b64("absent"), "ignore_value": True}}])

    def test_07_leases(self):
        self.same("/v3/lease/grant", {"TTL": 100, "ID": 1000})
        self.same("/v3/lease/grant", {"TTL": 100, "ID": "1000"})
        self.same("/v3/lease/grant", {"TTL": "9000000001", "ID": 5})
        self.same("/v3/lease/grant", {"TTL": 1, "ID": 1001})
        self.put("leased/1", "x", lease=1000)
        self.put("leased/2", "x", lease="1000")
        self.range(key=b64("leased/1"))
        for path in ("/v3/lease/timetolive", "/v3/kv/lease/timetolive", "/v3beta/lease/timetolive"):
            self.same(path, {"ID": 4711})
        status, answer = api_server.post(self.ours.port, "/v3/lease/timetolive",
                                         {"ID": 1000, "keys": True})
        self.assertEqual(status, 200)
        self.assertEqual(answer["keys"], [b64("leased/1"), b64("leased/2")])
        self.assertEqual(answer["grantedTTL"], "100")
        self.same("/v3/lease/revoke", {"ID": 1001})
        self.same("/v3/lease/leases", {})
        self.same("/v3/kv/lease/leases", {})
        self.same("/v3/lease/revoke", {"ID": 4711})
        self.same("/v3/lease/revoke", {})
        self.same("/v3/kv/lease/revoke", {"ID": 1000})
        self.range(key=b64("leased/"), range_end=b64("leased0"))

    def test_08_forms_of_json(self):
        body = {"key": b64("k/06")}
        for text in ("", " ", "{}", "null", json.dumps(body), json.dumps(body, indent=4),
                     '{"key":null}', '{"key":"","limit":null}', '{"unknown":{"a":[1,2]}}',
                     json.dumps({**body, "unknown": 1}), json.dumps({**body, "rangeEnd": b64("l")}),
                     json.dumps({**body, "limit": "1", "keysOnly": True}),
                     json.dumps({**body, "sortOrder": "DESCEND"})):
            self.same("/v3/kv/range", text)
        for text in ("{", "[]", "[1]", "5", '"x"', "{\"key\":5}", '{"key":"a"}', '{"key":"YQ"}',
                     '{"key":"Y Q="}', '{"key":"-_-_"}', '{"key":["YQ=="]}', '{"key":{}}',
                     '{"key":true}', '{"limit":"x","key":"YQ=="}', '{"limit":1.5,"key":"YQ=="}',
                     '{"limit":"1.5","key":"YQ=="}', '{"limit":99999999999999999999,"key":"YQ=="}',
                     '{"limit":"99999999999999999999","key":"YQ=="}', '{"limit":true,"key":"YQ=="}',
                     '{"serializable":"true","key":"YQ=="}', '{"serializable":1,"key":"YQ=="}',
                     '{"sort_order":"UP","key":"YQ=="}', '{"sort_order":1.5,"key":"YQ=="}',
                     '{"key":"YQ==",}', "{'key':1}", '{"key":"YQ=="'):
            self.same("/v3/kv/range", text, words=False)
        self.same("/v3/kv/txn", '{"compare":{}}', words=False)
        self.same("/v3/kv/txn", '{"success":[5]}', words=False)

    def test_09_compaction(self):
        self.same("/v3/kv/compaction", {"revision": 100000})
        self.same("/v3/kv/compaction", {"revision": 20, "physical": True})
        self.same("/v3/kv/compaction", {"revision": 20})
        self.same("/v3/kv/compaction", {"revision": 3})
        self.same("/v3/kv/compaction", {"revision": 0})
        self.same("/v3/kv/compaction", {"revision": -4})
        for revision in (1, 19, 20, 21):
            self.range(key=b64("k/06"), revision=revision)

    def test_10_random_histories(self):
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        keys = [f"r/{i}" for i in range(8)]
        with self.subTest(seed=seed):
            for _ in range(300):
                self.random_step(chance, keys)

    def random_op(self, chance, keys):
        key = b64(chance.choice(keys))
        kind = chance.randrange(3)
        if kind == 0:
            return {"request_put": {"key": key, "value": b64(str(chance.randrange(9))),
                                    "prev_kv": chance.random() < 0.5}}
        if kind == 1:
            return {"request_delete_range": {"key": key, "range_end": b64(chance.choice(keys)),
                                             "prev_kv": chance.random() < 0.5}}
        return {"request_range": {"key": key, "range_end": b64("s"),
                                  "limit": chance.randrange(4)}}

    def random_step(self, chance, keys):
        op = self.random_op(chance, keys)
        paths = {"request_put": "/v3/kv/put", "request_delete_range": "/v3/kv/deleterange",
                 "request_range": "/v3/kv/range"}
        if chance.random() < 0.6:
            name, body = next(iter(op.items()))
            self.same(paths[name], body)
            return
        compare = [{"key": b64(chance.choice(keys)), "target": "VERSION",
                    "result": chance.choice(("EQUAL", "GREATER", "LESS", "NOT_EQUAL")),
                    "version": chance.randrange(3)} for _ in range(chance.randrange(3))]
        self.same("/v3/kv/txn", {
            "compare": compare,
            "success": [self.random_op(chance, keys) for _ in range(chance.randrange(4))],
            "failure": [self.random_op(chance, keys) for _ in range(chance.randrange(3))]})

    def lines(self, server, path, body, n):
        stream = api_server.Stream(server.port, path, body)
        try:
            return [normal(stream.line()) for _ in range(n)]
        finally:
            stream.close()

    def same_lines(self, path, body, n):
        theirs = self.lines(self.theirs, path, body, n)
        self.assertEqual(theirs, self.lines(self.ours, path, body, n), body)
        type(self).count += 1

    def test_11_watch(self):
        revision = int(self.put("w/a", "1")["header"]["revision"])
        self.put("w/b", "2")
        self.put("w/a", "3")
        self.same("/v3/kv/deleterange", {"key": b64("w/a")})
        self.same("/v3/kv/txn", {"success": [
            {"request_put": {"key": b64("w/c"), "value": b64("4")}},
            {"request_put": {"key": b64("w/d"), "value": b64("5")}}]})
        def create(**fields):
            return {"create_request": {"start_revision": revision, **fields}}

        everything = {"key": b64("w/"), "range_end": b64("w0")}
        self.same_lines("/v3/watch", create(**everything), 2)
        self.same_lines("/v3/watch", create(**everything, prev_kv=True), 2)
        self.same_lines("/v3/watch", create(**everything, filters=["NOPUT"]), 2)
        self.same_lines("/v3/watch", create(**everything, filters=["NODELETE"]), 2)
        self.same_lines("/v3/watch", create(key=b64("w/a")), 2)
        self.same_lines("/v3/watch", create(key=b64("w/c"), range_end=b64("\0")), 2)
        self.same_lines("/v3/watch", create(**everything, watch_id=7), 2)
        self.same_lines("/v3/watch", create(key=b64("b"), range_end=b64("a")), 1)
        self.same_lines("/v3/watch", {"create_request": {"key": b64("w/"), "start_revision": 5}}, 2)
        twice = json.dumps({"create_request": {"key": b64("x"), "watch_id": 3}})
        self.same_lines("/v3/watch", twice + twice, 2)
        self.same_lines("/v3/watch", twice + '{"cancel_request":{"watch_id":"3"}}', 2)
        self.same_lines("/v3/watch", twice + '{"progress_request":{}}', 2)

    def test_12_keepalive(self):
        self.same_lines("/v3/lease/keepalive", {"ID": 4711}, 1)
        self.same("/v3/lease/grant", {"TTL": 50, "ID": 2000})
        self.same_lines("/v3/lease/keepalive", {"ID": 2000}, 1)
        self.same_lines("/v3/lease/keepalive", '{"ID":2000}\n{"ID":4711}', 2)

    def test_13_pages(self):
        for method, path in (("GET", "/nothing"), ("POST", "/v3/nothing"), ("GET", "/v3/kv/range"),
                             ("PUT", "/v3/kv/range"), ("POST", "/version"), ("DELETE", "/health"),
                             ("GET", "/v3/"), ("GET", "/"), ("POST", "/v3/kv/range/")):
            theirs = api_server.call(self.theirs.port, method, path, "")
            ours = api_server.call(self.ours.port, method, path, "")
            self.assertEqual((theirs[0], theirs[2]), (ours[0], ours[2]), f"{method} {path}")
            self.assertEqual(theirs[1].get("Allow"), ours[1].get("Allow"), f"{method} {path}")
        version = json.loads(api_server.call(self.ours.port, "GET", "/version")[2])
        theirs = json.loads(api_server.call(self.theirs.port, "GET", "/version")[2])
        self.assertEqual({*theirs, "decree"}, set(version))
        self.assertEqual(re.sub(r"\d+$", "0", version["etcdserver"]), version["etcdcluster"])
        status = api_server.post(self.ours.port, "/v3/maintenance/status", {})[1]
        self.assertEqual(status["version"], version["etcdserver"])

    def test_14_cluster_and_status(self):
        theirs = api_server.post(self.theirs.port, "/v3/cluster/member/list", {})[1]
        ours = api_server.post(self.ours.port, "/v3/cluster/member/list", {})[1]
        self.assertEqual(theirs["header"].keys(), ours["header"].keys())
        self.assertEqual(theirs["members"][0].keys(), ours["members"][0].keys())
        theirs = api_server.post(self.theirs.port, "/v3/maintenance/status", {})[1]
        ours = api_server.post(self.ours.port, "/v3/maintenance/status", {})[1]
        self.assertEqual(theirs.keys(), ours.keys())
        self.assertRegex(ours["version"], r"^3\.\d+\.\d+$")

    def test_14_hashes_and_defragment(self):
        """etcd 3.4 has no way to HashKV over JSON, so that its client asks for it."""
        theirs, ours = (json.loads(subprocess.run(
            ["etcdctl", "--endpoints", s.url, "endpoint", "hashkv", "-w", "json"], check=True,
            env={**os.environ, "ETCDCTL_API": "3"}, stdout=subprocess.PIPE, timeout=20).stdout)
            [0]["HashKV"] for s in (self.theirs, self.ours))
        self.assertEqual(theirs.keys(), ours.keys())
        self.assertEqual(theirs["header"].keys(), ours["header"].keys())
        self.assertEqual((theirs["compact_revision"], theirs["header"]["revision"]),
                         (ours["compact_revision"], ours["header"]["revision"]))
        revision, compacted = ours["header"]["revision"], ours["compact_revision"]

        def hashkv(asked):
            return api_server.post(self.ours.port, "/v3/maintenance/hashkv", {"revision": asked})

        self.assertEqual(hashkv(0), hashkv(revision))
        for asked in (revision, revision - 1, compacted):
            status, answer = hashkv(asked)
            self.assertEqual((status, answer["hash_revision"]), (200, str(asked)))
        self.assertIn("future revision", hashkv(revision + 1)[1]["error"])
        self.assertIn("has been compacted", hashkv(compacted - 1)[1]["error"])
        self.assertIn("has been compacted", hashkv(-1)[1]["error"])
        answer = api_server.post(self.ours.port, "/v3/maintenance/hash", {})[1]
        self.assertEqual(answer.keys(), {"header", "hash"})
        self.same("/v3/maintenance/defragment", {})

    def test_14_alarms(self):
        def alarm(**body):
            """3.4 leaves the header out, newer ones do not."""
            theirs, ours = (api_server.post(s.port, "/v3/maintenance/alarm", body)
                            for s in (self.theirs, self.ours))
            self.assertIsNotNone(ours[1].pop("header", None), body)
            self.assertEqual(theirs, ours, body)
            return ours[1]

        def everything():
            self.put("alarmed", "x")
            self.range(key=b64("alarmed"))
            self.same("/v3/kv/txn", {"success": [{"request_put": {"key": b64("t"), "value": ""}}]})
            self.same("/v3/kv/txn", {"success": [{"request_range": {"key": b64("t")}}]})
            self.same("/v3/lease/grant", {"TTL": 50, "ID": 3000})
            self.same("/v3/kv/deleterange", {"key": b64("alarmed")})
            status_a, status_b = (api_server.call(s.port, "GET", "/health")[0]
                                  for s in (self.theirs, self.ours))
            self.assertEqual(status_a, status_b)
            status = [api_server.post(s.port, "/v3/maintenance/status", {})[1]
                      for s in (self.theirs, self.ours)]
            self.assertEqual(status[0].get("errors"), status[1].get("errors"))

        alarm()
        for kind, errors in (("NOSPACE", 1), ("CORRUPT", 1)):
            alarm(action="DEACTIVATE", memberID=77, alarm=kind)
            alarm(action="ACTIVATE", memberID=77, alarm=kind)
            alarm(action="ACTIVATE", memberID="77", alarm=kind)
            self.assertEqual(len(alarm(action="GET")["alarms"]), errors)
            alarm(alarm="NOSPACE")
            alarm(alarm=2)
            everything()
            alarm(action="DEACTIVATE", memberID=78, alarm=kind)
            alarm(action="DEACTIVATE", memberID=77, alarm=kind)
            alarm(action="DEACTIVATE", memberID=77, alarm=kind)
            everything()
            self.same("/v3/lease/revoke", {"ID": 3000})

    def test_15_enough_was_compared(self):
        self.assertGreater(self.count, 600)


if __name__ == "__main__":
    unittest.main()
