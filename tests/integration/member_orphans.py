"""Members whom the cluster cannot take in, or cannot repair: what they say is true and can be done."""

import http.client
import re
import shutil
import threading
import unittest

import member_changes
from cluster import Refused, until
from disk_faults import PAGE, begun_segments, flip_bit, is_repairing, used_bytes
from member_changes import Growing, Joiner, decree, peer_url


# A leader that has lost the others takes an addition for as long as an election timeout.
UNHURRIED = ["--election-timeout=3000"]


def add_and_lose(leader, joiner, learner):
    """Asked of a leader that has just lost the others: it takes it into its log, and that is all."""
    said = []

    def add():
        client = leader.client()
        try:
            client.call("/v3/cluster/member/add",
                        {"peerURLs": [peer_url(joiner)], "isLearner": learner})
        except (OSError, http.client.HTTPException, Refused) as e:
            said.append(str(e))
        finally:
            client.close()

    asking = threading.Thread(target=add, daemon=True)
    asking.start()
    until(5, f"the addition is in the log: {said}", lambda: "adding a member" in leader.log())
    return asking


class Orphans(unittest.TestCase):
    ok = member_changes.MemberChanges.ok
    rows = member_changes.MemberChanges.rows
    promote = member_changes.MemberChanges.promote

    def lose_an_addition(self, cluster, learner, while_lost):
        leader = cluster.start()
        others = [m for m in cluster.members if m is not leader]
        joiner = cluster.newcomer("m4")
        for m in others:
            m.kill9()
        asking = add_and_lose(leader, joiner, learner)
        joiner.start()
        while_lost(joiner)
        leader.kill9()
        asking.join()
        for m in others:
            m.start()
        cluster.wait_leader()
        return leader, joiner

    def add_again(self, cluster, leader, joiner):
        shutil.rmtree(joiner.data_dir, ignore_errors=True)
        leader.start()
        self.ok(cluster, "member", "add", "m4", "--learner", "--peer-urls", peer_url(joiner),
                endpoints=cluster.endpoints(joiner))
        joiner.start()
        self.promote(cluster, joiner)
        self.assertEqual(sorted(r["name"] for r in self.rows(cluster)), ["m1", "m2", "m3", "m4"])

    def test_a_voter_whose_addition_was_lost_is_told_so(self):
        def joined(joiner):
            until(60, "it has joined on hearsay", lambda: re.search(
                r"joining cluster=.* agreed=0", joiner.log()))

        with Growing(3, UNHURRIED) as c:
            leader, joiner = self.lose_an_addition(c, False, joined)
            self.assertEqual(joiner.process.wait(60), 2)
            self.assertIn("was never added to the cluster, says member", joiner.log())
            self.assertIn("decree member add m4 --peer-urls", joiner.log())
            joiner.start()  # as it is: it is told again
            self.assertEqual(joiner.process.wait(60), 2)
            self.assertIn("has removed it or never added it", joiner.log())
            joiner.process = None
            self.add_again(c, leader, joiner)

    def test_a_learner_is_not_taken_in_before_there_is_a_leader(self):
        def refused(joiner):
            self.assertEqual(joiner.process.wait(60), 2)
            self.assertIn("has not agreed yet on the learner at", joiner.log())
            joiner.process = None

        with Growing(3, UNHURRIED) as c:
            leader, joiner = self.lose_an_addition(c, True, refused)
            self.add_again(c, leader, joiner)

    def test_of_two_with_one_damaged_the_whole_one_goes_on(self):
        with Growing(2) as c:
            c.start()
            for i in range(20):
                self.ok(c, "put", f"/k/{i}", "v" * 500)
            damaged, whole = c.members
            for m in c.members:
                m.stop()
            segment = begun_segments(damaged)[0]
            flip_bit(segment, (PAGE + used_bytes(segment)) // 2, 3)
            for m in c.members:
                m.start()
            until(60, "it says what to do", lambda: "1 of 2 voters are damaged" in damaged.log())
            self.assertTrue(is_repairing(damaged))
            self.assertFalse(is_repairing(whole))
            until(60, "so does the other", lambda: re.search(
                r"no leader is known: .* unreachable=none", whole.log()))
            said = next(line for line in damaged.log().splitlines() if "1 of 2 voters" in line)
            self.assertIn("Nothing that was acknowledged is lost", said)
            # Word for word what it says.
            for m in c.members:
                m.stop()
            whole.arguments, usual = lambda: [*type(whole).arguments(whole), "--force-new-cluster"], \
                whole.arguments
            whole.start()
            until(60, "it leads", whole.leads)
            whole.stop()
            whole.arguments = usual
            whole.start()
            until(60, "it leads", whole.leads)
            self.assertEqual(self.ok(c, "get", "/k/19", endpoints=c.endpoints(damaged)).split(),
                             ["/k/19", "v" * 500])
            damaged.start()
            self.assertEqual(damaged.process.wait(60), 2)
            self.assertIn("has been removed from the cluster", damaged.log())
            damaged.process = None
            self.assertIn(f"remove {damaged.data_dir} and add this member anew "
                          f"(decree member add {damaged.name} --learner --peer-urls URL)", said)
            shutil.rmtree(damaged.data_dir)
            self.ok(c, "member", "add", damaged.name, "--learner", "--peer-urls",
                    peer_url(damaged), endpoints=c.endpoints(damaged))
            again = Joiner(c, damaged.name, damaged.client_port, damaged.peer_port)
            c.members[0] = again
            again.start()
            self.promote(c, again)
            self.ok(c, "put", "/k/0", "w")

    def test_a_take_over_that_is_interrupted_goes_on_wherever_it_was(self):
        with Growing(3) as c:
            c.start()
            lost = next(m for m in c.members if not m.leads())
            lost.kill9()
            shutil.rmtree(lost.data_dir)
            new = Joiner(c, lost.name, lost.client_port, lost.peer_port)
            words = ["member", "replace", lost.name, "--peer-urls", peer_url(lost)]

            def replace(*more):
                return decree(c, *words, *more, endpoints=c.endpoints(lost, new))

            begun = replace("--wait", "1ms")
            self.assertIn(f"removed {lost.name}", begun.stdout)
            again = replace("--wait", "1ms")  # removed and added, and not started yet
            self.assertEqual(again.returncode, 3, again.stderr)
            self.assertIn(f"decreed --name {lost.name} ", again.stdout)
            self.assertNotIn("removed", again.stdout)
            c.members[c.members.index(lost)] = new
            new.start()
            until(20, "it is started", lambda: all(r.get("name") for r in self.rows(
                c, endpoints=c.endpoints(new))))
            done = replace()
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("taken for the new one", done.stdout)
            self.assertNotIn("removed", done.stdout.replace("has removed", ""))
            late = replace()
            self.assertEqual(late.returncode, 2)
            self.assertIn("nothing is left to do", late.stderr)
            rows = self.rows(c)
            self.assertEqual(sorted(r["name"] for r in rows), ["m1", "m2", "m3"])
            self.assertFalse(any(r.get("isLearner") for r in rows))

    def test_a_wiped_member_cannot_cost_what_was_acknowledged(self):
        """Two have it; one of them loses its disk, and comes back with the one that has not."""
        with Growing(3) as c:
            wiped = c.start()
            witness, late = [m for m in c.members if m is not wiped]
            self.ok(c, "put", "/a", "1")
            late.kill9()
            self.ok(c, "put", "/a", "2", endpoints=c.endpoints(late))
            wiped.kill9()
            witness.kill9()
            shutil.rmtree(wiped.data_dir)
            late.start()
            wiped.start()
            self.assertEqual(wiped.process.wait(20), 2)
            self.assertIn("this member has lost its data", wiped.log())
            wiped.process = None
            witness.start()
            c.wait_leader()
            self.assertEqual(self.ok(c, "get", "/a").split(), ["/a", "2"])

    def test_a_learner_among_the_endpoints_is_no_obstacle(self):
        with Growing(1) as c:
            c.start()
            learner = c.newcomer("m2")
            self.ok(c, "member", "add", "m2", "--learner", "--peer-urls", peer_url(learner))
            learner.start()
            until(20, "it is started", lambda: all(r.get("name") for r in self.rows(
                c, endpoints=c.endpoints(learner))))
            first = ",".join(f"http://127.0.0.1:{m.client_port}" for m in reversed(c.members))
            for words in (["put", "/a", "1"], ["get", "/a"], ["member", "list"], ["alarm", "list"],
                          ["member", "update", "m2", "--peer-urls", peer_url(learner)]):
                self.ok(c, *words, endpoints=first)
            mistaken = decree(c, "member", "replace", "m9", "--peer-urls", "http://127.0.0.1:9")
            self.assertEqual(mistaken.returncode, 2)
            self.assertIn("there is no member \"m9\"", mistaken.stderr)
            self.assertIn("if an earlier run was interrupted", mistaken.stderr)
            second = decree(c, "member", "replace", "m1", "--peer-urls", "http://127.0.0.1:9")
            self.assertEqual(second.returncode, 4)
            self.assertIn("promote or remove the learner", second.stderr)
            alone = decree(c, "get", "/a", endpoints=first.split(",", maxsplit=1)[0])
            self.assertEqual(alone.returncode, 4)
            self.assertIn("rpc not supported for learner", alone.stderr)


if __name__ == "__main__":
    unittest.main()
