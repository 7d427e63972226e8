# SPDX-License-Identifier: Apache-2.0
"""A fairlead-controller of its own, and stand-ins for four nodes.

The recordings were made with a script in the place of kubelets: it renewed
leases, wrote the status of nodes and pods, wrote the kubelet's events and
removed terminating pods. NodeScript is the same for ours. A pod template's
annotation rec/mode says what becomes of the pod's containers.
"""

import http.client
import json
import pathlib
import socket
import ssl
import subprocess
import threading
import time


ADVERTISED = "198.51.100.1"  # as recorded


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Api:
    """Requests to one server. Any thread; a connection a request. `tls`: the
    file of the authority that the server has to be of."""

    def __init__(self, port, agent="conformance/1.0", tls=None):
        self.port, self.agent = port, agent
        self.tls = tls and ssl.create_default_context(cafile=tls)

    def _connection(self, timeout):
        if self.tls:
            return http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=timeout, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port,
                                          timeout=timeout)

    def send(self, method, path, headers=None, body=b"", timeout=15):
        """(status, headers in lower case, body)"""
        connection = self._connection(timeout)
        try:
            sent = {"user-agent": self.agent, "accept-encoding": "identity"}
            sent.update(headers or {})
            connection.request(method, path, body or None, sent)
            answer = connection.getresponse()
            return (answer.status, {k.lower(): v for k, v in
                                    answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def watch(self, path, headers, seconds, enough):
        """As much as arrives in that time, or until enough(body)."""
        connection = self._connection(seconds)
        body = b""
        deadline = time.monotonic() + seconds
        try:
            sent = {"user-agent": self.agent, "accept-encoding": "identity"}
            sent.update(headers)
            connection.request("GET", path, headers=sent)
            answer = connection.getresponse()
            got = {k.lower(): v for k, v in answer.getheaders()}
            while time.monotonic() < deadline and not enough(body):
                piece = answer.read1(65536)
                if not piece:
                    break
                body += piece
            return answer.status, got, body
        except (TimeoutError, socket.timeout):
            return answer.status, got, body
        finally:
            connection.close()

    def json(self, method, path, body=None, kind="application/json"):
        """The answer's object; None when the answer is an error."""
        data = json.dumps(body).encode() if body is not None else b""
        headers = {"Accept": "application/json"}
        if data:
            headers["Content-Type"] = kind
        status, _, answer = self.send(method, path, headers, data)
        if status >= 300:
            return None
        return json.loads(answer) if answer else {}

    def items(self, path):
        answer = self.json("GET", path)
        return (answer or {}).get("items") or []


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Controller:
    """Started fresh in a folder; ends with close()."""

    def __init__(self, program, folder):
        self.folder = pathlib.Path(folder)
        kubeconfig = self.folder / "kubeconfig"
        self.log = open(self.folder / "controller.log", "wb")
        tls_port = free_port()
        self.process = subprocess.Popen(
            # With TLS too: pods have their account's token then, as recorded.
            [program, "--listen", "127.0.0.1:0", "--listen",
             f"https://127.0.0.1:{tls_port}", "--advertise-address",
             ADVERTISED, "--store",
             str(self.folder / "store.db"), "--service-cidr",
             "10.96.0.0/12,fd00:10:96::/108", "--cluster-cidr",
             "10.244.0.0/16,fd00:10:244::/56", "--write-kubeconfig",
             str(kubeconfig)], stdout=self.log, stderr=self.log)
        self.kubeconfig = kubeconfig
        deadline = time.monotonic() + 20
        while not (kubeconfig.exists() and "server:" in
                   kubeconfig.read_text()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("fairlead-controller did not start: " + (
                    self.folder / "controller.log").read_text()[-2000:])
            time.sleep(0.02)
        for line in kubeconfig.read_text().splitlines():
            if "server:" in line:
                self.port = int(line.rstrip('"/ ').rsplit(":", 1)[1])
        self.api = Api(self.port)
        self.tls_api = Api(tls_port, tls=self.folder / "pki" / "ca.crt")

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


NODES = {"node-1": "zone-b", "node-2": "zone-a", "node-3": "zone-b",
         "node-4": "zone-a"}
NOT_READY = {"node-4"}
STRATEGIC = "application/strategic-merge-patch+json"


def node_object(name):
    number = name[-1]
    return {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "beta.kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": NODES[name]}},
        "spec": {"podCIDR": f"10.244.{number}.0/24",
                 "podCIDRs": [f"10.244.{number}.0/24",
                              f"fd00:10:244:{number}::/64"]}}


def node_status(name, ready_now):
    at = now()

    def condition(kind, status, reason, message):
        return {"type": kind, "status": status, "reason": reason,
                "message": message, "lastHeartbeatTime": at,
                "lastTransitionTime": at}
    ready = condition("Ready", "True", "KubeletReady",
                      "kubelet is posting ready status")
    if not ready_now:
        ready = condition(
            "Ready", "False", "KubeletNotReady",
            "container runtime network not ready: NetworkReady=false "
            "reason:NetworkPluginNotReady message:Network plugin returns "
            "error: cni plugin not initialized")
    number = int(name[-1])
    return {
        "addresses": [{"type": "InternalIP", "address": f"10.0.0.1{number}"},
                      {"type": "Hostname", "address": name}],
        "capacity": {"cpu": "4", "ephemeral-storage": "102624184Ki",
                     "hugepages-2Mi": "0", "memory": "8145316Ki",
                     "pods": "110"},
        "allocatable": {"cpu": "3900m", "ephemeral-storage": "94578447906",
                        "hugepages-2Mi": "0", "memory": "8042916Ki",
                        "pods": "110"},
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory",
                      "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure",
                      "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID",
                      "kubelet has sufficient PID available"), ready],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "images": [{"names": ["registry.example/web:1"],
                    "sizeBytes": 1048576}],
        "nodeInfo": {
            "architecture": "amd64", "kernelVersion": "6.12.0",
            "bootID": f"11111111-0000-0000-0000-{number:012d}",
            "containerRuntimeVersion": "containerd://2.1.0",
            "kubeProxyVersion": "", "kubeletVersion": "v1.36.2",
            "machineID": f"{number:032d}", "operatingSystem": "linux",
            "osImage": "Example Linux 1",
            "systemUUID": f"00000000-0000-0000-0000-{number:012d}"}}


