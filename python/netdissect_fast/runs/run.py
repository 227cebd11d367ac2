"""A run of dissect(): its preparation, the forward passes, and the result."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.dataset import ConceptDataset, own_inputs
from ..data.input.batches import LabelsAhead, image_batches
from ..network.hooks import watch
from ..network.maps import dtype_name
from ..processes import loader_deaths_named
from ..results.run_result import Dissection, warn_if_nothing_occurs
from ..scoring.backends.base import Backend
from ..storage import require_writable
from .checkpoints import Checkpoints, Shard, begin, checked_shard
from .collectors import Collected, Counting, finish_layer
from .plans import LayerPlan, layouts_of
from .preparation import Placement, Prepared, Settings, prepare
from .ranks import Ranks, find_ranks
from .records import run_record

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..network.layers import Layers


@dataclass
class Run:
    """A run of ``dissect``, with all that is settled before the first batch.

    where    device and dtype in which the model takes images
    record   contents of run.json; the same on all ranks
    seconds  spent so far, by phase
    """

    model: nn.Module
    data: ConceptDataset
    layers: Layers
    settings: Settings
    prepared: Prepared
    where: Placement
    backend: Backend
    out: Path | None
    shard: Shard | None
    ranks: Ranks
    record: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def start(
        self, *, cache: str | Path | None, resume: bool, checkpoint_every: float, progress: bool
    ) -> Iterator[RunInProgress]:
        """Hold the run's folder and pack the labels in parallel; see ``dissect`` for the arguments."""
        settings, plans = self.settings, self.prepared.plans
        wanted = self.shard is None or settings.thresholds is not None  # a shard of peaks is not counted
        with (
            begin(
                self.out, self.shard, self.record, plans, ranks=self.ranks, resume=resume, every=checkpoint_every
            ) as checkpoints,
            LabelsAhead(self.data, cache, settings.threads, progress, wanted) as labels,
        ):
            if wanted and own_inputs(self.data) is not None:
                labels.get()  # labelling runs the network as well, so it must not overlap with the forward passes
            counting = Counting(self.data, labels.get, self.backend, settings.quantile, settings.category_rule)
            yield RunInProgress(self, checkpoints, labels, counting, progress)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Record how long a phase takes."""
        begun = time.perf_counter()
        yield
        self.seconds[phase] = time.perf_counter() - begun


@dataclass
class RunInProgress:
    """A run under way, while its folder is held."""

    run: Run
    checkpoints: Checkpoints
    labels: LabelsAhead
    counting: Counting
    progress: bool

    def forward(self) -> list[dict[str, Collected]]:
        """Run the network on the images that are left; return what was collected, by part and layer."""
        run, settings, preprocess = self.run, self.run.settings, self.run.prepared.preprocess
        collected = self.checkpoints.load()
        current, layouts = _Collecting(run.prepared.plans, self.counting), layouts_of(run.prepared.plans)
        with (
            run.timed("forward"),
            loader_deaths_named(),
            watch(run.model, run.layers, current.add, layouts=layouts, **settings.watching) as forward,
            self._bar() as bar,
        ):
            for span in self.checkpoints.todo:
                current.begin()
                for first, batch in image_batches(run.data, preprocess, settings.batch_size, settings.workers, span):
                    current.first_image = first
                    forward(batch.to(*run.where), [run.data.name(first + i) for i in range(len(batch))])
                    bar.update(len(batch))
                    self.labels.check()
                    self.checkpoints.reached(span, first + len(batch), current.compacted)
                collected.append(current.settled())
        return collected

    def finish(self, collected: list[dict[str, Collected]]) -> Dissection:
        """Count what was collected, here and on the other ranks; write the result."""
        run, result = self.run, Dissection({}, self.run.record, self.run.data)
        with run.timed("labels"):
            self.labels.get()
        with run.timed("count"):
            for name, plan in run.prepared.plans.items():
                parts = [part.pop(name) for part in collected]
                parts = parts or [Collected.begin(plan, self.counting)]  # more ranks than batches
                result.layers[name] = finish_layer(parts, self.counting, run.ranks)
        result.run["timings"] = {phase: round(seconds, 3) for phase, seconds in run.seconds.items()}
        self.checkpoints.save(result, run.ranks)
        if run.ranks.rank == 0:
            warn_if_nothing_occurs(result)
        return result

    def _bar(self) -> Any:
        from tqdm.auto import tqdm

        images = sum(span.images for span in self.checkpoints.todo)
        return tqdm(total=images, unit="image", disable=not self.progress, smoothing=0.05)


class _Collecting:
    """The layers' collectors for the current span; hooks call ``add``, which needs the batch's ``first_image``."""

    def __init__(self, plans: Mapping[str, LayerPlan], counting: Counting) -> None:
        self._plans, self._counting = plans, counting
        self._layers: dict[str, Collected] = {}
        self.first_image = 0

    def begin(self) -> None:
        self._layers = {name: Collected.begin(plan, self._counting) for name, plan in self._plans.items()}

    def add(self, name: str, maps: Tensor) -> None:
        self._layers[name].add(maps, self.first_image, self._counting)

    def settled(self) -> dict[str, Collected]:
        """Return what was collected over the span."""
        for layer in self._layers.values():
            layer.settle(self._counting)
        return self._layers

    def compacted(self) -> dict[str, Collected]:
        """Return the same for a checkpoint: without what the images so far have made superfluous."""
        layers = self.settled()
        for layer in layers.values():
            layer.compact()
        return layers


def prepare_run(
    model: nn.Module,
    data: ConceptDataset,
    layers: Layers,
    settings: Settings,
    *,
    out: str | Path | None,
    shard: Any,
    group: Any,
) -> Run:
    """Check the arguments of ``dissect``, run a first image through the network, and agree with the other ranks.

    Raises an error for whatever is wrong with the arguments, before any work.
    """
    started = time.perf_counter()
    where, backend = settings.resolve(model)
    folder = None if out is None else Path(out)
    shard = checked_shard(shard, folder)
    ranks = find_ranks(group)
    if folder is not None:
        ranks.once(lambda: require_writable(folder))
    prepared = prepare(model, data, layers, settings, where)
    record = run_record(model, data, _recorded(settings, prepared, where, backend))
    ranks.agree(record)
    run = Run(model, data, layers, settings, prepared, where, backend, folder, shard, ranks, record)
    run.seconds["prepare"] = time.perf_counter() - started
    return run


def _recorded(settings: Settings, prepared: Prepared, where: Placement, backend: Backend) -> dict[str, Any]:
    """Return what run.json says of the settings."""
    import torch

    given = settings.thresholds is not None
    return {
        "layers": list(prepared.plans),
        "quantile": None if given else str(settings.quantile),
        "thresholds": [plan.thresholds for plan in prepared.plans.values()] if given else None,
        "alignment": settings.alignment,
        "category_rule": settings.category_rule,
        **settings.watching,
        "units": settings.units,
        "preprocess": prepared.preprocess,
        "crop": settings.crop,
        "input_size": list(prepared.input_size),
        "batch_size": settings.batch_size,
        "device": str(where.device),
        "dtype": dtype_name(where.dtype),
        "workers": settings.workers,
        "backend": backend.name,
        "threads": backend.threads,
        "torch_threads": torch.get_num_threads(),
    }
