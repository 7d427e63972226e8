# SPDX-License-Identifier: Apache-2.0
"""Why a command or an exchange isn't alike."""

import json
import re

# Filled from the recorded discovery: what the recorded server had.
RECORDED_KINDS = set()

# A kind's plural -> pattern over "NAME COMMAND" of what is about it. Counts
# only while the server's discovery doesn't have the kind.
ABOUT = {
    "statefulsets": r"\bstatefulsets?\b",
    "cronjobs": r"\bcronjobs?\b",
    "componentstatuses": r"\bcomponentstatuses\b",
    "networkpolicies": r"\bnetworkpolic",
    "ingresses": r"\bingress",
    "horizontalpodautoscalers": r"\bhorizontalpodauto|\bhpa\b|\bautoscale\b",
    "roles": r"\broles?\b",
    "rolebindings": r"\brolebindings?\b",
    "resourcequotas": r"\bresourcequotas?\b|\bquota\b|quota-and-limits",
    "daemonsets": r"\bdaemonsets?\b",
    "jobs": r"\bjobs?\b",
    "poddisruptionbudgets": r"\bpoddisruptionbudgets?\b|\bpdb\b",
    "endpoints": r"\bendpoints\b",
    "ipaddresses": r"\bipaddresses\b",
    "servicecidrs": r"\bservicecidrs\b",
}


def served_kinds(api):
    """{(group/version, plural)} of a server's discovery."""
    found = set()
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;"
                        "as=APIGroupDiscoveryList"}
    for root in ("/api", "/apis"):
        _, _, body = api.send("GET", root, accept)
        for item in json.loads(body)["items"]:
            group = item["metadata"].get("name", "")
            for version in item["versions"]:
                name = version["version"]
                for resource in version["resources"]:
                    found.add((f"{group}/{name}" if group else name,
                               resource["resource"]))
    return found


def kind_of_path(path):
    """("apps/v1", "deployments") of a request's path, or None."""
    match = re.match(r"/(?:api/(v\d\w*)|apis/([^/]+/v\d\w*))"
                     r"(?:/namespaces/[^/]+(?=/[a-z]))?/([a-z]+)",
                     path.split("?")[0])
    return (match[1] or match[2], match[3]) if match else None


GROUP_PATH = re.compile(r"GET /apis/([^/]+)(?:/v\d\w*)?$")


def is_unserved(served, name, what):
    group = GROUP_PATH.match(what)
    if group and "." + group[1] not in "".join(
            "." + version for version, _ in served):
        return True
    path = re.search(r"(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) (/\S+)",
                     what)
    kind = kind_of_path(path[1]) if path else None
    if kind and kind not in served and kind in RECORDED_KINDS:
        return True
    plurals = {plural for _, plural in served}
    return any(re.search(pattern, f"{name} {what}")
               for plural, pattern in ABOUT.items() if plural not in plurals)

