"""Images of any depth and number of bands reach the network unrounded; 8 bits are for looking at."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.data.bands import picture_of
from netdissect_fast.data.input.batches import image_batches
from netdissect_fast.data.input.preprocess import from_config
from netdissect_fast.data.input.whole_image import as_input, check_sees_whole_image
from netdissect_fast.errors import ArgumentError

NAMES = ["-", "field"]
LABELS = np.ones((12, 16), np.int64)
SCAN = 1000 + np.arange(12 * 16).reshape(1, 12, 16)  # of 12 bits: 192 grey levels within 12 of 8 bits
BANDS = np.random.default_rng(0).random((4, 12, 16), np.float32)


def of(*images: Any, **options: Any) -> nd.FromTorch:
    return nd.FromTorch([(image, LABELS) for image in images], NAMES, **options)


def seen(data: Any, preprocess: Any) -> np.ndarray:
    return next(image_batches(data, preprocess, len(data)))[1].numpy()


def same(values: Any) -> Tensor:
    """What a user's callable may do with bands."""
    assert isinstance(values, torch.Tensor)
    return values


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (torch.from_numpy(SCAN / 4095), {}),
        (torch.from_numpy((SCAN / 4095).astype(np.float32)), {}),
        (SCAN.astype(np.uint16), {"image_range": (0, 4095)}),
        (torch.from_numpy(SCAN), {"image_range": (0, 4095)}),
        (Image.fromarray(SCAN[0].astype(np.uint16)), {"image_range": (0, 4095)}),
        (Image.fromarray(SCAN[0].astype(np.int32)), {"image_range": (0, 4095)}),
        (Image.fromarray(SCAN[0].astype(np.float32)), {"image_range": (0, 4095)}),
    ],
)
def test_depth_reaches_the_network(image: Any, options: dict[str, Any]) -> None:
    """Rows 5 and 6 of the note: the network saw 13 grey levels of 192, or nothing."""
    data = of(image, **options)
    expected = (SCAN / 4095).astype(np.float32)
    network = seen(data, nd.Preprocess((12, 16), channels="L"))
    assert len(np.unique(network)) == 192
    np.testing.assert_allclose(network[0], expected, rtol=0, atol=1e-7)
    np.testing.assert_allclose(seen(data, same)[0], expected, rtol=0, atol=1e-7)
    colours = seen(data, nd.Preprocess((12, 16), 0.5, 0.25))
    np.testing.assert_allclose(colours[0], np.repeat((expected - 0.5) / 0.25, 3, 0), rtol=0, atol=1e-6)
    drawn = np.asarray(data.image(0))
    assert np.array_equal(drawn, np.repeat(np.rint(expected[0] * 255).astype(np.uint8)[..., None], 3, 2))


@pytest.mark.parametrize("low", [-1000.0, 0.0])
def test_a_range_may_begin_anywhere(low: float) -> None:
    image = np.linspace(low, low + 4000, 192, dtype=np.float32).reshape(1, 12, 16)
    network = seen(of(image, image_range=(low, low + 4000)), same)
    np.testing.assert_allclose(network[0, 0].ravel(), np.linspace(0, 1, 192), atol=1e-6)


