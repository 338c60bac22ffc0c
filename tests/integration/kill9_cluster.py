"""kill -9 of any or all members at any moment under a write load: no acknowledged write is missing,
all members are equal. DECREE_KILL9_SECONDS sets the length, DECREE_SEED repeats a run's choices."""

import http.client
import os
import random
import threading
import time
import unittest

from cluster import Cluster, Refused, unb64, until

SECONDS = float(os.environ.get("DECREE_KILL9_SECONDS", "60"))
SEED = int(os.environ.get("DECREE_SEED", str(random.SystemRandom().randrange(1 << 32))))
WRITERS, KEYS_PER_WRITER = 6, 50


class Writer(threading.Thread):
    """Owns its keys. For each it knows the last acknowledged value and the values sent after that
    whose fate is unknown: the store must hold one of them, and no older one."""

    def __init__(self, number, cluster, stop):
        super().__init__()
        self.number, self.cluster, self.stop = number, cluster, stop
        self.acknowledged, self.unknown = {}, {}
        self.count, self.highest_revision = 0, 0

    def run(self):
        rng = random.Random(f"{SEED}-{self.number}")
        clients = [m.client(2) for m in self.cluster.members]
        n = 0
        while not self.stop.is_set():
            n += 1
            key = f"/w{self.number}/{rng.randrange(KEYS_PER_WRITER)}"
            value = f"{n}-" + "x" * rng.randrange(300)
            client = rng.choice(clients)
            try:
                reply = client.put(key, value)
            except ConnectionRefusedError:
                continue  # never sent
            except (OSError, http.client.HTTPException, Refused):
                self.unknown.setdefault(key, []).append(value)
                continue
            revision = int(reply["header"]["revision"])
            assert revision > self.highest_revision, "revisions of one writer ascend"
            self.highest_revision = revision
            self.acknowledged[key] = value
            self.unknown[key] = []
            self.count += 1
        for client in clients:
            client.close()


class Kill9(unittest.TestCase):
    def kill_some(self, rng, cluster):
        victims = rng.sample(cluster.members, rng.choice([1, 1, 1, 2, 3]))
        for member in victims:
            member.kill9()
        time.sleep(rng.random() * 1.5)
        for member in victims:
            member.start()
        return len(victims)

    def assert_nothing_is_lost(self, cluster, writers):
        contents = []
        top = max(w.highest_revision for w in writers)
        for member in cluster.members:
            client = member.client()
            # The read is linearizable: the member serves it only when it has caught up.
            reply = until(20, f"{member.name} serves a linearizable read",
                          lambda c=client: self.read_all(c))
            client.close()
            self.assertGreaterEqual(int(reply["header"]["revision"]), top)
            contents.append([(kv["key"], kv.get("value", ""), kv["mod_revision"], kv["version"],
                              kv["create_revision"]) for kv in reply.get("kvs", [])])
        self.assertEqual(contents[0], contents[1])
        self.assertEqual(contents[0], contents[2])
        held = {unb64(kv[0]).decode(): unb64(kv[1]).decode() for kv in contents[0]}
        for writer in writers:
            for key, value in writer.acknowledged.items():
                self.assertIn(held.get(key), [value, *writer.unknown.get(key, [])],
                              f"{key}: an acknowledged write is missing")

    @staticmethod
    def read_all(client):
        try:
            return client.range("/w", "/x")
        except (OSError, http.client.HTTPException, Refused):
            return None

    def test_no_acknowledged_write_is_lost(self):
        print(f"DECREE_SEED={SEED}", flush=True)
        rng = random.Random(SEED)
        # Small snapshots, so that kills meet them and followers need them.
        with Cluster(3, ["--snapshot-count=500", "--heartbeat-interval=20",
                         "--election-timeout=200"]) as cluster:
            cluster.start()
            stop = threading.Event()
            writers = [Writer(i, cluster, stop) for i in range(WRITERS)]
            for writer in writers:
                writer.start()
            kills, rounds, deadline = 0, 0, time.monotonic() + SECONDS
            try:
                while time.monotonic() < deadline:
                    time.sleep(rng.random() * 2)
                    kills += self.kill_some(rng, cluster)
                    rounds += 1
                    for member in cluster.members:
                        self.assertIsNone(member.process.poll(), f"{member.name} ended by itself")
                    if rounds % 5 == 0:
                        cluster.wait_leader()
            finally:
                stop.set()
                for writer in writers:
                    writer.join()
            cluster.wait_leader()
            self.assert_nothing_is_lost(cluster, writers)
            total = sum(w.count for w in writers)
            print(f"{kills} kills in {rounds} rounds, {total} acknowledged writes, none missing")
            self.assertGreater(total, 100, "the load hardly ran: this shows nothing")


if __name__ == "__main__":
    unittest.main()
