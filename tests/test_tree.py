"""The tree as a map: concepts have files, limits of the structure hold, public names stay."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path

import pytest

import netdissect_fast as nd

from .structure import PACKAGE, measure

ROOT = Path(__file__).parents[1]

# Where somebody would look for a word, and the files that may carry it in their path.
WORDS = {
    "threshold": "scoring/thresholds.py",
    "unit_label": "scoring/unit_labels.py",
    "iou": "scoring/iou.py",
    "preprocess": "data/input/preprocess.py",
    "checkpoint": "runs/checkpoints.py",
    "null": "results/null.py",
    "trac": "geometry/tracer.py",
    "cuda": "scoring/backends/cuda.py",
}

PUBLIC = """
    Broden CocoInstances CocoPanoptic ConceptDataset Counts Dissection Estimate Folder FromTorch Grid ImageLabels Joined
    LayerResult NetDissectError Null PackedLabels Peaks Preprocess Report Segmented Subset Synthetic Tokens UnitTable
    Vocabulary __version__ ablate build check compare compare_csv contact_sheet curve dissect dissect_series download
    estimate explain find load merge null open_data overview plot report rotate score score_peaks sets_by_label
    sets_by_rank show_config watch
"""


@pytest.mark.parametrize("word", WORDS)
def test_a_word_leads_to_its_file(word: str) -> None:
    """A search of the file names finds at most three, the right one among them."""
    listed = subprocess.run(
        ["git", "ls-files", "csrc", "python"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    found = [path for path in listed.stdout.splitlines() if word in path.lower()]
    assert f"python/netdissect_fast/{WORDS[word]}" in found
    assert len(found) <= 3


def test_limits_of_the_structure() -> None:
    """See CONTRIBUTING.md; ``python -m tests.structure`` prints what is counted here."""
    found = measure(PACKAGE).totals
    assert found["floors"] <= 12
    assert found["rooms"] <= 26
    assert found["circles"] == found["circles of modules"] == 0
    assert found["arrows back up"] <= 5
    assert found["median lines"] <= 115
    assert found["largest lines"] <= 330


def test_every_room_says_what_it_is_for() -> None:
    rooms = [path.parent for path in PACKAGE.glob("*/__init__.py")]
    assert len(rooms) >= 10
    for room in rooms:
        assert len((room / "__init__.py").read_text(encoding="utf-8").split('"""')[1].split()) > 8, room


def test_public_names_stay() -> None:
    assert set(PUBLIC.split()) <= set(nd.__all__)


def test_old_places_still_import() -> None:
    """What an example, or an older data/__init__, once named."""
    with pytest.warns(DeprecationWarning, match=r"data\.input\.preprocess"):
        from netdissect_fast.data.preprocess import from_model
    with pytest.warns(DeprecationWarning, match=r"demo\.demo"):
        from netdissect_fast.demo import PIXELS
    with pytest.warns(DeprecationWarning, match=r"data\.dataset"):
        from netdissect_fast.data import DataWarning
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from netdissect_fast.data import dataset
        from netdissect_fast.data.input import preprocess
        from netdissect_fast.demo import demo
    assert from_model is preprocess.from_model
    assert PIXELS == demo.PIXELS
    assert DataWarning is dataset.DataWarning
