"""Building Broden from trees in its sources' layouts: images a second on one core, and memory with more images.

python -m benchmarks.building [--images 60] [--repeats 3]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.data.builder import source_trees as trees

from netdissect_fast.data.builder.annotation import Source
from netdissect_fast.data.builder.build import build
from netdissect_fast.data.builder.sources import Ade20k2016, Ade20k2021, Dtd, OpenSurfaces, Pascal

from .timing import Timing, header

SOURCES: dict[str, tuple[Callable[..., Path], Callable[[Path], Source], tuple[int, int]]] = {
    "ADE20K 2016": (trees.write_ade20k_2016, Ade20k2016, (512, 683)),
    "ADE20K 2021": (trees.write_ade20k_2021, Ade20k2021, (512, 683)),
    "DTD": (trees.write_dtd, Dtd, (480, 500)),
    "OpenSurfaces": (trees.write_opensurfaces, OpenSurfaces, (683, 1024)),
    "Pascal": (trees.write_pascal, Pascal, (375, 500)),
}


def speed(name: str, images: int, repeats: int, folder: Path) -> None:
    """Print images a second of CPU time, of one process, whole builds."""
    write, reader, size = SOURCES[name]
    source = reader(write(folder / name, images, size))
    photo = folder / "photo.jpg"
    source.image(0).save(photo, quality=90)
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        built = build([source], folder / "built", min_frequency=1, min_coverage=0, workers=0, progress=False)
        seconds.append(time.process_time() - begin)
        assert built.images == images
        shutil.rmtree(folder / "built")
    each = Timing(tuple(seconds)).per(images)
    print(f"{name:<13} {size[1]}x{size[0]}, {photo.stat().st_size / 1e3:.0f} kB a photograph: "
          f"{1 / each.best:.0f} images/s (median {1 / each.median:.0f})")  # fmt: skip


def memory(images: int, folder: Path) -> float:
    """MB that a process has grown by at its largest, while it builds from this many textures of 480x500 pixels."""
    tree = trees.write_dtd(folder / f"dtd{images}", images, (480, 500))
    script = (
        "import resource, sys\n"
        "from netdissect_fast.data.builder.build import build\n"
        "from netdissect_fast.data.builder.sources import Dtd\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "build([Dtd(sys.argv[1])], sys.argv[2] + '/first', min_frequency=1, min_coverage=0, limit=64, workers=0)\n"
        "before = peak()\n"
        "build([Dtd(sys.argv[1])], sys.argv[2] + '/all', min_frequency=1, min_coverage=0, workers=0)\n"
        "print((peak() - before) / 1e3)\n"
    )
    command = [sys.executable, "-c", script, str(tree), str(folder / f"built{images}")]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(header())
    with tempfile.TemporaryDirectory() as folder:
        for name in SOURCES:
            speed(name, arguments.images, arguments.repeats, Path(folder))
        for images in (256, 1024, 4096):
            print(f"{images} images: {memory(images, Path(folder)):.1f} MB more than at the end of a build of 64")


if __name__ == "__main__":
    main()
