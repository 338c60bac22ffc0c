"""The tests of the doors once more, on a real single member instead of the store in memory."""

import os
import subprocess
import sys
import unittest

from cluster import Cluster


class OnDecreed(unittest.TestCase):
    def run_classes(self, module):
        """Each class with a member of its own: they begin on an empty store."""
        suites = unittest.defaultTestLoader.loadTestsFromName(module)
        classes = {type(test).__name__ for suite in suites for test in suite}
        self.assertGreater(len(classes), 0)
        for name in sorted(classes):
            with self.subTest(name), Cluster(1) as cluster:
                cluster.start()
                self.run_class(f"{module}.{name}", cluster.members[0].client_port)

    def run_class(self, name, port):
        result = subprocess.run(
            [sys.executable, "-B", "-m", "unittest", name], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=150,
            cwd=os.path.dirname(os.path.abspath(__file__)),
            env={**os.environ, "DECREE_API_ENDPOINT": f"127.0.0.1:{port}"}, check=False)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn("\nOK", result.stdout)

    def test_answers_like_etcd(self):
        self.run_classes("api_diff_etcd")

    def test_grpc(self):
        self.run_classes("api_grpc")


if __name__ == "__main__":
    unittest.main()
