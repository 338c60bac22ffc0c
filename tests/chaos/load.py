#!/usr/bin/env python3
"""One process of clients, started by the chaos run inside the network namespace they live in:
callers, each with one connection and one call under way, and watchers that go on at another member
when theirs falls silent. Writes one part of the history. A line "stop" on standard input ends the
callers, "final {KEY: REVISION}" tells the watchers the last change of each key, up to which they must
get; then the process ends."""

import argparse
import json
import http.client
import os
import random
import sys
import threading
import time

import history
from history import FAILED, OK, UNKNOWN, Part, change_of, now, text_of

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
from cluster import Client, Refused, b64  # noqa: E402  pylint: disable=wrong-import-position

KEYS = [f"k{i:02}" for i in range(24)]
PATIENCE_S = 2.5         # of a caller; the store itself gives up after 7 s
SILENCE_S = 3            # a watcher that hears nothing for so long asks another member
SECOND = 1_000_000_000
# Answers after which a call may still happen, by gRPC status: canceled, unknown, deadline, internal,
# unavailable. Any other one says that it did not and will not (store/node/core_call.c).
MAY_STILL_HAPPEN = (1, 2, 4, 13, 14)

KINDS, WEIGHTS = zip(("put", 28), ("get", 26), ("get_stale", 8), ("delete", 7), ("cas", 18), ("grant", 2),
                     ("put_leased", 4), ("keepalive", 5), ("revoke", 2))


class Caller(threading.Thread):
    def __init__(self, name, hosts, home, part, seed):
        super().__init__(daemon=True)
        self.name, self.hosts, self.part = name, hosts, part
        self.rng = random.Random(f"{seed}/{name}")
        self.home = home if home is not None else self.rng.randrange(len(hosts))
        self.clients = [Client(2379, PATIENCE_S, h) for h in hosts]
        self.at, self.count, self.sent, self.stopping = self.home, 0, 0, False
        self.begun, self.ended = None, 0  # the call under way
        self.seen = {}                    # key -> mod_revision last seen
        self.leases = []                  # newest last

    def run(self):
        while not self.stopping:
            getattr(self, "do_" + self.rng.choices(KINDS, WEIGHTS)[0])()
            if self.at != self.home and self.rng.random() < 0.02:
                self.at = self.home
        for client in self.clients:
            client.close()

    # ---- one call ----

    def send(self, kind, path, body, **asked):
        """Sends it; moves on to another member when this one did not answer. Returns the reply,
        which must go on to told(), or None."""
        client = self.clients[self.at]
        self.begun = {"op": "begin", "call": f"{self.name}:{self.sent}", "time": now(),
                      "kind": kind, **asked}
        self.sent += 1
        reply, outcome = self.exchange(client, path, body)
        self.ended = now()
        if reply is None:
            if outcome == UNKNOWN or client.connection is None:
                self.at = (self.at + 1 + self.rng.randrange(len(self.hosts))) % len(self.hosts)
            self.record({"outcome": outcome})
        return reply

    def record(self, end):
        self.part.write(self.begun, {"op": "end", "call": self.begun["call"], "time": self.ended,
                                     **end})

    def told(self, reply, **more):
        self.record({"outcome": OK, "revision": int(reply["header"]["revision"]), **more})

    @staticmethod
    def exchange(client, path, body):
        try:
            if client.connection is None:
                client.connection = http.client.HTTPConnection(client.host, client.port,
                                                               timeout=PATIENCE_S)
                client.connection.connect()
        except OSError:
            client.close()
            time.sleep(0.01)  # nobody listens there: not in a tight loop
            return None, FAILED
        try:
            return client.call("/v3" + path, body), OK
        except Refused as e:
            return None, UNKNOWN if may_still_happen(e) else FAILED
        except (OSError, http.client.HTTPException, ValueError):
            client.close()
            return None, UNKNOWN

    def value(self):
        self.count += 1
        return f"{self.name}.{self.count}" + "." * (1000 if self.rng.random() < 0.02 else 0)

    def told_read(self, key, reply, kvs, **more):
        if kvs:
            self.seen[key] = int(kvs[0]["mod_revision"])
            more.update(found=True, value=text_of(kvs[0].get("value", "")),
                        mod_revision=self.seen[key])
        else:
            self.seen.pop(key, None)
        self.told(reply, **more)

    # ---- the calls ----

    def put(self, lease):
        key, value = self.rng.choice(KEYS), self.value()
        body = {"key": b64(key), "value": b64(value), "lease": str(lease)}
        reply = self.send("put", "/kv/put", body, key=key, value=value, lease=lease)
        if reply:
            self.told(reply)
            self.seen[key] = int(reply["header"]["revision"])

    def do_put(self):
        self.put(0)

    def do_put_leased(self):
        if self.leases:
            self.put(self.rng.choice(self.leases))

    def do_get(self, kind="get"):
        key = self.rng.choice(KEYS)
        body = {"key": b64(key), "serializable": kind == "get_stale"}
        reply = self.send(kind, "/kv/range", body, key=key)
        if reply:
            self.told_read(key, reply, reply.get("kvs"))

    def do_get_stale(self):
        self.do_get("get_stale")

    def do_delete(self):
        key = self.rng.choice(KEYS)
        reply = self.send("delete", "/kv/deleterange", {"key": b64(key)}, key=key)
        if reply:
            self.told(reply, found=reply.get("deleted", "0") != "0")
            self.seen.pop(key, None)

    def do_cas(self):
        key, value = self.rng.choice(KEYS), self.value()
        expected = self.seen.get(key, 0)
        reply = self.send("cas", "/kv/txn", {
            "compare": [{"key": b64(key), "target": "MOD", "result": "EQUAL",
                         "mod_revision": str(expected)}],
            "success": [{"request_put": {"key": b64(key), "value": b64(value)}}],
            "failure": [{"request_range": {"key": b64(key)}}]},
            key=key, value=value, expected=expected)
        if not reply:
            return
        if reply.get("succeeded"):
            self.told(reply, succeeded=True)
            self.seen[key] = int(reply["header"]["revision"])
        else:
            read = reply["responses"][0]["response_range"]
            self.told_read(key, reply, read.get("kvs"), succeeded=False)

    def do_grant(self):
        ttl = self.rng.choice([2, 3, 5, 30])
        reply = self.send("grant", "/lease/grant", {"TTL": str(ttl)}, ttl=ttl * SECOND)
        if reply:
            self.leases = [*self.leases, int(reply["ID"])][-6:]
            self.told(reply, lease=int(reply["ID"]), ttl=int(reply["TTL"]) * SECOND)

    def do_keepalive(self):
        if not self.leases:
            return
        lease = self.rng.choice(self.leases)
        reply = self.send("keepalive", "/lease/keepalive", {"ID": str(lease)}, lease=lease)
        if reply:
            ttl = int(reply["result"].get("TTL", "0"))
            self.told(reply["result"], succeeded=ttl > 0, ttl=ttl * SECOND)
            if ttl <= 0:
                self.leases.remove(lease)

    def do_revoke(self):
        if not self.leases:
            return
        lease = self.leases.pop(self.rng.randrange(len(self.leases)))
        reply = self.send("revoke", "/lease/revoke", {"ID": str(lease)}, lease=lease)
        if reply:
            self.told(reply)


