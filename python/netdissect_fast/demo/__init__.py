"""The demo: a small trained network on drawn scenes.

Uses the package as a user would; used only by its command.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "demo" or name.startswith("__"):  # the module itself, while it is being imported
        raise AttributeError(name)
    value = getattr(import_module(".demo", __name__), name)
    warnings.warn(f"{name} has moved: import it from netdissect_fast.demo.demo", DeprecationWarning, stacklevel=2)
    return value
