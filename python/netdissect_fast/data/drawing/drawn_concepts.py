"""The concepts that are drawn. Their order fixes their numbers: append, never insert."""

from __future__ import annotations

CATEGORIES = ("color", "object", "part", "material", "scene", "texture")

CONCEPTS: tuple[tuple[str, str], ...] = tuple(  # (category, name); number = position + 1
    (category, name)
    for category, names in (
        ("color", "black-c blue-c brown-c grey-c green-c orange-c pink-c purple-c red-c white-c yellow-c"),
        ("object", "sky cloud sun road sidewalk grass sand sea mountain wall floor"),
        ("object", "house building car bus tree pine palm boat umbrella person sheep fence lighthouse"),
        ("object", "table chair lamp bed cupboard"),
        (
            "part",
            "roof window door wheel headlight trunk crown frond hull sail mast canopy pole head torso leg",
        ),
        ("part", "rail snowcap tabletop seat backrest shade pillow blanket handle"),
        ("material", "brick wood metal fabric glass foliage stone tile"),
        ("scene", "street-s beach-s forest-s farm-s harbor-s mountain-s kitchen-s bedroom-s"),
        ("texture", "dotted striped checkered zigzagged grid honeycombed marbled spiralled"),
    )
    for name in names.split()
)

NUMBER = {name: number for number, (_, name) in enumerate(CONCEPTS, start=1)}
