"""What can go wrong, by kind. Every message says what was expected, what came and what to do."""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import Any, get_args


class NetDissectError(Exception):
    """Base of every error that the package raises on purpose."""


def shortened(text: object) -> str:
    """Text for a message, its beginning where it is long: what a parser says may quote a whole file."""
    text = str(text)
    return text if len(text) <= 500 else f"{text[:500]}..."


class ArgumentError(NetDissectError, ValueError):
    """An argument or option has a value that cannot be used."""


class ShapeError(ArgumentError):
    """An array has the wrong shape, dtype or strides."""


class DataError(NetDissectError, ValueError):
    """A file of a data set or of a result is missing, broken or inconsistent.

    ``path`` is the file, ``line`` its line (1-based) where there is one, ``reason`` the rest of the message.
    """

    def __init__(self, path: str | PathLike[str], reason: str, line: int | None = None) -> None:
        self.path, self.reason, self.line = str(path), reason, line
        super().__init__(f"{self.path}{'' if line is None else f', line {line}'}: {reason}")

    def __reduce__(self) -> tuple[type[DataError], tuple[str, str, int | None]]:
        # Data loader workers send their errors to the main process by pickle.
        return type(self), (self.path, self.reason, self.line)


class LayerError(NetDissectError, ValueError):
    """A layer cannot be found, never ran, or gave something that is not a stack of unit maps."""


class ActivationError(NetDissectError, ValueError):
    """An activation is NaN or infinite; the message names layer, unit and image."""


class ModelError(NetDissectError, RuntimeError):
    """The user's model cannot be loaded, or raised while running."""


class OutputError(NetDissectError, OSError):
    """A result cannot be written: no space, no permission, not a folder."""


class InUse(OutputError):
    """A folder is being written by another process; the message names it."""


class DownloadError(NetDissectError, OSError):
    """A file cannot be downloaded; the message lists every address with what went wrong there."""


class ResumeMismatch(ArgumentError):
    """What was begun has other settings, model or data than what is to be added; the message says which."""


class RankError(NetDissectError, RuntimeError):
    """The processes of one run lost contact: one of them failed, and says itself why."""


class CapacityError(NetDissectError, MemoryError):
    """The work does not fit into memory, even in the smallest pieces; the message says what to make smaller."""


class BackendUnavailable(NetDissectError, ImportError):
    """The backend asked for does not exist on this machine; the message says what to install."""


class MissingExtra(NetDissectError, ImportError):
    """Something asked for needs a package that is not installed; the message says which extra brings it."""


def require(module: str, extra: str) -> Any:
    """The optional package ``module``, or a MissingExtra that names the extra which brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(f"{module} is not installed: pip install 'netdissect-fast[{extra}]'") from error


def check_option(name: str, value: str, options: object) -> None:
    """Raise ArgumentError unless ``value`` is one of the Literal's options."""
    if value not in get_args(options):
        raise ArgumentError(f"{name} must be one of {', '.join(get_args(options))}; got {value!r}")
