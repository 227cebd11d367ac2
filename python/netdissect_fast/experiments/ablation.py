"""What does a network lose when units are silenced? Accuracy with sets of units at 0, chosen by label or by rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.dataset import ConceptDataset, own_inputs
from ..data.input.batches import Preprocessing, image_batches
from ..data.input.preprocess import from_model
from ..errors import ArgumentError, LayerError, ModelError
from ..network.hooks import Tokens, evaluating, outputs, pad_batch, resolve_layers, unwrap
from ..network.maps import find_layout
from ..network.places import trace_layers
from ..plot import lines
from ..processes import loader_deaths_named
from ..results.layer_result import LayerResult
from ..runs.preparation import device_and_dtype
from ..types import Int64Array
from .rows import Rows, save_figure, save_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor, nn

STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Ablation:
    """Accuracy with sets of units silenced.

    accuracy  with none silenced; 1 if the network's own answers are the targets
    rows      one per set: name, units, accuracy, drop, and the share of answers that changed
    """

    accuracy: float
    rows: Rows

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the drop in accuracy against the number of units, a line per kind of set: "best 8" is of kind "best"."""
        kinds: dict[str, list[tuple[int, float]]] = {}
        for row in self.rows:
            kinds.setdefault(str(row["set"]).rpartition(" ")[0] or "sets", []).append((row["units"], row["drop"]))
        xs = sorted({units for points in kinds.values() for units, _ in points})
        series = {kind: [dict(points).get(x, np.nan) for x in xs] for kind, points in kinds.items()}
        ax = lines(xs, series, xlabel="units silenced", ylabel="drop of accuracy", integers=False, ax=ax)
        ax.set_xscale("log")
        return ax

    def save(self, out: str | Path) -> list[Path]:
        """Write ablation.csv and, if sets were chosen by rank and matplotlib is installed, a figure."""
        by_rank = any(str(row["set"]).startswith("best ") for row in self.rows)
        return [save_rows(out, "ablation", self.rows), *(save_figure(out, "ablation", self.plot) if by_rank else ())]


def sets_by_label(layer: LayerResult, iou_threshold: float = 0.04) -> dict[str, list[int]]:
    """Return the units that detect each concept, most units first: "category: concept" → unit numbers."""
    sets: dict[str, list[int]] = {}
    for row in layer.units(iou_threshold):
        if row.detector:
            sets.setdefault(f"{row.category}: {row.label}", []).append(row.unit)
    return dict(sorted(sets.items(), key=lambda item: (-len(item[1]), item[0])))


def sets_by_rank(layer: LayerResult, steps: Sequence[int] = STEPS, seed: int = 0) -> dict[str, list[int]]:
    """Return the n best, n worst and n random units, by IoU of the label, n from ``steps``: "best 8" → unit numbers."""
    ranked = layer.unit_numbers[layer.table.ranked]
    drawn = np.random.default_rng(seed).permutation(layer.unit_numbers)
    steps = sorted({min(step, len(ranked)) for step in steps})
    orders = {"best": ranked, "worst": ranked[::-1], "random": drawn}
    return {f"{name} {step}": order[:step].tolist() for name, order in orders.items() for step in steps}


