"""Disks that go wrong under real members: flipped bits, lost files, old images, errors, full, slow and
hanging disks. DECREE_FLIPS sets how many bits are flipped, DECREE_SEED repeats a run's choices."""

import http.client
import os
import random
import shutil
import struct
import subprocess
import threading
import time
import unittest
import urllib.request

import kill9_cluster
from cluster import Cluster, Refused, program, unb64, until

FLIPS = int(os.environ.get("DECREE_FLIPS", "10"))
SEED = int(os.environ.get("DECREE_SEED", str(random.SystemRandom().randrange(1 << 32))))
FAST = ["--heartbeat-interval=50", "--election-timeout=500"]
PAGE = 4096


def disk_files(member, kinds=(".seg", ".snap")):
    found = []
    for folder in ("wal", "snap"):
        path = os.path.join(member.data_dir, folder)
        found += [os.path.join(path, n) for n in sorted(os.listdir(path)) if n.endswith(kinds)]
    return found


def used_bytes(path):
    with open(path, "rb") as f:
        return len(f.read().rstrip(b"\0"))


def flip_bit(path, at, bit):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ (1 << bit)]))


def begun_segments(member):
    return [p for p in disk_files(member, (".seg",)) if used_bytes(p) > PAGE]


def status(member):
    client = member.client(2)
    try:
        return client.status()
    except (OSError, http.client.HTTPException, Refused):
        return None
    finally:
        client.close()


def metrics(member):
    with urllib.request.urlopen(f"http://127.0.0.1:{member.client_port}/metrics") as page:
        return page.read().decode()


def is_repairing(member):
    reply = status(member)
    return reply is not None and any("disk lost data" in e for e in reply.get("errors", []))


def is_whole(member):
    reply = status(member)
    return reply is not None and not is_repairing(member) and reply.get("leader", "0") != "0"


def contents(member):
    client = member.client()

    def read():
        try:
            return client.range("\0", "\0")
        except (OSError, http.client.HTTPException, Refused):
            return None

    try:
        reply = until(20, f"{member.name} serves a linearizable read", read)
    finally:
        client.close()
    return [(kv["key"], kv.get("value", ""), kv["mod_revision"], kv["version"])
            for kv in reply.get("kvs", []) if not unb64(kv["key"]).startswith(b"_decree/")]


class Load:
    """Writers of kill9_cluster, who know what must be there in the end."""

    def __init__(self, cluster):
        self.cluster, self.over = cluster, threading.Event()
        self.writers = [kill9_cluster.Writer(i, cluster, self.over) for i in range(3)]

    def __enter__(self):
        for writer in self.writers:
            writer.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        for writer in self.writers:
            writer.join()

    def check(self, test):
        kill9_cluster.Kill9.assert_nothing_is_lost(test, self.cluster, self.writers)

    def count(self):
        return sum(w.count for w in self.writers)


