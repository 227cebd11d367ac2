"""Networks, layers or training runs side by side: detectors by category, and which concepts are gained or lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ArgumentError
from ..plot import categories
from ..results.layer_result import LayerResult
from ..results.run_result import Dissection
from ..results.tables import UnitTable
from ..scoring.detectors import CountRule
from .rows import Rows, save_figure, save_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESAMPLES = 200  # of units, for the spread of a number of unique detectors


@dataclass(frozen=True)
class Comparison:
    """Tables of units side by side, by name; the others are compared with the first."""

    tables: Mapping[str, UnitTable]
    iou_threshold: float = 0.04
    count: CountRule = "top_label"

    def rows(self) -> Rows:
        """Return one row per table: units, detectors, their ratio, unique detectors (± by resampling) and by category.

        ``sure``: detectors with q ≤ 0.05 if the table has null scores, otherwise empty.
        """
        names = list(dict.fromkeys(name for table in self.tables.values() for name in table.vocabulary.categories))
        found = []
        for name, table in self.tables.items():
            detectors = sum(table.detectors(self.iou_threshold, self.count).values())
            unique = table.unique_detectors(self.iou_threshold, self.count)
            hit = table.top[2] > self.iou_threshold
            row = {
                "run": name,
                "units": len(table),
                "detectors": detectors,
                "ratio": detectors / max(1, len(table)),
                "sure": "" if table.q is None else int((hit & (table.q <= 0.05)).sum()),
                "unique": sum(unique.values()),
                "±": self._spread(table),
            }
            found.append(row | {category: unique.get(category, 0) for category in names})
        return found

    def _spread(self, table: UnitTable) -> float:
        """Return the standard deviation of the number of distinct labels among resampled units (bootstrap, seed 0)."""
        category, concept, score = table.top
        label = np.where(score > self.iou_threshold, category.astype(np.int64) * len(table.vocabulary) + concept, -1)
        rng = np.random.default_rng(0)
        draws = label[rng.integers(0, len(label), (RESAMPLES, len(label)))] if len(label) else np.zeros((1, 0), int)
        return float(np.std([len(np.unique(draw[draw >= 0])) for draw in draws]))

    def changes(self) -> Rows:
        """Return one row per concept that is detected in a table but not in the first, or the other way round."""
        first, *others = self.tables.items()
        before, found = first[1].detected(self.iou_threshold), []
        for name, table in others:
            after = table.detected(self.iou_threshold)
            for change, one, two in (("gained", after, before), ("lost", before, after)):
                found += [
                    {"run": name, "change": change, "category": category, "concept": concept, "units": units}
                    for (category, concept), units in one.items()
                    if (category, concept) not in two
                ]
        return found

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the unique detectors of each table, stacked by category."""
        return categories(self.tables, iou_threshold=self.iou_threshold, count=self.count, ax=ax)

    def save(self, out: str | Path) -> list[Path]:
        """Write comparison.csv, changes.csv and, if matplotlib is installed, a figure."""
        written = [save_rows(out, "comparison", self.rows()), save_rows(out, "changes", self.changes())]
        return written + save_figure(out, "comparison", self.plot)


def compare(
    runs: Mapping[str, Dissection | LayerResult | UnitTable] | Sequence[LayerResult | UnitTable],
    *,
    iou_threshold: float = 0.04,
    count: CountRule = "top_label",
) -> Comparison:
    """Compare results side by side; a dissection stands for its layers, named "name layer" if it has several.

    ``count``: see ``LayerResult.detectors``. Raises ArgumentError if two have the same name, or there are none.

    Examples
    --------
    >>> labels = np.array([[[1, 1], [0, 0]], [[0, 0], [2, 2]]])
    >>> masks = np.stack([labels == 1, labels == 2], axis=1).astype(np.float32)
    >>> before, after = nd.score(masks[:, :1], labels, quantile="1/4"), nd.score(masks, labels, quantile="1/4")
    >>> comparison = nd.compare({"before": before, "after": after})
    >>> [(row["run"], row["unique"]) for row in comparison.rows()]
    [('before', 1), ('after', 2)]
    >>> [(row["change"], row["concept"]) for row in comparison.changes()]
    [('gained', '2')]
    """
    if not isinstance(runs, Mapping) and any(isinstance(run, Dissection) for run in runs):
        raise ArgumentError("a dissection has no name of its own: give a dict of names and results")
    named = runs.items() if isinstance(runs, Mapping) else [(run.name, run) for run in runs]
    tables: list[tuple[str, UnitTable]] = []
    for name, run in named:
        if isinstance(run, Dissection):
            several = len(run) > 1
            tables += [(f"{name} {layer.name}" if several else name, layer.table) for layer in run.values()]
        else:
            tables.append((name, run if isinstance(run, UnitTable) else run.table))
    if not tables:
        raise ArgumentError("there is nothing to compare: give at least one result")
    if len(dict(tables)) < len(tables):
        raise ArgumentError(
            f"two results have the same name: give a dict of names and results; got {[n for n, _ in tables]}"
        )
    return Comparison(dict(tables), iou_threshold, count)
