"""A real disk that is really full: a small tmpfs under one member. Needs the right to mount."""

import contextlib
import http.client
import os
import subprocess
import unittest

from cluster import Cluster, Refused, unb64, until
from disk_faults import contents, is_whole

FAST = ["--heartbeat-interval=50", "--election-timeout=500", "--snapshot-count=15"]
MIB = 1 << 20


@contextlib.contextmanager
def small_disk(path, size):
    os.makedirs(path)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", path],
                           capture_output=True, check=False)
    if mount.returncode != 0:
        raise unittest.SkipTest("no right to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def fill(path):
    """Takes what room is left on the disk of path."""
    with open(path, "wb", buffering=0) as f:
        with contextlib.suppress(OSError):
            while True:
                f.write(bytes(65536))
        with contextlib.suppress(OSError):
            while True:
                f.write(bytes(512))


def put(member, key, value):
    client = member.client(3)
    try:
        return client.put(key, value)
    except (OSError, http.client.HTTPException, Refused) as e:
        return e
    finally:
        client.close()


class Full(unittest.TestCase):
    def test_a_lone_member_refuses_writes_serves_reads_and_starts_on_a_full_disk(self):
        with Cluster(1, FAST) as cluster:
            member = cluster.members[0]
            with small_disk(member.data_dir, 12 * MIB):
                cluster.start()
                self.assertIsInstance(put(member, "/before", "1"), dict)
                filler = os.path.join(member.data_dir, "filler")
                fill(filler)
                answer = until(60, "a write is refused", lambda: self.refused(member))
                self.assertEqual(answer.status, 429)
                self.assertIn("space exceeded", answer.body)
                self.assertIn("no room for the log", self.status(member))
                until(10, "the log names the folder",
                      lambda: f"no room for the log in {member.data_dir}" in member.log())
                self.assertIn("no snapshot was written, the older one and the log stay",
                              member.log())
                keys = contents(member)
                member.kill9()
                member.start()
                until(20, "it starts", member.leads)
                self.assertEqual(contents(member), keys)
                os.unlink(filler)
                until(20, "writes are taken again",
                      lambda: isinstance(put(member, "/after", "1"), dict))
                member.stop()
                member.start()
                until(20, "a snapshot is written at last",
                      lambda: "snapshot written" in member.log())
                member.stop()

    @staticmethod
    def status(member):
        client = member.client()
        try:
            return str(client.status())
        finally:
            client.close()

    @staticmethod
    def refused(member):
        for i in range(20):
            answer = put(member, f"/k{i % 3}", "v" * 90000)
            if isinstance(answer, Refused):
                return answer
        return None

    def test_a_follower_with_a_full_disk_holds_up_nobody_and_catches_up(self):
        with Cluster(3, FAST) as cluster:
            small = cluster.members[0]
            with small_disk(small.data_dir, 12 * MIB):
                leader = cluster.start()
                if leader is small:
                    small.stop()
                    leader = cluster.wait_leader()
                    small.start()
                    until(20, "it is back", lambda: is_whole(small))
                fill(os.path.join(small.data_dir, "filler"))
                for i in range(150):
                    answer = put(leader, f"/k{i % 3}", "v" * 90000)
                    self.assertIsInstance(answer, dict, f"write {i}: {answer}")
                    if "no room for the log" in small.log() and i > 60:
                        break
                self.assertIn(f"no room for the log in {small.data_dir}", small.log())
                self.assertTrue(leader.leads())
                # It could not tell what became of a write, so it passes none on.
                answer = put(small, "/refused", "1")
                self.assertIsInstance(answer, Refused, f"{answer}")
                self.assertEqual(answer.status, 429)
                self.assertNotIn("/refused", [unb64(kv[0]).decode() for kv in contents(leader)])
                small.kill9()
                small.start()
                for i in range(30):
                    self.assertIsInstance(put(leader, f"/l{i % 3}", "v" * 90000), dict)
                os.unlink(os.path.join(small.data_dir, "filler"))
                want = contents(leader)
                until(30, "it has all", lambda: contents(small) == want)
                self.assertIsNone(small.process.poll())
                small.stop()


if __name__ == "__main__":
    unittest.main()
