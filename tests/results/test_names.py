"""Names from data sets, wherever they are shown: no terminal obeys them, no spreadsheet computes them."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.csv_tables import cell_text, text_of_cell
from netdissect_fast.errors import printable, printable_lines
from netdissect_fast.experiments.rows import rows_csv, rows_text, save_rows
from netdissect_fast.results.summary import layer_text

from ..support.small_results import dissection

CONTROLS = {
    "escape": "\x1b[31mred",
    "csi of one byte": "\x9b2Jgone",
    "bell": "\x07ring",
    "title": "\x1b]0;title\x07",
    "right to left": "a\u202egnp.exe",
    "isolate": "\u2067abc",
    "mark": "\u200fabc",
    "carriage return": "good\rbad",
    "backspace": "good\b\b\b\bbad",
    "line separator": "a\u2028b",
}
FORMULAS = ["=cmd|' /C calc'!A0", "+1+cmd", "-2+3", "@SUM(1)", "\t=1", "\r=1", "'=1", "''=1", "=", "-"]
PLAIN = ["car", "'s", "tür", "a=b", "3-4", "'quoted'", "#1", "中"]


def named(name: str, category: str = "object", layer: str = "conv") -> nd.LayerResult:
    maps = np.array([[[[4, 0], [0, 0]]], [[[0, 0], [0, 3]]]], np.float32)
    words = nd.Vocabulary([7, 9], (name, "street"), [0, 0], (category,))
    labels = np.array([[[7, 0], [0, 0]], [[0, 0], [9, 7]]])
    return nd.score(maps, labels, words, quantile="1/4", name=layer)


def shown(text: str) -> bool:
    """Whether a terminal shows all of a text and obeys none of it."""
    return all(line.isprintable() for line in text.split("\n"))


# ------------------------------------------------------------------------------------------- terminals


@pytest.mark.parametrize("what", CONTROLS)
def test_no_table_reaches_a_terminal_with(what: str) -> None:
    name = CONTROLS[what]
    layer = named(name, name, name)
    for text in (layer_text(layer), rows_text([{name: name, "units": 3}]), repr(layer.table), repr(layer)):
        assert shown(text)
        assert printable(name) in text
    assert printable(name).isprintable()


@given(name=st.text(min_size=1), category=st.text(min_size=1), layer=st.text())
def test_no_name_at_all_does(name: str, category: str, layer: str) -> None:
    result = named(name, category, layer)
    lines = layer_text(result).split("\n")
    assert shown("\n".join(lines))
    assert len(lines) == len(layer_text(named("car")).split("\n"))
    rows = rows_text([{category: name, "layer": layer}])
    assert shown(rows)
    assert rows.count("\n") == 1
    run = nd.Dissection({layer: result}, {"model": name})
    assert shown(repr(run))


def test_columns_stay_aligned() -> None:
    first, second = rows_text([{"concept": "\x1b[31mred", "units": 3}, {"concept": "car", "units": 4}]).split("\n")[1:]
    assert first.rindex("3") == second.rindex("4")


@given(text=st.text())
def test_messages_keep_their_lines_and_nothing_else(text: str) -> None:
    got = printable_lines(text)
    assert shown(got)
    assert got.count("\n") == max(0, len(text.splitlines()) - 1)


@pytest.mark.filterwarnings("always:.*without its timings")
def test_the_command_prints_no_escape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables, JSON, errors and warnings."""
    name = "".join(CONTROLS.values())
    layer = named(name, name, name)
    nd.Dissection({name: layer}, {"model": name, "data": {"name": name}}).save(tmp_path / "run")
    (tmp_path / "run" / "timings.json").write_text("{")
    with pytest.raises(SystemExit):
        main(["\x1b[31m"])
    for arguments in (["info", "run"], ["info", "run", "--json"], ["compare", "run", "run"], ["report", f"no{name}"]):
        main([arguments[0], *(str(tmp_path / a) if "-" not in a[:2] else a for a in arguments[1:])])
        printed = capsys.readouterr()
        assert printed.out + printed.err
        assert shown(printed.out)
        assert shown(printed.err), arguments


