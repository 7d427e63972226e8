#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds fairlead-controller against recordings of a Kubernetes API server.

usage: conformance.py RECORDINGS --controller PROGRAM [--table FILE]
           [--only NAME,...] [--part kubectl,replay,errors,tables,discovery]
           [--diffs FOLDER] [--kubectl PROGRAM] [--expect FILE]

Runs each recorded kubectl command with the installed kubectl against a fresh
controller, in the recorded order, and compares what is printed; replays the
recorded requests against another fresh one and compares the answers field by
field. What is volatile is named in volatile.py, with reasons; what was done
between the commands in steps.py.

--table writes docs/CONFORMANCE.md. --diffs writes a file for each difference.
--write-expect FILE lists the names of what is alike.
--expect FILE ends with an error if a name that the file lists isn't alike.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import cluster
import reasons
import recordings
import report
import replay
import steps
from printed import compare


def run_shell(line, folder, environment, seconds):
    """Printed; exit 124 when stopped after that time."""
    process = subprocess.Popen(["bash", "-c", line], cwd=folder,
                               env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        out, err = process.communicate(timeout=seconds)
        return recordings.Printed(out, err, process.returncode)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 15)
        out, err = process.communicate()
        return recordings.Printed(out, err, 124)


class Kubectl:
    """Runs commands with a home, a kubeconfig and the manifests of its own."""

    def __init__(self, manifests, kubeconfig, folder, program):
        self.folder = pathlib.Path(folder) / "work"
        shutil.copytree(manifests, self.folder)
        bin_folder = pathlib.Path(folder) / "bin"
        bin_folder.mkdir()
        (bin_folder / "kubectl").symlink_to(shutil.which(program))
        self.environment = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}", "TZ": "UTC",
            "HOME": str(folder), "KUBECONFIG": str(kubeconfig),
            "LC_ALL": "C.UTF-8", "TMPDIR": str(folder)}

    def run(self, line, seconds=40):
        return run_shell(line, self.folder, self.environment, seconds)

    def recorded(self, command, seconds):
        during = steps.DURING.get(command.name, [])
        others = [threading.Timer(after, self.run, [line])
                  for after, line in during]
        for other in others:
            other.start()
        printed = self.run(command.line, seconds)
        for other in others:
            other.join()
        return printed


def kubectl_part(options, results):
    folder = options.recordings / "kubectl-1.32"
    with tempfile.TemporaryDirectory() as temp:
        controller = cluster.Controller(options.controller, temp)
        nodes = cluster.NodeScript(controller.port)
        try:
            kubectl = Kubectl(options.recordings / "manifests",
                              controller.kubeconfig, temp, options.kubectl)
            for command in recordings.commands(folder):
                for line in steps.BEFORE.get(command.name, []):
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
        for item in json.loads(path.read_text())["items"]:
            group = item["metadata"].get("name", "")
            for version in item["versions"]:
                at = version["version"]
                for resource in version["resources"]:
                    reasons.RECORDED_KINDS.add(
                        (f"{group}/{at}" if group else at,
                         resource["resource"]))
    with tempfile.TemporaryDirectory() as temp:
        controller = cluster.Controller(options.controller, temp)
        try:
            results.served = reasons.served_kinds(controller.api)
        finally:
            controller.close()


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("recordings", type=pathlib.Path)
    parser.add_argument("--controller", required=True)
    parser.add_argument("--kubectl", default="kubectl")
    parser.add_argument("--table", type=pathlib.Path)
    parser.add_argument("--diffs", type=pathlib.Path)
    parser.add_argument("--expect", type=pathlib.Path)
    parser.add_argument("--write-expect", type=pathlib.Path)
    parser.add_argument("--part", default="kubectl,replay,errors,tables,"
                                          "discovery")
    options = parser.parse_args()
    options.controller = str(pathlib.Path(options.controller).resolve())
    results = report.Results()
    began = time.monotonic()
    learn_kinds(options, results)
    parts = options.part.split(",")
    if "kubectl" in parts and shutil.which(options.kubectl):
        kubectl_part(options, results)
    replay.run(options, parts, results)
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
