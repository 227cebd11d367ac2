"""keep and count together, against what one would write without us. A group's column in brackets is the ratio."""

from __future__ import annotations

from functools import partial

import pytest

from .baselines import Task, numpy_loop, torch_plain, torch_tuned
from .compiled import numba_fused
from .ours import Ours, assert_exact
from .tables import baseline
from .workload import SETTINGS, Workload

pytestmark = pytest.mark.benchmark(min_rounds=3, max_time=0.5, warmup=True, warmup_iterations=1)
LAYERS = [name for name in SETTINGS if name != "autoencoder"]  # minutes in plain torch


def few(work: Workload) -> Workload:
    """So many images that the slow ones take a second at most."""
    return work.head(max(1, min(len(work), 8000 // work.setting.units)))


@pytest.mark.parametrize("name", LAYERS)
def test_ours(benchmark, workload, name: str) -> None:
    work = few(workload(name))
    assert_exact(work)
    benchmark.group = f"keep + count {name}, {len(work)} images"
    benchmark(Ours(work).score)


@pytest.mark.parametrize("loop", [numba_fused, torch_tuned, torch_plain, numpy_loop])
@pytest.mark.parametrize("name", LAYERS)
def test_baseline(benchmark, workload, name: str, loop) -> None:
    work = few(workload(name))
    benchmark.group = f"keep + count {name}, {len(work)} images"
    benchmark(baseline(work, loop))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads(benchmark, workload, threads: int) -> None:
    work = workload("resnet_layer4")
    assert_exact(work, threads=threads)
    benchmark.group = f"keep + count resnet_layer4, {len(work)} images, threads"
    benchmark(Ours(work).on(threads=threads).score)


@pytest.mark.parametrize("loop", [numba_fused, torch_tuned, torch_plain, numpy_loop])
def test_baselines_agree(workload, loop) -> None:
    work = workload("resnet_layer4").head(2, 48)
    task, ours = Task(work), Ours(work)
    run = numba_fused(task) if loop is numba_fused else partial(loop, task)
    run()
    ours.score()
    counts = ours.counter.counts
    assert task.differing(counts) <= 1e-4 * counts.intersection.sum() + 50
    assert abs(task.unit_area - counts.unit_area).sum() <= 50
