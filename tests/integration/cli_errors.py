"""What decree says when the command line is wrong or nobody answers, and failover."""

import os
import socket
import subprocess
import tempfile
import threading
import unittest

from cli_store import CliTest, environment
from cluster import free_ports, program


def decree(*words, endpoints=None, **env):
    return subprocess.run([program("decree"), *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, check=False, env=environment(endpoints, **env))


class WrongWords(unittest.TestCase):
    def refused(self, wanted, *words, **env):
        done = decree(*words, **env)
        self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
        self.assertIn(wanted, done.stderr)

    def test_unknown_commands_and_flags_come_with_a_suggestion(self):
        self.refused('"gte" is not a command; did you mean "get"?', "gte", "/a")
        self.refused('did you mean "watch"?', "wathc")
        self.refused('"lease" is not a command; there is: lease grant', "lease")
        self.refused('there is: agent status, agent render', "agent", "sttaus")
        self.refused('see decree help', "zzzzzzz")
        self.refused("get does not know --prefx; did you mean --prefix?", "get", "--prefx", "/a")
        self.refused("put does not know --prefix", "put", "--prefix", "/a", "1")
        self.refused("put -- in front of words that begin with a dash", "put", "/a", "-1")
        self.refused("decree does not know --version", "--version")

    def test_values_of_flags(self):
        self.refused("--limit many: not a whole number", "get", "/a", "--limit", "many")
        self.refused("--rev -3: not a whole number", "get", "/a", "--rev", "-3")
        self.refused("--limit needs a value", "get", "/a", "--limit")
        self.refused("--prefix is a switch", "get", "/a", "--prefix=maybe")
        self.refused('"size" is none of key, version, create, modify, value', "get", "/a",
                     "--sort-by", "size")
        self.refused("--output yaml: choose simple, table or json", "get", "/a", "-o", "yaml")
        self.refused('"soon" is not a duration', "get", "/a", "--timeout", "soon")
        self.refused('"0" is not a duration', "get", "/a", "--timeout", "0")

    def test_arguments(self):
        self.refused("not enough arguments: decree put KEY [VALUE]", "put")
        self.refused('"c" is one argument too many: decree get KEY [RANGE_END]', "get", "a", "b", "c")
        self.refused("choose one of RANGE_END, --prefix and --from-key", "get", "a", "b", "--prefix")
        self.refused("the key is empty", "get", "")
        self.refused("the key is empty", "put", "", "1")
        self.refused("there is no command behind --", "watch", "/a", "--")

    def test_endpoints(self):
        self.refused("only http://HOST:PORT and unix:///PATH", "get", "/a", "--endpoints",
                     "ftp://127.0.0.1:1")
        self.refused("is not an address", "get", "/a", "--endpoints", "http://127.0.0.1")
        self.refused("is not an address", "get", "/a", "--endpoints", "http://127.0.0.1:12,")
        self.refused("a socket needs its whole path", "get", "/a", endpoints="unix://run/x")

    def test_help_names_every_command_and_the_exit_codes(self):
        text = decree("help").stdout
        for word in ("put", "lease keep-alive", "agent status", "Exit codes", "--endpoints"):
            self.assertIn(word, text)
        for words in (["help", "watch"], ["watch", "--help"], ["watch", "-h"]):
            done = decree(*words)
            self.assertEqual(done.returncode, 0)
            self.assertIn("DECREE_WATCH_KEY", done.stdout)
        self.assertIn("lease grant TTL", decree("help", "lease", "grant").stdout)
        self.assertEqual(decree("--help").stdout, text)
        self.assertEqual(decree("help", "nothing").returncode, 2)
        self.assertEqual(decree().returncode, 2)

    def test_version(self):
        self.assertRegex(decree("version").stdout, r"^decree \d+\.\d+\.\d+\n$")


class NobodyAnswers(unittest.TestCase):
    def test_connection_refused_says_what_to_do(self):
        url = f"http://127.0.0.1:{free_ports(1)[0]}"
        done = decree("get", "/a", endpoints=url)
        self.assertEqual(done.returncode, 3)
        self.assertIn(f"no decreed answers at {url}: Connection refused; is it running? "
                      "Start decreed, or name it with --endpoints", done.stderr)

    def test_every_endpoint_is_named_with_its_reason(self):
        a, b = free_ports(2)
        done = decree("put", "/a", "1", endpoints=f"127.0.0.1:{a},unix:///nonexistent/s")
        self.assertEqual(done.returncode, 3)
        self.assertIn("none of the endpoints can serve this", done.stderr)
        self.assertIn(f"127.0.0.1:{a}: Connection refused", done.stderr)
        self.assertIn("unix:///nonexistent/s: No such file or directory", done.stderr)
        self.assertNotIn(str(b), done.stderr)

    def test_a_server_that_never_answers_is_given_up(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            done = decree("get", "/a", "--timeout", "300ms", endpoints=url)
            self.assertEqual(done.returncode, 3)
            self.assertIn("no answer in time", done.stderr)

    def test_something_else_on_that_port(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            def answer():
                connection, _ = other.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            thread = threading.Thread(target=answer)
            thread.start()
            done = decree("get", "/a", endpoints=f"http://127.0.0.1:{other.getsockname()[1]}")
            thread.join()
            self.assertEqual(done.returncode, 4)
            self.assertIn("is that a decreed or etcd client address?", done.stderr)

    def test_a_write_that_was_sent_is_not_sent_again(self):
        seen = []
        with socket.create_server(("127.0.0.1", 0)) as first, \
                socket.create_server(("127.0.0.1", 0)) as second:
            second.settimeout(1)

            def drop():
                connection, _ = first.accept()
                seen.append(connection.recv(65536))
                connection.close()
            thread = threading.Thread(target=drop)
            thread.start()
            urls = ",".join(f"http://127.0.0.1:{s.getsockname()[1]}" for s in (first, second))
            done = decree("put", "/a", "1", endpoints=urls)
            thread.join()
            self.assertIn(b"/v3/kv/put", seen[0])
            self.assertEqual(done.returncode, 3)
            self.assertIn("the write may have been done all the same", done.stderr)
            with self.assertRaises(TimeoutError):
                second.accept()

    def test_agent_render_without_the_agent(self):
        with tempfile.TemporaryDirectory() as folder:
            alone = os.path.join(folder, "decree")
            with open(program("decree"), "rb") as source, open(alone, "wb") as copy:
                copy.write(source.read())
            os.chmod(alone, 0o755)
            done = subprocess.run([alone, "agent", "render", "--diff"], capture_output=True, text=True,
                                  env=environment(None, PATH=folder), check=False)
            self.assertEqual(done.returncode, 5)
            self.assertIn("cannot run decreed-agent", done.stderr)

            agent = os.path.join(folder, "decreed-agent")
            with open(agent, "w", encoding="ascii") as f:
                f.write('#!/bin/sh\necho "$@"\nexit 1\n')
            os.chmod(agent, 0o755)
            done = subprocess.run([alone, "--endpoints", "unix:///x", "agent", "render", "--diff", "a"],
                                  capture_output=True, text=True, env=environment(None), check=False)
            self.assertEqual((done.returncode, done.stdout),
                             (1, "--render --endpoints=unix:///x --diff a\n"))


class Failover(CliTest):
    def test_reads_and_writes_go_to_the_endpoint_that_answers(self):
        dead = f"http://127.0.0.1:{free_ports(1)[0]}"
        both = f"{dead},{self.store.endpoints}"
        self.assertEqual(self.ok("put", "/f", "1", endpoints=both), "OK\n")
        self.assertEqual(self.ok("get", "/f", endpoints=both), "/f\n1\n")

    def test_debug_shows_the_exchange(self):
        done = self.decree("get", "/f", "--debug")
        self.assertIn("> POST", done.err)
        self.assertIn("/v3/kv/range", done.err)


if __name__ == "__main__":
    unittest.main()
