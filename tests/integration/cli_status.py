"""decree status, member list and agent status."""

import json
import time
import unittest

from cli_store import CliTest


class Status(CliTest):
    members = 3

    def test_one_endpoint_is_enough_to_see_all_members(self):
        first = f"http://127.0.0.1:{self.store.members[0].client_port}"
        lines = self.ok("status", endpoints=first).splitlines()
        self.assertEqual(lines[0].split(), ["ENDPOINT", "NAME", "ID", "VERSION", "SIZE", "LEADER",
                                            "TERM", "INDEX", "STATE"])
        self.assertEqual(sorted(line.split()[1] for line in lines[1:]), ["m1", "m2", "m3"])
        self.assertEqual([line.split()[-1] for line in lines[1:]], ["ok"] * 3)
        leader = next(m.name for m in self.store.members if m.leads())
        by_name = {line.split()[1]: line for line in lines[1:]}
        self.assertIn("  self  ", by_name[leader])
        self.assertEqual(sum(f"  {leader}  " in line for line in lines[1:]), 3)

    def test_members(self):
        lines = self.ok("member", "list").splitlines()
        self.assertEqual(sorted(line.split(", ")[2] for line in lines), ["m1", "m2", "m3"])
        self.assertEqual(self.ok("member-list"), self.ok("member", "list"))
        self.assertEqual(len(json.loads(self.ok("member", "list", "-o", "json"))["members"]), 3)
        self.assertIn("ROLE", self.ok("member", "list", "-o", "table"))

    def test_a_member_that_is_down_is_shown_with_the_reason(self):
        down = next(m for m in self.store.members if not m.leads())
        others = ",".join(f"http://127.0.0.1:{m.client_port}" for m in self.store.members
                          if m is not down)
        down.kill9()
        self.addCleanup(self.store.start)
        done = self.decree("status", endpoints=others)
        self.assertEqual(done.code, 1)
        line = next(l for l in done.text.splitlines() if down.name in l.split())
        self.assertIn("down: Connection refused", line)
        rows = json.loads(self.decree("status", "-o", "json", endpoints=others).text)
        self.assertEqual(sorted("error" in row for row in rows), [False, False, True])

    def test_all_down(self):
        done = self.decree("status", endpoints="http://127.0.0.1:1")
        self.assertEqual(done.code, 3)
        self.assertIn("down: Connection refused", done.text)


def report(agent, resource, state, error="", **more):
    now = int(time.time() * 1000)
    return json.dumps({"agent": agent, "resource": resource, "dest": f"/etc/{resource}",
                       "state": state, "revision": 12, "rendered_revision": 12,
                       "file_changed_ms": now - 300000, "reloaded_ms": now - 300000,
                       "error": error, "stale": False, "since_ms": now - 7200000, **more})


class Agents(CliTest):
    def setUp(self):
        self.decree("del", "--prefix", "_decree/agent/")

    def put(self, agent, resource, *words, **more):
        self.ok("put", f"_decree/agent/{agent}/{resource}", report(agent, resource, *words, **more))

    def test_no_agents(self):
        done = self.decree("agent", "status")
        self.assertEqual(done.code, 0)
        self.assertIn("no agent has reported", done.err)

    def test_all_well(self):
        self.put("h1", "nginx", "ok")
        self.put("h2", "nginx", "waiting", rendered_revision=0, file_changed_ms=0)
        lines = self.ok("agent", "status").splitlines()
        self.assertEqual(lines[0].split("  ")[0], "HOST")
        self.assertRegex(lines[1], r"^h1 +nginx +ok +2 h +12 +5 min")

    def test_what_was_refused_is_told_in_full_and_is_code_1(self):
        error = "nginx: [emerg] host not found in upstream \"web9\" in /etc/nginx/app.conf:17\n" \
                "nginx: configuration file /etc/nginx/nginx.conf test failed"
        self.put("h1", "nginx", "ok")
        self.put("h2", "nginx", "check-failed", error, rendered_revision=8)
        done = self.decree("agent", "status")
        self.assertEqual(done.code, 1)
        self.assertRegex(done.text, r"h2 +nginx +check-failed +2 h +8 of 12 ")
        self.assertIn("\nh2, nginx (/etc/nginx): check-failed\n", done.text)
        for line in error.splitlines():
            self.assertIn(f"    {line}\n", done.text)
        reports = json.loads(self.decree("agent", "status", "-o", "json").text)
        self.assertEqual([r["state"] for r in reports], ["ok", "check-failed"])

    def test_stale_files_are_marked(self):
        self.put("h1", "nginx", "ok", stale=True)
        self.assertIn("ok (stale)", self.ok("agent", "status"))

    def test_what_is_no_report_is_named(self):
        self.ok("put", "_decree/agent/h9/x", "not json")
        done = self.decree("agent", "status")
        self.assertIn("_decree/agent/h9/x is not an agent's report", done.err)


if __name__ == "__main__":
    unittest.main()
