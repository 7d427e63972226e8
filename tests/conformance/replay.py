# SPDX-License-Identifier: Apache-2.0
"""Sends recorded requests to a fresh controller and compares the answers.

Later requests hold what earlier answers gave: uids, resourceVersions, names
that the server completed. So the recorded value and ours are paired wherever
two answers are compared, and each request is rewritten by the pairs.
"""

import json
import re
import tempfile
import threading
import time

import answers
import cluster
import kubectl
import printed
import progress
import protobuf_tree
import reasons
import recordings
import steps
import volatile
from answers import Pairs

# Headers that clients act on.
HEADERS = ("content-type", "warning", "retry-after", "cache-control", "allow",
           "location")
# Not sent again: they belong to the recorded connection.
DROPPED = {"host", "content-length", "connection", "accept-encoding",
           "transfer-encoding", "authorization"}


def send(api, exchange, pairs):
    headers = {key: value for key, value in exchange.request_headers.items()
               if key not in DROPPED or value == _BAD.get(key)}
    path = pairs.rewrite(exchange.path)
    if "if-none-match" in headers:
        for etag, ours in pairs.etags.items():
            headers["if-none-match"] = headers["if-none-match"].replace(
                etag, ours)
    if exchange.pieces or "watch=" in path:
        events = exchange.body.count(b"\n")
        return api.watch(path, headers, exchange.seconds,
                         lambda body: body.count(b"\n") >= events)
    body = exchange.request_body
    if body and not body.startswith(protobuf_tree.MAGIC):
        try:
            body = pairs.rewrite(body.decode()).encode()
        except UnicodeDecodeError:
            pass
    return api.send(exchange.method, path, headers, body)


def served_only(value, served, path):
    """A discovery document without the kinds that ours doesn't have, sorted:
    groups come in another order."""
    if not isinstance(value, dict):
        return value
    out = dict(value)
    group_of = value.get("groupVersion")
    if "resources" in out and group_of:
        out["resources"] = sorted(
            (r for r in out["resources"]
             if (group_of, r["name"]) in served),
            key=lambda r: r["name"])
    for key in ("groups", "items"):
        if key in out and path.startswith("/api"):
            out[key] = [g for g in (served_group(g, served)
                                    for g in out[key]) if g]
            out[key].sort(key=lambda g: json.dumps(g, sort_keys=True))
    return out


def served_group(group, served):
    name = group.get("name", group.get("metadata", {}).get("name", ""))
    versions = []
    for version in group.get("versions", []):
        at = version.get("groupVersion") or (
            f"{name}/{version['version']}" if name else version["version"])
        if not any(each == at for each, _ in served):
            continue
        version = dict(version)
        if "resources" in version:
            version["resources"] = sorted(
                (_with_subresources(r, at, served)
                 for r in version["resources"] if (at, r["resource"]) in
                 served), key=lambda r: r["resource"])
        versions.append(version)
    return dict(group, versions=versions) if versions else None


def _with_subresources(resource, at, served):
    subs = [s for s in resource.get("subresources", [])
            if (at, f"{resource['resource']}/{s['subresource']}") in served]
    rest = {k: v for k, v in resource.items() if k != "subresources"}
    return dict(rest, subresources=subs) if subs else rest


def hold(api, exchange, pairs, served=None, tables=False):
    """Sends one request; lines that say how the answer differs."""
    try:
        status, headers, body = send(api, exchange, pairs)
    except (OSError, cluster.http.client.HTTPException) as error:
        return [f"no answer: {error!r}"]
    out = []
    if status != exchange.status:
        out.append(f"status: {exchange.status} | {status}")
    for name in HEADERS:
        one, other = exchange.headers.get(name), headers.get(name)
        if one != other:
            out.append(f"{name}: {one!r} | {other!r}")
    watch = "watch=" in exchange.path and "stream" not in str(
        exchange.headers.get("content-type"))
    recorded = answers.parse(exchange.body, exchange.headers.get("content-type", ""),
                             watch and exchange.status == 200)
    ours = answers.parse(body, headers.get("content-type", ""),
                         watch and status == 200)
    if progress.gone_already(exchange, status, answers.is_deleted(recorded)):
        return []
    if recorded[0] == ours[0]:
        pairs.learn(recorded[1], ours[1])
    if exchange.method == "HEAD":
        return out
    if tables and all(side[0] == "json" and side[1].get("kind") == "Table"
                      for side in (recorded, ours)):
        one, other = _rows_in_both(recorded[1], ours[1])
        recorded, ours = ("json", one), ("json", other)
    if served is not None and recorded[0] == ours[0] == "json":
        recorded = ("json", served_only(recorded[1], served, exchange.path))
        ours = ("json", served_only(ours[1], served, exchange.path))
    etag, ours_etag = exchange.headers.get("etag"), headers.get("etag")
    if etag and ours_etag:
        pairs.etags[etag.strip('"')] = ours_etag.strip('"')
    elif etag:
        out.append(f"etag: {etag} | absent")
    return out + answers.body(recorded, ours, pairs, exchange.path, served)


