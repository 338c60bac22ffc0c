"""Real decreed members for tests: start, stop, kill, and a JSON client with no retries. On loopback,
unless a member is given another host and the words that start it there (tests/chaos)."""

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

BIN = os.environ.get("DECREE_BIN") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "test", "bin")


def program(name):
    return os.path.join(BIN, name)


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def until(limit_s, what, probe, every_s=0.02):
    """Waits for an event that only shows by asking; fails by name after limit_s."""
    deadline = time.monotonic() + limit_s
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit_s} s: {what}")
        time.sleep(every_s)


def b64(value):
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def unb64(text):
    return base64.b64decode(text)


class Refused(Exception):
    """The server answered, and it was an error."""

    def __init__(self, status, body):
        super().__init__(f"HTTP {status}: {body}")
        self.status, self.body = status, body


class Client:
    """One keep-alive connection to one member. OSError and HTTPException mean: outcome unknown."""

    def __init__(self, port, timeout_s=10, host="127.0.0.1"):
        self.host, self.port, self.timeout_s, self.connection = host, port, timeout_s, None

    def call(self, path, body):
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.host, self.port,
                                                         timeout=self.timeout_s)
        try:
            self.connection.request("POST", path, json.dumps(body),
                                    {"Content-Type": "application/json"})
            response = self.connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if response.status != 200:
            raise Refused(response.status, text.decode(errors="replace"))
        return json.loads(text)

    def put(self, key, value, **more):
        return self.call("/v3/kv/put", {"key": b64(key), "value": b64(value), **more})

    def range(self, key, end=None, **more):
        body = {"key": b64(key), **more}
        if end is not None:
            body["range_end"] = b64(end)
        return self.call("/v3/kv/range", body)

    def status(self):
        return self.call("/v3/maintenance/status", {})

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Member:
    def __init__(self, cluster, name, client_port, peer_port):
        self.cluster, self.name = cluster, name
        self.client_port, self.peer_port = client_port, peer_port
        self.data_dir = os.path.join(cluster.folder, name)
        self.log_path = os.path.join(cluster.folder, name + ".log")
        self.process = None
        self.host, self.prefix = "127.0.0.1", []

    @property
    def peer_url(self):
        return f"http://{self.host}:{self.peer_port}"

    def arguments(self):
        listed = ",".join(f"{m.name}={m.peer_url}" for m in self.cluster.members)
        return [*self.prefix, program("decreed"), "--role=store", "--name", self.name,
                "--data-dir", self.data_dir,
                "--listen-client-urls", f"http://{self.host}:{self.client_port}",
                "--listen-peer-urls", self.peer_url,
                "--initial-cluster", listed, *self.cluster.options]

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.arguments(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)

    def kill9(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self):
        """Asks it to end; returns its exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process = None
        return code

    def client(self, timeout_s=10):
        return Client(self.client_port, timeout_s, self.host)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def leads(self):
        if self.process is None:
            return False
        client = self.client(2)
        try:
            status = client.status()
            return status.get("leader", "0") == status["header"]["member_id"]
        except (OSError, http.client.HTTPException, Refused):
            return False
        finally:
            client.close()


class Cluster:
    """Use as a context: members are stopped by id and the folder goes at its end."""

    def __init__(self, n=1, options=(), parent=None):
        self.options = list(options)
        self.folder = tempfile.mkdtemp(prefix="decree-it-", dir=parent)
        ports = free_ports(2 * n)
        self.members = []
        for i in range(n):
            self.members.append(Member(self, f"m{i + 1}", ports[2 * i], ports[2 * i + 1]))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        codes = [m.stop() for m in self.members]
        if exc[0] is not None:
            for m in self.members:
                if os.path.exists(m.log_path):
                    print(f"--- {m.name}\n" + m.log()[-4000:])
        shutil.rmtree(self.folder, ignore_errors=True)
        if exc[0] is None:
            wrong = [(m.name, c) for m, c in zip(self.members, codes) if c not in (0, None)]
            assert not wrong, f"members did not end cleanly: {wrong}"

    def start(self, limit_s=20):
        for m in self.members:
            m.start()
        return self.wait_leader(limit_s)

    def wait_leader(self, limit_s=20):
        return until(limit_s, "a leader", lambda: next((m for m in self.members if m.leads()), None))