def container_state(mode, at):
    """(state, ready, phase)"""
    if mode == "completed":
        return {"terminated": {"exitCode": 0, "reason": "Completed",
                               "startedAt": at, "finishedAt": at}}, \
            False, "Succeeded"
    if mode == "imagepull":
        return {"waiting": {"reason": "ImagePullBackOff", "message":
                            "Back-off pulling image"}}, False, "Pending"
    return {"running": {"startedAt": at}}, True, "Running"


class Leases:
    """Makes the leases of nodes and renews them from a thread of its own until
    close(): without them the controller takes the nodes for dead."""

    EVERY = 10.0  # seconds

    def __init__(self, port, names=tuple(NODES)):
        self.api = Api(port, "kubelet/v1.36.2")
        self.names = names
        self.stop = threading.Event()
        for name in names:
            self.api.json("POST", self._folder(), {
                "metadata": {"name": name}, "spec": {
                    "holderIdentity": name, "leaseDurationSeconds": 40,
                    "renewTime": self._now()}})
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def close(self):
        self.stop.set()
        self.thread.join()

    @staticmethod
    def _folder():
        return ("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/"
                "leases")

    @staticmethod
    def _now():
        return now().replace("Z", ".000000Z")

    def _run(self):
        while not self.stop.wait(self.EVERY):
            for name in self.names:
                try:
                    self.api.json("PATCH", f"{self._folder()}/{name}", {
                        "spec": {"renewTime": self._now()}},
                        "application/merge-patch+json")
                except (OSError, http.client.HTTPException):
                    continue  # the controller ends before we do


