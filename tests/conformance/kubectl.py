# SPDX-License-Identifier: Apache-2.0
"""Runs kubectl command lines as a recorder did."""

import os
import pathlib
import shutil
import subprocess
import threading

import recordings
import steps


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
