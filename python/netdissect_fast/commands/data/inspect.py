"""``netdissect-fast data check``, ``info``, ``find`` and ``show``: inspecting a data set."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import printable
from ..options import cache_option, exif_option, names_of, new_command, other_options, required_options, size_of

if TYPE_CHECKING:
    from ...data.dataset import ConceptDataset
    from ...data.inspection.overview import CategoryCounts, Overview

_SIZES = 5  # most that are shown
_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def add(commands: Any) -> None:
    """Add the commands and their options."""
    check = new_command(
        commands,
        "check",
        "read all of a data set and list every fault",
        _check,
        usage="DATA [options]",
        example="data check my_images",
    )
    _add_data(required_options(check))
    _add_selection(check)
    other_options(check, json="print JSON instead of text")

    info = new_command(
        commands,
        "info",
        "count a data set's images by category and concept",
        _info,
        usage="DATA [--top N] [options]",
        example="data info broden1_224 --top 5",
    )
    _add_data(required_options(info))
    shown = info.add_argument_group("output").add_argument
    shown("--top", type=int, default=20, metavar="N", help="concepts to show per category")
    _add_labels(_add_selection(info))
    other_options(info, json="print JSON instead of text, with all concepts")

    find = new_command(
        commands,
        "find",
        "list the images that have a concept, largest share first",
        _find,
        usage="DATA CONCEPT [--limit N] [options]",
        example="data find broden1_224 lamp --limit 10",
    )
    _add_data(required := required_options(find))
    _add_concept(required)
    shown = find.add_argument_group("output").add_argument
    shown("--limit", type=int, metavar="N", help="list only the first N images (default: all)")
    _add_labels(_add_selection(find))
    other_options(find, json="print JSON instead of text")

    show = new_command(
        commands,
        "show",
        "draw the images that have a concept on one sheet",
        _show,
        usage="DATA CONCEPT --out FILE [options]",
        example="data show broden1_224 lamp --out lamps.jpg",
    )
    _add_data(required := required_options(show))
    _add_concept(required)
    required("--out", type=_picture, required=True, metavar="FILE", help="picture to write: .jpg or .png")
    option = show.add_argument_group("sheet").add_argument
    option("--images", type=int, default=20, metavar="N", help="number of images, largest share first")
    option("--columns", type=int, default=5, metavar="N", help="pictures side by side")
    option("--size", type=int, default=224, metavar="PIXELS", help="length of a picture's longer side")
    option(
        "--dim",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="darken everything but the concept (default: --dim)",
    )
    option("--outline", action="store_true", help="outline the concept")
    _add_labels(_add_selection(show))
    other_options(show)


def _picture(text: str) -> Path:
    if Path(text).suffix.lower() not in _FORMATS:
        raise argparse.ArgumentTypeError(f"must end in {', '.join(_FORMATS)}, got {text!r}")
    return Path(text)


def _add_data(required: Callable[..., Any]) -> None:
    required(
        "data",
        metavar="DATA",
        help="folder in Broden's format, folder of images and masks, COCO .json, or FILE.py:FUNCTION",
    )


def _add_concept(required: Callable[..., Any]) -> None:
    required("concept", metavar="CONCEPT", help="concept: NAME, CATEGORY:NAME, or number")


def _add_selection(command: argparse.ArgumentParser) -> Callable[..., Any]:
    """Add the options of reading a data set; return the ``add_argument`` of their group."""
    option = command.add_argument_group("data").add_argument
    option("--split", metavar="NAME", help="only images of this split: train or val (Broden's format; default: all)")
    option(
        "--categories",
        type=names_of,
        metavar="NAMES",
        help="only concepts of these categories, separated by commas (Broden's format; default: all)",
    )
    option(
        "--label-size",
        type=size_of,
        metavar="PIXELS",
        help="size to which masks are resampled, or HEIGHTxWIDTH (default: 112; not for Broden's format)",
    )
    exif_option(option)
    option("--threads", type=int, metavar="N", help="threads that read files (default: one per core, at most 8)")
    return option


def _add_labels(option: Callable[..., Any]) -> None:
    """Add the options of reading labels."""
    cache_option(option)
    option("--skip-broken", action="store_true", help="skip images whose files are broken")


def _opened(arguments: argparse.Namespace) -> ConceptDataset:
    from ...data.opening import open_data

    return open_data(arguments.data, **_opening(arguments), strict=not arguments.skip_broken)


def _opening(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(arguments, name) for name in ("split", "categories", "label_size", "exif")}
    return {name: value for name, value in given.items() if value is not None}


def _reading(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"cache": arguments.cache, "threads": arguments.threads, "progress": True}


def _check(arguments: argparse.Namespace) -> None:
    from ...data.inspection.check import check
    from ...errors import DataError

    checked = check(arguments.data, **_opening(arguments), threads=arguments.threads, progress=True)
    print(json.dumps(checked.to_json(), indent=2) if arguments.json else checked)
    if checked.faults:
        raise DataError(arguments.data, f"is not sound: {checked.summary}")


def _info(arguments: argparse.Namespace) -> None:
    from ...data.inspection.overview import overview

    found = overview(_opened(arguments), **_reading(arguments))
    print(json.dumps(found.to_json(), indent=2) if arguments.json else _overview_text(found, max(0, arguments.top)))


def _overview_text(found: Overview, top: int) -> str:
    from ...experiments.rows import rows_text

    splits = ", ".join(f"{count:,} {split or 'without a split'}" for split, count in found.splits.items())
    sampled = f", of {found.sampled} that were opened" if found.sampled else ""
    lines = [
        printable(found.data),
        f"images       {found.images:,}" + (f": {splits}" if splits else ""),
        f"image sizes  {_sizes_text(found.image_sizes)}{sampled}",
        f"label grids  {_sizes_text(found.label_sizes)}",
        "",
    ]
    table = [
        {
            "category": category.name or "(none)",
            "concepts": len(category.concepts),
            "images": category.images,
            "labelled by": _kinds(category),
        }
        for category in found.categories
    ]
    lines.append(rows_text(table))
    for category in found.categories:
        lines += ["", printable(category.name) or "(no category)", *_concepts_text(category, top)]
    return "\n".join(lines)


def _sizes_text(sizes: Mapping[tuple[int, int], int]) -> str:
    if len(sizes) == 1:
        return "{} × {}".format(*next(iter(sizes)))
    shown = [f"{height} × {width} ({count:,})" for (height, width), count in list(sizes.items())[:_SIZES]]
    return ", ".join(shown) + (f" and {len(sizes) - _SIZES:,} more" if len(sizes) > _SIZES else "")


def _kinds(category: CategoryCounts) -> str:
    kinds = {"pixels": category.pixel_labels, "whole images": category.whole_labels}
    return " and ".join(kind for kind, labels in kinds.items() if labels) or "nothing"


def _concepts_text(category: CategoryCounts, top: int) -> list[str]:
    from ...experiments.rows import rows_text

    rows = [
        {
            "number": concept.number,
            "concept": concept.name,
            "images": concept.images,
            "% of these": 100 * concept.share_of_them,
            "% of all": 100 * concept.share,
        }
        for concept in category.concepts[:top]
    ]
    more = len(category.concepts) - len(rows)
    lines = rows_text(rows).split("\n") if rows else []
    return [f"  {line}" for line in lines] + ([f"  and {more:,} more: --top, or --json"] if more else [])


def _find(arguments: argparse.Namespace) -> None:
    from ...data.inspection.find import find
    from ...errors import ArgumentError
    from ...experiments.rows import rows_text

    if arguments.limit is not None and arguments.limit < 1:
        raise ArgumentError(f"--limit must be at least 1 image, got {arguments.limit}")
    found = find(_opened(arguments), arguments.concept, **_reading(arguments))
    shown = found[: arguments.limit]
    if arguments.json:
        print(json.dumps([image._asdict() for image in shown], indent=2))
        return
    if shown:
        print(rows_text([{"image": f.name, "pixels": f.pixels, "%": 100 * f.share} for f in shown]))
    some = f", of which these are the first {len(shown):,}" if len(shown) < len(found) else ""
    print(f"{len(found):,} image{'s'[: len(found) != 1]} with {printable(arguments.concept)}{some}")


def _show(arguments: argparse.Namespace) -> None:
    from ...pages.contact_sheets import contact_sheet
    from ...storage import atomic_file

    options = {name: getattr(arguments, name) for name in ("images", "columns", "size", "dim", "outline")}
    sheet = contact_sheet(_opened(arguments), arguments.concept, **options, **_reading(arguments))
    with atomic_file(arguments.out) as file:
        sheet.save(file, _FORMATS[arguments.out.suffix.lower()], quality=90)
    print(f"written to {arguments.out}")
