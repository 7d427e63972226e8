#!/usr/bin/env python3
"""What the documentation names is there: files, and tests by their names.

In docs/**/*.md and README.md:
  - `room/file` exists (braces and * as in a shell);
  - `x_test` is a test's file or program, and in "`x_test`, `Name`" or
    "`x_test` (`Name`)" it has a test of this name;
  - each row of a table under "Differences" in docs/semantics.md names a test
    so.
"""

import pathlib
import re
import sys
import tempfile

ROOMS = "bpf|control|deploy|docs|scripts|tests|userspace"
PATH = re.compile(rf"`((?:{ROOMS})/[\w./{{}},*-]*\w[\w}}*/]*)`")
TEST = re.compile(r"`(\w+_test)`(?:(?:, | \()`([A-Z]\w*)`)?")
MORE = re.compile(r"(?:, | and )`([A-Z]\w+)`")  # further tests of the file
PROGRAM = re.compile(r"\bfl_test\((\w+)\s([^()]*)\)")
NAMED = re.compile(r"\bTEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\)")

ROW = re.compile(r"\bFL_ROW\((\w+)\)")  # of a table of tests


def expand(path):
    """a/{b,c}.h -> a/b.h, a/c.h"""
    found = re.search(r"\{([^{}]*)\}", path)
    if not found:
        return [path]
    return [one for part in found[1].split(",")
            for one in expand(path[:found.start()] + part +
                              path[found.end():])]


def names_in(path):
    text = path.read_text()
    return {name for _, name in NAMED.findall(text)} | set(ROW.findall(text))


def tests_of(root):
    """{file without .cc, or program: names of its tests}"""
    tests = {path.stem: names_in(path)
             for path in (root / "tests").rglob("*_test.cc")}
    for build in (root / "tests").rglob("*.cmake"):
        for program, words in PROGRAM.findall(build.read_text()):
            for word in words.split():
                source = build.parent / word
                if word.endswith(".cc") and source.is_file():
                    tests.setdefault(program, set()).update(names_in(source))
    return tests


def named_tests(text):
    """(file, test or None), in order."""
    for found in TEST.finditer(text):
        yield found[1], found[2]
        at = found.end()
        while found[2] and (more := MORE.match(text, at)):
            yield found[1], more[1]
            at = more.end()


def check(name, text, root, tests):
    """The violations of one page, as lines to print."""
    section = ""
    header = True
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{name}:{number}"
        if line.startswith("#"):
            section = line.strip("# ")
        for path in PATH.findall(line):
            for one in expand(path):
                if not list(root.glob(one.rstrip("/"))):
                    yield f"{where}: no {one}"
        pairs = list(named_tests(line))
        for file, test in pairs:
            if file not in tests:
                yield f"{where}: no test {file}"
            elif test and test not in tests[file]:
                yield f"{where}: {file} has no test {test}"
        if not line.startswith("|"):
            header = True
        elif header:
            header = not line.startswith("|--")
        elif (name == "docs/semantics.md" and section.startswith("Differences")
              and not any(test for _, test in pairs)):
            yield f"{where}: a difference that names no test"


def check_tree(root):
    tests = tests_of(root)
    found = []
    for path in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        found += check(str(path.relative_to(root)), path.read_text(), root,
                       tests)
    return found


def selftest():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "tests/unit").mkdir(parents=True)
        (root / "docs").mkdir()
        (root / "README.md").write_text("`docs/semantics.md`\n")
        (root / "tests/unit/a_test.cc").write_text(
            "TEST(A, First) {}\nTEST_P(B,\n       Second) {}\n")
        (root / "tests/unit/c.cc").write_text("TEST_F(C, Fourth) {}\n"
                                            "FL_ROW(Fifth)\n")
        (root / "tests/unit/c.cmake").write_text(
            "fl_test(c_test LABEL unit\n  SRCS c.cc DEPS base)\n")
        page = root / "docs/semantics.md"
        head = "## Differences\n| what | test |\n|---|---|\n"
        good = [head + "| x | `a_test`, `First` |\n",
                head + "| x | `a_test` (`First` and `Second`) |\n",
                head + "| x | `c_test`, `Fourth`, `Fifth` |\n",
                "| x | y |\n|---|---|\n| a | b |\n",
                "`tests/unit/{a_test.cc,*.cc}`, `a_test`\n"]
        bad = [head + "| x | `a_test` |\n",
               head + "| x | y |\n",
               head + "| x | `a_test`, `Third` |\n",
               head + "| x | `a_test`, `First`, `Third` |\n",
               "`b_test`\n",
               "`tests/unit/b_test.cc`\n",
               "`tests/unit/{a_test,b}.cc`\n"]
        for text in good:
            page.write_text(text)
            assert not check_tree(root), (text, check_tree(root))
        for text in bad:
            page.write_text(text)
            assert len(check_tree(root)) == 1, (text, check_tree(root))


if __name__ == "__main__":
    if sys.argv[1] == "--selftest":
        sys.exit(selftest())
    violations = check_tree(pathlib.Path(sys.argv[1]))
    print("\n".join(violations))
    sys.exit(1 if violations else 0)
