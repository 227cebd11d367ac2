"""Folders of images and masks, small enough to check by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

NAMES = "value,name,category\n1,sky,\n2,grass,object\n7,roof,part\n255,-,\n,street,scene\n"


def write_photo(path: Path, height: int, width: int) -> None:
    """A gradient, so that no two pixels are mirror images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(path)


def write_mask(path: Path, values: np.ndarray) -> None:
    """Values [Y, X] uint8 or uint16 as greyscale, colours [Y, X, 3] as RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def masks() -> dict[str, np.ndarray]:
    """uint8 by file: sky above grass with a border of 255, a roof over both; two images of different sizes."""
    first = np.full((8, 12), 1, np.uint8)
    first[4:] = 2
    first[:, 0] = 255
    roof = np.zeros((8, 12), np.uint8)
    roof[2:6, 4:8] = 7
    second = np.zeros((6, 6), np.uint8)
    second[:3, :3] = 2
    return {"masks/a/one.png": first, "masks_parts/a/one.png": roof, "masks/two.png": second}


def write_folder(folder: Path) -> Path:
    """Images a/one.jpg (8 × 12), three.jpg (no mask: a street), two.png (6 × 6); masks as above."""
    write_photo(folder / "images/a/one.jpg", 8, 12)
    write_photo(folder / "images/two.png", 6, 6)
    write_photo(folder / "images/three.jpg", 10, 10)
    for name, values in masks().items():
        write_mask(folder / name, values)
    (folder / "names.csv").write_text(NAMES)
    (folder / "labels.csv").write_text("image,concepts\nthree.jpg,street\na/one.jpg,scene:street;\n")
    return folder
