"""The pages of a report, made from facts and templates, with figures and tables beside them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__, plot
from ..errors import MissingExtra, require
from ..results.run_result import Dissection
from .facts import IMAGES_OF_A_CONCEPT, UNITS_OF_A_CONCEPT, Concepts, Layer, TopImage
from .picture_jobs import CONCEPT_IMAGES
from .pictures import Look
from .site import Site

if TYPE_CHECKING:
    from ..data.dataset import ConceptDataset


ROWS_AT_ONCE = 64  # of a long table in one group: browsers lay out only the groups near the screen


@dataclass(frozen=True)
class Shared:
    """Values that every page may show; templates call them ``site``.

    facts    about the run, for readers
    colours  of all categories
    data     None if there are no pictures
    look     of the pictures
    """

    title: str
    facts: dict[str, str]
    layers: list[Layer]
    concepts: Concepts | None
    colours: dict[str, str]
    data: ConceptDataset | None
    look: Look
    iou_threshold: str
    version: str = __version__

    @classmethod
    def of(
        cls,
        dissection: Dissection,
        layers: list[Layer],
        concepts: Concepts | None,
        data: ConceptDataset | None,
        look: Look,
        iou_threshold: float,
    ) -> Shared:
        """Make it from a run and what is shown of it."""
        categories = dict.fromkeys(name for layer in layers for name in layer.table.vocabulary.categories)
        title = str(dissection.run.get("model") or layers[0].name)
        facts = {**run_facts(dissection), "Detector threshold": f"IoU > {iou_threshold:g}"}
        return cls(
            title, facts, layers, concepts, plot.category_colours(list(categories)), data, look, f"{iou_threshold:g}"
        )


def run_facts(dissection: Dissection) -> dict[str, str]:
    """Return what run.json says about a run, for readers."""
    run = dissection.run
    settings, data = _mapping(run.get("settings")), _mapping(run.get("data"))
    size = settings.get("input_size")
    seen = "Picture" if settings.get("preprocess", "") is None else "Network input"  # which may be a latent
    found = {
        "Model": run.get("model"),
        "Images": data.get("images"),
        "Data": _data_name(data),
        "Quantile": settings.get("quantile") or ("thresholds were given" if settings else None),
        "Alignment": settings.get("alignment"),
        "Category rule": settings.get("category_rule"),
        seen: " × ".join(map(str, size)) if isinstance(size, list) else size,
        "Device": settings.get("device"),
    }
    return {name: str(value) for name, value in found.items() if value}


def _mapping(value: Any) -> dict[str, Any]:
    """Return a part of run.json, empty if it is not a dict: others may have written it."""
    return value if isinstance(value, dict) else {}


def _data_name(data: dict[str, Any]) -> Any:
    """Return the name of the data set's folder without its location, since reports are sent to others."""
    source = data.get("source")
    while isinstance(source, dict) and "of" in source:
        source = source["of"]
    path = source.get("path") if isinstance(source, dict) else None
    return Path(path).name if isinstance(path, str) else data.get("name")


def write_pages(site: Site, shared: Shared) -> Path:
    """Write all pages, the entry page last; return its path."""
    figures = _Figures(site)
    if shared.concepts is not None:
        _write_concepts(site, shared, shared.concepts)
    for layer in shared.layers:
        site.write(f"{layer.folder}/units.csv", layer.table.to_csv().encode())
        site.write(f"{layer.folder}/units.json", layer.table.to_json().encode())
        bars = partial(plot.concepts, layer.table, iou_threshold=layer.iou_threshold)
        names = figures.draw(f"concepts-{layer.folder.removeprefix('layers/')}", bars)
        _write_layer(site, shared, layer, names)
        if layer.result is not None:
            _write_units(site, shared, layer)
    tables = {layer.name: layer.table for layer in shared.layers}
    threshold = shared.layers[0].iou_threshold
    names = figures.draw("layers", partial(plot.categories, tables, iou_threshold=threshold))
    names += figures.draw("iou", partial(plot.iou_distribution, tables, iou_threshold=threshold))
    most = max(1, *(sum(layer.unique.values()) for layer in shared.layers))
    return site.index("overview.html", site=shared, most=most, names=names)


