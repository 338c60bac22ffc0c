#!/usr/bin/env python3
"""The leader's memory while one follower of three is stopped (SIGSTOP) for a minute under full load with
values of 1 KiB, 64 KiB and 1 MiB, and after it goes on. The keyspace stays small: keys are overwritten and
compacted every second, so that what grows is what is kept for the one that does not listen."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from servers import Cluster, Down, b64

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOADS = [(1024, 200, 1000), (64 * 1024, 16, 100), (1024 * 1024, 4, 20)]  # bytes, in flight, keys


def say(text):
    print(text, file=sys.stderr, flush=True)


def load(args, server, seconds):
    return [subprocess.Popen(
        [args.bench, "put", "--endpoints", server.url, "--value-size", str(size), "--streams",
         str(streams), "--keys", str(keys), "--seconds", str(seconds), "--warmup", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for size, streams, keys in LOADS]


def compact(server):
    try:
        revision = server.call("/kv/range", {"key": b64("x")}, 10)["header"]["revision"]
        server.call("/kv/compaction", {"revision": revision}, 10)
    except Down:
        pass  # compacted already, or busy: the next one will


def watch_memory(server, seconds, samples, begun):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        compact(server)
        samples.append((time.monotonic() - begun, server.rss_bytes() / 1e6))
        time.sleep(1)


def run(args, side, program):
    with Cluster(side, program, 3, args.folder) as cluster:
        leader = cluster.leader()
        stalled = next(s for s in cluster.servers if s is not leader)
        loads = load(args, leader, args.seconds + 20)
        begun, samples = time.monotonic(), []
        watch_memory(leader, 10, samples, begun)
        stalled.process.send_signal(signal.SIGSTOP)
        try:
            watch_memory(leader, args.seconds, samples, begun)
        finally:
            stalled.process.send_signal(signal.SIGCONT)
        watch_memory(leader, 10, samples, begun)
        out = [p.communicate()[0] for p in loads]
        changed = "" if leader.leads() else ", another leads now"
        limits = [(0, 10), (10, 10 + args.seconds), (10 + args.seconds, 1e9)]
        peaks = [max((rss for at, rss in samples if a <= at < b), default=0) for a, b in limits]
        line = " ".join(f"{rss:.0f}" for _, rss in samples[::max(1, len(samples) // 16)])
        say(f"{side}: RSS of the leader in MB over time: {line}{changed}")
        for (size, _, _), text in zip(LOADS, out):
            say(f"  {size} B: " + text[:400].split(',"latency"')[0])
        print(f"| {side} | {peaks[0]:.0f} | {peaks[1]:.0f} | {peaks[2]:.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", default=os.path.join(TOP, "build", "release", "bin"))
    parser.add_argument("--decreed", help="another decreed than the one in --bin")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--sides", default="etcd,decree")
    args = parser.parse_args()
    args.bench = os.path.join(args.bin, "decree-bench")
    programs = {"etcd": shutil.which("etcd"),
                "decree": args.decreed or os.path.join(args.bin, "decreed")}
    print("| | before, MB | follower stopped | after |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="stalled-", dir=os.path.dirname(args.bin)) as folder:
        args.folder = folder
        for side in args.sides.split(","):
            try:
                run(args, side, programs[side])
            except (Down, OSError, subprocess.SubprocessError) as e:
                say(f"{side}: FAILED: {e}")


if __name__ == "__main__":
    main()
