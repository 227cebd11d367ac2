"""Whole runs of ``nd.dissect`` against the bare forward loop with the same loader: wall time, and peak memory.

    python -m benchmarks.bench_end_to_end --images 320 --repeats 5

Times in turns in one process, each memory in a fresh one; labels are packed beforehand. Linux.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from itertools import product
from pathlib import Path
from timeit import timeit

import torch

import netdissect_fast as nd
from netdissect_fast.data.formats.synthetic import write_synthetic
from netdissect_fast.data.input.batches import image_batches
from netdissect_fast.data.input.preprocess import from_model
from netdissect_fast.data.label_cache import packed_labels

from . import networks
from .timing import Timing, header

CASES = {"squeezenet": ["features.12"], "resnet50": ["layer4"], "resnet50 stages": list(networks.STAGES)}
TITLES = "case             dtype      bare ms   best × median ×  bare MB     ours    store     rest"


def bare(model: torch.nn.Module, data: nd.ConceptDataset) -> None:
    with torch.no_grad():
        for _, batch in image_batches(data, from_model(model), 32):
            model(batch.to(next(model.parameters()).dtype))


def fresh(arguments: list[str], which: str) -> tuple[float, float]:
    """Peak resident memory of a process of its own, and its store, MB."""
    command = [sys.executable, "-m", "benchmarks.bench_end_to_end", *arguments, "--measure", which]
    peak, store = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return float(peak), float(store)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_end_to_end", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder in Broden's format (default: drawn scenes)")
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--dtypes", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options, folder = parser.parse_args(), tempfile.TemporaryDirectory()
    if options.data is None:
        options.data = Path(folder.name, "scenes")
        write_synthetic(options.data, options.images, size=224)
    packed_labels(data := nd.Subset.first(nd.Broden(options.data), options.images), folder.name)
    if not options.measure:
        print(f"{header()}\n{len(data)} images\n\n{TITLES}")
    for case, dtype in product(options.cases, options.dtypes):
        model = getattr(networks, case.split()[0])().to(getattr(torch, dtype))
        ours = partial(nd.dissect, model, data, CASES[case], cache=folder.name, progress=False)
        runs = {"bare": partial(bare, model, data), "ours": ours}
        if options.measure:
            layers = runs[options.measure]() or {}
            status = Path("/proc/self/status").read_text(encoding="ascii")
            print(int(status.split("VmHWM:")[1].split()[0]) / 1e3, sum(x.peaks.nbytes for x in layers.values()) / 1e6)
            return
        bare(model, nd.Subset.first(data, 64))
        times = [[timeit(run, number=1) for run in runs.values()] for _ in range(options.repeats)]
        floor, whole = map(Timing, zip(*times, strict=True))
        same = ["--cases", case, "--dtypes", dtype, "--data", str(options.data), "--images", str(len(data))]
        (low, _), (peak, store) = fresh(same, "bare"), fresh(same, "ours")
        print(f"{case:<17}{dtype:<9}{1e3 * floor.best / len(data):9.1f}{whole.best / floor.best:9.3f}", end="")
        print(f"{whole.median / floor.median:9.3f}{low:9.0f}{peak:9.0f}{store:9.0f}{peak - low - store:9.0f}")


if __name__ == "__main__":
    main()
