"""decree put, get, del, txn and lease against a real store."""

import base64
import json
import unittest

from cli_store import CliTest


class Keys(CliTest):
    def test_put_get_del_and_their_exit_codes(self):
        self.assertEqual(self.ok("put", "/kv/a", "1"), "OK\n")
        self.assertEqual(self.ok("get", "/kv/a"), "/kv/a\n1\n")
        self.assertEqual(self.ok("del", "/kv/a"), "1\n")
        self.assertEqual(self.ok("del", "/kv/a"), "0\n")
        gone = self.decree("get", "/kv/a")
        self.assertEqual((gone.code, gone.out), (1, b""))

    def test_a_value_from_standard_input_is_kept_byte_for_byte(self):
        value = bytes(range(256)) * 3
        self.ok("put", "/bin", "-", stdin=value)
        self.assertEqual(self.decree("get", "/bin", "--print-value-only").out, value + b"\n")
        self.ok("put", "/bin", stdin=b"\xff")
        self.assertEqual(self.decree("get", "/bin", "--print-value-only").out, b"\xff\n")
        self.ok("put", "/bin", "")
        self.assertEqual(self.decree("get", "/bin").out, b"/bin\n\n")

    def test_compact_forgets_what_was_before(self):
        for value in ("1", "2", "3"):
            self.ok("put", "/compacted", value)
        said = self.ok("compact")
        self.assertRegex(said, r"^compacted revision [0-9]+$")
        revision = int(said.split()[-1])
        self.assertEqual(self.ok("get", "/compacted"), "/compacted\n3\n")
        old = self.decree("get", "/compacted", "--rev", str(revision - 1))
        self.assertEqual(old.code, 4)
        self.assertIn("compacted", old.err)
        self.ok("put", "/compacted", "4")
        self.assertEqual(self.ok("compact", str(revision + 1)),
                         f"compacted revision {revision + 1}\n")
        again = self.decree("compact", str(revision))
        self.assertEqual(again.code, 4)
        self.assertIn("compacted", again.err)
        self.assertEqual(self.decree("compact", str(revision + 1000)).code, 4)
        for wrong in ("0", "x", "-1"):
            self.assertEqual(self.decree("compact", wrong).code, 2)

    def test_a_megabyte_goes_through(self):
        value = b"0123456789abcdef" * 65536
        self.ok("put", "/big", "-", stdin=value)
        self.assertEqual(self.decree("get", "/big", "--print-value-only").out, value + b"\n")

    def test_prefix_takes_what_begins_with_it_and_no_more(self):
        for key in ("/p/a", "/p/b", "/p0", "/p", "/p/\xff"):
            self.ok("put", key, "v")
        self.assertEqual(self.ok("get", "--prefix", "/p/", "--keys-only"), "/p/a\n/p/b\n/p/\xff\n")
        self.assertEqual(self.ok("get", "/p/a", "/p/b", "--keys-only"), "/p/a\n")
        self.assertEqual(self.ok("get", "--prefix", "/p/", "--count-only"), "3\n")
        self.assertEqual(self.ok("get", "--prefix", "/p/", "--limit", "1", "--keys-only"), "/p/a\n")
        self.assertEqual(self.ok("get", "--prefix", "/p/", "--order=descend", "--keys-only"),
                         "/p/\xff\n/p/b\n/p/a\n")
        self.assertEqual(self.ok("del", "--prefix", "/p/"), "3\n")
        self.assertEqual(self.ok("get", "--prefix", "/p", "--keys-only"), "/p\n/p0\n")

    def test_from_key_and_everything(self):
        self.ok("put", "zz-from", "v")
        self.assertEqual(self.ok("get", "--from-key", "zz-from"), "zz-from\nv\n")
        everything = int(self.ok("get", "--prefix", "", "--count-only"))
        self.assertEqual(int(self.ok("get", "--from-key", "", "--count-only")), everything)
        self.assertGreater(everything, 0)

    def test_sorting_by_something_else_than_the_key(self):
        for key, value in (("/s/1", "c"), ("/s/2", "a"), ("/s/3", "b")):
            self.ok("put", key, value)
        self.assertEqual(self.ok("get", "--prefix", "/s/", "--sort-by", "value", "--keys-only"),
                         "/s/2\n/s/3\n/s/1\n")
        self.assertEqual(
            self.ok("get", "--prefix", "/s/", "--sort-by=modify", "--order=DESCEND", "--keys-only"),
            "/s/3\n/s/2\n/s/1\n")

    def test_an_old_revision_is_read(self):
        self.ok("put", "/rev", "old")
        revision = json.loads(self.ok("get", "/rev", "-o", "json"))["header"]["revision"]
        self.ok("put", "/rev", "new")
        self.assertEqual(self.ok("get", "/rev", "--rev", revision), "/rev\nold\n")

    def test_prev_kv_and_the_two_ignores(self):
        self.ok("put", "/prev", "1")
        self.assertEqual(self.ok("put", "/prev", "2", "--prev-kv"), "OK\n/prev\n1\n")
        lease = self.ok("lease", "grant", "60").split()[1]
        self.assertEqual(self.ok("put", "/prev", "--ignore-value", "--lease", lease), "OK\n")
        self.ok("put", "/prev", "3", "--ignore-lease")
        kv = json.loads(self.ok("get", "/prev", "-o", "json"))["kvs"][0]
        self.assertEqual((kv["value"], int(kv["lease"])), (base64.b64encode(b"3").decode(),
                                                           int(lease, 16)))
        self.assertEqual(self.ok("del", "/prev", "--prev-kv"), "1\n/prev\n3\n")

    def test_serializable_get(self):
        self.ok("put", "/ser", "1")
        self.assertEqual(self.ok("get", "-s", "/ser"), "/ser\n1\n")

    def test_json_is_the_gateways_own(self):
        self.ok("put", "/json", "v")
        reply = json.loads(self.ok("get", "/json", "-o=json"))
        self.assertEqual(base64.b64decode(reply["kvs"][0]["key"]), b"/json")
        self.assertEqual(reply["count"], "1")

    def test_a_table_has_sizes_and_escapes_what_would_move_the_cursor(self):
        self.ok("put", "/t/a", "red\x1b[31m\nnext")
        lines = self.ok("get", "--prefix", "/t/", "-o", "table").splitlines()
        self.assertEqual(lines[0].split(), ["KEY", "REVISION", "VERSION", "SIZE", "VALUE"])
        self.assertIn("13 B", lines[1])
        self.assertTrue(lines[1].endswith(r"red\x1b[31m\nnext"), lines[1])

    def test_what_the_server_refuses_is_told_with_code_4(self):
        refused = self.decree("get", "/a", "--rev", "999999999")
        self.assertEqual(refused.code, 4)
        self.assertIn("required revision is a future revision", refused.err)
        refused = self.decree("put", "/a", "v", "--lease", "123abc")
        self.assertEqual(refused.code, 4)
        self.assertIn("requested lease not found", refused.err)
        refused = self.decree("put", "/a", "-", stdin=b"x" * 1700000)
        self.assertEqual(refused.code, 4)
        self.assertIn("request is too large", refused.err)


