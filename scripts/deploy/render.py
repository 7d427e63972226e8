#!/usr/bin/env python3
"""Renders the chart without Helm: scripts/deploy/render.py [NAME=VALUE...]

Prints every object of scripts/deploy/chart, as `helm template --namespace
kube-system` does. NAME=VALUE replaces one of values.yaml: image.tag=1.2. The
chart keeps to what this understands: {{ .Values.a.b }}, {{ .Release.Namespace }}
(release.namespace=... here) and `| quote`.

scripts/deploy/fairlead-agent.yaml is its output; --check says whether it still
is, --write makes it so.
"""
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
CHART = HERE / "chart"
MANIFEST = HERE / "fairlead-agent.yaml"
HEADER = "# Made by scripts/deploy/render.py from scripts/deploy/chart.\n"


def read_values(text):
    """{"image.tag": "0.1.0"} of nested `name: value` lines."""
    values, path = {}, []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r'((?:  )*)([A-Za-z]+):(?: ("[^"]*"|[^\s"#]+))?', line)
        if not match:
            sys.exit(f"render: values.yaml:{number}: not understood: {line}")
        indent, name, value = match.groups()
        path = path[: len(indent) // 2] + [name]
        if value is not None:
            values[".".join(path)] = value.strip('"')
    return values


def render(text, values, where):
    def fill(match):
        name, quote = match.groups()
        key = name.removeprefix("Values.")
        if name == "Release.Namespace":
            key = "release.namespace"
        if key not in values:
            sys.exit(f"render: {where}: no value for .{name}")
        return json.dumps(values[key]) if quote else values[key]

    filled = re.sub(r"{{ \.([A-Za-z.]+)( \| quote)? }}", fill, text)
    if "{{" in filled:
        sys.exit(f"render: {where}: only {{{{ .Values.a.b }}}}, "
                 "{{ .Release.Namespace }} and `| quote` are understood")
    return filled


def main(args):
    known = ("--check", "--write")
    modes = [a for a in args if a in known]
    values = read_values((CHART / "values.yaml").read_text())
    values["release.namespace"] = "kube-system"
    for arg in args:
        if arg in ("-h", "--help"):
            print(__doc__)
            return
        if arg in known:
            continue
        name, equals, value = arg.partition("=")
        if not equals or name not in values:
            sys.exit(f"render: {arg}: want one of {', '.join(sorted(values))}, "
                     "with =VALUE")
        values[name] = value
    parts = [render(path.read_text(), values, path.name)
             for path in sorted((CHART / "templates").glob("*.yaml"))]
    text = HEADER + "---\n".join(parts)
    if not modes:
        sys.stdout.write(text)
    elif "--write" in modes:
        MANIFEST.write_text(text)
    elif MANIFEST.read_text() != text:
        sys.exit("scripts/deploy/fairlead-agent.yaml is not what the chart says: "
                 "run scripts/deploy/render.py --write")


if __name__ == "__main__":
    main(sys.argv[1:])
