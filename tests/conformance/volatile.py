# SPDX-License-Identifier: Apache-2.0
"""What differs between two runs of the same cluster, and how it is blanked.

FIELDS and TEXT are the one list of it; each line has its reason. Everything
else in an answer or a printed line has to be equal.
"""

import json
import re

SAFE = "[bcdfghjklmnpqrstvwxz2456789]"

# JSON field -> reason. A field's presence is compared, its value isn't.
FIELDS = {
    "uid": "drawn at random",
    "resourceVersion": "counts this store's own writes",
    "creationTimestamp": "the time of the run",
    "deletionTimestamp": "the time of the run",
    "time": "the time of the run (managedFields)",
    "lastTransitionTime": "the time of the run",
    "lastUpdateTime": "the time of the run",
    "lastProbeTime": "the time of the run",
    "lastHeartbeatTime": "the time of the run",
    "startTime": "the time of the run",
    "startedAt": "the time of the run",
    "finishedAt": "the time of the run",
    "completionTime": "the time of the run",
    "renewTime": "the time of the run",
    "acquireTime": "the time of the run",
    "firstTimestamp": "the time of the run",
    "lastTimestamp": "the time of the run",
    "eventTime": "the time of the run",
    "clusterIP": "drawn at random from the range",
    "clusterIPs": "drawn at random from the range",
    "nodePort": "drawn at random from the range",
    "healthCheckNodePort": "drawn at random from the range",
    "podIP": "the order in which pods start",
    "podIPs": "the order in which pods start",
    "hostIP": "the scheduler draws among equal nodes",
    "hostIPs": "the scheduler draws among equal nodes",
    "nodeName": "the scheduler draws among equal nodes",
    "containerID": "made from the pod's uid",
    "continue": "holds a resourceVersion",
    "token": "signed with this server's key",
    "pod-template-hash": "hash of the Go server's own print of a template",
    "controller-revision-hash": "the same",
    "topology.kubernetes.io/zone": "follows the node drawn",
    "zone": "follows the node drawn",
    "gitCommit": "the build", "gitVersion": "the build", "buildDate": "the build",
    "goVersion": "the build", "compiler": "the build",
    "serverAddressByClientCIDRs": "where the server listens",
    "timeAdded": "the time of the run",
    "ca.crt": "this cluster's own certificate",
}

# Values that are blanked only when they look like what the server draws:
# "None" of a headless Service isn't drawn, nor is a nodePort that was asked.
KEPT_VALUES = {"None", "", 30080}

TEXT = [
    (r"/\S*/(LIVE|MERGED)(-\d+)?/", r"\1/", "a temporary folder"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
     "UID", "uids are drawn at random"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000)", "TIME",
     "the time of the run"),
    (r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000",
     "TIME", "the time of the run"),
    (r"(resourceVersion\"?: )\"\d+\"", r'\1"RV"',
     "counts this store's own writes"),
    (r"\b(10\.(9[6-9]|10\d|11[01])\.\d+\.\d+|fd00:10:96::[0-9a-f:]+)",
     "CLUSTERIP", "drawn at random from the range"),
    (r"\[?\b(10\.244\.\d+\.\d+\b(?!/)|fd00:10:244:\d+::[0-9a-f]+\b)\]?",
     "PODIP", "the order in which pods start"),
    (r"\b10\.0\.0\.1[123]\b", "NODEIP",
     "the scheduler draws among equal nodes"),
    (r"(?<=:)3(?!0080)\d{4}(?=/)", "NODEPORT", "drawn at random"),
    (r"((?:n|N)ode ?Port:?\s+(?:\S+\s+)?)3(?!0080)\d{4}", r"\1NODEPORT",
     "drawn at random"),
    (r"(containerd://)[0-9a-f]{64}", r"\1ID", "made from the pod's uid"),
    (rf"-(?={SAFE}*[0-9]){SAFE}{{7,10}}\b(?:-{SAFE}{{5}}\b)?", "-HASH",
     "hash of the Go server's own print of a template"),
    (rf"(hash\"?[=:] ?\"?){SAFE}{{7,10}}\b", r"\1HASH", "the same"),
    (rf"(?<=[a-z])-{SAFE}{{5}}\b", "-RAND", "suffixes are drawn at random"),
    (r"\.[0-9a-f]{16}\b", ".EVENT", "an event's name holds a time"),
    (r"(?<![=\w.-])(?<!for )(?:\d+[dhms]){1,2}\b(?! \(\d+%)", "AGE",
     "the time of the run"),
    (rf"\b(Bad_|x{{58}}){SAFE}{{5}}\b", r"\1RAND",
     "suffixes are drawn at random"),
    (r"(current: |in record \()\d+", r"\1RV", "counts this store's own writes"),
    (r"(LIVE|MERGED)-\d+/", r"\1/", "a temporary folder"),
    (r"\"\S*kubectl-edit-(?:\d+|HASH)\.yaml\"", '"EDIT.yaml"', "a temporary file"),
    (r"http://127\.0\.0\.1:\d+", "http://SERVER", "where the server listens"),
    (r"\b198\.51\.100\.1\b", "SERVERIP", "where the server listens"),
    (r"\bkube-apiserver\.new\b", "kube-apiserver",
     "a manager is named by the file that runs, and the recorded one was so"),
    (r"^(kubernetes +IPv4 +)\d+", r"\1PORT", "where the server listens"),
    (r"SERVERIP:\d+", "SERVERIP:PORT", "where the server listens"),
    (r"(?:PODIP:\d+,){2}PODIP:\d+(?= \+ \d+ more)", "PODIP:PORTS",
     "ports of one address are ordered by a hash of the Go server's own print"),
    (r"\bX{40,}|\beyJ[\w-]+\.[\w-]+\.[\w-]+", "TOKEN",
     "signed with this server's key"),
    (r"https://kubernetes\.default\.svc(\.cluster\.local)?(?=[\"\s]|$)",
     "https://ISSUER", "what the server was told to call itself in tokens"),
    (r"(\"minor\": \"\d+)\+?(?=\")", r"\1", "the build of kubectl"),
    (r"(Client Version: )v\S+|(Server Version: )v\S+", r"\1\2VERSION",
     "the build"),
    (r"(\"(?:git\w+|buildDate|goVersion|compiler)\": )\"[^\"]*\"", r'\1"BUILD"',
     "the build"),
]
_TEXT = [(re.compile(pattern, re.M), to) for pattern, to, _ in TEXT]


