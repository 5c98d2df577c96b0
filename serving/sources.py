"""Where models lie: a folder of published models, or TensorFlow Serving's configuration.

Both may be at an address (`s3://`, `gs://`, or what else fsspec reads), which is mirrored to a local folder.
"""

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from serving import published
from stages.core import files
from stages.core.errors import InputError, one_line
from stages.core.filesystems import file_system

log = logging.getLogger("serving")


@dataclass(frozen=True)
class Offer:
    """The versions of a model to serve, each with its folder, and the model's labels."""

    versions: Mapping[int, Path] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    error: str = ""  # why the model's folder cannot be read now: what was on offer stays so


Source = Callable[[], dict[str, Offer]]
"""Says what is on offer now, by model.

It raises an error if it cannot be read now, and nothing changes.
"""


class Root:
    """A local folder, or a remote one and its mirror.

    Args:
        address: a path, or an address that fsspec reads.
        cache: where the mirror is made.
        every: seconds between two listings of an address.

    Raises:
        InputError: if nothing here reads such addresses.
    """

    def __init__(self, address: str, cache: Path, every: float = 0.0) -> None:
        self._system: Any = None
        self._folder = Path(address)
        self._identity: tuple[int, int] | None = None  # of the local folder when it last held anything
        self._every = every
        self._listed = -math.inf  # `time.monotonic` of the last listing
        if "://" not in address:
            return
        try:
            self._system, path = file_system(address)
        except (ImportError, ValueError) as error:
            raise InputError(f"{address}: cannot be read: {one_line(error)}") from None
        self._path = path.rstrip("/")
        self._folder = cache / hashlib.sha256(address.encode()).hexdigest()  # no two addresses share one
        self._known: dict[str, Any] = {}

    def current(self) -> Path:
        """The local folder. A mirror is brought up to date: the next call makes good an update that was interrupted.

        Raises:
            InputError: if the folder cannot be read now, or an address holds nothing.
        """
        if self._system is None:
            self._check_local()
            return self._folder
        if time.monotonic() < self._listed + self._every:
            return self._folder
        self._system.invalidate_cache()
        found = dict(self._listing())
        if not found:
            raise InputError(f"{self._path}: expected files there, found none")
        self._known = {name: stamp for name, stamp in self._known.items() if name in found}
        for path in [path for path in self._folder.rglob("*") if not path.is_dir()]:
            if path.relative_to(self._folder).as_posix() not in found:  # deleted, or left by an interrupted update
                path.unlink()
        for name, stamp in found.items():
            if self._known.get(name) != stamp:
                with files.whole_file(self._folder / name) as temporary:
                    self._system.get_file(f"{self._path}/{name}", str(temporary))
                self._known[name] = stamp
        for folder in sorted((p for p in self._folder.rglob("*") if p.is_dir()), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()
        self._listed = time.monotonic()
        return self._folder

    def _check_local(self) -> None:
        try:
            about = self._folder.stat()
            empty = next(self._folder.iterdir(), None) is None
        except OSError as error:
            raise InputError(f"{self._folder}: cannot be read: {error.strerror}") from None
        identity = (about.st_dev, about.st_ino)
        if not empty:
            self._identity = identity
        elif self._identity not in (None, identity):  # such as the mount point of a file system that is away
            raise InputError(f"{self._folder}: is empty, and another folder than the one that held models")

    def forget(self) -> None:
        """Remove the mirror, if this is one."""
        if self._system is not None:
            files.remove(self._folder)

    def _listing(self) -> Iterator[tuple[str, Any]]:
        for path, info in self._system.find(self._path, detail=True).items():
            name = path.removeprefix(self._path).lstrip("/")
            if not any(part.startswith(".") for part in name.split("/")):  # nor what publishing has not finished
                yield name, [info.get(key) for key in ("size", "ETag", "etag", "LastModified", "mtime", "created")]


@dataclass(frozen=True)
class PublishedFolder:
    """A folder with a folder for each model: all versions of all models."""

    root: Root

    def __call__(self) -> dict[str, Offer]:
        """What is on offer."""
        folder = self.root.current()
        offers = {}
        for name in published.models(folder):
            try:
                labels = published.labels(folder / name)
            except InputError as error:
                log.warning("%s", error)
                labels = {}
            try:
                versions = published.versions(folder / name)
            except OSError as error:
                offers[name] = Offer(error=f"{folder / name}: {error.strerror}")
                continue
            if versions:
                offers[name] = Offer(versions, labels)
        return offers


@dataclass(frozen=True)
class SingleModel:
    """One model by its name and the folder of its versions: the latest is served."""

    name: str
    root: Root

    def __call__(self) -> dict[str, Offer]:
        """What is on offer."""
        return {self.name: _offer(self.root, lambda versions: _latest(versions, 1))}


class ModelConfigs:
    """The models of a `ModelServerConfig`: by name, each with base path, version policy and labels.

    Args:
        cache: a folder for mirrors of remote base paths.
        every: seconds between two listings of a remote base path.
    """

    def __init__(self, cache: Path, every: float = 0.0) -> None:
        self._cache = cache
        self._every = every
        self._roots: dict[str, Root] = {}
        self._models: list[tuple[Any, Root]] = []

    def take(self, config: Any, where: str | Path) -> None:
        """Replace the models by a configuration's; a wrong one replaces nothing.

        Args:
            config: a `ModelServerConfig`.
            where: what it came from, for errors.

        Raises:
            InputError: if it is wrong.
        """
        configs = config.model_config_list.config
        for found in configs:
            if not found.name or not found.base_path:
                raise InputError(f"{where}: model {found.name!r}: expected a name and a base_path")
            if found.model_platform not in ("", "tensorflow"):
                raise InputError(
                    f"{where}: model {found.name}: expected the model_platform tensorflow, found {found.model_platform}"
                )
        if len({found.name for found in configs}) < len(configs):
            raise InputError(f"{where}: two models have the same name")
        roots = {
            path: self._roots.get(path) or Root(path, self._cache, self._every)
            for path in {found.base_path for found in configs}
        }
        for path in self._roots.keys() - roots.keys():
            self._roots[path].forget()
        self._roots = roots
        self._models = [(found, roots[found.base_path]) for found in configs]

    def __call__(self) -> dict[str, Offer]:
        """What is on offer."""
        return {
            config.name: _offer(root, partial(_apply, config.model_version_policy), dict(config.version_labels))
            for config, root in self._models
        }


class ModelConfigFile:
    """TensorFlow Serving's `model_config_file`.

    Args:
        path: the file with a `ModelServerConfig` as text, read again whenever it changes.
        cache: a folder for mirrors of remote base paths.
        every: seconds between two listings of a remote base path.

    Raises:
        InputError: if the file is missing or wrong.
    """

    def __init__(self, path: Path, cache: Path, every: float = 0.0) -> None:
        self._path = path
        self._text = ""
        self._configs = ModelConfigs(cache, every)
        self._read()

    def _read(self) -> None:
        from serving.protos import ModelServerConfig  # imports TensorFlow

        try:
            text = self._path.read_text(encoding="utf-8")
            if text == self._text:
                return
            if not text.strip():  # as it is for a moment when it is written in place
                raise InputError(f"{self._path}: expected a ModelServerConfig, found an empty file")
            config = text_format.Parse(text, ModelServerConfig())
        except (UnicodeDecodeError, text_format.ParseError) as error:
            raise InputError(f"{self._path}: expected a ModelServerConfig: {one_line(error)}") from None
        self._configs.take(config, self._path)
        self._text = text

    def __call__(self) -> dict[str, Offer]:
        """What is on offer.

        Raises:
            InputError: as the class.
        """
        self._read()
        return self._configs()


def _offer(
    root: Root, choose: Callable[[dict[int, Path]], dict[int, Path]], labels: Mapping[str, int] | None = None
) -> Offer:
    """The versions of a model that are chosen, or why its folder cannot be read."""
    try:
        return Offer(choose(published.versions(root.current())), labels or {})
    except Exception as error:  # a remote file system raises nearly anything
        return Offer(error=one_line(error))


def _apply(policy: Any, versions: dict[int, Path]) -> dict[int, Path]:
    """The versions that a policy lets through; the latest alone by default."""
    if policy.HasField("all"):
        return versions
    if policy.HasField("specific"):
        return {number: path for number, path in versions.items() if number in policy.specific.versions}
    return _latest(versions, max(policy.latest.num_versions, 1))


def _latest(versions: dict[int, Path], count: int) -> dict[int, Path]:
    return dict(list(versions.items())[-count:])
