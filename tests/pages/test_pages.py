"""The pages of real reports, used in Chromium as a person would."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest
from PIL import Image

from .conftest import PHONE, WIDE

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(
    params=[
        pytest.param(("demo", "layer4"), id="demo"),
        pytest.param(("squeezenet_report", "features.12"), id="squeezenet", marks=pytest.mark.data),
    ]
)
def report(request: pytest.FixtureRequest) -> tuple[Path, str]:
    """Folder of a report, and the path of its largest layer's folder in it."""
    fixture, layer = request.param
    folder = request.getfixturevalue(fixture)
    return (folder / "report" if fixture == "demo" else folder), f"layers/{layer}"


def table(folder: Path, layer: str) -> list[dict[str, str]]:
    """units.csv, best unit first; units from 0."""
    with (folder / layer / "units.csv").open(encoding="utf-8", newline="") as file:
        return [{**row, "unit": str(int(row["unit"]) - 1)} for row in csv.DictReader(file)]


def units(page: Any) -> list[str]:
    """Numbers of the units shown, in order."""
    return page.locator("table.units tbody tr a.unit").all_text_contents()


def column(page: Any, number: int) -> list[str]:
    """Texts of the rows shown (inner text would be empty for rows off the screen, which are not laid out)."""
    return page.locator(f"table.units tbody tr td:nth-child({number})").all_text_contents()


def test_every_link_leads_somewhere(report, browse):
    """From the entry page on: every link and picture of every kind of page is there."""
    folder, layer = report
    page = browse(folder)
    for file in ("index.html", f"{layer}/index.html", f"{layer}/{best_page(folder, layer)}", "concepts/index.html"):
        page.goto((folder / file).resolve().as_uri())
        targets = page.eval_on_selector_all(
            "a[href], img[src], link[href]", "all => all.map(one => one.href || one.src)"
        )
        targets = {target.split("#")[0].split("?")[0] for target in targets if target.startswith("file:")}
        assert len(targets) > 5
        for target in targets:
            assert Path(target.removeprefix("file://")).is_file(), f"{file} links to {target}"


def best_page(folder: Path, layer: str) -> str:
    return f"unit-{table(folder, layer)[0]['unit']}.html"


def test_table_is_the_result_and_sorts(report, browse):
    folder, layer = report
    rows = table(folder, layer)
    page = browse(folder, f"{layer}/index.html")
    assert units(page) == [row["unit"] for row in rows]
    for name, key, reverse in [("Unit", "unit", False), ("IoU", "score", True), ("Chance", "chance", True)]:
        page.get_by_role("columnheader", name=name).get_by_role("button").click()
        values = [float(row[key]) for row in rows]
        by_unit = {row["unit"]: value for row, value in zip(rows, values, strict=True)}
        assert [by_unit[unit] for unit in units(page)] == sorted(values, reverse=reverse)
        assert page.locator("th[aria-sort]").inner_text().startswith(name)
    page.get_by_role("columnheader", name="Chance").get_by_role("button").click()
    assert [float(row) for row in column(page, 5)] == sorted(float(row) for row in column(page, 5))
    page.get_by_role("columnheader", name="Concept").get_by_role("button").click()
    shown = [concept for concept in column(page, 2) if concept != "–"]
    assert shown == sorted(shown, key=str.lower)


def test_filters_search_and_the_back_button(report, browse):
    folder, layer = report
    rows = table(folder, layer)
    page = browse(folder, f"{layer}/index.html")
    category = rows[0]["category"]
    page.get_by_label("Category").select_option(category)
    of_category = [row["unit"] for row in rows if row["category"] == category]
    assert units(page) == of_category
    page.get_by_label("detectors only").check()
    detectors = [row["unit"] for row in rows if row["category"] == category and float(row["score"]) > 0.04]
    assert units(page) == detectors
    assert f"category={category}" in page.url
    assert page.locator("output").inner_text() == f"{len(detectors)} of {len(rows)}"
    page.get_by_label("Search").press_sequentially(rows[0]["label"][:4])
    found = [row["unit"] for row in rows if row["unit"] in detectors and rows[0]["label"][:4] in row["label"]]
    assert rows[0]["unit"] in units(page)
    assert set(found) <= set(units(page)) <= set(detectors)
    shared_url = page.url
    page.go_back()  # what was typed is one step
    assert units(page) == detectors
    page.go_back()
    assert units(page) == of_category
    page.go_back()
    assert len(units(page)) == len(rows)
    page.go_forward()
    assert units(page) == of_category
    page.get_by_role("button", name="Clear").click()
    assert len(units(page)) == len(rows)

    other = browse(folder, f"{layer}/index.html", query=shared_url[shared_url.index("?") :])
    assert set(found) <= set(units(other)) <= set(detectors)
    assert other.get_by_label("Search").input_value() == rows[0]["label"][:4]


