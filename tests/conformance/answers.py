# SPDX-License-Identifier: Apache-2.0
"""Compares two answers' bodies, and learns which of our values stands for
which recorded one.

Lists are compared object by object: by name, where names are drawn by what
else they hold.
"""

import json
import re

import printed
import progress
import protobuf_tree
import volatile

PAIRED = ("uid", "resourceVersion", "name", "clusterIP", "continue",
          "pod-template-hash")


class Pairs:
    """Recorded value -> ours, learnt from answers."""

    def __init__(self):
        self.known = {}
        self.pattern = None
        self.etags = {}

    def learn(self, recorded, ours):
        if isinstance(recorded, dict) and isinstance(ours, dict):
            for key in recorded.keys() & ours.keys():
                one, other = recorded[key], ours[key]
                if key in PAIRED and isinstance(one, str) and \
                        isinstance(other, str) and len(one) > 2:
                    if one != other and (key != "name" or volatile.blank_text(
                            one) == volatile.blank_text(other)):
                        self.known[one] = other
                        self.pattern = None
                elif key in ("items", "rows") and isinstance(one, list) and \
                        isinstance(other, list):
                    for pair in match(one, other, self)[0]:
                        self.learn(*pair)
                else:
                    self.learn(one, other)
        elif isinstance(recorded, list) and isinstance(ours, list):
            for one, other in zip(recorded, ours):
                self.learn(one, other)

    def learn_values(self, values):
        self.known.update((one, other) for one, other in values.items()
                          if one and other and one != other)
        self.pattern = None

    def rewrite(self, text):
        if not self.known:
            return text
        if self.pattern is None:
            self.pattern = re.compile(
                # Behind "=", "," and "/" as a path has them, too.
                r"(?:(?<![\w.])|(?<=%3D)|(?<=%2C)|(?<=%2F))(" +
                "|".join(re.escape(k) for k in sorted(
                    self.known, key=len, reverse=True)) + r")(?![\w.])")
        return self.pattern.sub(lambda m: self.known[m[1]], text)


def parse(body, content_type, watch=False):
    """("json", value), ("events", [values]), ("protobuf", tree),
    ("text", str)"""
    if body.startswith(protobuf_tree.MAGIC):
        try:
            return "protobuf", protobuf_tree.tree(body)
        except ValueError:
            return "text", body.hex()
    text = body.decode(errors="replace")
    if "json" in content_type:
        try:
            if not watch:
                return "json", json.loads(text)
        except ValueError:
            pass
        try:
            return "events", [json.loads(line) for line in text.splitlines()
                              if line]
        except ValueError:
            pass
    return "text", text


def _name(item):
    meta = item.get("metadata") or (item.get("object") or {}).get("metadata")
    if not meta:
        return str((item.get("cells") or [""])[0])
    return f"{meta.get('namespace', '')}/{meta.get('name', '')}"


def match(recorded, ours, pairs):
    """([(one, other)], [recorded only], [ours only]): by name, drawn parts
    blanked; of several the one that is known, else the most alike."""
    groups = {}
    for other in ours:
        groups.setdefault(volatile.blank_text(_name(other)), []).append(other)
    found, alone = [], []
    waiting = []
    for one in recorded:
        group = groups.get(volatile.blank_text(_name(one)), [])
        ours_name = pairs.known.get(_name(one).split("/")[-1],
                                    _name(one).split("/")[-1])
        known = [other for other in group
                 if _name(other).split("/")[-1] == ours_name]
        if known:
            group.remove(known[0])
            found.append((one, known[0]))
        else:
            waiting.append(one)
    for one in waiting:
        group = groups.get(volatile.blank_text(_name(one)), [])
        if not group:
            alone.append(one)
            continue
        best = min(group, key=lambda other: len(_object(
            "", one, other, 1000)))
        group.remove(best)
        found.append((one, best))
    return found, alone, [other for group in groups.values()
                          for other in group]


def _object(kind, one, other, limit=12):
    if "cells" in one:
        return _row(one, other)
    one, other = progress.align(kind, one, other)
    if any(side.get(key) for side in (one, other)
           for key in ("subsets", "endpoints")):
        one, other = map(progress.without_history, (one, other))
    return volatile.differences(volatile.blank(one), volatile.blank(other),
                                limit=limit)


