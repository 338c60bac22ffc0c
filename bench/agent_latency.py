#!/usr/bin/env python3
"""From a put's acknowledgement to the renamed file: p50 and p99 for templates of 1 to 10,000 keys.

    bench/agent_latency.py --bin build/release/bin [--store etcd|decreed] [--puts 100]

Starts a single-member store and decreed-agent on loopback, and watches the target's folder with
inotify: the time is that of the rename itself, not of a poll. The template reads every key
(`range gets`) or, with --getv, names each one. --hooks adds a check and a reload command.
"""

import argparse
import ctypes
import os
import select
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests",
                                "integration"))

IN_MOVED_TO = 0x80


class Renames:
    """Waits for a rename to one name in one folder."""

    def __init__(self, folder, name):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if libc.inotify_add_watch(self.fd, folder.encode(), IN_MOVED_TO) < 0:
            raise OSError(ctypes.get_errno(), "inotify")
        self.name = name.encode()

    def drain(self):
        try:
            while os.read(self.fd, 65536):
                pass
        except BlockingIOError:
            pass

    def wait(self, limit_s):
        deadline = time.monotonic() + limit_s
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise TimeoutError("the file was not renamed")
            now = time.monotonic()
            if self.name + b"\0" in os.read(self.fd, 65536):
                return now


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p))]


def cpu_ms(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def rss_mb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024


def floor_ms(folder, size, n=50):
    """What the file system alone takes: write, fsync, rename of a file of that size."""
    data, times = b"x" * size, []
    for _ in range(n):
        begin = time.monotonic()
        fd = os.open(os.path.join(folder, "stage"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, data)
        os.fsync(fd)
        os.close(fd)
        os.rename(os.path.join(folder, "stage"), os.path.join(folder, "live"))
        times.append((time.monotonic() - begin) * 1000)
    return statistics.median(times)


def measure(keys, args):
    from agent_host import Host
    from cluster import b64, until
    with Host() as h:
        for first in range(0, keys, 100):
            ops = [{"request_put": {"key": b64(f"/app/k{i:05}"), "value": b64(f"value-{i}")}}
                   for i in range(first, min(first + 100, keys))]
            h.client.call("/v3/kv/txn", {"success": ops})
        if args.getv:
            template = "".join(f'k{i:05} = {{{{getv "/app/k{i:05}"}}}}\n' for i in range(keys))
        else:
            template = '{{range gets "/app/*"}}{{base .Key}} = {{.Value}}\n{{end}}'
        hooks = {"check": "/bin/true", "reload": "/bin/true"} if args.hooks else {}
        h.resource(template=template, **hooks)
        h.start()
        until(60, "the first render", lambda: os.path.exists(h.dest()))
        h.wait_status("ok", limit_s=30)
        renames, sent, acked = Renames(h.out, "app"), [], []
        cpu = cpu_ms(h.agent.pid)
        for i in range(args.puts):
            renames.drain()
            begin = time.monotonic()
            h.put(f"/app/k{i * 7919 % keys:05}", f"changed-{i}")
            ack = time.monotonic()
            done = renames.wait(10)
            sent.append((done - begin) * 1000)
            acked.append(max(0.0, (done - ack) * 1000))
            # Let the agent come to rest (folder sync, record): each put is measured on its own.
            time.sleep(args.pause)
        cpu = (cpu_ms(h.agent.pid) - cpu) / args.puts
        floor = floor_ms(h.folder, os.path.getsize(h.dest()))
        print(f"| {keys} | {percentile(acked, .5):.2f} | {percentile(acked, .99):.2f} "
              f"| {percentile(sent, .5):.2f} | {percentile(sent, .99):.2f} | {floor:.2f} "
              f"| {cpu:.2f} | {rss_mb(h.agent.pid):.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="folder of decreed-agent (and decreed)")
    parser.add_argument("--store", default="decreed", help="decreed, or the path or name of an etcd")
    parser.add_argument("--puts", type=int, default=100)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two puts")
    parser.add_argument("--keys", default="1,100,1000,10000")
    parser.add_argument("--getv", action="store_true", help="name every key in the template")
    parser.add_argument("--hooks", action="store_true", help="with a check and a reload (/bin/true)")
    args = parser.parse_args()
    os.environ["DECREE_BIN"] = os.path.abspath(args.bin)
    os.environ["DECREE_TEST_STORE"] = args.store
    print("| keys | acknowledged → file p50 ms | p99 | sent → file p50 ms | p99 "
          "| write+fsync+rename ms | agent CPU ms a change | agent RSS MB |\n"
          "|---|---|---|---|---|---|---|---|")
    for keys in args.keys.split(","):
        measure(int(keys), args)


if __name__ == "__main__":
    main()
