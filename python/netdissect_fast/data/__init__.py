"""Data sets of images with dense concept labels: reading, preparing, building, downloading and checking them.

Importing this loads neither torch nor Pillow; used by runs, pages, experiments and commands.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

_MOVED = {
    "Broden": "formats.broden",
    "ConceptDataset": "dataset",
    "DataWarning": "dataset",
    "Subset": "dataset",
    "Synthetic": "formats.synthetic",
    "packed_labels": "label_cache",
    "write_synthetic": "formats.synthetic",
}


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = f"{__name__}.{_MOVED[name]}"
    warnings.warn(f"import {name} from {place}, where it is now", DeprecationWarning, stacklevel=2)
    return getattr(import_module(place), name)
