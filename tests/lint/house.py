#!/usr/bin/env python3
"""House rules that a machine can check: see RULES below."""

import pathlib
import re
import subprocess
import sys

CODE = {".h", ".cc", ".c", ".def"}
MAX_LINES = 800  # of a file; docs/ARCHITECTURE.md says why


def spdx(name, text):
    """Every source file says its licence in its first lines."""
    if "SPDX-License-Identifier:" not in "\n".join(text.split("\n")[:2]):
        yield 1


def keep_in_sync(name, text):
    """A 'keep in sync' comment is an include that is missing."""
    for number, line in enumerate(text.split("\n"), 1):
        if re.search(r"keep .{0,20}in sync|must be in sync", line, re.I):
            yield number


def todo_owner(name, text):
    """A TODO names an issue: TODO(#12)."""
    for number, line in enumerate(text.split("\n"), 1):
        if re.search(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))", line):
            yield number


def bool_pointer(name, text):
    """BPF C returns small structs, never through scalar out-parameters."""
    if not name.startswith("bpf/"):
        return
    for number, line in enumerate(text.split("\n"), 1):
        if re.search(r"\b(bool|_Bool)\s*\*\s*\w+\s*[,)]", line):
            yield number


def too_long(name, text):
    """A file of more than MAX_LINES lines has more than one reason."""
    lines = text.count("\n")
    if lines > MAX_LINES:
        yield lines


def using_std(name, text):
    """No using-directives in headers; never `using namespace std`."""
    for number, line in enumerate(text.split("\n"), 1):
        if "// NOLINT: " in line:  # an exception states its reason
            continue
        if re.search(r"^\s*using namespace std\s*;", line) or (
                name.endswith(".h") and re.search(
                    r"^\s*using namespace\b", line)):
            yield number


def system_shell(name, text):
    """Programs make system calls, not shell calls (tests may)."""
    if name.startswith("tests/"):
        return
    for number, line in enumerate(text.split("\n"), 1):
        if re.search(r"\b(std::)?system\(\"|\bpopen\(", line):
            yield number


RULES = [spdx, keep_in_sync, todo_owner, bool_pointer, too_long, using_std,
         system_shell]
BAD = {
    spdx: ("a.cc", "int x;\n"),
    keep_in_sync: ("a.h", "// Keep this in sync with b.h\n"),
    todo_owner: ("a.cc", "// TODO: later\n"),
    bool_pointer: ("bpf/lib/a.h", "static int f(struct s *s, bool *v)\n"),
    too_long: ("a.cc", "\n" * (MAX_LINES + 1)),
    using_std: ("a.h", "using namespace absl;\n"),
    system_shell: ("a.cc", 'system("ls");\n'),
}
GOOD = [
    ("a.cc", "// SPDX-License-Identifier: Apache-2.0\n// TODO(#4): later\n"),
    ("bpf/lib/a.h",
     "/* SPDX-License-Identifier: GPL-2.0-only */\nint f(struct s *s);\n"),
    ("a.h", "// SPDX-License-Identifier: Apache-2.0\n"
     "using namespace packet;  // NOLINT: the sentences' words\n"),
]


def check(name, text):
    return [f"{name}:{number}: {rule.__doc__.strip()}"
            for rule in RULES for number in rule(name, text)]


def selftest():
    for rule in RULES:
        assert list(rule(*BAD[rule])), f"{rule.__name__} sees nothing"
    for name, text in GOOD:
        assert not check(name, text), check(name, text)


def main(root):
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z"], capture_output=True)
    if listed.returncode == 0:
        names = listed.stdout.decode().split("\0")
    else:
        names = [str(p.relative_to(root)) for p in root.rglob("*")]
    found = []
    for name in names:
        path = root / name
        if path.suffix in CODE and path.is_file() and "testdata" not in name:
            found += check(name, path.read_text())
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    if sys.argv[1] == "--selftest":
        sys.exit(selftest())
    sys.exit(main(pathlib.Path(sys.argv[1])))
