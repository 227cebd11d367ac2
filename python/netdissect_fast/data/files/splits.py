"""Broden's order of images and their split, which follow from the images' names alone."""

from __future__ import annotations

import hashlib


def place_of(path: str, salt: str = "") -> float:
    """Return an image's place in the order, 0 to 1: the first 64 bits of the MD5 of its path under images/.

    A ``salt``, put before the path, produces a different order.
    """
    digest = hashlib.md5((salt + path).encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(path: str, train: float = 0.7, salt: str = "") -> str:
    """Return "train" if the image's place is at most ``train``, else "val"."""
    return "train" if place_of(path, salt) <= train else "val"
