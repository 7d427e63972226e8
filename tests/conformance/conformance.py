#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds fairlead-controller against recordings of a Kubernetes API server.

usage: conformance.py RECORDINGS --controller PROGRAM [--table FILE]
           [--part kubectl,replay-1.32,replay-1.36,errors,tables,discovery,
                   openapi] [--diffs FOLDER] [--kubectl PROGRAM]
           [--expect FILE] [--jobs N]

Runs each recorded kubectl command with the installed kubectl against a fresh
controller, in the recorded order, and compares what is printed; replays the
recorded requests against another fresh one and compares the answers field by
field. What is volatile is named in volatile.py, with reasons; what was done
between the commands in steps.py.

So many parts at once as --jobs says.

--table writes docs/CONFORMANCE.md. --diffs writes a file for each difference.
--write-expect FILE lists the names of what is alike.
--expect FILE ends with an error if a name that the file lists isn't alike.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import pathlib
import shutil
import sys
import tempfile
import time

import cluster
import kubectl as kubectl_commands
import openapi
import reasons
import recordings
import report
import replay
import steps
from printed import compare


def kubectl_part(options, results):
    folder = options.recordings / "kubectl-1.32"
    with tempfile.TemporaryDirectory() as temp:
        controller = cluster.Controller(options.controller, temp)
        nodes = cluster.NodeScript(controller.port)
        try:
            kubectl = kubectl_commands.Kubectl(
                options.recordings / "manifests", controller.kubeconfig, temp,
                options.kubectl)
            for command in recordings.commands(folder):
                for line in steps.before("1.32", command.name):
                    kubectl.run(line)
                if not any(word in command.line for word in steps.UNSETTLED):
                    cluster.settle(controller.api)
                recorded = command.printed()
                ours = kubectl.recorded(
                    command, steps.WATCH_SECONDS if recorded.code == 124
                    else 40)
                results.add("kubectl", command.name, command.line, compare(
                    command.line, recorded, ours, unserved=True))
        finally:
            nodes.close()
            controller.close()


def learn_kinds(options, results):
    """What the recorded server had, and what ours has."""
    for name in ("api.aggregated.json", "apis.aggregated.json"):
        path = options.recordings / "discovery" / name
        if not path.exists():
            continue
        reasons.RECORDED_KINDS.update(
            reasons.kinds_of(json.loads(path.read_text())))
    with tempfile.TemporaryDirectory() as temp:
        controller = cluster.Controller(options.controller, temp)
        try:
            results.served = reasons.served_kinds(controller.api)
        finally:
            controller.close()


PARTS = {
    "kubectl": kubectl_part,
    "replay-1.32": lambda o, r: replay.replay_commands(o, r, "1.32"),
    "replay-1.36": lambda o, r: replay.replay_commands(o, r, "1.36"),
    "errors": replay.replay_cases,
    "tables": lambda o, r: replay.replay_index(o, r, "tables"),
    "discovery": lambda o, r: replay.replay_index(o, r, "discovery"),
    "openapi": openapi.compare,
}
# Where a part's recordings are, if they are there.
FOLDERS = {"kubectl": "kubectl-1.32", "replay-1.32": "kubectl-1.32",
           "replay-1.36": "kubectl-1.36"}


def run_part(job):
    options, part, served = job
    results = report.Results()
    results.served = served
    if (options.recordings / FOLDERS.get(part, part)).exists() and (
            part != "kubectl" or shutil.which(options.kubectl)):
        PARTS[part](options, results)
    return results.rows


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("recordings", type=pathlib.Path)
    parser.add_argument("--controller", required=True)
    parser.add_argument("--kubectl", default="kubectl")
    parser.add_argument("--table", type=pathlib.Path)
    parser.add_argument("--diffs", type=pathlib.Path)
    parser.add_argument("--expect", type=pathlib.Path)
    parser.add_argument("--write-expect", type=pathlib.Path)
    parser.add_argument("--part", default=",".join(PARTS))
    parser.add_argument("--jobs", type=int, default=3)
    options = parser.parse_args()
    options.controller = str(pathlib.Path(options.controller).resolve())
    results = report.Results()
    began = time.monotonic()
    learn_kinds(options, results)
    parts = [part for part in PARTS if part in options.part.split(",")]
    # Each has a controller of its own; forked, so that all know the kinds.
    with concurrent.futures.ProcessPoolExecutor(
            options.jobs, multiprocessing.get_context("fork")) as pool:
        for rows in pool.map(run_part, [(options, part, results.served)
                                        for part in parts]):
            results.rows += rows
    print(results.summary())
    print(f"{time.monotonic() - began:.0f} s")
    if options.diffs:
        results.write_diffs(options.diffs)
    if options.table:
        options.table.write_text(results.table())
    if options.write_expect:
        options.write_expect.write_text("\n".join(results.alike()) + "\n")
    if options.expect:
        expected = options.expect.read_text().split()
        if not shutil.which(options.kubectl):
            print("no kubectl: its commands are left out")
            expected = [e for e in expected if not e.startswith("kubectl/")]
        return results.check(expected)
    return 0


if __name__ == "__main__":
    sys.exit(main())
