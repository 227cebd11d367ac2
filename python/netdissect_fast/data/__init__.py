"""Data sets of images with dense concept labels. Importing this loads neither torch nor Pillow."""

from __future__ import annotations

from .broden import Broden
from .cache import packed_labels
from .dataset import ConceptDataset, DataWarning, Subset
from .synthetic import Synthetic, write_synthetic

__all__ = [
    "Broden",
    "ConceptDataset",
    "DataWarning",
    "Subset",
    "Synthetic",
    "packed_labels",
    "write_synthetic",
]
