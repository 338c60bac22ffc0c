"""decree watch: order, resumption, the command run for each change."""

import json
import unittest

from cli_store import CliTest


class Watch(CliTest):
    def revision(self):
        return int(json.loads(self.ok("get", "--prefix", "", "--count-only", "-o", "json"))
                   ["header"]["revision"])

    def watch(self, *words):
        """A watch that is known to be there: it begins with what happens next."""
        return self.start_decree("watch", "--rev", str(self.revision() + 1), *words)

    def test_changes_are_shown_as_they_come_and_ctrl_c_is_success(self):
        running = self.watch("--prefix", "/w1/")
        self.ok("put", "/w1/a", "1")
        running.await_output("PUT\n/w1/a\n1\n")
        self.ok("put", "/w1/a", "2")
        self.ok("put", "/elsewhere", "x")
        self.ok("del", "/w1/a")
        text = running.await_output("DELETE")
        self.assertEqual(text, "PUT\n/w1/a\n1\nPUT\n/w1/a\n2\nDELETE\n/w1/a\n\n")
        self.assertEqual(running.interrupt(), 0)

    def test_a_watch_from_now_on(self):
        running = self.start_decree("watch", "/w2", "--debug")
        running.await_output('"created":true', path=running.err)
        self.ok("put", "/w2", "1")
        running.await_output("PUT\n/w2\n1\n")
        self.assertEqual(running.interrupt(), 0)

    def test_prev_kv_and_json(self):
        self.ok("put", "/w3", "old")
        plain, as_json = self.watch("/w3", "--prev-kv"), self.watch("/w3", "-o", "json")
        self.ok("put", "/w3", "new")
        plain.await_output("PUT\n/w3\nold\n/w3\nnew\n")
        event = json.loads(as_json.await_output("\n"))["events"][0]
        self.assertEqual(event["kv"]["key"], "L3cz")

    def test_a_command_gets_the_change_without_a_shell(self):
        running = self.watch("--prefix", "/w4/", "--", "sh", "-c",
                             'printf "%s %s %s " $DECREE_WATCH_EVENT_TYPE $DECREE_WATCH_KEY '
                             '"$DECREE_WATCH_VALUE"; cat; echo " ."')
        self.ok("put", "/w4/a", "$(touch x) `y`")
        running.await_output("PUT /w4/a $(touch x) `y` $(touch x) `y` .\n")
        self.ok("put", "/w4/b", "-", stdin=b"a\0b")
        running.await_output("PUT /w4/b  a\0b .\n")
        self.ok("del", "/w4/a")
        running.await_output("DELETE /w4/a   .\n")
        self.assertEqual(running.interrupt(), 0)

    def test_a_command_that_fails_is_told_and_the_watch_goes_on(self):
        running = self.watch("/w5", "--", "sh", "-c", 'cat; exit 3')
        self.ok("put", "/w5", "one")
        running.await_output("sh ended with 3", path=running.err)
        self.ok("put", "/w5", "two")
        running.await_output("onetwo")

    def test_a_compacted_start_is_told(self):
        self.ok("put", "/w6", "1")
        old = self.revision()
        self.ok("put", "/w6", "2")
        self.ok("put", "/w6", "3")
        client = self.store.members[0].client()
        client.call("/v3/kv/compaction", {"revision": str(old + 2)})
        client.close()
        done = self.decree("watch", "/w6", "--rev", str(old))
        self.assertEqual(done.code, 4)
        self.assertIn(f"changes before revision {old + 2} have been compacted away", done.err)


class Resume(CliTest):
    def test_nothing_is_lost_or_shown_twice_over_a_restart_of_the_store(self):
        running = self.start_decree("watch", "--prefix", "/r/", "--debug")
        running.await_output('"created":true', path=running.err)
        self.ok("put", "/r/a", "before")
        running.await_output("PUT\n/r/a\nbefore\n")
        member = self.store.members[0]
        member.kill9()
        running.await_output("resuming at revision", path=running.err)
        self.store.start()
        self.ok("put", "/r/a", "after")
        running.await_output("after")
        self.assertEqual(running.read(running.out), "PUT\n/r/a\nbefore\nPUT\n/r/a\nafter\n")
        self.assertEqual(running.interrupt(), 0)

    def test_interrupted_while_the_store_is_away(self):
        running = self.start_decree("watch", "/x", "--debug")
        running.await_output('"created":true', path=running.err)
        self.store.members[0].kill9()
        running.await_output("resuming at revision", path=running.err)
        self.assertEqual(running.interrupt(), 0)
        self.store.start()


if __name__ == "__main__":
    unittest.main()