# Name, or part/name -> reason, of answers that speak of what was recorded and
# isn't in the recordings, or of the recorded build.
RECORDING = {
    "logs": "the recorded nodes' names don't resolve",
    "logs-no-container-named": "the recorded nodes' names don't resolve",
    "exec": "the recorded nodes' names don't resolve",
    "port-forward": "the recorded nodes' names don't resolve",
    "impersonation-and-misc/5": "the recorded nodes' names don't resolve",
    "api-resources-cold-cache": "lists all kinds of the recorded build",
    "api-resources-warm": "lists all kinds of the recorded build",
    "api-resources-group": "lists all kinds of the recorded build",
    "api-versions": "lists all kinds of the recorded build",
    "get-raw-healthz": "names the checks of the recorded build",
    "misc_readyz_verbose.txt": "names the checks of the recorded build",
    "misc_root.txt": "lists all paths of the recorded build",
    "request-too-large/1": "the request's body isn't in the recordings",
    "request-too-large/2": "the request's body isn't in the recordings",
    "request-too-large/3": "the request's body isn't in the recordings",
    "unauthorized-and-forbidden/1": "credentials aren't in the recordings",
    "unauthorized-and-forbidden/2": "credentials aren't in the recordings",
    "unauthorized-and-forbidden/3": "credentials aren't in the recordings",
    "unauthorized-and-forbidden/4": "credentials aren't in the recordings",
    "unauthorized-and-forbidden/6": "credentials aren't in the recordings",
    "auth-can-i-as": "credentials aren't in the recordings",
    "get-as-forbidden": "credentials aren't in the recordings",
    "gone-expired/1": "the recorder compacted the store before it",
    "gone-expired/3": "the recorder compacted the store before it",
    "gone-expired/5": "events of the recorded cluster",
    "gone-expired/6": "the recorder compacted the store before it",
    "gone-expired/7": "the recorder compacted the store before it",
    "gone-expired/8": "events of the recorded cluster",
    "gone-expired/9": "the recorder compacted the store before it",
    "gone-expired/10": "the recorder compacted the store before it",
    "watch-pods-bookmarks.jsonl": "what was done meanwhile isn't recorded",
    "watch-pods-includeObject-None.jsonl":
        "what was done meanwhile isn't recorded",
    "watch-pods.jsonl": "what was done meanwhile isn't recorded",
    "events.json": "events of the recorded cluster",
    "events-includeObject-None.json": "events of the recorded cluster",
    "events-includeObject-Object.json": "events of the recorded cluster",
}
# get-as-forbidden and auth-can-i-as say who asks on the command line: only
# their recorded requests lack it.
PRINTED_ANYWAY = {"auth-can-i-as", "get-as-forbidden"}

# Name -> reason, where ours is meant to differ or is known to.
GENERATION = ("recorded: a server-side apply of what was there already raised "
              "the generation")
DRAWN = "events as they came, cut by head or gathered by their times"
REASONS = {
    "get-deployments-o-json": GENERATION,
    "get-deployments-o-yaml": GENERATION,
    "patch-no-change": "recorded: an autoscaler had changed it in between",
    "describe-namespace": "no quotas",
    "create-misc": "holds kinds that aren't served",
    "get-events": DRAWN, "events": DRAWN, "get-events-o-wide": DRAWN,
    "immutable-field/19":
        "recorded: with a diff of the server's own structs behind the words",
    "patch-errors/10":
        "quotes the object with its fields in another order",
    "accept-variants/7": "YAML with the same values, quoted elsewhere",
    "api.legacy.pb": "the plain lists of groups come in JSON only",
    "apis.legacy.pb": "the plain lists of groups come in JSON only",
    "pods-v1beta1.json": "Tables are v1 only",
    "quota-and-limits/4": "no quotas",
    "quota-and-limits/5": "no quotas",
    "missing-required-field/5":
        "recorded: an address is allocated before the name is missed",
}

# (pattern over the differing lines, reason), where no name above has one.
PATTERNS = [
    (r"kubernetes  IPv4|kubernetes  198\.51",
     "this server listens on loopback, which isn't an endpoint"),
    (r"last-change-trigger-time",
     "recorded after a change that no pod made, which takes it away"),
    (r"metadata\.generation: .*\n?.*observedGeneration|\.generation: \d",
     GENERATION),
    (r"NewReplicaSetAvailable.*MinimumReplicas",
     "a Deployment's conditions come in another order"),
    (r"RegisteredNode|ScalingReplicaSet|SuccessfulCreate", DRAWN),
    (r"ephemeral", "ephemeral containers aren't there"),
    (r"PodAttachOptions|ServiceProxyOptions|NodeProxyOptions",
     "sub-resources that aren't served"),
]


def reason_of(name, lines):
    if name in REASONS:
        return REASONS[name]
    text = "\n".join(lines)
    for pattern, reason in PATTERNS:
        if re.search(pattern, text):
            return reason
    return ""
