"""estimate(): the memory and time that a run of dissect() will need, from a few batches; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..concepts import PackedLabels
from ..data.dataset import ConceptDataset, Subset
from ..data.input.batches import Preprocessing, image_batches
from ..data.label_cache import cached_labels, decoding_threads
from ..errors import ArgumentError, printable
from ..geometry.grids import Alignment, Grid
from ..network.hooks import Tokens, watch
from ..processes import loader_deaths_named
from ..scoring.counts import CategoryRule
from ..scoring.peaks import SMALL
from ..scoring.thresholds import Quantile, exact_quantile, tail_rank
from .collectors import CollectedPeaks, Counting, finish_layer
from .plans import LayerPlan, layouts_of
from .preparation import Settings, prepare
from .ranks import SingleRank

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ..network.layers import Layers
    from ..network.views import Transforms

_FEWEST = 8  # activations above a threshold, from which a share is estimated
_LARGEST = Fraction(999_999, 1_000_000)  # quantile
_HEADER = 16  # bytes of a crop in addition to its values


@dataclass(frozen=True)
class LayerEstimate:
    """The memory that one layer will need, in bytes.

    units, grid    U, and where the H×W positions lie on the input
    dense_bytes    all its activations in float32, which are never held
    store_bytes    the peaks at the end
    peak_bytes     the peaks at any time, at most
    counter_bytes  I, A, G and the pixels, exactly
    """

    name: str
    units: int
    grid: Grid
    dense_bytes: int
    store_bytes: int
    peak_bytes: int
    counter_bytes: int


@dataclass(frozen=True)
class Estimate:
    """The memory and time that a run will need.

    layers         by name
    images         in the data set; ``sampled``: how many of them the estimate is based on
    label_bytes    packed labels, on disk and mapped; ``labels_cached``: they exist already, and this is their size
    seconds        for "labels" (packing, in parallel), "forward" (loading and the network), "keep" and "count"
    """

    layers: Mapping[str, LayerEstimate]
    images: int
    sampled: int
    label_bytes: int
    labels_cached: bool
    seconds: Mapping[str, float]

    def __str__(self) -> str:
        """Return a table for a terminal."""
        titles = ("layer", "units", "grid", "store", "at most", "counters", "dense")
        rows = [
            (printable(e.name), str(e.units), "×".join(map(str, e.grid.size)),
             *map(_size, (e.store_bytes, e.peak_bytes, e.counter_bytes, e.dense_bytes)))
            for e in self.layers.values()
        ]  # fmt: skip
        widths = [max(len(row[i]) for row in (titles, *rows)) for i in range(len(titles))]
        table = ["  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
                 for row in (titles, *rows)]  # fmt: skip
        labels = f"packed labels: {_size(self.label_bytes)}, {'cached' if self.labels_cached else 'to be packed'}"
        parts = ", ".join(f"{name} {_duration(seconds)}" for name, seconds in self.seconds.items())
        total = _duration(sum(self.seconds.values()))
        head = f"estimated for {self.images} images from {self.sampled}:"
        return "\n".join([head, "", *table, "", labels, f"time: {total} ({parts})"])

    def to_json(self) -> dict[str, Any]:
        """Return the same for programs, in bytes and seconds."""
        layers = {name: {**vars(layer), "grid": layer.grid.to_json()} for name, layer in self.layers.items()}
        return {**vars(self), "layers": layers, "seconds": dict(self.seconds)}


def estimate(
    model: nn.Module,
    data: ConceptDataset,
    layers: Layers,
    *,
    quantile: Quantile = 0.005,
    alignment: Alignment = "receptive_field",
    transform: Transforms = None,
    tokens: Tokens | Mapping[str, Tokens] | None = None,
    units: slice | Any | None = None,
    category_rule: CategoryRule = "image",
    preprocess: Preprocessing | None = None,
    crop: Literal["error", "allow"] = "error",
    batch_size: int = 32,
    device: str = "auto",
    backend: str = "auto",
    threads: int | None = None,
    workers: int = 0,
    cache: str | Path | None = None,
    batches: int = 3,
) -> Estimate:
    """Estimate memory and time of ``dissect`` with the same arguments, from a few batches; writes nothing.

    ``batches`` are spread over the data set; the first is also run once beforehand, untimed. The store is estimated
    from the peaks of these images at their own quantile: their thresholds may be far from those of all images,
    but the share of activations that is kept hardly depends on that. The other arguments are those of ``dissect``,
    whose errors are raised here too.

    Returns
    -------
    Estimate
        print it to get a table.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2))
    >>> needed = nd.estimate(model, nd.Synthetic(images=8), "0", preprocess=nd.Preprocess(32))
    >>> needed.layers["0"].dense_bytes  # 8 images, 4 units, 15×15 positions, float32
    28800
    """
    exact = exact_quantile(quantile)
    if batches < 1:
        raise ArgumentError(f"batches must be at least 1, got {batches}")
    settings = Settings(
        quantile=quantile, alignment=alignment, transform=transform, tokens=tokens, units=units,
        category_rule=category_rule, preprocess=preprocess, crop=crop, batch_size=batch_size, device=device,
        backend=backend, threads=threads, workers=workers,
    )  # fmt: skip
    where, chosen = settings.resolve(model)
    prepared = prepare(model, data, layers, settings, where)
    size = min(batch_size, len(data))
    sample = _spread(data, size, batches)
    begun = time.perf_counter()
    packed = PackedLabels.pack((sample.labels(i) for i in range(len(sample))), data.vocabulary)
    packing = (time.perf_counter() - begun) / decoding_threads(threads)
    sampled = {
        name: _Sampled(plan, exact, Counting(sample, lambda: packed, chosen, quantile, category_rule))
        for name, plan in prepared.plans.items()
    }
    position = 0  # of the batch in the sample; below 0: warming up

    def consume(name: str, maps: Tensor) -> None:
        if position >= 0:
            sampled[name].add(maps, position)

    shown = Subset(sample, [*range(size), *range(len(sample))])
    watching = watch(model, layers, consume, layouts=layouts_of(prepared.plans), **settings.watching)
    with loader_deaths_named(), watching as run:
        for first, batch in image_batches(shown, prepared.preprocess, size, workers):
            position = first - size
            run(batch.to(*where), [shown.name(i) for i in range(first, first + len(batch))])
            if first == 0:
                begun = _now(where.device)
        wall = _now(where.device) - begun
    keep = sum(layer.seconds for layer in sampled.values())
    begun = time.perf_counter()
    estimates = {name: layer.estimate(data) for name, layer in sampled.items()}
    counting = time.perf_counter() - begun
    there, scale = cached_labels(data, cache), len(data) / len(sample)
    seconds = {"labels": 0.0 if there else packing, "forward": wall - keep, "keep": keep, "count": counting}
    return Estimate(
        estimates,
        images=len(data),
        sampled=len(sample),
        label_bytes=_nbytes(there) if there else round(scale * _nbytes(packed)),
        labels_cached=there is not None,
        seconds={name: scale * value for name, value in seconds.items()},
    )


class _Sampled:
    """One layer's peaks on the sampled images: at their own quantile, and at twice that (before pruning)."""

    def __init__(self, plan: LayerPlan, quantile: Fraction, counting: Counting) -> None:
        self.plan, self.quantile, self.seconds = plan, quantile, 0.0
        positions = len(counting.data) * plan.grid.size[0] * plan.grid.size[1]
        # With small maps, a few images have hardly any position above T: then keep a larger share, and scale it down.
        self.above = above = min(max(_FEWEST, round(quantile * positions)), max(1, positions // 2 - 1))
        self.counting, self.unpruned_counting = (
            replace(counting, quantile=min(Fraction(n * above, positions), _LARGEST)) for n in (1, 2)
        )
        self.kept = CollectedPeaks.empty(plan, self.counting)
        self.unpruned = CollectedPeaks.empty(plan, self.unpruned_counting)

    def add(self, maps: Tensor, first_image: int) -> None:
        self.unpruned.add(maps, first_image, self.unpruned_counting)
        begun = time.perf_counter()
        self.kept.add(maps, first_image, self.counting)
        self.seconds += time.perf_counter() - begun

    def estimate(self, data: ConceptDataset) -> LayerEstimate:
        """Return the estimate for all of ``data``; counts the sample, so that the caller can time it."""
        counts = finish_layer([self.kept], self.counting, SingleRank()).counts
        self.unpruned.peaks.finish()
        grid, units = self.plan.grid, self.plan.units
        positions = len(data) * grid.size[0] * grid.size[1]
        scale = (tail_rank(self.quantile, positions) - 1) / self.above
        store, most = (scale * part.peaks.crops.nbytes for part in (self.kept, self.unpruned))
        dense = 4 * units * positions
        return LayerEstimate(
            self.plan.name,
            units,
            grid,
            dense_bytes=dense,
            store_bytes=round(store) + 4 * units,
            peak_bytes=round(max(most, min(dense + _HEADER * units * len(data), SMALL))) + 4 * units,
            counter_bytes=sum(array.nbytes for array in vars(counts).values()),
        )


def _spread(data: ConceptDataset, size: int, batches: int) -> Subset:
    """Return some of the full batches that a run would see, evenly spread."""
    there = len(data) // size
    batches = min(batches, there)
    numbers = [(2 * i + 1) * there // (2 * batches) for i in range(batches)]
    return Subset(data, [i for number in numbers for i in range(number * size, (number + 1) * size)])


def _now(device: torch.device) -> float:
    """Return the time in seconds, once the device has finished its work."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
    return time.perf_counter()


def _nbytes(labels: PackedLabels) -> int:
    return sum(array.nbytes for array in vars(labels).values())


def _size(nbytes: float) -> str:
    power = min(4, max(0, len(str(round(nbytes))) - 1) // 3)
    return f"{nbytes / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