class Repair(unittest.TestCase):
    read_all = staticmethod(kill9_cluster.Kill9.read_all)

    def assert_equal(self, cluster):
        first = contents(cluster.members[0])
        self.assertTrue(first)
        for member in cluster.members[1:]:
            self.assertEqual(contents(member), first)

    def await_repair(self, member):
        until(30, f"{member.name} is repaired", lambda: is_whole(member))
        self.assertIsNone(member.process.poll(), f"{member.name} ended by itself")

    def test_flipped_bits_are_repaired_under_load(self):
        print(f"DECREE_SEED={SEED}", flush=True)
        rng = random.Random(SEED)
        with Cluster(3, ["--snapshot-count=300", *FAST]) as cluster:
            cluster.start()
            with Load(cluster) as load:
                until(20, "the load runs", lambda: load.count() > 300)
                for _ in range(FLIPS):
                    member = rng.choice(cluster.members)
                    rng.choice([member.kill9, member.stop])()
                    path = rng.choice(begun_segments(member) + disk_files(member, (".snap",)))
                    flip_bit(path, rng.randrange(used_bytes(path)), rng.randrange(8))
                    before = load.count()
                    until(20, "the others go on", lambda b=before: load.count() > b + 20)
                    member.start()
                    self.await_repair(member)
            self.assertGreater(load.count(), 300)
            load.check(self)
            repaired = sum(m.log().count("repaired: this member has all") for m in cluster.members)
            print(f"{FLIPS} bits flipped, {repaired} repairs, {load.count()} acknowledged writes, "
                  "none missing")
            cluster.members[0].stop()  # the two others, damaged before or not, are enough
            cluster.wait_leader()

    def test_a_member_that_lost_all_but_its_identity_comes_back(self):
        with Cluster(3, ["--snapshot-count=100", *FAST]) as cluster:
            leader = cluster.start()
            client = leader.client()
            for i in range(250):
                client.put(f"/k{i % 30}", f"v{i}")
            victim = next(m for m in cluster.members if m is not leader)
            victim.kill9()
            for path in disk_files(victim):
                with open(path, "r+b") as f:
                    size = os.path.getsize(path)
                    keep = PAGE if path.endswith(".seg") else 0
                    f.seek(keep)
                    f.write(os.urandom(min(size - keep, 1 << 20)))
            client.put("/while", "away")
            client.close()
            third = next(m for m in cluster.members if m not in (leader, victim))
            third.kill9()
            victim.start()  # with only one other it must wait, and says so
            until(20, "its status says so", lambda: is_repairing(victim))
            self.assertIn("decree_repairing 1", metrics(victim))
            self.assertIn("data is damaged", victim.log())
            third.start()
            self.await_repair(victim)
            self.assertIn("decree_repairing 0", metrics(victim))
            self.assertIn("repaired: this member has all the data again", victim.log())
            self.assertTrue(disk_files(victim, (".damaged",)))
            self.assert_equal(cluster)
            until(10, "the leader says so", lambda: any("is repaired and counts again" in m.log()
                                                        for m in cluster.members))

    def test_an_old_image_is_noticed_and_repaired(self):
        with Cluster(3, FAST) as cluster:
            leader = cluster.start()
            client = leader.client()
            for i in range(20):
                client.put(f"/k{i}", "old")
            victim = next(m for m in cluster.members if m is not leader)
            until(10, "it has all", lambda: contents(victim) == contents(leader))
            victim.kill9()
            image = victim.data_dir + ".image"
            shutil.copytree(victim.data_dir, image, ignore=shutil.ignore_patterns("*.sock"))
            victim.start()
            until(10, "it is back", lambda: is_whole(victim))
            for i in range(20):
                client.put(f"/k{i}", "new")
            until(10, "it has all", lambda: contents(victim) == contents(leader))
            self.assertTrue(leader.leads(), "the leadership lasted")
            victim.kill9()
            shutil.rmtree(victim.data_dir)
            os.rename(image, victim.data_dir)
            client.close()
            victim.start()
            until(20, "it notices", lambda: "lacks what it had acknowledged" in victim.log())
            self.await_repair(victim)
            self.assert_equal(cluster)

    def test_alone_it_stops_and_says_where(self):
        with Cluster(1) as cluster:
            member = cluster.members[0]
            cluster.start()
            client = member.client()
            for i in range(20):
                client.put(f"/k{i}", "v")
            client.close()
            member.stop()
            path = begun_segments(member)[0]
            flip_bit(path, used_bytes(path) - 400, 3)
            with open(path, "rb") as f:
                before = f.read()
            member.start()
            self.assertNotEqual(member.process.wait(20), 0)
            member.process = None
            self.assertRegex(member.log(), r"wal/\w+\.seg: damaged record at offset \d+")
            self.assertIn("nothing was changed", member.log())
            self.assertIn("restore a backup", member.log())
            with open(path, "rb") as f:
                self.assertEqual(f.read(), before)


# struct control of disk_shim.c
PWRITE, FDATASYNC, PREAD, FALLOCATE = 1, 2, 4, 8
NONE, ERROR, DELAY_MS, HANG, SHORT = range(5)
EIO, ENOSPC = 5, 28


