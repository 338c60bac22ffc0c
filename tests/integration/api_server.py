"""The two sides of the tests of the doors: Debian's etcd, and ours. Ours is fake_server (the doors on
a store in memory) unless DECREE_API_ENDPOINT=HOST:PORT names a server that runs already, which must
be empty."""

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile

from cluster import free_ports, program, until


class Server:
    """A process that serves on port."""

    def __init__(self, arguments, port, log_path, env=None):
        self.port = port
        self.log = open(log_path, "ab")
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, env={**os.environ, **(env or {})})

    @property
    def pid(self):
        return self.process.pid

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server has ended with {self.process.returncode}")
        try:
            return call(self.port, "GET", "/health")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def wait(self):
        until(20, "the server answers", self.answers)
        return self

    def stop(self):
        """Returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.log.close()
        return code


class Given:
    """A server that somebody else runs."""

    def __init__(self, address):
        self.port = int(address.rpartition(":")[2])
        self.url = f"http://{address}"

    @staticmethod
    def stop():
        return 0


def ours(folder, *urls, env=None):
    given = os.environ.get("DECREE_API_ENDPOINT")
    if given and not urls:
        return Given(given)
    port = free_ports(1)[0]
    arguments = [program("fake_server"), f"http://127.0.0.1:{port}", *urls]
    # What has three keys or more comes in parts.
    env = {"FAKE_PART_KVS": "2", **(env or {})}
    return Server(arguments, port, os.path.join(folder, "ours.log"), env).wait()


def etcd(folder):
    port, peer_port = free_ports(2)
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    arguments = ["etcd", "--data-dir", os.path.join(folder, "etcd"), "--logger=zap",
                 "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                 "--initial-cluster", f"default={peer}"]
    return Server(arguments, port, os.path.join(folder, "etcd.log")).wait()


def b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def folder():
    return tempfile.mkdtemp(prefix="decree-api-")


def remove(path):
    shutil.rmtree(path, ignore_errors=True)


def call(port, method, path, body=None, headers=None, timeout=10):
    """(status, headers, text) of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def post(port, path, body, **more):
    """(status, object) of one JSON call."""
    text = body if isinstance(body, str) else json.dumps(body)
    status, _, answer = call(port, "POST", path, text, {"Content-Type": "application/json"}, **more)
    return status, json.loads(answer)


class Stream:
    """A streaming JSON call: one object a line."""

    def __init__(self, port, path, body, timeout=5):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self.connection.request("POST", path, body if isinstance(body, str) else json.dumps(body))
        self.answer = None

    def line(self):
        """The next object; None at the end."""
        if self.answer is None:
            self.answer = self.connection.getresponse()
        text = self.answer.readline()
        return json.loads(text) if text else None

    def silent(self, seconds):
        """True when nothing comes meanwhile."""
        self.connection.sock.settimeout(seconds)
        try:
            return self.line() is None
        except (TimeoutError, socket.timeout):
            return True

    def close(self):
        self.connection.close()
