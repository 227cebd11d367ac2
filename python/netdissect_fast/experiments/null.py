"""How sure is a label? Units scored against the labels of other images, from saved peaks, without the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..backends import Backend, choose
from ..concepts import PackedLabels, Vocabulary
from ..counts import CategoryRule, Counter, UnitLabels
from ..data.cache import packed_labels
from ..data.dataset import ConceptDataset
from ..data.sources import check_same, data_of_run
from ..errors import ArgumentError
from ..nulls import Null
from ..results import Dissection, LayerResult
from ..types import Float64Array, Int64Array


def null(
    run: Dissection,
    *,
    repeats: int = 20,
    seed: int = 0,
    data: ConceptDataset | None = None,
    backend: str = "auto",
    threads: int | None = None,
    cache: str | Path | None = None,
) -> Dissection:
    """Give every layer of a run its null scores: then its table has p- and q-values.

    Each of the ``repeats`` shufflings counts all peaks once against the labels of other images that carry the same
    categories; the network is not needed. See ``Null``.

    Parameters
    ----------
    run :
        a dissection with peaks, such as ``nd.load`` gives; its layers are changed in place. Save it to keep that.
    repeats, seed :
        how many shufflings, and of which random numbers; every repeat has its own, whatever their number.
    data :
        the run's data set; default: from where it was.
    backend, threads, cache :
        as for ``dissect``.

    Raises
    ------
    ArgumentError
        a layer without peaks, another data set, no repeats, or no two images carry the same categories.
    """
    if repeats < 1:
        raise ArgumentError(f"repeats must be at least 1, got {repeats}")
    data = data or run.data or data_of_run(run.run)
    check_same(data, run.run)
    labels, chosen = packed_labels(data, cache, threads), choose(backend, threads)
    rule: CategoryRule = run.run.get("settings", {}).get("category_rule", "image")
    pairings = [shuffled(labels, run.vocabulary, np.random.default_rng([seed, repeat])) for repeat in range(repeats)]
    if all(np.array_equal(pairing, np.arange(len(labels))) for pairing in pairings):
        raise ArgumentError("no two images carry the same categories at the same label size: nothing can be shuffled")
    for layer in run.values():
        scores = [best_scores(layer, labels, rule, chosen, pairing) for pairing in pairings]
        layer.null = Null(np.array(scores).reshape(repeats, len(layer.thresholds)))
    return run


def shuffled(labels: PackedLabels, vocabulary: Vocabulary, rng: np.random.Generator) -> Int64Array:
    """Whose labels each image meets, int64 [N]: a random one of those with the same categories and label size."""
    kinds = np.concatenate([labels.category_present(vocabulary).astype(np.int32), labels.grid], axis=1)
    _, kind = np.unique(kinds, axis=0, return_inverse=True)
    pairing = np.arange(len(labels))
    for members in (np.flatnonzero(kind == k) for k in range(int(kind.max()) + 1)):
        pairing[members] = rng.permutation(members)
    return pairing


def best_scores(
    layer: LayerResult,
    labels: PackedLabels,
    category_rule: CategoryRule,
    backend: Backend,
    pairing: Int64Array | None = None,
) -> Float64Array:
    """IoU of each unit's overall label, float64 [U], where every image meets the labels that ``pairing`` says."""
    counter = Counter(layer.thresholds, layer.grid, labels, layer.vocabulary, category_rule, pairing)
    peaks = layer.require_peaks()
    counter.add(peaks.crops, 0, peaks.images, backend)
    return UnitLabels.of(counter.counts.iou(layer.vocabulary), layer.vocabulary).top()[2]
