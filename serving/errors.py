"""Refusals of requests."""

from stages.core.errors import InputError
from stages.savedmodel.tensors import UnsupportedTypeError


class RequestError(Exception):
    """A request that is refused.

    Args:
        status: HTTP status.
        message: what was found and what was expected. The client gets it as `{"error": message}`.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    @classmethod
    def of(cls, error: InputError) -> "RequestError":
        """The refusal of a body that does not fit."""
        return cls(501 if isinstance(error, UnsupportedTypeError) else 400, str(error))


def shown(name: str) -> str:
    """A name from a request for a message: quoted, escaped and short."""
    return repr(name if len(name) <= 64 else name[:64] + "...")
