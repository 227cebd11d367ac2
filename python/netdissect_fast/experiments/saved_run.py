"""A saved run reopened: what experiments on it need besides its peaks, the labels and how the run counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..concepts import PackedLabels
from ..data.dataset import ConceptDataset
from ..data.label_cache import packed_labels
from ..data.sources import check_same, data_of_run
from ..results.run_result import Dissection
from ..scoring.backends.base import Backend
from ..scoring.backends.choice import choose
from ..scoring.counts import CategoryRule


@dataclass(frozen=True)
class Saved:
    """A run's data set, its packed labels, its category rule, and the backend that counts."""

    data: ConceptDataset
    labels: PackedLabels
    category_rule: CategoryRule
    backend: Backend


def saved(
    run: Dissection, data: ConceptDataset | None, backend: str, threads: int | None, cache: str | Path | None
) -> Saved:
    """Open what a run was made with; ``data``: None to find it where it was. ArgumentError for a different one."""
    data = data or run.data or data_of_run(run.run)
    check_same(data, run.run)
    rule: CategoryRule = run.run.get("settings", {}).get("category_rule", "image")
    return Saved(data, packed_labels(data, cache, threads), rule, choose(backend, threads))
