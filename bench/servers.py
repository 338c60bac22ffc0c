"""Members of a cluster for measurements: Debian's etcd and decreed, started alike on loopback."""

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def b64(text):
    return base64.b64encode(text.encode()).decode()


class Down(Exception):
    """No answer, or one that is an error."""


class Server:
    """One member. side is "etcd" or "decree"."""

    def __init__(self, side, program, name, folder, client_port, peer_port):
        self.side, self.program, self.name = side, program, name
        self.client_port, self.peer_port = client_port, peer_port
        self.data_dir = os.path.join(folder, name)
        self.log_path = os.path.join(folder, name + ".log")
        self.cluster_text = None
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.client_port}"

    @property
    def peer_url(self):
        return f"http://127.0.0.1:{self.peer_port}"

    def start(self):
        words = [self.program, "--name", self.name, "--data-dir", self.data_dir,
                 "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                 "--listen-peer-urls", self.peer_url,
                 "--initial-advertise-peer-urls", self.peer_url,
                 "--initial-cluster", self.cluster_text]
        # Both with the room for a million keys; etcd's default quota is 2 GiB as well.
        words += ["--role=store"] if self.side == "decree" else ["--logger=zap", "--log-level=error"]
        environment = {k: v for k, v in os.environ.items()
                       if not k.startswith(("ETCD", "DECREE_"))}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=environment)

    def end(self, sig=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(sig)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def call(self, path, body, timeout_s=5.0):
        connection = http.client.HTTPConnection("127.0.0.1", self.client_port, timeout=timeout_s)
        try:
            connection.request("POST", "/v3" + path, json.dumps(body),
                               {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
            if response.status != 200:
                raise Down(f"HTTP {response.status}: {text[:200]!r}")
            return json.loads(text)
        except (OSError, http.client.HTTPException, ValueError) as e:
            raise Down(str(e)) from e
        finally:
            connection.close()

    def leads(self):
        try:
            status = self.call("/maintenance/status", {}, 2)
            return status.get("leader", "0") == status["header"]["member_id"]
        except Down:
            return False

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    def await_serving(self, limit_s, every_s=0.005):
        """Seconds until a linearizable read is answered."""
        start = time.monotonic()
        while time.monotonic() - start < limit_s:
            try:
                self.call("/kv/range", {"key": b64("ready")}, 2)
                return time.monotonic() - start
            except Down as e:
                if self.process.poll() is not None:
                    raise Down(f"{self.name} ended with {self.process.returncode}: "
                               + self.log_tail()) from e
                time.sleep(every_s)
        raise Down(f"{self.name} does not serve within {limit_s} s: " + self.log_tail())

    def log_tail(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()[-600:].strip()


class Cluster:
    """Use as a context: fresh data, and all of it stopped and removed at the end."""

    def __init__(self, side, program, n, folder):
        self.folder = tempfile.mkdtemp(prefix=side + "-", dir=folder)
        ports = free_ports(2 * n)
        self.servers = [Server(side, program, f"m{i + 1}", self.folder, ports[2 * i],
                               ports[2 * i + 1]) for i in range(n)]
        text = ",".join(f"{s.name}={s.peer_url}" for s in self.servers)
        for s in self.servers:
            s.cluster_text = text

    def __enter__(self):
        try:
            for s in self.servers:
                s.start()
            for s in self.servers:
                s.await_serving(30)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for s in self.servers:
            s.end(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def endpoints(self):
        return ",".join(s.url for s in self.servers)

    @property
    def pids(self):
        return ",".join(str(s.process.pid) for s in self.servers if s.process is not None)

    def leader(self, limit_s=10):
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            for s in self.servers:
                if s.process is not None and s.leads():
                    return s
            time.sleep(0.02)
        raise Down("no leader")


def next_write_after(cluster, dead, limit_s=20):
    """Seconds until one of the others takes a write, each asked in turn without patience."""
    start = time.monotonic()
    others = [s for s in cluster.servers if s is not dead]
    turn = 0
    while time.monotonic() - start < limit_s:
        try:
            others[turn % len(others)].call("/kv/put", {"key": b64("after"), "value": b64("x")}, 0.25)
            return time.monotonic() - start
        except Down:
            turn += 1
            time.sleep(0.01)
    raise Down(f"no write was taken within {limit_s} s after the leader was killed")