def test_odd_urls_and_steps(report, browse):
    """What people type into the address, and steps that change nothing."""
    folder, layer = report
    rows = table(folder, layer)
    for query in ("?sort=toString", "#%", "?sort=-nothing&q=", "?detectors=&category=no such"):
        page = browse(folder, f"{layer}/index.html", query=query)
        assert len(units(page)) == (0 if "no such" in query else len(rows))
    page = browse(folder, f"{layer}/index.html")
    steps = page.evaluate("history.length")
    for _ in range(3):
        page.keyboard.press("Escape")
    assert page.evaluate("history.length") == steps
    search = page.get_by_label("Search")
    search.press_sequentially(rows[0]["label"][:2])
    page.go_back()
    search.press_sequentially("zqz")  # a step of its own again
    assert not units(page)
    page.go_back()
    assert len(units(page)) == len(rows)


def test_a_bar_shows_its_units(report, browse):
    folder, layer = report
    rows = table(folder, layer)
    page = browse(folder, f"{layer}/index.html")
    bars = page.locator(".bars a")
    assert bars.count() == len({(row["category"], row["label"]) for row in rows if float(row["score"]) > 0.04})
    name, number = bars.first.locator(".name").inner_text(), int(bars.first.locator(".count").inner_text())
    bars.first.click()
    expected = [row["unit"] for row in rows if row["label"] == name and float(row["score"]) > 0.04]
    assert units(page) == expected
    assert len(expected) == number


def test_deep_links(report, browse):
    """A link to a unit shows it, even where a filter hides it."""
    folder, layer = report
    worst = table(folder, layer)[-1]["unit"]
    for query in (f"#unit-{worst}", f"?q=nothing+has+this+name#unit-{worst}"):
        page = browse(folder, f"{layer}/index.html", query=query)
        row = page.locator(f"#unit-{worst}")
        row.wait_for(state="visible")
        box = row.bounding_box()
        assert 0 <= box["y"] < WIDE["height"]
        page.wait_for_function("unit => document.activeElement.textContent === unit", arg=worst)
    up = browse(folder, f"{layer}/unit-{worst}.html")
    up.keyboard.press("u")
    up.wait_for_url(f"**/index.html#unit-{worst}")
    assert 0 <= up.locator(f"#unit-{worst}").bounding_box()["y"] < WIDE["height"]


def test_keyboard(report, browse):
    """Search, step, open and leave a unit without a mouse."""
    folder, layer = report
    rows = table(folder, layer)
    page = browse(folder, f"{layer}/index.html")
    page.keyboard.press("/")
    page.keyboard.type(rows[2]["category"])
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert len(units(page)) == len(rows)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.innerText") == rows[0]["unit"]
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/unit-{rows[1]['unit']}.html")
    page.keyboard.press("ArrowRight")
    page.wait_for_url(f"**/unit-{rows[2]['unit']}.html")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**/unit-{rows[1]['unit']}.html")
    page.go_back()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") in ("A", "BUTTON", "INPUT")


def test_unit_page_shows_what_was_counted(report, browse):
    folder, layer = report
    row = table(folder, layer)[0]
    page = browse(folder, f"{layer}/{best_page(folder, layer)}")
    assert row["label"] in page.get_by_role("heading", level=1).inner_text()
    assert page.locator(".pictures figure").count() == 10
    pictures = page.locator(".pictures img")
    pictures.last.scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('.pictures img')].every(one => one.naturalWidth > 0)")
    assert all(alt.strip() for alt in pictures.evaluate_all("all => all.map(one => one.alt)"))
    best = page.locator("table.plain tbody tr", has=page.locator("strong")).first
    cells = best.locator("td").all_inner_texts()
    at = cells.index(row["label"])
    pixels = [int(row[f"{row['category']}-{field}"]) for field in ("intersect", "activation", "truth")]
    assert [int(cell) for cell in cells[at + 3 : at + 6]] == pixels
    assert float(cells[at + 1]) == pytest.approx(float(row["score"]), abs=5e-5)
    assert "activations" in page.locator(".axis").inner_text()


