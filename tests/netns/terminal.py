#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a command on a terminal of its own as a person would who resizes the
window: begins with 40 rows and 100 columns, and when the command has said
"ready" goes to 33 by 77. Prints what the command says.

usage: terminal.py COMMAND...
"""

import fcntl
import os
import pty
import struct
import sys
import termios


def resize(terminal, rows, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ,
                struct.pack("HHHH", rows, columns, 0, 0))


def main():
    # The command waits on the pipe until its terminal has a size.
    ready, go = os.pipe()
    pid, terminal = pty.fork()
    if pid == 0:
        os.read(ready, 1)
        os.execvp(sys.argv[1], sys.argv[1:])
    resize(terminal, 40, 100)
    os.write(go, b"x")
    said, resized = b"", False
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # the command has ended
            break
        if not chunk:
            break
        said += chunk
        if b"ready" in said and not resized:
            resized = True
            resize(terminal, 33, 77)
    sys.stdout.write(said.decode(errors="replace").replace("\r\n", "\n"))
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    main()
