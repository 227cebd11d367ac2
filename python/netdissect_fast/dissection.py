"""dissect(): images through the network once, peaks kept in the hooks, peaks counted against the labels."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .backends import choose
from .collecting import Collector, thresholds_by_layer
from .config import versions
from .counts import CategoryRule, check_option
from .data.dataset import ConceptDataset
from .data.loading import LabelsAhead, Preprocessing, image_batches
from .data.sources import source_of
from .grids import Alignment
from .hooks import Tokens, unwrap, watch
from .peaks import Quantile, exact_quantile
from .preparing import device_and_dtype, prepare
from .results import Dissection
from .storage import require_writable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .layers import Layers

    Transform = Callable[[Tensor], Tensor]


def dissect(
    model: nn.Module,
    data: ConceptDataset,
    layers: Layers,
    *,
    quantile: Quantile = 0.005,
    thresholds: Any = None,
    alignment: Alignment = "receptive_field",
    transform: Transform | Mapping[str, Transform] | None = None,
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
    progress: bool = True,
) -> Dissection:
    """Find which concept each unit of a network detects: one forward pass over the images, exact.

    Parameters
    ----------
    model :
        any torch.nn.Module that takes a batch of images. Left as it was found.
    data :
        images with labels, such as ``nd.Broden("broden1_224")``.
    layers :
        dotted names, or the modules themselves, one or several; {name: alias} to rename. See ``resolve_layers``.
    quantile :
        a unit is active on this fraction of its highest activations, over all images and positions; taken
        as the decimal number it shows.
    thresholds :
        the thresholds themselves, [U], or a dict of them by layer; then no peaks are kept.
    alignment :
        where a layer's positions sit on the image: "receptive_field" (traced through the network, as the
        paper does), "half_pixel", "align_corners", or (stride, offset) in input pixels.
    transform :
        applied to a layer's maps before anything else: [B, K, H, W] → [B, U, H, W]; or a dict by layer.
    tokens :
        how transformer outputs [B, T, D] become maps where that is not evident; or a dict by layer.
    units :
        a slice or indices: dissect only these units.
    category_rule :
        "image": a unit's area counts in images that carry the concept's category (the paper's rule);
        "none": in all images.
    preprocess :
        callable from PIL.Image to float tensor [3, H, W], or ``nd.Preprocess``; None: the model's own
        configuration. It must show the network the whole image.
    crop :
        "allow" accepts a ``preprocess`` that loses borders, so that labels are misplaced.
    batch_size, device, workers :
        of the forward pass: images at a time, torch device ("auto": the model's), loader processes.
    backend, threads :
        "cpu", "reference" or "auto"; threads of the kernels (None: all cores).
    cache :
        folder of packed labels (default: NETDISSECT_FAST_CACHE, or the user's cache folder).
    out :
        folder to write the result to (``nd.load`` reads it).
    progress :
        show progress bars on a terminal.

    Returns
    -------
    Dissection
        ``result["layer4"]`` is a LayerResult.

    Raises
    ------
    NetDissectError
        one of its kinds, naming the argument, layer, unit, image or file. Nothing is written then.
    """
    import torch

    started = time.perf_counter()
    exact_quantile(quantile)
    check_option("category_rule", category_rule, CategoryRule)
    where = device_and_dtype(model, device)
    chosen = choose(backend, threads, where[0].type)
    if out is not None:
        require_writable(Path(out))
    options: dict[str, Any] = {"transform": transform, "tokens": tokens}
    prepared = prepare(
        model, data, layers, where=where, options=options, alignment=alignment, units=units, preprocess=preprocess,
        crop=crop, batch_size=batch_size,
    )  # fmt: skip
    plans, preprocess = prepared.plans, prepared.preprocess
    given = thresholds_by_layer(thresholds, plans)
    show = progress and sys.stderr.isatty()
    timings = {"prepare": time.perf_counter() - started}

    begun = time.perf_counter()
    position = 0
    with LabelsAhead(data, cache, threads, show) as labels:
        collectors = {
            name: Collector(plan, labels.get, data, chosen, quantile, category_rule, given.get(name))
            for name, plan in plans.items()
        }

        def consume(name: str, maps: Tensor) -> None:
            collectors[name].add(maps, position)

        with watch(model, layers, consume, **options) as run, _bar(len(data), show) as bar:
            for position, batch in image_batches(data, preprocess, batch_size, workers):
                names = [data.name(i) for i in range(position, position + len(batch))]
                run(batch.to(*where), names)
                bar.update(len(batch))
                labels.check()
        timings["forward"] = time.perf_counter() - begun
        begun = time.perf_counter()
        labels.get()
        timings["labels"] = time.perf_counter() - begun

    begun = time.perf_counter()
    results = {name: collector.result() for name, collector in collectors.items()}
    timings["count"] = time.perf_counter() - begun
    settings = {
        "layers": list(plans),
        "quantile": str(quantile) if thresholds is None else None,
        "alignment": alignment if isinstance(alignment, str) else repr(alignment),
        "category_rule": category_rule,
        "transform": None if transform is None else repr(transform),
        "units": None if units is None else repr(units),
        "preprocess": repr(preprocess),
        "crop": crop,
        "input_size": list(prepared.input_size),
        "batch_size": batch_size,
        "device": str(where[0]),
        "dtype": str(where[1])[6:],
        "workers": workers,
        "backend": chosen.name,
        "threads": chosen.threads,
        "torch_threads": torch.get_num_threads(),
    }
    dataset = {"name": repr(data), "images": len(data), "fingerprint": data.fingerprint(), "source": source_of(data)}
    record = {
        "model": type(unwrap(model)).__name__,
        "settings": settings,
        "versions": versions(),
        "data": dataset,
        "timings": {name: round(seconds, 3) for name, seconds in timings.items()},
    }
    dissection = Dissection(results, record, data)
    if out is not None:
        dissection.save(out)
    return dissection


def _bar(images: int, show: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=images, unit="image", disable=not show, smoothing=0.05)
