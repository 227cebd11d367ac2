"""Figures show the numbers of the tables, on the axes given or on new ones, and are saved without a warning."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

import netdissect_fast as nd
from netdissect_fast.errors import ArgumentError, MissingExtra
from netdissect_fast.results.tables import UnitTable

from ..support.small_results import dissection
from .test_tables import MADE, hand_made

mpl.use("Agg")

# Shares one category with MADE, which has scene and object, and has one more.
OTHER = replace(hand_made([["y", "k"], ["x", "l"]], [[0.3, 0.2], [0.5, 0.6]], ("object", "knots")), name="other")
SILENT = replace(hand_made([["", ""]] * 3, [[0, 0]] * 3, ("scene", "object")), name="silent")

FUNCTIONS: dict[str, Callable[..., Axes]] = {
    "concepts": lambda table, **options: nd.plot.concepts(table, **options),
    "categories": lambda table, **options: nd.plot.categories([table, OTHER], **options),
    "iou_distribution": lambda table, **options: nd.plot.iou_distribution(table, **options),
    "unique_detectors": lambda table, **options: nd.plot.unique_detectors([1, 2], [table, OTHER], **options),
}


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    pyplot.close("all")


@pytest.fixture(params=FUNCTIONS)
def draw(request: pytest.FixtureRequest) -> Callable[..., Axes]:
    return FUNCTIONS[request.param]


def bars(ax: Axes) -> dict[str, list[float]]:
    """Heights by what the legend calls them."""
    return {container.get_label(): [bar.get_height() for bar in container] for container in ax.containers}


def lines(ax: Axes) -> dict[str, tuple[list[Any], list[float]]]:
    """x and y by what the legend calls them."""
    found = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}
    return {name: xy for name, xy in found.items() if not name.startswith("_")}


def ticks(ax: Axes) -> list[str]:
    return [tick.get_text() for tick in ax.get_xticklabels()]


def legend(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []


# ------------------------------------------------------------------------------------------- all functions


def test_axes_given_or_new(draw: Callable[..., Axes]) -> None:
    """A figure that is already there is only added to."""
    figure, (left, right) = pyplot.subplots(1, 2)
    assert draw(MADE, ax=right) is right
    assert right.has_data()
    assert not left.has_data()
    assert pyplot.get_fignums() == [figure.number]
    made = draw(MADE)
    assert isinstance(made, Axes)
    assert made.figure is not figure
    assert len(pyplot.get_fignums()) == 2


@pytest.mark.parametrize("table", [MADE, SILENT, *dissection().values()], ids=lambda table: table.name)
def test_saved_without_warnings(draw: Callable[..., Axes], table: Any, tmp_path: Path) -> None:
    for suffix, begins in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        draw(table).figure.savefig(tmp_path / f"figure.{suffix}")
        assert (tmp_path / f"figure.{suffix}").read_bytes().startswith(begins)


@pytest.mark.parametrize("module", ["matplotlib", "matplotlib.pyplot"])
def test_without_matplotlib(draw: Callable[..., Axes], module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install 'netdissect-fast\[report\]'"):
        draw(MADE)


def test_layers_and_their_tables_look_the_same(draw: Callable[..., Axes]) -> None:
    layer = dissection()["features.3"]
    first, second = draw(layer), draw(layer.table)
    assert (bars(first), lines(first), ticks(first)) == (bars(second), lines(second), ticks(second))
    assert bars(first) or lines(first)


def test_the_iou_threshold_counts(draw: Callable[..., Axes]) -> None:
    def shown(ax: Axes) -> Any:
        return bars(ax), [list(line.get_ydata()) for line in ax.lines]

    assert shown(draw(MADE)) == shown(draw(MADE, iou_threshold=0.04)) != shown(draw(MADE, iou_threshold=0.45))


# ------------------------------------------------------------------------------------------------ concepts


@pytest.mark.parametrize("threshold", [0, 0.04, 0.1, 0.3])
@pytest.mark.parametrize("table", [MADE, OTHER, dissection()["features.12"].table], ids=lambda table: table.name)
def test_concepts(table: UnitTable, threshold: float) -> None:
    """One bar a concept that is detected, in the order of ``detected``, in its category's colour."""
    ax = nd.plot.concepts(table, iou_threshold=threshold)
    found, unique = table.detected(threshold), table.unique_detectors(threshold)
    drawn = [bar for container in ax.containers for bar in container]
    assert [bar.get_height() for bar in drawn] == list(found.values())
    assert [bar.get_x() + bar.get_width() / 2 for bar in drawn] == pytest.approx(range(len(found)))
    assert ticks(ax) == [name for _, name in found]
    assert ax.get_xticks().tolist() == list(range(len(found)))
    colours = nd.plot.category_colours(table.vocabulary.categories)
    assert [to_hex(bar.get_facecolor()) for bar in drawn] == [colours[category] for category, _ in found]
    assert legend(ax) == [f"{category} ({unique[category]})" for category in dict.fromkeys(c for c, _ in found)]
    low, high = ax.get_xlim()
    assert low < -0.4
    assert high > len(found) - 0.6, "a bar is cut off"
    total = sum(table.detectors(threshold).values())
    assert ax.get_title() == (
        f"{table.name}: {total} of {len(table)} units detect {len(found)} concepts (IoU > {threshold:g})"
    )


