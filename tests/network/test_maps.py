"""What layers give, as maps: tokens, layouts, dtypes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from netdissect_fast.errors import ArgumentError, LayerError
from netdissect_fast.network.hooks import Tokens, watch
from tests.support.watching import Around, collect, images


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.long(), "returns int64 values, expected floats"),
        (lambda x: x > 0, "returns bool values"),
        (lambda x: torch.complex(x, x), "returns complex64 values"),
        (lambda x: x.mean((1, 2, 3)), r"returns a tensor \[2\]; expected"),
        (lambda x: x[..., None], r"returns a tensor \[2, 3, 8, 8, 1\]; expected"),
        (lambda x: torch.cat([x, x]), r"\[4, 3, 8, 8\] for a batch of 2 images: its first axis"),
        (lambda x: x.new_zeros(5, 2, 7), r"if tokens come first, pass tokens=Tokens\(layout='TBD'\)"),
        (lambda x: x[:, :0], "returns empty maps"),
        (lambda x: x.to_sparse(), "sparse or nested"),
    ],
)
def test_outputs_that_are_no_maps(function: Any, message: str) -> None:
    with pytest.raises(LayerError, match=f"layer 'layer' {message}" if message[0] == "g" else message):
        collect(Around(function), "layer")


@pytest.mark.filterwarnings("ignore")  # torch announces the end of quantised tensors
def test_quantised_outputs_are_an_error_that_says_what_to_give() -> None:
    model = Around(lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8))
    with pytest.raises(LayerError, match=r"expected floats; pass transform=torch\.dequantize"):
        collect(model, "layer")
    assert collect(model, "layer", transform=torch.dequantize)["layer"].dtype == torch.float32


@pytest.mark.parametrize(("dtype", "seen"), [(torch.bfloat16,) * 2, (torch.float64, torch.float32)])
def test_half_precision_stays_double_is_rounded(dtype: torch.dtype, seen: torch.dtype) -> None:
    assert collect(Around(lambda x: x.to(dtype)), "layer")["layer"].dtype == seen


@pytest.mark.parametrize(("prefix", "grid"), [(0, (4, 4)), (1, (7, 7)), (2, (7, 7)), (5, (16, 16))])
def test_token_grids_are_inferred(prefix: int, grid: tuple[int, int]) -> None:
    tokens = torch.arange(2 * (prefix + grid[0] * grid[1]) * 3.0).reshape(2, -1, 3)
    maps = collect(Around(lambda x: tokens), "layer")["layer"]
    assert maps.shape == (2, 3, *grid)
    assert torch.equal(maps[1, :, 2, 1], tokens[1, prefix + 2 * grid[1] + 1])


def test_token_grids_follow_the_shape_of_the_image() -> None:
    x = images(2, (12, 18))
    maps = collect(Around(lambda x: torch.zeros(2, 1 + 4 * 6, 3)), "layer", x)["layer"]  # 25 = 5 x 5 would be wrong
    assert maps.shape == (2, 3, 4, 6)


def test_ambiguous_tokens_say_which_argument_to_give() -> None:
    nine = Around(lambda x: x.new_zeros(2, 9, 3))
    with pytest.raises(LayerError, match=r"9 tokens .* could be 0 \+ 3x3 or 5 \+ 2x2; .*Tokens\(grid="):
        collect(nine, "layer")
    seven = Around(lambda x: x.new_zeros(2, 7, 3))
    with pytest.raises(LayerError, match=r"7 tokens .*no grid of that shape fits.*Tokens\(grid="):
        collect(seven, "layer")
    assert collect(nine, "layer", tokens=Tokens(prefix=5))["layer"].shape == (2, 3, 2, 2)
    assert collect(nine, "layer", tokens={"layer": Tokens(prefix=0)})["layer"].shape == (2, 3, 3, 3)
    assert collect(seven, "layer", tokens=Tokens(grid=(2, 3)))["layer"].shape == (2, 3, 2, 3)
    with pytest.raises(LayerError, match="7 tokens, which cannot be a 2x3 grid after 2 others"):
        collect(seven, "layer", tokens=Tokens(grid=(2, 3), prefix=2))
    with pytest.raises(LayerError, match="cannot be a 3x3 grid"):
        collect(seven, "layer", tokens=Tokens(grid=(3, 3)))


def test_tokens_first_and_channels_last_layouts() -> None:
    x = images(2)
    tokens = torch.randn(17, 2, 3)
    seen = collect(Around(lambda x: tokens), "layer", x, tokens=Tokens(layout="TBD"))["layer"]
    assert torch.equal(seen[1, :, 0, 2], tokens[3, 1])
    swin = torch.randn(2, 4, 4, 96)
    with pytest.raises(LayerError, match=r"looks like \[B, H, W, C\].*pass tokens=Tokens\(layout='BHWC'\)"):
        collect(Around(lambda x: swin), "layer", x)
    assert torch.equal(
        collect(Around(lambda x: swin), "layer", x, tokens=Tokens(layout="BHWC"))["layer"],
        swin.permute(0, 3, 1, 2),
    )
    assert collect(Around(lambda x: swin), "layer", x, tokens=Tokens(layout="BCHW"))["layer"].shape == swin.shape


@pytest.mark.parametrize("options", [{"grid": (0, 3)}, {"grid": (3,)}, {"prefix": -1}, {"layout": "DTB"}])
def test_bad_token_options(options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=f"tokens: {next(iter(options))} must be"):
        Tokens(**options)


def test_every_map_is_contiguous_or_channels_last() -> None:
    for function in (
        lambda x: x.new_zeros(2, 17, 3),
        lambda x: x.transpose(2, 3),
        lambda x: x[:, :, ::2, 1:],
        lambda x: x[:, :1].expand(2, 5, 8, 8),
    ):
        seen: list[bool] = []

        def consume(_: str, maps: Tensor, seen: list[bool] = seen) -> None:
            seen.append(maps.is_contiguous() or maps.is_contiguous(memory_format=torch.channels_last))

        with watch(Around(function), "layer", consume) as run:
            run(images())
        assert seen == [True]