class Transactions(CliTest):
    def txn(self, text):
        return self.decree("txn", stdin=text.encode())

    def test_both_branches_and_the_exit_code(self):
        taken = self.txn('version("/txn/a") = "0"\n\nput /txn/a "two words"\nget /txn/a\n\n'
                         'get /txn/a\n')
        self.assertEqual((taken.code, taken.text), (0, "SUCCESS\n\nOK\n\n/txn/a\ntwo words\n"))
        other = self.txn('version("/txn/a") = "0"\n\nput /txn/a other\n\nget /txn/a\n')
        self.assertEqual((other.code, other.text), (1, "FAILURE\n\n/txn/a\ntwo words\n"))

    def test_every_compare(self):
        self.ok("put", "/txn/c", "v")
        reply = json.loads(self.ok("get", "/txn/c", "-o", "json"))["kvs"][0]
        mod, create = reply["mod_revision"], reply["create_revision"]
        for compare in (f'mod("/txn/c") = "{mod}"', f'create(/txn/c) = {create}',
                        'ver("/txn/c") < "2"', 'value("/txn/c") = "v"', 'val(/txn/c) != w',
                        'val(/txn/c) > a', 'lease("/txn/c") = "0"'):
            with self.subTest(compare):
                self.assertEqual(self.txn(compare + "\n\nget /txn/c\n").code, 0)
        self.assertEqual(self.txn('value("/txn/c") = "w"\n\n\nget /txn/c\n').code, 1)

    def test_requests_take_their_flags_and_quotes(self):
        done = self.txn('\nput "/txn/q q" "line\\nnext \\x41"\nput /txn/q2 \'as "is" \\n\'\n'
                        'get --prefix /txn/q\n')
        pairs = '/txn/q q\nline\nnext A\n/txn/q2\nas "is" \\n\n'
        self.assertEqual((done.code, done.text), (0, f"SUCCESS\n\nOK\n\nOK\n\n{pairs}"), done.err)
        done = self.txn('\ndel --prefix /txn/q --prev-kv\n')
        self.assertEqual((done.code, done.text), (0, f"SUCCESS\n\n2\n{pairs}"))

    def test_bad_lines_are_named(self):
        for text, wanted in (
                ('mud("/a") = "0"\n', "line 1: a compare looks like"),
                ('mod("/a") ~ "0"\n', "line 1: behind mod"),
                ('mod("/a") = "x"\n', 'line 1: mod is compared with a number, not with "x"'),
                ('mod("/a") = "0"\n\nput "/a\n', 'line 3: a " is not closed'),
                ('\nwatch /a\n', "line 2: a request is a put, a get or a del"),
                ('\nput /a\n', "line 2: put needs a value"),
                ('\nput /a 1 --levels 3\n', "line 2: put does not know --levels"),
                ('', "nothing to do")):
            with self.subTest(text):
                done = self.txn(text)
                self.assertEqual((done.code, done.out), (2, b""))
                self.assertIn(wanted, done.err)


