"""Images a second of two ranks against one, each with one thread: ``python -m benchmarks.ranks``.

Runs in turns, each by torchrun and the command line; the clock runs from the first batch to the end of counting, as the
run's own timings.json says, so that starting Python is left out. Labels are packed beforehand. Needs two idle cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import netdissect_fast as nd
from netdissect_fast.data.formats.synthetic import write_synthetic
from netdissect_fast.data.label_cache import packed_labels

from .timing import Timing, header

NETWORKS = Path(__file__).with_name("networks.py")


def run(ranks: int, folder: Path, options: argparse.Namespace) -> float:
    """Seconds of one run."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command += ["-m", "netdissect_fast", "dissect", "--model", f"{NETWORKS}:{options.network}"]
    command += ["--layers", options.layers, "--data", str(options.data), "--limit", str(options.images)]
    command += ["--threads", "1", "--quiet", "--cache", str(folder / "cache"), "--out", str(folder / f"of{ranks}")]
    subprocess.run(command, check=True, capture_output=True)
    seconds = json.loads((folder / f"of{ranks}" / "timings.json").read_text())
    return float(sum(seconds[name] for name in ("forward", "labels", "count")))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks", description=__doc__)
    parser.add_argument("--network", default="squeezenet", help="of benchmarks/networks.py")
    parser.add_argument("--layers", default="features.12")
    parser.add_argument("--data", type=Path, help="folder in Broden's format (default: drawn scenes)")
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{header()}\n{options.network}, {options.layers}, {options.images} images\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.data is None:
            options.data = folder / "scenes"
            write_synthetic(options.data, options.images, size=224)
        packed_labels(nd.Subset.first(nd.Broden(options.data), options.images), folder / "cache")
        times = [[run(ranks, folder, options) for ranks in (1, 2)] for _ in range(options.repeats)]
        same = all(
            (folder / "of1" / file).read_bytes() == (folder / "of2" / file).read_bytes()
            for file in (path.relative_to(folder / "of1") for path in (folder / "of1").rglob("*.safetensors"))
        )
    one, two = map(Timing, zip(*times, strict=True))
    for ranks, timing in ((1, one), (2, two)):
        best, median = (options.images / seconds for seconds in (timing.best, timing.median))
        print(f"{ranks} rank{'s' * (ranks > 1)}: {best:.1f} images/s (median {median:.1f})")
    print(f"ratio {one.best / two.best:.2f} (median {one.median / two.median:.2f}); ", end="")
    print("the same bytes" if same else "DIFFERENT RESULTS")
    sys.exit(not same)


if __name__ == "__main__":
    main()