class NodeScript:
    """Plays the kubelets of NODES from a thread of its own until close()."""

    def __init__(self, port):
        self.api = Api(port, "kubelet/v1.36.2")
        self.created, self.started = set(), set()
        self.addresses, self.stopped = {}, {}
        self.written = 0
        self.stop = threading.Event()
        for name in NODES:
            self._join(name)
        # Their first taint, which every new node has, had gone before one of
        # them failed: the recorded ones have the time of a later taint.
        wait_for(lambda: not any(
            node["spec"].get("taints") for node in self.api.items(
                "/api/v1/nodes")))
        for name in NOT_READY:
            self._write_status(name, False)
        self.leases = Leases(port)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def close(self):
        self.leases.close()
        self.stop.set()
        self.thread.join()

    def _join(self, name):
        self.api.json("POST", "/api/v1/nodes", node_object(name))
        self._write_status(name, True)

    def _write_status(self, name, ready):
        self.api.json("PATCH", f"/api/v1/nodes/{name}/status",
                      {"status": node_status(name, ready)}, STRATEGIC)

    def _run(self):
        while not self.stop.wait(0.15):
            try:
                for pod in self.api.items("/api/v1/pods"):
                    if pod.get("spec", {}).get("nodeName") in NODES:
                        self._pod(pod)
            except (OSError, http.client.HTTPException):
                continue  # the controller ends before we do

    def _pod(self, pod):
        meta = pod["metadata"]
        uid = meta["uid"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if "deletionTimestamp" in meta:
            seen = self.stopped.setdefault(uid, time.monotonic())
            if time.monotonic() - seen > 0.3:
                self.api.json("DELETE", path, {
                    "apiVersion": "v1", "kind": "DeleteOptions",
                    "gracePeriodSeconds": 0,
                    "preconditions": {"uid": uid}})
            return
        if uid in self.started:
            return
        node = pod["spec"]["nodeName"]
        if uid not in self.created:
            self.created.add(uid)
            self.api.json("PATCH", path + "/status",
                          {"status": self._created_status(pod, node)},
                          STRATEGIC)
            return
        self.started.add(uid)
        self.addresses[node] = self.addresses.get(node, 2) + 1
        self.api.json("PATCH", path + "/status",
                      {"status": self._pod_status(pod, node)}, STRATEGIC)
        self._events(pod, node)

    def _created_status(self, pod, node):
        at = now()
        waiting = {"waiting": {"reason": "ContainerCreating"}}
        return {
            "phase": "Pending", "startTime": at, "hostIP":
            f"10.0.0.1{node[-1]}",
            "conditions": [
                {"type": kind, "status": status, "lastProbeTime": None,
                 "lastTransitionTime": at} | (
                     {} if status == "True" else
                     {"reason": "ContainersNotReady",
                      "message": "containers with unready status"})
                for kind, status in (("PodReadyToStartContainers", "True"),
                                     ("Initialized", "True"),
                                     ("Ready", "False"),
                                     ("ContainersReady", "False"))],
            "containerStatuses": [
                {"name": container["name"], "image": container["image"],
                 "imageID": "", "lastState": {}, "ready": False,
                 "restartCount": 0, "started": False, "state": waiting}
                for container in pod["spec"]["containers"]]}

    def _pod_status(self, pod, node):
        at = now()
        mode = pod["metadata"].get("annotations", {}).get("rec/mode")
        state, ready, phase = container_state(mode, at)

        def condition(kind, true):
            out = {"type": kind, "status": "True" if true else "False",
                   "lastProbeTime": None, "lastTransitionTime": at}
            if kind in ("Ready", "ContainersReady"):
                if mode == "completed":
                    out["reason"] = "PodCompleted"
                else:
                    out["reason"] = "ContainersNotReady"
                    out["message"] = "containers with unready status"
            return out
        number, address = node[-1], self.addresses[node]
        ips = [f"10.244.{number}.{address}",
               f"fd00:10:244:{number}::{address:x}"]
        suffix = int(pod["metadata"]["uid"].replace("-", "")[:12], 16)
        return {
            "phase": phase, "startTime": at, "hostIP": f"10.0.0.1{number}",
            "hostIPs": [{"ip": f"10.0.0.1{number}"}],
            "podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips],
            "conditions": [condition("PodReadyToStartContainers", True),
                           condition("Initialized", True),
                           condition("Ready", ready),
                           condition("ContainersReady", ready)],
            "containerStatuses": [{
                "name": container["name"], "image": container["image"],
                "imageID": f"registry.example/img@sha256:{i + 1:064d}",
                "containerID": f"containerd://{suffix + i:064x}",
                "lastState": {}, "ready": ready, "restartCount": 0,
                "started": "running" in state,
                # A merge by name: what it was before has to go.
                "state": {"waiting": None} | state}
                for i, container in enumerate(pod["spec"]["containers"])]}

    def _events(self, pod, node):
        meta = pod["metadata"]
        for container in pod["spec"]["containers"]:
            for reason, message in (
                    ("Pulled", f"Container image \"{container['image']}\" "
                               "already present on machine"),
                    ("Created", "Container created"),
                    ("Started", "Container started")):
                self.written += 1
                at = now()
                self.api.json(
                    "POST", f"/api/v1/namespaces/{meta['namespace']}/events",
                    {"metadata": {
                        "name": f"{meta['name']}.{0x18900000 + self.written:x}"
                                "00000000", "namespace": meta["namespace"]},
                     "involvedObject": {
                         "apiVersion": "v1", "kind": "Pod",
                         "name": meta["name"], "namespace": meta["namespace"],
                         "uid": meta["uid"], "fieldPath":
                         f"spec.containers{{{container['name']}}}"},
                     "reason": reason, "message": message, "type": "Normal",
                     "count": 1, "firstTimestamp": at, "lastTimestamp": at,
                     "source": {"component": "kubelet", "host": node}})


def wait_for(what, seconds=30.0):
    """Whether what() came true before that time was over."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _ready(pod):
    return "deletionTimestamp" not in pod["metadata"] and any(
        c["type"] == "Ready" and c["status"] == "True"
        for c in pod.get("status", {}).get("conditions") or [])


def _selected(service, pods):
    """Names of the ready pods that it picks."""
    picked = service["spec"]["selector"].items()
    return {pod["metadata"]["name"] for pod in pods
            if pod["metadata"]["namespace"] ==
            service["metadata"]["namespace"] and _ready(pod) and
            picked <= (pod["metadata"].get("labels") or {}).items()}


def _named(addresses):
    return {each.get("targetRef", {}).get("name") for each in addresses or []}


def _by_service(api, path, key):
    out = {}
    for item in api.items(path):
        meta = item["metadata"]
        out.setdefault((meta["namespace"], key(meta)), []).append(item)
    return out


def endpoints_follow(api):
    """Whether each Service's Endpoints and EndpointSlices have the ready pods
    that its selector picks, and no others: our controllers made them of all
    that was written before."""
    pods = api.items("/api/v1/pods")
    endpoints = _by_service(api, "/api/v1/endpoints", lambda m: m["name"])
    slices = _by_service(
        api, "/apis/discovery.k8s.io/v1/endpointslices?labelSelector="
        "endpointslice.kubernetes.io/managed-by="
        "endpointslice-controller.k8s.io", lambda m: m["labels"].get(
            "kubernetes.io/service-name"))
    for service in api.items("/api/v1/services"):
        meta, spec = service["metadata"], service["spec"]
        if not spec.get("selector") or spec["type"] == "ExternalName" or \
                "deletionTimestamp" in meta:
            continue
        key, wanted = (meta["namespace"], meta["name"]), _selected(service,
                                                                   pods)
        made = endpoints.get(key)
        if not made or wanted != {
                name for subset in made[0].get("subsets") or []
                for name in _named(subset.get("addresses"))}:
            return False
        for family in spec.get("ipFamilies") or []:
            if wanted != {name for each in slices.get(key, [])
                          if each["addressType"] == family
                          for name in _named(
                              e for e in each.get("endpoints") or []
                              if e["conditions"].get("ready"))}:
                return False
    return True


def _gave_up(deployment):
    """Its time is over: it stays as it is."""
    return any(c.get("reason") == "ProgressDeadlineExceeded"
               for c in deployment.get("status", {}).get("conditions") or [])


def settle(api, seconds=30.0):
    """Until nothing is on its way any more, or that long: every Deployment
    observed and complete, every pod that has a node started, none leaving,
    every Service's endpoints written."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        moving = False
        for deployment in api.items("/apis/apps/v1/deployments"):
            spec, status = deployment["spec"], deployment.get("status", {})
            wanted = spec.get("replicas", 1)
            if spec.get("paused") or _gave_up(deployment):
                continue
            moving |= (status.get("observedGeneration") !=
                       deployment["metadata"]["generation"] or
                       status.get("updatedReplicas", 0) != wanted or
                       status.get("replicas", 0) != wanted or
                       status.get("availableReplicas", 0) != wanted)
        for pod in api.items("/api/v1/pods"):
            moving |= "deletionTimestamp" in pod["metadata"]
            moving |= ("nodeName" in pod["spec"] and
                       pod.get("status", {}).get("phase") == "Pending" and
                       "imagepull" not in pod["metadata"].get(
                           "annotations", {}).values())
        if not moving and endpoints_follow(api):
            return True
        time.sleep(0.1)
    return False
