#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the API server, for kubelet_test only: objects in memory,
list, watch, create, status patches, graceful deletion of pods. It checks
nothing, so that a test can put any pod on the node without a scheduler.

usage: kubelet_api.py PORT-FILE
"""

import copy
import http.server
import json
import os
import re
import sys
import threading
import time
import urllib.parse
import uuid

PATH = re.compile(r"/apis?/(?:[^/]+/)?v1(?:/namespaces/([^/]+))?/([a-z]+)"
                  r"(?:/([^/]+))?(?:/([a-z]+))?$")
changed = threading.Condition()
objects = {}  # (namespace, plural, name) -> object
events = []   # (revision, type, key, object)


def store(key, obj, kind):
    revision = len(events) + 1
    obj["metadata"]["resourceVersion"] = str(revision)
    if kind == "DELETED":
        objects.pop(key, None)
    else:
        objects[key] = obj
    events.append((revision, kind, key, copy.deepcopy(obj)))
    changed.notify_all()


def merge(target, patch):
    """A strategic merge, as far as a kubelet's status patches need one."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif key == "conditions":
            for condition in value:
                same = [c for c in target.setdefault(key, [])
                        if c["type"] == condition["type"]]
                if not same:
                    target[key].append({})
                    same = target[key][-1:]
                merge(same[0], condition)
        elif key in ("podIPs", "hostIPs"):
            target[key] = [v for v in value if "$patch" not in v]
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, code, obj):
        body = json.dumps(obj).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, code, reason):
        self.answer(code, {"kind": "Status", "apiVersion": "v1",
                           "status": "Failure", "reason": reason,
                           "message": reason, "code": code})

    def parse(self):
        url = urllib.parse.urlparse(self.path)
        query = {k: v[0] for k, v in urllib.parse.parse_qs(url.query).items()}
        ns, plural, name, _ = PATH.match(url.path).groups()
        return ns or "", plural, name, query

    def body(self):
        size = int(self.headers.get("Content-Length") or 0)
        return json.loads(self.rfile.read(size) or b"{}")

    def selected(self, key, obj, ns, plural, query):
        node = query.get("fieldSelector", "")
        node = node.removeprefix("spec.nodeName=")
        return (key[1] == plural and ns in ("", key[0]) and
                (not node or obj.get("spec", {}).get("nodeName") == node))

    def do_GET(self):
        ns, plural, name, query = self.parse()
        with changed:
            if name:
                obj = objects.get((ns, plural, name))
                return self.answer(200, obj) if obj else self.refuse(
                    404, "NotFound")
            if "watch" not in query:
                return self.answer(200, {
                    "kind": "List", "apiVersion": "v1",
                    "metadata": {"resourceVersion": str(len(events))},
                    "items": [o for k, o in objects.items()
                              if self.selected(k, o, ns, plural, query)]})
        self.watch(ns, plural, query)

    def watch(self, ns, plural, query):
        seen = int(query.get("resourceVersion", 0))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while True:
                with changed:
                    changed.wait_for(lambda: len(events) > seen)
                    news, seen = events[seen:], len(events)
                for _, kind, key, obj in news:
                    if not self.selected(key, obj, ns, plural, query):
                        continue
                    line = json.dumps({"type": kind, "object": obj}) + "\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line),
                                                        line.encode()))
                    self.wfile.flush()
        except OSError:
            self.close_connection = True

    def grant_token(self, name, spec):
        """Lives for two seconds, whatever was asked for: it is renewed."""
        until = time.gmtime(time.time() + 2)
        bound = spec["boundObjectRef"]["name"]
        self.answer(201, {"kind": "TokenRequest", "status": {
            "token": f"{name} {bound} {spec.get('audiences')} {uuid.uuid4()}",
            "expirationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ",
                                                 until)}})

    def do_POST(self):
        ns, plural, name, _ = self.parse()
        obj = self.body()
        if plural == "serviceaccounts" and name:
            return self.grant_token(name, obj["spec"])
        meta = obj["metadata"]
        with changed:
            key = (ns, plural, meta["name"])
            if key in objects:
                return self.refuse(409, "AlreadyExists")
            meta["uid"] = str(uuid.uuid4())
            if ns:
                meta["namespace"] = ns
            store(key, obj, "ADDED")
            self.answer(201, obj)

    def do_PATCH(self):
        ns, plural, name, _ = self.parse()
        patch = self.body()
        with changed:
            key = (ns, plural, name)
            if key not in objects:
                return self.refuse(404, "NotFound")
            obj = copy.deepcopy(objects[key])
            merge(obj, patch)
            store(key, obj, "MODIFIED")
            self.answer(200, obj)

    def do_DELETE(self):
        ns, plural, name, _ = self.parse()
        options = self.body()
        with changed:
            key = (ns, plural, name)
            if key not in objects:
                return self.refuse(404, "NotFound")
            obj = copy.deepcopy(objects[key])
            grace = 0
            if plural == "pods":
                grace = options.get("gracePeriodSeconds", obj["spec"].get(
                    "terminationGracePeriodSeconds", 30))
            if grace == 0:
                store(key, obj, "DELETED")
            else:
                when = time.gmtime(time.time() + grace)
                obj["metadata"]["deletionTimestamp"] = time.strftime(
                    "%Y-%m-%dT%H:%M:%SZ", when)
                obj["metadata"]["deletionGracePeriodSeconds"] = grace
                store(key, obj, "MODIFIED")
            self.answer(200, obj)


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with open(sys.argv[1] + ".tmp", "w", encoding="utf-8") as file:
        file.write(str(server.server_port))
    os.rename(sys.argv[1] + ".tmp", sys.argv[1])
    server.serve_forever()


if __name__ == "__main__":
    main()