def _row(one, other):
    def blank(row):
        cells = [volatile.blank_text(c) if isinstance(c, str) else c
                 for c in row.get("cells", [])]
        return dict(row, cells=[
            "NODE" if isinstance(c, str) and re.fullmatch("node-[123]", c)
            else c for c in cells])
    one, other = blank(one), blank(other)
    if one["cells"][:1] == ["kubernetes"]:  # where the server listens
        for side in (one, other):
            side["cells"] = ["PORT" if str(c).isdigit() else c
                             for c in side["cells"]]
    if one.get("object") and other.get("object"):
        a, b = progress.align("", one["object"], other["object"])
        if "PODIP" in str(one["cells"]):  # endpoints
            a, b = map(progress.without_history, (a, b))
        one, other = dict(one, object=a), dict(other, object=b)
    return volatile.differences(volatile.blank(one), volatile.blank(other))


def _list(one, other, key, pairs):
    """Of two lists or Tables."""
    kind = str(one.get("kind", ""))
    rest = [{k: v for k, v in side.items() if k != key}
            for side in (one, other)]
    out = volatile.differences(*map(volatile.blank, rest))
    found, alone, more = match(one.get(key) or [], other.get(key) or [],
                               pairs)
    for each, twin in found:
        out += [f"{_name(each)}: {line}"
                for line in _object(kind, each, twin)]
    out += [f"{_name(each)}: recorded | absent" for each in alone
            if not printed.UNSERVED_ROW.search(_name(each)) and
            not _is_leaving(each)]
    out += [f"{_name(each)}: absent | ours" for each in more
            if not _is_leaving(each)]
    return out[:12]


def is_deleted(parsed):
    """Whether a parsed body is an object that was deleted and is still there."""
    kind, value = parsed
    if kind == "protobuf":
        return protobuf_tree.is_deleted(value)
    return kind == "json" and isinstance(value, dict) and _is_leaving(value)


def _is_leaving(item):
    """How long an object that was deleted stays is a matter of time."""
    meta = item.get("metadata") or (item.get("object") or {}).get("metadata")
    return "deletionTimestamp" in (meta or {})


def _unserved_event(reason, kind, name):
    return printed.UNSERVED_ROW.search(
        f"{reason} {str(kind).lower()}/{name}")


def _events(value):
    """What event_sets takes, of a list or Table of Events."""
    out = []
    for item in value.get("items") or []:
        about = item["involvedObject"]
        if _unserved_event(item.get("reason"), about.get("kind"),
                           about.get("name")):
            continue
        out.append((item.get("type"), item.get("reason"), volatile.blank_text(
            f"{about.get('kind')}/{about.get('name')}"),
            volatile.blank_text(item.get("message", ""))))
    for row in value.get("rows") or []:
        cells = [volatile.blank_text(str(c)) for c in row["cells"]]
        if _unserved_event(cells[2], *cells[3].split("/", 1)):
            continue
        out.append((cells[1], cells[2], cells[3], cells[4]
                    if len(cells) < 9 else cells[6]))
    return progress.event_sets(out)


def event_lines(one, other):
    """Which of two event sets only one has."""
    return [f"event {event}: recorded | absent" for event in one
            if event not in other] + [
                f"event {event}: absent | ours" for event in other
                if event not in one]


def body(recorded, ours, pairs, path="", served=None):
    """Lines that say how two parsed bodies differ."""
    kind, one = recorded
    other_kind, other = ours
    if "spec.nodeName" in path and kind == other_kind:
        return []  # which pods are on a node is drawn
    if kind != other_kind:
        return [f"body: {kind} | {other_kind} {str(other)[:80]}"]
    if kind == "json" and isinstance(one, dict) and isinstance(other, dict):
        return _json(one, other, pairs, path)
    if kind == "json":
        return volatile.differences(volatile.blank(one), volatile.blank(other))
    if kind == "protobuf":
        return protobuf_tree.differences(one, other, pairs,
                                         {at for at, _ in served or ()})
    if kind == "events":
        # How many events a change takes is a matter of timing; which types
        # arrive isn't, nor what an event looks like.
        def types(events):
            return sorted({event.get("type") for event in events})
        deleted = "DELETED" in types(one)  # and ours is gone, or about to go
        if types(one) != types(other) and not (
                deleted and set(types(other)) <= {"BOOKMARK", *types(one)}):
            return [f"event types: {types(one)} | {types(other)}"]
        return []
    one, other = volatile.blank_text(one), volatile.blank_text(other)
    return [] if one == other else [f"body: {one[:120]!r} | {other[:120]!r}"]


def _json(one, other, pairs, path):
    if one.get("kind") == other.get("kind") and re.search(
            r"/events(\?|$)", path):
        if "items" in one or "rows" in one:
            return event_lines(_events(one), _events(other))
    for key in ("items", "rows"):
        if isinstance(one.get(key), list) and isinstance(other.get(key),
                                                         list):
            return _list(one, other, key, pairs)
    return _object("", one, other)
