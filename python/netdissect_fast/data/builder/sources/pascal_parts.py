"""Reads part2ind.m of Pascal-Part, the MATLAB function that lists the parts of 20 classes; it is not run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeAlias

from ....errors import DataError
from .photographs import read_lines

PartNames: TypeAlias = dict[tuple[int, str], str]  # class, a part's code → its name; "": nothing in particular

MAX_REPEATS = 1000  # engine_1, engine_2 and so on; usually 10
SIDES = frozenset(("left", "right", "front", "back", "upper", "lower", "side"))  # omitted from names
_LONG = {  # codes that the file does not explain, or names differently elsewhere
    "backside": "back side",
    "bwheel": "back wheel",
    "frontside": "front side",
    "fwheel": "front wheel",
    "handlebar": "handle bar",
    "lbho": "left back hoof",
    "leftmirror": "left mirror",
    "leftside": "left side",
    "lfho": "left front hoof",
    "rbho": "right back hoof",
    "rfho": "right front hoof",
    "rightmirror": "right mirror",
    "rightside": "right side",
    "roofside": "roof side",
}
_CLASS = r"pimap\{(?P<class>\d{1,5})\}"
_MEANING = r"\s*\d{1,5}(?:\s*\+\s*ii)?\s*;\s*(?:%\s*(?P<meaning>.*))?"
_PART = re.compile(rf"{_CLASS}\('(?P<code>\w+)'\)\s*={_MEANING}")
_REPEATED = re.compile(rf"{_CLASS}\(sprintf\('(?P<code>\w+)_%d',\s*ii\)\)\s*={_MEANING}")
_LOOP = re.compile(r"for\s+ii\s*=\s*1:(\d{1,5})")
_KEYS = re.compile(r"keySet\s*=\s*keys\(pimap\{(\d{1,5})\}\);")
_COPY = re.compile(rf"{_CLASS}\s*=\s*containers\.Map\(keySet,\s*valueSet\);.*")
_REMOVE = re.compile(rf"remove\({_CLASS},\s*\{{(?P<codes>[^}}]*)\}}\);.*")
_OTHER = re.compile(r"%.*|function\b.*|end|pimap\s*=.*|pimap\{ii\}\s*=.*|valueSet\s*=.*")


def read_part_names(path: Path) -> PartNames:
    """Read the name of every part, without left, right and so on. DataError, with the line, for what is unreadable."""
    names: PartNames = {}
    repeats = keys = 0
    for line, text in read_lines(path):
        if match := _PART.fullmatch(text):
            names[int(match["class"]), match["code"]] = _readable(match["code"], match["meaning"])
        elif match := _REPEATED.fullmatch(text):
            name = _readable(match["code"], match["meaning"])
            names |= {(int(match["class"]), f"{match['code']}_{i}"): name for i in range(1, repeats + 1)}
        elif match := _LOOP.fullmatch(text):
            repeats = int(match[1])
            if repeats > MAX_REPEATS:
                raise DataError(path, f"expected at most {MAX_REPEATS} parts with one name", line)
        elif match := _KEYS.fullmatch(text):
            keys = int(match[1])
        elif match := _COPY.fullmatch(text):
            names |= {(int(match["class"]), code): name for (of, code), name in names.items() if of == keys}
        elif match := _REMOVE.fullmatch(text):
            for code in re.findall(r"'(\w+)'", match["codes"]):
                names.pop((int(match["class"]), code), None)
        elif not _OTHER.fullmatch(text):
            raise DataError(path, f"expected lines as in Pascal-Part's part2ind.m, got {text[:80]!r}", line)
    if not names:
        raise DataError(path, "lists no parts")
    return names


def _readable(code: str, meaning: str | None) -> str:
    meaning = (meaning or "").strip()
    if not re.fullmatch(r"\w[\w ]*", meaning) or "multiple" in meaning:
        meaning = _LONG.get(code, code)
    return " ".join(word for word in meaning.split() if word not in SIDES)
