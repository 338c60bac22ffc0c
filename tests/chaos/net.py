"""Hosts on a network of their own: a namespace each, joined by a bridge in one more. Links are cut,
made lossy, reset and slowed by nftables and a token bucket inside the namespaces, one direction at a
time. Nothing of it touches the machine's own network."""

import ctypes
import os
import re
import shutil
import subprocess

from disk import Skip, need_root, run

SUBNET = "10.213.0"
CLIENT_PORT, PEER_PORT = 2379, 2380
CLONE_NEWNET = 0x40000000
NAME = re.compile(r"^decree-(\d+)-")


def enter(path):
    """Moves the calling thread, and what it starts from now on, into a network namespace."""
    fd = os.open(path, os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(fd)


def sweep():
    """Removes the namespaces of runs that were killed with -9."""
    for line in run("ip", "netns", "list").splitlines():
        match = NAME.match(line)
        if match and not os.path.exists(f"/proc/{match.group(1)}"):
            subprocess.run(["ip", "netns", "del", line.split()[0]], check=False)


class Host:
    def __init__(self, network, name, number):
        self.network, self.name = network, name
        self.namespace = f"decree-{os.getpid()}-{name}"
        self.address = f"{SUBNET}.{number}"

    @property
    def prefix(self):
        """Words before a command that run it here."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}"]


class Network:
    """Use as a context: the calling thread is moved to the switch, which reaches every host always.
    Change the sets, then apply()."""

    def __init__(self, names):
        need_root()
        for tool in ("ip", "nft", "tc", "nsenter"):
            if shutil.which(tool) is None:
                raise Skip(f"{tool} is missing")
        self.switch = f"decree-{os.getpid()}-switch"
        self.hosts = [Host(self, name, i + 1) for i, name in enumerate(names)]
        self.heal_all()
        self.applied = {}
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def heal_all(self):
        self.cuts = set()    # (from, to): packets vanish
        self.losses = {}     # (from, to): percent of them vanish
        self.resets = {}     # host: percent of what arrives is answered with a reset
        self.slow = {}       # host: kbit/s it may send

    def __enter__(self):
        try:
            sweep()
            run("ip", "netns", "add", self.switch)
            lines = ["link add br0 type bridge", "link set br0 up", "link set lo up",
                     f"addr add {SUBNET}.254/24 dev br0"]
            run("ip", "-n", self.switch, "-batch", "-", text="\n".join(lines))
            for host in self.hosts:
                self.add(host)
            run(*self.hosts[0].prefix, "nft", "-f", "-", text="add table inet chaos")
            enter(f"/run/netns/{self.switch}")
        except OSError as e:
            self.__exit__()
            raise Skip(f"no network namespaces here: {e}") from e
        return self

    def add(self, host):
        run("ip", "netns", "add", host.namespace)
        run("ip", "-n", self.switch, "link", "add", host.name, "type", "veth", "peer", "name",
            "eth0", "netns", host.namespace)
        run("ip", "-n", self.switch, "link", "set", host.name, "master", "br0", "up")
        run("ip", "-n", host.namespace, "-batch", "-",
            text=f"link set lo up\naddr add {host.address}/24 dev eth0\nlink set eth0 up")

    def __exit__(self, *_):
        enter(f"/proc/self/fd/{self.home}")
        os.close(self.home)
        for name in [h.namespace for h in self.hosts] + [self.switch]:
            if os.path.exists(f"/run/netns/{name}"):
                subprocess.run(["ip", "netns", "del", name], check=False)

    def rules(self, host):
        """What a host drops or refuses of what reaches it."""
        lines = [f"ip saddr {a.address} drop" for a, b in sorted(self.cuts, key=str) if b is host]
        lines += [f"ip saddr {a.address} numgen random mod 100 < {percent} drop"
                  for (a, b), percent in self.losses.items() if b is host]
        if host in self.resets:
            ports = f"{{ {CLIENT_PORT}, {PEER_PORT} }}"
            lines += [f"tcp {side} {ports} numgen random mod 100 < {self.resets[host]} "
                      "reject with tcp reset" for side in ("dport", "sport")]
        return lines

    def apply(self):
        for host in self.hosts:
            wanted = (sorted(self.rules(host)), self.slow.get(host))
            before = self.applied.get(host, ([], None))
            if wanted[0] != before[0]:
                body = "\n".join(["type filter hook input priority 0; policy accept;", *wanted[0]])
                run(*host.prefix, "nft", "-f", "-", text="add table inet chaos\n"
                    f"delete table inet chaos\ntable inet chaos {{\nchain in {{\n{body}\n}}\n}}\n")
            if wanted[1] != before[1]:
                run("tc", "-n", host.namespace, "qdisc", *(
                    ["replace", "dev", "eth0", "root", "tbf", "rate", f"{wanted[1]}kbit", "burst",
                     "16kb", "latency", "200ms"] if wanted[1] else ["del", "dev", "eth0", "root"]))
            self.applied[host] = wanted

    def cut(self, some, others):
        """No packet from any of `some` to any of `others`."""
        self.cuts |= {(a, b) for a in some for b in others if a is not b}

    def part(self, some, others):
        self.cut(some, others)
        self.cut(others, some)
