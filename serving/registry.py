"""The models on offer: loads what is published, drops what is withdrawn, while requests are answered."""

import gc
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from serving import published
from serving.errors import RequestError, invalid, shown
from serving.metrics import Metrics
from serving.servable import Servable
from serving.versions import AVAILABLE, END, LOADING, Model, Version
from stages.core.errors import InputError

log = logging.getLogger("serving")


class Registry:
    """Follows a folder of published models.

    Readers see each model whole: it is replaced, never changed. Only one thread may call `scan`.

    Args:
        folder: the published models.
        load: makes a servable of a path, a model's name and a version.
        metrics: where versions are counted.
    """

    def __init__(self, folder: Path, load: Callable[[Path, str, int], Servable], metrics: Metrics) -> None:
        self._folder = folder
        self._load = load
        self._metrics = metrics
        self._models: dict[str, Model] = {}
        self._scanned = False

    def watch(self, stop: threading.Event, seconds: float) -> None:
        """Scan until told to stop, pausing so long between two scans."""
        while not stop.is_set():
            try:
                self.scan()
            except Exception:
                log.exception("%s: could not be read; trying again", self._folder)
            stop.wait(seconds)

    def scan(self) -> None:
        """Bring the models on offer in line with the folder; a new version is loaded before an old one goes."""
        seen = {name: self._look(name) for name in published.models(self._folder)}
        seen = {name: model for name, model in seen.items() if model.versions}
        fresh: list[tuple[int, str, int]] = []
        for name, model in seen.items():
            known = self._models.get(name, Model({}, {}))
            new = [
                n for n, v in model.versions.items() if n not in known.versions or known.versions[n].stamp != v.stamp
            ]
            unknown = {n: model.versions[n] for n in new if n not in known.versions}
            self._offer(name, Model({**known.versions, **unknown}, model.labels))
            fresh += [(age, name, number) for age, number in enumerate(sorted(new, reverse=True))]
        for _, name, number in sorted(fresh):  # every model's newest first
            self._put(name, self._loaded(name, seen[name].versions[number]))
        for name in list(self._models):
            self._keep_only(name, set(seen[name].versions) if name in seen else set())
        if fresh:  # models are large and stay: what requests leave behind is found without searching them
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        self._scanned = True

    def _look(self, name: str) -> Model:
        folder = self._folder / name
        found = {}
        for number in published.versions(folder):
            try:
                about = (folder / str(number)).stat()
            except FileNotFoundError:  # withdrawn since
                continue
            found[number] = Version(number, (about.st_ino, about.st_mtime_ns))
        try:
            return Model(found, published.labels(folder))
        except InputError as error:
            log.warning("%s", error)
            return Model(found, {})

    def _loaded(self, name: str, version: Version) -> Version:
        path = self._folder / name / str(version.number)
        try:
            servable = self._load(path, name, version.number)
        except Exception as error:  # a damaged file makes TensorFlow raise nearly anything
            message = " ".join(str(error).split())[:300] or type(error).__name__
            log.warning("%s: version %d cannot be loaded: %s", name, version.number, message)
            return replace(version, state=END, error=message)
        log.info("%s: version %d is available", name, version.number)
        return replace(version, state=AVAILABLE, servable=servable)

    def _put(self, name: str, version: Version) -> None:
        model = self._models[name]
        self._offer(name, replace(model, versions={**model.versions, version.number: version}))

    def _keep_only(self, name: str, numbers: set[int]) -> None:
        """Drop versions that are no longer published, but never the last that works of a published model."""
        model = self._models[name]
        kept = {n: v for n, v in model.versions.items() if n in numbers}
        if not numbers:
            self._models = {n: m for n, m in self._models.items() if n != name}
            self._metrics.forget(name)
            return
        newest = model.newest()
        if newest and not any(version.state == AVAILABLE for version in kept.values()):
            kept[newest.number] = newest
        self._offer(name, replace(model, versions=kept))

    def _offer(self, name: str, model: Model) -> None:
        self._models = {**self._models, name: model}
        newest = model.newest()
        self._metrics.newest.labels(name).set(newest.number if newest else 0)
        self._metrics.failed.labels(name).set(sum(v.state == END for v in model.versions.values()))

    @property
    def names(self) -> list[str]:
        """Names of the models on offer."""
        return sorted(self._models)

    @property
    def ready(self) -> bool:
        """Whether every published model can be asked."""
        return self._scanned and all(model.newest() for model in self._models.values())

    def model(self, name: str) -> Model:
        """A model by name.

        Raises:
            RequestError: 404 if there is none.
        """
        try:
            return self._models[name]
        except KeyError:
            raise RequestError(404, f"no model {shown(name)}") from None

    def version(self, name: str, number: int | None = None, label: str | None = None) -> Version:
        """A version by number or label.

        Raises:
            RequestError: 404 if there is no such model or version; 400 if there is no such label.
        """
        model = self.model(name)
        if label is not None:
            if label not in model.labels:
                raise invalid(f"model {name}: no label {shown(label)}")
            number = model.labels[label]
        if number is None or number not in model.versions:
            raise RequestError(404, f"model {name}: no version {number}")
        return model.versions[number]

    def servable(self, name: str, number: int | None = None, label: str | None = None) -> Servable:
        """The version to ask: the newest available if neither number nor label is given.

        Raises:
            RequestError: as `version`; 503 if it is still being loaded, or no version is available.
        """
        if number is None and label is None:
            version = self.model(name).newest()
            if version is None:
                raise RequestError(503, f"model {name}: no version is available")
        else:
            version = self.version(name, number, label)
        if version.servable is not None:
            return version.servable
        if version.state == LOADING:
            raise RequestError(503, f"model {name}: version {version.number} is being loaded")
        raise RequestError(404, f"model {name}: version {version.number} could not be loaded: {version.error}")
