"""What the decree command line is run against: decreed when it is built, else Debian's etcd. The
variable DECREE_TEST_STORE, "decreed" or "etcd", chooses."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from cluster import Client, Member, free_ports, program, until


def store_kind():
    chosen = os.environ.get("DECREE_TEST_STORE")
    if chosen:
        return chosen
    return "decreed" if os.access(program("decreed"), os.X_OK) else "etcd"


class EtcdMember(Member):
    def arguments(self):
        listed = ",".join(f"{m.name}=http://127.0.0.1:{m.peer_port}" for m in self.cluster.members)
        client, peer = (f"http://127.0.0.1:{p}" for p in (self.client_port, self.peer_port))
        return ["etcd", "--name", self.name, "--data-dir", self.data_dir, "--logger=zap",
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", listed]


class Store:
    """n members of whichever kind, ready when start returns."""

    def __init__(self, n=1):
        self.options = []
        self.folder = tempfile.mkdtemp(prefix="decree-cli-")
        ports = free_ports(2 * n)
        make = EtcdMember if store_kind() == "etcd" else Member
        self.members = [make(self, f"m{i + 1}", ports[2 * i], ports[2 * i + 1]) for i in range(n)]

    def start(self):
        """Starts the members that do not run."""
        for m in self.members:
            if m.process is None:
                m.start()
        until(30, "a leader", lambda: next((m for m in self.members if m.leads()), None))
        for m in self.members:
            until(30, f"{m.name} serves", lambda m=m: self.serves(m))
        until(30, "all members have told their client addresses", self.all_published)
        return self

    def all_published(self):
        client = Client(self.members[0].client_port)
        try:
            members = client.call("/v3/cluster/member/list", {})["members"]
            return len(members) == len(self.members) and all(m.get("clientURLs") for m in members)
        finally:
            client.close()

    @staticmethod
    def serves(member):
        client = Client(member.client_port, 2)
        try:
            client.range("ready")
            return True
        except Exception:  # any failure means: not yet
            return False
        finally:
            client.close()

    def stop(self):
        for m in self.members:
            m.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def endpoints(self):
        return ",".join(f"http://127.0.0.1:{m.client_port}" for m in self.members)


def environment(endpoints, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("DECREE_")}
    env["LC_ALL"] = "C.UTF-8"
    if endpoints:
        env["DECREE_ENDPOINTS"] = endpoints
    return {**env, **more}


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr.decode()

    @property
    def text(self):
        return self.out.decode()


class CliTest(unittest.TestCase):
    """One store for all tests of a class; each test takes keys of its own."""
    members = 1

    @classmethod
    def setUpClass(cls):
        cls.store = Store(cls.members)
        cls.addClassCleanup(cls.store.stop)
        cls.store.start()

    def decree(self, *words, stdin=b"", endpoints=None, **env):
        done = subprocess.run([program("decree"), *words], input=stdin, capture_output=True,
                              timeout=60, check=False,
                              env=environment(endpoints or self.store.endpoints, **env))
        return Result(done)

    def ok(self, *words, **more):
        result = self.decree(*words, **more)
        self.assertEqual((result.code, result.err), (0, ""), result.text)
        return result.text

    def start_decree(self, *words, endpoints=None):
        """A command that goes on; its output is read from .lines as it comes."""
        running = Running([program("decree"), *words], environment(endpoints or self.store.endpoints))
        self.addCleanup(running.end)
        return running


class Running:
    def __init__(self, words, env):
        self.folder = tempfile.TemporaryDirectory()
        self.out, self.err = (os.path.join(self.folder.name, n) for n in ("out", "err"))
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                            env=env)

    @staticmethod
    def read(path):
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def await_output(self, wanted, limit_s=15, path=None):
        path = path or self.out
        deadline = time.monotonic() + limit_s
        while wanted not in (text := self.read(path)):
            if time.monotonic() > deadline:
                raise AssertionError(f"{wanted!r} did not come; out {text!r}, "
                                     f"err {self.read(self.err)!r}")
            time.sleep(0.01)
        return text

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(15)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.folder.cleanup()