def blank_text(text):
    for pattern, to in _TEXT:
        text = pattern.sub(to, text)
    return text


def blank(value, name=""):
    """A copy of a JSON value with volatile fields blanked."""
    if FIELDS.get(name) == "the build":
        return "*"
    if name in FIELDS and value is not None and not isinstance(value, dict):
        if isinstance(value, list):
            return ["*" if isinstance(v, dict) or v not in KEPT_VALUES else v
                    for v in value]
        return value if value in KEPT_VALUES else "*"
    if name == "managedFields" and isinstance(value, list):
        # By manager: entries are ordered by their times.
        value = {blank_text(" ".join(str(entry.get(k, "")) for k in (
            "manager", "operation", "subresource")).strip()): entry
            for entry in value if isinstance(entry, dict)}
        value = {key: value[key] for key in sorted(value)}
    if name == "conditions" and isinstance(value, list) and all(
            isinstance(v, dict) and "type" in v for v in value):
        # By type: the one that changed last is the last.
        value = {entry["type"]: entry for entry in value}
    if name == "values" and isinstance(value, list):
        # A DaemonSet's pods are drawn names, each for a node of its own.
        value = [re.sub("^node-[123]$", "NODE", v) if isinstance(v, str)
                 else v for v in value]
    if isinstance(value, dict) and _is_of_the_server(value):
        value = _without_ports(value)
    if isinstance(value, dict):
        return {blank_text(k) if k.startswith(("k:", "v:")) else k:
                blank(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [blank(v) for v in value]
    if isinstance(value, str):
        if name.endswith("last-applied-configuration"):
            return value
        return blank_text(value)
    return value


def _is_of_the_server(value):
    """The Service default/kubernetes, and what holds its endpoints."""
    meta = value.get("metadata")
    return isinstance(meta, dict) and meta.get("name") == "kubernetes" and (
        "ports" in value or "subsets" in value or
        isinstance(value.get("spec"), dict))


def _without_ports(value):
    """Its port is where the server listens."""
    return json.loads(re.sub(
        r'("(?:port|targetPort)": )(?!443\b)\d{4,5}\b', r'\1"PORT"',
        json.dumps(value)))


def differences(recorded, ours, path="", limit=12):
    """Lines "path: recorded | ours" of two blanked JSON values."""
    out = []
    _walk(recorded, ours, path, out, limit)
    return out


def _short(value):
    text = json.dumps(value, sort_keys=True)
    return text if len(text) < 90 else text[:87] + "..."


def _walk(recorded, ours, path, out, limit):
    if len(out) >= limit or recorded == ours:
        return
    if isinstance(recorded, dict) and isinstance(ours, dict):
        for key in sorted(recorded.keys() | ours.keys()):
            at = f"{path}.{key}" if path else key
            if key not in ours:
                out.append(f"{at}: {_short(recorded[key])} | absent")
            elif key not in recorded:
                out.append(f"{at}: absent | {_short(ours[key])}")
            else:
                _walk(recorded[key], ours[key], at, out, limit)
    elif isinstance(recorded, list) and isinstance(ours, list) and \
            len(recorded) == len(ours):
        for i, (one, other) in enumerate(zip(recorded, ours)):
            _walk(one, other, f"{path}[{i}]", out, limit)
    else:
        out.append(f"{path}: {_short(recorded)} | {_short(ours)}")
