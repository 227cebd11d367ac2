"""Nulls: p and q are what they are said to be, chance is rarely sure, and files come back or are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

import netdissect_fast as nd
from netdissect_fast.concepts import PackedLabels
from netdissect_fast.errors import ArgumentError, DataError
from netdissect_fast.experiments.null import null_rows
from netdissect_fast.results.null import Null
from netdissect_fast.storage import write_arrays

from ..support.strategies import rngs
from .labels_alone import WORDS, dissected, drawn

# ------------------------------------------------------------------------------------------------ p and q


def test_p_by_hand() -> None:
    null = Null(np.array([[0.1, 0.2], [0.2, 0.4], [0.0, 0.3]]), np.zeros(2))
    observed = np.array([0.5, 0.4, 0.3, 0.2, 0.15, 0.0])  # a tie counts as reached
    np.testing.assert_array_equal(null.p_values(observed), np.array([1, 2, 3, 5, 5, 7]) / 7)
    assert null.repeats == 3
    assert null.expected_detectors(0.15) == (1 + 2 + 1) / 3
    assert null.expected_detectors(0.2) == (0 + 1 + 1) / 3  # strictly above, as detectors are
    assert null.expected_detectors(0.5) == 0


@given(rngs(), st.integers(1, 4), st.integers(0, 30), st.booleans())
def test_q_is_benjamini_and_hochbergs(rng: np.random.Generator, repeats: int, units: int, ties: bool) -> None:
    def draw(*shape: int) -> np.ndarray:
        return rng.integers(0, 4, shape) / 4 if ties else rng.random(shape)

    null, observed = Null(draw(repeats, units), draw(units)), draw(units)
    p, q = null.p_values(observed), null.q_values(observed)
    reached = [(null.scores >= score).sum() for score in observed]
    np.testing.assert_allclose(p, (1 + np.array(reached, float)) / (1 + repeats * units))
    np.testing.assert_allclose(q, false_discovery_control(p) if units else p)


def test_level_where_all_is_chance() -> None:
    """Maps that know nothing of the labels: hardly a unit is sure, and p is as small as it says as often as it says."""
    rows, p = [], []
    for seed in range(30):
        data = drawn(16, seed)
        maps = np.random.default_rng(1000 + seed).standard_normal((16, 12, 4, 4)).astype(np.float32)
        run = nd.null(dissected(maps, data), repeats=8, seed=seed, threads=1)
        rows += null_rows(run, 0.06)
        p.append(run["maps"].table.p)
    total = {name: sum(row[name] for row in rows) for name in rows[0] if name != "layer"}
    assert total["sure (q <= 0.05)"] <= 0.05 * total["units"]
    assert total["sure where all is chance"] <= 0.05 * total["units"]
    assert 0.2 * total["units"] < total["detectors"] < 0.95 * total["units"]  # a threshold that chance does pass
    assert abs(total["expected by chance"] - total["detectors"]) < 0.1 * total["units"]
    for level in (0.1, 0.3, 0.5, 0.8):
        assert abs((np.concatenate(p) <= level).mean() - level) < 0.1


def test_power() -> None:
    """Units that follow a concept are sure, those beside them are not."""
    data = drawn(24, 5)
    labels = PackedLabels.pack(data.given, WORDS)
    maps = np.random.default_rng(5).standard_normal((24, 20, 12, 12)).astype(np.float32)
    for unit, concept in enumerate((0, 1, 2, 3)):
        maps[:, unit] += 3 * np.stack([labels.mask(i, concept) for i in range(24)])
    layer = nd.null(dissected(maps, data), seed=1)["maps"]
    q = layer.table.q
    assert q is not None
    assert (q[:4] <= 0.05).all()
    assert (q[4:] > 0.05).all()
    assert [row.label for row in layer.units()[:4]] == ["sky", "tree", "wheel", "door"]
    assert [row.q for row in layer.units()] == q.tolist()


def test_seeds_and_repeats() -> None:
    data = drawn(10, 6)
    run = dissected(np.random.default_rng(6).standard_normal((10, 4, 4, 4)).astype(np.float32), data)
    three, five, other = (nd.null(run, repeats=n, seed=s)["maps"].null for n, s in ((3, 0), (5, 0), (3, 1)))
    np.testing.assert_array_equal(three.scores, five.scores[:3])  # each shuffling has numbers of its own
    np.testing.assert_array_equal(three.held_out, five.held_out)
    assert (three.scores != other.scores).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"repeats": 0}, "repeats"),
        ({"seed": -1}, "seed"),
        ({"backend": "abacus"}, "abacus"),
        ({"threads": 0}, "threads"),
    ],
)
def test_wrong_arguments(options: dict[str, object], words: str) -> None:
    run = dissected(np.random.default_rng(6).standard_normal((10, 4, 4, 4)).astype(np.float32), drawn(10, 6))
    with pytest.raises(nd.NetDissectError, match=words):
        nd.null(run, **options)  # type: ignore[arg-type]


def test_nothing_to_shuffle_and_no_peaks() -> None:
    data, maps = drawn(1, 0), np.ones((1, 2, 4, 4), np.float32)
    with pytest.raises(ArgumentError, match="no two images carry"):
        nd.null(dissected(maps, data))
    with pytest.raises(ArgumentError, match="no peaks"):
        nd.null(dissected(np.ones((4, 2, 4, 4), np.float32), drawn(4, 0), thresholds=[0, 0]))
    with pytest.raises(ArgumentError, match="run null first"):
        null_rows(dissected(maps, data))
    other = replace(dissected(maps, data), run={"data": {"fingerprint": drawn(2, 0).fingerprint()}})
    with pytest.raises(ArgumentError, match="not the data set that was dissected"):
        nd.null(other)


# ------------------------------------------------------------------------------------------------ on disk


def test_saved_and_loaded(run: nd.Dissection, tmp_path: Path) -> None:
    run.save(tmp_path)
    assert not (tmp_path / "3" / "null.safetensors").exists()
    plain = nd.compare_csv(tmp_path / "3" / "result.csv")
    assert plain.p is plain.q is None
    assert run["3"].table.columns[-1] == "chance"
    nd.null(run, repeats=3, out=tmp_path)
    loaded, table = nd.load(tmp_path), nd.compare_csv(tmp_path / "3" / "result.csv")
    np.testing.assert_array_equal(loaded["3"].null.scores, run["3"].null.scores)  # type: ignore[union-attr]
    np.testing.assert_array_equal(loaded["3"].null.held_out, run["3"].null.held_out)  # type: ignore[union-attr]
    assert (tmp_path / "3" / "result.csv").read_text().partition("\n")[0].split(",")[-4:] == [
        "threshold", "chance", "p", "q",
    ]  # fmt: skip
    for column in ("p", "q"):
        np.testing.assert_array_equal(getattr(table, column), getattr(loaded["3"].table, column))
    loaded["3"].null = None
    loaded.save(tmp_path)  # and the columns go again
    assert nd.load(tmp_path)["3"].null is None
    assert nd.compare_csv(tmp_path / "3" / "result.csv").q is None


GOOD = {"scores": np.full((2, 12), 0.5), "held_out": np.full(12, 0.5)}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"scores": GOOD["scores"]}, "no array"),
        (GOOD | {"scores": np.full((2, 11), 0.5)}, "12 units"),
        (GOOD | {"held_out": np.full(11, 0.5)}, "12 units"),
        (GOOD | {"scores": np.full(12, 0.5)}, "12 units"),
        (GOOD | {"scores": np.array(0.5)}, "12 units"),
        (GOOD | {"scores": np.full((2, 12), 1.5)}, "is not an IoU"),
        (GOOD | {"held_out": np.full(12, np.nan)}, "is not an IoU"),
        (GOOD | {"scores": np.full((2, 12), 0.5, np.float32)}, "is not an IoU"),
        (GOOD | {"scores": np.zeros((2, 12), np.int64)}, "is not an IoU"),
    ],
)
def test_broken_files(run: nd.Dissection, tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    run.save(tmp_path)
    path = tmp_path / "3" / "null.safetensors"
    write_arrays(path, arrays)
    with pytest.raises(DataError, match=words) as caught:
        nd.load(tmp_path)
    assert caught.value.path == str(path)


def test_files_that_are_missing_or_something_else(run: nd.Dissection, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        Null.load(tmp_path / "missing.safetensors", 2)
    run.save(tmp_path)
    path = tmp_path / "3" / "null.safetensors"
    for content in (b"", b"junk" * 10):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"null\.safetensors"):
            nd.load(tmp_path)
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(DataError, match=r"null\.safetensors"):
        nd.load(tmp_path)
