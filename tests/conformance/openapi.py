# SPDX-License-Identifier: Apache-2.0
"""Holds the OpenAPI v3 documents against the recorded ones, type by type."""

import gzip
import json
import tempfile

import cluster
import volatile

# What the recorded documents hold and these don't: texts are gone from the
# recordings, and how a reference is wrapped says nothing.
_LEFT_OUT = {"description", "title"}


def _normal(schema):
    """A schema without texts, references unwrapped."""
    if isinstance(schema, list):
        return [_normal(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: _normal(value) for key, value in schema.items()
           if key not in _LEFT_OUT}
    wrapped = out.get("allOf")
    if isinstance(wrapped, list) and len(wrapped) == 1 and "$ref" in (
            wrapped[0]):
        out.pop("allOf")
        out.update(wrapped[0])
    if isinstance(out.get("required"), list):
        out["required"] = sorted(out["required"])
    return out


def compare(options, results):
    folder = options.recordings / "openapi"
    with tempfile.TemporaryDirectory() as temp:
        controller = cluster.Controller(options.controller, temp)
        try:
            for path in sorted(folder.glob("v3-api*.json.gz")):
                where = path.name[3:-len(".json.gz")].replace("_", "/")
                ours = controller.api.json("GET", f"/openapi/v3/{where}")
                if not ours:
                    continue
                recorded = json.loads(gzip.decompress(path.read_bytes()))
                _compare_types(where, recorded["components"]["schemas"],
                               ours["components"]["schemas"], results)
        finally:
            controller.close()


def _compare_types(where, recorded, ours, results):
    """Every type that ours has, under its full name."""
    for name in sorted(ours):
        if name not in recorded:
            found = ["not in the recorded document"]
        else:
            one, other = _normal(recorded[name]), _normal(ours[name])
            # All groups' kinds are listed with the options of verbs.
            for side in (one, other):
                side.pop("x-kubernetes-group-version-kind", None)
            found = volatile.differences(one, other)
        results.add("openapi", f"{where}:{name}", f"GET /openapi/v3/{where}",
                    found)
