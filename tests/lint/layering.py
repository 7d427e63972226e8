#!/usr/bin/env python3
"""A room may include only from rooms below it (docs/ARCHITECTURE.md).

The order is ROOMS: each room and what it may include besides itself. A wrong
include is a red build, not a review comment.
"""

import pathlib
import re
import sys
import tempfile

# What only the data path's rooms may see: control/* must not know it.
ROOMS = {
    "bpf/abi": [],
    "bpf/lib": ["bpf/abi"],
    "bpf/progs": ["bpf/abi", "bpf/lib"],
    "userspace/base": [],
    "userspace/pki": ["userspace/base"],
    "userspace/kube": ["userspace/base"],
    "userspace/netlink": ["userspace/base"],
    "userspace/model": ["userspace/base", "userspace/kube", "bpf/abi"],
    "userspace/reconcile": ["userspace/base", "userspace/kube",
                            "userspace/model", "bpf/abi"],
    "userspace/datapath": ["userspace/base", "userspace/kube",
                           "userspace/model", "userspace/reconcile",
                           "bpf/abi", "bpf/lib"],
    "userspace/agent": ["userspace/base", "userspace/kube",
                        "userspace/netlink", "userspace/model",
                        "userspace/reconcile", "userspace/datapath",
                        "bpf/abi"],
    "userspace/kubelet": ["userspace/base", "userspace/pki",
                          "userspace/kube", "userspace/netlink"],
    "userspace/cli": ["userspace/base", "userspace/pki", "userspace/kube",
                      "userspace/netlink"],
    "control/store": ["userspace/base"],
    "control/api": ["userspace/base", "userspace/pki", "userspace/kube",
                    "control/store"],
    "control/controllers": ["userspace/base", "userspace/kube",
                            "control/api"],
    "control/scheduler": ["userspace/base", "userspace/kube", "control/api",
                          "control/controllers"],
    "control/server": ["userspace/base", "userspace/pki", "userspace/kube",
                       "control/store", "control/api", "control/controllers",
                       "control/scheduler"],
}
# bpf(2) is in one room, netlink in another.
OWNED_HEADERS = {
    r"bpf/(bpf|libbpf|btf)\.h": {"userspace/datapath", "bpf/lib", "bpf/progs"},
    r"linux/bpf\.h": {"userspace/datapath", "bpf/lib", "bpf/progs"},
    r"(netlink/.*|nftables/.*|linux/(rt)?netlink\.h)": {"userspace/netlink"},
    r"sqlite3\.h": {"control/store"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def room_of(path):
    parts = path.split("/")
    return "/".join(parts[:2])


def check_file(name, text):
    """The violations of one file, as lines to print."""
    room = room_of(name)
    if room not in ROOMS:
        return []
    found = []
    for quote, header in INCLUDE.findall(text):
        target = room_of(header)
        if target in ROOMS and target != room and target not in ROOMS[room]:
            found.append(f"{name}: {room} may not include {header}")
        for pattern, owners in OWNED_HEADERS.items():
            if (re.fullmatch(pattern, header) and quote == "<"
                    and room not in owners):
                found.append(
                    f"{name}: {header} belongs to {', '.join(sorted(owners))}")
    return found


def check_tree(root):
    found = []
    for room in ROOMS:
        for path in sorted((root / room).rglob("*")):
            if path.suffix in {".h", ".cc", ".c"}:
                found += check_file(str(path.relative_to(root)),
                                    path.read_text())
    return found


def selftest():
    bad = [
        ("control/api/x.cc", '#include "userspace/datapath/maps.h"\n'),
        ("userspace/base/x.h", '#include "userspace/kube/client.h"\n'),
        ("userspace/agent/x.cc", "#include <bpf/libbpf.h>\n"),
        ("userspace/model/x.cc", '#  include "userspace/agent/config.h"\n'),
    ]
    good = [
        ("userspace/agent/x.cc", '#include "userspace/datapath/maps.h"\n'),
        ("userspace/datapath/x.cc", "#include <bpf/libbpf.h>\n"),
        ("userspace/kube/x.cc", "// #include <bpf/libbpf.h>\n"),
    ]
    for name, text in bad:
        assert check_file(name, text), f"not seen: {name}: {text}"
    for name, text in good:
        assert not check_file(name, text), f"wrongly seen: {name}: {text}"
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "userspace/base").mkdir(parents=True)
        (root / "userspace/base/x.cc").write_text(bad[1][1])
        assert len(check_tree(root)) == 1


if __name__ == "__main__":
    if sys.argv[1] == "--selftest":
        sys.exit(selftest())
    violations = check_tree(pathlib.Path(sys.argv[1]))
    print("\n".join(violations))
    sys.exit(1 if violations else 0)