def ablate(
    model: nn.Module,
    data: ConceptDataset,
    layer: str | nn.Module,
    sets: Mapping[str, Sequence[int]],
    *,
    targets: Sequence[int] | None = None,
    preprocess: Preprocessing | None = None,
    tokens: Tokens | None = None,
    batch_size: int = 32,
    workers: int = 0,
) -> Ablation:
    """Measure a classifier's accuracy with sets of a layer's units set to zero, each set in its own forward pass.

    Parameters
    ----------
    model, data, layer, preprocess, tokens, batch_size, workers :
        as for ``dissect``; the layer returns [B, K, H, W], with its axes in any order, or [B, K].
    sets :
        unit numbers by name, such as ``sets_by_label`` or ``sets_by_rank`` returns.
    targets :
        the correct class of each image, [N]; None: the network's answers with all units, so that a drop is the share of
        answers that change.

    Raises
    ------
    ArgumentError, LayerError, ModelError
        a unit that does not exist, too few targets, a layer that is not a stack of units, an output without scores.
    """
    if targets is not None and len(targets) != len(data):
        raise ArgumentError(f"there are {len(data)} images, but {len(targets)} targets")
    if batch_size < 1:
        raise ArgumentError(f"batch_size must be at least 1, got {batch_size}")
    if own_inputs(data) is not None:
        raise ArgumentError("the data set provides the network's inputs itself, such as latents: nothing is classified")
    where, prepare = device_and_dtype(model, "auto"), preprocess or from_model(model)
    right: list[Int64Array] = []
    plain: list[Int64Array] = []
    answers: dict[str, list[Int64Array]] = {name: [] for name in sets}
    axis = None
    with evaluating(unwrap(model)), loader_deaths_named():
        for first, images in image_batches(data, prepare, batch_size, workers):
            batch = images.to(*where)
            plain.append(_answers(model, batch))
            axis = _unit_axis(model, layer, batch[:1], tokens) if axis is None else axis
            given = plain[-1] if targets is None else np.asarray(targets[first : first + len(images)], np.int64)
            right.append(given)
            for name, units in sets.items():
                with silenced(model, layer, units, axis):
                    answers[name].append(_answers(model, batch))
    wanted, before = np.concatenate(right), np.concatenate(plain)
    accuracy = float((before == wanted).mean())
    rows = []
    for name, units in sets.items():
        now = np.concatenate(answers[name])
        left = float((now == wanted).mean())
        rows.append(
            {
                "set": name,
                "units": len(units),
                "accuracy": left,
                "drop": accuracy - left,
                "changed": float((now != before).mean()),
            }
        )
    return Ablation(accuracy, rows)


@contextmanager
def silenced(model: nn.Module, layer: str | nn.Module, units: Sequence[int], axis: int = 1) -> Iterator[None]:
    """Set these units of a layer to 0 everywhere inside the context. Forward passes raise ArgumentError, LayerError.

    ``axis``: of the layer's output, along which its units lie.
    """
    import torch

    ((name, ref),) = resolve_layers(model, layer).items()
    if ref.occurrence is not None or ref.key is not None:
        raise LayerError(f"layer {name!r} cannot be silenced in only one of its calls or outputs: give {ref.path!r}")
    chosen = torch.as_tensor(list(units), dtype=torch.long)

    def hook(module: nn.Module, inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, torch.Tensor) or output.ndim not in (2, 4):
            raise LayerError(
                f"layer {name!r} does not return [B, units] or [B, units, height, width]: it cannot be silenced"
            )
        if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < output.shape[axis]:
            raise ArgumentError(f"layer {name!r} has units 0 to {output.shape[axis] - 1}; cannot silence {units}")
        return output.index_fill(axis, chosen.to(output.device), 0)

    handle = ref.module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _unit_axis(model: nn.Module, layer: str | nn.Module, first: Tensor, tokens: Tokens | None) -> int:
    """Return the axis of the layer's output along which its units lie (spec 3.1), found with a first image."""
    import torch

    network, refs = unwrap(model), resolve_layers(model, layer)
    ((name, ref),) = refs.items()
    first = pad_batch(network, first)
    found: list[Tensor] = []
    handle = ref.module.register_forward_hook(lambda module, inputs, output: found.append(output))
    try:
        with torch.no_grad():
            outputs(model, first)
    finally:
        handle.remove()
    if not found or not isinstance(found[0], torch.Tensor) or found[0].ndim != 4:
        return 1  # [B, K], or what ``silenced`` refuses
    traced = trace_layers(network, refs, first).get(name)
    layout = find_layout(name, found[0], tokens, first, traced)
    axes = [d for d, letter in enumerate(layout.letters) if letter == "C" and found[0].shape[d] > 1] or [1]
    if "T" in layout.letters or len(axes) > 1:
        raise LayerError(f"layer {name!r} returns tokens or several axes of units: it cannot be silenced")
    return axes[0]


def _answers(model: nn.Module, batch: Tensor) -> Int64Array:
    import torch

    with torch.no_grad():
        output = outputs(model, batch)
    if not isinstance(output, torch.Tensor) or not output.numel() or not output.ndim or len(output) < len(batch):
        raise ModelError(f"the model returns a {type(output).__name__}; ablation needs a row of scores for each image")
    return np.asarray(output[: len(batch)].reshape(len(batch), -1).argmax(1).cpu().numpy(), np.int64)
