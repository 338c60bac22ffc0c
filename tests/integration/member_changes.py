"""Members come and go, on real processes: growing, replacing, removing, refusing."""

import json
import os
import re
import shutil
import subprocess
import threading
import unittest

import cli_store
from cluster import Cluster, Member, Refused, free_ports, program, until

ETCDCTL = shutil.which("etcdctl")


class Growing(Cluster):
    """A cluster whose members join, and are known by name."""

    def __init__(self, n=1, options=()):
        super().__init__(n, options)
        self.founders = list(self.members)

    def start(self, limit_s=20):
        leader = super().start(limit_s)
        until(limit_s, "all have told who they are", self.all_published)
        return leader

    def all_published(self):
        client = self.members[0].client()
        try:
            members = client.call("/v3/cluster/member/list", {})["members"]
            return all(m.get("clientURLs") for m in members)
        finally:
            client.close()

    def newcomer(self, name, client_port=None, peer_port=None):
        ports = free_ports(2)
        m = Joiner(self, name, client_port or ports[0], peer_port or ports[1])
        self.members.append(m)
        return m

    def retire(self, member):
        """One that has ended by itself, with the code of a refusal."""
        code = member.process.wait(20)
        member.process = None
        self.members.remove(member)
        return code

    def endpoints(self, *but):
        return ",".join(f"http://127.0.0.1:{m.client_port}" for m in self.members
                        if m not in but and m.process is not None)


def peer_url(member):
    return f"http://127.0.0.1:{member.peer_port}"


class Joiner(Member):
    def arguments(self):
        given = super().arguments()
        return [*given, "--initial-cluster-state", "existing"]


def decree(cluster, *words, endpoints=None, limit_s=60):
    done = subprocess.run([program("decree"), *words, "--endpoints",
                           endpoints or cluster.endpoints()], capture_output=True, text=True,
                          timeout=limit_s, check=False)
    return done