# Whose request it was, where the recordings leave that out: without
# credentials, with bad ones, or as a user who has no rights.
_ANONYMOUS, _VIEWER = {}, {"impersonate-user": "viewer"}
_BAD = {"authorization": "Bearer bad"}
CREDENTIALS = {f"unauthorized-and-forbidden/{number}": who
               for number, who in ((1, _ANONYMOUS), (2, _BAD), (3, _VIEWER),
                                   (4, _VIEWER), (6, _ANONYMOUS))}


def server_for(controller, name, exchange):
    """As whom, and by which address, a case's request is sent."""
    who = CREDENTIALS.get(name)
    if who is None:
        return controller.api
    exchange.request_headers.update(who)
    return controller.api if who is _VIEWER else controller.tls_api


def hold_soon(api, exchange, pairs, **how):
    """As hold(). A read is repeated until it is alike, for some seconds: the
    recorder waited for controllers here and there, and kubectl asks again
    until it sees what it waits for."""
    deadline = time.monotonic() + (7 if "later" in exchange.note else 1)
    while True:
        found = hold(api, exchange, pairs, **how)
        if not found or exchange.method != "GET" or "watch=" in \
                exchange.path or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def _discovery(path):
    return re.match(r"/(api|apis|api/v1|apis/[^/]+/v\w+|openapi/.*)(\?|/?$)",
                    path)


def learn_pods_of_nodes(api, exchange, pairs):
    """Which pods are on a node is drawn: those that a list of a node's pods
    names stand for others of ours, wherever they are."""
    if "spec.nodeName" not in exchange.path:
        return
    kind, listed = answers.parse(exchange.body,
                                 exchange.headers.get("content-type", ""))
    recorded = protobuf_tree.names(listed) if kind == "protobuf" else [
        answers._name(i).split("/")[-1] for i in listed.get("items") or []]
    free = {item["metadata"]["name"] for item in api.items("/api/v1/pods")
            if "deletionTimestamp" not in item["metadata"]}
    known = {name: pairs.known.get(name, name) for name in recorded}
    free -= set(known.values())
    for name in recorded:
        if api.json("GET", "/api/v1/namespaces/default/pods/" + known[name]):
            continue
        for other in sorted(free):
            if volatile.blank_text(other) == volatile.blank_text(name):
                pairs.learn_values({name: other})
                free.remove(other)
                break


def _run_all(shell, lines):
    for line in lines:
        shell.run(line)


def replay_commands(options, results, version):
    """kubectl-VERSION/: one controller, the commands in their order."""
    folder = options.recordings / f"kubectl-{version}"
    with tempfile.TemporaryDirectory() as temp:
        controller = cluster.Controller(options.controller, temp)
        nodes = cluster.NodeScript(controller.port)
        pairs = Pairs()
        shell = kubectl.Kubectl(options.recordings / "manifests",
                                controller.kubeconfig, temp, options.kubectl)
        try:
            for command in recordings.commands(folder):
                lines = []
                exchanges = command.exchanges()
                if not exchanges:
                    continue  # only what it printed was recorded
                for line in steps.before(version, command.name):
                    shell.run(line)
                if not any(word in command.line for word in steps.UNSETTLED):
                    cluster.settle(controller.api)
                during = [line for _, line in steps.DURING.get(command.name,
                                                               [])]
                for exchange in exchanges:
                    if exchange.status == 101:
                        continue  # an upgraded stream
                    if _discovery(exchange.path):
                        continue  # held by the parts discovery and openapi
                    if len(exchanges) > 1 and not reasons.is_served(
                            results.served, exchange.path):
                        continue  # one kind of several
                    if printed.UNSERVED_ROW.search(
                            exchange.path.split("/pods/")[-1].split("/")[0]):
                        continue  # a pod of such a kind
                    if user := re.search(r"--as=(\S+)", command.line):
                        # Left out of the recordings with the credentials.
                        exchange.request_headers["impersonate-user"] = user[1]
                    if during and "watch=" in exchange.path:
                        threading.Thread(target=_run_all,
                                         args=(shell, during)).start()
                        during = []
                    learn_pods_of_nodes(controller.api, exchange, pairs)
                    found = hold_soon(controller.api, exchange, pairs)
                    if found:
                        lines.append(f"{exchange.method} {exchange.path}")
                        lines += ["  " + line for line in found]
                results.add(f"replay-{version}", command.name, command.line, lines)
        finally:
            nodes.close()
            controller.close()


def replay_cases(options, results):
    """errors/: each case with its own objects, one controller for all."""
    with tempfile.TemporaryDirectory() as temp:
        controller = cluster.Controller(options.controller, temp)
        nodes = cluster.NodeScript(controller.port)
        try:
            for name, exchanges in recordings.cases(
                    options.recordings / "errors"):
                pairs = Pairs()
                made = {name for exchange in exchanges for name in re.findall(
                    r'"kind": ?"Namespace".*?"name": ?"([^"]+)"',
                    exchange.request_body.decode(errors="replace"))}
                for exchange in exchanges:
                    _namespace(controller.api, exchange.path, made)
                for number, exchange in enumerate(exchanges, 1):
                    if exchange.method == "GET" and "pods" in exchange.path:
                        cluster.settle(controller.api)
                    found = hold_soon(server_for(
                        controller, f"{name}/{number}", exchange), exchange,
                        pairs)
                    results.add("errors", f"{name}/{number}",
                                f"{exchange.method} {exchange.path}"
                                + (f" ({exchange.note})" if exchange.note
                                   else ""), found)
        finally:
            nodes.close()
            controller.close()


