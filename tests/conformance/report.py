# SPDX-License-Identifier: Apache-2.0
"""Collects comparisons; prints totals, the table of docs/, the differences."""

import collections
import re
import sys

from reasons import RECORDED_KINDS, RECORDING, is_unserved, reason_of

ALIKE, DIFFERS, KIND, RECORDED = ("alike", "differs", "kind not served",
                                  "about the recorded machine")


class Results:
    def __init__(self):
        self.rows = []  # (part, name, what, verdict, reason, lines)
        self.served = set()  # as served_kinds()

    def add(self, part, name, what, lines):
        verdict, reason = ALIKE, ""
        if lines:
            verdict, reason = DIFFERS, reason_of(name, lines)
            recorded = RECORDING.get(f"{part}/{name}", RECORDING.get(name))
            if recorded:
                verdict, reason = RECORDED, recorded
            elif is_unserved(self.served, name, what):
                verdict = KIND
        self.rows.append((part, name, what, verdict, reason, lines))

    def totals(self):
        out = collections.defaultdict(collections.Counter)
        for part, _, _, verdict, _, _ in self.rows:
            out[part][verdict] += 1
        return out

    def summary(self):
        out = []
        for part, counts in self.totals().items():
            out.append(f"{part}: " + ", ".join(
                f"{count} {verdict}" for verdict, count in counts.items()))
        return "\n".join(out)

    def write_diffs(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.diff"):
            old.unlink()
        for part, name, what, verdict, _, lines in self.rows:
            if lines:
                file = re.sub(r"[^\w.-]", "_", f"{part}-{name}")
                (folder / f"{file}.diff").write_text(
                    f"{verdict}\n$ {what}\n" + "\n".join(lines) + "\n")

    def alike(self):
        return [f"{part}/{name}" for part, name, _, verdict, _, _ in self.rows
                if verdict == ALIKE]

    def check(self, expected):
        """Exit code: 1 if one of these names isn't alike, or wasn't run."""
        got = {f"{part}/{name}": (verdict, lines)
               for part, name, _, verdict, _, lines in self.rows}
        bad = 0
        for name in expected:
            verdict, lines = got.get(name, ("not run", []))
            if verdict != ALIKE:
                bad = 1
                print(f"{name}: {verdict}\n  " + "\n  ".join(lines[:20]),
                      file=sys.stderr)
        return bad

    def _unserved(self):
        """What the recorded server had and ours hasn't."""
        missing = RECORDED_KINDS - self.served
        kinds = sorted(f"{plural} ({at})" for at, plural in missing
                       if "/" not in plural)
        subs = sorted(plural for at, plural in missing if "/" in plural and
                      (at, plural.split("/")[0]) in self.served)
        return (f"\nNot served, and cut from the recorded discovery before it "
                f"is compared: the sub-resources {', '.join(subs)}; the kinds "
                f"{', '.join(kinds)}.")

    def table(self):
        out = [_HEAD]
        out.append("| part | alike | differ | kind not served | about the "
                   "recorded machine | alike of what is served |\n"
                   "|---|---|---|---|---|---|")
        for part, counts in self.totals().items():
            served = counts[ALIKE] + counts[DIFFERS]
            share = 100 * counts[ALIKE] / served if served else 0
            out.append(f"| {part} | {counts[ALIKE]} | {counts[DIFFERS]} | "
                       f"{counts[KIND]} | {counts[RECORDED]} | "
                       f"{share:.1f} % |")
        out.append(self._unserved())
        for part in self.totals():
            out.append(f"\n## {part}\n\n| name | what | |\n|---|---|---|")
            for row_part, name, what, verdict, reason, lines in self.rows:
                if row_part != part:
                    continue
                what = what if len(what) < 90 else what[:87] + "..."
                what = what.replace("|", "\\|").replace("\n", " ")
                if verdict == ALIKE:
                    note = ALIKE
                elif reason:
                    note = f"{verdict}: {reason}"
                elif verdict == KIND:
                    note = verdict
                else:
                    first = (lines[0][:100].replace("|", "\\|")
                             .replace("`", "'"))
                    note = f"{verdict}: `{first}`"
                out.append(f"| {name} | `{what}` | {note} |")
        return "\n".join(out) + "\n"


_HEAD = """# Conformance

Made by `tests/conformance/conformance.py`; don't edit. Recorded commands,
errors, tables and discovery of a Kubernetes 1.36 API server, each held against
fairlead-controller. "alike" means equal after blanking what two runs of the
same cluster don't share: `tests/conformance/volatile.py` names it, with
reasons. `tests/conformance/steps.py` has what was done between the commands.
The last column counts "alike" among all but the kinds that aren't served and
the answers that are about the machine that was recorded.

`kubectl` compares what the installed kubectl prints; the other parts compare
status, headers and bodies of single requests.
"""
