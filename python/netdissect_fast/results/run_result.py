"""The result of a run, layer by layer: in memory, saved to a folder, loaded from one."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..concepts import Vocabulary
from ..data.dataset import DataWarning
from ..errors import ArgumentError, DataError, printable, require, shortened
from ..geometry.grids import Grid
from ..storage import read_json, remove_file, write_json
from .layer_result import LayerResult
from .run_file import read_run, write_run

if TYPE_CHECKING:
    from ..data.dataset import ConceptDataset

_LONGEST = 1e12  # seconds that a stage may have taken


@dataclass(repr=False)
class Dissection(Mapping[str, LayerResult]):
    """The layers dissected in one run, by name; ``run`` holds its settings, versions, data set and timings.

    data   the images and labels, if at hand; not saved

    >>> maps = np.array([[[[4, 0], [0, 0]]], [[[0, 0], [0, 3]]]], np.float32)
    >>> labels = np.array([[[7, 0], [0, 0]], [[0, 0], [9, 7]]])
    >>> result = nd.Dissection({"conv1": nd.score(maps, labels, quantile="1/4", name="conv1")})
    >>> result
    Dissection(a network: LayerResult('conv1': 1 units of 2×2, 1 detectors of 1 concepts))
    >>> [(name, layer.unique_detectors()) for name, layer in result.items()]
    [('conv1', {'concept': 1})]
    >>> result["conv2"]
    Traceback (most recent call last):
    netdissect_fast.errors.ArgumentError: layer 'conv2' was not dissected; the result has 'conv1'
    """

    layers: dict[str, LayerResult]
    run: dict[str, Any] = field(default_factory=dict)
    data: ConceptDataset | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        layers = ", ".join(map(repr, self.layers.values())) or "no layer"
        return printable(f"Dissection({self.run.get('model', 'a network')}: {layers})")

    def __getitem__(self, name: str) -> LayerResult:
        if name not in self.layers:
            there = (
                ", ".join(map(repr, self.layers))
                or "no layers: a single shard has no result, merge all shards (nd.merge)"
            )
            raise ArgumentError(f"layer {name!r} was not dissected; the result has {there}")
        return self.layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __contains__(self, name: object) -> bool:
        return name in self.layers

    @property
    def vocabulary(self) -> Vocabulary:
        """The concepts, the same for all layers."""
        return next(iter(self.layers.values())).vocabulary

    def to_pandas(self) -> Any:
        """Return the tables of all layers as one pandas.DataFrame, with the layer's name as the first column."""
        if not self.layers:
            raise ArgumentError("the result has no layers")
        pandas = require("pandas", "pandas")
        return pandas.concat({name: layer.to_pandas() for name, layer in self.items()}, names=["layer"]).reset_index(
            level="layer"
        )

    def save(self, out: str | Path) -> None:
        """Write the result folder (spec 6); run.json last, so that a folder with one is complete.

        The same run writes the same bytes, except for timings.json.
        """
        out = Path(out)
        remove_file(out / "run.json")  # a mixture of an older result and this one must never look complete
        folders = layer_folders(self.layers)
        with ThreadPoolExecutor() as pool:  # most of the time is spent waiting for the disk
            list(pool.map(lambda name: self.layers[name].save(out / folders[name]), folders))
        layers = {
            name: {"folder": folders[name], "units": len(layer.thresholds), "grid": layer.grid.to_json()}
            for name, layer in self.layers.items()
        }
        vocabulary = {
            "numbers": self.vocabulary.numbers.tolist(),
            "names": list(self.vocabulary.names),
            "category": self.vocabulary.category.tolist(),
            "categories": list(self.vocabulary.categories),
        }
        if "timings" in self.run:
            write_json(out / "timings.json", self.run["timings"])
        else:
            remove_file(out / "timings.json")
        run = {name: value for name, value in self.run.items() if name != "timings"}
        write_run(out / "run.json", {**run, "layers": layers, "vocabulary": vocabulary})


def layer_folders(names: Mapping[str, object]) -> dict[str, str]:
    """Return a folder name for each layer: its own name, with what file systems dislike replaced."""
    folders: dict[str, str] = {}
    taken = {"run.json", "timings.json", "parts", "report"}  # some file systems ignore case
    for name in names:
        folder = re.sub(r"[^\w.@-]+", "_", name)[:50].strip(".") or "layer"
        while folder.lower() in taken:
            folder += "_"
        taken.add(folder.lower())
        folders[name] = folder
    return folders


def load(out: str | Path) -> Dissection:
    """Read a result folder that ``Dissection.save`` (or ``dissect(out=...)``) wrote.

    Raises DataError if a file is missing, broken, changed or from a later format. A broken timings.json is a warning,
    and the run is loaded without timings.

    >>> from tempfile import TemporaryDirectory
    >>> maps = np.array([[[[4, 0], [0, 0]]], [[[0, 0], [0, 3]]]], np.float32)
    >>> layer = nd.score(maps, np.array([[[7, 0], [0, 0]], [[0, 0], [9, 7]]]), quantile="1/4")
    >>> with TemporaryDirectory() as folder:
    ...     nd.Dissection({"conv1": layer}).save(folder)
    ...     files = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.*"))
    ...     result = nd.load(folder)
    >>> files
    ['conv1/counts.safetensors', 'conv1/peaks/peaks.safetensors', 'conv1/result.csv', 'run.json']
    >>> result["conv1"].units() == layer.units()
    True
    """
    path = Path(out) / "run.json"
    _, run = read_run(path)
    try:
        words = run.pop("vocabulary")
        names, categories = tuple(words["names"]), tuple(words["categories"])
        if not all(isinstance(name, str) for name in names + categories):
            raise DataError(path, "a name in the vocabulary is not text")
        "".join((*names, *categories, *run["layers"])).encode()  # half a surrogate pair could not be written again
        vocabulary = Vocabulary(words["numbers"], names, words["category"], categories)
        layers = {}
        for name, layer in run.pop("layers").items():
            if Path(layer["folder"]).name != layer["folder"] or layer["folder"] in ("", ".."):
                raise DataError(path, f"layer {shortened(repr(name))} lies outside the result folder")
            layers[name] = LayerResult.load(
                path.parent / layer["folder"], name, vocabulary, Grid.from_json(layer["grid"])
            )
    except DataError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise DataError(path, f"does not describe a dissection: {shortened(repr(error))}") from error
    if (timings := _timings(path.parent / "timings.json")) is not None:
        run["timings"] = timings
    return Dissection(layers, run)


def _timings(path: Path) -> dict[str, float] | None:
    """Return the seconds of each stage; None if there are none, with a warning if that is because they are broken."""
    if not path.exists():
        return None
    try:
        timings = read_json(path)
        if not isinstance(timings, dict) or not all(
            isinstance(seconds, int | float) and 0 <= seconds < _LONGEST for seconds in timings.values()
        ):
            raise DataError(path, "does not hold the seconds of each stage")
    except DataError as error:
        warnings.warn(f"{error}; the run is loaded without its timings", DataWarning, stacklevel=3)
        return None
    return timings


def warn_if_nothing_occurs(result: Dissection) -> None:
    """Warn if no pixel of the images carries a concept, so that no unit can have a label."""
    if result and not result[next(iter(result))].counts.concept_area.any():
        warnings.warn(
            "no concept occurs in any image, so no unit has a label: look at the labels with nd.overview(data), or "
            "netdissect-fast data info DATA",
            DataWarning,
            stacklevel=3,
        )
