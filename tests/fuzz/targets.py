"""What is fuzzed: folders that our readers accept, of which one file's bytes come from the fuzzer."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

import netdissect_fast as nd
from netdissect_fast.concepts import PackedLabels
from netdissect_fast.data.dataset import ConceptDataset
from netdissect_fast.data.files.pictures import MAX_PIXELS
from netdissect_fast.data.formats.broden import Broden
from netdissect_fast.data.label_cache import cached_labels, packed_labels
from netdissect_fast.data.opening import open_data
from netdissect_fast.errors import NetDissectError
from netdissect_fast.network.exported import load_exported
from netdissect_fast.network.weights import load_weights
from netdissect_fast.results.layer_result import LayerResult
from netdissect_fast.results.scores import score, score_peaks
from netdissect_fast.scoring.backends.choice import choose
from tests.support.coco_sets import write_instances, write_panoptic
from tests.support.mask_folders import write_folder, write_mask, write_photo
from tests.support.small_results import VOCABULARY, dissection, labels, without_checksum
from tests.support.tiny_broden import edit, write_tiny

MEMORY = 2 << 30  # bytes that a file may make us ask for


@contextmanager
def limited_memory() -> Iterator[None]:
    """MemoryError where the process grows by more than MEMORY."""
    if sys.platform != "linux":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class Target:
    """A folder of good files. An input is a digit, which says what file it replaces, and that file's bytes."""

    files: tuple[str, ...]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.make()
        self.whole = [(self.folder / name).read_bytes() for name in self.files]

    def make(self) -> None:
        """Write the good files."""
        raise NotImplementedError

    def use(self, path: Path) -> None:
        """Read the folder, one file of which has changed, and do with it what a user would."""
        raise NotImplementedError

    def seeds(self) -> list[bytes]:
        """Inputs that are good."""
        return [b"%d" % number + content for number, content in enumerate(self.whole)]

    def __call__(self, data: bytes) -> bool:
        """Whether an input is accepted. Raises what is no NetDissectError, warnings too."""
        which = (data[0] - 48) % len(self.files) if data else 0
        path = self.folder / self.files[which]
        path.write_bytes(data[1:])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                self.use(path)
            return True
        except NetDissectError as error:
            assert len(str(error)) < 10_000, "nobody reads that"  # noqa: PT017
            return False
        finally:
            path.write_bytes(self.whole[which])


def use_data(data: ConceptDataset) -> None:
    """Read and pack the first rows."""
    rows = range(min(len(data), 4))
    for row in rows:
        image = data.image(row)
        assert image.mode == "RGB"
        assert image.width * image.height <= MAX_PIXELS
    packed = PackedLabels.pack((data.labels(row) for row in rows), data.vocabulary)
    use_labels(packed, data)


def use_labels(packed: PackedLabels, data: ConceptDataset) -> None:
    """Count with packed labels."""
    packed.concept_area(len(data.vocabulary))
    for image in range(len(packed)):
        packed.masks(image)
    maps = np.random.default_rng(0).standard_normal((len(packed), 2, 3, 3)).astype(np.float32)
    score(maps, packed, data.vocabulary, quantile="0.2", layout="BCHW", threads=1)


class Tables(Target):
    files = ("index.csv", "category.csv", "label.csv", "c_object.csv", "c_part.csv", "c_scene.csv")

    def make(self) -> None:
        write_tiny(self.folder)

    def use(self, path: Path) -> None:
        data = Broden(self.folder)
        data.fingerprint()
        use_data(data)


class Pictures(Target):
    files = ("images/b/three.jpg", "images/a/two_object.png")

    def make(self) -> None:
        write_tiny(self.folder)
        for sizes in ("16,24,8,12", "20,20,5,5"):  # so that all is read whatever its size
            edit(self.folder / "index.csv", sizes, ",,,")
        self.data = Broden(self.folder)

    def use(self, path: Path) -> None:
        self.data.labels(2)  # half the image
        use_data(self.data)

    def seeds(self) -> list[bytes]:
        picture = Image.linear_gradient("L").resize((9, 7)).convert("RGB")
        kinds: list[tuple[str, str, dict[str, Any]]]
        kinds = [("RGB", "JPEG", {"progressive": True}), ("CMYK", "JPEG", {}), ("L", "JPEG", {"comment": b"x"})]
        kinds += [(mode, "PNG", {}) for mode in ("RGB", "RGBA", "L", "LA", "1", "I;16")]
        kinds += [("P", "PNG", {"transparency": b"\x80" * 9}), ("P", "PNG", {"bits": 2})]
        seeds = super().seeds()
        for mode, format, options in kinds:
            with io.BytesIO() as file:
                picture.convert(mode).save(file, format, **options)
                seeds.append(b"0" + file.getvalue())
        return seeds


