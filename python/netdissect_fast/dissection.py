"""dissect(): images through the network once, peaks kept in the hooks, peaks counted against the labels."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .data.dataset import ConceptDataset, own_inputs
from .data.input.batches import LabelsAhead, Preprocessing, image_batches
from .errors import check_option
from .geometry.grids import Alignment
from .network.hooks import Tokens, watch
from .results.run_result import Dissection
from .runs.checkpoints import begin, checked_shard
from .runs.collectors import Collector, State, finish_layer
from .runs.plans import with_thresholds
from .runs.preparation import device_and_dtype, prepare
from .runs.ranks import find_ranks
from .runs.records import run_record
from .runs.spans import Span
from .scoring.backends.choice import choose
from .scoring.counts import CategoryRule
from .scoring.thresholds import Quantile, exact_quantile
from .storage import require_writable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .network.hooks import Transforms
    from .network.layers import Layers


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
        images with labels, such as ``nd.Broden("broden1_224")``; or with ``input``, what the network makes them of,
        such as ``nd.Segmented(latents, segmenter, names, generator=model)``: then give ``alignment="half_pixel"``.
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
        applied to a layer's maps before anything else: [B, K, H, W] → [B, U, H, W]; or a dict by layer, also of
        several for one layer, all in the same pass; see ``watch``.
    tokens :
        how transformer outputs [B, T, D] become maps where that is not evident; or a dict by layer.
    units :
        a slice or indices: dissect only these units.
    category_rule :
        "image": a unit's area counts in images that carry the concept's category (the paper's rule);
        "none": in all images.
    preprocess :
        callable from PIL.Image to float tensor [3, H, W], or ``nd.Preprocess``; None: the model's own
        configuration. It must show the network the whole image. None too where ``data`` has ``input``.
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
    resume, checkpoint_every :
        go on from the last checkpoint that a run with the same model, data and settings left in ``out``; False: start
        over. Seconds between checkpoints, which take at most a twentieth of the time; 0: one after every batch.
    shard :
        (i, n): only the i-th (from 0) of n parts of the images. It is left in ``out``, and the result holds no layer:
        ``nd.merge`` puts all together.
    group :
        processes that share the work and all call this: a torch.distributed process group; "auto": the default
        one where it was initialised; None: this process alone. All get the result, rank 0 the peaks, and writes.
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
    folder = None if out is None else Path(out)
    shard = checked_shard(shard, folder)
    ranks = find_ranks(group)
    if folder is not None:
        ranks.once(lambda: require_writable(folder))  # before any work
    options: dict[str, Any] = {"transform": transform, "tokens": tokens}
    prepared = prepare(
        model, data, layers, where=where, options=options, alignment=alignment, units=units, preprocess=preprocess,
        crop=crop, batch_size=batch_size,
    )  # fmt: skip
    plans = with_thresholds(prepared.plans, thresholds)
    settings = {
        "layers": list(plans),
        "quantile": str(quantile) if thresholds is None else None,
        "thresholds": None if thresholds is None else [plan.thresholds for plan in plans.values()],
        "alignment": alignment,
        "category_rule": category_rule,
        **options,
        "units": units,
        "preprocess": prepared.preprocess,
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
    record = run_record(model, data, settings)
    ranks.agree(record)
    clock = {"prepare": time.perf_counter() - started}

    wanted = shard is None or thresholds is not None
    show = progress and sys.stderr.isatty() and ranks.rank == 0
    with (
        begin(folder, shard, record, plans, ranks=ranks, resume=resume, every=checkpoint_every) as work,
        LabelsAhead(data, cache, threads, show, wanted) as labels,
    ):
        if wanted and own_inputs(data) is not None:  # the network makes the images that are labelled: one at a time
            labels.get()
        begun = time.perf_counter()
        done = work.load()
        collectors: dict[str, Collector] = {}
        position = 0

        def consume(name: str, maps: Tensor) -> None:
            collectors[name].add(maps, position)

        def collected() -> dict[str, State]:
            return {name: collector.state() for name, collector in collectors.items()}

        with watch(model, layers, consume, **options) as run, _bar(work.todo, show) as bar:
            for span in work.todo:
                collectors = {
                    name: Collector(plan, labels.get, data, chosen, quantile, category_rule)
                    for name, plan in plans.items()
                }
                for position, batch in image_batches(data, prepared.preprocess, batch_size, workers, span):
                    run(batch.to(*where), [data.name(position + i) for i in range(len(batch))])
                    bar.update(len(batch))
                    labels.check()
                    work.reached(span, position + len(batch), collected)
                done.append(collected())
        clock["forward"] = time.perf_counter() - begun
        result = Dissection({}, record, data)
        if shard is not None:
            return result
        begun = time.perf_counter()
        packed = labels.get()
        clock["labels"] = time.perf_counter() - begun

        begun = time.perf_counter()
        for name, plan in plans.items():
            states = [part.pop(name) for part in done]
            if not states:  # more ranks than batches
                states = [Collector(plan, labels.get, data, chosen, quantile, category_rule).state()]
            result.layers[name] = finish_layer(plan, states, packed, data.vocabulary, category_rule, chosen, ranks)
        clock["count"] = time.perf_counter() - begun
        result.run["timings"] = {name: round(seconds, 3) for name, seconds in clock.items()}
        work.save(result, ranks)
    return result


def _bar(todo: Sequence[Span], show: bool) -> Any:
    from tqdm.auto import tqdm

    images = sum(span.images for span in todo)
    return tqdm(total=images, unit="image", disable=not show, smoothing=0.05)
