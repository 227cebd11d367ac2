"""Figures for papers: each function draws into ``ax``, a matplotlib Axes (None: a new figure), and returns it.

Layers are LayerResults, or UnitTables such as ``nd.compare_csv`` returns. Needs matplotlib: the extra ``report``.

>>> maps = np.array([[[[4, 0], [0, 0]]], [[[0, 0], [0, 3]]]], np.float32)
>>> words = nd.Vocabulary([7, 9], ("car", "street"), [0, 1], ("object", "scene"))
>>> layer = nd.score(maps, np.array([[[7, 0], [0, 0]], [[0, 0], [9, 7]]]), words, quantile="1/4", name="conv1")
>>> with nd.plot.detached():  # without pyplot; plt.subplots() makes an ``ax`` too
...     ax = nd.plot.concepts(layer)
>>> ax.get_title()
'conv1: 1 of 1 units detect 1 concepts (IoU > 0.04)'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .errors import ArgumentError, printable, require
from .results.tables import UnitTable
from .scoring.detectors import CountRule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .results.layer_result import LayerResult

    Layer: TypeAlias = LayerResult | UnitTable

_COLOURS = {  # of Broden's categories; distinct for any colour vision, readable on white and on black
    "object": "#3f7fd0",
    "part": "#1f9a8a",
    "scene": "#9467c9",
    "material": "#b8722c",
    "texture": "#d1526a",
    "color": "#a3890f",
}
_OTHERS = ("#5b8c3e", "#7a7f87", "#c2559d", "#4a9fb5")
_LABEL_INCHES = 0.16  # per concept: its bar and name
_MOST_INCHES = 300.0  # of a figure: 60,000 pixels at 200 per inch, close to matplotlib's limit

_detached = ContextVar("detached", default=False)


def category_colours(categories: Sequence[str]) -> dict[str, str]:
    """Return a colour for each category, as #rrggbb.

    >>> nd.plot.category_colours(["object", "colour of hair"])
    {'object': '#3f7fd0', 'colour of hair': '#5b8c3e'}
    """
    others = [name for name in categories if name not in _COLOURS]
    return {name: _COLOURS.get(name) or _OTHERS[others.index(name) % len(_OTHERS)] for name in categories}


def concepts(layer: Layer, *, iou_threshold: float = 0.04, ax: Axes | None = None) -> Axes:
    """Draw the paper's bar chart: how many units detect each detected concept, coloured by category."""
    table = _table(layer)
    found = table.detected(iou_threshold)
    longest = max((len(name) for _, name in found), default=0)
    ax = ax or _axes(max(5.0, 1 + _LABEL_INCHES * len(found)), 2.4 + 0.06 * longest)
    colours, unique = category_colours(table.vocabulary.categories), table.unique_detectors(iou_threshold)
    place, legend = 0, {}
    for category, group in groupby(found.items(), key=lambda item: item[0][0]):
        units = [count for _, count in group]
        label = f"{category} ({unique[category]})"
        bars = range(place, place + len(units))
        legend[label] = ax.bar(bars, units, width=0.8, color=colours[category], label=label)
        place += len(units)
    ax.set_xticks(range(len(found)), [_text(name) for _, name in found], rotation=90, fontsize=7)
    ax.set_xlim(-0.7, max(len(found), 1) - 0.3)
    ax.set_ylabel("units")
    total = sum(table.detectors(iou_threshold).values())
    ax.set_title(
        f"{_text(table.name)}: {total} of {len(table)} units detect {len(found)} concepts (IoU > {iou_threshold:g})"
    )
    return _plain(ax, legend, ncols=max(1, min(6, len(legend))))


def categories(
    layers: Mapping[str, Layer] | Sequence[Layer],
    *,
    iou_threshold: float = 0.04,
    count: CountRule = "top_label",
    ax: Axes | None = None,
) -> Axes:
    """Draw the paper's comparison of layers or networks: unique detectors of each, stacked by category."""
    tables = _tables(layers)
    names = _categories(tables.values())
    unique = {name: table.unique_detectors(iou_threshold, count) for name, table in tables.items()}
    ax = ax or _axes(max(4.0, 1.2 + 0.5 * len(tables)), 3.2)
    bottom, legend = np.zeros(len(tables)), {}
    for category, colour in category_colours(names).items():
        height = np.array([found.get(category, 0) for found in unique.values()], float)
        legend[category] = ax.bar(range(len(tables)), height, bottom=bottom, width=0.7, color=colour, label=category)
        bottom += height
    long = any(len(name) > 10 for name in tables)
    ax.set_xticks(
        range(len(tables)), list(map(_text, tables)), rotation=30 if long else 0, ha="right" if long else "center"
    )
    ax.set_ylabel("unique detectors")
    return _plain(ax, legend, loc="upper left", bbox_to_anchor=(1, 1), reverse=True)


