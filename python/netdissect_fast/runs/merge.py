"""merge(): the result of a run from the parts that its shards wrote; the network is not needed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ..data.dataset import ConceptDataset
from ..data.label_cache import packed_labels
from ..data.sources import check_same, data_of_run
from ..errors import ArgumentError
from ..results.run_result import Dissection, warn_if_nothing_occurs
from ..scoring.backends.choice import choose
from ..storage import only_writer, remove_unfinished, require_unheld
from .checkpoints import require_no_shards
from .collectors import Counting, finish_layer
from .parts import Part, find_parts, remove_parts, require_disjoint
from .ranks import SingleRank
from .records import require_same
from .spans import Span, missing, shard_of


def merge(
    folders: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    data: ConceptDataset | str | Path | None = None,
    backend: str = "auto",
    threads: int | None = None,
    cache: str | Path | None = None,
    progress: bool = False,
) -> Dissection:
    """Merge the shards of a run, exactly as if one process had seen all images.

    Parameters
    ----------
    folders :
        the ``out`` of the shards: one folder, or several if each machine had its own.
    out :
        folder to write the result to; default: the folder of the shards, if there is only one. Shards are removed
        from this folder, and left alone in others.
    data :
        the data set, or its current folder; default: where the shards found it.
    backend, threads, cache :
        as for ``dissect``.
    progress :
        show a progress bar while labels are packed.

    Raises
    ------
    ArgumentError
        shards are missing, are duplicated, or belong to a data set other than ``data``; the message says which.
    ResumeMismatch
        a shard's settings, model or data differ from those of the first.
    DataError, InUse, OutputError
        a shard is broken; a folder is still being written; the result cannot be written.

    Examples
    --------
    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> model, data = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), nd.Synthetic(images=8, size=32)
    >>> options = {"preprocess": nd.Preprocess(32), "batch_size": 4, "progress": False}
    >>> with TemporaryDirectory() as out:
    ...     for i in range(2):
    ...         _ = nd.dissect(model, data, "0", out=out, shard=(i, 2), **options)
    ...     run = nd.merge(out, cache=f"{out}/cache")
    >>> run["0"].peaks.images_seen
    8
    """
    sources = [Path(folder) for folder in ([folders] if isinstance(folders, str | Path) else folders)]
    if not sources or (out is None and len(sources) > 1):
        raise ArgumentError("give at least one folder of shards and, if there are several, out= for the result")
    target = Path(out) if out is not None else sources[0]
    for folder in sources:
        if not folder.is_dir():
            raise ArgumentError(f"{folder} is not a folder of shards")
    chosen = choose(backend, threads)
    with ExitStack() as held:
        held.enter_context(only_writer(target))
        for folder in sources:
            if folder.resolve() != target.resolve():
                require_unheld(folder)
            require_no_shards(folder)
        remove_unfinished(target)
        parts = _all_parts(sources)
        record, plans = parts[0].record, parts[0].plans
        if data is None or isinstance(data, str | Path):
            data = data_of_run(record, None if data is None else Path(data))
        check_same(data, record)
        begun = time.perf_counter()
        packed = packed_labels(data, cache, threads, progress)
        clock = {"labels": time.perf_counter() - begun}

        begun = time.perf_counter()
        result = Dissection({}, record, data)
        settings = record["settings"]
        counting = Counting(data, lambda: packed, chosen, settings["quantile"], settings["category_rule"])
        collected = [part.collected() for part in parts]
        for name in plans:
            layer = [part.pop(name) for part in collected]
            result.layers[name] = finish_layer(layer, counting, SingleRank())
        clock["count"] = time.perf_counter() - begun
        result.run["timings"] = {name: round(seconds, 3) for name, seconds in clock.items()}
        result.save(target)
        remove_parts(target)
    warn_if_nothing_occurs(result)
    return result


def _all_parts(folders: Sequence[Path]) -> list[Part]:
    """Return the parts in all folders, which together must form one whole run."""
    parts = [part for folder in folders for part in find_parts(folder)]
    names = ", ".join(map(str, folders))
    if not parts:
        done = " (there is a finished result)" if any((folder / "run.json").exists() for folder in folders) else ""
        raise ArgumentError(f"there are no shards in {names}{done}: make them with dissect --shard I/N --out FOLDER")
    for part in parts[1:]:
        require_same(part.record, parts[0].record, str(part.path), f"{parts[0].path} is taken as the reference")
    require_disjoint(parts)
    images, batch_size = parts[0].record["data"]["images"], parts[0].record["settings"]["batch_size"]
    gaps = missing(Span(0, images), [part.span for part in parts])
    if gaps:
        ranges = ", ".join(f"{gap.first} to {gap.last - 1}" for gap in gaps)
        shards = _lacking(parts, gaps, images, batch_size)
        raise ArgumentError(
            f"of {images} images, these are missing in {names}: {ranges}{shards}; run them, then merge again"
        )
    return sorted(parts, key=lambda part: part.span)


def _lacking(parts: Sequence[Part], gaps: Sequence[Span], images: int, batch_size: int) -> str:
    """Return text that names the shards of the missing images; empty unless all parts were divided alike."""
    counts = {part.shard[1] if part.shard else 0 for part in parts}
    count = counts.pop()
    if counts or not count:
        return ""
    spans = [(index, shard_of(images, batch_size, index, count)) for index in range(count)]
    lacking = [
        f"{index}/{count}"
        for index, span in spans
        if any(gap.first < span.last and span.first < gap.last for gap in gaps)
    ]
    return f" (shards {', '.join(lacking)})"
