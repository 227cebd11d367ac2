"""Prepares the names that sources give a concept for merging: plain ones first, misleading ones omitted."""

from __future__ import annotations

from collections.abc import Sequence

_SIDED = ("arm", "ear", "eye", "foot", "hand", "leg", "shoulder")

# What to call a concept that has the first name: the plainer word, and the one that other sources use.
PLAINER = {
    "aeroplane": "airplane",
    "arcade machines": "arcade machine",
    "diningtable": "dining table",
    "minibike": "motorbike",
    "person head": "head",
    "pottedplant": "potted plant",
    "railroad train": "train",
    "route": "road",
    "television receiver": "television",
    "windowpane": "window",
    **{f"{side} {part}": part for side in ("left", "right") for part in _SIDED},
}

# For a concept with the first name: its names that mean something else in another source, or something much wider.
ELSEWHERE = {
    "alarm clock": ("alarm",),
    "andiron": ("dog",),
    "bicycle": ("wheel", "cycle"),
    "blade": ("vane",),
    "blanket": ("cover",),
    "blind": ("screen",),
    "buffet": ("counter",),
    "bus": ("coach",),
    "candle": ("taper",),
    "car": ("machine",),
    "carapace": ("shell", "shield"),
    "cellular telephone": ("cell",),
    "chest of drawers": ("chest",),
    "control panel": ("board", "panel"),
    "curtain": ("mantle", "pall"),
    "fabric": ("material",),
    "fireplug": ("plug",),
    "flowerpot": ("pot",),
    "hat": ("lid",),
    "head": ("caput",),
    "kettle": ("boiler",),
    "newspaper": ("paper",),
    "orifice": ("opening",),
    "patty": ("cake",),
    "playing field": ("field",),
    "poster": ("bill", "card", "notice"),
    "radio receiver": ("tuner", "wireless"),
    "rocking chair": ("rocker",),
    "screen door": ("screen",),
    "shell": ("case", "casing"),
    "steering wheel": ("wheel",),
    "toilet": ("can", "pot", "stool", "throne"),
    "wardrobe": ("press",),
    "water faucet": ("hydrant",),
}


def plain_names(names: Sequence[str]) -> list[str]:
    """Return the lower-case names in an order suitable for claiming: plainer ones first, misleading ones omitted.

    >>> plain_names(["aeroplane", "plane"])
    ['airplane', 'aeroplane', 'plane']
    """
    misleading = {wide for name in names for wide in ELSEWHERE.get(name, ())}
    plainer = [PLAINER[name] for name in names if name in PLAINER]
    return [name for name in dict.fromkeys([*plainer, *names]) if name not in misleading]
