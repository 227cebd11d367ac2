"""A data set taken apart into a folder of images and masks, and built again, is the same."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import pytest
from PIL import Image

import netdissect_fast as nd
from netdissect_fast.concepts import PackedLabels
from netdissect_fast.data.builder.build import build
from netdissect_fast.data.builder.labelled import Labelled
from netdissect_fast.data.dataset import ConceptDataset, Subset
from netdissect_fast.data.formats.folder import Folder

from .made import index_rows


def take_apart(data: ConceptDataset, folder: Path) -> Path:
    """Photographs, a 16-bit mask a layer, and the csv files, in ``folder``."""
    words = data.vocabulary
    with _csv(folder / "names.csv") as names, _csv(folder / "labels.csv") as whole:
        csv.writer(names).writerow(["value", "name", "category"])
        for number, name, category in zip(words.numbers, words.names, words.category, strict=True):
            csv.writer(names).writerow([number, name, words.categories[category]])
        csv.writer(whole).writerow(["image", "concepts"])
        called = dict(zip(words.numbers.tolist(), words.names, strict=True))
        for index in range(len(data)):
            name, labels = data.name(index).removesuffix(".jpg"), data.labels(index)
            _save(data.image(index), folder / "images" / f"{name}.jpg")
            for layer, mask in enumerate(labels.maps):
                if mask.any():
                    masks = folder / (f"masks_{layer + 1}" if layer else "masks")
                    _save(Image.fromarray(mask.astype(np.uint16)), masks / f"{name}.png")
            if labels.whole:
                csv.writer(whole).writerow([f"{name}.jpg", ";".join(called[n] for n in labels.whole)])
    return folder


def _csv(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w", newline="")


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def areas(data: ConceptDataset) -> dict[tuple[str, str], int]:
    """G by category and name, pixels."""
    words = data.vocabulary
    packed = PackedLabels.pack((data.labels(i) for i in range(len(data))), words)
    area = np.zeros(len(words), np.int64)
    np.add.at(area, packed.slot_concept, packed.slot_area)
    for image in range(len(packed)):
        concepts = packed.whole[packed.whole_start[image] : packed.whole_start[image + 1]]
        area[concepts] += int(np.prod(packed.grid[image]))
    keys = [(words.categories[c], name) for c, name in zip(words.category, words.names, strict=True)]
    return {key: int(pixels) for key, pixels in zip(keys, area, strict=True) if pixels}


def images_of(data: ConceptDataset) -> Sequence[str]:
    return sorted(Path(data.name(i)).stem for i in range(len(data)))


@pytest.mark.data
def test_minibroden_rebuilt(shared_data: Path, tmp_path: Path) -> None:
    broden = nd.Broden(shared_data / "minibroden_224")
    some = Subset(broden, range(0, len(broden), 7))
    source = Labelled(Folder(take_apart(some, tmp_path / "apart")), "mini")
    out = tmp_path / "out"
    built = build([source], out, size=224, label_size=112, min_frequency=1, min_coverage=0, synonyms=list,
                  workers=0, progress=False)  # fmt: skip
    again = nd.Broden(out, strict=False)
    expected = areas(some)
    assert areas(again) == expected
    assert built.concepts == len(again.vocabulary) == len(expected) > 100
    assert images_of(again) == images_of(some)
    numbers = dict(zip(again.vocabulary.names, again.vocabulary.numbers.tolist(), strict=True))
    found = index_rows(out)
    for index in range(len(some)):
        labels = some.labels(index)
        row = found[f"mini/{Path(some.name(index)).stem}.jpg"]
        called = dict(zip(some.vocabulary.numbers.tolist(), some.vocabulary.names, strict=True))
        whole = {cell for name in ("scene", "texture") if name in row for cell in row[name].split(";") if cell}
        assert whole == {str(numbers[called[n]]) for n in labels.whole}
    assert nd.check(out).faults == ()


def test_a_drawn_set_rebuilt_without_its_files(tmp_path: Path) -> None:
    """Any data set is a source as it is."""
    drawn = nd.Synthetic(12, size=48)
    build([Labelled(drawn, "drawn")], tmp_path / "out", size=48, min_frequency=1, min_coverage=0, synonyms=list,
          workers=0, progress=False)  # fmt: skip
    assert areas(nd.Broden(tmp_path / "out", strict=False)) == areas(drawn)
