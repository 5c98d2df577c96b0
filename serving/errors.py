"""How the server says no."""


class RequestError(Exception):
    """A request that gets no prediction.

    Args:
        status: HTTP status.
        message: what was found and what was expected; goes to the client as `{"error": message}`.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def invalid(message: str) -> RequestError:
    """A refusal of what the client sent."""
    return RequestError(400, message)


def shown(name: str) -> str:
    """A name from a request, fit for a message: quoted, escaped and short."""
    return repr(name if len(name) <= 64 else name[:64] + "...")
