"""Reopens the data set of a run: each built-in data set records how it was opened, as plain values for run.json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, NetDissectError
from .dataset import ConceptDataset, Subset, source_of
from .formats.broden import Broden
from .formats.coco import CocoInstances, CocoPanoptic
from .formats.folder import Folder
from .formats.joined import Joined
from .formats.synthetic import Synthetic
from .opening import open_data

__all__ = ["check_same", "data_of_run", "open_source", "source_of"]

_RANGE = ("start", "stop", "step")


_KINDS: dict[str, Callable[..., ConceptDataset]] = {
    "broden": Broden,
    "coco instances": CocoInstances,
    "coco panoptic": CocoPanoptic,
    "folder": Folder,
    "synthetic": Synthetic,
}


def open_source(source: dict[str, Any], path: Path | None = None) -> ConceptDataset:
    """Open the data set that ``source_of`` described, at its recorded place or at ``path``, which the user names now.

    Raises ArgumentError if ``source`` describes none; otherwise what opening raises.
    """
    try:
        return _opened(source, path)
    except NetDissectError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, OSError) as error:
        where = "" if path is None else f" in {path}"
        raise ArgumentError(f"run.json does not say how to open the data set{where}: {error!r}") from error


def _opened(source: dict[str, Any], path: Path | None) -> ConceptDataset:
    options = dict(source)
    kind = options.pop("kind")
    if kind in ("subset", "range"):
        of = _opened(options.pop("of"), path)
        return Subset(of, options["indices"] if kind == "subset" else range(*(options[n] for n in _RANGE)))
    if kind == "joined":
        if path is not None:
            raise ArgumentError("the data set joins several, which must be at their recorded places: omit --data")
        if any(part["kind"] == "function" for part in options["of"]):
            raise ArgumentError(
                "the data set joins several, some of them returned by functions of yours: open it in Python and pass "
                "it as data="
            )
        return Joined([_opened(part, None) for part in options["of"]], options["names"])
    if kind == "function":
        if path is None:  # code that a result folder names runs only if the user requests it
            raise ArgumentError(f"the data set was returned by {options['spec']}: pass that as the data set (--data)")
        return open_data(path)
    if path is not None:
        if kind == "synthetic":
            raise ArgumentError("the data set was drawn, not read from a folder: omit --data")
        found = dict.fromkeys(options.keys() & {"images", "masks"})  # beside the file, wherever that is now
        options = {**options, **found, "path": str(path)}
    return _KINDS[kind](**options)


def data_of_run(run: dict[str, Any], path: Path | None = None) -> ConceptDataset:
    """Open the data set of a loaded run, from where run.json says it was, or from the folder ``path``.

    Raises ArgumentError if run.json does not say, or the data set there is not the one that was dissected.
    """
    record = run.get("data")
    source = record.get("source") if isinstance(record, dict) else None
    if not isinstance(source, dict):
        if path is None:
            raise ArgumentError("run.json does not say where the images are: pass the data set (--data)")
        source = {"kind": "broden"}
    data = open_source(source, path)
    check_same(data, run)
    return data


def check_same(data: ConceptDataset, run: dict[str, Any]) -> None:
    """Raise ArgumentError unless ``data`` is what the run dissected; a run that records no fingerprint is trusted."""
    record = run.get("data")
    wanted = record.get("fingerprint") if isinstance(record, dict) else None
    if wanted is not None and data.fingerprint() != wanted:
        raise ArgumentError(
            f"{data!r} is not the data set that was dissected: its images, labels or selection have changed; "
            "pass the right one (--data)"
        )
