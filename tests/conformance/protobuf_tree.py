# SPDX-License-Identifier: Apache-2.0
"""Protobuf without schemas, as a JSON-like tree to compare.

A field is "number"; a value that parses as a message of printable or nested
parts becomes a dict, else a string or a number. Two encoders of the same
objects give the same tree, which is all that is asked of it.
"""

import json
import re

import answers
import progress
import volatile

MAGIC = b"k8s\0"


def _varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _message(data, depth=0):
    if depth > 40:
        raise ValueError
    out, at = {}, 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0 or number > 2000:
            raise ValueError
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError
            value, at = _value(data[at:at + size], depth), at + size
        elif kind == 1:
            value, at = data[at:at + 8].hex(), at + 8
        else:
            raise ValueError
        out.setdefault(str(number), []).append(value)
    return out


def _value(data, depth):
    if not data:
        return ""
    try:
        text = data.decode()
        if text.isprintable() or text.startswith(("{", "[")):
            return text
    except UnicodeDecodeError:
        text = None
    try:
        return _message(data, depth + 1)
    except ValueError:
        return text if text is not None else data.hex()


def tree(body):
    """Of a `k8s\\0` envelope: {"type": TypeMeta, "object": ...}."""
    if not body.startswith(MAGIC):
        raise ValueError("no k8s envelope")
    envelope = _message(body[4:])
    return {"type": envelope.get("1"), "object": envelope.get("2")}


# ObjectMeta's volatile fields, wherever a message looks like one.
_META = {"5": "uid", "6": "resourceVersion", "8": "creationTimestamp",
         "9": "deletionTimestamp"}


def blank_tree(value, blank_text):
    """Times (seconds since 1970 in a message of their own) and what
    blank_text blanks in strings."""
    if isinstance(value, dict):
        if set(value) <= {"1", "2"} and isinstance(
                value.get("1", [""])[0], int) and value["1"][0] > 1.6e9:
            return "TIME"
        return {k: blank_tree(vs, blank_text) for k, vs in value.items()}
    if isinstance(value, list):
        return [blank_tree(v, blank_text) for v in value]
    if isinstance(value, str):
        text = blank_text(value)
        if re.fullmatch("node-[123]|zone-[ab]", text):
            return "NODE"  # the scheduler draws among equal nodes
        if re.fullmatch("[bcdfghjklmnpqrstvwxz2456789]{7,10}", text):
            return "HASH"
        return "NUMBER" if text.isdigit() and len(text) > 1 else text
    return "NUMBER" if value > 30000 else value


# Field numbers of the kinds whose status is a matter of time (progress.py):
# ObjectMeta, then of the status.
_STATUS = {
    "Deployment": {"1": "observedGeneration", "2": "replicas",
                   "4": "availableReplicas", "5": "unavailableReplicas",
                   "7": "readyReplicas", "9": "terminatingReplicas"},
    "ReplicaSet": {"1": "replicas", "3": "observedGeneration",
                   "4": "readyReplicas", "5": "availableReplicas",
                   "7": "terminatingReplicas"},
    "DaemonSet": {"6": "observedGeneration"},
    "Pod": {},
}


def _first(message, *numbers):
    for number in numbers:
        if not isinstance(message, dict):
            return None
        message = (message.get(number) or [None])[0]
    return message


def _json_view(kind, item):
    """As much of the object as progress.align looks at, and the tree."""
    status = item.get("3", [{}])[0]
    status = status if isinstance(status, dict) else {}
    view = {"kind": kind, "tree": item, "metadata": {
        "generation": _first(item, "1", "7")},
        "spec": {"replicas": _first(item, "2", "1")},
        "status": {name: _first(status, number) or 0
                   for number, name in _STATUS[kind].items()}}
    if _first(item, "1", "9") is not None:
        view["metadata"]["deletionTimestamp"] = "TIME"
    if kind == "Pod":
        view["status"]["conditions"] = [
            {"type": _first(c, "1"), "status": _first(c, "2")}
            for c in status.get("2", []) if isinstance(c, dict)]
    return view


def _owners(meta):
    """managedFields by manager: they are ordered by their times."""
    out = {}
    for entry in meta.get("17", []):
        key = " ".join(str(_first(entry, n) or "") for n in ("1", "2", "8"))
        out[volatile.blank_text(key.strip())] = entry
    return out


def _without_history(meta, owners):
    """progress.without_history, of an EndpointSlice's tree."""
    meta.pop("7", None)
    meta["12"] = [each for each in meta.get("12", [])
                  if _first(each, "1") != progress.TRIGGER]
    for key, entry in owners.items():
        fields = json.loads(_first(entry, "7", "1") or "{}")
        progress.disown_trigger(fields)
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        owners[key] = dict(entry, **{"7": [{"1": [text]}]})