def test_concepts_of_a_layer_without_detectors() -> None:
    for table, units in ((SILENT, 3), (replace(MADE, name="silent"), 10)):
        ax = nd.plot.concepts(table, iou_threshold=0.95)
        assert (bars(ax), ticks(ax), ax.get_legend()) == ({}, [], None)
        assert ax.get_title() == f"silent: 0 of {units} units detect 0 concepts (IoU > 0.95)"


def test_category_colours_differ() -> None:
    broden = ["object", "scene", "part", "material", "texture", "color"]
    colours = nd.plot.category_colours([*broden, "one", "two", "three", "four"])
    assert len(set(colours.values())) == len(colours) == 10
    assert nd.plot.category_colours(["two", "scene"])["scene"] == colours["scene"]
    assert list(nd.plot.category_colours("abcdefghi")) == list("abcdefghi"), "more than there are colours"


# ---------------------------------------------------------------------------------------------- categories


@pytest.mark.parametrize("rule", ["top_label", "per_category"])
@pytest.mark.parametrize("threshold", [0.04, 0.3])
def test_categories(rule: Any, threshold: float) -> None:
    """Stacked by category, in the order in which they first come; a layer may lack some."""
    tables = [MADE, OTHER, SILENT]
    ax = nd.plot.categories(tables, iou_threshold=threshold, count=rule)
    unique = [table.unique_detectors(threshold, rule) for table in tables]
    names = ["scene", "object", "knots"]
    assert bars(ax) == {name: [found.get(name, 0) for found in unique] for name in names}
    assert legend(ax) == names[::-1], "as they are stacked, from the top"
    assert ticks(ax) == ["made", "other", "silent"]
    for table in range(3):
        below = 0
        for container in ax.containers:
            assert container[table].get_y() == below
            below += container[table].get_height()
        assert below == sum(unique[table].values())
    colours = nd.plot.category_colours(names)
    assert [to_hex(container[0].get_facecolor()) for container in ax.containers] == [colours[name] for name in names]


def test_names_from_a_dict_or_a_dissection() -> None:
    ax = nd.plot.categories({"before": MADE, "after": MADE})
    assert ticks(ax) == ["before", "after"]
    assert all(first == second for first, second in bars(ax).values())
    result = dissection()
    assert ticks(nd.plot.categories(result)) == list(result) == list(lines(nd.plot.iou_distribution(result)))


@pytest.mark.parametrize("function", ["categories", "iou_distribution"])
def test_two_layers_of_one_name(function: str) -> None:
    with pytest.raises(ArgumentError, match="two layers have the same name: pass a dict"):
        getattr(nd.plot, function)([MADE, OTHER, MADE])


@pytest.mark.parametrize("function", ["categories", "unique_detectors"])
def test_unknown_counting_rule(function: str) -> None:
    with pytest.raises(ArgumentError, match="count must be one of top_label, per_category; got 'all'"):
        FUNCTIONS[function](MADE, count="all")


# --------------------------------------------------------------------------------------------------- lines


