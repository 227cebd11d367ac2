"""Reports to look at, and a browser that notes what goes wrong and what is loaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import netdissect_fast as nd
from netdissect_fast.demo.demo import report_demo, run_demo

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
_LEFT = ("net::ERR_ABORTED",)  # the page was left before its picture came
WIDE, PHONE = {"width": 1360, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a demo of 600 scenes, with its report in ``report``."""
    out = tmp_path_factory.mktemp("demo")
    report_demo(out, run_demo(out, progress=False), progress=False)
    return out


@pytest.fixture(scope="session")
def squeezenet_report(squeezenet_run: Path) -> Path:
    """Folder of the report of SqueezeNet on photographs, a published table beside it."""
    golden = Path(__file__).resolve().parents[3] / "shared" / "data" / "golden" / "caffe_reference_places365.csv"
    compare = {"AlexNet, places365 (2017)": nd.compare_csv(golden)}
    out = squeezenet_run.parent / "report"
    options = {"picture_size": 112, "workers": 2, "cache": squeezenet_run.parent / "cache"}
    nd.report(nd.load(squeezenet_run), out, compare=compare, **options)
    return out


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Headless Chromium of the system; skips without it."""
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium: Any) -> Iterator[Callable[..., Any]]:
    """``browse(file, query="", ...)`` opens a page; at the end none may have complained or asked for files elsewhere.

    ``page.requested`` lists the URLs that it asked for.
    """
    opened: list[tuple[Path, Any, list[str]]] = []

    def browse(folder: Path, file: str = "index.html", query: str = "", **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": WIDE, **options})
        page = context.new_page()
        page.requested, complaints = [], []
        page.on("request", lambda request: page.requested.append(request.url))
        page.on(
            "requestfailed", lambda request: request.failure in _LEFT or complaints.append(f"failed: {request.url}")
        )
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        opened.append((folder, page, complaints))
        page.goto((folder / file).resolve().as_uri() + query)
        return page

    yield browse
    for folder, page, complaints in opened:
        page.context.close()
        root = folder.resolve().as_uri()
        assert not complaints
        assert all(url.startswith((f"{root}/", "data:")) for url in page.requested), page.requested


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tests put screenshots: $SCREENSHOTS, such as docs/pictures to renew the README's, or a temporary folder."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    with suppress(FileExistsError):
        folder.mkdir(parents=True)
    return folder
