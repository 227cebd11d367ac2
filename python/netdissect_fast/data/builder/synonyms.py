"""Names that sources give a concept, made fit for merging: plain ones first, misleading ones left out."""

from __future__ import annotations

from collections.abc import Sequence

_SIDED = ("arm", "ear", "eye", "foot", "hand", "leg", "shoulder")

# What a concept is to be called where it goes by the first name: the plainer word, and the one that other sources use.
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

# Where a concept goes by the first name, its names that are something else in another source, or much wider.
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
    """The same names, lower case, in an order fit for claiming: plainer ones put first, misleading ones left out."""
    misleading = {wide for name in names for wide in ELSEWHERE.get(name, ())}
    plainer = [PLAINER[name] for name in names if name in PLAINER]
    return [name for name in dict.fromkeys([*plainer, *names]) if name not in misleading]
