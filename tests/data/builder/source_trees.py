"""Small trees in the real layouts of the four data sets that Broden is built from, drawn from a seed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

Size = tuple[int, int]  # height, width

ADE_CLASSES = {  # those used of 300; what parts are called too
    1: "wall",
    2: "building, edifice",
    3: "sky",
    4: "car, auto, automobile, machine, motorcar",
    5: "person, individual, someone",
    7: "leg",
    9: "wheel",
    10: "window, windowpane",
    256: "tree",
    258: "head",
    300: "door",
}
ADE_OBJECTS, ADE_PARTS = (1, 2, 3, 4, 5, 256, 300), (7, 9, 10, 258, 300)
ADE_SCENES = ("street", "airport/entrance", "living_room", "~not labeled", "garage/indoor")
TEXTURES = ("banded", "lined", "polka-dotted", "striped")
SUBSTANCES = ("Brick", "Carpet/rug", "Fabric/cloth", "Plastic - opaque", "Wood")
CONTEXT = {2: "aeroplane", 9: "bicycle", 45: "bus", 59: "car", 98: "cow", 284: "person", 415: "sky", 431: "unknown"}
PART2IND = """function pimap = part2ind()
% Define the part index of each objects.

pimap = cell(20, 1);
for ii = 1:20
    pimap{ii} = containers.Map('KeyType','char','ValueType','int32');
end

% [aeroplane]
pimap{1}('body')        = 1;
pimap{1}('lwing')       = 3;                % left wing
for ii = 1:10
    pimap{1}(sprintf('engine_%d', ii)) = 10+ii; % multiple engines
end

% [boat]
% only has silhouette mask

% [bus]
pimap{6}('frontside')   = 1;
pimap{6}('roofside')    = 5;
pimap{6}('leftmirror')  = 6;
pimap{6}('fliplate')    = 8;                % front license plate
for ii = 1:20
    pimap{6}(sprintf('window_%d',ii)) = 40 + ii;
end

% [car]
keySet = keys(pimap{6});
valueSet = values(pimap{6});
pimap{7} = containers.Map(keySet, valueSet);         % car has the same set of parts with bus

% [cow]
pimap{10}('head')       = 1;
pimap{10}('lhorn')      = 7;                % left horn
pimap{10}('rhorn')      = 8;                % right horn
pimap{10}('lfuleg')     = 11;               % left front upper leg

% [horse]
keySet = keys(pimap{10});
valueSet = values(pimap{10});
pimap{13} = containers.Map(keySet, valueSet);        % horse has the same set of parts with cow,
                                                     % except it has hoof instead of horn
remove(pimap{13}, {'lhorn', 'rhorn'});
pimap{13}('lfho') = 30;
pimap{13}('rfho') = 31;
pimap{13}('lbho') = 32;
pimap{13}('rbho') = 33;

% [motorbike]
pimap{14}('handlebar')  = 3;

% [person]
pimap{15}('head')       = 1;
pimap{15}('lebrow')     = 6;                \t% left eyebrow
pimap{15}('llleg')      = 19;               \t% left lower leg
pimap{15}('ruarm')      = 17;               \t% right upper arm

% [train]
for ii = 1:10
    pimap{19}(sprintf('croofside_%d', ii)) = 70 + ii;   % coach roof side