@pytest.mark.parametrize("count", [2, 4, 7])
@pytest.mark.parametrize("depth", ["float", "uint8", "uint16"])
def test_any_number_of_bands(count: int, depth: str) -> None:
    """Row 4 of the note."""
    white = {"float": 1, "uint8": 255, "uint16": 65535}[depth]
    raw = (np.random.default_rng(1).random((count, 12, 16)) * white).astype(np.float32 if white == 1 else depth)
    data = of(raw, **({"image_range": (0, white)} if depth == "uint16" else {}))
    expected = (raw.astype(np.float64) / white).astype(np.float32)
    mean, std = np.linspace(0.1, 0.4, count), np.linspace(0.2, 0.3, count)
    network = seen(data, nd.Preprocess((12, 16), mean.tolist(), std.tolist(), count))
    np.testing.assert_allclose(network[0], (expected - mean[:, None, None]) / std[:, None, None], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(seen(data, same)[0], expected)
    assert nd.overview(data, threads=1).image_sizes == {(12, 16): 1}
    assert not nd.check(data).faults


def test_a_network_of_four_bands_is_dissected_and_drawn_as_chosen(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    images = rng.random((6, 4, 32, 32), np.float32)
    maps = np.zeros((6, 32, 32), np.int64)
    maps[:, 8:24, 4:20] = 1
    images[:, 3] += maps  # the field shows in the fourth band
    images /= 2
    net = nn.Sequential(nn.Conv2d(4, 2, 1, bias=False))
    with torch.no_grad():
        net[0].weight[:] = torch.tensor([[0.0, 0, 0, 1], [1, 0, 0, 0]])[..., None, None]
    items = list(zip(images, maps, strict=True))
    data = nd.FromTorch(items, NAMES, label_size=None)
    options: dict[str, Any] = {"cache": tmp_path / "cache", "progress": False, "quantile": 0.25}
    for preprocess in (nd.Preprocess(32, channels=4), lambda bands: bands):
        result = nd.dissect(net, data, "0", preprocess=preprocess, out=tmp_path / "out", resume=False, **options)
        assert result["0"].iou[0, 0] == 1.0
        assert result["0"].iou[1, 0] < 0.5
    with pytest.raises(ArgumentError, match=r"image \d has 4 bands: say which are drawn .*drawn=\(2, 1, 0\)"):
        nd.report(result, out=tmp_path / "report", data=data, progress=False)
    drawn = nd.FromTorch(items, NAMES, label_size=None, drawn=(2, 1, 0))
    assert drawn.fingerprint() == data.fingerprint()
    nd.report(result, out=tmp_path / "report", data=drawn, progress=False)
    assert list((tmp_path / "report").rglob("*.jpg"))
    assert np.array_equal(np.asarray(drawn.image(1))[..., 0], np.rint(images[1, 2].clip(0, 1) * 255))


class Own:
    """A data set of one's own: every other image is an 8-bit picture."""

    def __init__(self) -> None:
        self.vocabulary = of(BANDS).vocabulary

    def __len__(self) -> int:
        return 2

    def image(self, index: int) -> Image.Image:
        return Image.new("RGB", (16, 12), (index, 0, 0))

    def bands(self, index: int) -> Any:
        return torch.from_numpy(BANDS[:3]).double() if index == 0 else None

    def labels(self, index: int) -> nd.ImageLabels:
        return nd.ImageLabels(LABELS[None].astype(np.int32))

    def name(self, index: int) -> str:
        return str(index)

    def fingerprint(self) -> str:
        return "a"


@pytest.mark.parametrize("wrap", ["itself", "subset", "joined", "function"])
def test_a_data_set_of_ones_own(tmp_path: Path, wrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data: Any = Own()
    if wrap == "subset":
        data = nd.Subset(data, [0, 1])
    elif wrap == "joined":
        data = nd.Joined([data, data])
    elif wrap == "function":
        (tmp_path / "sets.py").write_text("from tests.data.test_bands import Own\n\n\ndef own():\n    return Own()\n")
        monkeypatch.syspath_prepend(Path(__file__).parents[2])
        data = nd.open_data(f"{tmp_path}/sets.py:own")
    network = seen(data, nd.Preprocess((12, 16)))
    np.testing.assert_array_equal(network[0], BANDS[:3])
    np.testing.assert_allclose(network[1, 0], 1 / 255)


@pytest.mark.parametrize(
    "bad", [torch.zeros(4, 2, 2, dtype=torch.uint8), torch.zeros(2, 2), torch.tensor([[[np.nan]]])]
)
def test_bands_that_are_none(bad: Tensor) -> None:
    data = Own()
    data.bands = lambda index: bad  # type: ignore[method-assign]
    with pytest.raises(ArgumentError, match=r"bands\(0\) of .* must be finite floats \[C, Y, X\]"):
        picture_of(data, 0)


def test_a_segmenter_sees_a_picture_and_the_network_the_bands() -> None:
    data = of(SCAN / 4095)
    labelled = nd.Segmented(data, lambda batch: (batch[:, 0] > 0.25).long(), NAMES)
    np.testing.assert_allclose(seen(labelled, same)[0], SCAN / 4095, atol=1e-7)


class TestEightBits:
    """They take the path that they always took, bit by bit."""

    PIXELS = np.random.default_rng(3).integers(0, 256, (3, 30, 40), np.uint8)

    @pytest.mark.parametrize("form", ["uint8", "float32", "float64", "float16", "torch"])
    def test_floats_that_are_multiples_of_255ths(self, form: str) -> None:
        photo = Image.fromarray(self.PIXELS.transpose(1, 2, 0))
        whole = torch.from_numpy(self.PIXELS).float().div(255)
        image = {"uint8": self.PIXELS, "torch": whole}.get(form)
        image = (self.PIXELS / 255).astype(form) if image is None else image
        preprocess = nd.Preprocess((16, 20), 0.4, 0.2)
        data = nd.FromTorch([(image, 1)], NAMES)
        assert isinstance(picture_of(data, 0), Image.Image)
        assert np.array_equal(seen(data, preprocess)[0], preprocess(photo).numpy())
        assert data.fingerprint() == nd.FromTorch([(photo, 1)], NAMES).fingerprint()

    def test_all_are_bands_if_the_first_is(self) -> None:
        data = of(BANDS[:3], self.PIXELS[:, :12, :16], Image.new("RGB", (16, 12), (255, 0, 0)))
        assert [picture_of(data, i).dtype for i in range(3)] == [torch.float32] * 3
        np.testing.assert_allclose(seen(data, same)[1], self.PIXELS[:, :12, :16] / 255, atol=1e-7)
        assert seen(data, same)[2, :, 0, 0].tolist() == [1, 0, 0]

    def test_later_depth_is_not_rounded_either(self) -> None:
        data = of(self.PIXELS[:, :12, :16], BANDS[:3])
        np.testing.assert_array_equal(seen(data, nd.Preprocess((12, 16)))[1], BANDS[:3])


class TestFingerprint:
    def test_it_changes_with_bits_that_8_bits_lose(self) -> None:
        assert of(SCAN / 4095).fingerprint() != of((SCAN + 1) / 4095).fingerprint()
        ranges = [of(SCAN, image_range=(0, white)).fingerprint() for white in (4095, 65535)]
        assert ranges[0] != ranges[1]

    def test_a_version_of_bands_is_another_than_of_pictures(self) -> None:
        """What was dissected before, rounded, must not be resumed."""
        eight = of(np.zeros((1, 12, 16), np.uint8), version="1")
        assert eight.fingerprint() != of(SCAN / 4095, version="1").fingerprint()

    def test_pickles(self) -> None:
        data = of(SCAN, image_range=(0, 4095))
        again = pickle.loads(pickle.dumps(data))
        assert again.fingerprint() == data.fingerprint()
        assert np.array_equal(seen(again, same), seen(data, same))


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (SCAN.astype(np.uint16), {}, r"got uint16 in 1000..1191; pass image_range=\(black, white\)"),
        (Image.fromarray(SCAN[0].astype(np.uint16)), {}, r"Pillow's mode I;16; pass image_range="),
        (Image.new("LAB", (16, 12)), {}, "Pillow's mode LAB; convert it to RGB"),
        (SCAN, {"image_range": (0, 1100)}, r"has values in 1000..1191, outside image_range=\(0, 1100\)"),
        (np.full((1, 12, 16), np.inf), {"image_range": (0, 1)}, "expected finite numbers"),
        (BANDS.transpose(1, 2, 0), {}, r"expected a PIL image or \[C, Y, X\], channels first"),
        (np.zeros((12, 16, 8), np.float32), {}, r"expected \[C, Y, X\], channels first, got \[12, 16, 8\]"),
        (SCAN, {"image_range": (1, 1)}, r"image_range must be \(black, white\)"),
        (SCAN, {"image_range": 4095}, r"image_range must be \(black, white\)"),
        (BANDS, {"drawn": (0, 1)}, "drawn must be the numbers of three bands, or of one"),
    ],
)
def test_what_is_refused_says_what_to_do(image: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        of(image, **options)


@pytest.mark.parametrize("drawn", [None, (0, 1, 4)])
def test_bands_that_are_not_there_are_not_drawn(drawn: Any) -> None:
    with pytest.raises(ArgumentError, match=r"image 0 has 4 bands: say which .*numbers from 0 to 3"):
        of(BANDS, drawn=drawn).image(0)
    assert np.ptp(np.asarray(of(BANDS, drawn=(3,)).image(0)), axis=2).max() == 0


def test_a_16_bit_photograph_in_a_folder_says_where_to_go(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(SCAN[0].astype(np.uint16)).save(tmp_path / "images/0.png")
    Image.fromarray(np.ones((12, 16), np.uint8)).save(tmp_path / "masks/0.png")
    (tmp_path / "names.csv").write_text("value,name\n1,field\n")
    with pytest.raises(nd.NetDissectError, match=r"mode I;16; read it in a torch Dataset .*image_range="):
        nd.Folder(tmp_path).image(0)


class TestPreprocess:
    @given(
        size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        to=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        seed=st.integers(0, 99),
    )
    def test_bands_are_resized_as_pictures_are(self, size: tuple[int, int], to: tuple[int, int], seed: int) -> None:
        """The same filter, but for the rounding to 8 bits after each of its two passes."""
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        preprocess = nd.Preprocess(to, value_range=255)
        rounded = preprocess(Image.fromarray(pixels))
        bands = preprocess(torch.from_numpy(pixels.transpose(2, 0, 1) / np.float32(255)))
        assert (rounded - bands).abs().max() <= 1.01

    @pytest.mark.parametrize("channels", ["RGB", "BGR", "L", 3])
    @pytest.mark.parametrize("white", [1, 255])
    def test_order_and_range(self, channels: Any, white: Any) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
        preprocess = nd.Preprocess((12, 16), 0.5 * white, 0.25 * white, channels, white)
        bands = preprocess(torch.from_numpy(pixels.transpose(2, 0, 1) / np.float32(255)))
        assert bands.is_contiguous()
        tolerance = 0.6 / 255 / 0.25 if channels == "L" else 1e-5  # Pillow's grey is rounded
        np.testing.assert_allclose(bands, preprocess(Image.fromarray(pixels)), rtol=0, atol=tolerance)

    @pytest.mark.parametrize(("channels", "count"), [("RGB", 4), ("L", 4), (4, 3), (2, 1)])
    def test_other_numbers_of_bands(self, channels: Any, count: int) -> None:
        with pytest.raises(ArgumentError, match=f"channels={channels!r}, but the data set's images have {count} bands"):
            nd.Preprocess(8, channels=channels)(torch.zeros(count, 8, 8))

    def test_bands_of_a_picture(self) -> None:
        with pytest.raises(ArgumentError, match="channels=4, but the data set's images are 8-bit pictures"):
            nd.Preprocess(8, channels=4)(Image.new("RGB", (8, 8)))

    @pytest.mark.parametrize("channels", [0, -1, "RGBA", None])
    def test_impossible_channels(self, channels: Any) -> None:
        with pytest.raises(ArgumentError, match="or a number of bands"):
            nd.Preprocess(8, channels=channels)

    def test_a_models_own_configuration(self) -> None:
        assert from_config({"input_size": (4, 24, 32)}) == nd.Preprocess((24, 32), channels=4)
        config = SimpleNamespace(input_size=(5, 8, 8), mean=(0.1,) * 5, std=(0.2,) * 5)
        assert from_config(config) == nd.Preprocess(8, 0.1, 0.2, 5)

    @pytest.mark.parametrize("text", ["RGBA", "0", "-1"])
    def test_the_option(self, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["dissect", "--model", "a", "--data", "b", "--layers", "c", "--channels", text])
        assert "a number of bands" in capsys.readouterr().err


class TestCallables:
    def test_bands_in_their_places_pass(self) -> None:
        def resized(bands: Tensor) -> Tensor:
            return nn.functional.interpolate(bands[None], (24, 32), mode="bilinear", antialias=True)[0]

        check_sees_whole_image(resized, channels=4)
        check_sees_whole_image(lambda bands: resized(bands)[:2], channels=4)

    def test_misplaced_bands_do_not(self) -> None:
        with pytest.raises(ArgumentError, match="mirrored"):
            check_sees_whole_image(lambda bands: bands.flip(2), channels=4)
        with pytest.raises(ArgumentError, match="lost at the"):
            check_sees_whole_image(lambda bands: bands[:, 40:-40, 40:-40], channels=4)

    def test_a_callable_for_pictures_says_what_it_got(self) -> None:
        def of_pictures(image: Any) -> Any:
            return image.convert("RGB")

        with pytest.raises(ArgumentError, match=r"raised AttributeError on a float tensor \[4, 360, 480\]"):
            check_sees_whole_image(of_pictures, channels=4)

    def test_channels_last(self) -> None:
        with pytest.raises(ArgumentError, match=r"channels come first: permute\(2, 0, 1\)"):
            as_input(torch.zeros(8, 9, 4), 4)
        assert as_input(torch.zeros(6, 8, 9), 4).shape == (6, 8, 9)  # bands that it computes
        with pytest.raises(ArgumentError, match=r"got a tensor \[4, 8, 9\]$"):
            as_input(torch.zeros(4, 8, 9))


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A 16-bit grey and a 4-band data set, and their reports."""
    (tmp_path / "own.py").write_text(SETS)
    for name, channels in (("grey", "L"), ("bands", "4")):
        command = ["dissect", "--model", f"{tmp_path}/own.py:net_{name}", "--layers", "0", "--quiet"]
        command += ["--data", f"{tmp_path}/own.py:{name}", "--input-size", "32", "--channels", channels]
        command += ["--quantile", "0.25", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / name)]
        assert main(command) == 0, capsys.readouterr().err
        report = ["report", str(tmp_path / name), "--data", f"{tmp_path}/own.py:{name}", "--quiet"]
        assert main([*report, "--cache", str(tmp_path / "cache")]) == 0, capsys.readouterr().err
        assert nd.load(tmp_path / name)["0"].iou.max() == 1.0


SETS = """
import numpy as np
import torch
import netdissect_fast as nd


def items(bands, white):
    images = np.random.default_rng(0).integers(0, white // 2, (6, bands, 32, 32)).astype(np.uint16)
    labels = np.zeros((6, 32, 32), np.int64)
    labels[:, 8:24, 4:20] = 1
    images[:, -1] += (labels * (white // 2)).astype(np.uint16)
    return list(zip(images, labels))


def grey():
    return nd.FromTorch(items(1, 65535), ["-", "field"], image_range=(0, 65535), label_size=None)


def bands():
    return nd.FromTorch(items(4, 4095), ["-", "field"], image_range=(0, 4095), drawn=(2, 1, 0), label_size=None)


def net(bands):
    layer = torch.nn.Conv2d(bands, 1, 1, bias=False)
    layer.weight.data[:] = 0
    layer.weight.data[:, -1] = 1
    return torch.nn.Sequential(layer)


def net_grey():
    return net(1)


def net_bands():
    return net(4)
"""
