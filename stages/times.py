"""How long each stage that DVC runs takes, and how much memory it needs: a record of it outside Git and DVC.

A record tells the command, the code and the outputs that it is of, so that it is found again for any commit that has
them. No output depends on this module, so no stage names it among its dependencies.
"""

import atexit
import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDER = Path(".times")
_started = time.time()
_notes: list[str] = []


def note(words: str) -> None:
    """Add to this process's record what a reader of its time must know, such as that it began at a checkpoint."""
    _notes.append(words)


def blob(data: bytes) -> str:
    """The name that Git gives a file's contents."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def md5(path: Path) -> str:
    """The digest that DVC gives a file, or a folder with its files."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    entries = [{"md5": md5(files[name]), "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def peak_bytes() -> int:
    """The most memory that this process, or one that it started, had at once, in bytes."""
    own, others = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    if sys.platform == "darwin":
        return max(own, others)
    # On Linux the first of both counts what the process that started this one had.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    own = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), own)
    return max(own, others) * 1024


def _written(arguments: Iterable[str], since: float) -> dict[str, str]:
    """Digests of those files and folders among the arguments that were written since a time."""
    paths = [path for path in map(Path, arguments) if path.exists()]
    times = {path: max(p.stat().st_mtime for p in [path, *path.rglob("*")]) for path in paths}
    return {path.as_posix(): md5(path) for path, changed in times.items() if changed >= since}


def _code(root: Path) -> dict[str, str]:
    """The project's own files that this process imported, as Git names their contents."""
    modules = (file for module in [*sys.modules.values()] if (file := getattr(module, "__file__", None)))
    libraries = Path(sys.prefix).resolve()
    own = {
        p for p in (Path(m).resolve() for m in modules) if p.is_relative_to(root) and not p.is_relative_to(libraries)
    }
    return {path.relative_to(root).as_posix(): blob(path.read_bytes()) for path in sorted(own)}


def record(root: Path, stage: str) -> None:
    """Write this process's record; none if it wrote no output.

    Args:
        root: the project's folder.
        stage: the stage's name.

    Raises:
        OSError: if it cannot be written.
    """
    seconds, peak = time.time() - _started, peak_bytes()
    command = ["python", *sys.orig_argv[1:]]
    outputs = _written(command[3:], _started)
    if not outputs:
        return
    made: dict[str, Any] = {"stage": stage, "command": command, "code": _code(root.resolve()), "outputs": outputs}
    key = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]
    made |= {"started": _started, "seconds": seconds, "peak_bytes": peak, "notes": _notes}
    path = root / FOLDER / f"{stage}-{key}.json"
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def _record_stage() -> None:
    """Record a stage that DVC runs, which names it in the environment; a record that fails fails no stage."""
    root, stage = os.environ.get("DVC_ROOT"), os.environ.get("DVC_STAGE")
    if root and stage:
        try:
            record(Path(root), stage.rpartition(":")[2])
        except OSError as error:
            print(f"warning: no record of the time: {error}", file=sys.stderr)


atexit.register(_record_stage)
