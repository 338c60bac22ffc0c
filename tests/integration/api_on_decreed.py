"""The tests of the doors once more, on a real single member instead of the store in memory."""

import os
import subprocess
import sys
import unittest

from cluster import Cluster


class OnDecreed(unittest.TestCase):
    def run_module(self, name):
        with Cluster(1) as cluster:
            cluster.start()
            port = cluster.members[0].client_port
            result = subprocess.run(
                [sys.executable, "-B", "-m", "unittest", name], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=150,
                cwd=os.path.dirname(os.path.abspath(__file__)),
                env={**os.environ, "DECREE_API_ENDPOINT": f"127.0.0.1:{port}"}, check=False)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn("\nOK", result.stdout)

    def test_answers_like_etcd(self):
        self.run_module("api_diff_etcd")

    def test_grpc(self):
        self.run_module("api_grpc")


if __name__ == "__main__":
    unittest.main()