def _namespace(api, path, made):
    """The namespace err was there; a case makes others by itself."""
    match = re.search(r"/namespaces/([a-z0-9-]+)/", path)
    if match and match[1] == "err" and match[1] not in made:
        api.json("POST", "/api/v1/namespaces",
                 {"metadata": {"name": match[1]}})


def _rows_in_both(recorded, ours):
    """Two Tables cut to the rows of objects that both have, without the
    objects themselves: those were made by another client."""
    def cut(table, names):
        rows = [{"cells": row["cells"],
                 "conditions": row.get("conditions"),
                 "object": row["object"] and {
                     "kind": row["object"].get("kind"),
                     "fields": sorted(set(row["object"]) - {"status"})}}
                for row in table.get("rows") or []
                if row["cells"][0] in names]
        return dict(table, rows=rows, metadata=sorted(
            set(table.get("metadata", {})) - {"continue",
                                              "remainingItemCount"}))

    def names(table):
        return {row["cells"][0] for row in table.get("rows") or []}
    both = names(recorded) & names(ours)
    return cut(recorded, both), cut(ours, both)


def replay_index(options, results, part):
    with tempfile.TemporaryDirectory() as temp:
        controller = cluster.Controller(options.controller, temp)
        pairs = Pairs()
        leases = None
        try:
            if part == "tables":
                leases = cluster.Leases(controller.port)
                _create_table_objects(options, controller.api)
            for name, exchange in recordings.indexed(
                    options.recordings / part):
                if name.endswith("-objects.json"):
                    continue  # what the Tables were made of
                if name == "deployment-scale-as-table.json":
                    _create_scaled(options, controller.api)
                found = hold_soon(
                    controller.api, exchange, pairs,
                    served=results.served & reasons.RECORDED_KINDS
                    if part == "discovery" else None,
                    tables=part == "tables")
                results.add(part, name,
                            f"{exchange.method} {exchange.path}", found)
        finally:
            if leases:
                leases.close()
            controller.close()


# Plural -> where the objects behind its recorded Table are, and their status.
# Not Deployments and ReplicaSets: our controllers would act on them; the part
# kubectl compares what they make of their own. The one that is asked for its
# Scale is made when all other Tables have been asked for (_create_scaled).
TABLE_OBJECTS = {"nodes": "nodes-objects.json", "pods": "pods-objects.json",
                 "services": "services-includeObject-Object.json",
                 "endpointslices": "endpointslices-objects.json"}


def _table_objects(path):
    answer = json.loads(path.read_text())
    return answer.get("items") or [
        row["object"] for row in answer.get("rows") or []]


def _create_scaled(options, api):
    """The Deployment behind a recorded Scale, with its pods counted."""
    base = "/apis/apps/v1/namespaces/tab/deployments"
    for item in _table_objects(options.recordings / "tables" /
                               "deployments-objects.json"):
        if item["metadata"]["name"] == "ok":
            meta = {k: item["metadata"][k] for k in ("name", "labels")
                    if k in item["metadata"]}
            api.json("POST", base, {"metadata": meta, "spec": item["spec"]})
            cluster.wait_for(lambda: api.json("GET", f"{base}/ok").get(
                "status", {}).get("replicas") == item["spec"]["replicas"])


def _create_table_objects(options, api):
    """The objects whose Tables were recorded, as they were then."""
    api.json("POST", "/api/v1/namespaces", {"metadata": {"name": "tab"}})
    leaving = []
    for plural, name in TABLE_OBJECTS.items():
        version = ("discovery.k8s.io/v1" if plural == "endpointslices"
                   else "v1")
        base = "/api/v1" if version == "v1" else f"/apis/{version}"
        for item in _table_objects(options.recordings / "tables" / name):
            meta = item["metadata"]
            where = f"/namespaces/{meta['namespace']}" if \
                "namespace" in meta else ""
            status = item.get("status")
            sent = dict(item, metadata={
                k: v for k, v in meta.items()
                if k in ("name", "namespace", "labels", "annotations")})
            sent.setdefault("apiVersion", version)
            api.json("POST", f"{base}{where}/{plural}", sent)
            if "deletionTimestamp" in meta:
                leaving.append(f"{base}{where}/{plural}/{meta['name']}")
            if status:
                api.json("PATCH", f"{base}{where}/{plural}/{meta['name']}"
                         "/status", {"status": status},
                         "application/merge-patch+json")
    for path in leaving:
        api.json("DELETE", path)
    # What our controllers make of them: the recorder had waited for it, too.
    cluster.wait_for(lambda: cluster.endpoints_follow(api))
