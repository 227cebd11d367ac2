"""``netdissect-fast data build``: Broden from its sources, or any labelled images in its format."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..options import new_command, size_of

if TYPE_CHECKING:
    from ...data.builder.annotation import Source


def add(commands: Any) -> None:
    """Add the command and its options."""
    what = "build a data set in Broden's format from its sources; goes on where it was broken off"
    build = new_command(commands, "build", what, _build)
    of = build.add_argument_group("sources, at least one").add_argument
    of("--ade20k", type=Path, metavar="DIR", help="ADE20K_2016_07_26 or ADE20K_2021_17_01")
    of("--dtd", type=Path, metavar="DIR", help="dtd-r1.0.1")
    of("--opensurfaces", type=Path, metavar="DIR", help="folder with photos.csv")
    of("--pascal", type=Path, metavar="DIR", help="folder with VOC2010, context and part")
    of("--data", action="append", default=[], metavar="NAME=DATA",
       help="any other, such as a folder of images and masks, and a name for its images' folder")  # fmt: skip
    option = build.add_argument
    option("--out", type=Path, required=True, help="new folder")
    option("--size", type=size_of, default=224, help="of the images: 224, or HEIGHTxWIDTH")
    option("--label-size", type=size_of, help="of the label maps; default: half of --size")
    option("--min-frequency", type=int, default=10, metavar="N", help="images that a concept needs")
    option("--min-coverage", type=float, default=0.5, metavar="AREA", help="whole images that it covers, summed")
    option("--color-names", type=Path, metavar="FILE.npy", help="table of colour names (w2color.npy); default: ours")
    option("--train", type=float, default=0.7, metavar="PART", help="of the images that are of the split train")
    option("--salt", default="", help="text that gives another order and split")
    option("--limit", type=int, metavar="N", help="only the first N images of each source")
    option("--skip-broken", action="store_true", help="leave out images whose files are missing or broken")
    option("--workers", type=int, metavar="N", help="processes; default: one a core; 0: this one")
    option("--restart", action="store_true", help="start over where an interrupted build had other sources or settings")
    option("--quiet", action="store_true", help="no progress bars")


def _build(arguments: argparse.Namespace) -> None:
    from ...data.builder.build import build
    from ...data.builder.colour_terms import read_colours

    built = build(
        list(_sources(arguments)),
        arguments.out,
        size=arguments.size,
        label_size=arguments.label_size,
        min_frequency=arguments.min_frequency,
        min_coverage=arguments.min_coverage,
        colours=None if arguments.color_names is None else read_colours(arguments.color_names),
        train=arguments.train,
        salt=arguments.salt,
        limit=arguments.limit,
        strict=not arguments.skip_broken,
        workers=arguments.workers,
        restart=arguments.restart,
        progress=not arguments.quiet,
    )
    print(built)


def _sources(arguments: argparse.Namespace) -> Iterator[Source]:
    from ...data.builder.labelled import Labelled
    from ...data.builder.sources import Dtd, OpenSurfaces, Pascal, open_ade20k
    from ...data.opening import open_data

    readers = {"ade20k": open_ade20k, "dtd": Dtd, "opensurfaces": OpenSurfaces, "pascal": Pascal}
    for name, reader in readers.items():
        if (path := getattr(arguments, name)) is not None:
            yield reader(path)
    for given in arguments.data:
        name, equals, spec = given.partition("=")
        if not equals:
            name, spec = Path(given).resolve().stem, given
        yield Labelled(open_data(spec, label_size=None), name)
