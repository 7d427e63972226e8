# SPDX-License-Identifier: Apache-2.0
"""Reads recorded kubectl commands and request/answer pairs.

A folder of recordings has ORDER.txt (name, tab, command line) and for each
name NAME.out.txt (what kubectl printed) and NAME.http.jsonl[.gz] (one exchange
a line). ../manifests holds the files that the commands read. errors/ holds
lists of exchanges, tables/ and discovery/ bodies with an index.json.
"""

import base64
import dataclasses
import gzip
import json
import pathlib
import re


@dataclasses.dataclass
class Printed:
    stdout: str
    stderr: str
    code: int


@dataclasses.dataclass
class Exchange:
    """One request and its answer; bodies are bytes, headers lower-case."""
    method: str
    path: str
    request_headers: dict
    request_body: bytes
    status: int
    headers: dict
    body: bytes
    pieces: bool = False  # the answer came piece by piece: a watch
    note: str = ""
    seconds: float = 1.5  # that a watch is listened to, at most


@dataclasses.dataclass
class Command:
    name: str
    line: str
    folder: pathlib.Path

    def printed(self):
        text = (self.folder / f"{self.name}.out.txt").read_text()
        match = re.search(r"^--- stdout\n(.*?)--- stderr\n(.*?)"
                          r"^--- exit (\d+)\s*\Z", text, re.S | re.M)
        return Printed(match[1], match[2], int(match[3]))

    def exchanges(self):
        path = self.folder / f"{self.name}.http.jsonl"
        if path.exists():
            lines = path.read_text().splitlines()
        else:
            packed = path.with_name(path.name + ".gz")
            if not packed.exists():
                return []
            lines = gzip.decompress(packed.read_bytes()).decode().splitlines()
        return [_from_jsonl(json.loads(line)) for line in lines if line]


def _bytes(holder):
    if "body_base64" in holder:
        return base64.b64decode(holder["body_base64"])
    return (holder.get("body") or "").encode()


def _lower(headers):
    return {name.lower(): value[0] if isinstance(value, list) else value
            for name, value in headers.items()}


def _from_jsonl(entry):
    request, answer = entry["request"], entry["response"]
    pieces = answer.get("pieces")
    body = b"".join(map(_bytes, pieces)) if pieces else _bytes(answer)
    # As long as the recorded client did, and a little more.
    seconds = max(1.5, min(answer.get("end_ms", 0) / 1000 + 2, 10))
    return Exchange(request["method"], request["path"],
                    _lower(request.get("headers", {})), _bytes(request),
                    answer["status"], _lower(answer.get("headers", {})), body,
                    pieces is not None, seconds=seconds)


def commands(folder):
    folder = pathlib.Path(folder)
    out = []
    for line in (folder / "ORDER.txt").read_text().splitlines():
        if line:
            name, command = line.split("\t", 1)
            out.append(Command(name, command, folder))
    return out


def _status_code(line):
    return int(line.split()[1])


def _first_version(exchanges):
    """The first resourceVersion in the case's answers: when it ran."""
    for exchange in exchanges:
        match = re.search(rb'"resourceVersion": ?"(\d+)"', exchange.body)
        if match and int(match[1]) > 1000:
            return int(match[1])
    return 1 << 60


def _large_body(headers, note):
    """A body that was too large to be kept: as long as it was."""
    what = {"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "big"}}
    if "annotations" in note:
        what["metadata"]["annotations"] = {"a": ""}
    else:
        what["data"] = {"k": ""}
    missing = int(headers["Content-Length"]) - len(json.dumps(what))
    return json.dumps(what).replace(': ""}', f': "{"x" * missing}"}}')


def cases(folder):
    """errors/: [(name, [Exchange])], in the order in which they ran."""
    out = []
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        exchanges = []
        for entry in json.loads(path.read_text())["exchanges"]:
            request = entry["request"]
            body = request.get("body") or ""
            if isinstance(body, dict):
                body = json.dumps(body)
            sent = request.get("headers", {})
            if not body and int(sent.get("Content-Length", 0)) > 20000:
                body = _large_body(sent, entry.get("note", ""))
            exchanges.append(Exchange(
                request["method"], request["path"],
                _lower(sent), body.encode(),
                _status_code(entry["status_line"]),
                {key.lower(): value for key, value in entry["headers"]},
                (entry.get("body") or "").encode(), False,
                entry.get("note", "")))
        out.append((path.stem, exchanges))
    return sorted(out, key=lambda case: (_first_version(case[1]), case[0]))


def indexed(folder):
    """tables/ and discovery/: [(file name, Exchange)] in recorded order."""
    folder = pathlib.Path(folder)
    out = []
    for entry in json.loads((folder / "index.json").read_text()):
        request = entry["request"]
        path = folder / entry["file"]
        out.append((entry["file"], Exchange(
            request["method"], request["path"],
            _lower(request.get("headers", {})),
            (request.get("body") or "").encode(),
            _status_code(entry["status_line"]),
            {key.lower(): value for key, value in entry["headers"]},
            path.read_bytes() if path.exists() else b"",
            entry["file"].endswith(".jsonl"))))
    return out