def test_concepts(report, browse):
    folder, layer = report
    row = table(folder, layer)[0]
    page = browse(folder, "concepts/index.html")
    page.get_by_label("Search").fill(row["label"])
    page.get_by_label("Category").select_option(row["category"])
    page.get_by_role("link", name=row["label"], exact=True).first.click()
    assert page.get_by_role("heading", level=1).inner_text() == row["label"]
    assert page.locator(f"a[href$='{layer}/unit-{row['unit']}.html']").count() == 1
    assert page.locator(".pictures img").count() > 0


def test_pages_are_whole_without_script(report, chromium):
    folder, layer = report
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / layer / "index.html").resolve().as_uri())
    assert page.locator("table.units tbody tr").count() == len(table(folder, layer))
    assert page.locator("form.filters").is_hidden()
    context.close()


def luminance(colour: str) -> float:
    """Relative luminance of ``rgb(r, g, b)`` (WCAG 2)."""
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(report, browse, scheme):
    """Text has a contrast of at least 4.5 to 1; pictures have texts, fields labels, pages a heading and a language."""
    folder, layer = report
    for file in ("index.html", f"{layer}/index.html", f"{layer}/{best_page(folder, layer)}", "concepts/index.html"):
        page = browse(folder, file, color_scheme=scheme)
        background = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert (background > 0.5) == (scheme == "light")
        colours = page.eval_on_selector_all(
            "main, main a, dt, dd, th, td, small, figcaption, footer, nav a, output",
            "all => [...new Set(all.map(one => getComputedStyle(one).color))]",
        )
        for colour in colours:
            lighter, darker = sorted((luminance(colour), background), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (file, colour)
        assert page.locator("h1").count() == 1
        assert page.locator("html").get_attribute("lang") == "en"
        assert page.eval_on_selector_all("img", "all => all.every(one => one.alt)")
        assert page.eval_on_selector_all("input, select", "all => all.every(one => one.labels.length)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_screenshots(report, browse, screenshots, scheme, size):
    """Pages fill the width of the screen, no more, and show their pictures; kept to be looked at."""
    folder, layer = report
    name = "demo" if layer.endswith("layer4") else "squeezenet"
    width = "phone" if size is PHONE else "wide"
    pages = {
        "overview": "index.html", "layer": f"{layer}/index.html", "units": f"{layer}/index.html",
        "unit": f"{layer}/{best_page(folder, layer)}", "concepts": "concepts/index.html",
    }  # fmt: skip
    for kind, file in pages.items():
        query = "#units" if kind == "units" else ""
        page = browse(folder, file, query, color_scheme=scheme, viewport=size)
        page.wait_for_function(
            "[...document.images].every(one => one.complete || one.getBoundingClientRect().top > innerHeight)"
        )
        path = screenshots / f"{name}-{kind}-{width}-{scheme}.png"
        page.screenshot(path=path)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], (
            f"{kind} is wider than the screen"
        )
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert pixels.shape == (size["height"], size["width"], 3)
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
        if "SCREENSHOTS" in os.environ:  # to be committed: a third of the size
            Image.fromarray(pixels).quantize(256).save(path, optimize=True)


def test_first_paint_does_not_wait_for_pictures(report, browse):
    """Only pictures near the screen are asked for; the others when they come near."""
    folder, layer = report
    page = browse(folder, f"{layer}/index.html")
    strips = page.locator(".units img").count()
    page.wait_for_load_state("networkidle")
    asked = {url for url in page.requested if url.endswith(".jpg")}
    assert 0 < len(asked) < strips / 2
    last = page.locator(".units img").last
    last.scroll_into_view_if_needed()
    page.wait_for_function("one => one.naturalWidth > 0", arg=last.element_handle())
    assert urljoin(page.url, last.get_attribute("src")) in page.requested


def test_prints(report, browse, tmp_path):
    """Printed, a unit's page has its pictures and tables, and no controls."""
    folder, layer = report
    page = browse(folder, f"{layer}/{best_page(folder, layer)}")
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    page.goto((folder / layer / "index.html").resolve().as_uri())
    page.set_viewport_size({"width": 720, "height": 900})
    right = page.locator(".bars li").evaluate_all(
        "all => Math.max(...all.map(one => one.getBoundingClientRect().right))"
    )
    assert right <= 720
    page.pdf(path=tmp_path / "unit.pdf")
    assert (tmp_path / "unit.pdf").read_bytes().startswith(b"%PDF")
