"""Check that `dvc.yaml`, `params.yaml` and the code agree.

- a stage's `deps` name its script and every local module that the script imports, directly or not, or the module's
  folder, and nothing else;
- no workload imports another;
- a stage's `params` name exactly the keys that its reader binds;
- every key of `params.yaml` has a reader, a type and a comment, and the file has the form that DVC writes.
"""

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dvc.repo import Repo

from stages import check_params as check_params_stage
from stages.core import params
from stages.core.params import StageParams, flatten, load, workload_names
from tools.format_params import first_difference

ROOT = Path(__file__).parents[1]
NAMED = {"environments"}
"""Folders of modules that a parameter names, so that no import shows that a stage uses them."""
UNRELATED = {"stages/times.py"}
"""Modules that no output depends on."""
YAML_LEAF = re.compile(r"^ *[\w-]+:(?! *(?:#.*)?\n +[\w-]+:).*", re.MULTILINE)  # not followed by keys of its own


def module_file(module: str) -> Path | None:
    """File of a local module or package, relative to the root."""
    base = Path(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if (ROOT / p).is_file()), None)


def imported(tree: ast.AST, workload: str) -> Iterator[str]:
    """Names of the modules that a file imports. `import_module(f"…{name}")` stands for one workload, or for all."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            parts = node.args[0].values if isinstance(node.args[0], ast.JoinedStr) else [node.args[0]]
            for name in [workload] if workload else workload_names():
                yield "".join(str(p.value) if isinstance(p, ast.Constant) else name for p in parts)


def is_import(node: ast.stmt) -> bool:
    """Whether a statement is an import or a docstring."""
    return isinstance(node, ast.Import | ast.ImportFrom) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def closure(module: str, workload: str) -> set[str]:
    """Files of a module, of all local modules that it imports, directly or not, and of their packages.

    Without those that only import, which an empty file does too: they do nothing themselves.
    """
    found: set[Path] = set()
    needed: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        file = module_file(name)
        if file is None or file in found:
            continue
        found.add(file)
        tree = ast.parse((ROOT / file).read_text())
        if any(not is_import(node) for node in tree.body):
            needed.add(file.as_posix())
        todo.extend(imported(tree, workload))
        if "." in name:
            todo.append(name.rpartition(".")[0])
    return needed - UNRELATED


def modules(path: str) -> set[str]:
    """Python files of a dependency: the file itself, or those in the folder."""
    inside = (ROOT / path).rglob("*.py") if (ROOT / path).is_dir() else []
    return {path} if path.endswith(".py") else {file.relative_to(ROOT).as_posix() for file in inside}


def select(values: Any, keys: set[str]) -> set[str]:
    """Full paths of the keys that `keys` name, each by itself or by its section."""
    everything = dict(flatten(values))
    return {leaf for leaf in everything for key in keys if leaf == key or leaf.startswith(f"{key}.")}


def differences(what: str, named: set[str], needed: set[str]) -> Iterator[str]:
    """Messages about names that are missing or not used."""
    yield from (f"{what}: missing {name}" for name in sorted(needed - named))
    yield from (f"{what}: names {name}, which it does not use" for name in sorted(named - needed))


def stage_params(stage: str) -> type[StageParams[Any]] | None:
    """The class of the parameters that a stage reads, by the stage's name: `TrainParams[Train]` for `train@mnist`."""
    verb, _, workload = stage.replace("-", "@").partition("@")
    found: type[StageParams[Any]] | None = getattr(params, f"{verb.title()}Params", None)
    if found and found.section:
        found = found.of(importlib.import_module(f"stages.{workload}.params").Params)
    return found


def check_stages(values: Any) -> Iterator[str]:
    """Compare each stage of `dvc.yaml` with its script's imports and the keys that it reads."""
    stages = {stage.name: stage for stage in Repo(str(ROOT)).index.stages}
    scripts = {name: stage.cmd.split()[2] for name, stage in stages.items()}
    for name, stage in stages.items():
        if not stage.desc:
            yield f"dvc.yaml: {name}: has no desc"
        needed = closure(scripts[name], name.replace("-", "@").partition("@")[2])
        plain = {dep.def_path for dep in stage.deps if not hasattr(dep, "params")} - NAMED
        yield from check_deps(name, plain, needed)
        others = {str(module_file(script)) for script in scripts.values() if script != scripts[name]}
        yield from (f"{scripts[name]}: imports the stage {other}" for other in sorted(needed & others))
        keys = {key for dep in stage.deps if hasattr(dep, "params") for key in dep.params}
        schema = stage_params(name)
        read = set(schema.keys().values()) if schema else set()
        yield from differences(f"dvc.yaml: {name}: params", select(values, keys), select(values, read))


def check_workloads() -> Iterator[str]:
    """Workloads are independent of each other: none imports another's modules."""
    folders = {workload: ROOT / "stages" / workload for workload in workload_names()}
    for workload, folder in folders.items():
        for file in sorted(folder.rglob("*.py")):
            for name in imported(ast.parse(file.read_text()), workload):
                other = [*name.split("."), ""][1]
                if name.startswith("stages.") and other in folders and other != workload:
                    yield f"{file.relative_to(ROOT).as_posix()}: imports the workload {other}"


def check_deps(name: str, deps: set[str], needed: set[str]) -> Iterator[str]:
    """Compare the code among a stage's dependencies with the modules that it needs: each by itself or in a folder."""
    covered = {path: modules(path) for path in deps}
    yield from (
        f"dvc.yaml: {name}: deps: missing {module}" for module in sorted(needed - set().union(*covered.values()))
    )
    yield from (
        f"dvc.yaml: {name}: deps: names {path}, which it does not use"
        for path in sorted(deps)
        if covered[path] and not covered[path] & needed
    )


def check_params(text: str, values: Any) -> Iterator[str]:
    """Every key is read by a stage, known to the schema and explained."""
    stages = [stage.name for stage in Repo(str(ROOT)).index.stages]
    schemas = [found for stage in stages if (found := stage_params(stage))]
    read = select(values, {key for schema in schemas for key in schema.keys().values()})
    read |= select(values, {f"{workload}.operation" for workload in workload_names()})  # which no stage depends on
    yield from (f"params.yaml: {key}: nothing reads it" for key in sorted(dict(flatten(values)).keys() - read))
    check_params_stage.schema().model_validate(values)
    for leaf in YAML_LEAF.finditer(text):
        if "  # " not in leaf[0]:
            line = text.count("\n", 0, leaf.start()) + 1
            yield f"params.yaml: line {line}: has no comment: {leaf[0].strip()}"


def disagreements() -> Iterator[str]:
    """All that disagrees, a line each."""
    file = ROOT / "params.yaml"
    values = load(file)
    yield from check_stages(values)
    yield from check_workloads()
    yield from check_params(file.read_text(encoding="utf-8"), values)
    if form := first_difference(file):
        yield form


def main() -> None:
    """Print what disagrees; exit with code 1 if anything does."""
    wrong = list(disagreements())
    print("\n".join(wrong) or "dvc.yaml, params.yaml and the code agree")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
