"""Draws the pictures of the synthetic data set, every pixel labelled. Lengths are in picture widths."""

from __future__ import annotations

from .canvas import Canvas
from .colours import name_colours
from .drawn_concepts import CATEGORIES, CONCEPTS, NUMBER
from .scenes import SCENES, draw_scene
from .textures import TEXTURES, draw_texture

__all__ = [
    "CATEGORIES",
    "CONCEPTS",
    "NUMBER",
    "SCENES",
    "TEXTURES",
    "Canvas",
    "draw_scene",
    "draw_texture",
    "name_colours",
]