end
"""
_PASCAL_PARTS = {
    15: ("head", "llleg", "lebrow", "ruarm"),
    10: ("head", "lfuleg", "lhorn"),
    6: ("window_1", "leftmirror"),
}


def blobs(rng: np.random.Generator, size: Size, numbers: Sequence[int], grid: int = 5) -> np.ndarray:
    """A map [H, W] of regions as large as a real mask's."""
    small = rng.choice(np.asarray(numbers), (grid, grid))
    rows, columns = (np.arange(n) * grid // n for n in size)
    return small[rows[:, None], columns]


def write_photo(path: Path, size: Size, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    smooth = np.asarray(small.resize(size[::-1], Image.Resampling.BICUBIC)).astype(np.float32)
    grainy = smooth + rng.normal(0, 7, smooth.shape)  # a JPEG as large as those of real photographs
    Image.fromarray(grainy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def write_rgb(path: Path, red: Any, green: Any, blue: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.stack(np.broadcast_arrays(red, green, blue), -1).astype(np.uint8)).save(path)


def write_classes(path: Path, classes: np.ndarray) -> None:
    """An ADE20K mask: tens of red and all of green are the class; the rest is noise, as instances make it."""
    units = np.arange(classes.size).reshape(classes.shape) % 10
    write_rgb(path, classes // 256 * 10 + units, classes % 256, (classes * 7) % 256)


def write_ade20k_2016(folder: Path, images: int = 4, size: Size = (24, 32), seed: int = 0) -> Path:
    """ADE20K_2016_07_26; the folder is returned."""
    rng = np.random.default_rng(seed)
    root = folder / "ADE20K_2016_07_26"
    names, folders, scenes = [], [], []
    for i in range(images):
        scene = ADE_SCENES[i % len(ADE_SCENES)]
        names.append(f"ADE_train_{i + 1:08}.jpg")
        folders.append(f"ADE20K_2016_07_26/images/training/{scene.strip('~')[0]}/{scene.strip('~').replace(' ', '_')}")
        scenes.append(scene)
        _write_ade_image(folder / folders[-1] / names[-1], i, size, rng)
    classes = [ADE_CLASSES.get(n, f"unused {n}") for n in range(1, 301)]
    index = {
        "filename": cells(names),
        "folder": cells(folders),
        "objectPresence": np.zeros((len(classes), images)),
        "objectnames": cells(classes),
        "scene": cells(scenes),
    }
    savemat(root / "index_ade20k.mat", {"index": index}, do_compression=True)
    return root


def _write_ade_image(photo: Path, place: int, size: Size, rng: np.random.Generator) -> list[np.ndarray]:
    """The photograph and its masks: one level of parts, but none at every third and two at the first."""
    write_photo(photo, size, rng)
    masks = [blobs(rng, size, ADE_OBJECTS)]
    masks += [blobs(rng, size, (0, *ADE_PARTS)) for _ in range(2 if not place else 1 if place % 3 else 0)]
    for level, mask in enumerate(masks):
        write_classes(photo.with_name(f"{photo.stem}_{f'parts_{level}' if level else 'seg'}.png"), mask)
    return masks


def write_ade20k_2021(folder: Path, images: int = 4, size: Size = (24, 32), seed: int = 0) -> Path:
    """ADE20K_2021_17_01; the folder is returned."""
    rng = np.random.default_rng(seed)
    root = folder / "ADE20K_2021_17_01"
    for i in range(images):
        place = ("urban/street", "cultural/apse__indoor", "home_or_hotel/living_room")[i % 3]
        split, kind = (("training", "train"), ("validation", "val"))[i % 4 == 3]
        photo = root / "images" / "ADE" / split / place / f"ADE_{kind}_{i + 1:08}.jpg"
        masks = _write_ade_image(photo, i, size, rng)
        write_photo(photo.with_suffix("") / f"instance_000_{photo.stem}.jpg", (4, 4), rng)  # real ones are PNGs
        things = [(level, n) for level, mask in enumerate(masks) for n in np.unique(mask).tolist() if n]
        write_ade_json(photo.with_suffix(".json"), things, size)
    (root / "index_ade20k.pkl").write_bytes(b"never opened")
    return root


def write_ade_json(path: Path, things: Iterable[tuple[int, int]], size: Size) -> None:
    """``things``: (level of parts, class)."""
    objects = [
        {
            "id": i,
            "name": ADE_CLASSES[number],
            "name_ndx": number,
            "raw_name": ADE_CLASSES[number].split(",")[0],
            "occluded": [],
            "parts": {"hasparts": [], "ispartof": [], "part_level": level},
            "polygon": {"x": list(range(40)), "y": list(range(40)), "click_date": []},
        }
        for i, (level, number) in enumerate(things)
    ]
    annotation = {"filename": f"{path.stem}.jpg", "imsize": [*size, 3], "scene": ["outdoor"], "object": objects}
    path.write_text(json.dumps({"annotation": annotation}))


def write_dtd(folder: Path, images: int = 4, size: Size = (24, 32), seed: int = 0) -> Path:
    """dtd-r1.0.1; the folder is returned. Every second image has two textures."""
    rng = np.random.default_rng(seed)
    root, lines = folder / "dtd-r1.0.1", []
    for i in range(images):
        first, second = TEXTURES[i % 4], TEXTURES[(i + 1) % 4]
        path = f"{first}/{first}_{i + 1:04}.jpg"
        write_photo(root / "images" / path, size, rng)
        lines.append(f"{path} {first} {second}" if i % 2 else f"{path} {first} ")
    (root / "labels").mkdir(exist_ok=True)
    (root / "labels" / "labels_joint_anno.txt").write_text("\n".join(lines) + "\n")
    return root


def write_opensurfaces(folder: Path, images: int = 4, size: Size = (24, 32), seed: int = 0) -> Path:
    """Opensurfaces; the folder is returned. Masks are of another size than the photographs, as real ones are."""
    rng = np.random.default_rng(seed)
    root = folder / "opensurfaces"
    mask = (size[0] * 3 // 4, size[1] * 3 // 4)
    ids = [100 + 7 * i for i in range(images)]
    for number in ids:
        write_photo(root / "photos" / f"{number}.jpg", size, rng)
        materials = blobs(rng, mask, range(len(SUBSTANCES) + 1))
        write_rgb(root / "photos-labels" / f"{number}.png", materials, blobs(rng, mask, range(9)), 3)
    write_csv(root / "photos.csv", ["photo_id", "scene_category_name"], [(n, "kitchen") for n in ids])
    substances = [(600 + i, name, i) for i, name in enumerate(SUBSTANCES, 1)]
    write_csv(root / "label-substance-colors.csv", ["substance_id", "substance_name", "red_color"], substances)
    write_csv(root / "label-name-colors.csv", ["name_id", "name_name", "green_color"], [(1, "Wall", 1)])
    return root


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def write_pascal(folder: Path, images: int = 4, size: Size = (24, 32), seed: int = 0, things: int = 2) -> Path:
    """VOC2010, part and context; the folder is returned. ``things``: objects of each image, with 2 to 4 parts each."""
    rng = np.random.default_rng(seed)
    root = folder / "pascal"
    for i in range(images):
        stem = f"2008_{i + 1:06}"
        write_photo(root / "VOC2010" / "JPEGImages" / f"{stem}.jpg", size, rng)
        kinds = [(15, 10, 6)[(i + k) % 3] for k in range(things)]
        parts = [(of, {code: blobs(rng, size, (0, 0, 0, 1)) for code in _PASCAL_PARTS[of]}) for of in kinds]
        write_pascal_parts(root / "part" / "Annotations_Part" / f"{stem}.mat", size, parts)
        write_context(root / "context" / "trainval" / f"{stem}.mat", blobs(rng, size, [*CONTEXT]))
    (root / "part" / "part2ind.m").write_text(PART2IND)
    (root / "context" / "labels.txt").write_text("".join(f"{n}: {name}\n" for n, name in CONTEXT.items()))
    return root


def write_context(path: Path, numbers: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"LabelMap": numbers.astype(np.uint16)}, do_compression=True)


def write_pascal_parts(path: Path, size: Size, things: Sequence[tuple[int, Mapping[str, np.ndarray]]]) -> None:
    """``things``: (class, code → mask [H, W])."""
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = structs(
        {
            "class": "thing",
            "class_ind": of,
            "mask": np.ones(size, np.uint8),
            "parts": structs({"part_name": code, "mask": mask.astype(np.uint8)} for code, mask in parts.items()),
        }
        for of, parts in things
    )
    savemat(path, {"anno": {"imname": path.stem, "objects": objects}}, do_compression=True)


def cells(values: Iterable[Any]) -> np.ndarray:
    """MATLAB's array of cells [1, N]."""
    values = [*values]
    array = np.empty((1, len(values)), object)
    array[0, :] = values
    return array


def structs(values: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """MATLAB's array of structs [1, N]; of none, numbers [0, 0]."""
    values = [*values]
    if not values:
        return np.zeros((0, 0))
    array = np.empty((1, len(values)), [(name, object) for name in values[0]])
    for i, value in enumerate(values):
        array[0, i] = tuple(value.values())
    return array