class _Figures:
    """Figures for papers, in ``figures/``; none if matplotlib is missing."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._matplotlib: Any = None
        with suppress(MissingExtra):
            require("matplotlib.figure", "report")
            self._matplotlib = require("matplotlib", "report")

    def draw(self, name: str, axes: Callable[[], Any]) -> list[str]:
        """Write a figure in three formats; return its name in a list, or an empty list if none was drawn."""
        if self._matplotlib is None:
            return []
        options = {"svg.hashsalt": "netdissect_fast", "pdf.fonttype": 42}
        with self._matplotlib.rc_context(options), plot.detached(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # a name in a script that the font lacks
            figure = axes().figure
            for kind, metadata in (("svg", {"Date": None}), ("pdf", {"CreationDate": None}), ("png", {})):
                content = io.BytesIO()
                figure.savefig(content, format=kind, dpi=200, metadata=metadata)
                self._site.write(f"figures/{name}.{kind}", content.getvalue())
        return [name]


def _write_layer(site: Site, shared: Shared, layer: Layer, names: list[str]) -> None:
    detectors, unique = sum(layer.detectors.values()), sum(layer.unique.values())
    facts = {
        **(shared.facts if layer.result is not None else {}),
        **_grid_facts(layer),
        "Detectors": f"{detectors} of {len(layer.rows)} units" + _by_chance(layer),
        "Unique detectors": f"{unique} concepts",
        "Counted in every category": f"{layer.per_category[0]} detectors, {layer.per_category[1]} unique",
        "Chance level": f"{layer.chance:.4f} (median IoU of a random mask)"
        if layer.chance == layer.chance
        else "unknown",
        "Thresholds T": "{:.4g} to {:.4g}".format(*layer.thresholds) if layer.thresholds else "unknown",
    }
    strips = [len(images) for images, _ in layer.tops] if layer.tops and shared.data is not None else None
    site.page(
        f"{layer.folder}/index.html", "layer.html", site=shared, layer=layer, facts=facts, names=names,
        strips=strips, most_images=shared.look.images, rows_at_once=ROWS_AT_ONCE,
        note=_why_no_pictures(shared, layer) if strips is None else "",
    )  # fmt: skip


def _by_chance(layer: Layer) -> str:
    """Return what null scores say about the layer's detectors; empty without them."""
    if layer.result is None or layer.result.null is None:
        return ""
    expected = layer.result.null.expected_detectors(layer.iou_threshold)
    sure = sum(row.detector and row.q <= 0.05 for row in layer.rows)
    return f"; {expected:.1f} expected by chance, {sure} sure (q ≤ 0.05)"


def _grid_facts(layer: Layer) -> dict[str, str]:
    if layer.result is None:
        return {"Units": str(len(layer.rows)), "Source": "a table of units, without its run"}
    grid = layer.result.grid
    return {"Units": f"{len(layer.rows)} of {grid.size[0]} × {grid.size[1]}", "Grid, in input pixels": str(grid)}


def _why_no_pictures(shared: Shared, layer: Layer) -> str:
    if layer.result is None:
        return "There are no pictures: this is only a table, without its run."
    if layer.result.peaks is None:
        return "There are no pictures: thresholds were given, so no peaks were kept."
    return "There are no pictures: the report was made without the data set." if shared.data is None else ""


def _write_units(site: Site, shared: Shared, layer: Layer) -> None:
    for place, u in enumerate(layer.ranked):
        row = layer.rows[u]
        images = list(_top_images(shared, layer, u))
        facts = {
            "Label": f"{row.label} ({row.category})" if row.label else "none: it overlaps no concept",
            "IoU": f"{row.iou:.4f}",
            "Chance": f"{row.chance:.4f}",
            **({} if layer.table.q is None else {"q (false discovery rate)": f"{row.q:.3g}"}),
            "Detector": "yes" if row.detector else "no",
            "Rank": f"{place + 1} of {len(layer.rows)}",
            "Threshold T": f"{row.threshold:.6g}",
            "Number in result.csv": str(row.unit + 1),
        }
        site.page(
            f"{layer.folder}/{layer.page(u)}", "unit.html", site=shared, layer=layer, u=u, row=row, facts=facts,
            previous=layer.page(layer.ranked[place - 1]) if place else None,
            next=layer.page(layer.ranked[place + 1]) if place + 1 < len(layer.ranked) else None,
            images=images, heat=shared.look.heat_map, top=layer.top_concepts(u), histogram=layer.histogram(u),
            neighbours=layer.neighbours(u),
            no_images=_why_no_pictures(shared, layer) or "The unit does not exceed its threshold on any image.",
        )  # fmt: skip


def _top_images(shared: Shared, layer: Layer, u: int) -> Iterator[TopImage]:
    if shared.data is None or not layer.tops:
        return
    for image, maximum in zip(*layer.tops[u], strict=True):
        yield TopImage(shared.data.name(int(image)), float(maximum))


def _write_concepts(site: Site, shared: Shared, concepts: Concepts) -> None:
    words, detected_by = concepts.vocabulary, [layer for layer in shared.layers if layer.result is not None]
    rows: list[dict[str, Any]] = []
    for column in concepts.shown:
        name = words.names[column]
        images, pixels = concepts.images(column)
        area, category = concepts.area(column), concepts.category(column)
        detectors = [concepts.detectors(layer, column) for layer in detected_by]
        number, page = int(words.numbers[column]), concepts.page(column)
        known = shared.data is not None
        facts = {
            "Category": category or "none",
            "Number": str(number),
            "Pixels": f"{area}",
            **({"Images": str(len(images))} if known else {}),
            **{f"Units of {layer.name}": str(n) for layer, n in zip(detected_by, detectors, strict=True)},
        }
        listed = [
            (shared.data.name(int(image)), int(area))
            for image, area in zip(images[:IMAGES_OF_A_CONCEPT], pixels[:IMAGES_OF_A_CONCEPT], strict=True)
            if shared.data is not None
        ]
        site.page(
            f"concepts/{page}", "concept.html", site=shared, name=name, facts=facts, units=concepts.units(column),
            others=UNITS_OF_A_CONCEPT, images=listed, total=len(images), strip=min(len(listed), CONCEPT_IMAGES),
            picture=concepts.picture(column),
        )  # fmt: skip
        rows.append({"name": name, "number": number, "page": page, "category": category,
                     "images": len(images) if known else "–", "area": area, "detectors": detectors})  # fmt: skip
    rows.sort(key=lambda row: (-sum(row["detectors"]), row["name"]))
    site.page(
        "concepts/index.html",
        "concepts.html",
        site=shared,
        rows=rows,
        detected_by=detected_by,
        rows_at_once=ROWS_AT_ONCE,
    )
