#!/usr/bin/env python3
"""What one client does to another: a light client puts a key and waits for the event of its own watch,
again and again, while in the background others read a million keys at a time, or put with a thousand
requests in flight on one connection, or both. Debian's etcd and Decree in turn on the same disk.

Shown are the light client's put and the delay from its put to the event, as p50, p99 and maximum, how
much the background got done, and with more than one member what their heartbeats felt of it: those that
the leader sent late by etcd's measure (more than two intervals after the one before), the longest that a
follower of Decree heard nothing from its leader (etcd has no such figure), as the upper end of the
histogram's bucket, and how many leaders and terms came and went (a follower that misses heartbeats begins
a new term, or asks for one). Figures drift from hour to hour on shared machines; the ratios of one run do
not."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request

from servers import Cluster, Down

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def say(text):
    print(text, file=sys.stderr, flush=True)


class Background:
    """Runs decree-bench until it is ended; what it got done is its result."""

    def __init__(self, args, words):
        self.process = subprocess.Popen(
            [args.bench, *words, "--json", "--seconds", str(args.seconds + 2), "--warmup", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def result(self):
        out, err = self.process.communicate(timeout=300)
        if not out:
            raise Down("the background said nothing: " + err.strip())
        return json.loads(out)


def metrics(server):
    """Every figure of one member, by name with labels."""
    with urllib.request.urlopen(server.url + "/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in
            (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))}


def longest_s(before, after, name):
    """The upper end of the last bucket of a histogram that has more than before; 0: none has."""
    longest, below = 0.0, 0
    for key, value in after.items():
        if key.startswith(name + "_bucket{"):
            more = value - before.get(key, 0)
            if more > below:
                longest, below = float(key.split('"')[1]), more
    return longest


class Beats:
    """What the members' heartbeats felt between its making and end()."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.before = self.look()

    def look(self):
        return ([metrics(s) for s in self.cluster.servers],
                max(int(s.call("/maintenance/status", {}, 30).get("raftTerm", 0))
                    for s in self.cluster.servers))

    def end(self):
        after = self.look()
        pairs = list(zip(self.before[0], after[0]))

        def more(name):
            return [b.get(name, 0) - a.get(name, 0) for a, b in pairs]

        return {"leaders": max(more("etcd_server_leader_changes_seen_total")),
                "terms": after[1] - self.before[1],
                "late": sum(more("etcd_server_heartbeat_send_failures_total")),
                "gap_s": max(longest_s(a, b, "decree_heartbeat_gap_seconds") for a, b in pairs),
                "turn_s": max(longest_s(a, b, "decree_loop_turn_seconds") for a, b in pairs)}


def backgrounds(args, endpoint):
    keys = ["--keys", str(args.keys)]
    ranges = ["range", "--endpoints", endpoint, *keys, "--span", str(args.keys), "--streams", "2",
              "--conns", "2"]
    puts = ["put", "--endpoints", endpoint, *keys, "--streams", "1000", "--conns", "1"]
    return [("alone", []), ("2 readers of all keys", [ranges]), ("1,000 puts in flight", [puts]),
            ("both", [ranges, puts])]


def measure(args, cluster, server, loads):
    beats = Beats(cluster)
    others = [Background(args, words) for words in loads]
    light = subprocess.run(
        [args.bench, "watch", "--json", "--endpoints", server.url, "--watchers", "1", "--streams",
         "1", "--conns", "2", "--seconds", str(args.seconds)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    done = [b.result() for b in others]
    if not light.stdout:
        raise Down("the light client: " + light.stderr.strip())
    return json.loads(light.stdout), done, beats.end()


def run(args, side, program, results):
    with Cluster(side, program, args.members, args.folder) as cluster:
        server = cluster.leader()
        say(f"{side}: {args.keys:,} keys")
        subprocess.run([args.bench, "fill", "--endpoints", server.url, "--keys", str(args.keys),
                        "--batch", "100", "--streams", "8", "--value-size", str(args.value_size)],
                       check=True, stdout=subprocess.DEVNULL)
        for name, loads in backgrounds(args, server.url):
            found = measure(args, cluster, server, loads)
            results.setdefault(name, {})[side] = found
            say(f"  {name}: " + show(*found, args.members))
        say(f"  RSS {server.rss_bytes() / 1e6:.0f} MB")


def figure(f):
    return f"{f['p50_us'] / 1e3:.2f} / {f['p99_us'] / 1e3:.2f} / {f['max_us'] / 1e3:.1f}"


def show_beats(beats, members):
    parts = []
    if beats["turn_s"]:
        parts.append(f"turns of the loop up to {beats['turn_s'] * 1e3:g} ms")
    if members > 1:
        if beats["gap_s"]:
            parts.append(f"gaps of heartbeats up to {beats['gap_s'] * 1e3:g} ms")
        parts.append(f"{beats['late']:.0f} heartbeats late, {beats['leaders']:.0f} new leaders, "
                     f"{beats['terms']} new terms")
    return ", ".join(parts)


def show(light, done, beats, members):
    text = f"put {figure(light['put'])} ms, event {figure(light['first event'])} ms"
    for d in done:
        amount = f"{d['ops']} ranges of all" if d["mode"] == "range" else f"{d['ops_per_s']:.0f} puts/s"
        text += f"; beside it {amount}" + (f", {d['errors']} errors" if d["errors"] else "")
    felt = show_beats(beats, members)
    return text + (f"; {felt}" if felt else "")


def ratio(etcd, decree, which):
    return " / ".join(f"{decree[which][k] / etcd[which][k]:.2f}" for k in
                      ("p50_us", "p99_us", "max_us"))


def print_table(results, sides, members):
    print("| light client beside | " + " | ".join(sides) + " | decree/etcd: put, event |\n|"
          + "---|" * (len(sides) + 2))
    for name, found in results.items():
        cells = [show(*found[side], members) if side in found else "-" for side in sides]
        ratios = "-"
        if "etcd" in found and "decree" in found:
            ratios = ", ".join(ratio(found["etcd"][0], found["decree"][0], w)
                               for w in ("put", "first event"))
        print("| " + " | ".join([name, *cells, ratios]) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", default=os.path.join(TOP, "build", "release", "bin"))
    parser.add_argument("--decreed", help="another decreed than the one in --bin")
    parser.add_argument("--keys", type=int, default=1000000)
    parser.add_argument("--value-size", type=int, default=256)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--sides", default="etcd,decree")
    args = parser.parse_args()
    args.bench = os.path.join(args.bin, "decree-bench")
    programs = {"etcd": shutil.which("etcd"),
                "decree": args.decreed or os.path.join(args.bin, "decreed")}
    sides = [s for s in args.sides.split(",") if programs.get(s)]
    results = {}
    with tempfile.TemporaryDirectory(prefix="fairness-", dir=os.path.dirname(args.bin)) as folder:
        args.folder = folder
        for side in sides:
            try:
                run(args, side, programs[side], results)
            except (Down, OSError, subprocess.SubprocessError) as e:
                say(f"{side}: FAILED: {e}")
    print_table(results, sides, args.members)
    return 0


if __name__ == "__main__":
    sys.exit(main())
