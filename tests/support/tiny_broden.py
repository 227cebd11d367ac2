"""A data set in Broden's format, small enough to check by hand, and ways to spoil it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

INDEX = """image,split,ih,iw,sh,sw,part,color,object,scene
a/one.jpg,train,16,24,8,12,a/one_part_1.png;a/one_part_2.png,,a/one_object.png,4
a/two.jpg,val,16,24,8,12,,,a/two_object.png,0
b/three.jpg,train,20,20,5,5,,,,4;5
"""
CATEGORY = "name,first,last,count,frequency\nobject,1,300,3,3\npart,2,3,2,2\nscene,4,5,2,3\n"
LABEL = """number,name,category,frequency,coverage,syns
300,sky,object(2),2,1.5,heaven;air
1,car,object(2),2,0.5,
2,door,object(1);part(9),10,3,
3,wheel,part(1),1,0.1,
4,street-s,scene(2),2,2,
5,harbour-s,scene(1),1,1,
"""
COVERAGE = {
    "object": "code,number,name,frequency,coverage\n1,300,sky,2,1.5\n2,1,car,2,0.5\n3,2,door,1,2.0\n",
    "part": "code,number,name,frequency,coverage\n1,2,door,9,1.0\n2,3,wheel,1,0.1\n",
    "scene": "code,number,name,frequency,coverage\n1,4,street-s,2,2\n2,5,harbour-s,1,1\n",
}


def label_maps() -> dict[str, np.ndarray]:
    """int32 [8, 12] by file."""
    first, second, part = np.zeros((3, 8, 12), np.int32)
    first[:4], first[4:, :6] = 300, 1
    second[2:6, 3:9] = 2
    part[5, 1:3] = 3
    return {
        "a/one_object.png": first,
        "a/one_part_1.png": part,
        "a/one_part_2.png": np.where(first == 1, 2, 0),
        "a/two_object.png": second,
    }


def write_label_map(path: Path, numbers: np.ndarray) -> None:
    """R + 256·G."""
    Image.fromarray(np.stack([numbers % 256, numbers // 256, 0 * numbers], -1).astype(np.uint8)).save(path)


def write_tiny(folder: Path) -> Path:
    """Three images; labels as above."""
    for name, size in (("a/one", (24, 16)), ("a/two", (24, 16)), ("b/three", (20, 20))):
        path = folder / "images" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").resize(size).convert("RGB").save(path)
    for name, numbers in label_maps().items():
        write_label_map(folder / "images" / name, numbers)
    tables = {"index": INDEX, "category": CATEGORY, "label": LABEL}
    for name, text in {**tables, **{f"c_{c}": t for c, t in COVERAGE.items()}}.items():
        (folder / f"{name}.csv").write_text(text, newline="")
    return folder


def edit(file: Path, old: str, new: str) -> None:
    """Replace text that must be there."""
    text = file.read_bytes().decode()
    assert old in text, f"{old!r} is not in {file.name}"
    file.write_bytes(text.replace(old, new).encode())
