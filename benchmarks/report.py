"""A report of 4,096 units with 10 pictures each: what it takes to build, and how soon Chromium has its layer page.

python -m benchmarks.report [--units 4096] [--images 100] [--picture-size 224]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import netdissect_fast as nd
from netdissect_fast.results.run_result import Dissection
from netdissect_fast.scoring.backends.cpu import available_threads

from .workload import feature_maps

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def wide_result(units: int, images: int) -> Dissection:
    """Smooth 14×14 maps of ``units`` units, scored on drawn scenes of 224×224."""
    data = nd.Synthetic(images, size=224)
    rng = np.random.default_rng(1)
    maps = np.stack([feature_maps(rng, units, 14, 14) for _ in range(images)])
    layer = nd.score(maps, data, name="wide", input_size=(224, 224))
    return Dissection({"wide": layer}, {"model": f"{units} units"}, data)


def browse(page_file: Path, units: int, rounds: int = 5) -> None:
    """Print how long Chromium takes until the table answers, and to sort and to filter it; medians."""
    from playwright.sync_api import sync_playwright

    seconds: dict[str, list[float]] = {"first paint": [], "interactive": [], "sort": [], "filter": []}
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for _ in range(rounds):
            page = browser.new_context(viewport={"width": 1360, "height": 900}).new_page()
            asked.clear()
            page.on("request", lambda request: asked.append(request.url))
            started = time.perf_counter()
            page.goto(page_file.resolve().as_uri(), wait_until="commit")
            page.wait_for_selector("html[data-ready]", state="attached")
            seconds["interactive"].append(time.perf_counter() - started)
            page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
            paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            seconds["first paint"].append(paint / 1e3)
            page.wait_for_load_state("networkidle")
            pictures = sum(url.endswith(".jpg") for url in asked)
            assert page.locator("tbody tr").count() == units
            seconds["sort"].append(_timed(page, "document.querySelector('th[data-key=iou] button').click()"))
            seconds["filter"].append(_timed(page, "document.querySelector('[name=detectors]').click()"))
            page.context.close()
        browser.close()
    for what, values in seconds.items():
        print(f"{what:<12} {statistics.median(values):.2f} s (of {rounds}: {min(values):.2f} to {max(values):.2f})")
    print(f"pictures asked for before any scrolling: {pictures} of {units} strips")


def _timed(page: Any, action: str) -> float:
    """Seconds from an action to the second frame after it, when its result is on the screen."""
    script = (
        "new Promise(done => { const from = performance.now(); %s; "
        "requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - from))) })"
    )
    return float(page.evaluate(script % action)) / 1e3


def main() -> None:
    """Build in this process, in several, and again; browse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=4096)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--picture-size", type=int, default=224)
    options = parser.parse_args()
    result = wide_result(options.units, options.images)
    with tempfile.TemporaryDirectory() as folder:
        out, cache = Path(folder, "report"), Path(folder, "cache")
        workers = available_threads()
        kinds = [("0 workers", 0, "one"), (f"{workers} workers", workers, "report"), ("again", workers, "report")]
        for name, processes, where in kinds:
            built = nd.report(
                result, Path(folder, where), picture_size=options.picture_size, workers=processes, cache=cache
            )
            print(f"{name}: {built}", flush=True)
        browse(out / "layers" / "wide" / "index.html", options.units)


if __name__ == "__main__":
    main()
