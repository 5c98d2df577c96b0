"""Hold `dvc.yaml`, `params.yaml` and the code together.

- a stage's `deps` name its script and every local module that this imports, directly or not, and no other,
  by itself or by a folder;
- a stage's `params` name exactly the keys that its reader binds;
- every key of `params.yaml` has a reader, a type and a comment.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo

from stages.shared.params import READERS, Params

ROOT = Path(__file__).parents[1]
PLAIN_YAML_LEAF = re.compile(r"^\s*[\w-]+:\s+\S")


def module_file(module: str) -> Path | None:
    """File of a local module or package, relative to the root."""
    base = Path(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if (ROOT / p).is_file()), None)


def imported(tree: ast.AST, workload: str) -> Iterator[str]:
    """Names of the modules that a file imports; an f-string's one blank is the workload."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            parts = node.args[0].values if isinstance(node.args[0], ast.JoinedStr) else [node.args[0]]
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else workload for p in parts)


def closure(module: str, workload: str) -> set[str]:
    """Files of a module and of all local modules that it imports, directly or not, with their packages."""
    found: set[Path] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        file = module_file(name)
        if file is None or file in found:
            continue
        found.add(file)
        todo.extend(imported(ast.parse((ROOT / file).read_text()), workload))
        if "." in name:
            todo.append(name.rpartition(".")[0])
    return {file.as_posix() for file in found}


def modules(path: str) -> set[str]:
    """A dependency's files of Python: itself, or those in a folder of code."""
    inside = (ROOT / path).rglob("*.py") if (ROOT / path).is_dir() else []
    return {path} if path.endswith(".py") else {file.relative_to(ROOT).as_posix() for file in inside}


def leaves(values: Any, path: str = "") -> set[str]:
    """Full paths of the keys below a value."""
    if not isinstance(values, dict):
        return {path}
    return {leaf for key, value in values.items() for leaf in leaves(value, f"{path}.{key}" if path else key)}


def select(values: Any, keys: set[str]) -> set[str]:
    """The leaves that keys or sections stand for."""
    everything = leaves(values)
    return {leaf for leaf in everything for key in keys if leaf == key or leaf.startswith(f"{key}.")}


def differences(what: str, named: set[str], needed: set[str]) -> Iterator[str]:
    """Say what is missing and what is too much."""
    yield from (f"{what}: missing {name}" for name in sorted(needed - named))
    yield from (f"{what}: names {name}, which it does not use" for name in sorted(named - needed))


def check_stages(values: Any) -> Iterator[str]:
    """Compare each stage of `dvc.yaml` with its script's imports and its reader's keys."""
    stages = {stage.name: stage for stage in Repo(str(ROOT)).index.stages}
    scripts = {name: stage.cmd.split()[2] for name, stage in stages.items()}
    for name, stage in stages.items():
        if not stage.desc:
            yield f"dvc.yaml: {name}: has no desc"
        plain = {dep.def_path for dep in stage.deps if not hasattr(dep, "params")}
        named = {file for path in plain for file in modules(path)}
        needed = closure(scripts[name], name.partition("@")[2])
        yield from differences(f"dvc.yaml: {name}: deps", named, needed)
        others = {str(module_file(script)) for script in scripts.values() if script != scripts[name]}
        yield from (f"{scripts[name]}: imports the stage {other}" for other in sorted(needed & others))
        keys = {key for dep in stage.deps if hasattr(dep, "params") for key in dep.params}
        read = set(READERS[name].keys().values()) if name in READERS else set()
        yield from differences(f"dvc.yaml: {name}: params", select(values, keys), select(values, read))
    yield from (f"params.py: {n}: no such stage" for n in sorted(READERS) if "@" in n and n not in stages)


def check_params(text: str, values: Any) -> Iterator[str]:
    """Every key read by some stage, known to the schema, and explained."""
    read = select(values, {key for reader in READERS.values() for key in reader.keys().values()})
    yield from (f"params.yaml: {key}: nothing reads it" for key in sorted(leaves(values) - read))
    Params.model_validate(values)
    for number, line in enumerate(text.splitlines(), 1):
        if PLAIN_YAML_LEAF.match(line) and "  # " not in line:
            yield f"params.yaml: line {number}: has no comment: {line.strip()}"


def main() -> None:
    """Print what disagrees; exit with code 1 if anything does."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    wrong = [*check_stages(values), *check_params(text, values)]
    print("\n".join(wrong) or "dvc.yaml, params.yaml and the code agree")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
