"""Which pictures a report needs, and drawing in parallel those that are not there yet."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..backends.cpu import available_threads
from ..concepts import PackedLabels
from ..types import Array
from .facts import Concepts, Layer
from .pictures import Look, Painter, Photos, UnitMasks, annotated, strip
from .site import FORMAT, QUALITY, Site

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..data.dataset import ConceptDataset

CONCEPT_IMAGES = 12  # on a concept's page


@dataclass(frozen=True)
class Task:
    """Strips that are drawn together: their paths by kind, and what draws them."""

    paths: dict[str, str]
    draw: Callable[[], dict[str, Image]]


@dataclass(frozen=True)
class Drawing:
    """The pictures of a report.

    keys   what each folder of pictures is drawn from, as a hash
    tasks  all strips
    """

    keys: dict[str, str]
    tasks: list[Task]

    @classmethod
    def of(
        cls, layers: Sequence[Layer], concepts: Concepts, data: ConceptDataset, labels: PackedLabels, look: Look
    ) -> Drawing:
        """All that these layers and concepts show."""
        photos = Photos(data, look.size)
        common = json.dumps([FORMAT, QUALITY, data.fingerprint(), asdict(look)])
        keys = {"concepts": hashlib.sha256(common.encode()).hexdigest()}
        tasks = list(_concept_tasks(concepts, photos, labels, look))
        for layer in layers:
            if layer.tops and layer.result is not None:
                keys[layer.folder] = _key(layer, common)
                tasks += _unit_tasks(layer, Painter(UnitMasks(layer.result), photos, labels, look))
        return cls(keys, tasks)

    @property
    def pictures(self) -> int:
        """How many strips there are."""
        return sum(len(task.paths) for task in self.tasks)

    def draw(self, site: Site, threads: int | None, progress: bool) -> int:
        """Draw what the site does not have, on ``threads`` (None: all cores); gives how many strips that were."""
        from tqdm import tqdm

        wanted = [task for task in self.tasks if not all(map(site.has, task.paths.values()))]

        def draw(task: Task) -> None:
            for kind, picture in task.draw().items():
                site.picture(task.paths[kind], picture)

        with ThreadPoolExecutor(threads or available_threads(), "netdissect_fast pictures") as pool:
            done = pool.map(draw, wanted)
            try:
                for _ in tqdm(
                    done, "pictures", len(wanted), unit="unit", disable=not (progress and sys.stderr.isatty())
                ):
                    pass
            finally:
                pool.shutdown(cancel_futures=True)
        return sum(len(task.paths) for task in wanted)


def _key(layer: Layer, common: str) -> str:
    """A hash of all that the pictures of a layer follow from."""
    assert layer.result is not None
    digest = hashlib.sha256(common.encode() + json.dumps(layer.result.grid.to_json()).encode())
    arrays: list[Array] = [layer.table.unit, layer.table.labels.concept, layer.result.thresholds]
    for array in [*arrays, layer.result.counts.unit_area, *(array for top in layer.tops for array in top)]:
        digest.update(b"%d:" % array.nbytes + array.tobytes())
    return digest.hexdigest()


def _unit_tasks(layer: Layer, painter: Painter) -> Iterator[Task]:
    for u in layer.ranked:  # the best first: an interrupted build has those
        images = layer.tops[u][0]
        if not len(images):
            continue
        concept = layer.column(u)
        kinds = ["mask"] + ["concept"] * (concept >= 0) + ["heat"] * painter.look.heat_map
        paths = {kind: f"{layer.folder}/{layer.picture(u, kind)}" for kind in kinds}
        yield Task(paths, lambda u=u, images=images, concept=concept: painter.unit(u, images, concept))  # type: ignore[misc]


def _concept_tasks(concepts: Concepts, photos: Photos, labels: PackedLabels, look: Look) -> Iterator[Task]:
    for column in range(len(concepts.vocabulary)):
        images = concepts.images(column)[0][:CONCEPT_IMAGES].tolist()
        if not images:
            continue

        def draw(column: int = column, images: list[int] = images) -> dict[str, Image]:
            cells = [annotated(photos.get(image), labels, image, column, look.outline) for image in images]
            return {"concept": strip(cells)}

        yield Task({"concept": f"concepts/{concepts.picture(column)}"}, draw)
