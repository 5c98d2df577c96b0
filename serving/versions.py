"""A model's versions, as the contract reports them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.servable import Servable

LOADING, AVAILABLE, END = "LOADING", "AVAILABLE", "END"
"""States of the contract (`ModelVersionStatus.State`); END with an error is a version that could not be loaded."""


@dataclass(frozen=True)
class Version:
    """A published version, the folder that it was seen in, and what became of it."""

    number: int
    stamp: tuple[int, int]
    state: str = LOADING
    error: str = ""
    servable: Servable | None = None

    def status(self) -> dict[str, Any]:
        """The contract's ModelVersionStatus."""
        code = "INVALID_ARGUMENT" if self.error else "OK"
        return {
            "version": str(self.number),
            "state": self.state,
            "status": {"error_code": code, "error_message": self.error},
        }


@dataclass(frozen=True)
class Model:
    """A model's versions by number, and its labels."""

    versions: Mapping[int, Version]
    labels: Mapping[str, int]

    def newest(self) -> Version | None:
        """The newest version that is available."""
        numbers = [number for number, version in self.versions.items() if version.state == AVAILABLE]
        return self.versions[max(numbers)] if numbers else None
