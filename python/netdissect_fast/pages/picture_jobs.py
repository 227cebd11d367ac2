"""The pictures that a report needs, and drawing the missing ones in parallel."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..concepts import PackedLabels
from ..processes import run_jobs
from ..types import Array
from .facts import Concepts, Layer
from .pictures import ConceptStrip, Look, Masks, Photos, Strips, UnitStrips
from .site import FORMAT, QUALITY, Site, write_picture

if TYPE_CHECKING:
    from ..data.dataset import ConceptDataset

CONCEPT_IMAGES = 12  # shown on a concept's page


@dataclass(frozen=True)
class Task:
    """Strips that are drawn together: their paths by kind, and the function that prepares them."""

    paths: dict[str, str]
    prepare: Callable[[], Strips]


@dataclass(frozen=True)
class Drawing:
    """The pictures of a report.

    keys   what each folder of pictures is drawn from, as a hash
    tasks  all strips
    """

    data: ConceptDataset
    look: Look
    keys: dict[str, str]
    tasks: list[Task]

    @classmethod
    def of(
        cls, layers: Sequence[Layer], concepts: Concepts, data: ConceptDataset, labels: PackedLabels, look: Look
    ) -> Drawing:
        """Collect all the pictures that these layers and concepts show."""
        common = json.dumps([FORMAT, QUALITY, data.fingerprint(), look.size, look.outline])
        keys = {"concepts": hashlib.sha256(common.encode()).hexdigest()}
        tasks: list[Task] = []
        for layer in layers:
            if layer.tops:
                keys[layer.folder] = _key(layer, f"{common} {look}")
                tasks += _unit_tasks(layer, labels, look)
        return cls(data, look, keys, [*tasks, *_concept_tasks(concepts, labels)])

    @property
    def pictures(self) -> int:
        """Number of strips."""
        return sum(len(task.paths) for task in self.tasks)

    def draw(self, site: Site, workers: int, progress: bool) -> int:
        """Draw what the site lacks, in ``workers`` processes (0: in this one); return how many strips were drawn.

        Raises what reading an image raises, and CapacityError if a process dies.
        """
        from tqdm import tqdm

        wanted = [task for task in self.tasks if not all(map(site.has, task.paths.values()))]
        jobs = ((_draw, (task.paths, task.prepare())) for task in wanted)
        start = (self.data, self.look, site.out)
        with tqdm(
            total=len(wanted), desc="pictures", unit="unit", disable=not (progress and sys.stderr.isatty())
        ) as shown:
            for _ in run_jobs(jobs, min(workers, len(wanted)), _start, start, "draws pictures"):
                shown.update()
        return sum(len(task.paths) for task in wanted)


_worker = threading.local()  # state of a worker, which is a thread or a process


def _start(data: ConceptDataset, look: Look, out: Path) -> None:
    _worker.photos, _worker.look, _worker.out = Photos(data, look.size), look, out


def _draw(paths: dict[str, str], strips: Strips) -> None:
    for kind, picture in strips.draw(_worker.photos, _worker.look).items():
        write_picture(_worker.out / paths[kind], picture)


def _key(layer: Layer, common: str) -> str:
    """Return a hash of everything that the pictures of a layer depend on."""
    assert layer.result is not None
    digest = hashlib.sha256(common.encode() + json.dumps(layer.result.grid.to_json()).encode())
    arrays: list[Array] = [layer.table.unit, layer.table.labels.concept, layer.result.thresholds]
    for array in [*arrays, layer.result.counts.unit_area, *(array for top in layer.tops for array in top)]:
        digest.update(b"%d:" % array.nbytes + array.tobytes())
    return digest.hexdigest()


def _unit_tasks(layer: Layer, labels: PackedLabels, look: Look) -> Iterator[Task]:
    assert layer.result is not None
    peaks, masks = layer.result.require_peaks(), Masks(layer.result.grid, layer.result.thresholds)
    for u in layer.ranked:  # best first, so that an interrupted build has those
        images, concept = layer.tops[u][0], layer.column(u)
        if not len(images):
            continue
        kinds = ["mask"] + ["concept"] * (concept >= 0) + ["heat"] * look.heat_map
        paths = {kind: f"{layer.folder}/{layer.picture(u, kind)}" for kind in kinds}
        yield Task(paths, partial(UnitStrips.of, peaks, masks, labels, u, images, concept))


def _concept_tasks(concepts: Concepts, labels: PackedLabels) -> Iterator[Task]:
    def prepare(column: int, images: list[int]) -> ConceptStrip:
        return ConceptStrip(images, [labels.mask(image, column) for image in images])

    for column in range(len(concepts.vocabulary)):
        images = concepts.images(column)[0][:CONCEPT_IMAGES].tolist()
        if images:
            yield Task({"concept": f"concepts/{concepts.picture(column)}"}, partial(prepare, column, images))
