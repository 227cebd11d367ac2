"""Tiny data sets in COCO's official formats, small enough to check by hand, and ways to spoil them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Content = dict[str, Any]


def picture(identity: int, file: str, height: int, width: int) -> dict[str, Any]:
    more = {"license": 1, "coco_url": "http://images.example/x.jpg", "date_captured": "2013-11-14 17:02:52"}
    return {"id": identity, "file_name": file, "height": height, "width": width, **more}


def category(identity: int, name: str, of: str, isthing: int | None = None) -> dict[str, Any]:
    entry = {"supercategory": of, "id": identity, "name": name}
    return entry if isthing is None else {**entry, "isthing": isthing, "color": [1, 2, 3]}


def instance(identity: int, image: int, category: int, segmentation: Any, iscrowd: int = 0) -> dict[str, Any]:
    measures = {"area": 4.0, "bbox": [0.0, 0.0, 2.0, 2.0], "iscrowd": iscrowd}
    return {"id": identity, "image_id": image, "category_id": category, "segmentation": segmentation, **measures}


def rectangle(left: float, top: float, right: float, bottom: float) -> list[float]:
    """A polygon that covers columns left..right−1 and rows top..bottom−1."""
    return [left, top, right, top, right, bottom, left, bottom]


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """Uncompressed, as COCO's crowds: off and on in turn, down the columns."""
    flat = mask.T.ravel().astype(int)
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, flat.size]).tolist()
    return {"counts": [0, *runs] if flat[0] else runs, "size": [*mask.shape]}


def compressed(mask: np.ndarray) -> dict[str, Any]:
    """As pycocotools writes it."""
    from pycocotools.mask import encode

    return {"counts": encode(np.asfortranarray(mask, np.uint8))["counts"].decode(), "size": [*mask.shape]}


def masks_of(text: str) -> np.ndarray:
    """Numbers drawn as text, one row a line; . is 0."""
    return np.array([[0 if cell == "." else int(cell) for cell in row.split()] for row in text.strip().splitlines()])


RING = (
    masks_of("""
. . . . . . . .
. . . . . . . .
1 1 1 1 . . . .
1 . . 1 . . . .
1 . . 1 . . . .
1 1 1 1 . . . .
""")
    == 1
)
BLOCK = (
    masks_of("""
. . . 1 1 1 1 .
. . . 1 1 1 1 .
. . . 1 1 1 1 .
. . . . . . . .
. . . . . . . .
. . . . . . . .
""")
    == 1
)
CATS = """
.  .  .  .  .  .  .  .
. 17 17 17  .  .  .  .
17 17 17 17  .  .  .  .
17  .  . 17  .  .  .  .
17  .  . 17  . 17 17 17
17 17 17 17  . 17 17 17
"""


def instances() -> Content:
    """Image 11 of cats (two polygons, a crowd with a hole) and a car that overlaps them; 22 of a car; 33 of none."""
    return {
        "info": {"description": "tiny", "version": "1.0"},
        "licenses": [{"id": 1, "name": "free"}],
        "images": [
            picture(11, "000000000011.jpg", 6, 8),
            picture(22, "more/000000000022.png", 5, 7),
            picture(33, "000000000033.jpg", 4, 4),
        ],
        "annotations": [
            instance(101, 11, 17, [rectangle(1, 1, 4, 3), rectangle(5, 4, 8, 6)]),
            instance(102, 22, 3, [rectangle(0, 1, 7, 2)]),
            instance(103, 11, 3, compressed(BLOCK)),
            instance(104, 11, 17, run_lengths(RING), iscrowd=1),
        ],
        "categories": [category(17, "cat", "animal"), category(3, "car", "vehicle"), category(90, "brush", "indoor")],
    }


SEGMENTS = masks_of("""
  5   5   5   5 517 517 517
  5   5   5   5 517 517 517
  .   . 196609 196609 196609 . .
  .   . 196609 196609 196609 . .
  .   . 196609 196609 196609 . .
""")
CROWD = masks_of("""
7 7 7
7 7 7
. . 7
. . .
. . .
""")


def panoptic() -> Content:
    """Image 11 of two people (one number), sky and void; 22 of a crowd; 33 without annotation."""
    segment = {"area": 4, "bbox": [0, 0, 2, 2], "iscrowd": 0}
    first = [(5, 184), (517, 1), (196609, 1)]
    segments = [{"id": identity, "category_id": number, **segment} for identity, number in first]
    crowd = {**segment, "id": 7, "category_id": 1, "iscrowd": 1}
    return {
        "info": {"description": "tiny"},
        "images": [picture(11, "11.jpg", 5, 7), picture(22, "22.jpg", 5, 3), picture(33, "33.jpg", 4, 4)],
        "annotations": [
            {"image_id": 22, "file_name": "22.png", "segments_info": [crowd]},
            {"image_id": 11, "file_name": "11.png", "segments_info": segments},
        ],
        "categories": [category(1, "person", "person", 1), category(184, "sky", "sky", 0)],
    }


def write_mask(path: Path, segments: np.ndarray) -> None:
    """A panoptic PNG: R + 256·G + 65536·B."""
    colours = [segments % 256, segments // 256 % 256, segments // 65536]
    Image.fromarray(np.stack(colours, -1).astype(np.uint8)).save(path)


def write_pictures(folder: Path, content: Content) -> None:
    for image in content["images"]:
        path = folder / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").resize((image["width"], image["height"])).convert("RGB").save(path)


def write_instances(folder: Path) -> Path:
    """The set in COCO's folders; gives the .json file."""
    write_pictures(folder / "val2017", instances())
    return write_json(folder / "annotations" / "instances_val2017.json", instances())


def write_panoptic(folder: Path) -> Path:
    """The set in COCO's folders; gives the .json file."""
    write_pictures(folder / "val2017", panoptic())
    path = write_json(folder / "annotations" / "panoptic_val2017.json", panoptic())
    masks = path.with_suffix("")
    masks.mkdir()
    write_mask(masks / "11.png", SEGMENTS)
    write_mask(masks / "22.png", CROWD)
    return path


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def spoil(path: Path, change: Callable[[Content], object]) -> None:
    """Change a .json file's content in place."""
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)


def put(value: Any, *keys: str | int) -> Callable[[Content], None]:
    """Set one value, by the keys that lead there."""

    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def without(*keys: str | int) -> Callable[[Content], None]:
    """Remove one value, by the keys that lead there."""

    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def again(key: str, **changed: Any) -> Callable[[Content], None]:
    """List the first entry of a list a second time, with other values."""
    return lambda content: content[key].append({**content[key][0], **changed})
