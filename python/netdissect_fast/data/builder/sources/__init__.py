"""Readers of the four data sets that Broden is built from, in the layouts in which they are published."""

from __future__ import annotations

import os
from pathlib import Path

from ....errors import DataError
from ...files.exif import Exif
from . import ade20k, ade20k_2021
from .ade20k import Ade20k2016
from .ade20k_2021 import Ade20k2021
from .dtd import Dtd
from .opensurfaces import OpenSurfaces
from .pascal import Pascal
from .photographs import look_for

__all__ = ["Ade20k2016", "Ade20k2021", "Dtd", "OpenSurfaces", "Pascal", "open_ade20k"]


def open_ade20k(path: str | os.PathLike[str], exif: Exif = None) -> Ade20k2016 | Ade20k2021:
    """Open ADE20K in the layout found below ``path``; if both are, that of 2016, which Broden was made from."""
    if Path(path, ade20k_2021.PHOTOS).is_dir():
        return Ade20k2021(path, exif)
    if look_for(path, ade20k.INDEX, ade20k.PLACES):
        return Ade20k2016(path, exif)
    if look_for(path, ade20k_2021.PHOTOS, ade20k_2021.PLACES):
        return Ade20k2021(path, exif)
    raise DataError(
        path, f"is not ADE20K: there is neither {ade20k.INDEX} (2016) nor {ade20k_2021.PHOTOS} (2021) in or below it"
    )
