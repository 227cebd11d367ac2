"""From pictures to network inputs; telling preprocessing that shows the whole picture from any other."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from netdissect_fast.data.input.preprocess import Preprocess, from_config, from_model
from netdissect_fast.data.input.whole_image import as_input, check_sees_whole_image
from netdissect_fast.errors import ArgumentError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(width: int = 12, height: int = 8) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32).transpose(2, 0, 1).copy()) / 255


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("white", [1, 255])
def test_values_are_normalised_in_the_network_s_channel_order(channels: Any, white: Any) -> None:
    image = picture()
    mean, std = np.multiply(MEAN, white).astype(np.float32), np.multiply(STD, white).astype(np.float32)
    result = Preprocess((8, 12), mean.tolist(), std.tolist(), channels, white)(image)
    pixels = np.asarray(image)[:, :, :: 1 if channels == "RGB" else -1].astype(np.float32)
    expected = ((pixels / np.float32(255) if white == 1 else pixels) - mean) / std
    assert result.dtype == torch.float32
    assert result.is_contiguous()
    np.testing.assert_array_equal(result.numpy(), expected.transpose(2, 0, 1))


def test_the_whole_picture_is_resized_as_pillow_does_it() -> None:
    image = picture(40, 30)
    expected = np.asarray(image.resize((16, 8), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    np.testing.assert_array_equal(Preprocess((8, 16), value_range=255)(image).numpy(), expected)


def test_grey_networks_and_pictures_of_any_mode() -> None:
    image = picture()
    grey = Preprocess((8, 12), 127.5, 127.5, "L", 255)(image)
    assert grey.shape == (1, 8, 12)
    np.testing.assert_array_equal(grey[0].numpy(), (np.asarray(image.convert("L"), np.float32) - 127.5) / 127.5)
    for mode in ("L", "RGBA", "P", "CMYK", "1"):
        assert Preprocess(4)(image.convert(mode)).shape == (3, 4, 4)


def test_one_number_stands_for_both_sides_and_all_channels() -> None:
    assert Preprocess(7, 0.5, 0.25) == Preprocess((7, 7), [0.5] * 3, np.full(3, 0.25))
    assert (Preprocess((3, 5)).height, Preprocess((3, 5)).width) == (3, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size must be"),
        ({"size": (4, 5, 6)}, "size must be"),
        ({"size": (4, 2.5)}, "size must be"),
        ({"size": 1 << 20}, "size must be"),
        ({"mean": (0.5, 0.5)}, "mean must be one number or 3 of them"),
        ({"mean": "grey"}, "mean must be one number or 3"),
        ({"std": (1, 1, float("nan"))}, "std must be one number or 3"),
        ({"std": (1, 0, 1)}, "std must be above 0"),
        ({"channels": "GBR"}, "channels must be 'RGB', 'BGR', 'L' or a number of bands, got 'GBR'"),
        ({"value_range": 2}, "value_range must be 1 or 255"),
        ({"mean": (104, 117, 123)}, "does not fit value_range=1; pass value_range=255"),
        ({"mean": MEAN, "std": STD, "value_range": 255}, "does not fit value_range=255; pass value_range=1"),
    ],
)
def test_values_that_cannot_be_meant(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^preprocess: .*{message}"):
        Preprocess(**{"size": 8, **arguments})


IMAGENET = Preprocess((224, 224), MEAN, STD)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"preprocess": IMAGENET}, IMAGENET),
        ({"preprocess": {"size": 224, "mean": MEAN, "std": STD}}, IMAGENET),
        ({"preprocess": SimpleNamespace(crop_size=[224], resize_size=[256], mean=MEAN, std=STD)}, IMAGENET),
        (
            {"pretrained_cfg": {"input_size": (3, 224, 224), "crop_pct": 0.875, "mean": MEAN, "std": STD}},
            IMAGENET,
        ),
        (
            {"default_cfg": {"input_size": (1, 28, 30), "mean": (0.5,), "std": (0.5,)}},
            Preprocess((28, 30), 0.5, 0.5, "L"),
        ),
        (
            {
                "input_size": [3, 9, 8],
                "mean": [104, 117, 123],
                "std": [1, 1, 1],
                "channels": "BGR",
                "value_range": 255,
            },
            Preprocess((9, 8), (104, 117, 123), 1, "BGR", 255),
        ),
        (
            {
                "input_size": 9,
                "input_space": "BGR",
                "input_range": [0, 255],
                "mean": [1, 2, 3],
                "std": [1, 1, 2],
            },
            Preprocess(9, (1, 2, 3), (1, 1, 2), "BGR", 255),
        ),
    ],
)
def test_a_model_s_own_configuration(attributes: dict[str, Any], expected: Preprocess) -> None:
    model = nn.Linear(1, 1)
    for name, value in attributes.items():
        setattr(model, name, value)
    assert from_model(model) == expected
    assert from_model(nn.DataParallel(model)) == expected


def test_a_hugging_face_processor_s_configuration() -> None:
    config = {
        "size": {"shortest_edge": 256},
        "crop_size": {"height": 224, "width": 224},
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }
    assert from_config(config) == IMAGENET


def test_a_model_without_configuration_shows_the_line_to_write() -> None:
    model = nn.Linear(1, 1)
    model.preprocess = lambda x: x  # its own business, on tensors
    model.register_buffer("mean", torch.zeros(3))
    model.register_buffer("std", torch.ones(3))
    model.input_size = 224
    with pytest.raises(ArgumentError, match=r"pass preprocess=nd.Preprocess\(224, mean=.*--input-size 224"):
        from_model(model)
    with pytest.raises(ArgumentError, match="no usable input size"):
        from_config({"mean": MEAN})


Function = Callable[[Image.Image], Any]
RESAMPLING = [*Image.Resampling, "align_corners", "not antialiased"]


def resized(size: tuple[int, int], how: Any) -> Function:
    def function(image: Image.Image) -> Tensor:
        if isinstance(how, Image.Resampling):
            return tensor(image.resize(size[::-1], how))
        return nn.functional.interpolate(
            tensor(image)[None], size, mode="bilinear", align_corners=how == "align_corners"
        )[0]

    return function


@pytest.mark.parametrize("how", RESAMPLING, ids=str)
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (33, 47), (224, 224)], ids=str)
def test_a_plain_resize_passes(how: Any, size: tuple[int, int]) -> None:
    check_sees_whole_image(resized(size, how))


@pytest.mark.parametrize(
    "function",
    [
        tensor,
        IMAGENET,
        Preprocess(32, channels="L"),
        lambda image: IMAGENET(image).flip(0) * 40 + 3,  # channel order, any range
        lambda image: 1 - IMAGENET(image).mean(0, keepdim=True),  # grey, inverted
        lambda image: (IMAGENET(image) - IMAGENET(image).mean()) / IMAGENET(image).std(),
        lambda image: IMAGENET(image).double(),
    ],
)
def test_any_values_pass(function: Function) -> None:
    check_sees_whole_image(lambda image: function(image))


def centre_crop(resize: Any, size: int) -> Function:
    """Resize to a square, or the shorter side to a number; then cut out the centre."""

    def function(image: Image.Image) -> Tensor:
        scale = resize / min(image.size) if isinstance(resize, int) else 1
        to = (round(image.width * scale), round(image.height * scale)) if isinstance(resize, int) else resize
        image = image.resize(to, Image.Resampling.BILINEAR)
        left, top = (image.width - size) // 2, (image.height - size) // 2
        return tensor(image.crop((left, top, left + size, top + size)))

    return function


def pixels(image: Image.Image, *steps: Any) -> Tensor:
    return tensor(image.resize((64, 64)).transpose(*steps))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (centre_crop(256, 224), r"6.\d% lost at the top, 6.\d% lost at the bottom, 17.\d% lost at the left"),
        (centre_crop((256, 256), 224), r"6.[23]% lost at the top, 6.[23]% .* 6.[23]% lost at the right"),
        (centre_crop((36, 36), 32), "5.6% lost at the top"),
        (centre_crop((228, 228), 224), "0.9% lost at the top"),  # two pixels
        (
            centre_crop(224, 224),
            "480x360, 12.4% lost at the left, 12.7% lost at the right",
        ),  # square ones pass
        (
            lambda image: tensor(image.resize((64, 64)).crop((0, 0, 60, 64))),
            "480x360, 6.*% lost at the right. Labels",
        ),
        (lambda image: tensor(image.crop((200, 100, 250, 150))), "most lost between left and right"),
        (
            lambda image: tensor(ImageOps.pad(image, (64, 64))),
            "border of 8 of the result's 64 rows added at the top",
        ),
        (
            lambda image: tensor(ImageOps.pad(image, (64, 64), color="grey")),
            "a border of 8 .* added at the bottom",
        ),
        (
            lambda image: nn.functional.pad(tensor(image.resize((64, 64))), (9, 0, 0, 0), mode="replicate"),
            "14.1% added at the left. Labels",
        ),
        (lambda image: pixels(image, Image.Transpose.FLIP_LEFT_RIGHT), "mirrored between left and right"),
        (lambda image: pixels(image, Image.Transpose.FLIP_TOP_BOTTOM), "mirrored between top and bottom"),
        (lambda image: pixels(image, Image.Transpose.ROTATE_90), "lost between top and bottom"),
        (lambda image: torch.zeros(3, 8, 8), "everything lost"),
    ],
)
def test_anything_else_is_an_error_that_names_the_sides(function: Function, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        check_sees_whole_image(function)


def test_a_crop_is_let_pass_on_request() -> None:
    crop = centre_crop((256, 256), 224)
    with pytest.raises(ArgumentError, match=r"nd.Preprocess\(\(224, 224\), mean, std\) does, or pass crop='allow'"):
        check_sees_whole_image(crop)
    check_sees_whole_image(crop, crop="allow")
    with pytest.raises(ArgumentError, match="mirrored"):
        check_sees_whole_image(lambda image: crop(image).flip(2), crop="allow")
    with pytest.raises(ArgumentError, match="crop must be 'error' or 'allow', got 'maybe'"):
        check_sees_whole_image(crop, crop="maybe")  # type: ignore[arg-type]


def test_the_sizes_that_matter_can_be_given() -> None:
    check_sees_whole_image(centre_crop(224, 224), sizes=[(300, 300)])


def test_random_augmentation_is_found() -> None:
    chance = random.Random(0)

    def flipped(image: Image.Image) -> Tensor:
        return pixels(image, Image.Transpose.FLIP_LEFT_RIGHT) if chance.random() < 0.5 else resized((64, 64), 2)(image)

    def shifted(image: Image.Image) -> Tensor:
        left = chance.randrange(8)
        return tensor(image.resize((72, 72)).crop((left, 0, left + 64, 64)))

    for function in (flipped, shifted):
        with pytest.raises(ArgumentError, match="a different result each time"):
            check_sees_whole_image(function, crop="allow")


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (picture(), r"got Image; end it with a conversion to a tensor \(ToTensor\(\)\)"),
        (np.zeros((3, 8, 8), np.float32), "got ndarray"),
        (None, "got NoneType"),
        (torch.zeros(1, 3, 8, 8), r"got a tensor \[1, 3, 8, 8\]; remove the batch axis"),
        (torch.zeros(8, 9, 3), r"got a tensor \[8, 9, 3\]; channels come first: permute\(2, 0, 1\)"),
        (torch.zeros(4, 8, 8), r"got a tensor \[4, 8, 8\]$"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "got uint8; scale and convert it to float32"),
        (torch.full((3, 8, 8), torch.nan), "NaN or infinite"),
    ],
)
def test_results_that_are_not_network_inputs(result: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        check_sees_whole_image(lambda image: result)


def test_inputs_become_float32() -> None:
    assert as_input(torch.zeros(1, 8, 8, dtype=torch.float16)).dtype == torch.float32


def test_a_callable_that_raises() -> None:
    def broken(image: Image.Image) -> Tensor:
        raise TypeError("expected a tensor")

    with pytest.raises(ArgumentError, match="raised TypeError on a PIL image 480x360: expected a tensor"):
        check_sees_whole_image(broken)
