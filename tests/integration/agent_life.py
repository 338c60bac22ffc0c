"""The life of a file through a real agent and a real store: what is refused, rolled back, retried."""

import os
import signal
import stat
import subprocess
import time
import unittest

from agent_host import STORE, Host, Proxy, b64
from cluster import program, until


def gone(pid):
    """The process has ended; a zombie waits for an init that this container may not have."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


class Life(unittest.TestCase):
    def test_change_reaches_the_file_and_the_status(self):
        with Host() as h:
            h.resource(reload=f"touch {h.path('reloaded')}")
            h.put("/app/v", "one")
            h.start()
            h.wait_file("one\n")
            h.put("/app/v", "two")
            h.wait_file("two\n")
            s = h.wait_status("ok", also=lambda s: s["rendered_revision"] >= 3)
            self.assertEqual((s["agent"], s["resource"], s["dest"]), ("h1", "app", h.dest()))
            self.assertGreater(s["file_changed_ms"], 0)
            self.assertGreaterEqual(s["reloaded_ms"], s["file_changed_ms"])
            self.assertFalse(s["stale"])
            self.assertTrue(os.path.exists(h.path("reloaded")))
            self.assertEqual(h.stop(), 0)
            self.assertEqual(h.status(), {}, "a clean stop takes the report along")

    def test_check_refuses_a_bad_value_and_the_live_file_is_not_touched(self):
        with Host() as h:
            check = h.script("check", 'grep -q bad "$1" && echo "line 1: bad directive" && exit 3\n'
                                      "exit 0\n")
            h.resource(check=check + " {{.src}}", reload=f"touch {h.path('reloaded')}")
            h.put("/app/v", "good")
            h.start()
            h.wait_status("ok")
            before = os.stat(h.dest())
            os.unlink(h.path("reloaded"))
            h.put("/app/v", "bad")
            s = h.wait_status("check-failed")
            self.assertIn("exited with status 3: line 1: bad directive", s["error"])
            after = os.stat(h.dest())
            self.assertEqual((before.st_ino, before.st_mtime_ns), (after.st_ino, after.st_mtime_ns))
            self.assertFalse(os.path.exists(h.path("reloaded")))
            self.assertEqual(os.listdir(h.out), ["app"], "no stage is left behind")
            h.put("/app/v", "better")
            h.wait_file("better\n")
            h.wait_status("ok")

    def test_failed_reload_puts_the_old_bytes_back_and_reloads_again(self):
        with Host() as h:
            reload = h.script("reload", f'cat "$1" >>{h.path("seen")}\n! grep -q poison "$1"\n')
            h.resource(reload=reload + " {{.dest}}")
            h.put("/app/v", "good")
            h.start()
            h.wait_status("ok")
            h.put("/app/v", "poison")
            s = h.wait_status("reload-failed")
            self.assertIn("exited with status 1", s["error"])
            h.wait_file("good\n")
            until(5, "reloaded with the old bytes",
                  lambda: h.read("seen").startswith("good\npoison\ngood\n"))
            until(10, "it is tried again", lambda: h.read("seen").count("poison") >= 2)
            h.put("/app/v", "healed")
            h.wait_file("healed\n")
            h.wait_status("ok")

    def test_failed_verification_puts_the_old_bytes_back(self):
        with Host() as h:
            h.resource(reload="true", verify=f"grep -q good {h.dest()}")
            h.put("/app/v", "good")
            h.start()
            h.wait_status("ok")
            h.put("/app/v", "other")
            h.wait_status("verify-failed")
            h.wait_file("good\n")

    def test_reload_that_was_never_finished_is_made_up_for_after_a_kill(self):
        with Host() as h:
            reload = h.script("reload", f'echo $$ >>{h.path("began")}\n'
                                        f'[ -e {h.path("hang")} ] && exec sleep 600\n'
                                        f'cat {h.dest()} >>{h.path("done")}\n')
            h.resource(reload=reload)
            h.put("/app/v", "one")
            h.start()
            h.wait_status("ok")
            h.write("hang", "")
            h.put("/app/v", "two")
            until(10, "the second reload began", lambda: h.read("began").count("\n") == 2)
            h.kill9()
            os.kill(int(h.read("began").split()[1]), signal.SIGKILL)
            self.assertEqual(h.read("out/app"), "two\n")
            self.assertEqual(h.read("done"), "one\n")
            os.unlink(h.path("hang"))
            h.start()
            until(10, "the service takes it", lambda: h.read("done") == "one\ntwo\n")
            h.wait_status("ok", also=lambda s: s["reloaded_ms"] / 1000 > os.stat(h.path("done")).st_mtime)
            self.assertEqual(h.stop(), 0)
            self.assertEqual(h.status(), {})
            h.start()
            h.wait_status("ok")
            self.assertEqual(h.read("done"), "one\ntwo\n", "what was taken is not reloaded again")

    def test_hook_that_hangs_is_killed_with_its_children_and_others_go_on(self):
        with Host() as h:
            hang = h.script("hang", "trap '' TERM\nsh -c 'trap \"\" TERM; echo $$ >"
                            + h.path("child") + "; exec sleep 600' &\nwait\n")
            h.resource("slow", check=hang, check_timeout="500ms")
            h.resource("app")
            h.put("/app/v", "one")
            h.start()
            until(10, "the hook runs", lambda: h.read("child"))
            h.wait_file("one\n")
            s = h.wait_status("check-failed", "slow", 15)
            self.assertIn("did not end within 500 ms and was killed", s["error"])
            self.assertIsNone(h.read("out/slow"))
            until(5, "the child is gone", lambda: gone(int(h.read("child"))))

    def test_owner_and_mode_are_corrected_without_a_swap_or_a_reload(self):
        with Host() as h:
            h.resource(mode="0640", owner="nobody", group="nogroup",
                       reload=f"touch {h.path('reloaded')}")
            h.put("/app/v", "one")
            h.start()
            h.wait_status("ok")
            os.unlink(h.path("reloaded"))
            before = os.stat(h.dest())
            self.assertEqual(stat.S_IMODE(before.st_mode), 0o640)
            self.assertEqual(before.st_uid, 65534)
            os.chmod(h.dest(), 0o666)
            os.chown(h.dest(), 0, 0)
            h.hup()
            h.wait_log("corrected owner and mode")
            after = os.stat(h.dest())
            self.assertEqual((after.st_ino, stat.S_IMODE(after.st_mode), after.st_uid),
                             (before.st_ino, 0o640, 65534))
            self.assertFalse(os.path.exists(h.path("reloaded")))

    def test_missing_key_is_named_with_line_and_column_until_it_comes(self):
        with Host() as h:
            h.resource(template='a\nb {{getv "/app/missing"}}\n')
            h.put("/app/v", "one")
            h.start()
            s = h.wait_status("render-error")
            self.assertIn("app.tmpl:2:4:", s["error"])
            self.assertIn("key does not exist: /app/missing", s["error"])
            self.assertIsNone(h.read("out/app"))
            h.put("/app/missing", "here")
            h.wait_file("a\nb here\n")

    def test_keys_that_the_template_does_not_read_change_nothing(self):
        with Host() as h:
            h.resource(reload=f"sh -c 'echo x >>{h.path('reloads')}'")
            h.put("/app/v", "one")
            h.start()
            h.wait_status("ok")
            for i in range(20):
                h.put(f"/app/other{i}", "x")
            h.put("/apple/v", "x")
            h.put("/app/v", "two")
            h.wait_file("two\n")
            h.wait_status("ok", also=lambda s: s["rendered_revision"] >= 24)
            self.assertEqual(h.read("reloads"), "x\nx\n")

    def test_burst_within_the_quiet_time_is_one_reload(self):
        with Host() as h:
            h.resource(quiet_min="300ms", reload=f"sh -c 'echo x >>{h.path('reloads')}'")
            h.put("/app/v", "first")
            h.start()
            h.wait_status("ok")
            for i in range(30):
                h.put("/app/v", f"n{i}")
            h.wait_file("n29\n")
            h.wait_status("ok", also=lambda s: s["rendered_revision"] >= 32)
            self.assertEqual(h.read("reloads"), "x\nx\n")

    def test_two_prefixes_changed_by_one_transaction_are_never_seen_apart(self):
        with Host() as h:
            reload = h.script("reload", f"cat {h.dest()} >>{h.path('seen')}\n")
            h.resource(keys="/left, /zright", reload=reload,
                       template='{{getv "/left/v"}} {{getv "/zright/v"}}\n')
            h.put("/left/v", "0")
            h.put("/zright/v", "0")
            h.start()
            h.wait_file("0 0\n")
            for i in range(1, 151):
                ops = [{"request_put": {"key": b64(k), "value": b64(str(i))}}
                       for k in ("/left/v", "/zright/v")]
                h.client.call("/v3/kv/txn", {"success": ops})
            h.wait_file("150 150\n")
            seen = [line.split() for line in h.read("seen").splitlines()]
            self.assertGreater(len(seen), 2)
            self.assertEqual([pair for pair in seen if pair[0] != pair[1]], [])

    def test_stop_waits_for_a_running_reload_and_kills_a_check(self):
        with Host() as h:
            reload = h.script("reload", f"echo b >>{h.path('began')}\nsleep 1\n"
                                        f"echo e >>{h.path('ended')}\n")
            h.resource(reload=reload)
            h.put("/app/v", "one")
            h.start()
            until(10, "the reload began", lambda: h.read("began"))
            self.assertEqual(h.stop(), 0)
            self.assertEqual(h.read("ended"), "e\n")
            h.resource(check="sleep 600")
            h.put("/app/v", "two")
            h.start()
            until(10, "the check runs", lambda: len(os.listdir(h.out)) == 2)
            began = time.monotonic()
            self.assertEqual(h.stop(), 0)
            self.assertLess(time.monotonic() - began, 5)
            self.assertEqual((h.read("out/app"), os.listdir(h.out)), ("one\n", ["app"]))


class Files(unittest.TestCase):
    def assert_refused(self, h, text):
        h.put("/app/v", "one")
        h.start()
        s = h.wait_status("write-failed")
        self.assertIn(text, s["error"])

    def test_symbolic_link_is_refused_and_stays(self):
        with Host() as h:
            h.resource()
            h.write("real", "old")
            os.symlink(h.path("real"), h.dest())
            self.assert_refused(h, f"is a symbolic link to {h.path('real')}")
            self.assertTrue(os.path.islink(h.dest()))
            self.assertEqual(h.read("real"), "old")

    def test_folder_that_anybody_may_write_to_is_refused(self):
        with Host() as h:
            h.resource()
            os.chmod(h.out, 0o777)
            self.assert_refused(h, "is writable by everybody")

    def test_missing_folder_is_named(self):
        with Host() as h:
            h.resource()
            os.rmdir(h.out)
            self.assert_refused(h, f"cannot open the folder {h.out}: No such file or directory")


class Configuration(unittest.TestCase):
    def test_wrong_resource_is_named_and_the_others_go_on(self):
        with Host() as h:
            h.resource("app")
            h.resource("wrong", reloadd="true")
            h.resource("broken", template="{{if}}")
            h.put("/app/v", "one")
            h.start()
            h.wait_file("one\n")
            s = h.wait_status("config-error", "wrong")
            self.assertIn("wrong.conf:5: unknown key 'reloadd'; known are src, dest, ", s["error"])
            s = h.wait_status("config-error", "broken")
            self.assertIn("template: broken.tmpl:1: ", s["error"])
            h.resource("wrong")
            h.hup()
            h.wait_file("one\n", "wrong")
            h.wait_status("ok", "wrong")

    def test_wrong_configuration_after_hup_keeps_the_one_before(self):
        with Host() as h:
            h.resource()
            h.put("/app/v", "one")
            h.start()
            h.wait_status("ok")
            h.resource(mode="0999")
            h.hup()
            s = h.wait_status("config-error")
            self.assertIn("app.conf:5: mode is octal", s["error"])
            h.put("/app/v", "two")
            h.wait_file("two\n")
            h.resource(template='new {{getv "/app/v"}}\n')
            h.hup()
            h.wait_file("new two\n")
            h.wait_status("ok")

    def test_removed_resource_leaves_its_file_and_its_report_goes(self):
        with Host() as h:
            h.resource("app")
            h.resource("extra")
            h.put("/app/v", "one")
            h.start()
            h.wait_status("ok", "extra")
            os.unlink(h.path("conf/conf.d/extra.conf"))
            h.hup()
            until(5, "the report is gone", lambda: h.status("extra") == {})
            self.assertEqual(h.read("out/extra"), "one\n")

    def test_hup_with_other_keys_follows_them(self):
        with Host() as h:
            h.resource()
            h.put("/app/v", "one")
            h.put("/new/v", "two")
            h.start()
            h.wait_file("one\n")
            h.resource(keys="/new", template='{{getv "/new/v"}}\n')
            h.hup()
            h.wait_file("two\n")
            h.put("/new/v", "three")
            h.wait_file("three\n")

    def test_unreadable_configuration_is_an_exit_code_and_a_clear_message(self):
        with Host(store=False) as h:
            h.conf = h.path("nothing-here")
            code, _, err = h.run()
            self.assertEqual(code, 2)
            self.assertIn(f"cannot read the folder {h.conf}/conf.d: No such file or directory", err)

    def test_wrong_endpoint_and_second_agent_are_refused(self):
        with Host() as h:
            h.resource()
            h.put("/app/v", "one")
            h.endpoints = "https://x"
            code, _, err = h.run()
            self.assertEqual(code, 2)
            self.assertIn("endpoint 'https://x': allowed are http://HOST:PORT and unix:///PATH", err)
            h.endpoints = h.store.url
            h.start()
            h.wait_file("one\n")
            code, _, err = h.run()
            self.assertEqual(code, 2)
            self.assertIn("is in use by another agent", err)


@unittest.skipUnless(STORE == "decreed", "the agent's socket is decreed's own")
class Socket(unittest.TestCase):
    def test_agent_follows_the_store_over_its_unix_socket(self):
        with Host() as h:
            h.endpoints = f"unix://{h.store.folder}/agent.sock"
            h.resource()
            h.put("/app/v", "one")
            h.start()
            h.wait_file("one\n")
            h.put("/app/v", "two")
            h.wait_file("two\n")
            h.wait_status("ok")


def decree(*words):
    done = subprocess.run([program("decree"), *words], stdin=subprocess.DEVNULL, timeout=60,
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


class Commands(unittest.TestCase):
    def test_status_of_a_file_without_a_known_dest(self):
        with Host() as h:
            h.write("conf/conf.d/f.conf", "")
            h.start()
            s = h.wait_status("config-error", name="f")
            self.assertEqual(s["dest"], "")
            self.assertIn("/f.conf: there is no section [template]", s["error"])
            code, out, _ = decree("agent", "status", "--endpoints", h.store.url)
            self.assertEqual(code, 1)
            self.assertIn("\nh1, f: config-error\n", out)

    def test_help_of_a_group_lists_its_commands(self):
        for words in (("help", "agent"), ("agent", "--help"), ("agent", "-h"), ("--help", "agent")):
            code, out, err = decree(*words)
            self.assertEqual((code, err), (0, ""), words)
            names = [line.split("  ")[1] for line in out.splitlines() if line.startswith("  ")]
            self.assertEqual(names, ["agent status", "agent render"])
        code, out, err = decree("agent")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("there is: agent status, agent render", err)
        self.assertEqual(decree("help", "agen")[0], 2)

    def test_once_tells_by_its_exit_code(self):
        with Host() as h:
            h.resource()
            h.put("/app/v", "one")
            self.assertEqual(h.run("--once")[0], 0)
            self.assertEqual(h.read("out/app"), "one\n")
            h.resource(check="false")
            h.put("/app/v", "two")
            code, _, err = h.run("--once")
            self.assertEqual(code, 1)
            self.assertIn("the check refused the new file, kept the old one", err)
            os.unlink(h.dest())
            code, _, err = h.run("--once")
            self.assertEqual(code, 1)
            self.assertIn("the check refused the new file, there is none yet", err)
            h.write("out/app", "one\n")
            self.assertEqual(h.read("out/app"), "one\n")

    def test_diff_shows_what_would_change_and_touches_nothing(self):
        with Host() as h:
            h.resource(reload=f"touch {h.path('reloaded')}", mode="0644")
            h.put("/app/v", "one")
            self.assertEqual(h.run("--once")[0], 0)
            os.unlink(h.path("reloaded"))
            before = os.stat(h.dest())
            self.assertEqual(h.run("--render", "--diff"), (0, "", ""))
            h.put("/app/v", "two")
            code, out, _ = h.run("--render", "--diff")
            self.assertEqual(code, 1)
            self.assertEqual(out, f"--- {h.dest()}\n+++ {h.dest()}\n@@ -1 +1 @@\n-one\n+two\n")
            os.chmod(h.dest(), 0o600)
            self.assertIn("mode 0600, owner 0:0 would be mode 0644", h.run("--render", "--diff")[1])
            after = os.stat(h.dest())
            self.assertEqual((before.st_ino, before.st_mtime_ns), (after.st_ino, after.st_mtime_ns))
            self.assertFalse(os.path.exists(h.path("reloaded")))
            self.assertEqual(h.client.range("_decree/", "_decree0").get("kvs", []), [])
            h.resource(template='{{getv "/app/none"}}')
            code, _, err = h.run("--render", "--diff")
            self.assertEqual(code, 2)
            self.assertIn("app.tmpl:1:2:", err)


class Trouble(unittest.TestCase):
    def test_compaction_while_cut_off_is_read_again(self):
        with Host() as h:
            proxy = Proxy(h.store.port)
            h.endpoints = proxy.url
            h.resource(template='{{range gets "/app/*"}}{{.Key}}={{.Value}} {{end}}')
            h.put("/app/a", "1")
            h.put("/app/b", "1")
            h.start()
            h.wait_file("/app/a=1 /app/b=1 ")
            proxy.cut()
            for i in range(2, 20):
                h.put("/app/a", str(i))
            h.client.call("/v3/kv/deleterange", {"key": b64("/app/b")})
            last = h.client.put("/app/c", "1")["header"]["revision"]
            h.client.call("/v3/kv/compaction", {"revision": last})
            h.put("/app/d", "1")
            proxy.mend()
            h.wait_file("/app/a=19 /app/c=1 /app/d=1 ")
            h.wait_log("the store has compacted what was missed")
            proxy.close()

    def test_events_missed_while_cut_off_are_made_up_for(self):
        with Host() as h:
            proxy = Proxy(h.store.port)
            h.endpoints = proxy.url
            h.resource()
            h.put("/app/v", "one")
            h.start()
            h.wait_file("one\n")
            proxy.cut()
            h.put("/app/v", "two")
            h.wait_log("the store does not answer", 15)
            proxy.mend()
            h.wait_file("two\n")
            proxy.close()

    def test_silent_connection_is_noticed_and_the_next_endpoint_used(self):
        with Host() as h:
            proxy = Proxy(h.store.port)
            h.endpoints = f"{proxy.url},{h.store.url}"
            h.resource()
            h.put("/app/v", "one")
            h.start()
            h.wait_file("one\n")
            proxy.silent.set()
            h.put("/app/v", "two")
            # SYNC_PROBE_MS until it asks, CLIENT_CALL_TIMEOUT_MS until it gives up, and a reconnect.
            h.wait_file("two\n", limit_s=5 + 5 + 4)
            proxy.close()

    def test_watch_that_goes_silent_on_a_living_store_is_opened_again(self):
        with Host() as h:
            proxy = Proxy(h.store.port)
            h.endpoints = proxy.url
            h.resource(keys="/left, /zright", template='{{getv "/left/v"}} {{getv "/zright/v"}}\n')
            h.put("/left/v", "0")
            h.put("/zright/v", "0")
            h.start()
            h.wait_file("0 0\n")
            watch_right = f'"key":"{b64("/zright")}"'.encode()
            until(5, "the watch went through the proxy",
                  lambda: any(watch_right in r and b"create_request" in r
                              for r in list(proxy.requests.values())))
            proxy.silenced = b'"create_request":{' + watch_right
            h.put("/zright/v", "1")
            h.put("/left/v", "1")  # which asks for /zright, and finds that its watch owes something
            h.wait_log("a watch has gone silent although its keys change")
            proxy.silenced = None
            h.wait_file("1 1\n")
            proxy.close()

    def test_store_restarts_and_nothing_is_missed(self):
        with Host() as h:
            h.resource()
            h.put("/app/v", "one")
            h.start()
            h.wait_file("one\n")
            h.store.stop()
            h.start_store()
            h.put("/app/v", "two")
            h.wait_file("two\n")
            h.wait_status("ok", limit_s=20, also=lambda s: not s["stale"])

    def test_start_without_the_store_renders_what_was_known(self):
        with Host() as h:
            h.resource()
            h.put("/app/v", "one")
            h.start()
            h.wait_status("ok")
            self.assertEqual(h.stop(), 0)
            os.unlink(h.dest())
            h.store.stop()
            h.start()
            h.wait_file("one\n")
            h.start_store()
            h.put("/app/v", "two")
            h.wait_file("two\n")
            h.wait_status("ok", also=lambda s: not s["stale"])

    def test_start_without_the_store_never_replaces_a_newer_file(self):
        with Host() as h:
            h.resource()
            h.put("/app/v", "one")
            h.start()
            h.wait_status("ok")
            self.assertEqual(h.stop(), 0)
            with open(os.path.join(h.state, "mirror"), "rb") as f:
                old = f.read()
            h.put("/app/v", "two")
            h.start()
            h.wait_file("two\n")
            h.wait_status("ok")
            self.assertEqual(h.stop(), 0)
            with open(os.path.join(h.state, "mirror"), "wb") as f:
                f.write(old)
            h.store.stop()
            h.start()
            h.wait_log("kept the file, it may be newer than what is remembered")
            self.assertEqual(h.read("out/app"), "two\n")

    def test_damaged_state_is_named_and_the_store_is_read(self):
        with Host() as h:
            h.resource(reload="true")
            h.put("/app/v", "one")
            h.start()
            h.wait_status("ok")
            self.assertEqual(h.stop(), 0)
            for name in ("mirror", "units/app.record"):
                with open(os.path.join(h.state, name), "r+b") as f:
                    f.seek(20)
                    f.write(b"\xff\xff")
            h.put("/app/v", "two")
            h.start()
            h.wait_file("two\n")
            h.wait_status("ok")
            self.assertIn("what was saved of the store cannot be used", h.log())


if __name__ == "__main__":
    unittest.main()
