"""report(): a static site for a dissection, which opens from disk and needs no server and no network."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.label_cache import packed_labels
from ..data.sources import check_same, data_of_run
from ..errors import ArgumentError
from ..results.layer_result import LayerResult
from ..results.run_result import Dissection, layer_folders
from ..results.tables import UnitTable
from ..scoring.backends.base import Backend
from ..scoring.backends.choice import choose
from ..storage import only_writer
from .overlaps import mask_overlap

if TYPE_CHECKING:
    from ..concepts import PackedLabels
    from ..data.dataset import ConceptDataset
    from .facts import Layer

MOST_OVERLAPS = 8192  # units; with more, the overlaps of all pairs would take gigabytes


@dataclass(frozen=True)
class Report:
    """Summary of what was written.

    index     the entry page
    units     in all layers
    pictures  strips of photographs, of which ``drawn`` were drawn now; the rest were kept from an earlier build
    bytes     of all files
    seconds   that it took
    """

    index: Path
    units: int
    pictures: int
    drawn: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        milliseconds, kilobytes = 1e3 * self.seconds / self.units, self.bytes / 1e3 / self.units
        return (
            f"{self.units} units, {self.pictures} strips of pictures, {self.drawn} of them drawn now; "
            f"{self.bytes / 1e6:.1f} MB in {self.seconds:.1f} s: {kilobytes:.0f} kB and {milliseconds:.0f} ms per unit"
        )


def report(
    result: Dissection | UnitTable,
    out: str | Path,
    *,
    data: ConceptDataset | None = None,
    compare: Mapping[str, UnitTable | LayerResult] | None = None,
    pictures: bool = True,
    top_images: int = 10,
    picture_size: int = 224,
    outline: bool = False,
    heat_map: bool = False,
    iou_threshold: float = 0.04,
    workers: int = 0,
    threads: int | None = None,
    cache: str | Path | None = None,
    progress: bool = True,
) -> Report:
    """Write a static site for a result: its layers, units with their pictures, concepts; open its ``index``.

    Pictures are drawn from the peaks and the data set; the network is not run. An interrupted build resumes: pictures
    that are still valid are kept, pages are rewritten.

    Parameters
    ----------
    result :
        from ``dissect`` or ``load``; or a UnitTable, such as ``compare_csv`` reads, which has no pictures.
    out :
        folder for the site: new, empty, or of an earlier report.
    data :
        the data set that was dissected. None: the result's own, or the one that run.json names.
    compare :
        other tables or layers, by name, shown beside the result's.
    pictures :
        False: draw none; then no data set is needed.
    top_images, picture_size :
        photographs of each unit, at most; pixels on their longer side.
    outline, heat_map :
        also draw a line along the mask's edge, a heat map of each picture.
    iou_threshold :
        IoU above which a unit is a detector.
    workers :
        processes that draw pictures; 0: this one. They need ``if __name__ == "__main__":`` in a script.
    threads, cache :
        threads of the kernels and of packing labels (None: all cores); folder of packed labels, as for ``dissect``.
    progress :
        show a progress bar on a terminal.

    Raises
    ------
    ArgumentError, DataError
        the data set cannot be found, is not the one that was dissected, or has broken files.
    OutputError
        ``out`` contains something else, is being written by another process, or cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> maps = np.array([[[[0, 1], [0, 0]]], [[[0, 0], [0, 2]]]], np.float32)
    >>> layer = nd.score(maps, np.array([[[0, 7], [0, 0]], [[0, 0], [0, 7]]]), quantile="1/4")
    >>> with TemporaryDirectory() as out:
    ...     report = nd.report(layer.table, out)  # without a run there are no pictures
    >>> report.index.name, report.units, report.pictures
    ('index.html', 1, 0)
    """
    from .facts import Concepts
    from .html import Shared, write_pages
    from .picture_jobs import Drawing
    from .pictures import Look
    from .site import Site

    started = time.perf_counter()
    if not 0 <= iou_threshold <= 1:
        raise ArgumentError(f"iou_threshold must lie between 0 and 1, got {iou_threshold}")
    if workers < 0:
        raise ArgumentError(f"workers must be at least 0, got {workers}")
    look = Look(top_images, picture_size, outline, heat_map)
    dissection = result if isinstance(result, Dissection) else Dissection({})
    layers = _layers(result, compare or {}, iou_threshold)
    data = _data_of(dissection, data) if pictures and dissection else None
    labels = None if data is None else packed_labels(data, cache, threads, progress)
    if labels is not None:
        layers = [_looked_at(layer, labels, top_images, choose(threads=threads)) for layer in layers]
    concepts = Concepts.of(dissection.vocabulary, layers, labels) if dissection else None
    drawing = None
    if concepts is not None and data is not None and labels is not None:
        drawing = Drawing.of(layers, concepts, data, labels, look)
    with only_writer(Path(out)):
        site = Site(Path(out), drawing.keys if drawing else {})
        drawn = drawing.draw(site, workers, progress) if drawing else 0
        index = write_pages(site, Shared.of(dissection, layers, concepts, data, look, iou_threshold))
    units = sum(len(layer.rows) for layer in layers)
    there = drawing.pictures if drawing else 0
    return Report(index, units, there, drawn, site.bytes(), time.perf_counter() - started)


def _layers(
    result: Dissection | UnitTable, compare: Mapping[str, UnitTable | LayerResult], iou_threshold: float
) -> list[Layer]:
    """Return the layers to show, in order. Raises ArgumentError if two have the same name, or there are none."""
    from .facts import Layer

    own = {result.name: result} if isinstance(result, UnitTable) else {name: one.table for name, one in result.items()}
    others = {name: one if isinstance(one, UnitTable) else one.table for name, one in compare.items()}
    if both := own.keys() & others.keys():
        raise ArgumentError(f"the report would have two layers named {min(both)!r}: rename the one to compare")
    tables = {name: replace(table, name=name) for name, table in {**own, **others}.items()}
    if not tables or not all(map(len, tables.values())):
        raise ArgumentError("there is nothing to report: there are no layers, or one has no units")
    folders = layer_folders(tables)
    known = result.layers if isinstance(result, Dissection) else {}
    return [Layer(table, f"layers/{folders[name]}", iou_threshold, known.get(name)) for name, table in tables.items()]


def _data_of(dissection: Dissection, data: ConceptDataset | None) -> ConceptDataset:
    if data is not None:
        check_same(data, dissection.run)
    else:
        data = dissection.data if dissection.data is not None else data_of_run(dissection.run)
    for name, layer in dissection.items():
        if layer.peaks is not None and layer.peaks.images != len(data):
            raise ArgumentError(
                f"layer {name!r} was dissected on {layer.peaks.images} images, but {data!r} has {len(data)}"
            )
    return data


def _looked_at(layer: Layer, labels: PackedLabels, top_images: int, backend: Backend) -> Layer:
    """Return the layer with what its peaks show: the units' highest images, and how much their masks overlap."""
    result = layer.result
    if result is None or result.peaks is None:
        return layer
    tops = [result.top(u, top_images) for u in range(len(result.thresholds))]
    overlap = None
    if len(tops) <= MOST_OVERLAPS:
        overlap = mask_overlap(result.peaks, result.thresholds, result.grid, labels.grid, backend)
    return replace(layer, tops=tops, overlap=overlap)