class MemberChanges(unittest.TestCase):
    def ok(self, cluster, *words, **more):
        done = decree(cluster, *words, **more)
        self.assertEqual(done.returncode, 0, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout

    def add(self, cluster, member, *flags):
        """As a person would: what the command prints is what starts the member."""
        text = self.ok(cluster, "member", "add", member.name, "--peer-urls", peer_url(member), *flags)
        self.assertIn("--initial-cluster-state existing", text)
        listed = re.search(r'DECREE_INITIAL_CLUSTER="([^"]+)"', text).group(1)
        self.assertIn(f"{member.name}={peer_url(member)}", listed)
        member.start()
        return listed

    def promote(self, cluster, member):
        until(20, f"{member.name} is promoted",
              lambda: decree(cluster, "member", "promote", member.name).returncode == 0, 0.1)

    def rows(self, cluster, **more):
        return json.loads(self.ok(cluster, "member", "list", "-o", "json", **more))["members"]

    def has(self, member, key, value):
        def probe():
            client = member.client(2)
            try:
                kvs = client.range(key, serializable=True).get("kvs", [])
                return bool(kvs) and kvs[0]["value"] == value
            except (OSError, Refused):
                return False
            finally:
                client.close()
        until(20, f"{member.name} has {key}", probe)

    def put_anywhere(self, cluster, key, value):
        self.ok(cluster, "put", key, value)

    def test_one_grows_to_three_and_five(self):
        with Growing(1) as c:
            c.start()
            self.put_anywhere(c, "/a", "1")
            second = c.newcomer("m2")
            self.add(c, second)  # a voter at once, as etcdctl's tutorials do
            until(20, "two serve", lambda: decree(c, "put", "/a", "2").returncode == 0)
            for name in ("m3", "m4", "m5"):
                m = c.newcomer(name)
                self.add(c, m, "--learner")
                self.promote(c, m)
            self.put_anywhere(c, "/a", "3")
            for m in c.members:
                self.has(m, "/a", "Mw==")
            rows = self.rows(c)
            self.assertEqual(sorted(r["name"] for r in rows), ["m1", "m2", "m3", "m4", "m5"])
            self.assertFalse(any(r.get("isLearner") for r in rows))
            for m in c.members[:2]:  # three of five go on, and the two come back
                m.kill9()
            until(20, "three serve", lambda: decree(c, "put", "/a", "4").returncode == 0)
            gone = [m for m in c.members if m.process is None]
            for m in gone:
                m.start()
            for m in gone:
                self.has(m, "/a", "NA==")

    def test_a_dead_member_is_replaced_under_load(self):
        with Growing(3) as c:
            c.start()
            dead = next(m for m in c.members if not m.leads())
            stop, failed, written = threading.Event(), [], []

            def load(member):
                client, i = member.client(), 0
                while not stop.is_set():
                    i += 1
                    try:
                        client.put(f"/load/{member.name}/{i}", "x" * 100)
                        written.append(f"/load/{member.name}/{i}")
                    except Exception as e:  # every kind is a failure here
                        failed.append(repr(e))
                client.close()

            dead.kill9()
            writers = [threading.Thread(target=load, args=(m,), daemon=True) for m in c.members if m is not dead]
            for w in writers:
                w.start()
            new = c.newcomer("m4")
            replace = subprocess.Popen(
                [program("decree"), "member", "replace", dead.name, "--peer-urls", peer_url(new),
                 "--name", "m4", "--endpoints", c.endpoints()], stdout=subprocess.PIPE, text=True)
            seen = ""
            for line in replace.stdout:
                seen += line
                if "Waiting until it is started" in line:
                    break
            replace.terminate()  # somebody closes the laptop
            replace.stdout.close()
            self.assertNotEqual(replace.wait(10), 0, seen)
            self.assertIn("does not answer, it is to go", seen)
            new.start()
            text = self.ok(c, "member", "replace", dead.name, "--peer-urls", peer_url(new),
                           "--name", "m4")
            self.assertNotIn("as a learner", text)  # that was done
            self.assertIn("promoted m4", text)
            self.assertIn(f"removed {dead.name}", text)
            stop.set()
            for w in writers:
                w.join()
            self.assertEqual(failed, [])
            self.assertGreater(len(written), 100)
            again = self.ok(c, "member", "replace", dead.name, "--peer-urls", peer_url(new))
            self.assertIn("nothing is left to do", again)
            told = json.loads(self.ok(c, "member", "replace", dead.name, "--peer-urls",
                                      peer_url(new), "-o", "json"))
            self.assertEqual(len(told["members"]), 3)
            self.assertEqual(sorted(r["name"] for r in self.rows(c)),
                             sorted(m.name for m in c.members if m is not dead))
            self.has(new, written[-1], "eHh4" * 33 + "eA==")
            # And the dead one comes back: it is told, stops, and says so again.
            dead.start()
            self.assertEqual(dead.process.wait(20), 2)
            self.assertIn("has been removed from the cluster", dead.log())
            self.assertIn("decree member add", dead.log())
            dead.start()
            self.assertEqual(c.retire(dead), 2)
            self.assertIn("cannot start", dead.log())

    def test_the_leader_removes_itself(self):
        with Growing(3) as c:
            leader = c.start()
            url = f"http://127.0.0.1:{leader.client_port}"
            self.assertIn("removed from", self.ok(c, "member", "remove", leader.name, endpoints=url))
            self.assertEqual(c.retire(leader), 2)
            self.assertIn("stopping for good", leader.log())
            c.wait_leader()
            self.put_anywhere(c, "/a", "1")
            self.assertEqual(len(self.rows(c)), 2)

    def test_a_wiped_member_is_refused_whatever_it_says(self):
        with Growing(3) as c:
            leader = c.start()
            wiped = next(m for m in c.members if m is not leader)
            wiped.kill9()
            shutil.rmtree(wiped.data_dir)
            wiped.start()  # as a founder, as it was started first
            self.assertEqual(wiped.process.wait(20), 2)
            self.assertIn("has lost its data", wiped.log())
            self.assertIn(f"decree member replace {wiped.name}", wiped.log())
            shutil.rmtree(wiped.data_dir)
            joins = Joiner(c, wiped.name, wiped.client_port, wiped.peer_port)
            joins.start()
            self.assertEqual(joins.process.wait(20), 2)
            self.assertIn("has been started before", joins.log())
            shutil.rmtree(joins.data_dir, ignore_errors=True)
            # What it was told to do works: the same URLs, an empty directory.
            replace = subprocess.Popen(
                [program("decree"), "member", "replace", wiped.name, "--peer-urls", peer_url(wiped),
                 "--endpoints", c.endpoints(wiped)], stdout=subprocess.PIPE, text=True)
            for line in replace.stdout:
                if "Waiting until it is started" in line:
                    break
            c.members[c.members.index(wiped)] = joins
            joins.start()
            rest = replace.stdout.read()
            replace.stdout.close()
            self.assertEqual(replace.wait(30), 0, rest)
            self.put_anywhere(c, "/a", "1")
            self.has(joins, "/a", "MQ==")
            self.assertEqual(sorted(r["name"] for r in self.rows(c)), ["m1", "m2", "m3"])

    def test_one_that_was_not_added_is_told_what_to_do(self):
        with Growing(1) as c:
            c.start()
            m = c.newcomer("m2")
            m.start()
            self.assertEqual(c.retire(m), 2)
            self.assertIn(f"decree member add m2 --peer-urls {peer_url(m)}", m.log())
            self.assertFalse(os.path.exists(os.path.join(m.data_dir, "incarnation")))
            alone = c.newcomer("m3")
            c.members.remove(c.founders[0])  # its list names itself alone
            alone.start()
            self.assertEqual(alone.process.wait(20), 2)
            self.assertIn("lists m3 alone", alone.log())
            alone.process = None
            c.members[:] = c.founders

    def test_move_leader_and_its_refusals(self):
        with Growing(3) as c:
            leader = c.start()
            to = next(m for m in c.members if m is not leader)
            text = self.ok(c, "move-leader", to.name,
                           endpoints=f"http://127.0.0.1:{to.client_port}")
            self.assertIn("Leadership transferred", text)
            until(5, "it leads", to.leads)
            back = json.loads(self.ok(c, "move-leader", leader.name, "-o", "json"))
            ids = {r["name"]: r["ID"] for r in self.rows(c)}
            self.assertEqual(back, {"from": ids[to.name], "to": ids[leader.name]})
            done = decree(c, "move-leader", "nobody")
            self.assertEqual(done.returncode, 2)
            self.assertIn("no member \"nobody\"", done.stderr)

    def test_one_that_was_away_learns_from_members_it_never_heard_of(self):
        with Growing(3) as c:
            leader = c.start()
            away = next(m for m in c.members if m is not leader)
            away.kill9()
            founders = [m for m in c.members if m is not away]
            for name in ("m4", "m5"):
                m = c.newcomer(name)
                self.add(c, m, "--learner")
                self.promote(c, m)
            for m in founders:  # nobody is left whom it knows
                until(20, f"{m.name} is removed", lambda m=m: decree(
                    c, "member", "remove", m.name, endpoints=c.endpoints(m)).returncode == 0, 0.1)
                self.assertEqual(c.retire(m), 2)
            self.put_anywhere(c, "/a", "1")
            away.start()
            self.has(away, "/a", "MQ==")
            self.assertEqual(sorted(r["name"] for r in self.rows(c)),
                             sorted(["m4", "m5", away.name]))

    @unittest.skipUnless(shutil.which("etcd"), "etcd is not installed")
    def test_refusals_have_the_words_of_etcd(self):
        url = {"peerURLs": ["http://127.0.0.1:1"]}
        calls = [("/v3/cluster/member/add", {"peerURLs": ["nonsense"]}),
                 ("/v3/cluster/member/add", {"peerURLs": ["http://noport"]}),
                 ("/v3/cluster/member/remove", {"ID": "42"}),
                 ("/v3/cluster/member/promote", {"ID": "42"}),
                 ("/v3/cluster/member/update", {"ID": "42", **url}),
                 ("/v3/cluster/member/promote", {"ID": "self"}),
                 ("/v3/cluster/member/remove", {"ID": "self"}),
                 ("/v3/cluster/member/add", {"peerURLs": ["self"]}),
                 ("/v3/cluster/member/add", {**url, "isLearner": True}),
                 ("/v3/cluster/member/add", {"peerURLs": ["http://127.0.0.1:2"], "isLearner": True}),
                 ("/v3/cluster/member/promote", {"ID": "added"}),
                 ("/v3/cluster/member/update", {"ID": "added", "peerURLs": ["self"]}),
                 ("/v3/maintenance/transfer-leadership", {"targetID": "42"}),
                 ("/v3/maintenance/transfer-leadership", {"targetID": "self"}),
                 ("/v3/cluster/member/remove", {"ID": "added"}),
                 ("/v3/cluster/member/remove", {"ID": "added"})]

        def answers(store):
            member = store.members[0]
            # A minute: with a busy disk etcd needs seconds for each of its writes.
            client, said, added = member.client(timeout_s=60), [], None
            own = client.call("/v3/cluster/member/list", {})["members"][0]
            for path, body in calls:
                filled = {k: own["ID"] if v == "self" else added if v == "added" else v
                          for k, v in body.items()}
                if filled.get("peerURLs") == ["self"]:
                    filled["peerURLs"] = own["peerURLs"]
                try:
                    reply = client.call(path, filled)
                    added = reply.get("member", {}).get("ID", added)
                    shape = sorted(reply), sorted(reply.get("header", {})), sorted(
                        sorted(m) for m in reply.get("members", []))
                    said.append((path, body, 200, shape))
                except Refused as e:
                    # Not the HTTP status: 3.4's gateway has others for a failed precondition.
                    said.append((path, body, "refused", json.loads(e.body)["error"]))
            client.close()
            return said

        store = cli_store.Store(1)
        theirs = cli_store.EtcdMember(store, "m1", *free_ports(2))
        store.members = [theirs]
        try:
            store.start()
            expected = answers(store)
        finally:
            store.stop()
        with Growing(1) as c:
            c.start()
            for want, got in zip(expected, answers(c), strict=True):
                self.assertEqual(want, got)

    def test_a_slip_changes_nothing_and_is_explained(self):
        with Growing(3) as c:
            leader = c.start()
            old, other = (m for m in c.members if m is not leader)

            def slip(code, text, *words):
                done = decree(c, "member", *words)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(text, done.stderr)
                self.assertNotIn("may have been done", done.stderr)

            until(10, "all say their names", lambda: all(r.get("name") for r in self.rows(c)))
            # The URL of a member that is well: it must not count as the new one.
            slip(2, f"those of member {other.name} ", "replace", old.name, "--peer-urls", peer_url(other))
            slip(2, "already: give the new one another name",
                 "add", old.name, "--peer-urls", "http://127.0.0.1:1")
            slip(4, "decree member replace", "add", "m9", "--peer-urls", peer_url(other))
            slip(4, "it is a voter already", "promote", old.name)
            other.kill9()
            until(10, "a voter is missed", lambda: "a voter does not answer" in decree(
                c, "member", "add", "m9", "--peer-urls", peer_url(leader)).stderr)
            slip(3, "nothing was done: a voter does not answer",
                 "add", "m9", "--peer-urls", "http://127.0.0.1:1")
            self.assertEqual(len(self.rows(c)), 3)

    def test_a_second_voter_that_never_runs_is_warned_of(self):
        with Growing(1) as c:
            c.start()
            until(10, "it says its name", lambda: all(r.get("name") for r in self.rows(c)))
            done = decree(c, "member", "add", "m2", "--peer-urls", "http://127.0.0.1:1")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("until it runs there is no majority", done.stderr)
            self.assertIn("--force-new-cluster", done.stderr)
            done = decree(c, "alarm", "list", "--timeout", "300ms")
            self.assertEqual(done.returncode, 3)
            self.assertIn("no answer in time; decree status shows", done.stderr)

    @unittest.skipUnless(ETCDCTL, "etcdctl is not installed")
    def test_etcdctl_does_the_same(self):
        with Growing(3) as c:
            leader = c.start()

            def ctl(*words, at=None):
                return subprocess.run(
                    [ETCDCTL, "--endpoints", at or c.endpoints(), *words], capture_output=True,
                    text=True, timeout=60, check=False, env={**os.environ, "ETCDCTL_API": "3"})

            follower = next(m for m in c.members if m is not leader)
            at = f"http://127.0.0.1:{follower.client_port}"
            m = c.newcomer("m4")
            added = ctl("member", "add", "m4", "--learner", "--peer-urls", peer_url(m), at=at)
            self.assertIn("added to cluster", added.stdout, added.stderr)
            self.assertIn('ETCD_INITIAL_CLUSTER_STATE="existing"', added.stdout)
            member_id = re.match(r"Member +([0-9a-f]+)", added.stdout).group(1)
            self.assertIn("in sync with leader", ctl("member", "promote", member_id).stderr)
            self.assertIn("Peer URLs already exists",
                          ctl("member", "add", "m5", "--peer-urls", peer_url(leader)).stderr)
            m.start()
            until(20, "m4 is promoted",
                  lambda: ctl("member", "promote", member_id, at=at).returncode == 0, 0.1)
            self.assertRegex(ctl("member", "list").stdout, rf"{member_id}, started, m4, .*, false")
            moved = f"http://127.0.0.1:{free_ports(1)[0]}"
            self.assertIn("updated in", ctl("member", "update", member_id, "--peer-urls", moved).stdout)
            self.assertIn(moved, ctl("member", "list").stdout)
            self.assertIn("updated in",
                          ctl("member", "update", member_id, "--peer-urls", peer_url(m)).stdout)
            self.assertIn("transferred", ctl("move-leader", member_id).stdout)
            until(5, "m4 leads", m.leads)
            removed = ctl("member", "remove", member_id, at=at)
            self.assertIn("removed from", removed.stdout, removed.stderr)
            self.assertEqual(c.retire(m), 2)
            self.assertIn("member not found", ctl("member", "remove", member_id, at=at).stderr)
            c.wait_leader()


if __name__ == "__main__":
    unittest.main()
