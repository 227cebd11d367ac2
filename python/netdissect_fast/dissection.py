"""dissect(): one pass of the images through the network, peaks kept in the hooks, then counted against the labels."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .data.dataset import ConceptDataset
from .data.input.batches import Preprocessing
from .geometry.grids import Alignment
from .network.hooks import Tokens
from .results.run_result import Dissection
from .runs.preparation import Settings
from .runs.run import prepare_run
from .scoring.counts import CategoryRule
from .scoring.thresholds import Quantile

if TYPE_CHECKING:
    from torch import nn

    from .network.layers import Layers
    from .network.views import Transforms


def dissect(
    model: nn.Module,
    data: ConceptDataset,
    layers: Layers,
    *,
    quantile: Quantile = 0.005,
    thresholds: Any = None,
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
    out: str | Path | None = None,
    resume: bool = True,
    checkpoint_every: float = 300.0,
    shard: tuple[int, int] | None = None,
    group: Any = "auto",
    progress: bool = True,
) -> Dissection:
    """Find which concept each unit of a network detects: one forward pass over the images, exact.

    Parameters
    ----------
    model :
        any torch.nn.Module that takes a batch of images. Left as it was found.
    data :
        images with labels, such as ``nd.Broden("broden1_224")``; or, for a generator, with ``input``, from which the
        network makes the images, such as ``nd.Segmented(latents, segmenter, names, generator=model)``: then pass
        ``alignment="half_pixel"``.
    layers :
        dotted names, or the modules themselves, one or several; {name: alias} to rename. See ``resolve_layers``.
    quantile :
        a unit is active on this fraction of its activations, the highest, over all images and positions; read
        as the decimal number it shows.
    thresholds :
        the thresholds themselves, [U], or a dict of them by layer; then no peaks are kept.
    alignment :
        where a layer's positions lie on the image: "receptive_field" (traced through the network, as the
        paper does), "half_pixel", "align_corners", or (stride, offset) in input pixels.
    transform :
        applied to a layer's maps before anything else: [B, K, H, W] → [B, U, H, W]; or a dict by layer, which may hold
        several for one layer, all in the same pass; see ``watch``.
    tokens :
        which axes of outputs are units, rows and columns, if the trace does not tell; or a dict by layer.
    units :
        a slice or indices: dissect only these units.
    category_rule :
        "image": a unit's area counts in images that carry the concept's category (the paper's rule);
        "none": in all images.
    preprocess :
        callable from PIL.Image to float tensor [3, H, W] (from tensor to tensor if ``data`` has ``bands``), or
        ``nd.Preprocess``; None: the model's own configuration. It must show the network the whole image. Also None
        if ``data`` has ``input``.
    crop :
        "allow" accepts a ``preprocess`` that loses borders, which misplaces labels.
    batch_size, device, workers :
        of the forward pass: images per batch, torch device ("auto": the model's), loader processes.
    backend, threads :
        "cpu", "reference" or "auto"; threads of the kernels (None: all cores).
    cache :
        folder of packed labels (default: NETDISSECT_FAST_CACHE, or the user's cache folder).
    out :
        folder to write the result to (``nd.load`` reads it).
    resume, checkpoint_every :
        resume from the last checkpoint that a run with the same model, data and settings left in ``out``; False: start
        over. Seconds between checkpoints, which take at most a twentieth of the time; 0: one after every batch.
    shard :
        (i, n): only the i-th (from 0) of n parts of the images. The part is written to ``out``, and the result has no
        layers: ``nd.merge`` merges all parts.
    group :
        processes that share the work and all call this: a torch.distributed process group; "auto": the default
        one if it was initialised; None: this process alone. All get the result; rank 0 gets the peaks, and writes.
    progress :
        show progress bars on a terminal.

    Returns
    -------
    Dissection
        ``result["layer4"]`` is a LayerResult.

    Raises
    ------
    NetDissectError
        or one of its subclasses, naming the argument, layer, unit, image or file. Nothing is written then.

    Examples
    --------
    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU())
    >>> with TemporaryDirectory() as cache:
    ...     result = nd.dissect(
    ...         model, nd.Synthetic(images=8), {"1": "conv1"}, preprocess=nd.Preprocess(32), cache=cache, progress=False
    ...     )
    >>> print(result["conv1"].grid)
    stride 2, offset 1 (receptive_field)
    >>> result["conv1"].iou.shape  # 4 units, 89 concepts
    (4, 89)
    """
    settings = Settings(
        quantile=quantile, thresholds=thresholds, alignment=alignment, transform=transform, tokens=tokens, units=units,
        category_rule=category_rule, preprocess=preprocess, crop=crop, batch_size=batch_size, device=device,
        backend=backend, threads=threads, workers=workers,
    )  # fmt: skip
    run = prepare_run(model, data, layers, settings, out=out, shard=shard, group=group)
    show = progress and sys.stderr.isatty() and run.ranks.rank == 0
    with run.start(cache=cache, resume=resume, checkpoint_every=checkpoint_every, progress=show) as work:
        collected = work.forward()
        return work.finish(collected) if run.shard is None else Dissection({}, run.record, data)
