"""Backups with real processes: saved under load, checked, restored to one and to three members; what
is cut, damaged or in the way is refused; and a member that lost the others goes on alone."""

import hashlib
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import unittest

from cluster import Cluster, b64, program, unb64, until

VALUE = "v" * 400
EVERYTHING = {"key": "\0", "end": "\0"}


def decree(*arguments, code=0, **more):
    run = subprocess.run([program("decree"), *arguments], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                         check=False, **more)
    if run.returncode != code:
        raise AssertionError(f"{arguments}: ended with {run.returncode}, not {code}\n{run.stdout}")
    return run.stdout


def endpoint(member):
    return f"--endpoints=http://127.0.0.1:{member.client_port}"


def listed(cluster):
    return ",".join(f"{m.name}=http://127.0.0.1:{m.peer_port}" for m in cluster.members)


def restore(path, cluster, *options, code=0):
    return [decree("snapshot", "restore", path, "--data-dir", m.data_dir, "--name", m.name,
                   "--initial-cluster", listed(cluster), *options, code=code)
            for m in cluster.members]


def pairs(reply):
    """All of a key that a restore has to keep."""
    return [(kv["key"], kv.get("value", ""), kv["create_revision"], kv["mod_revision"],
             kv["version"], kv.get("lease", "0")) for kv in reply.get("kvs", [])]


def wait_watch(port, revision):
    """The first answers of a watch from that revision, until it is cancelled."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/v3/watch", json.dumps(
        {"create_request": {"key": b64("\0"), "range_end": b64("\0"), "start_revision": revision}}))
    response = connection.getresponse()
    while True:
        answer = json.loads(response.fp.readline() if not response.chunked else next_line(response))
        if answer["result"].get("canceled"):
            connection.close()
            return answer["result"]


def next_line(response):
    line = b""
    while not line.endswith(b"\n"):
        line += response.read(1)
    return line


class Load(threading.Thread):
    """Writes until told to stop; remembers what was acknowledged, in order."""

    def __init__(self, member):
        super().__init__()
        self.client, self.stop, self.revisions = member.client(), threading.Event(), []

    def run(self):
        n = 0
        while not self.stop.is_set():
            reply = self.client.put(f"/load/{n % 50}", f"{n}")
            self.revisions.append(int(reply["header"]["revision"]))
            n += 1
        self.client.close()


class Cutter(threading.Thread):
    """A proxy that closes after so many bytes of the answer."""

    def __init__(self, port, after):
        super().__init__()
        self.to, self.after = port, after
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def run(self):
        client, _ = self.listener.accept()
        server = socket.create_connection(("127.0.0.1", self.to))
        server.sendall(client.recv(65536))
        left = self.after
        while left > 0:
            data = server.recv(min(left, 65536))
            if not data:
                break
            client.sendall(data)
            left -= len(data)
        for s in (client, server, self.listener):
            s.close()


class Endless(threading.Thread):
    """A member whose snapshot has no end and never pauses."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.port = self.listener.getsockname()[1]

    def run(self):
        line = json.dumps({"result": {"header": {"revision": "1"}, "remaining_bytes": "1000000",
                                      "blob": b64("x" * 3000)}}).encode() + b"\n"
        chunk = b"%x\r\n%s\r\n" % (len(line), line)
        client, _ = self.listener.accept()
        try:
            client.recv(65536)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n")
            while True:
                client.sendall(chunk * 100)
        except OSError:
            pass
        client.close()
        self.listener.close()


