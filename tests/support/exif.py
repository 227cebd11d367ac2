"""Photographs with an EXIF orientation, and data sets of one such photograph with labels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from netdissect_fast.data.dataset import ConceptDataset
from netdissect_fast.data.formats.broden import Broden
from netdissect_fast.data.formats.coco import CocoInstances, CocoPanoptic
from netdissect_fast.data.formats.folder import Folder

from . import coco_sets
from .mask_folders import write_mask
from .tiny_broden import write_label_map

SHAPES = {"square": (12, 12), "wide": (8, 14)}  # of the pixels as they are stored
KINDS = ("folder", "coco panoptic", "coco instances", "broden", "broden without sizes")


def pixels(height: int, width: int) -> np.ndarray:
    """Return colours that differ everywhere, so that no turn looks like another."""
    y, x = np.indices((height, width))
    return np.stack([y * 16, x * 16, (y * width + x) % 256], -1).astype(np.uint8)


def write_tagged(path: Path, stored: np.ndarray, orientation: int) -> Path:
    """Write a PNG or JPEG with an EXIF orientation; 1 is written too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tagged(stored, orientation, "PNG" if path.suffix == ".png" else "JPEG"))
    return path


def tagged(stored: np.ndarray, orientation: int, form: str) -> bytes:
    """Return the bytes of a PNG or JPEG file with an EXIF orientation."""
    tags, file = Image.Exif(), io.BytesIO()
    tags[0x112] = orientation
    Image.fromarray(stored).save(file, form, exif=tags)
    return file.getvalue()


def upright(path: Path) -> np.ndarray:
    """Return the photograph as viewers show it, turned by Pillow."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def write_set(kind: str, folder: Path, stored: np.ndarray, orientation: int, labels: tuple[int, int]) -> Path:
    """Write a data set of one photograph, whose labels have a shape of their own; return what opens it."""
    folder.mkdir(parents=True)
    left = np.zeros(labels, np.uint8)
    left[:, : labels[1] // 2] = 1
    size = {"height": labels[0], "width": labels[1]}
    if kind == "folder":
        write_tagged(folder / "images/0.png", stored, orientation)
        write_mask(folder / "masks/0.png", left)
        (folder / "names.csv").write_text("value,name\n1,left\n")
        return folder
    if kind.startswith("broden"):
        write_tagged(folder / "images/0.png", stored, orientation)
        write_label_map(folder / "images/0_object.png", left.astype(np.int32))
        ih_iw = f"{labels[0]},{labels[1]}" if kind == "broden" else ","
        (folder / "index.csv").write_text(f"image,split,ih,iw,sh,sw,object\n0.png,train,{ih_iw},,,0_object.png\n")
        (folder / "category.csv").write_text("name\nobject\n")
        (folder / "label.csv").write_text("number,name,category\n1,left,object(1)\n")
        return folder
    write_tagged(folder / "0.png", stored, orientation)
    content: dict[str, Any] = {"images": [{"id": 1, "file_name": "0.png", **size}]}
    content["categories"] = [{"id": 1, "name": "left", "isthing": 1}]
    if kind == "coco instances":
        content["annotations"] = [{"image_id": 1, "category_id": 1, "segmentation": coco_sets.run_lengths(left == 1)}]
    else:
        segments = [{"id": 1, "category_id": 1}]
        content["annotations"] = [{"image_id": 1, "file_name": "mask.png", "segments_info": segments}]
        (folder / "set").mkdir()
        coco_sets.write_mask(folder / "set/mask.png", left.astype(int))
    return coco_sets.write_json(folder / "set.json", content)


def open_set(kind: str, path: Path, exif: Any = None) -> ConceptDataset:
    """Open what ``write_set`` wrote, labels in their own size."""
    if kind == "folder":
        return Folder(path, label_size=None, exif=exif)
    if kind == "coco panoptic":
        return CocoPanoptic(path, label_size=None, exif=exif)
    if kind == "coco instances":
        return CocoInstances(path, label_size=None, exif=exif)
    return Broden(path, exif=exif)