def _normal(kind, item, moving):
    item = dict(item)
    meta = dict(_first(item, "1") or {})
    owners = _owners(meta)
    if kind == "EndpointSlice" and item.get("2"):
        _without_history(meta, owners)
    if moving:
        item.pop("3", None)
        owners = {k: v for k, v in owners.items()
                  if not k.endswith(" status")}
        for number in ("9", "10", "7", "14"):
            meta.pop(number, None)
    meta["17"] = [owners]
    item["1"] = [meta]
    return blank_tree(item, volatile.blank_text)


def _item(kind, one, other):
    moving = False
    if kind in _STATUS:
        views = _json_view(kind, one), _json_view(kind, other)
        moving = progress.align("", *views) != views
    return volatile.differences(_normal(kind, one, moving),
                                _normal(kind, other, moving))


def _events(items):
    out = []
    for item in items:
        about = _first(item, "2")
        out.append((_first(item, "9"), _first(item, "3"), volatile.blank_text(
            f"{_first(about, '1')}/{_first(about, '3')}"),
            volatile.blank_text(str(_first(item, "4")))))
    return progress.event_sets(out)


def is_deleted(value):
    """Of a tree()."""
    return _first(value, "object", "1", "9") is not None


def _unsettled_owners(items):
    """Owners of several ReplicaSets that are to have pods: a rollout is on its
    way, and how far is a matter of time."""
    counts = {}
    for item in items:
        if isinstance(item, dict) and _first(item, "2", "1"):
            owner = _first(item, "1", "13", "4")
            counts[owner] = counts.get(owner, 0) + 1
    return {owner for owner, count in counts.items() if count > 1}


def _without_replicas(item):
    spec = {k: v for k, v in (_first(item, "2") or {}).items() if k != "1"}
    rest = {k: v for k, v in item.items() if k != "3"}  # its status
    return dict(rest, **{"2": [spec]})


def names(listed):
    """Of a list's objects."""
    items = (_first(listed, "object") or {}).get("2", [])
    return [_first(item, "1", "1") for item in items
            if isinstance(item, dict)]


def _rules_in_order(review):
    """Rules come in the order of a map of the recorded server, which was
    another in each of its two sessions."""
    status = dict(_first(review, "3") or {})
    for number in ("1", "2"):
        status[number] = sorted(status.get(number, []), key=str)
    return dict(review, **{"3": [status]})


def _discovery(kind, value, served):
    """The plain lists of versions and of groups, the latter cut to `served`
    (versions of groups) and by name: they come in another order."""
    if kind == "APIVersions":  # and where the server listens
        return {key: each for key, each in value.items() if key != "2"}
    groups = []
    for group in value.get("1", []):
        versions = [v for v in group.get("2", []) if _first(v, "1") in served]
        if versions:
            groups.append(dict(group, **{"2": versions}))
    return dict(value, **{"1": sorted(groups, key=str)})


def differences(one, other, pairs, served=frozenset()):
    """Lines that say how two trees differ, names of objects in front.
    `served`: the group versions to which a list of groups is cut."""
    kinds = [str(_first(side["type"][0], "2")) for side in (one, other)]
    a, b = _first(one, "object"), _first(other, "object")
    if kinds[0] != kinds[1] or not isinstance(a, dict) or not isinstance(
            b, dict):
        return volatile.differences(blank_tree(one, volatile.blank_text),
                                    blank_tree(other, volatile.blank_text))
    kind = kinds[0]
    if kind in ("APIVersions", "APIGroupList"):
        return volatile.differences(_discovery(kind, a, served),
                                    _discovery(kind, b, served))
    if kind == "SelfSubjectRulesReview":
        a, b = _rules_in_order(a), _rules_in_order(b)
    if not kind.endswith("List"):
        return _item(kind, a, b)
    lists = [side.get("2", []) for side in (a, b)]
    if kind == "EventList":
        return answers.event_lines(*map(_events, lists))
    named = [[{"metadata": {"namespace": _first(i, "1", "3") or "",
                            "name": _first(i, "1", "1")}, "tree": i}
              for i in items if isinstance(i, dict)] for items in lists]
    found, alone, more = answers.match(named[0], named[1], pairs)
    unsettled = set().union(*map(_unsettled_owners, lists)) if \
        kind == "ReplicaSetList" else set()
    out = []
    for x, y in found:
        if any(_first(side["tree"], "1", "13", "4") in unsettled
               for side in (x, y)):
            x, y = (dict(side, tree=_without_replicas(side["tree"]))
                    for side in (x, y))
        pairs.learn_values({
            _first(x["tree"], "1", n): _first(y["tree"], "1", n)
            for n in ("1", "5", "6")})
        out += [f"{x['metadata']['name']}: {line}" for line in _item(
            kind[:-4], x["tree"], y["tree"])]
    out += [f"{x['metadata']['name']}: recorded | absent" for x in alone
            if not answers.printed.UNSERVED_ROW.search(
                x["metadata"]["name"]) and
            _first(x["tree"], "1", "9") is None]
    out += [f"{x['metadata']['name']}: absent | ours" for x in more
            if _first(x["tree"], "1", "9") is None]
    return out[:12]
