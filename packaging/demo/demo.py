"""The main job, shown on this machine: three members, three agents, three nginx.

Each step is seen by real HTTP requests to the three nginx; a step that is not seen within its limit
ends the run with exit code 1 and the log that tells why. Everything written is under one folder;
every process started is stopped by its id.
"""

import argparse
import base64
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

HOSTS = ("alpha", "beta", "gamma")
HERE = os.path.dirname(os.path.abspath(__file__))


class Failed(Exception):
    """A step was not seen to work."""


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def until(limit_s, what, probe, every_s=0.01):
    """Calls probe until it returns something true; names what did not happen otherwise."""
    deadline = time.monotonic() + limit_s
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > deadline:
            raise Failed(f"not seen within {limit_s} s: {what}")
        time.sleep(every_s)


def b64(text):
    return base64.b64encode(text.encode()).decode()


def read_text(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


class Backend:
    """An application server that answers with its own name."""

    def __init__(self, name):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = name.encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Host:
    """One host: a member with its agent (decreed) and an nginx whose config the agent renders."""

    def __init__(self, demo, name, client_port, peer_port, nginx_port):
        self.demo, self.name = demo, name
        self.client_port, self.peer_port, self.nginx_port = client_port, peer_port, nginx_port
        self.folder = os.path.join(demo.folder, name)
        self.conf = os.path.join(self.folder, "nginx", "nginx.conf")
        self.log_path = os.path.join(self.folder, "decreed.log")
        self.decreed = self.nginx = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.client_port}"

    def prepare(self):
        nginx = os.path.join(self.folder, "nginx")
        os.makedirs(os.path.join(nginx, "tmp"))
        for sub in ("conf.d", "templates"):
            os.makedirs(os.path.join(self.folder, "agent", sub))
        for source, dest in (("nginx.conf.tmpl", "templates/nginx.conf.tmpl"),
                             ("nginx.resource", "conf.d/nginx.conf")):
            text = read_text(os.path.join(HERE, source))
            text = text.replace("FOLDER", nginx).replace("PORT", str(self.nginx_port))
            with open(os.path.join(self.folder, "agent", dest), "w", encoding="utf-8") as f:
                f.write(text.replace("HOST", self.name))

    def start_decreed(self):
        cluster = ",".join(f"{h.name}=http://127.0.0.1:{h.peer_port}" for h in self.demo.hosts)
        peer = f"http://127.0.0.1:{self.peer_port}"
        with open(self.log_path, "ab") as log:
            self.decreed = subprocess.Popen(
                [self.demo.program("decreed"), "--name", self.name,
                 "--data-dir", os.path.join(self.folder, "data"),
                 "--conf-dir", os.path.join(self.folder, "agent"),
                 "--listen-client-urls", self.url, "--listen-peer-urls", peer,
                 "--initial-cluster", cluster],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def start_nginx(self):
        folder = os.path.dirname(self.conf)
        with open(os.path.join(self.folder, "nginx.log"), "ab") as log:
            self.nginx = subprocess.Popen(
                ["/usr/sbin/nginx", "-p", folder, "-c", self.conf, "-g", "daemon off;"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def kill9(self):
        self.decreed.send_signal(signal.SIGKILL)
        self.decreed.wait()

    def stop(self):
        for process in (self.nginx, self.decreed):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in (self.nginx, self.decreed):
            if process is not None:
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def api(self, path, body, timeout_s=8):
        """One call to this member's JSON door; None when it does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.client_port, timeout=timeout_s)
        try:
            connection.request("POST", path, json.dumps(body))
            response = connection.getresponse()
            return json.loads(response.read()) if response.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def get_page(self, vhost):
        """(body, motd) as this host's nginx answers, None when it does not."""
        connection = http.client.HTTPConnection("127.0.0.1", self.nginx_port, timeout=2)
        try:
            connection.request("GET", "/", headers={"Host": vhost})
            response = connection.getresponse()
            body = response.read().decode()
            return (body, response.getheader("X-Motd")) if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


class Demo:
    def __init__(self, arguments):
        self.folder, self.bin = os.path.abspath(arguments.folder), os.path.abspath(arguments.bin)
        ports = free_ports(3 * len(HOSTS))
        self.hosts = [Host(self, name, *ports[3 * i:3 * i + 3]) for i, name in enumerate(HOSTS)]
        self.backends = [Backend("app-1"), Backend("app-2")]
        self.acknowledged = {}
        self.rows = []

    def program(self, name):
        return os.path.join(self.bin, name)

    @property
    def endpoints(self):
        return ",".join(h.url for h in self.hosts)

    def say(self, text=""):
        print(text, flush=True)

    def put(self, key, value, hosts=None, limit_s=10):
        """Puts through whichever member takes it, as a client with failover does."""
        def attempt():
            for host in hosts or self.hosts:
                if host.api("/v3/kv/put", {"key": b64(key), "value": b64(value)}, 2) is not None:
                    return True
            return False
        until(limit_s, f"a member takes the put of {key}", attempt)
        replied = time.monotonic()
        self.acknowledged[key] = value
        return replied

    def leader(self):
        for host in self.hosts:
            if host.decreed.poll() is None:
                status = host.api("/v3/maintenance/status", {}, 1)
                if status and status.get("leader"):
                    if status["leader"] == status["header"]["member_id"]:
                        return host
        return None

    def agent_status(self):
        result = subprocess.run(
            [self.program("decree"), "--endpoints", self.endpoints, "agent", "status"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, check=False)
        return result.returncode, result.stdout

    def show_status(self):
        code, text = self.agent_status()
        self.say("    $ decree agent status")
        for line in text.rstrip().splitlines():
            self.say("    " + line)
        return code

    def served(self, hosts, vhost, motd, limit_s):
        until(limit_s, f"nginx of {', '.join(h.name for h in hosts)} serves {vhost} with "
              f"X-Motd {motd}",
              lambda: all((h.get_page(vhost) or ("", ""))[1] == motd for h in hosts))

    # ---- the steps ----

    def step_start(self):
        if os.path.exists(self.folder):
            shutil.rmtree(self.folder)
        os.makedirs(self.folder)
        self.say(f"everything this run writes is under {self.folder}")
        for host in self.hosts:
            host.prepare()
            host.start_decreed()
        until(20, "the three members elect a leader", self.leader)
        for host in self.hosts:
            self.say(f"  {host.name:6} member {host.url}  nginx http://127.0.0.1:{host.nginx_port}")

    def step_first_config(self):
        self.say("\n1. an application's upstreams and vhosts go into the store")
        for i, backend in enumerate(self.backends, 1):
            self.put(f"/app/upstreams/web/{i}", backend.address)
        self.put("/app/motd", "hello")
        self.put("/app/vhosts/shop.example", '{"upstream": "web"}')
        self.put("/app/vhosts/blog.example", '{"upstream": "web"}')
        started = time.monotonic()
        for host in self.hosts:
            until(20, f"the agent of {host.name} renders {host.conf}",
                  lambda h=host: os.path.exists(h.conf) and "blog.example" in read_text(h.conf))
            host.start_nginx()
        for vhost in ("shop.example", "blog.example"):
            self.served(self.hosts, vhost, "hello", 10)
        self.say(f"   all three nginx serve shop.example and blog.example "
                 f"({(time.monotonic() - started) * 1000:.0f} ms)")

    def watch_change(self, hosts, key, value, marker):
        """Puts, then per host the ms from the reply to the renamed file and to nginx's answer."""
        inode = {h: os.stat(h.conf).st_ino for h in hosts}
        replied = self.put(key, value, hosts)
        renamed, answered = {}, {}
        deadline = time.monotonic() + 10
        while len(answered) < len(hosts):
            for host in hosts:
                if host not in renamed:
                    if os.stat(host.conf).st_ino != inode[host]:
                        renamed[host] = (time.monotonic() - replied) * 1000
                elif host not in answered:
                    if (host.get_page("shop.example") or ("", ""))[1] == marker:
                        answered[host] = (time.monotonic() - replied) * 1000
            if time.monotonic() > deadline:
                raise Failed(f"not all hosts serve the change of {key} within 10 s")
        for host in hosts:
            self.rows.append((f"{key} = {value}", host.name, renamed[host], answered[host]))
        return renamed, answered

    def step_change(self):
        self.say("\n2. one value changes: ms after the put's reply")
        for round_number in range(3):
            motd = f"round {round_number}"
            renamed, answered = self.watch_change(self.hosts, "/app/motd", motd, motd)
            self.say("   " + "   ".join(
                f"{h.name}: file {renamed[h]:.1f}, nginx {answered[h]:.1f}" for h in self.hosts))

    def step_broken(self):
        self.say("\n3. a broken value comes: nginx -t refuses the staged file on every host")
        before = {h: (read_text(h.conf), os.stat(h.conf).st_ino) for h in self.hosts}
        self.put("/app/upstreams/web/1", "127.0.0.1:not-a-port")

        def refused_everywhere():
            code, text = self.agent_status()
            return code == 1 and text.count("check-failed") >= len(self.hosts)
        until(10, "decree agent status reports check-failed on every host", refused_everywhere, 0.1)
        self.show_status()
        for host in self.hosts:
            if (read_text(host.conf), os.stat(host.conf).st_ino) != before[host]:
                raise Failed(f"{host.conf} changed although its check failed")
        self.served(self.hosts, "shop.example", "round 2", 5)
        self.say("   the live files are untouched and nginx serves as before; now the correction")
        self.put("/app/upstreams/web/1", self.backends[0].address)
        self.put("/app/motd", "corrected")
        self.served(self.hosts, "shop.example", "corrected", 10)
        until(10, "decree agent status is ok again", lambda: self.agent_status()[0] == 0, 0.1)
        self.say("   corrected, rendered, reloaded; decree agent status is ok on every host")

    def step_leader(self):
        victim = until(10, "a leader", self.leader)
        others = [h for h in self.hosts if h is not victim]
        self.say(f"\n4. the leader, {victim.name}, is killed with -9")
        killed = time.monotonic()
        victim.kill9()
        self.put("/app/motd", "without the old leader", others)
        took_put = time.monotonic() - killed
        self.served(others, "shop.example", "without the old leader", 5)
        took = time.monotonic() - killed
        self.say(f"   next write taken after {took_put:.2f} s, served by "
                 f"{' and '.join(h.name for h in others)} after {took:.2f} s")
        if took > 2:
            raise Failed(f"the change took {took:.2f} s to reach the two others, more than 2 s")
        restarted = time.monotonic()
        victim.start_decreed()
        self.served([victim], "shop.example", "without the old leader", 15)
        self.say(f"   {victim.name} is back, caught up and rendered what it missed "
                 f"({time.monotonic() - restarted:.2f} s)")

    def step_all_down(self):
        self.say("\n5. all three are killed with -9 in the middle of writes and started again")
        stop = threading.Event()

        def write_load():
            n = 0
            while not stop.is_set():
                n += 1
                key, value = f"/load/{n}", str(n)
                for host in self.hosts:
                    if host.api("/v3/kv/put", {"key": b64(key), "value": b64(value)}, 2):
                        self.acknowledged[key] = value
                        break
        writer = threading.Thread(target=write_load)
        writer.start()
        before = len(self.acknowledged)
        until(10, "300 writes are acknowledged", lambda: len(self.acknowledged) - before > 300)
        for host in self.hosts:
            host.kill9()
        stop.set()
        writer.join()
        started = time.monotonic()
        for host in self.hosts:
            host.start_decreed()
        until(20, "a leader after the restart", self.leader)
        for host in self.hosts:
            until(20, f"{host.name} answers with what was acknowledged", lambda h=host: not
                  self.missing(h), 0.1)
        self.put("/app/motd", "after the blackout")
        self.served(self.hosts, "shop.example", "after the blackout", 10)
        self.say(f"   {len(self.acknowledged)} acknowledged values, all there on all three members "
                 f"({time.monotonic() - started:.2f} s)")

    def missing(self, host):
        answer = host.api("/v3/kv/range", {"key": b64("/"), "range_end": b64("0")}, 5)
        if answer is None:
            return ["no answer"]
        held = {base64.b64decode(kv["key"]).decode(): base64.b64decode(kv.get("value", "")).decode()
                for kv in answer.get("kvs", [])}
        return [key for key, value in self.acknowledged.items() if held.get(key) != value]

    def finish(self):
        self.say("\n   change                      host    file renamed   nginx answers   (ms after "
                 "the put's reply)")
        for change, host, renamed, answered in self.rows:
            self.say(f"   {change:27} {host:6} {renamed:12.1f} {answered:15.1f}")
        self.say("\nWhat to try next:")
        decree = f"{self.program('decree')} --endpoints {self.endpoints}"
        for line in (f"{decree} put /app/motd 'my own'",
                     f"{decree} agent status",
                     f"{decree} watch --prefix /app/",
                     f"{decree} status",
                     f"curl -si -H 'Host: shop.example' http://127.0.0.1:{self.hosts[0].nginx_port}/",
                     f"ETCDCTL_API=3 etcdctl --endpoints {self.endpoints} get --prefix /app/"):
            self.say("  " + line)

    def run(self, once):
        try:
            self.step_start()
            self.step_first_config()
            self.step_change()
            self.step_broken()
            self.step_leader()
            self.step_all_down()
            self.finish()
            if not once:
                self.say("\nThe cluster goes on until Ctrl-C.")
                signal.pause()
            return 0
        except Failed as e:
            self.say(f"\nFAILED: {e}")
            for host in self.hosts:
                if os.path.exists(host.log_path):
                    lines = read_text(host.log_path).splitlines()[-12:]
                    self.say(f"--- the end of {host.log_path}\n" + "\n".join(lines))
            return 1
        except KeyboardInterrupt:
            self.say("\nstopping …")
            return 0 if not once else 130
        finally:
            for host in self.hosts:
                host.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True, help="folder of the built programs")
    parser.add_argument("--folder", required=True, help="where to write; what is there is removed")
    parser.add_argument("--once", action="store_true", help="exit when all steps have been shown")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    sys.exit(Demo(arguments).run(arguments.once))


if __name__ == "__main__":
    main()