class Shim:
    """The disk of one member, under control."""

    def __init__(self, member):
        self.member, self.path = member, member.data_dir + ".shim"
        with open(self.path, "wb") as f:
            f.write(bytes(6 * 4 + 64))

    def start(self, supervised=False):
        member = self.member
        arguments = [a for a in member.arguments() if not supervised or a != "--role=store"]
        environment = dict(os.environ, LD_PRELOAD=program("disk_shim.so"),
                           DECREE_SHIM_CONTROL=self.path, DECREE_SHIM_FOLDER=member.data_dir)
        environment["ASAN_OPTIONS"] = "verify_asan_link_order=0:detect_leaks=0"
        with open(member.log_path, "ab") as log:
            member.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL,
                                              stdout=log, stderr=log, env=environment)

    def set(self, action, ops=0, argument=0, skip=0, limit=0, name=""):
        with open(self.path, "r+b", buffering=0) as f:
            f.write(struct.pack("<I", NONE))
            f.seek(4)
            f.write(struct.pack("<IIIII64s", ops, argument, skip, limit, 0, name.encode()))
            f.seek(0)
            f.write(struct.pack("<I", action))

    def hits(self):
        with open(self.path, "rb") as f:
            return struct.unpack("<IIIIII", f.read(24))[5]


def start_with_shims(cluster):
    shims = {m.name: Shim(m) for m in cluster.members}
    for shim in shims.values():
        shim.start()
    return cluster.wait_leader(), shims


def follower_of(cluster, leader):
    return next(m for m in cluster.members if m is not leader)


