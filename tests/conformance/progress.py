# SPDX-License-Identifier: Apache-2.0
"""What of an answer is only a matter of when it was asked for.

The recorder did not wait between its commands, and how fast a controller, a
node or the garbage collector gets on isn't the API's to say. So where either
side shows an object on its way, the parts that tell how far it was aren't
compared; all else of it is.
"""

import copy
import re

# Kinds whose status follows their spec.
_WORKLOADS = {"Deployment", "ReplicaSet", "DaemonSet", "Job"}


_REVISION = "deployment.kubernetes.io/revision"


def _workload_moves(value):
    status = value.get("status") or {}
    wanted = (value.get("spec") or {}).get("replicas", 1)
    if status.get("observedGeneration") != value["metadata"].get("generation"):
        return True
    if status.get("terminatingReplicas") or status.get("unavailableReplicas"):
        return True
    return any(status.get(key, 0) != wanted for key in (
        "replicas", "readyReplicas", "availableReplicas"))


def _kind(value, default=""):
    kind = value.get("kind") or default
    return kind[:-4] if kind.endswith("List") else kind


def _moves(kind, value):
    if kind == "Scale":
        return (value.get("spec") or {}).get("replicas", 0) != (
            value.get("status") or {}).get("replicas", 0)
    if kind == "Pod":
        status = value.get("status") or {}
        ready = [c for c in status.get("conditions") or []
                 if c.get("type") == "Ready" and c.get("status") == "True"]
        return (not ready or "deletionTimestamp" in value["metadata"])
    return kind in _WORKLOADS and _workload_moves(value)


def _without_progress(value, deleted):
    value = copy.deepcopy(value)
    value.pop("status", None)
    meta = value["metadata"]
    # The controller writes it when it makes the rollout's ReplicaSet.
    annotations = meta.get("annotations")
    if annotations and annotations.pop(_REVISION, None) and not annotations:
        del meta["annotations"]
    meta["managedFields"] = [
        entry for entry in meta.get("managedFields") or []
        if entry.get("subresource") != "status"]
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds",
                  "generation", "finalizers") if deleted else ():
        meta.pop(field, None)
    return value


def align(kind, one, other):
    """Two objects, without what differs only by the time of asking."""
    kind = _kind(one, kind)
    if kind != _kind(other, kind) or not all(
            isinstance(side.get("metadata"), dict) for side in (one, other)):
        return one, other
    moves = _moves(kind, one), _moves(kind, other)
    if not any(moves):
        return one, other
    deleted = ("deletionTimestamp" in one["metadata"]) != (
        "deletionTimestamp" in other["metadata"])
    return _without_progress(one, deleted), _without_progress(other, deleted)


TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"


def without_history(value):
    """Endpoints that have some, without the time of what changed them, and how
    often they were written. They have the time if the last change was a pod's
    readiness and that had another time than the one before it, in whole
    seconds."""
    value = copy.deepcopy(value)
    meta = value.get("metadata") or {}
    meta.pop("generation", None)
    _drop(meta, "annotations", TRIGGER)
    for entry in meta.get("managedFields") or []:
        disown_trigger(entry.get("fieldsV1", {}))
    return value


def disown_trigger(fields):
    """`fields`: of a managedFields entry; changed."""
    _drop(fields.get("f:metadata", {}), "f:annotations", f"f:{TRIGGER}")


def _drop(holder, field, key):
    inner = holder.get(field)
    if inner and inner.pop(key, None) is not None and set(inner) <= {"."}:
        del holder[field]


def gone_already(exchange, status, leaving):
    """A wait for a deletion: ours was through with it. `leaving`: the recorded
    object had been deleted."""
    return (exchange.method == "GET" and exchange.status == 200 and
            status == 404 and leaving)


def event_sets(events):
    """Which events there were; how often, and in which steps a rollout went,
    is a matter of time, and so is which of them were put together."""
    out = set()
    for kind, reason, about, message in events:
        message = message.replace("(combined from similar events): ", "")
        out.add((kind, reason, about, re.sub(r"\b\d+\b", "N", message)))
    return sorted(out)
