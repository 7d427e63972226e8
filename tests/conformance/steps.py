# SPDX-License-Identifier: Apache-2.0
"""What was done between the recorded commands without being recorded, and
while they ran. Found from what the recorded answers hold: an object that is
in an answer and that no recorded command made."""

UNBOUND = ('{"apiVersion":"v1","kind":"Pod","metadata":{"name":"unbound"},'
           '"spec":{"nodeSelector":{"no":"where"},"containers":[{"name":"c",'
           '"image":"registry.example/c:1"}]}}')


def _deployment(name):
    return (f"kubectl create deployment {name} --image=registry.example/x:1"
            " --replicas=2")


# Command's name -> shell commands before it.
BEFORE = {
    "apply-server-side-conflict": ["kubectl scale deployment ssa --replicas=3"],
    # What it is told counts three nodes that are ready.
    "logs-pod-not-scheduled": ["kubectl uncordon node-2",
                               f"echo '{UNBOUND}' | kubectl apply -f -"],
    "delete-deployment-foreground": [_deployment("d1"), _deployment("d2"),
                                     _deployment("d3")],
    # Ran here as well, before it was recorded once more.
    "describe-not-found": [
        "sed 's/app: web/app: other/' web.yaml | kubectl apply -f -"],
    # It was on a node that wasn't drained; ours may have been drawn onto it.
    "logs": ["kubectl get pod two || kubectl create -f pod.yaml"],
    # The last commands were recorded once more in a clean namespace.
    "create-unknown-field-warn": [
        "kubectl delete deploy,svc,pod,cm --all --wait=false --now"],
    "describe-service": ["kubectl apply -f web.yaml"],
    "patch-service-type": ["kubectl apply -f web.yaml"],
    "delete-pod-force": ["kubectl create -f pod.yaml"],
}

# Where kubectl 1.36's session was another: its last commands weren't recorded
# once more, and the cases of errors/ had run before it.
BEFORE_1_36 = {
    "create-unknown-field-warn": [],
    "get-namespaces": ["kubectl create namespace err --field-manager=recorder"],
}


def before(version, name):
    """The shell commands before this one."""
    if version == "1.36" and name in BEFORE_1_36:
        return BEFORE_1_36[name]
    return BEFORE.get(name, [])


# Command's name -> [(seconds after it began, shell command)].
DURING = {
    "get-pods-watch": [(1.0, "kubectl scale deploy plain --replicas=3"),
                       (3.0, "kubectl scale deploy plain --replicas=2")],
    "get-deployment-watch-wide": [
        (1.0, "kubectl scale deploy plain --replicas=3"),
        (3.0, "kubectl scale deploy plain --replicas=2")],
    "get-services-watch-only": [
        (1.0, "kubectl create service clusterip tmp --tcp=1:1 --dry-run=client"
              " -o yaml | sed 's/name: 1-1/name: \"\"/' | kubectl create "
              "--validate=false -f -; kubectl label svc tmp z=1; "
              "kubectl delete svc tmp")],
    "get-services-watch-o-json": [
        (1.0, "kubectl label svc s-cip z=1; kubectl label svc s-cip z-")],
    "wait-delete": [(0.7, "kubectl delete pod one --wait=false")],
}

# These show a cluster on its way; before all others it comes to rest.
UNSETTLED = ("rollout status", "kubectl wait", "kubectl diff")

WATCH_SECONDS = 6.0  # for commands that the recorder stopped
