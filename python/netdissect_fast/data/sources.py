"""Finding a run's data set again: each data set of ours says how it was opened, as plain values for run.json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, NetDissectError
from .broden import Broden
from .dataset import ConceptDataset, Subset, source_of
from .synthetic import Synthetic

__all__ = ["check_same", "data_of_run", "open_source", "source_of"]


def _subset(of: dict[str, Any], indices: list[int]) -> Subset:
    return Subset(open_source(of), indices)


def _range(of: dict[str, Any], start: int, stop: int, step: int) -> Subset:
    return Subset(open_source(of), range(start, stop, step))


_KINDS: dict[str, Callable[..., ConceptDataset]] = {
    "broden": Broden,
    "range": _range,
    "subset": _subset,
    "synthetic": Synthetic,
}


def open_source(source: dict[str, Any], path: Path | None = None) -> ConceptDataset:
    """The data set that ``source_of`` described, from where it was or from the folder ``path``.

    ArgumentError where it describes none; else what opening raises.
    """
    try:
        options = _moved(source, str(path)) if path is not None else dict(source)
        return _KINDS[options.pop("kind")](**options)
    except NetDissectError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, OSError) as error:
        where = "" if path is None else f" in {path}"
        raise ArgumentError(f"run.json does not say how to open the data set{where}: {error!r}") from error


def data_of_run(run: dict[str, Any], path: Path | None = None) -> ConceptDataset:
    """The data set of a loaded run, opened from where run.json says it was, or from the folder ``path``.

    Raises ArgumentError where run.json does not say, or the data set there is not the one that was dissected.
    """
    record = run.get("data")
    source = record.get("source") if isinstance(record, dict) else None
    if not isinstance(source, dict):
        if path is None:
            raise ArgumentError("run.json does not say where the images are: give the data set (--data)")
        source = {"kind": "broden"}
    data = open_source(source, path)
    check_same(data, run)
    return data


def _moved(source: dict[str, Any], path: str) -> dict[str, Any]:
    """The same in another folder."""
    if source["kind"] == "synthetic":
        raise ArgumentError("the data set was drawn, not read from a folder: leave out --data")
    return {**source, "of": _moved(source["of"], path)} if "of" in source else {**source, "path": path}


def check_same(data: ConceptDataset, run: dict[str, Any]) -> None:
    """Raise ArgumentError unless ``data`` is what the run dissected; a run that does not tell is trusted."""
    record = run.get("data")
    wanted = record.get("fingerprint") if isinstance(record, dict) else None
    if wanted is not None and data.fingerprint() != wanted:
        raise ArgumentError(
            f"{data!r} is not the data set that was dissected: its images, labels or selection have changed; "
            "give the right one (--data)"
        )