def iou_distribution(
    layers: Layer | Mapping[str, Layer] | Sequence[Layer], *, iou_threshold: float = 0.04, ax: Axes | None = None
) -> Axes:
    """Draw the IoU of the units' labels, best unit first, one line per layer; the IoU threshold is dashed."""
    if isinstance(layers, UnitTable) or hasattr(layers, "table"):
        layers = [layers]  # type: ignore[list-item]
    tables = _tables(layers)
    ax = ax or _axes(4.5, 2.8)
    legend = {}
    for name, table in tables.items():
        (legend[name],) = ax.plot(range(1, len(table) + 1), np.sort(table.top[2])[::-1], label=name, linewidth=1.5)
    ax.axhline(iou_threshold, color="0.5", linestyle="--", linewidth=1)
    ax.set_xlabel("units, best first")
    ax.set_ylabel("IoU of the label")
    ax.set_ylim(bottom=0)
    return _plain(ax, legend, integers=False)


def unique_detectors(
    x: Sequence[Any],
    layers: Sequence[Layer],
    *,
    iou_threshold: float = 0.04,
    count: CountRule = "top_label",
    xlabel: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw unique detectors against anything that varies, one layer per ``x``; in total and by category."""
    tables = [_table(layer) for layer in layers]
    if len(x) != len(tables) or not tables:
        raise ArgumentError(f"expected one layer for each x, at least one; got {len(x)} x and {len(tables)} layers")
    found = [table.unique_detectors(iou_threshold, count) for table in tables]
    by_category = {name: [one.get(name, 0) for one in found] for name in _categories(tables)}
    total = {"total": [sum(unique.values()) for unique in found]}
    return lines(x, total | by_category, xlabel=xlabel, ylabel="unique detectors", ax=ax)


def lines(
    x: Sequence[Any],
    series: Mapping[str, Sequence[float]],
    *,
    xlabel: str = "",
    ylabel: str = "",
    integers: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw a line for each of ``series``, numbers by name: "total" in grey, categories in their colours."""
    ax, legend = ax or _axes(4.5, 3.2), {}
    colours = {"total": "0.35", **category_colours([name for name in series if name != "total"])}
    for name, heights in series.items():
        marker = "o" if name == "total" else "."
        (legend[name],) = ax.plot(x, heights, color=colours[name], marker=marker, label=name)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.set_ylim(bottom=0)
    return _plain(ax, legend, integers, loc="upper left", bbox_to_anchor=(1, 1))


def _table(layer: Layer) -> UnitTable:
    return layer if isinstance(layer, UnitTable) else layer.table


def _tables(layers: Mapping[str, Layer] | Sequence[Layer]) -> dict[str, UnitTable]:
    if isinstance(layers, Mapping):
        return {name: _table(layer) for name, layer in layers.items()}
    tables = [_table(layer) for layer in layers]
    if len({table.name for table in tables}) < len(tables):
        raise ArgumentError("two layers have the same name: pass a dict from names to layers")
    return {table.name: table for table in tables}


def _categories(tables: Any) -> list[str]:
    """Return the categories of all tables, in order of first appearance."""
    return list(dict.fromkeys(name for table in tables for name in table.vocabulary.categories))


@contextmanager
def detached() -> Iterator[None]:
    """Create figures without pyplot within the context: they need no window, and go when nothing refers to them."""
    token = _detached.set(True)
    try:
        yield
    finally:
        _detached.reset(token)


def _axes(width: float, height: float) -> Axes:
    options: dict[str, Any] = {"figsize": (min(width, _MOST_INCHES), height), "layout": "constrained"}
    if _detached.get():
        axes: Axes = require("matplotlib.figure", "report").Figure(**options).subplots()
    else:
        axes = require("matplotlib.pyplot", "report").subplots(**options)[1]
    return axes


def _text(name: str) -> str:
    """Return a printable name with dollars escaped, so that none begins a formula."""
    return printable(name).replace("$", r"\$")


def _plain(ax: Axes, legend: Mapping[str, Any], integers: bool = True, **where: Any) -> Axes:
    if legend:  # given explicitly: matplotlib omits labels that begin with an underscore
        ax.legend(list(legend.values()), list(map(_text, legend)), fontsize=7, frameon=False, **where)
    ax.spines[["top", "right"]].set_visible(False)
    if integers:
        ax.yaxis.set_major_locator(require("matplotlib.ticker", "report").MaxNLocator(integer=True))
    return ax
