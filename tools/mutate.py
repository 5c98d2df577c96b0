"""Change a module in small ways, one at a time, and see whether its tests notice.

Cosmic Ray makes the mutants. A seeded sample of places in the module is drawn, and for each place one of the changes
that it allows. Each mutant runs the module's tests, up to the first that fails, in a scratch copy of the project. What
survives is printed as a diff: a test is missing, or the change makes no difference, which `tests/mutation.yaml` then
says. The command fails if fewer than 95 % of the mutants that make a difference are killed.
"""

import argparse
import difflib
import gc
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from stages.core.errors import InputError, run
from stages.core.params import load
from tools.scratch import ROOT, clone

GOAL = 0.95
DECLARED = ROOT / "tests/mutation.yaml"
"""Which tests belong to a module besides those at its own path, and which mutants make no difference."""

LIBRARIES = ("gymnasium", "keras", "pandas", "pyarrow.csv", "pydantic", "tensorflow")
"""Imported once, before processes are forked."""

SAME = re.compile(r"ReplaceComparisonOperator_(Eq_Is|Is_Eq|NotEq_IsNot|IsNot_NotEq)$")
"""Operators whose mutants differ only by chance."""

Position = tuple[int, int]


class Mutant(NamedTuple):
    """A changed module.

    Attributes:
        was: the lines that changed, each without the white space around it.
        becomes: what they are now.
        diff: the change as a unified diff.
        source: the whole module.
    """

    was: str
    becomes: str
    diff: str
    source: str


def is_annotation(node: Any) -> bool:
    """Whether a node of a syntax tree is part of a type annotation, which changes nothing at run time."""
    while node.parent is not None:
        siblings = node.parent.children
        before = siblings[siblings.index(node) - 1] if node is not siblings[0] else None
        if (node.parent.type, before) in (("tfpdef", ":"), ("annassign", ":"), ("funcdef", "->")):
            return True
        node = node.parent
    return False


def places(source: str) -> dict[Position, list[tuple[str, int]]]:
    """The operators that apply at each place of a module, and the number of the place among each operator's."""
    tree, lines = get_ast(source), source.split("\n")
    found: dict[Position, list[tuple[str, int]]] = defaultdict(list)
    for name in operator_names():
        kind = get_operator(name)
        if kind.arguments() or SAME.search(name):
            continue
        operator = kind()
        positions = ((node, start) for node in ast_nodes(tree) for start, _ in operator.mutation_positions(node))
        for number, (node, start) in enumerate(positions):
            if not is_annotation(node) and not lines[start[0] - 1].startswith("if __name__ =="):
                found[start].append((name, number))
    return found


def mutant(module: str, source: str, operator: str, number: int) -> Mutant | None:
    """A module with one change; None if it is not Python any more, or the same."""
    changed = mutate_code(source, get_operator(operator)(), number)
    try:
        compile(changed, module, "exec")
    except SyntaxError:
        return None
    lines = list(difflib.unified_diff(source.split("\n"), changed.split("\n"), module, module, n=2, lineterm=""))
    was, becomes = ("\n".join(line[1:].strip() for line in lines[3:] if line[0] == sign) for sign in "-+")
    return Mutant(was, becomes, "\n".join(lines), changed) if was != becomes else None


def sample(module: str, source: str, size: int, seed: int) -> dict[Position, Mutant]:
    """Mutants at `size` different places, or at all places if there are fewer, in the order of the places.

    The seed, the module's text and the release of Cosmic Ray decide which.
    """
    generator, found = random.Random(seed), places(source)
    chosen: dict[Position, Mutant] = {}
    for place in generator.sample(sorted(found), len(found)):
        candidates = generator.sample(found[place], len(found[place]))
        if first := next(filter(None, (mutant(module, source, *candidate) for candidate in candidates)), None):
            chosen[place] = first
        if len(chosen) == size:
            break
    return dict(sorted(chosen.items()))


def tests_of(module: str, declared: dict[str, list[str]]) -> list[str]:
    """The test module or folder at a module's path, and the tests that are declared.

    Raises:
        InputError: if there are none.
    """
    path = Path(module)
    mirror = Path("tests", *path.parts[path.parts[0] == "stages" : -1], f"test_{path.name}")
    found = [str(path) for path in (mirror, mirror.with_suffix("")) if (ROOT / path).exists()]
    found += declared.get(module, [])
    if not found:
        raise InputError(f"{module}: neither {mirror} nor tests/mutation.yaml says which tests belong to it")
    return found


