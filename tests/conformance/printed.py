# SPDX-License-Identifier: Apache-2.0
"""Compares what two kubectl commands printed."""

import difflib
import json
import re

import progress
from volatile import blank, blank_text

# Objects of kinds that Fairlead doesn't serve: their lines in lists are left
# out of the recorded side.
UNSERVED_ROW = re.compile(
    r"(^|[ /])(ss-0|ss|web2|reg-token|cj|np|ing)( |$)|statefulset|"
    r"horizontalpodautoscaler|KubeAPIReadyz", re.M)


def _cells(text):
    """Columns are as wide as their widest cell, which may be blanked."""
    return [re.sub(r" {2,}", "  ", line).rstrip()
            for line in text.split("\n")]


def _is_table(lines):
    return bool(lines) and bool(
        re.match(r"(NAME|EVENT|NAMESPACE|LAST SEEN)\b", lines[0]))


def _documents(lines):
    """Items of a YAML list sorted, as their names are drawn at random."""
    if "items:" not in lines:
        return lines
    start = lines.index("items:") + 1
    end = start
    while end < len(lines) and (lines[end].startswith(("- ", "  ", "\t"))):
        end += 1
    items, current = [], []
    for line in lines[start:end]:
        if line.startswith("- ") and current:
            items.append(current)
            current = []
        current.append(line)
    items.append(current)
    return lines[:start] + sum(sorted(items), []) + lines[end:]


def _describe_node(text):
    """Which pods are on a node is drawn, and what they ask for with them."""
    text = re.sub(r"^  (default|kube-system) .*\n", "", text, flags=re.M)
    text = re.sub(r"\(\d+ in total\)", "(N in total)", text)
    return re.sub(r"^  (cpu|memory)  .*%\)$", r"  \1", text, flags=re.M)


def _event_lines(text, command):
    """Which events there were: how often and in which steps is a matter of
    time (progress.event_sets), and so is what comes first."""
    lines = [line for line in text.split("\n") if line]
    titles = re.findall(r"\S+(?: \S+)*", lines[0]) if lines else []
    if "MESSAGE" not in titles or "| head" in command:
        return titles
    starts = [lines[0].index(title) for title in titles] + [None]
    cells = [{title: re.sub(r"\bnode-[123]\b", "NODE", blank_text(
        line[starts[i]:starts[i + 1]].strip()))
        for i, title in enumerate(titles)} for line in lines[1:]]
    return titles + list(map(str, progress.event_sets(
        [[cell[title] for title in ("TYPE", "REASON", "OBJECT", "MESSAGE")]
         for cell in cells])))


def _events_sorted(lines):
    """Those of one second come in any order."""
    out, events = [], []
    for line in lines:
        if re.match(r"  (Normal|Warning) ", line):
            events.append(line)
            continue
        out += sorted(events)
        events = []
        out.append(line)
    return out + sorted(events)


def _get_all(text):
    """Blocks of kinds, without their column titles."""
    return "\n".join(line for line in text.split("\n")
                     if line and not line.startswith("NAME "))


def normal(command, text):
    """The lines to compare. Order within a table isn't compared where names
    are drawn; repeated lines of a watch count once, as the number of status
    writes on the way is a matter of timing."""
    if " get --raw /" in command and text.lstrip().startswith("{"):
        try:  # one line: fields may come in another order
            return json.dumps(blank(json.loads(text)), indent=1,
                              sort_keys=True).split("\n")
        except ValueError:
            pass
    if re.search(r"kubectl (get )?events", command):
        return _event_lines(text, command)
    text = blank_text(text)
    if "describe node" in command:
        text = _describe_node(text)
    if "get all" in command:
        text = _get_all(text)
    if "spec.nodeName=" in command:
        text = "\n".join(text.split("\n")[:1])  # who is there is drawn
    if "custom-columns" in command and "resourceVersion" in command:
        text = re.sub(r" +\d+$", " RV", text, flags=re.M)
    pods = "kube-api-access" in text or re.search(
        r"\bpods?\b|\bdrain|events", command)
    if pods:
        text = re.sub(r"\bnode-[123]\b", "NODE", text)
        text = re.sub(r"\bzone-[ab]\b", "ZONE", text)
    lines = _cells(text)
    if "kubectl describe cm" in command:
        return sorted(lines)  # kubectl goes through a map of its data
    if "kubectl describe" in command:
        return _events_sorted(lines)
    if " -w" in command or "--watch" in command or \
            "rollout status" in command:
        once = []
        for line in lines:
            if line not in once or line.startswith((" ", "{", "}")):
                once.append(line)
        lines = once
        if "rollout status" in command:
            lines = [re.sub(r"\d+( out of| old)", r"N\1", line)
                     for line in lines]
            lines = list(dict.fromkeys(lines))
            last = [line for line in lines if "Waiting for" not in line]
            return last  # how far it was on the way is a matter of timing
        return lines
    if "drain" in command:
        # Which pods are on the node is drawn.
        return sorted({re.sub(r"; deleting Pods that declare no .*|"
                              r"deleting Pods that declare no [^;]*; ", "",
                              re.sub(r"\bpod(/| default/)\S+", "pod POD",
                                     line)) for line in lines})
    if _is_table(lines):
        return lines[:1] + sorted(lines[1:])
    if "drain" in command or "get all" in command or "jsonpath" in command:
        return sorted(lines)
    return _documents(lines)


def without_unserved(text):
    return "\n".join(line for line in text.split("\n")
                     if not UNSERVED_ROW.search(line))


def compare(command, recorded, ours, unserved=()):
    """[] when alike, else a diff's lines."""
    out = []
    for name in ("stdout", "stderr"):
        theirs, mine = getattr(recorded, name), getattr(ours, name)
        if unserved and command.startswith("kubectl get "):
            theirs, mine = without_unserved(theirs), without_unserved(mine)
        one, other = normal(command, theirs), normal(command, mine)
        if one != other:
            out += [f"{name} {line}" for line in difflib.unified_diff(
                one, other, "recorded", "fairlead", n=0, lineterm="")
                if not line.startswith(("---", "+++", "@@"))]
    if recorded.code != ours.code:
        out.append(f"exit -{recorded.code} +{ours.code}")
    return out