def may_still_happen(refused):
    try:
        return json.loads(refused.body).get("code", 2) in MAY_STILL_HAPPEN
    except ValueError:
        return True


class Watcher(threading.Thread):
    """Follows a key or a range from a revision on (0: what a first read says); from 1 on when it shall
    know the truth. Every connection is a watch of its own in the history and begins where the one
    before ended."""

    def __init__(self, name, hosts, key, end, part, seed, start=0):
        super().__init__(daemon=True)
        self.name, self.hosts, self.key, self.end, self.part = name, hosts, key, end, part
        self.rng = random.Random(f"{seed}/{name}")
        self.start_revision, self.number, self.final = start, 0, None
        self.done = threading.Event()
        self.is_truth = False
        self.failure = None

    def must_reach(self, finals):
        """The last change of each key is known: when this watch has told its own, it is complete."""
        self.final = max(r for k, r in finals.items() if self.end == "\0" or k == self.key or
                         self.key <= k < self.end)

    def covered(self):
        return self.final is not None and self.start_revision > self.final

    def learn_revision(self, host):
        """As programs do that read first and watch from there on; another member may be behind."""
        client = Client(2379, SILENCE_S, host)
        try:
            reply = client.range(self.key)
            self.start_revision = int(reply["header"]["revision"]) + 1
        except Refused as e:
            raise ValueError("no read") from e
        finally:
            client.close()

    def run(self):
        while not self.covered() and self.failure is None:
            self.number += 1
            try:
                if self.start_revision == 0:
                    self.learn_revision(self.rng.choice(self.hosts))
                self.follow(self.rng.choice(self.hosts), f"{self.name}.{self.number}")
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.02)
        self.done.set()

    def follow(self, host, watch):
        connection = http.client.HTTPConnection(host, 2379, timeout=SILENCE_S)
        try:
            connection.connect()
            begin = now()
            connection.request("POST", "/v3/watch", json.dumps({"create_request": {
                "key": b64(self.key), "range_end": b64(self.end),
                "start_revision": str(self.start_revision)}}))
            response = connection.getresponse()
            if response.status != 200:
                return
            self.part.write({"op": "watch_begin", "watch": watch, "time": begin, "key": self.key,
                             "range_end": self.end, "start_revision": self.start_revision})
            while not self.covered():
                line = response.readline()
                if not line:
                    return
                self.take(watch, json.loads(line))
                if self.rng.random() < 0.0005:
                    return  # for no reason: members are changed more often than faults make it
        finally:
            connection.close()

    def take(self, watch, message):
        if "result" not in message:
            raise ValueError("the stream ended with an error")
        result = message["result"]
        if int(result.get("compact_revision", "0")) > 0:
            compacted = int(result["compact_revision"])
            self.part.write({"op": "compacted", "watch": watch, "revision": compacted})
            if self.is_truth:
                self.failure = f"compacted at {compacted} before the truth was known"
            self.start_revision = compacted
        if result.get("canceled"):
            raise ValueError("the server ended it")
        changes = [change_of(e) for e in result.get("events", [])]
        header = int(result["header"]["revision"])
        if changes:
            self.part.write({"op": "watch_events", "watch": watch, "time": now(),
                             "revision": header, "events": changes})
            if self.is_truth:
                for change in changes:
                    self.part.write({"op": "truth", **change})
            self.start_revision = changes[-1]["revision"] + 1
        elif result.get("created"):
            self.part.write({"op": "watch_created", "watch": watch, "time": now(),
                             "revision": header})
        if self.covered():
            self.part.write({"op": "settled", "watch": watch, "revision": self.final})


