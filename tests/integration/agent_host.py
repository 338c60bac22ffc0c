"""One host for tests of the agent: a store, a folder of configuration, and a real decreed-agent.

DECREE_TEST_STORE says which store: decreed (the default) or etcd, whose v3 JSON endpoint is the same.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

from cluster import Client, Refused, b64, free_ports, program, unb64, until

STORE = os.environ.get("DECREE_TEST_STORE", "decreed")


class Store:
    """A single member. It keeps its ports and data over stop and start."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "store")
        self.port, self.peer_port = free_ports(2)
        self.log_path = os.path.join(folder, "store.log")
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        peer = f"http://127.0.0.1:{self.peer_port}"
        command = [program("decreed"), "--role=store"] if STORE == "decreed" else [STORE]
        command += ["--name", "s", "--data-dir", self.folder, "--listen-client-urls", self.url,
                    "--advertise-client-urls", self.url, "--listen-peer-urls", peer,
                    "--initial-advertise-peer-urls", peer, "--initial-cluster", f"s={peer}"]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(20, "the store answers", self.answers)

    def answers(self):
        assert self.process.poll() is None, "the store ended by itself"
        client = Client(self.port, 1)
        try:
            client.range("health")
            return True
        except (OSError, http.client.HTTPException, Refused):
            return False
        finally:
            client.close()

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Proxy:
    """A TCP relay whose connections can be cut, or go silent without being closed."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sockets, self.requests, self.lock = set(), {}, threading.Lock()
        self.refusing, self.silent = False, threading.Event()
        self.silenced = None  # bytes: answers to a request that contains them are held back
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                client.close()
                continue
            with self.lock:
                self.sockets |= {client, server}
            for a, b in ((client, server), (server, client)):
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    def pump(self, source, sink):
        try:
            while data := source.recv(65536):
                with self.lock:
                    if sink not in self.requests:
                        self.requests[sink] = data  # what this server socket was asked first
                    asked = self.requests.get(source, b"")
                    muted = self.silenced is not None and self.silenced in asked
                if not muted and not self.silent.is_set():
                    sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        """Ends all connections and refuses new ones until mend()."""
        self.refusing = True
        with self.lock:
            for s in self.sockets:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                s.close()
            self.sockets.clear()

    def mend(self):
        self.refusing = False

    def close(self):
        self.listener.close()
        self.cut()


class Host:
    """Use as a context: all processes are stopped by id and the folder goes at its end."""

    def __init__(self, store=True):
        self.folder = tempfile.mkdtemp(prefix="decree-agent-")
        self.conf, self.out = os.path.join(self.folder, "conf"), os.path.join(self.folder, "out")
        self.state, self.log_path = os.path.join(self.folder, "state"), os.path.join(self.folder,
                                                                                    "agent.log")
        for path in (os.path.join(self.conf, "conf.d"), os.path.join(self.conf, "templates"),
                     self.out):
            os.makedirs(path)
        self.store = Store(self.folder)
        self.endpoints = self.store.url
        self.agent = self.client = None
        if store:
            self.start_store()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        code = self.stop()
        if self.client is not None:
            self.client.close()
        self.store.stop()
        if exc[0] is not None:
            print(f"--- agent\n{self.log()[-6000:]}")
        shutil.rmtree(self.folder, ignore_errors=True)
        if exc[0] is None:
            assert code in (0, None), f"the agent did not end cleanly: {code}"

    # configuration

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def dest(self, name="app"):
        return os.path.join(self.out, name)

    def write(self, path, text, mode=0o644):
        path = self.path(path)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def resource(self, name="app", template='{{getv "/app/v"}}\n', keys="/app", **more):
        lines = ["[template]", f"src = {name}.tmpl", f"dest = {self.dest(name)}", f"keys = {keys}"]
        lines += [f"{key} = {value}" for key, value in more.items()]
        self.write(f"conf/conf.d/{name}.conf", "\n".join(lines) + "\n")
        self.write(f"conf/templates/{name}.tmpl", template)

    def script(self, name, text):
        return self.write(name, "#!/bin/sh\n" + text, 0o755)

    # processes

    def start_store(self):
        self.store.start()
        if self.client is not None:
            self.client.close()
        self.client = Client(self.store.port)

    def arguments(self, *more):
        return [program("decreed-agent"), "--name", "h1", "--endpoints", self.endpoints,
                "--conf-dir", self.conf, "--state-dir", self.state, *more]

    def start(self, *more):
        """Returns when the agent has begun its work and handles signals."""
        starts = self.log().count("agent starts")
        with open(self.log_path, "ab") as log:
            self.agent = subprocess.Popen(self.arguments(*more), stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log)
        until(10, "the agent starts", lambda: self.log().count("agent starts") > starts)

    def run(self, *more):
        """The agent as a command that ends: exit code and what it printed."""
        done = subprocess.run(self.arguments(*more), stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=60, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def kill9(self):
        self.agent.send_signal(signal.SIGKILL)
        self.agent.wait()
        self.agent = None

    def stop(self):
        if self.agent is None:
            return None
        if self.agent.poll() is None:
            self.agent.send_signal(signal.SIGTERM)
        try:
            code = self.agent.wait(20)
        except subprocess.TimeoutExpired:
            self.agent.kill()
            code = self.agent.wait()
        self.agent = None
        return code

    def hup(self):
        self.agent.send_signal(signal.SIGHUP)

    # what there is

    def put(self, key, value):
        self.client.put(key, value)

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def read(self, path):
        try:
            with open(self.path(path), encoding="utf-8") as f:
                return f.read()
        except FileNotFoundError:
            return None

    def status(self, name="app"):
        kvs = self.client.range(f"_decree/agent/h1/{name}").get("kvs", [])
        return json.loads(unb64(kvs[0]["value"])) if kvs else {}

    def wait_file(self, text, name="app", limit_s=10):
        until(limit_s, f"{name} is {text!r}", lambda: self.read(f"out/{name}") == text)

    def wait_status(self, state, name="app", limit_s=10, also=lambda s: True):
        def there():
            s = self.status(name)
            return s if s.get("state") == state and also(s) else None
        return until(limit_s, f"status of {name} is {state}", there)

    def wait_log(self, text, limit_s=10):
        until(limit_s, f"the log says {text!r}", lambda: text in self.log())