def test_no_page_holds_a_control_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a mark of direction: titles, headings, cells, links."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # figures of so long a name are not looked at
    name = "".join(CONTROLS.values())
    layer = named(name, name, name)
    nd.report(nd.Dissection({name: layer}, {"model": name}), tmp_path / "report", pictures=False)
    pages = list((tmp_path / "report").rglob("*.html"))
    assert len(pages) >= 3
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert shown(text.replace("\t", " ")), page
    titled = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "<title>\\x1b[31mred" in titled


# ------------------------------------------------------------------------------------------- spreadsheets


def cells(text: str) -> list[str]:
    return [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def formulas(text: str) -> list[str]:
    return [cell for cell in cells(text) if cell[:1] in tuple("=+-@\t\r") and not is_number(cell)]


@pytest.mark.parametrize("name", FORMULAS)
def test_no_cell_is_a_formula(name: str, tmp_path: Path) -> None:
    layer = named(name, f"{name}x")
    nd.Dissection({"conv": layer}).save(tmp_path / "run")
    layer.table.save(tmp_path / "table.csv")
    save_rows(tmp_path, "rows", [{f"{name}x": name, "change": -0.5}])
    written = [tmp_path / "run/conv/result.csv", tmp_path / "table.csv", tmp_path / "rows.csv"]
    for path in written:
        text = path.read_bytes().decode()
        assert "'" in text
        assert formulas(text) == []
    assert "-0.5" in cells((tmp_path / "rows.csv").read_bytes().decode())  # a number stays one


@pytest.mark.parametrize("name", [*FORMULAS, *PLAIN])
def test_names_are_read_back_as_they_were(name: str, tmp_path: Path) -> None:
    layer = named(name, f"{name}x")
    layer.table.save(tmp_path / "table.csv")
    table = nd.compare_csv(tmp_path / "table.csv")
    assert [row.label for row in table.rows()] == [row.label for row in layer.table.rows()] == [name]
    assert table.vocabulary.categories == (f"{name}x",)
    assert table.to_csv() == layer.table.to_csv()


@pytest.mark.parametrize("name", PLAIN)
def test_other_names_are_written_as_ever(name: str) -> None:
    """Such as all of Broden's: result.csv is NetDissect's to the byte."""
    assert cell_text(name) == name
    assert rows_csv([{"label": name}]) in (f"label\n{name}\n", f'label\n"{name}"\n')


@given(text=st.text())
def test_any_text_returns_from_a_cell(text: str) -> None:
    assert text_of_cell(cell_text(text)) == text
    assert not cell_text(text).startswith(("=", "+", "-", "@", "\t", "\r"))


def test_json_and_frames_hold_plain_names() -> None:
    table: Any = named("=1").table
    assert json.loads(table.to_json())[0]["label"] == table.to_pandas()["label"][0] == "=1"


def test_a_saved_run_keeps_its_names(tmp_path: Path) -> None:
    layer = named("=1", "@x")
    nd.Dissection({"conv": layer}).save(tmp_path)
    assert nd.load(tmp_path)["conv"].vocabulary.names == ("=1", "street")


def test_no_name_of_the_small_results_is_touched() -> None:
    for layer in dissection().values():
        assert not [cell for cell in cells(layer.table.to_csv()) if cell.startswith("'")]


def test_what_else_prints_names_is_printable() -> None:
    """A build's summary; a figure's text, since a control character would break its SVG."""
    from netdissect_fast.data.builder.build import Built
    from netdissect_fast.plot import _text

    name = "".join(CONTROLS.values())
    assert shown(str(Built(Path("out"), 1, 1, (name,), ())))
    assert shown(_text(name))
