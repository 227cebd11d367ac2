"""The errors of the package, by kind. Every message says what was expected, what was found and what to do."""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import Any, get_args


class NetDissectError(Exception):
    """Base of every error that the package raises on purpose."""


def shortened(text: object) -> str:
    """Return text for a message, cut if it is long: a parser's message may quote a whole file."""
    text = str(text)
    return text if len(text) <= 500 else f"{text[:500]}..."


def printable(text: str) -> str:
    """Return text on one line, as a terminal may show it: what it would interpret becomes an escape, as in repr.

    That is control characters, and those that change the direction of the text around them.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def printable_lines(text: object) -> str:
    """Return text of several lines, each of them printable."""
    return "\n".join(map(printable, str(text).expandtabs(4).splitlines()))


class ArgumentError(NetDissectError, ValueError):
    """An argument or option has a value that cannot be used."""


class ShapeError(ArgumentError):
    """An array has the wrong shape, dtype or strides."""


class DataError(NetDissectError, ValueError):
    """A file of a data set or of a result is missing, broken or inconsistent.

    ``path`` is the file, ``line`` its line (1-based) if known, ``reason`` the rest of the message.
    """

    def __init__(self, path: str | PathLike[str], reason: str, line: int | None = None) -> None:
        self.path, self.reason, self.line = str(path), reason, line
        super().__init__(f"{self.path}{'' if line is None else f', line {line}'}: {reason}")

    def __reduce__(self) -> tuple[type[DataError], tuple[str, str, int | None]]:
        # Data loader workers send their errors to the main process by pickling them.
        return type(self), (self.path, self.reason, self.line)


class LayerError(NetDissectError, ValueError):
    """A layer cannot be found, never ran, or returned something that is not a stack of unit maps."""


class ActivationError(NetDissectError, ValueError):
    """An activation is NaN or infinite; the message names layer, unit and image."""


class ModelError(NetDissectError, RuntimeError):
    """The user's model cannot be loaded, or raised an error while running."""


class OutputError(NetDissectError, OSError):
    """A result cannot be written: no space, no permission, not a folder."""


class InUse(OutputError):
    """A folder is being written by another process; the message names it."""


class DownloadError(NetDissectError, OSError):
    """A file cannot be downloaded; the message lists every address and what went wrong there."""


class ResumeMismatch(ArgumentError):
    """Settings, model or data differ between what was begun and what is to be added; the message says which."""


class RankError(NetDissectError, RuntimeError):
    """The processes of one run lost contact: one of them failed, and its own error says why."""


class CapacityError(NetDissectError, MemoryError):
    """The work does not fit into memory, even in the smallest pieces; the message says what to reduce."""


class BackendUnavailable(NetDissectError, ImportError):
    """The requested backend is not available on this machine; the message says what to install."""


class MissingExtra(NetDissectError, ImportError):
    """A requested feature needs a package that cannot be imported; the message says which extra installs it."""


def require(module: str, extra: str) -> Any:
    """Return the optional package ``module``, or raise a MissingExtra that names the extra which installs it."""
    try:
        return import_module(module)
    except Exception as error:  # a package that does not fit the others may raise anything
        what = import_failure(module, error)
        upgrade = "" if is_missing(module, error) else "--upgrade "
        raise MissingExtra(f"{what}: pip install {upgrade}'netdissect-fast[{extra}]'") from error


def is_missing(module: str, error: Exception) -> bool:
    """Return whether ``error``, from importing ``module``, means that it is not installed."""
    named = error.name if isinstance(error, ModuleNotFoundError) else None
    return named is not None and f"{module}.".startswith(f"{named}.")


def import_failure(module: str, error: Exception) -> str:
    """Say in one line why ``module`` could not be imported."""
    if is_missing(module, error):
        return f"{module} is not installed"
    said = shortened(" ".join(str(error).split()))
    return f"{module} is installed, but importing it raised {type(error).__name__}: {said}"


def check_option(name: str, value: str, options: object) -> None:
    """Raise ArgumentError unless ``value`` is one of the Literal's options."""
    if value not in get_args(options):
        raise ArgumentError(f"{name} must be one of {', '.join(get_args(options))}; got {value!r}")
