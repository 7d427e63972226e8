#!/usr/bin/env python3
"""The steps of scripts/demo: each does something, looks at real traffic, and
says whether what should hold does hold."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "docs/examples/web.yaml"
CLUSTER = "demo"
KEEP = "--keep" in sys.argv
# Real clusters wait 40 s and 5 min before they give a silent node up.
GRACE_SECONDS = 5
IMPATIENT = ("--kubelet-flag=--lease-interval=1",
             f"--controller-flag=--node-monitor-grace-period={GRACE_SECONDS}s",
             "--controller-flag=--pod-eviction-timeout=2s")
NODE_IP = {4: "172.30.0.11", 6: "fd00:172:30::11"}
OTHER_NODE_IP = "172.30.0.12"

held, broken = [], []


def run(*argv, check=True, text=None):
    """The standard output of a command."""
    done = subprocess.run(argv, input=text, text=True, capture_output=True)
    if check and done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(argv)}: exit {done.returncode}\n"
            f"{done.stdout}{done.stderr}")
    return done.stdout


def step(title):
    print(f"\n== {title}", flush=True)


def expect(holds, what):
    (held if holds else broken).append(what)
    print(f"   {'ok  ' if holds else 'FAIL'}  {what}", flush=True)


def wait_until(what, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return time.monotonic() - deadline + seconds
        time.sleep(0.05)
    raise RuntimeError(f"timed out after {seconds} s: {what}")


class Kubectl:
    """What a user of Kubernetes types."""

    name = "kubectl"

    def apply(self, text):
        print(run("kubectl", "apply", "-f", "-", text=text), end="")

    def scale(self, replicas):
        print(run("kubectl", "scale", "deployment/web",
                  f"--replicas={replicas}"), end="")

    def label(self, pod, label):
        print(run("kubectl", "label", "pod", pod, label, "--overwrite"),
              end="")

    def delete_now(self, pod):
        print(run("kubectl", "delete", "pod", pod, "--now", "--wait=false"),
              end="")

    def rollout(self):
        print(run("kubectl", "rollout", "status", "deployment/web",
                  "--timeout=90s"), end="")

    def drain(self, node):
        print(run("kubectl", "drain", node, "--timeout=120s"), end="")

    def uncordon(self, node):
        print(run("kubectl", "uncordon", node), end="")

    def show(self, *what):
        print(run("kubectl", "get", *what, "-o", "wide"), end="")


class Fairleadctl:
    """The same without kubectl."""

    name = "fairleadctl"

    def apply(self, text):
        print(run("fairleadctl", "apply", "-f", "-", text=text), end="")

    def scale(self, replicas):
        self.apply(manifest(replicas=replicas))

    def label(self, pod, label):
        key, value = label.split("=")
        self.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {
            "name": pod, "labels": {key: value}}}))

    def delete_now(self, pod):
        print(run("fairleadctl", "delete", "pods", pod,
                  "--grace-period", "1"), end="")

    def rollout(self):
        def done():
            web = get("deployments", "web")
            want = web["spec"]["replicas"]
            status = web["status"]
            return (status.get("observedGeneration", 0) >=
                    web["metadata"]["generation"] and
                    all(status.get(field, 0) == want for field in (
                        "replicas", "updatedReplicas", "availableReplicas")))
        wait_until("rollout", done, 90)

    def show(self, *what):
        print(run("fairleadctl", "get", *what, "-o", "wide"), end="")


def get(*what):
    return json.loads(run("fairleadctl", "get", *what, "-o", "json"))


def manifest(replicas=None, release=None):
    text = MANIFEST.read_text()
    if replicas is not None:
        text = text.replace("replicas: 3", f"replicas: {replicas}")
    if release is not None:
        text = text.replace('value: "1"', f'value: "{release}"')
    return text


def pods():
    """Names of the web pods that are not on their way out."""
    return sorted(p["metadata"]["name"]
                  for p in get("pods", "-l", "app=web")["items"]
                  if "deletionTimestamp" not in p["metadata"])


def start_load(where, target, *flags, packet_path=False):
    argv = ["fairleadctl", "cluster", "exec", "--name", CLUSTER]
    if packet_path:
        argv.append("--packet-path")
    argv += [where, "--", "fairlead-load", "--target", target, *flags]
    return subprocess.Popen(argv, text=True, stdout=subprocess.PIPE)


def load(where, target, *flags, packet_path=False):
    process = start_load(where, target, *flags, packet_path=packet_path)
    return json.loads(process.communicate()[0])


class ConstantLoad:
    """Requests from several places for as long as the block lasts: not one
    may fail."""

    def __init__(self, **places):
        """name -> (where, target, flags...)"""
        # So many workers that none is sent late, even if many wait.
        self.loads = {
            name: start_load(*place, "--rate", "200", "--duration", "180s",
                             "--workers", "300", "--timeout", "1s")
            for name, place in places.items()}

    def __enter__(self):
        time.sleep(1)

    def __exit__(self, failure, *_):
        if failure is None:
            time.sleep(1)
        for name, process in self.loads.items():
            process.terminate()
            result = json.loads(process.communicate()[0])
            self.judge(f"{name.replace('_', ' ')}: {result['ok']} answered, "
                       f"{result['failed']} failed {result['errors'] or ''}",
                       result)

    def judge(self, what, result):
        expect(result["failed"] == 0 and result["ok"] > 0, what)


class LoadThroughADeath(ConstantLoad):
    """The same, but requests may fail that were begun before `known`."""

    known = 0.0  # time.time(), set within the block

    def judge(self, what, result):
        last = (result["started_unix_ms"] + result["last_failure_ms"]) / 1000
        expect(0 < result["failed"] and last < self.known
               and result["ok"] > 0,
               f"{what}, the last {self.known - last:.2f} s before the node "
               "was known to be dead")


def describe(result):
    spread = ", ".join(f"{name.rsplit('-', 1)[-1]}: {pod['count']}"
                       for name, pod in sorted(result["pods"].items()))
    errors = f", errors {result['errors']}" if result["errors"] else ""
    return (f"{result['ok']} answered, {result['failed']} failed "
            f"({spread}; p99 {result['latency_ms']['p99']} ms{errors})")


def expect_spread(what, result, wanted):
    expect(result["failed"] == 0 and set(result["pods"]) == set(wanted),
           f"{what}: {describe(result)}")


def service_addresses():
    return get("services", "web")["spec"]["clusterIPs"]


def bracket(address):
    return f"[{address}]" if ":" in address else address


def usable_backends(port_suffix):
    """Endpoints that node-1's kernel may send new connections to."""
    reply = json.loads(run("fairleadctl", "backend", "list", "default/web",
                           "--cluster", CLUSTER, "--node", "node-1",
                           "-o", "json"))
    return sorted(b["address"].rsplit("/", 1)[0]
                  for b in reply.get("backends", [])
                  if b["state"] == "on" and b["address"].endswith(port_suffix))


