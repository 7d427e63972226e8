# SPDX-License-Identifier: Apache-2.0
"""Why a command or an exchange isn't alike."""

import json
import re

# Filled from the recorded discovery: what the recorded server had.
RECORDED_KINDS = set()

# A kind's plural -> pattern over "NAME COMMAND" of what is about it. Counts
# only while the server's discovery doesn't have the kind.
ABOUT = {
    "statefulsets": r"\bstatefulsets?\b|^create-misc ",
    "cronjobs": r"\bcronjobs?\b",
    "componentstatuses": r"\bcomponentstatuses\b",
    "networkpolicies": r"\bnetworkpolic",
    "ingresses": r"\bingress",
    "horizontalpodautoscalers": r"\bhorizontalpodauto|\bhpa\b|\bautoscale\b",
    "roles": r"\broles?\b",
    "rolebindings": r"\brolebindings?\b",
    "resourcequotas": r"\bresourcequotas?\b|\bquota\b|quota-and-limits|"
                      r"^describe-namespace ",
    "daemonsets": r"\bdaemonsets?\b",
    "jobs": r"\bjobs?\b",
    "poddisruptionbudgets": r"\bpoddisruptionbudgets?\b|\bpdb\b",
    "endpoints": r"\bendpoints\b",
    "ipaddresses": r"\bipaddresses\b",
    "servicecidrs": r"\bservicecidrs\b",
}


def kinds_of(document):
    """{(group/version, plural)} of a discovery document, with those of the
    sub-resources, "pods/status"."""
    found = set()
    for item in document["items"]:
        group = item["metadata"].get("name", "")
        for version in item["versions"]:
            at = version["version"]
            at = f"{group}/{at}" if group else at
            for resource in version["resources"]:
                plural = resource["resource"]
                found.add((at, plural))
                found |= {(at, f"{plural}/{sub['subresource']}")
                          for sub in resource.get("subresources", [])}
    return found


def served_kinds(api):
    """As kinds_of(), of a server."""
    found = set()
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;"
                        "as=APIGroupDiscoveryList"}
    for root in ("/api", "/apis"):
        _, _, body = api.send("GET", root, accept)
        found |= kinds_of(json.loads(body))
    return found


def kind_of_path(path):
    """("apps/v1", "deployments") of a request's path, or None."""
    match = re.match(r"/(?:api/(v\d\w*)|apis/([^/]+/v\d\w*))"
                     r"(?:/namespaces/[^/]+(?=/[a-z]))?/([a-z]+)",
                     path.split("?")[0])
    return (match[1] or match[2], match[3]) if match else None


def is_served(served, path):
    """False: the path of a kind that the recorded server had, and ours
    hasn't."""
    kind = kind_of_path(path)
    return not kind or kind in served or kind not in RECORDED_KINDS


GROUP_PATH = re.compile(r"GET /apis/([^/]+)(?:/v\d\w*)?$")


def is_unserved(served, name, what):
    group = GROUP_PATH.match(what)
    if group and "." + group[1] not in "".join(
            "." + version for version, _ in served):
        return True
    path = re.search(r"(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) (/\S+)",
                     what)
    if path and not is_served(served, path[1]):
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
    "replay-1.36/get-events": "events of the session before",
    "replay-1.36/get-events-o-wide": "events of the session before",
    "replay-1.36/get-ipaddresses": "addresses of what the errors' cases left",
    "replay-1.36/get-ipaddresses-o-wide":
        "addresses of what the errors' cases left",
    "events.json": "events of the recorded cluster",
    "events-includeObject-None.json": "events of the recorded cluster",
    "events-includeObject-Object.json": "events of the recorded cluster",
}

# Name -> reason, where ours is meant to differ or is known to.
EPHEMERAL = "ephemeral containers aren't there"
CIDR_STATUS = ("two of the recorded cluster's controllers write its status, "
               "and one guards its deletion")
METRICS = "the recorded cluster has no metrics.k8s.io, which is served here"
REASONS = {
    "debug-ephemeral": EPHEMERAL,
    "top-nodes": METRICS,
    "top-pods": METRICS,
    "misc_apis_metrics.k8s.io.txt": METRICS,
    "get-events": "the recorder did not wait: a pod that ours started was "
                  "replaced before it began",
    "get-servicecidrs": CIDR_STATUS,
    "get-servicecidrs-o-wide": CIDR_STATUS,
    "get-pods-chunk-size": "the recorded cluster had a StatefulSet's pod more: "
                           "the pages begin elsewhere",
    "patch-no-change": "recorded: a rollout was on its way, so that the "
                       "object wasn't the same before and after",
    "bad-continue/6": "the token holds a recorded revision, at which ours had "
                      "other objects",
    "impersonation-and-misc/7": "lists what the recorded session had left",
    "namespace-delete/5": "recorded before a controller had looked at it",
    "defaults-created-objects/12":
        "who owns a field of an Event is kept by core/v1's names",
    "immutable-field/19":
        "recorded: with a diff of the server's own structs behind the words",
    "patch-errors/10":
        "quotes the object with its fields in another order",
    "accept-variants/7": "YAML with the same values, quoted elsewhere",
    "missing-required-field/5":
        "recorded: an address is allocated before the name is missed",
}

# (pattern over the differing lines, reason), where no name above has one.
PATTERNS = [
    (r"ephemeral", EPHEMERAL),
    (r"x-kubernetes-unions", "unions are hints that no client reads"),
    (r"selector.x-kubernetes-patch-strategy: \"replace\"",
     "replace is what a patch does without the word"),
    (r"properties.data.\$ref: .*RawExtension",
     "raw JSON is said to be an object, which it is"),
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
