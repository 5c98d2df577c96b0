"""Where an environment's code comes from: the project's folder `environments`, or an installed distribution.

Both are told apart by what a run depends on: the digests of own files, and the versions of distributions.
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from types import ModuleType

from stages.cartpole.guards import refused
from stages.core.files import digest

FOLDER = Path("environments")
"""Own modules; a dependency of the stages that play."""


def load(name: str, module: str, key: str = "env") -> ModuleType:
    """Import a module that an environment's or a wrapper's name gives.

    Args:
        name: the whole name, for errors.
        module: the module's.
        key: the parameter that gives it.

    Raises:
        InputError: if it is neither in the folder nor in an installed distribution, or cannot be imported.
    """
    folder, top = FOLDER.resolve(), module.partition(".")[0]
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    try:
        spec = importlib.util.find_spec(top)
        places = [spec.origin] if spec and spec.has_location else list((spec and spec.submodule_search_locations) or [])
        if not places:
            raise ModuleNotFoundError(f"No module named {top!r}; expected it in {FOLDER}/, or a package to install")
        is_own = all(Path(place or "").resolve().is_relative_to(folder) for place in places)
        if not is_own and top not in metadata.packages_distributions():
            raise refused(
                name,
                f"module {top} is neither in {FOLDER}/ nor in an installed package: a change of it would go unnoticed; "
                f"move it to {FOLDER}/",
                key,
            )
        return importlib.import_module(module)
    except (ImportError, ValueError, SystemExit) as error:
        raise refused(name, error, key) from error


def own_code() -> dict[str, str]:
    """SHA-256 of the files below the folder that this process has imported, by path."""
    folder = FOLDER.resolve()
    paths = {Path(file).resolve() for m in [*sys.modules.values()] if (file := getattr(m, "__file__", None))}
    own = sorted(path for path in paths if path.is_relative_to(folder))
    return {(FOLDER / path.relative_to(folder)).as_posix(): digest(path) for path in own}


def distributions(modules: Iterable[str]) -> dict[str, str]:
    """The versions of the distributions that modules come from, by name, besides those that every run records."""
    known = {"stages", "gymnasium", "numpy", *sys.stdlib_module_names}
    tops = {module.partition(".")[0] for module in modules} - known
    found = metadata.packages_distributions() if tops else {}
    names = sorted({name for top in tops for name in found.get(top, [])})
    return {re.sub(r"[-_.]+", "-", name).lower(): metadata.version(name) for name in names}
