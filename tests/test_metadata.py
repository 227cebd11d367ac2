"""CITATION.cff and the hooks of .pre-commit-config.yaml agree with the package, the README and tests/run."""

from __future__ import annotations

import re
from pathlib import Path

import netdissect_fast as nd

ROOT = Path(__file__).parents[1]
CITATION = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
LINE = re.compile(r"( *)(- )?([a-z_-]+):(?: (.+))?")  # of the part of YAML that both files keep to


def values(text: str) -> dict[str, list[str]]:
    """Return the values of each key of a simple YAML file, in order, the keys of nested ones as a.b."""
    found: dict[str, list[str]] = {}
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        assert match, f"not simple YAML: {line}"
        depth = len(match[1]) + len(match[2] or "")
        path = [(d, key) for d, key in path if d < depth] + [(depth, match[3])]
        value = match[4]
        if value is None:
            continue
        quoted = re.fullmatch(r'"([^"\\]*)"', value)
        assert quoted or not re.search(r": | #|^[\[{&*!|>%@`\"']", value), f"needs quotes: {line}"
        found.setdefault(".".join(key for _, key in path), []).append(quoted[1] if quoted else value)
    return found


def test_citation() -> None:
    """What the Citation File Format 1.2.0 requires, and the paper."""
    found = values(CITATION)
    assert found["cff-version"] == ["1.2.0"]
    assert found["title"] == ["netdissect_fast"]
    assert found["message"]
    assert found["authors.name"]
    assert found["type"] == ["software"]
    assert found["license"] == ["MIT"]
    paper = "preferred-citation."
    assert found[f"{paper}type"] == ["conference-paper"]
    assert found[f"{paper}year"] == ["2017"]
    assert found[f"{paper}authors.family-names"] == ["Bau", "Zhou", "Khosla", "Oliva", "Torralba"]
    assert found[f"{paper}title"][0].startswith("Network Dissection: ")


def test_the_cited_version_is_the_packages() -> None:
    assert values(CITATION)["version"] == [nd.__version__]


def test_the_readme_cites_the_same_paper() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = values(CITATION)
    assert f"title = {{{found['preferred-citation.title'][0]}}}" in readme
    names = zip(
        found["preferred-citation.authors.family-names"],
        found["preferred-citation.authors.given-names"],
        strict=True,
    )
    assert f"author = {{{' and '.join(f'{family}, {given}' for family, given in names)}}}" in readme


def test_hooks_run_what_tests_run_does() -> None:
    """All checks of the steps lint and types that one tool does alone, in their order."""
    script = (ROOT / "tests" / "run").read_text(encoding="utf-8")
    steps = dict(re.findall(r"^step (\w+)\n(.*?)(?=^step )", script, re.MULTILINE | re.DOTALL))
    wanted = re.findall(r'^"\$bin/(?!python)([^"]+)"(.*)$', steps["lint"] + steps["types"], re.MULTILINE)
    entries = values(HOOKS)["repos.hooks.entry"]
    assert [re.sub(r"^bash -c '(.*)'$", r"\1", entry) for entry in entries] == [tool + rest for tool, rest in wanted]
    assert len(entries) >= 6


def test_hooks_need_no_network() -> None:
    found = values(HOOKS)
    assert found["repos.repo"] == ["local"]
    assert set(found["repos.hooks.language"]) == {"system"}
    assert len(found["repos.hooks.language"]) == len(found["repos.hooks.id"])