def run_tests(folder: Path, tests: list[str], log: Path) -> None:
    """Run tests in this process, which ends with pytest's exit code."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(folder.parent)}
    sys.dont_write_bytecode = True  # a mutant may be as long and as old as the one before
    tempfile.tempdir = None
    sys.path[:] = [str(folder), *(path for path in sys.path if Path(path).resolve() != ROOT)]
    import pytest

    options = ["--exitfirst", "--quiet", "--hypothesis-seed=0", "-m", "not slow", "-p", "no:cacheprovider"]
    sys.exit(pytest.main([*options, *tests]))


def outcome(folder: Path, tests: list[str], log: Path, timeout: float | None) -> int:
    """Run tests in a process of its own; return its exit code, negative if a signal ended it or time was up."""
    process = multiprocessing.get_context("fork").Process(target=run_tests, args=(folder, tests, log))
    process.start()
    process.join(timeout)
    if process.exitcode is None and process.pid:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode or 0


def copy_project(folder: Path) -> None:
    """Copy the project's files, and what its tests need of those that Git ignores; link the environments."""
    clone(folder)
    for name in ("data", "models", "weights"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
    for name in (".venv", ".benchmarks"):
        if (ROOT / name).is_dir():
            (folder / name).symlink_to((ROOT / name).resolve())


def import_libraries() -> None:
    """Import the libraries, and forget the project's modules: tests import the scratch copy's."""
    for name in LIBRARIES:
        __import__(name)
    own = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]
    gc.freeze()  # a collection would copy every page that the processes share


def mutate(folder: Path, module: str, size: int, seed: int, declared: dict[str, Any]) -> bool:
    """Run the tests of a module against a sample of its mutants in a scratch copy; print which survive.

    Returns:
        Whether enough are killed.

    Raises:
        InputError: if the tests fail without any change, or nothing in the module can be changed.
    """
    tests, log = tests_of(module, declared["tests"]), folder.parent / "log.txt"
    equivalent = {(entry["was"], entry["becomes"]) for entry in declared["equivalent"].get(module, [])}
    source = (folder / module).read_text()
    started = time.monotonic()
    if outcome(folder, tests, log, None):
        print(log.read_text())
        raise InputError(f"{module}: its tests fail without any change: {' '.join(tests)}")
    timeout = 30 + 5 * (time.monotonic() - started)
    counts = {"killed": 0, "survived": 0, "equivalent": 0}
    for (line, _), changed in sample(module, source, size, seed).items():
        if (changed.was, changed.becomes) in equivalent:
            result = "equivalent"
        else:
            (folder / module).write_text(changed.source)
            result = "killed" if outcome(folder, tests, log, timeout) else "survived"
            (folder / module).write_text(source)
        counts[result] += 1
        print(f"{result}: {module}:{line}", flush=True)
        if result == "survived":
            print(changed.diff, flush=True)
    relevant = counts["killed"] + counts["survived"]
    print(f"{module}: {counts['killed']} of {relevant} killed, {counts['equivalent']} equivalent", flush=True)
    return counts["killed"] >= GOAL * relevant


def modules(paths: list[Path]) -> Iterator[str]:
    """The modules that paths name, those of a folder each.

    Raises:
        InputError: if there is no such path.
    """
    for path in paths:
        if not (ROOT / path).exists():
            raise InputError(f"{path}: no such module or folder")
        found = sorted((ROOT / path).glob("*.py")) if (ROOT / path).is_dir() else [ROOT / path]
        # What only imports and declares cannot be changed.
        yield from (str(file.relative_to(ROOT)) for file in found if places(file.read_text()))


def main() -> None:
    """Mutate each module; fail if too few of one's mutants are killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, help="modules, or folders of modules, from the project's folder")
    parser.add_argument("--sample", type=int, default=12, help="mutants per module (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="decides which (default: %(default)s)")
    args = parser.parse_args()
    declared = load(DECLARED)
    chosen = list(modules(args.paths))
    for module in chosen:
        tests_of(module, declared["tests"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the copy is removed
    with tempfile.TemporaryDirectory(prefix="mutate-") as scratch:
        folder = Path(scratch).resolve() / "project"
        copy_project(folder)
        import_libraries()
        enough = [mutate(folder, module, args.sample, args.seed, declared) for module in chosen]
    if not all(enough):
        sys.exit(1)


if __name__ == "__main__":
    run(main)
