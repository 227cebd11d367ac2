"""docs/specification.md: every citation of it resolves, its examples hold."""

from __future__ import annotations

import doctest
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPECIFICATION = ROOT / "docs" / "specification.md"

CITATION = re.compile(r"\bspec (\d+(?:\.\d+)*(?:, \d+(?:\.\d+)*)*)")
OLD_FORM = re.compile(r"\bSPEC\b|\bSpec(?= \d)")


def headings(text: str) -> list[str]:
    """The numbers of all headings, in order."""
    return re.findall(r"^#{2,} (\d+(?:\.\d+)*)\.? \S", text, re.MULTILINE)


def faults(text: str, known: set[str]) -> list[str]:
    """What is wrong with the citations of a text, line by line."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        cited = [one for match in CITATION.finditer(line) for one in match[1].split(", ")]
        found += [f"{number}: there is no spec {one}" for one in cited if one not in known]
        if OLD_FORM.search(line):
            found.append(f"{number}: cite it as 'spec 1.3': {line.strip()}")
    return found


def test_headings_are_numbered_in_order() -> None:
    numbers = headings(SPECIFICATION.read_text(encoding="utf-8"))
    assert len(set(numbers)) == len(numbers)
    places = [tuple(map(int, number.split("."))) for number in numbers]
    assert places == sorted(places)
    for place in places:  # without gaps
        before = (*place[:-1], place[-1] - 1)
        assert place[-1] == 1 or before in places
        assert place[:-1] == () or place[:-1] in places


def test_every_citation_resolves() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: the files of the project cannot be listed")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip(f"git cannot list the files of this checkout: {listed.stderr.decode(errors='replace').strip()}")
    known, cited, wrong = set(headings(SPECIFICATION.read_text(encoding="utf-8"))), 0, []
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if not path.is_file() or path.samefile(__file__):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a picture
            continue
        cited += len(CITATION.findall(text))
        wrong += [f"{name}:{fault}" for fault in faults(text, known)]
    assert not wrong, "\n" + "\n".join(wrong)
    assert cited >= 40


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("(spec 1.3)", 0),
        ("as spec 1.3, 1.2 and spec 2 have it", 0),
        ("special 9, aspec 9", 0),
        ("(spec 1.4)", 1),
        ("(spec 1.3, 7, 9)", 2),
        ("(SPEC 1.3)", 1),
        ("see SPEC.md", 1),
        ("Spec 1.3 says", 1),
    ],
)
def test_faults_are_found(text: str, wrong: int) -> None:
    assert len(faults(text, {"1", "1.2", "1.3", "2"})) == wrong


def test_contents_link_to_the_sections() -> None:
    text = SPECIFICATION.read_text(encoding="utf-8")
    links = set(re.findall(r"\(#([^)]+)\)", text))
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert links == {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_examples() -> None:
    """The worked example and the upsampling vectors, as the text shows them."""
    text = SPECIFICATION.read_text(encoding="utf-8")
    blocks = re.findall(r"^```pycon\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    examples = doctest.DocTestParser().get_doctest("".join(blocks), {}, SPECIFICATION.name, str(SPECIFICATION), 0)
    report: list[str] = []
    outcome = doctest.DocTestRunner().run(examples, out=report.append)
    assert not outcome.failed, "".join(report)
    assert outcome.attempted >= 12
    for shown in ("[[1, 0, 4]], [[3, 4]], [2, 1, 8]", "[[0.25, 0.0, 0.5]]", "1.0, 1.25, 1.75, 2.5, 3.5, 5.0, 7.0, 8.0"):
        assert shown in text