def ready_addresses(port):
    slices = get("endpointslices", "-l", "kubernetes.io/service-name=web")
    return sorted(f"{bracket(e['addresses'][0])}:{port}"
                  for s in slices["items"] for e in s.get("endpoints") or []
                  if e["conditions"].get("ready"))


def show_distribution(client_tool):
    step("One Service, three pods: who answers?")
    client_tool.show("pods,services" if client_tool.name == "kubectl"
                     else "pods")
    names = pods()
    quick = ("--count", "300", "--rate", "600")
    for address in service_addresses():
        target = f"{bracket(address)}:80"
        expect_spread(f"host of node-1, socket path, {target}",
                      load("node-1", target, *quick), names)
        expect_spread(f"pod, socket path, {target}",
                      load(f"pod/{names[0]}", target, *quick), names)
        expect_spread(f"pod, packet path, {target}",
                      load(f"pod/{names[0]}", target, *quick,
                           packet_path=True), names)
        for protocol in ("tcp", "udp"):
            target = f"{bracket(address)}:7"
            expect_spread(f"host of node-2, {protocol}, {target}",
                          load("node-2", target, "--protocol", protocol,
                               *quick), names)


def show_node_port():
    step("From outside the cluster, through NodePorts")
    for address in (NODE_IP[4], OTHER_NODE_IP, NODE_IP[6]):
        target = f"{bracket(address)}:30080"
        expect_spread(f"outside -> {target}",
                      load("outside", target, "--count", "300", "--rate",
                           "600"), pods())


def show_scale(client_tool):
    step("Scale 3 -> 6")
    started = time.monotonic()
    client_tool.scale(6)
    client_tool.rollout()
    wait_until("six endpoints in the kernel",
               lambda: len(usable_backends(":8080/TCP")) >= 12)
    print(f"   six pods take traffic after {time.monotonic() - started:.2f} s")
    expect_spread("outside -> six pods",
                  load("outside", f"{NODE_IP[4]}:30080", "--count", "600",
                       "--rate", "600"), pods())