def test_iou_distribution() -> None:
    """Best unit first; units without a label at 0; the threshold dashed."""
    ax = nd.plot.iou_distribution([MADE, OTHER, SILENT], iou_threshold=0.07)
    best = [0.9, 0.8, 0.7, 0.5, 0.3, 0.2, 0.1, 0.1, 0.04, 0]
    assert lines(ax) == {
        "made": (list(range(1, 11)), best),
        "other": ([1, 2], [0.6, 0.3]),
        "silent": ([1, 2, 3], [0, 0, 0]),
    }
    assert legend(ax) == ["made", "other", "silent"]
    (dashed,) = (line for line in ax.lines if line.get_linestyle() == "--")
    assert list(dashed.get_ydata()) == [0.07, 0.07]
    assert ax.get_ylim()[0] == 0


@pytest.mark.parametrize("rule", ["top_label", "per_category"])
def test_unique_detectors(rule: Any) -> None:
    ax = nd.plot.unique_detectors([0, 0.5, 1], [MADE, OTHER, SILENT], iou_threshold=0.1, count=rule, xlabel="rotation")
    unique = [table.unique_detectors(0.1, rule) for table in (MADE, OTHER, SILENT)]
    x = [0, 0.5, 1]
    expected = {name: (x, [found.get(name, 0) for found in unique]) for name in ("scene", "object", "knots")}
    assert lines(ax) == {"total": (x, [sum(found.values()) for found in unique]), **expected}
    assert expected["knots"][1] == [0, 2 if rule == "per_category" else 1, 0]
    assert ax.get_xlabel() == "rotation"
    assert ax.get_ylim()[0] == 0
    assert legend(ax) == ["total", "scene", "object", "knots"]


def test_unique_detectors_against_names() -> None:
    """The same layer may come twice: x tells them apart."""
    ax = nd.plot.unique_detectors(["a", "b"], [MADE, MADE])
    assert lines(ax)["total"] == (["a", "b"], [5, 5])
    assert ticks(ax) == ["a", "b"]


@pytest.mark.parametrize(("x", "layers"), [([1], [MADE, OTHER]), ([1, 2], [MADE]), ([], [])])
def test_unique_detectors_of_other_lengths(x: list[int], layers: list[UnitTable]) -> None:
    with pytest.raises(ArgumentError, match=f"at least one; got {len(x)} x and {len(layers)} layers"):
        nd.plot.unique_detectors(x, layers)
    assert not pyplot.get_fignums()


def test_counts_have_whole_ticks() -> None:
    """Half a unit detects nothing; an IoU has fractions."""
    for name, draw in FUNCTIONS.items():
        ax = draw(SILENT)
        ax.figure.canvas.draw()
        whole = bool(np.all(ax.get_yticks() % 1 == 0))
        assert whole == (name != "iou_distribution"), name


@pytest.mark.filterwarnings("error")
def test_names_that_matplotlib_would_read_otherwise(tmp_path: Path) -> None:
    """An underscore in front keeps a name out of matplotlib's own legends; dollars would begin a formula."""
    layer = replace(hand_made([["a$b_{$c", "k"]], [[0.3, 0.2]], ("$x$", "_knots")), name="_blocks.0 $ $")
    for ax in (
        nd.plot.concepts(layer),
        nd.plot.categories({"_blocks.0 $ $": layer, "b": MADE}),
        nd.plot.iou_distribution(layer),
        nd.plot.unique_detectors([1], [layer]),
    ):
        ax.figure.savefig(tmp_path / "figure.svg")
        legend = ax.get_legend()
        assert legend is not None
        assert all(text.get_text() for text in legend.get_texts())
    (line,) = nd.plot.iou_distribution(layer).get_legend().get_texts()
    assert line.get_text().replace("\\", "") == layer.name


@pytest.mark.parametrize("draw", [nd.plot.categories, nd.plot.iou_distribution])
def test_nothing_to_draw(draw: Callable[..., Axes], tmp_path: Path) -> None:
    draw([]).figure.savefig(tmp_path / "figure.png")


def test_bad_arguments_leave_no_figure_behind() -> None:
    for bad in (
        lambda: nd.plot.iou_distribution([MADE, MADE]),
        lambda: nd.plot.categories([MADE], count="both"),
        lambda: nd.plot.unique_detectors([1], [MADE], count="both"),
        lambda: nd.plot.unique_detectors([1, 2], [MADE]),
    ):
        with pytest.raises(ArgumentError):
            bad()
    assert not pyplot.get_fignums()
