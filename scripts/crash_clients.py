"""What scripts/crash-store runs: the controller as a process, clients that
write to it, and one that watches a kind through all of its deaths."""

import collections
import http.client
import json
import os
import random
import signal
import subprocess
import threading
import time

SERVICES = "/api/v1/namespaces/default/services"
MAPS = "/api/v1/namespaces/default/configmaps"
PATHS = (SERVICES, MAPS)
LIMIT = 60  # seconds, for whatever should not take one
GONE = None
# With some of this in every other ConfigMap the file is checkpointed often. What
# is larger than 64 KiB would not be kept in the history.
FILLER = "x" * 60_000


class Broken(Exception):
    """Something that was promised does not hold."""


class Controller:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.port, self.process = 0, None
        self.kubeconfig = folder / "kubeconfig"
        self.took = 0.1  # seconds from its start to ready

    def spawn(self):
        self.kubeconfig.unlink(missing_ok=True)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "--store", self.folder / "store.db",
                 "--listen", f"127.0.0.1:{self.port}", "--log-level", "warn",
                 "--backup-interval", "0", "--backup-keep", "5",
                 "--write-kubeconfig", self.kubeconfig], stderr=log)

    def ready(self):
        return self.kubeconfig.exists()

    def start(self):
        began = time.monotonic()
        self.spawn()
        while not self.ready():
            late = time.monotonic() > began + LIMIT
            if self.process.poll() is not None or late:
                raise Broken("the controller does not start: " +
                             (self.folder / "log").read_text()[-2000:])
            time.sleep(0.002)
        self.took = time.monotonic() - began
        if self.port == 0:
            text = self.kubeconfig.read_text()
            self.port = int(text.split("127.0.0.1:")[1].split()[0].strip('"'))

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restore(self, backup):
        subprocess.run([self.binary, "--store", self.folder / "store.db",
                        "--restore", backup], check=True,
                       stdout=subprocess.DEVNULL)

    def backups(self, pattern="*.db"):
        return set((self.folder / "store.db.backups").glob(pattern))

    def ask(self, method, path, body=None):
        """(status, object)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port,
                                                timeout=LIMIT)
        try:
            connection.request(method, path,
                               json.dumps(body) if body else None,
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def list(self, path):
        """(resourceVersion, items)"""
        status, answer = self.ask("GET", path)
        if status != 200:
            raise Broken(f"{path}: answer {status}")
        return int(answer["metadata"]["resourceVersion"]), answer["items"]


def name_of(thing):
    return thing["metadata"]["name"]


def version_of(thing):
    return int(thing["metadata"]["resourceVersion"])


def what(thing):
    """What of an object is compared."""
    if "spec" in thing:
        spec = thing["spec"]
        return spec["clusterIP"], spec["ports"][0].get("nodePort")
    return thing["data"].get("n")


def new(path, name, state="0"):
    if path == MAPS:
        data = {"n": state}
        if int(state) % 2 == 1:
            data["filler"] = FILLER
        return {"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": name}, "data": data}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "NodePort", "ports": [{"port": 80}]}}


class Writer(threading.Thread):
    """One client with names of its own. `acknowledged` is the last state that
    was answered, `wanted` those that were asked for since; `owed` are the
    events of acknowledged writes."""

    def __init__(self, number, controller, seed, before=None):
        super().__init__(daemon=True)
        self.controller = controller
        self.random = random.Random(seed)
        self.names = [f"w{number}-{i}" for i in range(6)]
        # Both by (path, name).
        self.acknowledged = before.acknowledged if before else {}
        self.uids = before.uids if before else {}
        self.wanted = collections.defaultdict(list)
        self.owed = set()  # (path, resourceVersion), (path, "DELETED", uid)
        self.writes = 0
        self.stop = False
        self.broken = None

    def run(self):
        while not self.stop:
            path = self.random.choice(PATHS)
            name = self.random.choice(self.names)
            try:
                self.change(path, name)
            except (OSError, http.client.HTTPException, ValueError):
                return  # killed
            except Broken as error:
                self.broken = error
                return

    def change(self, path, name):
        key, there = (path, name), self.acknowledged.get((path, name), GONE)
        if there is GONE:
            self.wanted[key].append("any" if path == SERVICES else "0")
            answer = self.do(201, "POST", path, new(path, name))
            state = what(answer)
            self.uids[key] = answer["metadata"]["uid"]
            self.owed.add((path, version_of(answer)))
        elif path == MAPS and self.random.random() < 0.8:
            state = str(int(there) + 1)
            self.wanted[key].append(state)
            answer = self.do(200, "PUT", f"{path}/{name}",
                             new(path, name, state))
            self.owed.add((path, version_of(answer)))
        else:
            state = GONE
            self.wanted[key].append(GONE)
            self.do(200, "DELETE", f"{path}/{name}")
            self.owed.add((path, "DELETED", self.uids.pop(key)))
        self.acknowledged[key] = state
        del self.wanted[key]
        self.writes += 1

    def do(self, expected, method, path, body=None):
        status, answer = self.controller.ask(method, path, body)
        if status != expected:
            raise Broken(f"{method} {path}: answer {status}")
        return answer


class Watcher(threading.Thread):
    """Follows one kind for as long as the test runs."""

    def __init__(self, controller, path):
        super().__init__(daemon=True)
        self.controller, self.path = controller, path
        self.objects, self.version = {}, 0
        self.seen = set()  # as Writer.owed
        self.resumed = self.listed = 0
        self.broken = None

    def run(self):
        while True:
            try:
                if self.version == 0:
                    self.list()
                self.follow()
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.005)
            except Broken as error:
                self.broken = error
                return

    def list(self):
        try:
            version, items = self.controller.list(self.path)
        except Broken as error:
            raise OSError(error) from error
        self.objects = {name_of(o): what(o) for o in items}
        self.version = version
        self.listed += 1

    def follow(self):
        connection = http.client.HTTPConnection("127.0.0.1",
                                                self.controller.port,
                                                timeout=LIMIT)
        try:
            connection.request("GET", f"{self.path}?watch=true"
                               f"&resourceVersion={self.version}")
            answer = connection.getresponse()
            if answer.status == 410:
                self.version = 0
                return
            self.resumed += 1
            for line in answer:
                self.apply(json.loads(line))
                if self.version == 0:
                    return
        finally:
            connection.close()

    def apply(self, event):
        thing = event["object"]
        if event["type"] == "ERROR":
            self.version = 0
            return
        version, name = version_of(thing), name_of(thing)
        if version <= self.version:
            raise Broken(f"the watch went from {self.version} to {version}")
        if (event["type"] == "ADDED") == (name in self.objects):
            raise Broken(f"{event['type']} of {name} at {version}, which is "
                         f"{self.objects.get(name, 'not there')}")
        self.version = version
        if event["type"] == "DELETED":
            self.objects.pop(name)
            self.seen.add((self.path, "DELETED", thing["metadata"]["uid"]))
        else:
            self.objects[name] = what(thing)
            self.seen.add((self.path, version))
