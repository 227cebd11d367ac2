"""The record of a run for run.json, and what must agree for two parts to belong to the same run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..data.dataset import ConceptDataset
from ..data.faults import skipped_of
from ..data.sources import source_of
from ..errors import ResumeMismatch
from ..network.hashes import describe, model_hash, plain, short_hash
from ..network.layers import unwrap
from .versions import versions

if TYPE_CHECKING:
    from torch import nn

# Results do not depend on these. Torch's threads and version change the last bits of activations: a warning.
_FREE = {"workers", "backend", "threads", "torch_threads"}


class ResumeWarning(UserWarning):
    """Parts of a run may differ in the last bits of activations, or a checkpoint could not be written."""


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | None) or (isinstance(value, list) and all(map(_is_plain, value)))


def run_record(model: nn.Module, data: ConceptDataset, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what run.json says about a run; ``settings`` that are not plain values go through ``describe``."""
    network = unwrap(model)
    return {
        "model": type(network).__name__,
        "structure": short_hash(plain(network)),
        "weights": model_hash(network),
        "settings": {name: value if _is_plain(value) else describe(value) for name, value in settings.items()},
        "versions": versions(),
        "data": {
            "name": plain(data),
            "images": len(data),
            "fingerprint": data.fingerprint(),
            "source": source_of(data),
            "skipped": len(skipped_of(data)),
        },
    }


def require_same(begun: Mapping[str, Any], now: Mapping[str, Any], where: str, remedy: str) -> None:
    """Raise ResumeMismatch, saying what differs, unless two records belong to the same run.

    where    what ``begun`` is, such as a folder
    remedy   what to do, as the end of the message
    """
    ours, theirs = _identity(now), _identity(begun)
    different = [
        f"{name} ({_shown(theirs.get(name))} there, {_shown(ours.get(name))} here)"
        for name in ours | theirs
        if ours.get(name) != theirs.get(name)
    ]
    if different:
        raise ResumeMismatch(f"{where} belongs to a different run: {'; '.join(different)}. {remedy}")
    for name in ("torch_threads", "torch"):
        values = [{**record["versions"], **record["settings"]}.get(name) for record in (begun, now)]
        if values[0] != values[1]:
            warnings.warn(
                f"{where} was made with {name} {values[0]}, this run uses {values[1]}: "
                "activations may differ in the last bits",
                ResumeWarning,
                stacklevel=3,
            )


def _identity(record: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in record["settings"].items() if name not in _FREE}
    settings["device"] = str(settings.get("device")).partition(":")[0]  # the index of the GPU may differ
    return {
        "model": record["model"],
        "model structure": record["structure"],
        "model weights": record["weights"],
        **settings,
        "data": record["data"]["fingerprint"],
        "major version": str(record["versions"]["netdissect_fast"]).partition(".")[0],
    }


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
