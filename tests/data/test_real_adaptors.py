"""SqueezeNet on photographs whose labels come as a folder of masks, as COCO panoptic and as COCO instances.

Each set is made from the same images of minibroden_224 and must give, through the command line, the very counts that
their labels in Broden's format give.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import netdissect_fast as nd
from netdissect_fast.cli import main

from ..support.coco_sets import Content, category, compressed, instance, picture, run_lengths

pytestmark = [pytest.mark.data, pytest.mark.slow]

IMAGES = 48
SIDE = 224
STEP = 70_001  # between the ids of segments: they need all three channels
MODEL = Path(__file__).parents[2] / "examples" / "squeezenet.py"
Photographs = list[tuple[str, np.ndarray]]  # name, and object labels [224, 224] in Broden's numbers


@pytest.fixture(scope="module")
def broden(shared_data: Path) -> nd.Subset:
    """The first images of COCO in minibroden_224, with their objects."""
    data = nd.Broden(shared_data / "minibroden_224", categories=["object"])
    found = [i for i in range(len(data)) if data.name(i).startswith("coco/")][:IMAGES]
    return nd.Subset(data, sorted(found, key=data.name))  # as a folder's are: the batches are the same


@pytest.fixture(scope="module")
def photographs(broden: nd.Subset) -> Photographs:
    """Label maps twice as large as Broden's: every label in the middle of one of 112×112 is the same."""
    labels = [broden.labels(i).maps for i in range(IMAGES)]
    assert all(len(maps) == 1 for maps in labels)
    return [(Path(broden.name(i)).stem, maps[0].repeat(2, 0).repeat(2, 1)) for i, maps in enumerate(labels)]


@pytest.fixture(scope="module")
def expected(broden: nd.Subset, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> nd.LayerResult:
    from netdissect_fast.network.models import load_model

    model = load_model(f"{MODEL}:squeezenet", shared_data / "models" / "squeezenet1_0_imagenet.npz")
    cache = tmp_path_factory.mktemp("cache")
    return nd.dissect(model, broden, "features.12", cache=cache, progress=False)["features.12"]


def copy_photographs(broden: nd.Subset, folder: Path) -> None:
    folder.mkdir(parents=True)
    images = Path(broden.dataset.source()["path"], "images")
    for index in range(IMAGES):
        shutil.copy(images / broden.name(index), folder)


def write_folder(broden: nd.Subset, photographs: Photographs, folder: Path) -> Path:
    copy_photographs(broden, folder / "images")
    (folder / "masks").mkdir()
    for name, labels in photographs:
        Image.fromarray(labels.astype(np.uint16)).save(folder / "masks" / f"{name}.png")
    words = broden.vocabulary
    rows = [f"{number},{name}" for number, name in zip(words.numbers, words.names, strict=True)]
    (folder / "names.csv").write_text("\n".join(["value,name", *rows]))
    return folder


def write_panoptic(broden: nd.Subset, photographs: Photographs, folder: Path) -> Path:
    copy_photographs(broden, folder / "val2017")
    masks = folder / "annotations" / "panoptic_val2017"
    masks.mkdir(parents=True)
    entries = []
    for number, (name, labels) in enumerate(photographs, start=1):
        identities = labels.astype(np.int64) * STEP % (1 << 24) * (labels > 0)
        rgb = np.stack([identities >> shift & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)
        Image.fromarray(rgb).save(masks / f"{name}.png")
        found = np.unique(labels[labels > 0]).tolist()
        segments = [{"id": n * STEP % (1 << 24), "category_id": n, "iscrowd": 0, "area": 1} for n in found]
        entries.append({"image_id": number, "file_name": f"{name}.png", "segments_info": segments})
    return write_json(folder / "annotations" / "panoptic_val2017.json", broden, photographs, entries, isthing=1)


def write_instances(broden: nd.Subset, photographs: Photographs, folder: Path) -> Path:
    """One instance a concept, as run lengths: every other one compressed."""
    copy_photographs(broden, folder / "val2017")
    (folder / "annotations").mkdir()
    entries = []
    for number, (_, labels) in enumerate(photographs, start=1):
        for n in np.unique(labels[labels > 0]).tolist():
            form: Callable[[np.ndarray], Content] = compressed if n % 2 else run_lengths
            entries.append(instance(len(entries) + 1, number, n, form(labels == n), iscrowd=1))
    return write_json(folder / "annotations" / "instances_val2017.json", broden, photographs, entries)


def write_json(
    path: Path, broden: nd.Subset, photographs: Photographs, entries: list[Content], isthing: int | None = None
) -> Path:
    words = broden.vocabulary
    content = {
        "info": {"description": "made by a test"},
        "licenses": [],
        "images": [picture(n, f"{name}.jpg", SIDE, SIDE) for n, (name, _) in enumerate(photographs, start=1)],
        "annotations": entries,
        "categories": [
            category(int(n), name, "any", isthing) for n, name in zip(words.numbers, words.names, strict=True)
        ],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("write", [write_folder, write_panoptic, write_instances])
def test_counts_are_those_of_brodens_format(
    write: Callable[[nd.Subset, Photographs, Path], Path],
    broden: nd.Subset,
    photographs: Photographs,
    expected: nd.LayerResult,
    shared_data: Path,
    tmp_path: Path,
) -> None:
    data = write(broden, photographs, tmp_path / "data")
    command = ["dissect", "--model", f"{MODEL}:squeezenet", "--layers", "features.12", "--quiet"]
    command += ["--weights", str(shared_data / "models" / "squeezenet1_0_imagenet.npz")]
    command += ["--data", str(data), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    assert main(command) == 0
    found = nd.load(tmp_path / "out")["features.12"]
    assert np.array_equal(found.thresholds, expected.thresholds)
    assert found.vocabulary.numbers.tolist() == expected.vocabulary.numbers.tolist()
    for counts in ("intersection", "unit_area", "concept_area"):
        assert np.array_equal(getattr(found.counts, counts), getattr(expected.counts, counts)), counts
    assert found.unique_detectors() == expected.unique_detectors()
    assert found.unique_detectors()["object"] > 5
