"""The former location of ``data/input/preprocess.py``."""

from __future__ import annotations

import warnings
from typing import Any


def __getattr__(name: str) -> Any:
    from .input import preprocess

    value = getattr(preprocess, name)
    warnings.warn(
        f"netdissect_fast.data.preprocess has moved: import {name} from netdissect_fast.data.input.preprocess",
        DeprecationWarning,
        stacklevel=2,
    )
    return value
