"""The models on offer: loads new versions and drops old ones while requests are answered."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from prometheus_client import Gauge
from starlette.exceptions import HTTPException

from serving.messages import for_clients
from serving.servable import Servable
from serving.settings import Loading
from serving.sources import Offer, Source
from stages.core.errors import InputError, one_line
from stages.rest.tensors import shown

log = logging.getLogger("serving")

LOADING, AVAILABLE, END = "LOADING", "AVAILABLE", "END"
"""States of a version (`ModelVersionStatus.State`). END is one that was withdrawn or, with an error, never loaded."""

_NEWEST = Gauge("serving_newest_version", "Number of the newest version that is available", ["model"])
_FAILED = Gauge("serving_failed_versions", "Published versions that could not be loaded", ["model"])

_Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Version:
    """A version that is on offer, or was."""

    number: int
    stamp: _Stamp | None = None  # names, sizes and times of its files when it was last loaded, or tried
    state: str = LOADING
    error: str = ""  # why the last attempt to load it failed
    servable: Servable | None = None
    failures: int = 0  # attempts since its files last changed
    retry_at: float = 0.0  # `time.monotonic` of the next attempt

    def status(self) -> dict[str, Any]:
        """ModelVersionStatus as JSON."""
        code = "INVALID_ARGUMENT" if self.error else "OK"
        return {
            "version": str(self.number),
            "state": self.state,
            "status": {"error_code": code, "error_message": self.error},
        }


def _newest(versions: Mapping[int, Version]) -> Version | None:
    """The newest version that is available."""
    return max((v for v in versions.values() if v.servable), key=lambda version: version.number, default=None)


class Registry:
    """Follows a source of models.

    Readers see each model's versions whole: they are replaced, never changed.

    Args:
        source: says which versions are on offer.
        load: loads a version, given its folder, its model's name and its number.
        loading: how often to look, and to try again.
    """

    def __init__(self, source: Source, load: Callable[[Path, str, int], Servable], loading: Loading) -> None:
        self._source = source
        self._load = load
        self._loading = loading
        self._lock = threading.Lock()  # of what scans
        self._offers: dict[str, Offer] = {}
        self._versions: dict[str, dict[int, Version]] = {}  # by model and number, those that were withdrawn included
        self._scanned = False
        self._working: set[str] = set()  # models on offer of which a version has worked
        self._errors: dict[str, str] = {}  # by model, "" for the source: what was logged and has not ended

    def watch(self, stop: threading.Event) -> None:
        """Scan at intervals until told to stop."""
        gc.collect()
        gc.freeze()  # TensorFlow's modules stay: collections after loading need not search them
        every = self._loading.poll_seconds
        while not stop.is_set():
            try:
                self.scan()
                self._note("", "")
            except Exception as error:  # a folder that cannot be read now may be readable later
                self._note("", one_line(error))
            if not every and self._finished:
                break
            stop.wait(every or self._loading.retry_seconds or 1)

    def scan(self) -> None:
        """Bring the models in line with the source. A new version is loaded before an old one goes.

        If the source, or the folder of a model, cannot be read, what is loaded stays. A source that is polled once is
        not read again: only loading is tried again.

        Raises:
            Exception: whatever the source raises.
        """
        with self._lock:
            self._scan(self._scanned and not self._loading.poll_seconds and not any(self._errors.values()))

    def follow(self, source: Source) -> None:
        """Follow another source, and bring the models in line with it.

        Raises:
            InputError: if a model of it has no version that works. It is followed all the same.
            Exception: whatever the source raises. It is not followed then.
        """
        with self._lock:
            known, self._source = self._source, source
            try:
                self._scan(once=False)
            except Exception:
                self._source = known
                raise
        broken = [name for name in self.names if not _newest(self._versions[name])]
        if broken:
            raise InputError(f"no version can be loaded of {', '.join(broken)}")

    def _scan(self, once: bool) -> None:
        offers = self._offers if once else self._source()
        for name, offer in offers.items():
            self._note(name, offer.error)
        offers = {name: self._offers.get(name, offer) if offer.error else offer for name, offer in offers.items()}
        due: list[tuple[int, str, int, _Stamp]] = []
        for name, offer in offers.items():
            versions = {number: Version(number) for number in offer.versions} | self._versions.get(name, {})
            self._put(name, versions)
            for age, number in enumerate(sorted(offer.versions, reverse=True)):
                stamp = (once and versions[number].stamp) or _stamp(offer.versions[number])
                if self._is_due(versions[number], stamp):
                    due.append((age, name, number, stamp))
        self._offers = offers
        self._working &= offers.keys()
        for _, name, number, stamp in sorted(due):  # the newest version of every model first
            version = self._loaded(offers[name].versions[number], name, self._versions[name][number], stamp)
            self._put(name, self._versions[name] | {number: version})
        for name in self._versions:
            self._withdraw_others(name)
        self._working |= {name for name in offers if _newest(self._versions[name])}
        if due:
            gc.collect()  # loading leaves cycles
        self._scanned = True

    def _note(self, name: str, error: str) -> None:
        """Log, once, that a model's folder or, without a name, the source cannot be read; and that it can be again."""
        if error != self._errors.get(name, ""):
            what = name or "models"
            if error:
                log.error("%s: cannot be read, what is loaded stays: %s", what, error)
            else:
                log.info("%s: can be read again", what)
        self._errors[name] = error

    @property
    def _finished(self) -> bool:
        """Whether another scan would find nothing to do if the source does not change."""
        versions = chain.from_iterable(found.values() for found in self._versions.values())
        return self._scanned and not any(self._errors.values()) and not any(map(self._is_waiting, versions))

    def _is_waiting(self, version: Version) -> bool:
        """Whether another attempt to load a version will be made, though nothing changes."""
        return bool(version.error) and version.failures <= self._loading.max_retries

    def _is_due(self, version: Version, stamp: _Stamp) -> bool:
        """Whether to load a version: it is new, its files have changed, or it failed and its next attempt has come."""
        return version.stamp != stamp or (self._is_waiting(version) and time.monotonic() >= version.retry_at)

    def _loaded(self, path: Path, name: str, version: Version, stamp: _Stamp) -> Version:
        """A version after an attempt to load it. If that fails, what was loaded before goes on serving."""
        try:
            servable = self._load(path, name, version.number)
        except Exception as error:  # a damaged file makes TensorFlow raise nearly anything
            message = one_line(error)[:300]
            log.warning("%s: version %d cannot be loaded: %s", name, version.number, message)
            message = for_clients(message, path)
            failures = version.failures + 1 if stamp == version.stamp else 1
            retry_at = time.monotonic() + self._loading.retry_seconds
            state = AVAILABLE if version.servable else END
            return replace(version, stamp=stamp, state=state, error=message, failures=failures, retry_at=retry_at)
        log.info("%s: version %d is available", name, version.number)
        return Version(version.number, stamp, AVAILABLE, servable=servable)

    def _withdraw_others(self, name: str) -> None:
        """Unload versions that are no longer on offer, but not the last one of an offered model that works."""
        versions = self._versions[name]
        kept = {number: versions[number] for number in self._offers.get(name, Offer()).versions}
        newest = _newest(versions)
        if newest and kept and not _newest(kept):
            kept[newest.number] = newest
        self._put(name, {number: kept.get(number, Version(number, state=END)) for number in versions})

    def _put(self, name: str, versions: dict[int, Version]) -> None:
        self._versions = self._versions | {name: versions}
        newest = _newest(versions)
        _NEWEST.labels(name).set(newest.number if newest else 0)
        _FAILED.labels(name).set(sum(bool(v.error) and not v.servable for v in versions.values()))

    @property
    def names(self) -> list[str]:
        """Names of the models on offer."""
        return sorted(self._offers)

    @property
    def ready(self) -> bool:
        """Whether there is a model that can be asked, and every model on offer that has worked still can."""
        return self._scanned and bool(self._working) and all(_newest(self._versions[name]) for name in self._working)

    def statuses(self, name: str, number: int | None = None) -> list[Version]:
        """A model's versions, newest first, or the one with a number.

        Raises:
            HTTPException: 404 if there is none.
        """
        versions = sorted(self._versions.get(name, {}).items(), reverse=True)
        found = [version for key, version in versions if number in (None, key)]
        if not found:
            what = "any versions" if number is None else f"version {number}"
            raise HTTPException(404, f"Could not find {what} of model {shown(name)}")
        return found

    def servable(self, name: str, number: int | None = None, label: str | None = None) -> Servable:
        """The version to ask: the newest available if neither number nor label is given.

        Raises:
            HTTPException: 400 if there is no such label; 404 if there is no such model or version, or it cannot be
                loaded; 503 if it is still being loaded.
        """
        if label is not None:
            number = self._offers.get(name, Offer()).labels.get(label)
            if number is None:
                raise HTTPException(400, f"Unrecognized servable version label: {shown(label)}")
        versions = self._versions.get(name, {})
        version = _newest(versions) if number is None else versions.get(number)
        if version and version.servable:
            return version.servable
        wanted = f"Latest({name[:64]})" if number is None else f"Specific({name[:64]}, {number})"
        unready = [version for key, version in versions.items() if number in (None, key)]
        if any(version.state == LOADING for version in unready):
            raise HTTPException(503, f"Servable is still being loaded: {wanted}")
        reason = "; ".join(version.error for version in unready if version.error)
        raise HTTPException(404, f"Servable not found for request: {wanted}" + (f": {reason}" if reason else ""))


def _stamp(folder: Path) -> _Stamp:
    """What changes when a version's files do."""
    found = []
    for path in [folder, *sorted(folder.rglob("*"))]:
        with suppress(FileNotFoundError):  # withdrawn at this moment
            about = path.stat()
            found.append((str(path), about.st_size, about.st_mtime_ns, about.st_ino))
    return tuple(found)
