"""Links in Markdown files: every relative link, image and anchor resolves; docs/README.md leads to every page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]

FENCED = re.compile(r"^(`{3,}|~{3,}).*?^\1[`~]*$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^(?: {4}|\t).*$", re.MULTILINE)
INLINE = re.compile(r"(`+)(?!`)(?:(?!\n\n).)+?(?<!`)\1(?!`)", re.DOTALL)
LINKS = (
    re.compile(r"\]\(\s*<?([^\s()<>]+)>?(?:\s+[\"'][^\"']*[\"'])?\s*\)"),  # [text](target "title")
    re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)", re.MULTILINE),  # [text]: target
    re.compile(r"\b(?:href|src|srcset)=\"([^\"]+)\""),
)
EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def links(text: str) -> list[str]:
    """Return the targets of all links and images outside code, without those with a scheme."""
    prose = INLINE.sub("", INDENTED.sub("", FENCED.sub("", text)))
    return [target for kind in LINKS for target in kind.findall(prose) if not EXTERNAL.match(target)]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page, and those written as HTML."""
    prose = FENCED.sub("", text)
    found: set[str] = set()
    for title in re.findall(r"^#{1,6} +(.+?)[ #]*$", prose, re.MULTILINE):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
        anchor = name = re.sub(r"[^\w -]", "", shown.lower()).replace(" ", "-")
        number = 0
        while anchor in found:
            number += 1
            anchor = f"{name}-{number}"
        found.add(anchor)
    return found | set(re.findall(r"<a [^>]*\b(?:id|name)=\"([^\"]+)\"", prose))


def faults(name: str, pages: dict[str, str], files: set[str]) -> list[str]:
    """Return the links of page ``name`` that do not resolve; ``files`` are all existing files and folders."""
    found = []
    for target in links(pages[name]):
        path, _, anchor = unquote(target).partition("#")
        place = normpath(join(dirname(name), path)) if path else name
        if place not in files:
            found.append(f"{name}: {target}: there is no {place} in the repository")
        elif anchor and place in pages and anchor not in anchors(pages[place]):
            found.append(f"{name}: {target}: {place} has no heading with this anchor")
    return found


@pytest.fixture(scope="module")
def files() -> set[str]:
    """All tracked files, and the folders that hold them."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: the files of the project cannot be listed")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip(f"git cannot list the files of this checkout: {listed.stderr.decode(errors='replace').strip()}")
    names = [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    return {place.as_posix() for name in names for place in (Path(name), *Path(name).parents)}


@pytest.fixture(scope="module")
def pages(files: set[str]) -> dict[str, str]:
    """Text of every tracked Markdown file, by its path in the repository."""
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in sorted(files) if name.endswith(".md")}


def test_every_relative_link_resolves(pages: dict[str, str], files: set[str]) -> None:
    wrong = [fault for name in pages for fault in faults(name, pages, files)]
    assert not wrong, "\n" + "\n".join(wrong)
    assert sum(len(links(text)) for text in pages.values()) >= 50


def test_the_index_leads_to_every_page_of_docs(pages: dict[str, str]) -> None:
    reached, queue = {"docs/README.md"}, ["docs/README.md"]
    while queue:
        name = queue.pop()
        for target in links(pages[name]):
            place = normpath(join(dirname(name), unquote(target).partition("#")[0]))
            if place.startswith("docs/") and place in pages and place not in reached:
                reached.add(place)
                queue.append(place)
    assert reached == {name for name in pages if name.startswith("docs/")}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[a](b.md), [a](b.md#a-title), [two\nlines](b.md#a-title-1 'x')", 0),
        ('[a](b.md#a-title-1 "x"), ![p](p/c.png), [here](#top), [p](p), [up](../d/b.md)', 0),
        ("[a](https://example.org/none) <img src='none'> `[a](none.md)`", 0),
        ("    [a](none.md)\n```\n[a](none.md)\n```\n", 0),
        ('[a](none.md) ![p](none.png) <img src="none.png"> <source srcset="none.png">\n\n[a]: none.md', 5),
        ("[a](b.md#none), [a](#none), [a](b.md#a-title-2)", 3),
    ],
)
def test_faults_are_found(text: str, wrong: int) -> None:
    pages = {"d/a.md": f"# Top\n{text}", "d/b.md": "# A title!\n## A `title`\n```\n# A title\n```\n"}
    assert len(faults("d/a.md", pages, {*pages, "d", "d/p", "d/p/c.png"})) == wrong
