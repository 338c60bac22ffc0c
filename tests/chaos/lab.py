"""What the programs of this folder share: the members of tests/integration on disks and hosts of
their own, and the end of all that on every way out."""

import contextlib
import http.client
import os
import shutil
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[1:1] = [os.path.join(TOP, "tests", "integration"), os.path.join(TOP, "bench")]
os.environ.setdefault("DECREE_BIN", os.path.join(TOP, "build", "release", "bin"))

import net  # noqa: E402  pylint: disable=wrong-import-position
from cluster import (  # noqa: E402,F401  pylint: disable=wrong-import-position,unused-import
    BIN, Client, Cluster, Refused, b64, program, unb64, until)

NO_ANSWER = (OSError, http.client.HTTPException, Refused)


@contextlib.contextmanager
def folder(prefix, parent):
    """A folder that goes at the end, unless .keep is set true."""
    class Folder:
        path, keep = tempfile.mkdtemp(prefix=prefix, dir=parent), False
    try:
        yield Folder
    finally:
        if not Folder.keep:
            shutil.rmtree(Folder.path, ignore_errors=True)


@contextlib.contextmanager
def killed_at_end(cluster):
    """The cluster as a context that kills: faults leave members in states that end no other way."""
    try:
        yield cluster
    finally:
        for member in cluster.members:
            if member.process is not None:
                member.process.kill()
                member.process.wait()
                member.process = None


def cluster_on(network, options, parent):
    """A member on each host of the network whose name begins with m."""
    hosts = [h for h in network.hosts if h.name.startswith("m")]
    cluster = Cluster(len(hosts), options, parent)
    for member, host in zip(cluster.members, hosts):
        member.host_of_lab, member.host, member.prefix = host, host.address, host.prefix
        member.client_port, member.peer_port = net.CLIENT_PORT, net.PEER_PORT
    return cluster


def ask(member, path, body, timeout_s=2):
    """One call on a connection of its own; None without a good answer."""
    client = member.client(timeout_s)
    try:
        return client.call(path, body)
    except NO_ANSWER:
        return None
    finally:
        client.close()


def leader_of(cluster):
    return next((m for m in cluster.members if m.leads()), None)


def states_at(cluster, revision, limit_s=30):
    """What each member holds at a revision, by its own word; waits until each has got there."""
    everything = {"key": b64("\0"), "range_end": b64("\0"), "revision": str(revision),
                  "serializable": True}
    return [until(limit_s, f"{m.name} reaches revision {revision}",
                  lambda m=m: ask(m, "/v3/kv/range", everything, 20)).get("kvs", [])
            for m in cluster.members]


def hashes_at(cluster, revision):
    """HashKV of each member at a revision, or [] when they do not know that call."""
    replies = [ask(m, "/v3/maintenance/hashkv", {"revision": str(revision)}, 20)
               for m in cluster.members]
    return [r.get("hash") for r in replies] if all(replies) else []