class Labels(Target):
    """Folders of masks, and COCO's files."""

    files = (
        *("values/names.csv", "values/labels.csv", "values/masks/a/one.png"),
        *("colours/names.csv", "colours/masks/x.png"),
        *("annotations/panoptic_val2017.json", "annotations/panoptic_val2017/11.png"),
        "annotations/instances_val2017.json",
    )

    def make(self) -> None:
        write_folder(self.folder / "values")
        write_photo(self.folder / "colours/images/x.png", 4, 5)
        write_mask(self.folder / "colours/masks/x.png", np.full((4, 5, 3), (255, 128, 0), np.uint8))
        (self.folder / "colours/names.csv").write_text("color,name,category\n#ff8000,road,\n0 0 1,car,object\n")
        write_panoptic(self.folder)
        write_instances(self.folder)

    def use(self, path: Path) -> None:
        inside = path.relative_to(self.folder).parts
        if inside[0] == "annotations":
            opened = path if path.suffix == ".json" else path.parent.with_suffix(".json")
        else:
            opened = self.folder / inside[0]
        for size in (7, None):
            data = open_data(opened, label_size=size)
            data.fingerprint()
            use_data(data)

    def seeds(self) -> list[bytes]:
        picture = Image.fromarray(np.tile(np.array([1, 2, 7, 255], np.uint8), (8, 3)))
        seeds = super().seeds()
        for mode in ("L", "P", "I;16"):
            with io.BytesIO() as file:
                picture.convert(mode).save(file, "PNG")
                seeds.append(b"2" + file.getvalue())
        return seeds


class Results(Target):
    files = (
        "run.json",
        "features.3/counts.safetensors",
        "features.3/peaks/peaks.safetensors",
        "features.3/result.csv",
    )

    def make(self) -> None:
        dissection().save(self.folder)
        without_checksum(self.folder)  # with one, every change is refused before anything is looked at
        self.labels = PackedLabels.pack(labels(), VOCABULARY)

    def use(self, path: Path) -> None:
        if path.suffix == ".csv":
            table = nd.compare_csv(path)
            table.rows(), table.detected(), table.detectors(), table.to_csv().encode(), table.to_json().encode()
            return
        result = nd.load(self.folder)
        for layer in result.values():
            self.use_layer(layer)

    def use_layer(self, layer: LayerResult) -> None:
        layer.units(), layer.unique_detectors(count="per_category"), repr(layer)
        assert ((layer.iou >= 0) & (layer.iou <= 1))[:, layer.vocabulary.category >= 0].all()
        assert ((layer.chance >= 0) & (layer.chance <= 1)).all()
        layer.table.to_csv().encode(), layer.table.to_json().encode()
        if layer.peaks is None:
            for axis in (0, 1):
                layer.grid.axis(axis, 10)
            return
        for unit in range(layer.peaks.units):
            layer.top(unit), layer.peaks.count(unit)
        again = score_peaks(layer.peaks, layer.grid, self.labels, VOCABULARY, backend=choose("cpu", 1))
        assert again.counts.consistent(VOCABULARY)


class Cache(Target):
    files = ("manifest.json", "tables.safetensors", "words.bin")

    def make(self) -> None:
        self.data = Broden(write_tiny(self.folder / "tiny"))
        self.cache = self.folder / "cache"
        packed_labels(self.data, self.cache)
        (self.folder,) = (self.cache / "labels-1").iterdir()

    def use(self, path: Path) -> None:
        packed = cached_labels(self.data, self.cache)
        if packed is None:
            raise NetDissectError("built again")
        use_labels(packed, self.data)


def network() -> nn.Module:
    """The network that weights are for."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).eval()


class Weights(Target):
    files = ("w.safetensors", "w.npz", "w.pth", "old.pth")

    def make(self) -> None:
        from safetensors.torch import save_file

        weights = network().state_dict()
        save_file(weights, self.folder / "w.safetensors")
        np.savez(self.folder / "w.npz", **{name: value.numpy() for name, value in weights.items()})
        torch.save(weights, self.folder / "w.pth")
        torch.save({"state_dict": dict(weights)}, self.folder / "old.pth", _use_new_zipfile_serialization=False)

    def use(self, path: Path) -> None:
        model = network()
        load_weights(model, path)
        model(torch.zeros(1, 3, 2, 2))


class Exports(Target):
    files = ("m.pt2",)

    def make(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own
            exported = torch.export.export(nn.Conv2d(3, 1, 1).eval(), (torch.zeros(1, 3, 2, 2),))
            torch.export.save(exported, self.folder / "m.pt2")

    def use(self, path: Path) -> None:
        load_exported(path)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "tables": Tables,
    "pictures": Pictures,
    "labels": Labels,
    "results": Results,
    "cache": Cache,
    "weights": Weights,
    "exports": Exports,
}