class Leases(CliTest):
    def test_the_life_of_a_lease(self):
        granted = self.ok("lease", "grant", "60")
        self.assertRegex(granted, r"^lease [0-9a-f]{16} granted with TTL\(60s\)\n$")
        lease = granted.split()[1]
        self.ok("put", "/l/a", "1", "--lease", lease)
        self.assertIn(lease, self.ok("lease", "list").splitlines())
        self.assertRegex(self.ok("lease", "timetolive", lease, "--keys"),
                         rf"^lease {lease} granted with TTL\(60s\), remaining\(\d+s\), "
                         r"attached keys\(\[/l/a\]\)\n$")
        self.assertEqual(self.ok("lease", "keep-alive", "--once", lease),
                         f"lease {lease} keepalived with TTL(60)\n")
        self.assertEqual(self.ok("lease", "revoke", lease), f"lease {lease} revoked\n")
        self.assertEqual(self.decree("get", "/l/a").code, 1)
        gone = self.decree("lease", "timetolive", lease)
        self.assertEqual((gone.code, gone.text), (1, f"lease {lease} already expired\n"))
        self.assertEqual(self.decree("lease", "keep-alive", lease).code, 1)
        self.assertEqual(self.decree("lease", "revoke", lease).code, 4)

    def test_keep_alive_keeps_it_beyond_its_life_and_ends_with_ctrl_c(self):
        lease = self.ok("lease", "grant", "2").split()[1]
        running = self.start_decree("lease", "keep-alive", lease)
        line = f"lease {lease} keepalived with TTL(2)\n"
        running.await_output(line * 5)
        self.assertEqual(running.interrupt(), 0)

    def test_keep_alive_outlives_a_restart_of_the_store_and_says_so(self):
        lease = self.ok("lease", "grant", "9").split()[1]
        running = self.start_decree("lease", "keep-alive", lease)
        line = f"lease {lease} keepalived with TTL(9)\n"
        running.await_output(line)
        self.store.members[0].kill9()
        running.await_output("is it running?", path=running.err)
        before = running.read(running.out)
        self.store.start()
        running.await_output(before + line)
        self.assertEqual(running.interrupt(), 0)

    def test_a_lease_id_is_hexadecimal(self):
        for word in ("xyz", "0", "-1", "12 "):
            with self.subTest(word):
                done = self.decree("lease", "revoke", "--", word)
                self.assertEqual(done.code, 2)
                self.assertIn("is not a lease id", done.err)


if __name__ == "__main__":
    unittest.main()
