"""The layout of the source: who may include whom (the table in docs/architecture.md), sizes of files, names that do not
belong into the repository."""
import os
import re
import subprocess

from harness import TOP

MAX_LINES, WARN_LINES = 900, 600
# Hosts of package registries and paths of one machine.
FOREIGN = re.compile(r"pypi\.org|files\.pythonhosted|crates\.io|registry\.npmjs|proxy\.golang|deb\.debian\.org|maven\.org"
                     r"|(?<![\w./])/" + "work/(?:wt|main|shared)")


def tracked(*patterns):
    listed = subprocess.run(["git", "ls-files", "-z", "-c", "-o", "--exclude-standard", *patterns], cwd=TOP, check=True,
                            stdout=subprocess.PIPE, text=True)
    return [f for f in listed.stdout.split("\0") if f and os.path.isfile(os.path.join(TOP, f))]


def content(file):
    with open(os.path.join(TOP, file), errors="replace") as f:
        return f.read()


def module_table():
    table = {}
    for line in content("docs/architecture.md").splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if len(cells) == 3 and re.fullmatch(r"[a-z0-9]+", cells[0]) and cells[0] != "module":
            table[cells[0]] = {"base", cells[0], *cells[2].split()}
    return table


def test_every_include_is_an_arrow_of_the_table(t):
    table, wrong = module_table(), []
    assert len(table) > 10, "docs/architecture.md has no module table"
    for file in tracked("src/*.h", "src/*.cc", "src/**/*.h", "src/**/*.cc"):
        parts = file.split("/")
        if len(parts) < 3:  # src/main.cc is the top of everything
            continue
        if parts[1] not in table:
            wrong.append(f"{file}: module {parts[1]} is not in the table")
            continue
        for number, line in enumerate(content(file).splitlines(), 1):
            included = re.match(r'\s*#include "([a-z0-9_]+)/', line)
            if included and included.group(1) not in table[parts[1]]:
                wrong.append(f"{file}:{number}: {parts[1]} may not include {included.group(1)}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_arrows_go_down_only(t):
    order = list(module_table())
    for module, allowed in module_table().items():
        for other in allowed - {module}:
            assert order.index(other) < order.index(module), f"{module} -> {other} goes up"


def test_source_files_are_short_enough_to_read(t):
    too_long = []
    for file in tracked("src/*.h", "src/*.cc", "src/**/*.h", "src/**/*.cc"):
        lines = content(file).count("\n")
        if lines > MAX_LINES:
            too_long.append(f"{file}: {lines} lines, at most {MAX_LINES}")
        elif lines > WARN_LINES:
            print(f"warning: {file}: {lines} lines")
    assert not too_long, "\n" + "\n".join(too_long)


def test_no_registry_host_and_no_path_of_a_machine_in_the_repository(t):
    found = []
    for file in tracked():
        if file.startswith("tests/testdata/"):
            continue
        for number, line in enumerate(content(file).splitlines(), 1):
            if FOREIGN.search(line) and file != os.path.relpath(__file__, TOP):
                found.append(f"{file}:{number}: {line.strip()[:120]}")
    assert not found, "\n" + "\n".join(found)
