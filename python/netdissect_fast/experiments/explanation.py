"""Which units drove a prediction? The prediction as a sum over units, with their concepts and masks on the image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.input.batches import Preprocessing
from ..data.input.preprocess import from_model
from ..data.input.whole_image import as_input
from ..errors import ArgumentError, LayerError, ModelError, require
from ..network.hooks import Tokens, evaluating, outputs, pad_batch, resolve_layers, unwrap
from ..network.maps import as_maps, find_layout
from ..network.places import trace_layers
from ..pages.pictures import Masks
from ..results.layer_result import LayerResult
from ..runs.preparation import device_and_dtype
from ..scoring.backends.choice import choose
from ..types import BoolArray, Float32Array
from .rows import Rows, save_figure, save_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image
    from torch import Tensor, nn

_PIXELS = 224  # size of a picture in a figure


@dataclass(frozen=True)
class Explanation:
    """Why a network gave an image its score for a class.

    image    the image, unchanged
    target   the class, as an index of the network's outputs; ``score``: its output
    rows     one per unit, largest contribution first: unit, label, category, IoU, contribution, pooled activation and
             the weight that relates them: contribution = weight × pooled
    masks    bool [n, Y, X]: where the first n units are above their thresholds, at the image's size
    """

    image: Image
    target: int
    score: float
    rows: Rows
    masks: BoolArray

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the image and, beside it, a copy for each mask, bright where the unit is on."""
        pyplot = require("matplotlib.figure", "report")
        step = max(1, max(self.image.size) // _PIXELS)  # every step-th pixel is enough
        pixels = np.asarray(self.image.convert("RGB"))[::step, ::step]
        panels = [("", pixels)]
        for row, mask in zip(self.rows, self.masks, strict=False):
            title = f"{row['unit']} {row['label']}\n{row['contribution']:+.2f}"
            panels.append((title, np.where(mask[::step, ::step, None], pixels, pixels // 4)))
        if ax is None:
            ax = pyplot.Figure(figsize=(1.7 * len(panels), 2.3), layout="constrained").subplots()
        assert ax is not None
        ax.set_axis_off()
        ax.set_title(f"output {self.target}: {self.score:.2f}", fontsize=8, loc="left")
        for place, (title, picture) in enumerate(panels):
            inset = ax.inset_axes((place / len(panels), 0, 0.96 / len(panels), 0.85))
            inset.imshow(picture)
            inset.set_axis_off()
            inset.set_title(title.replace("$", r"\$"), fontsize=7)
        return ax

    def save(self, out: str | Path, name: str = "explanation") -> list[Path]:
        """Write NAME.csv and, with matplotlib, a figure."""
        return [save_rows(out, name, self.rows), *save_figure(out, name, self.plot)]


def explain(
    model: nn.Module,
    layer: LayerResult,
    image: Image,
    target: int | None = None,
    *,
    preprocess: Preprocessing | None = None,
    tokens: Tokens | None = None,
    top: int = 8,
) -> Explanation:
    """Explain one output of a network on one image by the units of a dissected layer.

    A unit contributes Σ a·∂z/∂a over its positions, where z is the output. If only pooling and linear maps lead from
    the layer to the output, as after the last convolution of a ResNet, that is the weight of the class times the pooled
    activation (Zhou, Bau, Oliva, Torralba 2018, arXiv 1711.05611), and the contributions and the bias sum to z.
    Otherwise it is the first-order share.

    Parameters
    ----------
    model :
        the network; left as it was found.
    layer :
        from a dissection of the same network, all units, without transform: concepts, thresholds and grid.
    image :
        PIL.Image.
    target :
        index of the output; None: the highest.
    preprocess, tokens :
        as for ``dissect``.
    top :
        how many units to return masks of.

    Raises
    ------
    LayerError, ModelError, ArgumentError
        the layer does not run exactly once and return one tensor, or has different units; the output is not a row of
        scores; there is no such target.
    """
    where = device_and_dtype(model, "auto")
    batch = as_input((preprocess or from_model(model))(image))[None].to(*where)
    batch = pad_batch(model, batch)  # repeats the image if the network has a static batch size
    maps, gradient, scores, target = _gradient(model, layer.name, batch, target, tokens)
    if len(maps) != len(layer.thresholds):
        raise ArgumentError(
            f"layer {layer.name!r} has {len(maps)} units in this network, {len(layer.thresholds)} in the result: "
            "explain a dissection of all units, without transform"
        )
    if maps.shape[1:] != layer.grid.size:
        raise ArgumentError(
            f"layer {layer.name!r} has maps of {maps.shape[1:]} here, {layer.grid.size} in the result: "
            "give the image the size used in the run (preprocess)"
        )
    contribution = (maps * gradient).sum(axis=(1, 2), dtype=np.float64)
    pooled = maps.mean(axis=(1, 2), dtype=np.float64)
    order = np.argsort(-contribution, kind="stable")
    units = layer.units()
    rows = [
        {
            "unit": units[u].unit,
            "label": units[u].label,
            "category": units[u].category,
            "iou": units[u].iou,
            "contribution": float(contribution[u]),
            "pooled": float(pooled[u]),
            "weight": float(contribution[u] / pooled[u]) if pooled[u] else 0.0,
        }
        for u in order
    ]
    first = [_mask(layer, maps, int(u), (image.height, image.width)) for u in order[:top]]
    masks = np.array(first).reshape(len(first), image.height, image.width)
    return Explanation(image, target, float(scores[target]), rows, masks)


def _mask(layer: LayerResult, maps: Float32Array, unit: int, size: tuple[int, int]) -> BoolArray:
    backend = choose(threads=1)
    crops = backend.keep(maps[None, [unit]], layer.thresholds[[unit]], 0)
    return Masks(layer.grid, layer.thresholds[[unit]], backend).mask(crops, size)


def _gradient(
    model: nn.Module, layer: str, batch: Tensor, target: int | None, tokens: Tokens | None
) -> tuple[Float32Array, Float32Array, Float32Array, int]:
    """Return the layer's maps [K, H, W], the gradient of the target's output there, all outputs [C], and the target."""
    import torch

    network = unwrap(model)
    refs = resolve_layers(model, layer)
    (ref,) = refs.values()
    kept: list[Tensor] = []

    def cut(module: nn.Module, inputs: Any, output: Any) -> Tensor:
        if kept or not isinstance(output, torch.Tensor):
            raise LayerError(f"layer {layer!r} must run once and return one tensor to be explained by its units")
        kept.append(output.detach().clone().requires_grad_())
        return kept[0].clone()  # later modules may change it in place

    with evaluating(network):
        traced = trace_layers(network, refs, pad_batch(network, batch[:1])).get(ref.name)
    handle = ref.module.register_forward_hook(cut)
    try:
        with evaluating(network), torch.enable_grad():
            output = outputs(model, batch)
            if not isinstance(output, torch.Tensor) or not output.numel() or output.numel() % len(batch):
                raise ModelError(f"the model returns a {type(output).__name__}; an explanation needs a row of scores")
            scores = output.reshape(len(batch), -1)[0]
            target = int(scores.argmax()) if target is None else target
            if not 0 <= target < len(scores):
                raise ArgumentError(f"target must be 0 to {len(scores) - 1}, the network's outputs; got {target}")
            if not kept:
                raise LayerError(f"layer {layer!r} did not run")
            if not scores.requires_grad:
                raise LayerError(
                    f"output {target} does not depend on layer {layer!r}, or is computed without gradients"
                )
            (gradient,) = torch.autograd.grad(scores[target], kept, allow_unused=True)
    finally:
        handle.remove()
    if gradient is None:
        raise LayerError(f"output {target} does not depend on layer {layer!r}")
    layout = find_layout(layer, kept[0], tokens, batch, traced)
    maps, slope = (as_maps(layer, x, layout, len(batch))[0].float().cpu().numpy() for x in (kept[0], gradient))
    return maps, slope, scores.detach().float().cpu().numpy(), target
