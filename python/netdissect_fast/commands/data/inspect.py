"""``netdissect-fast data check``, ``info``, ``find`` and ``show``: looking at a data set."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..options import names_of, new_command, size_of

if TYPE_CHECKING:
    from ...data.dataset import ConceptDataset
    from ...data.inspection.overview import CategoryCounts, Overview

_SIZES = 5  # shown
_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def add(commands: Any) -> None:
    """Add the commands and their options."""
    check = new_command(commands, "check", "read all of a data set and list every fault", _check)
    _add_data(check)
    check.add_argument("--json", action="store_true", help="print JSON")

    info = new_command(commands, "info", "count a data set's images by category and concept", _info)
    _add_data(info)
    _add_labels(info)
    info.add_argument("--top", type=int, default=20, metavar="N", help="concepts shown of each category")
    info.add_argument("--json", action="store_true", help="print JSON, with all concepts")

    find = new_command(commands, "find", "list the images that have a concept, largest share first", _find)
    _add_data(find)
    _add_concept(find)
    _add_labels(find)
    find.add_argument("--limit", type=int, metavar="N", help="list only the first N; default: all")
    find.add_argument("--json", action="store_true", help="print JSON")

    show = new_command(commands, "show", "draw the images that have a concept on one sheet", _show)
    _add_data(show)
    _add_concept(show)
    _add_labels(show)
    option = show.add_argument
    option("--out", type=Path, required=True, metavar="FILE", help="picture to write, .jpg or .png")
    option("--images", type=int, default=20, metavar="N", help="how many, largest share first")
    option("--columns", type=int, default=5, metavar="N", help="pictures side by side")
    option("--size", type=int, default=224, help="pixels on the longer side of each")
    option("--dim", action=argparse.BooleanOptionalAction, default=True, help="make all but the concept dark")
    option("--outline", action="store_true", help="draw a line along the concept's edge")


def _add_data(command: argparse.ArgumentParser) -> None:
    option = command.add_argument
    option(
        "data", metavar="DATA", help="folder in Broden's format or of images and masks, COCO .json, or FILE.py:FUNCTION"
    )
    option("--split", help="train or val; default: all")
    option("--categories", type=names_of, metavar="A,B", help="only these categories of concepts; default: all")
    option("--label-size", type=size_of, metavar="N", help="of the labels, where it can be chosen")
    option("--threads", type=int, metavar="N", help="that read files; default: one a processor, at most 8")


def _add_concept(command: argparse.ArgumentParser) -> None:
    command.add_argument("concept", metavar="CONCEPT", help="its name, category:name, or number")


def _add_labels(command: argparse.ArgumentParser) -> None:
    what = "folder for packed labels; default: NETDISSECT_FAST_CACHE or the user's cache"
    command.add_argument("--cache", type=Path, help=what)
    command.add_argument("--skip-broken", action="store_true", help="leave out images whose files are broken")


def _opened(arguments: argparse.Namespace) -> ConceptDataset:
    from ...data.opening import open_data

    return open_data(arguments.data, **_opening(arguments), strict=not arguments.skip_broken)


def _opening(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(arguments, name) for name in ("split", "categories", "label_size")}
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
    from ...data.inspection.check import printable
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
            "category": printable(category.name) or "(none)",
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
    from ...data.inspection.check import printable
    from ...experiments.rows import rows_text

    rows = [
        {
            "number": concept.number,
            "concept": printable(concept.name),
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
    from ...data.inspection.check import printable
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
        print(rows_text([{"image": printable(f.name), "pixels": f.pixels, "%": 100 * f.share} for f in shown]))
    some = f", of which these are the first {len(shown):,}" if len(shown) < len(found) else ""
    print(f"{len(found):,} image{'s'[: len(found) != 1]} with {printable(arguments.concept)}{some}")


def _show(arguments: argparse.Namespace) -> None:
    from ...errors import ArgumentError
    from ...pages.contact_sheets import contact_sheet
    from ...storage import atomic_file

    if arguments.out.suffix.lower() not in _FORMATS:
        raise ArgumentError(f"--out must end in {', '.join(_FORMATS)}, got {arguments.out}")
    options = {name: getattr(arguments, name) for name in ("images", "columns", "size", "dim", "outline")}
    sheet = contact_sheet(_opened(arguments), arguments.concept, **options, **_reading(arguments))
    with atomic_file(arguments.out) as file:
        sheet.save(file, _FORMATS[arguments.out.suffix.lower()], quality=90)
    print(f"written to {arguments.out}")
