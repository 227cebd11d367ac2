"""``netdissect-fast data build``: Broden from its sources, or any labelled images in its format."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..options import exif_option, new_command, other_options, required_options, size_of

if TYPE_CHECKING:
    from ...data.builder.annotation import Source


def add(commands: Any) -> None:
    """Add the command and its options."""
    build = new_command(
        commands,
        "build",
        "build a data set in Broden's format from its sources, or resume its build",
        _build,
        usage="--out DIR SOURCE [SOURCE ...] [options]",
        example="data build --ade20k sources/ade --dtd sources/dtd\n--out my_broden",
    )
    required_options(build)("--out", type=Path, required=True, metavar="DIR", help="new folder")
    of = build.add_argument_group("SOURCE, at least one is required").add_argument
    of("--ade20k", type=Path, metavar="DIR", help="ADE20K_2016_07_26 or ADE20K_2021_17_01")
    of("--dtd", type=Path, metavar="DIR", help="dtd-r1.0.1")
    of("--opensurfaces", type=Path, metavar="DIR", help="folder with photos.csv")
    of("--pascal", type=Path, metavar="DIR", help="folder with VOC2010, context and part")
    of("--data", action="append", default=[], metavar="NAME=DATA",
       help="any other, such as a folder of images and masks; NAME: folder for its images (repeatable)")  # fmt: skip
    images = build.add_argument_group("images").add_argument
    images("--size", type=size_of, default=224, metavar="PIXELS", help="size of the images: 224, or HEIGHTxWIDTH")
    images("--label-size", type=size_of, metavar="PIXELS", help="size of the label maps (default: half of --size)")
    images("--train", type=float, default=0.7, metavar="FRACTION", help="fraction of images in the train split")
    images("--salt", default="", metavar="TEXT", help="string that reseeds order and split")
    images("--limit", type=int, metavar="N", help="only the first N images of each source")
    exif_option(images)
    images("--skip-broken", action="store_true", help="skip images whose files are missing or broken")
    concepts = build.add_argument_group("concepts").add_argument
    concepts("--min-frequency", type=int, default=10, metavar="N", help="drop concepts that fewer images have")
    concepts("--min-coverage", type=float, default=0.5, metavar="AREA",
             help="drop concepts that cover less, summed over images, each of area 1")  # fmt: skip
    concepts("--color-names", type=Path, metavar="FILE", help="table of colour names, w2color.npy (default: built in)")
    how = build.add_argument_group("execution").add_argument
    how("--workers", type=int, metavar="N", help="processes; 0: only the main one (default: one per core)")
    how("--restart", action="store_true",
        help="start over if an interrupted build had different sources or settings")  # fmt: skip
    other_options(build, quiet=True)


def _build(arguments: argparse.Namespace) -> None:
    from ...data.builder.build import build
    from ...data.builder.colour_terms import read_colours

    sources = list(_sources(arguments))
    if not sources:
        arguments.usage_error("no source is given: add --ade20k, --dtd, --opensurfaces, --pascal or --data")
    built = build(
        sources,
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
            yield reader(path, exif=arguments.exif)
    for given in arguments.data:
        name, equals, spec = given.partition("=")
        if not equals:
            name, spec = Path(given).resolve().stem, given
        yield Labelled(open_data(spec, label_size=None, exif=arguments.exif), name)
