"""How certain is a label? Units scored against the labels of other images, from saved peaks, without the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..concepts import PackedLabels, Vocabulary
from ..data.dataset import ConceptDataset
from ..errors import ArgumentError
from ..results.layer_result import LayerResult
from ..results.null import Null
from ..results.run_result import Dissection, layer_folders
from ..scoring.counts import count_crops
from ..scoring.unit_labels import UnitLabels
from ..storage import only_writer, read_json
from ..types import Float64Array, Int64Array
from .saved_run import Saved, saved
from .shuffled_labels import ByCategory, Paired


def null(
    run: Dissection,
    *,
    repeats: int = 20,
    seed: int = 0,
    data: ConceptDataset | None = None,
    backend: str = "auto",
    threads: int | None = None,
    cache: str | Path | None = None,
    out: str | Path | None = None,
) -> Dissection:
    """Add null scores to every layer of a run, so that its table has p- and q-values.

    Each of the ``repeats`` shufflings counts all peaks once against labels of other images that carry the category;
    the network is not needed. See ``Null``.

    Parameters
    ----------
    run :
        a dissection with peaks, such as ``nd.load`` returns; its layers are changed in place. Save it to keep that.
    repeats, seed :
        how many shufflings, and the seed; each has its own random numbers, whatever their number. One more is held out.
    data :
        the run's data set; default: the one it used, where it was.
    backend, threads, cache :
        as for ``dissect``.
    out :
        the run's folder: null scores, and result.csv with new columns, are written there.

    Raises
    ------
    ArgumentError
        a layer has no peaks, the data set is a different one, repeats or seed is too small, or no two images carry the
        same category.

    Examples
    --------
    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> model, data = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), nd.Synthetic(images=8, size=32)
    >>> with TemporaryDirectory() as cache:
    ...     run = nd.dissect(model, data, "0", preprocess=nd.Preprocess(32), cache=cache, progress=False)
    ...     run = nd.null(run, repeats=5, cache=cache)
    >>> run["0"].null.scores.shape  # shufflings, units
    (5, 4)
    """
    if repeats < 1:
        raise ArgumentError(f"repeats must be at least 1, got {repeats}")
    if seed < 0:
        raise ArgumentError(f"seed must be 0 or larger, got {seed}")
    for layer in run.values():
        layer.require_peaks()
    if out is not None and list(read_json(Path(out) / "run.json").get("layers", ())) != list(run):
        raise ArgumentError(f"{out} is not the folder of this run: it has different layers")
    sources = saved(run, data, backend, threads, cache)
    labels = sources.labels
    pairings = [shuffled(labels, run.vocabulary, np.random.default_rng([seed, n])) for n in range(repeats + 1)]
    if all((pairing == np.arange(len(labels))[:, None]).all() for pairing in pairings):
        raise ArgumentError("no two images carry the same category at the same label size: nothing can be shuffled")
    by_category = ByCategory(labels, run.vocabulary.category, len(run.vocabulary.categories))
    for layer in run.values():
        held_out, *scores = (best_scores(layer, sources, Paired(by_category, pairing)) for pairing in pairings)
        layer.null = Null(np.array(scores), held_out)
    if out is not None:
        with only_writer(Path(out)):
            for name, folder in layer_folders(run.layers).items():
                run[name].save_null(Path(out) / folder)
    return run


def null_rows(run: Dissection, iou_threshold: float = 0.04, q: float = 0.05) -> list[dict[str, Any]]:
    """Return one row per layer: detectors by the IoU threshold, how many chance would give, and units sure by q-values.

    "sure where all is chance" counts those of the held-out shuffling. Raises ArgumentError without null scores.
    """
    rows = []
    for name, layer in run.items():
        if layer.null is None:
            raise ArgumentError(f"layer {name!r} has no null scores: run null first")
        score = layer.labels.top()[2]
        rows.append(
            {
                "layer": name,
                "units": len(score),
                "detectors": int((score > iou_threshold).sum()),
                "expected by chance": layer.null.expected_detectors(iou_threshold),
                f"sure (q <= {q:g})": int((layer.null.q_values(score) <= q).sum()),
                "sure where all is chance": int((layer.null.q_values(layer.null.held_out) <= q).sum()),
                "IoU of p = 0.01": float(np.quantile(layer.null.scores, 0.99)),
            }
        )
    return rows


def shuffled(labels: PackedLabels, vocabulary: Vocabulary, rng: np.random.Generator) -> Int64Array:
    """Return whose labels each image meets, int64 [N, categories]: a random image's that carries the category too.

    For each category this is a permutation of the images that carry it and have the same label size.
    """
    present = labels.category_present(vocabulary)
    pairing = np.repeat(np.arange(len(labels))[:, None], present.shape[1], axis=1)
    _, size = np.unique(labels.grid, axis=0, return_inverse=True)
    size = size.reshape(-1)  # NumPy 2.0.0 returns a column
    for category in range(present.shape[1]):
        for members in (np.flatnonzero(present[:, category] & (size == k)) for k in range(int(size.max()) + 1)):
            pairing[members, category] = rng.permutation(members)
    return pairing


def best_scores(layer: LayerResult, sources: Saved, paired: Paired | None = None) -> Float64Array:
    """Return the IoU of each unit's overall label, float64 [U]; images meet ``paired`` labels (None: their own)."""
    words, peaks = layer.vocabulary, layer.require_peaks()
    counts = count_crops(
        peaks.crops, layer.thresholds, layer.grid, sources.labels, words, sources.backend, sources.category_rule, paired
    )
    return UnitLabels.of(counts.iou(words), words).top()[2]