def show_pod_death(client_tool):
    step("A pod is killed")
    before = pods()
    victim = get("pods", before[0])
    address = f"{victim['status']['podIP']}:8080"
    started = time.monotonic()
    client_tool.delete_now(before[0])
    wait_until("its endpoint is gone",
               lambda: address not in usable_backends(":8080/TCP"))
    print(f"   out of node-1's kernel after "
          f"{(time.monotonic() - started) * 1000:.0f} ms")
    result = load("outside", f"{NODE_IP[4]}:30080", "--count", "600",
                  "--rate", "600")
    expect(result["failed"] == 0 and before[0] not in result["pods"],
           f"nothing is sent to it after that: {describe(result)}")
    client_tool.rollout()
    wait_until("six pods again", lambda: len(pods()) == 6)
    expect(before[0] not in pods(), "self-healed: a new pod took its place")


def show_rolling_update(client_tool):
    step("A rolling update under constant load")
    address = service_addresses()[0]
    before = pods()
    with ConstantLoad(
            outside_NodePort=("outside", f"{NODE_IP[4]}:30080"),
            node_2_ClusterIP=("node-2", f"{address}:80"),
            node_1_UDP=("node-1", f"{address}:7", "--protocol", "udp")):
        started = time.monotonic()
        client_tool.apply(manifest(replicas=6, release=2))
        client_tool.rollout()
        wait_until("the old pods are gone",
                   lambda: not set(before) & {
                       p["metadata"]["name"]
                       for p in get("pods", "-l", "app=web")["items"]})
        print(f"   six pods replaced in {time.monotonic() - started:.1f} s")
    expect(not set(before) & set(pods()), "every pod is a new one")


def nodes_of_pods():
    """Of the web pods that are not on their way out."""
    return sorted({p["spec"].get("nodeName", "none")
                   for p in get("pods", "-l", "app=web")["items"]
                   if "deletionTimestamp" not in p["metadata"]})


def show_drain(client_tool):
    step("A node is drained under constant load, with a disruption budget")
    if client_tool.name != "kubectl":
        print("   (kubectl drains nodes; fairleadctl does not)")
        return
    client_tool.apply(json.dumps({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1,
                 "selector": {"matchLabels": {"app": "web"}}}}))
    address = service_addresses()[0]
    with ConstantLoad(
            outside_NodePort=("outside", f"{NODE_IP[4]}:30080"),
            node_1_ClusterIP=("node-1", f"{address}:80")):
        started = time.monotonic()
        client_tool.drain("node-2")
        client_tool.rollout()
        print(f"   node-2 is empty after {time.monotonic() - started:.1f} s")
    expect(nodes_of_pods() == ["node-1"],
           f"all pods are elsewhere: {nodes_of_pods()}")
    client_tool.uncordon("node-2")


def daemons(node):
    """name -> pid"""
    status = json.loads(run("fairleadctl", "cluster", "status", "--name",
                            CLUSTER, "-o", "json"))
    return {c["component"]: c["pid"] for c in status["components"]
            if c["component"].endswith(node)}


def spread_over_nodes(client_tool, release):
    client_tool.apply(manifest(replicas=6, release=release))
    client_tool.rollout()
    wait_until("pods on both nodes",
               lambda: nodes_of_pods() == ["node-1", "node-2"])
    return service_addresses()[0]


def node_returns():
    run("fairleadctl", "cluster", "up", "--name", CLUSTER, "--quiet",
        *IMPATIENT)
    wait_until("what was left on node-2 is gone",
               lambda: len(get("pods", "-l", "app=web")["items"]) == 6)
    wait_until("node-2 takes pods again",
               lambda: "taints" not in get("nodes", "node-2")["spec"])
    expect(nodes_of_pods() == ["node-1"], "node-2 is back, and tidied up")


def all_on_node_1():
    return (nodes_of_pods() == ["node-1"]
            and len(ready_addresses(8080)) == 12)


def show_silent_node(client_tool):
    step("A node falls silent under constant load: kubelet and agent killed, "
         "its pods go on")
    address = spread_over_nodes(client_tool, release=3)
    with ConstantLoad(
            outside_NodePort=("outside", f"{NODE_IP[4]}:30080"),
            node_1_ClusterIP=("node-1", f"{address}:80")):
        started = time.monotonic()
        for pid in daemons("node-2").values():
            os.kill(pid, signal.SIGKILL)
        wait_until("six pods on the other node", all_on_node_1)
        client_tool.rollout()
        print(f"   replaced on node-1 after {time.monotonic() - started:.1f} s"
              f" (silent for {GRACE_SECONDS} s, tolerated for 2 s)")
    node_returns()