class Compactor(threading.Thread):
    """Forgets what is older than a few seconds, never what the truth has not been told."""

    def __init__(self, caller, truth, behind):
        super().__init__(daemon=True)
        self.caller, self.truth, self.behind, self.done_at = caller, truth, behind, 0

    def run(self):
        while not self.caller.stopping:
            time.sleep(2)
            revision = self.truth.start_revision - self.behind
            if revision > self.done_at:
                reply = self.caller.send("compact", "/kv/compaction", {"revision": str(revision)},
                                         expected=revision)
                if reply:
                    self.caller.told(reply)
                    self.done_at = revision


def make_watchers(args, hosts, part):
    watchers = []
    if args.truth:
        truth = Watcher(f"{args.name}.truth", hosts, "\0", "\0", part, args.seed, 1)
        truth.is_truth = True
        watchers.append(truth)
    rng = random.Random(f"{args.seed}/{args.name}")
    for i in range(args.watchers):
        key, end = [(rng.choice(KEYS), ""), ("k1", "k2")][i % 2]
        watchers.append(Watcher(f"{args.name}.w{i}", hosts, key, end, part, args.seed))
    return watchers


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--name", required=True)
    p.add_argument("--hosts", required=True, help="addresses of the members")
    p.add_argument("--home", type=int, help="the member asked first")
    p.add_argument("--callers", type=int, default=4)
    p.add_argument("--watchers", type=int, default=3)
    p.add_argument("--truth", action="store_true", help="know every change, and compact behind it")
    p.add_argument("--behind", type=int, default=3000, help="revisions kept by compaction")
    p.add_argument("--seed", required=True)
    p.add_argument("--part", required=True, help="the file to write")
    args = p.parse_args()
    hosts, part = args.hosts.split(","), Part(args.part)
    callers = [Caller(f"{args.name}.{i}", hosts, args.home, part, args.seed)
               for i in range(args.callers)]
    watchers = make_watchers(args, hosts, part)
    for thread in [*callers, *watchers]:
        thread.start()
    others = []
    if args.truth:
        helper = Caller(f"{args.name}.compactor", hosts, args.home, part, args.seed)
        others = [Compactor(helper, watchers[0], args.behind)]
        others[0].start()
        callers.append(helper)
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "stop":
            for caller in callers:
                caller.stopping = True
            for thread in [c for c in callers if c.is_alive()] + others:
                thread.join()
            print("stopped", flush=True)
        elif word == "final":
            for watcher in watchers:
                watcher.must_reach(json.loads(rest))
            for watcher in watchers:
                watcher.done.wait()
            break
    part.close()
    failures = [f"{w.name}: {w.failure}" for w in watchers if w.failure]
    print("; ".join(failures) or "done", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
