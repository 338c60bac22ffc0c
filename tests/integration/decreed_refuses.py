"""What decreed says when it cannot start, and that it says so with an exit code and without a trace."""

import os
import socket
import subprocess
import tempfile
import unittest

from cluster import Cluster, free_ports, program


def run(*arguments, env=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DECREE_")}
    environment.update(env or {})
    result = subprocess.run([program("decreed"), *arguments], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30,
                            env=environment, check=False)
    return result.returncode, result.stdout


class DecreedRefuses(unittest.TestCase):
    def store(self, folder, *more, peer=None, client=None, name="m1"):
        ports = free_ports(2)
        return run("--role=store", "--name", name, "--data-dir", os.path.join(folder, "d"),
                   "--listen-client-urls", f"http://127.0.0.1:{client or ports[0]}",
                   "--listen-peer-urls", f"http://127.0.0.1:{peer or ports[1]}", *more)

    def test_wrong_flag_is_named_with_the_nearest(self):
        code, text = run("--data-dri", "x")
        self.assertEqual(code, 2)
        self.assertIn("unknown option --data-dri; did you mean --data-dir?", text)

    def test_bad_value_in_the_environment_is_named(self):
        code, text = run(env={"DECREE_ELECTION_TIMEOUT": "soon"})
        self.assertEqual(code, 2)
        self.assertIn('DECREE_ELECTION_TIMEOUT: "soon" is not a time', text)

    def test_unreadable_config_file(self):
        code, text = run("--config-file", "/nonexistent/decree.conf")
        self.assertEqual(code, 2)
        self.assertIn("cannot read /nonexistent/decree.conf: No such file or directory", text)

    def test_election_shorter_than_five_heartbeats(self):
        with tempfile.TemporaryDirectory() as folder:
            code, text = self.store(folder, "--election-timeout=300ms")
        self.assertEqual(code, 2)
        self.assertIn("--election-timeout: 300 ms is too short", text)

    def test_client_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken, \
                tempfile.TemporaryDirectory() as folder:
            port = taken.getsockname()[1]
            code, text = self.store(folder, client=port)
        self.assertEqual(code, 2)
        self.assertIn(f"127.0.0.1:{port}", text)
        self.assertIn("in use", text)

    def test_peer_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken, \
                tempfile.TemporaryDirectory() as folder:
            port = taken.getsockname()[1]
            code, text = self.store(folder, peer=port)
        self.assertEqual(code, 2)
        self.assertIn(f"127.0.0.1:{port}", text)
        self.assertIn("in use", text)

    def test_data_directory_in_use_names_who_has_it(self):
        with Cluster(1) as cluster:
            cluster.start()
            ports = free_ports(2)
            code, text = run("--role=store", "--name=m1", "--data-dir", cluster.members[0].data_dir,
                             "--listen-client-urls", f"http://127.0.0.1:{ports[0]}",
                             "--listen-peer-urls", f"http://127.0.0.1:{ports[1]}")
            pid = str(cluster.members[0].process.pid)
        self.assertEqual(code, 2)
        self.assertIn("in use", text)
        self.assertIn(pid, text)

    def test_data_directory_of_another_cluster(self):
        with Cluster(1) as cluster:
            cluster.start()
            member = cluster.members[0]
            self.assertEqual(member.stop(), 0)
            code, text = run(*member.arguments()[1:], "--initial-cluster-token=other")
        self.assertEqual(code, 2)
        self.assertIn("cluster", text)
        self.assertIn(member.data_dir, text)

    def test_directory_of_a_lone_member_is_no_founding_member_of_three(self):
        with Cluster(1) as cluster:
            cluster.start()
            member = cluster.members[0]
            self.assertEqual(member.stop(), 0)
            listed = f"m1=http://127.0.0.1:{member.peer_port},m2=http://127.0.0.1:1"
            code, text = run(*[a for a in member.arguments()[1:]
                               if not a.startswith(("--initial-cluster", "m1=http"))],
                             "--initial-cluster", listed)
        self.assertEqual(code, 2)
        self.assertIn("holds a cluster of this member alone", text)

    def test_name_missing_from_the_initial_cluster(self):
        with tempfile.TemporaryDirectory() as folder:
            code, text = self.store(folder, "--initial-cluster=a=http://127.0.0.1:1")
        self.assertEqual(code, 2)
        self.assertIn("m1", text)
        self.assertIn("initial cluster", text)

    def test_malformed_url(self):
        with tempfile.TemporaryDirectory() as folder:
            code, text = run("--role=store", "--data-dir", os.path.join(folder, "d"),
                             "--listen-client-urls=localhost:1", "--listen-peer-urls=")
        self.assertEqual(code, 2)
        self.assertIn("localhost:1", text)

    def test_data_directory_that_cannot_be_made(self):
        code, text = run("--role=store", "--data-dir=/proc/nowhere")
        self.assertEqual(code, 2)
        self.assertIn("/proc/nowhere", text)


if __name__ == "__main__":
    unittest.main()
