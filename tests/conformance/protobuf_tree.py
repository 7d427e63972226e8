# SPDX-License-Identifier: Apache-2.0
"""Protobuf without schemas, as a JSON-like tree to compare.

A field is "number"; a value that parses as a message of printable or nested
parts becomes a dict, else a string or a number. Two encoders of the same
objects give the same tree, which is all that is asked of it.
"""

import re

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
        return {k: [blank_tree(v, blank_text) for v in vs]
                for k, vs in value.items()}
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