def cut_power(node):
    """Its link first, so that nobody hears of the rest."""
    run("ip", "netns", "exec", f"fl-{CLUSTER}-fabric", "ip", "link", "set",
        node, "down")
    for pid in daemons(node).values():
        os.kill(pid, signal.SIGKILL)
    mounts = pathlib.Path("/proc/mounts").read_text().splitlines()
    cgroups = next(fields[1] for fields in map(str.split, mounts)
                   if fields[2] == "cgroup2")
    pathlib.Path(cgroups, f"fairlead-{CLUSTER}", node,
                 "cgroup.kill").write_text("1")


def show_dead_node(client_tool):
    step("A node dies under constant load: link cut, all its processes killed")
    print("   (what is sent to it meanwhile is lost, until it has been silent "
          f"for {GRACE_SECONDS} s)")
    address = spread_over_nodes(client_tool, release=4)
    load = LoadThroughADeath(
        outside_NodePort=("outside", f"{NODE_IP[4]}:30080"),
        node_1_ClusterIP=("node-1", f"{address}:80"))
    with load:
        died = time.time()
        cut_power("node-2")
        wait_until("its endpoints are out of node-1's kernel",
                   lambda: len(ready_addresses(8080)) < 12
                   and usable_backends(":8080/TCP") == ready_addresses(8080))
        load.known = time.time()
        print(f"   known, and out of node-1's kernel, after "
              f"{load.known - died:.2f} s")
        wait_until("six pods on the other node", all_on_node_1)
        client_tool.rollout()
        print(f"   replaced on node-1 after {time.time() - died:.1f} s")
    node_returns()


def show_label_change(client_tool):
    step("A label change moves traffic")
    names = pods()
    client_tool.label(names[0], "track=canary")
    wait_until("five endpoints",
               lambda: len(usable_backends(":8080/TCP")) == 10)
    expect_spread("without the relabelled pod",
                  load("outside", f"{NODE_IP[4]}:30080", "--count", "600",
                       "--rate", "600"), names[1:])
    client_tool.label(names[0], "track=stable")
    wait_until("six endpoints",
               lambda: len(usable_backends(":8080/TCP")) == 12)
    expect_spread("with it again",
                  load("outside", f"{NODE_IP[4]}:30080", "--count", "600",
                       "--rate", "600"), names)


def show_tables():
    step("What fairleadctl says")
    expect(usable_backends(":8080/TCP") == ready_addresses(8080),
           "the kernel's backends are the API's ready endpoints")
    for words in (["service", "list"], ["backend", "list", "default/web"],
                  ["flow", "list", "--limit", "8"], ["counters"],
                  ["map", "dump", "service"], ["agent", "status"]):
        print(f"\n$ fairleadctl {' '.join(words)}")
        print(run("fairleadctl", *words, "--cluster", CLUSTER, "--node",
                  "node-1"), end="")


def tour(client_tool):
    print(f"   (manifests and changes by {client_tool.name})")
    client_tool.apply(manifest())
    client_tool.rollout()
    wait_until("endpoints in the kernel",
               lambda: len(usable_backends(":8080/TCP")) == 6)
    show_distribution(client_tool)
    show_node_port()
    show_scale(client_tool)
    show_pod_death(client_tool)
    show_rolling_update(client_tool)
    show_label_change(client_tool)
    show_drain(client_tool)
    show_silent_node(client_tool)
    show_dead_node(client_tool)
    show_tables()


def main():
    started = time.monotonic()
    use_kubectl = shutil.which("kubectl") and "--no-kubectl" not in sys.argv
    run("fairleadctl", "cluster", "down", "--name", CLUSTER, "--quiet",
        check=False)
    try:
        step("A cluster in a box: a controller, two nodes, a client outside")
        export = run("fairleadctl", "cluster", "up", "--name", CLUSTER,
                     *IMPATIENT).strip()
        print(f"   {export}")
        os.environ["KUBECONFIG"] = export.split("=", 1)[1]
        # kubectl caches discovery by the server's address: keep it apart.
        with tempfile.TemporaryDirectory() as cache:
            os.environ["KUBECACHEDIR"] = cache
            tour(Kubectl() if use_kubectl else Fairleadctl())
    except (RuntimeError, KeyError, ValueError) as error:
        expect(False, f"the tour stopped: {error!r}")
        print(error)
    finally:
        if KEEP:
            print("\nThe cluster runs on. End it with:"
                  f" fairleadctl cluster down --name {CLUSTER}")
        else:
            step("Cleaning up")
            down = subprocess.run(["fairleadctl", "cluster", "down", "--name",
                                   CLUSTER])
            expect(down.returncode == 0, "everything is removed")
    print(f"\n{len(held)} held, {len(broken)} did not "
          f"({time.monotonic() - started:.0f} s)")
    for what in broken:
        print(f"did not hold: {what}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