class SnapshotRestore(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """One cluster of three, saved while it is written to; the tests look at what came of it."""
        cls.cluster = Cluster(3)
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)
        leader = cls.cluster.start()
        cls.follower = next(m for m in cls.cluster.members if m is not leader)
        client = leader.client()
        for i in range(2000):
            client.put(f"/k/{i:04d}", VALUE)
        client.call("/v3/lease/grant", {"TTL": 3600, "ID": 77})
        client.put("/leased", "1", lease=77)
        client.call("/v3/kv/compaction", {"revision": 500})
        load = Load(leader)
        load.start()
        until(10, "the load has begun", lambda: len(load.revisions) > 50)
        cls.path = os.path.join(cls.cluster.folder, "saved.db")
        cls.before = load.revisions[-1]
        cls.said = decree("snapshot", "save", cls.path, endpoint(leader))
        until(10, "writes went on", lambda: load.revisions[-1] > cls.before)
        load.stop.set()
        load.join()
        cls.later = load.revisions[-1]
        cls.info = json.loads(decree("snapshot", "status", cls.path, "-o", "json"))
        cls.revision = cls.info["revision"]
        cls.kept = client.range(**EVERYTHING, revision=cls.revision)
        cls.old = client.status()["header"]
        cls.hashkv = [cls.hash_of(m) for m in cls.cluster.members]
        client.close()

    @classmethod
    def hash_of(cls, member):
        client = member.client()
        until(10, "it has all",
              lambda: int(client.status()["header"]["revision"]) >= cls.later)
        answer = client.call("/v3/maintenance/hashkv", {"revision": cls.revision})
        client.close()
        return answer

    def check_restored(self, cluster, bump=1000000000):
        cluster.start()
        for member in cluster.members:
            client = member.client()
            self.assertEqual(pairs(client.range(**EVERYTHING)), pairs(self.kept))
            status = client.status()["header"]
            self.assertEqual(int(status["revision"]), self.revision + bump)
            self.assertNotEqual(status["cluster_id"], self.old["cluster_id"])
            self.assertNotIn(status["member_id"], [m["id"] for m in self.info["members"]])
            lease = client.call("/v3/lease/timetolive", {"ID": 77, "keys": True})
            self.assertEqual((lease["grantedTTL"], lease["keys"]), ("3600", [b64("/leased")]))
            self.assertGreater(int(lease["TTL"]), 3590)
            for start in (self.revision + 1, self.later + 1, self.revision + bump - 1):
                ended = wait_watch(member.client_port, start)
                self.assertEqual(int(ended["compact_revision"]), self.revision + bump)
            client.close()
        client = cluster.members[-1].client()
        self.assertEqual(int(client.put("/k/0000", "new")["header"]["revision"]),
                         self.revision + bump + 1)
        self.assertEqual(unb64(client.range("/k/0000")["kvs"][0]["value"]), b"new")
        client.close()
        return len(cluster.members)

    def test_what_was_saved_is_one_revision_of_the_store(self):
        self.assertIn("saved.db saved from", self.said)
        self.assertGreaterEqual(self.revision, self.before)
        self.assertLessEqual(self.revision, self.later)
        self.assertEqual(self.info["totalKey"], int(self.kept["count"]))
        self.assertEqual(self.info["compactRevision"], 500)
        self.assertEqual({m["name"] for m in self.info["members"]}, {"m1", "m2", "m3"})
        self.assertEqual(int(self.info["cluster"], 16), int(self.old["cluster_id"]))
        self.assertEqual(self.info["totalSize"], os.path.getsize(self.path))
        self.assertEqual({h["hash"] for h in self.hashkv}, {self.info["hash"]})
        self.assertRegex(decree("snapshot", "status", self.path), rf"^[0-9a-f]{{8}}, {self.revision}, ")
        self.assertIn("CLUSTER", decree("snapshot", "status", self.path, "-o", "table"))

    def test_etcdctl_saves_it_too(self):
        path = os.path.join(self.cluster.folder, "etcdctl.db")
        subprocess.run(["etcdctl", endpoint(self.follower), "snapshot", "save", path], check=True,
                       env={**os.environ, "ETCDCTL_API": "3"}, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=30)
        info = json.loads(decree("snapshot", "status", path, "-o", "json"))
        self.assertGreaterEqual(info["revision"], self.later)

    def test_restored_to_one_member(self):
        with Cluster(1) as cluster:
            restore(self.path, cluster)
            self.assertEqual(self.check_restored(cluster), 1)
            member = cluster.members[0]
            self.assertEqual(member.stop(), 0)
            member.start()
            cluster.wait_leader()
            client = member.client()
            self.assertEqual(unb64(client.range("/k/0000")["kvs"][0]["value"]), b"new")
            client.close()

    def test_restored_to_three_members(self):
        with Cluster(3) as cluster:
            restore(self.path, cluster, "--bump-revision", "5000")
            self.assertEqual(self.check_restored(cluster, 5000), 3)

    def refused(self, path, words, code=1):
        with Cluster(1) as cluster:
            text = restore(path, cluster, code=code)[0]
            self.assertIn(words, text)
            self.assertEqual([n for n in os.listdir(cluster.folder) if n.startswith("m1")], [])

    def damaged(self, change):
        path = os.path.join(self.cluster.folder, "damaged.db")
        with open(self.path, "rb") as f:
            data = bytearray(f.read())
        changed = change(data)
        data = data if changed is None else changed
        with open(path, "wb") as f:
            f.write(data)
        return path

    def test_damage_is_refused_and_leaves_nothing(self):
        def flip(at):
            def change(data):
                data[at] ^= 0x10
            return change

        size = os.path.getsize(self.path)
        for at in (3, 60, 5000, size // 2, size - 600, size - 20):
            path = self.damaged(flip(at))
            self.assertIn("SHA-256", decree("snapshot", "status", path, code=1))
            self.refused(path, "is damaged")
        for n in (0, 10, 512, size // 2, size - 1, size - 32, size - 512):
            self.refused(self.damaged(lambda data, n=n: data[:n]), "damaged.db")
        self.assertIn("No such file", decree("snapshot", "status", "/nonexistent", code=5))

    def test_a_frame_damaged_under_a_right_digest_is_refused(self):
        """Whoever wrote it: the chain of checksums is a second proof."""
        def change(data):
            data[20000] ^= 1
            data[-32:] = hashlib.sha256(data[:-32]).digest()

        self.refused(self.damaged(change), "checksum")

    def test_a_newer_format_is_refused(self):
        def crc32c(data):
            crc = 0xffffffff
            for byte in data:
                crc ^= byte
                for _ in range(8):
                    crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
            return crc ^ 0xffffffff

        def change(data):
            data[8:12], data[12:16] = struct.pack("<I", 2), b"\0\0\0\0"
            data[12:16] = struct.pack("<I", crc32c(data[:48]))
            data[-32:] = hashlib.sha256(data[:-32]).digest()

        self.refused(self.damaged(change), "newer version", code=5)

    def test_nothing_is_overwritten(self):
        self.assertIn("exists already",
                      decree("snapshot", "save", self.path, endpoint(self.follower), code=2))
        with Cluster(1) as cluster:
            os.mkdir(cluster.members[0].data_dir)
            self.assertIn("exists already", restore(self.path, cluster, code=2)[0])
            self.assertEqual(os.listdir(cluster.members[0].data_dir), [])

    def test_ids_are_never_those_of_before(self):
        with Cluster(1) as cluster:
            member = self.cluster.members[0]
            text = decree("snapshot", "restore", self.path, "--name", member.name, "--data-dir",
                          cluster.members[0].data_dir, "--initial-cluster", listed(self.cluster),
                          "--initial-cluster-token", "etcd-cluster", code=2)
            self.assertIn("old and new members could be mixed", text)
            self.assertIn("no member named", decree(
                "snapshot", "restore", self.path, "--name", "other", "--data-dir",
                cluster.members[0].data_dir, "--initial-cluster", listed(cluster), code=2))

    def test_a_stream_that_is_cut_leaves_nothing(self):
        path = os.path.join(self.cluster.folder, "cut.db")
        for after in (10, 5000, 100000, 900000):
            cutter = Cutter(self.follower.client_port, after)
            cutter.start()
            text = decree("snapshot", "save", path,
                          f"--endpoints=http://127.0.0.1:{cutter.port}", code=3)
            cutter.join()
            self.assertRegex(text, "cut short|no decreed answers|cannot|Empty|closed|it answers|None|"
                                   "transfer|Recv|reset")
            self.assertEqual([n for n in os.listdir(self.cluster.folder) if n.startswith("cut")], [])

    def test_a_save_can_be_interrupted_while_much_comes(self):
        path = os.path.join(self.cluster.folder, "endless.db")
        part = path + ".part"
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            server = Endless()
            server.start()
            with subprocess.Popen([program("decree"), "snapshot", "save", path,
                                   f"--endpoints=http://127.0.0.1:{server.port}"],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True) as save:
                try:
                    until(20, "much has come",
                          lambda p=part: os.path.exists(p) and os.path.getsize(p) > 1 << 20)
                    save.send_signal(sig)
                    said = save.communicate(timeout=20)[0]
                except BaseException:
                    save.kill()
                    raise
            server.join()
            self.assertEqual(save.returncode, 5)
            self.assertIn("interrupted, nothing was saved", said)
            self.assertEqual([n for n in os.listdir(self.cluster.folder) if "endless" in n], [])

    def test_alarms_and_defrag_on_the_command_line(self):
        """On a cluster of its own, since an alarm stops the writes of all."""
        with Cluster(1) as cluster:
            member = cluster.start()
            client = member.client()
            self.assertEqual(decree("alarm", "list", endpoint(member)), "")
            for who in (0, 5):
                client.call("/v3/maintenance/alarm",
                            {"action": "ACTIVATE", "memberID": who, "alarm": "CORRUPT"})
            text = "memberID:0 alarm:CORRUPT\nmemberID:5 alarm:CORRUPT\n"
            self.assertEqual(decree("alarm", "list", endpoint(member), code=1), text)
            own = int(client.status()["header"]["member_id"])
            client.call("/v3/maintenance/alarm",
                        {"action": "ACTIVATE", "memberID": str(own), "alarm": "CORRUPT"})
            rows = decree("alarm", "list", "-o", "table", endpoint(member), code=1).splitlines()
            self.assertEqual(sorted(r.split() for r in rows[1:]),
                             [["CORRUPT", "-", "0"], ["CORRUPT", "-", "5"],
                              ["CORRUPT", "m1", f"{own:x}"]])
            client.call("/v3/maintenance/alarm",
                        {"action": "DEACTIVATE", "memberID": str(own), "alarm": "CORRUPT"})
            self.assertIn("corrupt cluster", decree("put", "a", "b", endpoint(member), code=4))
            self.assertIn("alarm:CORRUPT", decree("status", endpoint(member), code=1))
            self.assertEqual(decree("alarm", "disarm", endpoint(member)), text)
            self.assertEqual(decree("alarm", "list", endpoint(member)), "")
            decree("put", "a", "b", endpoint(member))
            self.assertIn("nothing to defragment", decree("defrag", endpoint(member)))
            client.close()

    def test_a_client_that_reads_nothing_costs_little(self):
        """What is on its way to it is bounded, and writes go on."""
        member = self.cluster.wait_leader()
        slow = socket.create_connection(("127.0.0.1", member.client_port))
        slow.sendall(b"POST /v3/maintenance/snapshot HTTP/1.1\r\nHost: localhost\r\n"
                     b"Content-Length: 2\r\n\r\n{}")
        self.assertEqual(slow.recv(1), b"H")
        client = member.client()
        client.put("/meanwhile", "1")
        client.call("/v3/kv/deleterange", {"key": b64("/meanwhile")})
        client.close()
        slow.close()


class ForceNewCluster(unittest.TestCase):
    def test_a_member_that_lost_the_others_goes_on_alone_once(self):
        with Cluster(3) as cluster:
            cluster.start()
            client = cluster.members[0].client()
            for i in range(50):
                client.put(f"/k{i}", str(i))
            before = client.range(**EVERYTHING)
            cluster_id = before["header"]["cluster_id"]
            client.close()
            survivor = cluster.members[0]
            for member in cluster.members:
                member.kill9()
            survivor.start()
            until(10, "it waits for the others", lambda: "recovered cluster" in survivor.log())
            self.assertFalse(survivor.leads())
            survivor.stop()

            cluster.options = ["--force-new-cluster"]
            survivor.start()
            until(10, "it leads alone", survivor.leads)
            client = survivor.client()
            after = client.range(**EVERYTHING)
            self.assertEqual(pairs(after), pairs(before))
            self.assertEqual(after["header"]["cluster_id"], cluster_id)
            members = client.call("/v3/cluster/member/list", {})["members"]
            self.assertEqual([m["name"] for m in members], [survivor.name])
            client.put("/alone", "1")
            self.assertIn("THIS MEMBER IS THE CLUSTER NOW", survivor.log())
            client.close()

            survivor.kill9()
            survivor.start()
            until(10, "it leads again", survivor.leads)
            self.assertIn("this was done at an earlier start", survivor.log())
            self.assertEqual(survivor.log().count("THIS MEMBER IS THE CLUSTER NOW"), 1)

            cluster.options = []
            survivor.stop()
            survivor.start()
            until(10, "it leads without the option", survivor.leads)
            client = survivor.client()
            self.assertEqual(unb64(client.range("/alone")["kvs"][0]["value"]), b"1")
            client.close()

    def test_an_empty_directory_is_refused(self):
        with Cluster(1, ["--force-new-cluster"]) as cluster:
            member = cluster.members[0]
            member.start()
            self.assertEqual(member.process.wait(20), 2)
            member.process = None
            self.assertIn("holds no cluster that could be continued", member.log())


if __name__ == "__main__":
    unittest.main()