class Disks(unittest.TestCase):
    def test_an_fsync_error_ends_the_process_and_loses_nothing(self):
        for nth in (0, 1, 4):
            with self.subTest(nth=nth), Cluster(3, FAST) as cluster:
                leader, shims = start_with_shims(cluster)
                client = leader.client(3)
                client.put("/before", "1")
                shims[leader.name].set(ERROR, FDATASYNC, EIO, skip=nth, limit=1, name="/wal/")
                acknowledged = {"/before"}
                try:
                    for i in range(50):
                        client.put(f"/k{i}", "v")
                        acknowledged.add(f"/k{i}")
                except (OSError, http.client.HTTPException, Refused):
                    pass
                client.close()
                self.assertEqual(leader.process.wait(20), -6, "it aborts at the first error")
                self.assertIn("fdatasync of", leader.log())
                self.assertIn("is not tried again", leader.log())
                leader.process = None
                other = cluster.wait_leader()
                self.assertIsNot(other, leader)
                shims[leader.name].set(NONE)
                leader.start()
                until(20, "it is back", lambda m=leader: is_whole(m))
                for member in cluster.members:
                    held = {unb64(kv[0]).decode() for kv in contents(member)}
                    self.assertLessEqual(acknowledged, held)

    def test_the_supervisor_starts_the_store_again_after_an_fsync_error(self):
        with Cluster(1) as cluster:
            member, shim = cluster.members[0], Shim(cluster.members[0])
            shim.start(supervised=True)
            cluster.wait_leader()
            client = member.client(3)
            client.put("/acknowledged", "1")
            shim.set(ERROR, FDATASYNC, EIO, limit=1, name="/wal/")
            with self.assertRaises((OSError, http.client.HTTPException)):
                client.put("/unknown", "1")
            client.close()
            until(20, "it leads again", member.leads)
            self.assertRegex(member.log(), r"the store was killed by signal 6 .*starting it again")
            held = {unb64(kv[0]).decode() for kv in contents(member)}
            self.assertIn("/acknowledged", held)

    def test_a_leader_whose_disk_hangs_hands_over_and_expires_no_lease(self):
        with Cluster(3, FAST) as cluster:
            leader, shims = start_with_shims(cluster)
            client = leader.client(3)
            lease = client.call("/v3/lease/grant", {"TTL": 3})["ID"]
            client.put("/leased", "1", lease=lease)
            shims[leader.name].set(HANG, FDATASYNC | PWRITE, name="/wal/")
            hung = time.monotonic()
            other = follower_of(cluster, leader)
            kept = other.client(3)
            stop = threading.Event()

            def keep_alive():
                client = other.client(3)
                while not stop.wait(0.3):
                    try:
                        client.call("/v3/lease/keepalive", {"ID": lease})
                    except (OSError, http.client.HTTPException, Refused):
                        pass
                client.close()

            def write():
                try:
                    return kept.put("/after", "1")
                except (OSError, http.client.HTTPException, Refused):
                    return None

            keeper = threading.Thread(target=keep_alive)
            keeper.start()
            try:
                threading.Thread(target=self.quietly, args=(client, "/stuck")).start()
                until(10, "another one leads",
                      lambda: any(m.leads() for m in cluster.members if m is not leader))
                took = time.monotonic() - hung
                until(10, "writes go on", write)
                print(f"another one led after {took:.2f} s")
                self.assertLess(took, 2 * 0.5 + 1.5, "two election timeouts, and a slow machine")
                time.sleep(4)  # longer than the lease lives without its keepalives
                self.assertEqual(len(kept.range("/leased").get("kvs", [])), 1)
                self.assertIn(f"the disk does not answer: a write to {leader.data_dir}/wal",
                              leader.log())
                self.assertNotIn("the disk answers again", leader.log())
                shims[leader.name].set(NONE)
                until(20, "it is back", lambda: is_whole(leader))
                until(10, "it says so", lambda: "the disk answers again" in leader.log())
            finally:
                shims[leader.name].set(NONE)
                stop.set()
                keeper.join()
                kept.close()
            first = contents(cluster.members[0])
            for member in cluster.members[1:]:
                self.assertEqual(contents(member), first)

    @staticmethod
    def quietly(client, key):
        try:
            client.put(key, "1")
        except (OSError, http.client.HTTPException, Refused):
            pass
        client.close()

    def test_slow_short_and_unreadable(self):
        with Cluster(3, FAST) as cluster:
            leader, shims = start_with_shims(cluster)
            victim = follower_of(cluster, leader)
            client = leader.client()

            shims[victim.name].set(DELAY_MS, FDATASYNC, 200, name="/wal/")
            begun = time.monotonic()
            for i in range(30):
                client.put(f"/slow{i}", "v")
            self.assertLess(time.monotonic() - begun, 30 * 0.1, "a slow follower holds up nobody")
            self.assertTrue(leader.leads())
            until(10, "its disk was slow", lambda: shims[victim.name].hits() > 0)

            shims[victim.name].set(SHORT, PWRITE)
            for i in range(10):
                client.put(f"/short{i}", "v" * 5000)
            until(10, "writes were cut", lambda: shims[victim.name].hits() > 0)
            shims[victim.name].set(NONE)
            self.assertEqual(contents(victim), contents(leader))

            # A read that fails once is tried again; reads cut short are gone on with.
            for fault in (dict(action=ERROR, argument=EIO, limit=1, skip=3),
                          dict(action=SHORT, limit=200)):
                victim.kill9()
                shims[victim.name].set(ops=PREAD, name=".seg", **fault)
                shims[victim.name].start()
                until(20, "it is back", lambda: is_whole(victim))
                self.assertGreater(shims[victim.name].hits(), 0)
                self.assertNotIn("data is damaged", victim.log())
                shims[victim.name].set(NONE)

            # One that fails for good is damage.
            victim.kill9()
            shims[victim.name].set(ERROR, PREAD, EIO, name=".seg")
            shims[victim.name].start()
            until(20, "it says so", lambda: victim.process.poll() is not None or
                  "data is damaged" in victim.log())
            self.assertIn("cannot be read", victim.log())
            shims[victim.name].set(NONE)
            client.close()
            if victim.process.poll() is not None:
                victim.process = None

    def test_a_disk_that_is_full_refuses_writes_and_goes_on_by_itself(self):
        with Cluster(3, FAST) as cluster:
            leader, shims = start_with_shims(cluster)
            client = leader.client()
            for shim in shims.values():
                shim.set(ERROR, FALLOCATE, ENOSPC)
            value, refused = "v" * 100000, None
            for i in range(100):
                try:
                    client.put(f"/full{i % 5}", value)
                except Refused as e:
                    refused = e
                    break
            self.assertIsNotNone(refused, "no write was refused")
            self.assertIn("space", str(refused))
            logs = "".join(m.log() for m in cluster.members)
            self.assertIn(f"no room for the log in {cluster.folder}", logs)
            for member in cluster.members:
                self.assertTrue(contents(member), "reads go on")
            for shim in shims.values():
                shim.set(NONE)

            def write():
                for member in cluster.members:
                    other = member.client(3)
                    try:
                        return other.put("/room", "again")
                    except (OSError, http.client.HTTPException, Refused):
                        pass
                    finally:
                        other.close()
                return None

            until(20, "writes are taken again", write)
            client.close()
            first = contents(cluster.members[0])
            for member in cluster.members[1:]:
                self.assertEqual(contents(member), first)


if __name__ == "__main__":
    unittest.main()
