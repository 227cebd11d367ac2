"""Which axes are rows, columns and units: as the trace says, against the same maps in their plain layout."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import netdissect_fast as nd
from netdissect_fast.errors import LayerError
from netdissect_fast.geometry.grids import GridWarning
from netdissect_fast.network.hooks import Tokens, watch

from ..geometry.test_tracer_networks import BLOCKS, Transformer
from ..support.receptive_fields import Apply
from ..support.watching import collect, images

torch.set_num_threads(1)


def extra(x: Tensor, count: int) -> Tensor:
    """Class or register tokens for [B, T, D]."""
    return x.new_zeros(len(x), count, x.shape[2])


def tokens(y: Tensor) -> Tensor:
    return y.flatten(2).transpose(1, 2)


def in_windows(y: Tensor) -> Tensor:
    """[B, C, H, W] → [B, H/4, W/4, 4, 4, C]."""
    return y.unflatten(2, (-1, 4)).unflatten(4, (-1, 4)).permute(0, 2, 4, 3, 5, 1)


# What a layer makes of maps [B, C, H, W]: the same numbers in a different layout.
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels last": lambda y: y.permute(0, 2, 3, 1),
    "channels last, contiguous": lambda y: y.permute(0, 2, 3, 1).contiguous(),
    "columns before rows": lambda y: y.transpose(2, 3),
    "columns before rows, channels last": lambda y: y.permute(0, 3, 2, 1),
    "rows, units, columns": lambda y: y.transpose(1, 2),
    "tokens": tokens,
    "tokens column by column": lambda y: tokens(y.transpose(2, 3)),
    "units before tokens": lambda y: y.flatten(2),
    "units before tokens, class token last": lambda y: torch.cat([y.flatten(2), y.new_zeros(*y.shape[:2], 1)], 2),
    "units before tokens, padded": lambda y: functional.pad(y.flatten(2), (2, 1)),
    "tokens first": lambda y: y.flatten(2).permute(2, 0, 1),
    "class token": lambda y: torch.cat([extra(t := tokens(y), 1), t], 1),
    "class token last": lambda y: torch.cat([t := tokens(y), extra(t, 1)], 1),
    "one token before, three after": lambda y: torch.cat([extra(t := tokens(y), 1), t, extra(t, 3)], 1),
    "three tokens before": lambda y: torch.cat([extra(t := tokens(y), 3), t], 1),
    "tokens by window": lambda y: in_windows(y).flatten(1, 4),
    "windows of tokens": lambda y: in_windows(y).flatten(1, 2).flatten(2, 3),
    "attention heads": lambda y: tokens(y).unflatten(2, (1 if y.shape[1] % 2 else 2, -1)).transpose(1, 2),
}
# Rows, columns, units: what sizes say is wrong or ambiguous.
SIZES = {
    "Swin, first stage": (56, 56, 96),
    "Swin-B, first stage": (56, 56, 128),
    "as many units as rows": (16, 16, 16),
    "as many units as tokens": (4, 4, 16),
    "one more unit than tokens": (4, 4, 17),
    "a square number of units": (8, 8, 64),
    "not square": (8, 12, 6),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_maps_are_cut_as_the_trace_says(layout: str, size: str) -> None:
    rows, columns, units = SIZES[size]
    conv, x = nn.Conv2d(3, units, 2, 2), images(2, (2 * rows, 2 * columns))
    net = Apply(lambda x, a: LAYOUTS[layout](a(x)), conv)
    with torch.no_grad():
        expected = conv(x)
    assert torch.equal(collect(net, "", x)["model"], expected)


CONCEPTS = nd.Synthetic(images=8)
PICTURE = nd.Preprocess(32)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_dissection_is_that_of_the_plain_layout(layout: str) -> None:
    """Counts, thresholds and grid to the bit; also with batches of one and with half_pixel, which is not traced."""
    plain = nn.Sequential(nn.Conv2d(3, 16, 5, 2, 2), nn.ReLU())
    net = nn.Sequential(plain, Apply(LAYOUTS[layout]))
    for options in ({}, {"batch_size": 1}, {"alignment": "half_pixel"}):
        found = nd.dissect(net, CONCEPTS, ["0", "1"], preprocess=PICTURE, quantile=0.05, **options)
        expected, layer = found.layers["0"], found.layers["1"]
        assert layer.grid == expected.grid
        assert layer.thresholds.tobytes() == expected.thresholds.tobytes()
        for name, counted in vars(expected.counts).items():
            np.testing.assert_array_equal(getattr(layer.counts, name), counted, err_msg=name)


@st.composite
def rearrangements(draw: st.DrawFn) -> tuple[Callable[[Tensor], Tensor], str]:
    """Split units, rows and columns in two each; order the six factors at will, and join them to 2 or 3 dimensions."""
    order = draw(st.permutations(range(6)))  # units 0 1, rows 2 3, columns 4 5
    units = [factor < 2 for factor in order]
    cuts = [i for i in range(1, 6) if units[i] != units[i - 1]]
    if len(cuts) == 1 and draw(st.booleans()):
        cuts = sorted({*cuts, draw(st.integers(1, 5))})
    shown = f"{order} cut at {cuts}"

    def rearrange(y: Tensor) -> Tensor:
        split = y.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).unflatten(1, (-1, 3))
        split = split.permute(0, *(1 + factor for factor in order))
        sizes = split.shape[1:]
        edges = [0, *cuts, 6]
        return split.reshape(len(y), *(int(np.prod(sizes[a:b])) for a, b in pairwise(edges)))

    return rearrange, shown


@settings(max_examples=60, deadline=None)
@given(rearrangements())
def test_any_order_of_units_rows_and_columns(case: tuple[Callable[[Tensor], Tensor], str]) -> None:
    """Every position holds the values of its own place, whichever way the output was split, ordered and joined."""
    conv, x = nn.Conv2d(3, 6, 4, 4), images(2, (16, 24))
    net = Apply(lambda x, a: case[0](a(x)), conv)
    with torch.no_grad():
        expected, rank = conv(x), case[0](conv(x)).ndim
    if rank > 4:
        with pytest.raises(LayerError, match="expected"):
            collect(net, "", x)
        return
    seen = collect(net, "", x)["model"]
    assert seen.shape == expected.shape, case[1]
    # Units that were split and exchanged have new numbers, but each is there once.
    rows = [{tuple(unit.flatten().tolist()) for unit in maps[0]} for maps in (seen, expected)]
    assert rows[0] == rows[1], case[1]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_transformers_need_no_arguments(block: str, prefix: int) -> None:
    """Blocks of every kind, as before: tokens in rows after class and register tokens."""
    net, outputs = Transformer(BLOCKS[block], prefix).eval(), []
    net.block.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach()))
    seen = collect(net, "block", images(2, (32, 32)))["block"]
    assert torch.equal(seen, outputs[-1][:, prefix:].transpose(1, 2).unflatten(2, (8, 8)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("layout", ["channels last", "attention heads", "tokens by window"])
def test_precisions_and_memory_formats(layout: str, dtype: torch.dtype) -> None:
    conv = nn.Conv2d(3, 8, 2, 2).to(dtype=dtype, memory_format=torch.channels_last)
    x = images(2, (16, 24)).to(dtype=dtype, memory_format=torch.channels_last)
    seen = collect(Apply(lambda x, a: LAYOUTS[layout](a(x)), conv), "", x)["model"]
    with torch.no_grad():
        assert torch.equal(seen, conv(x).to(seen.dtype))


# ------------------------------------------------------------------------------------------ mirrored and reordered

MIRRORED: dict[str, Callable[[Tensor], Tensor]] = {
    "flip": lambda y: y.flip(3),
    "turned by 90 degrees": lambda y: y.rot90(1, (2, 3)),
    "tokens reversed": lambda y: tokens(y).flip(1),
    "tokens in a different order": lambda y: tokens(y)[:, torch.arange(y.shape[2] * y.shape[3]).flip(0)],
    "index_select": lambda y: y.index_select(2, torch.arange(y.shape[2] - 1, -1, -1)),
    "sorted": lambda y: y.sort(3)[0],
    "gathered": lambda y: y.gather(2, torch.zeros_like(y, dtype=torch.int64)),
    "halves exchanged": lambda y: _exchanged(y),
    "then a convolution": lambda y: functional.conv2d(y.flip(2), torch.ones(12, 12, 1, 1)),
}


def _exchanged(y: Tensor) -> Tensor:
    y, half = y.clone(), y.shape[3] // 2
    y[..., :half] = y[..., half:]
    return y


@pytest.mark.parametrize("name", MIRRORED)
def test_mirrored_places_are_an_error_unless_alignment_is_given(name: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 12, 5, 2, 2), Apply(MIRRORED[name]))
    with pytest.raises(LayerError, match=r"layer '1' on the image are not known: .*alignment='half_pixel' \(--align"):
        nd.dissect(net, CONCEPTS, "1", preprocess=PICTURE)
    for alignment in ("half_pixel", (2, 0)):
        layer = nd.dissect(net, CONCEPTS, "1", preprocess=PICTURE, alignment=alignment).layers["1"]
        assert layer.grid.size == (16, 16)


def test_a_mirrored_vector_or_channel_is_no_error() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 5, 2, 2), Apply(lambda y: y.flip(1)), Apply(lambda y: y.flip(3).mean((2, 3))))
    found = nd.dissect(net, CONCEPTS, ["1", "2"], preprocess=PICTURE)
    assert found.layers["1"].grid.alignment == "receptive_field"
    assert found.layers["2"].grid.size == (1, 1)


# ------------------------------------------------------------------------------------------------ what is not known


@torch.library.custom_op("netdissect_fast_tests::same", mutates_args=())
def same(x: Tensor) -> Tensor:
    return x.clone()


UNKNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "custom operator": same,
    "sampled grid": lambda y: functional.grid_sample(
        y, functional.affine_grid(torch.eye(2, 3).expand(len(y), 2, 3), list(y.shape), align_corners=False),
        align_corners=False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("op", UNKNOWN)
def test_only_the_spacing_unknown(op: str) -> None:
    """Sizes that can be read in one way: half_pixel, with a warning, as ever."""
    net = nn.Sequential(nn.Conv2d(3, 6, 5, 2, 2), Apply(UNKNOWN[op]))
    with pytest.warns(GridWarning, match="using alignment 'half_pixel'"):
        layer = nd.dissect(net, CONCEPTS, "1", preprocess=PICTURE).layers["1"]
    assert (layer.grid.size, layer.grid.alignment, len(layer.units())) == ((16, 16), "half_pixel", 6)


@pytest.mark.parametrize(("rows", "columns", "units"), [(56, 56, 96), (56, 56, 128), (16, 16, 16), (12, 12, 13)])
def test_axes_unknown_and_sizes_ambiguous(rows: int, columns: int, units: int) -> None:
    """The error names the argument and the option, and what it says works."""
    conv, x = nn.Conv2d(3, units, 2, 2), images(2, (2 * rows, 2 * columns))
    net = Apply(lambda x, a: same(a(x).permute(0, 2, 3, 1).contiguous()), conv)
    with pytest.raises(LayerError, match=r"looks like \[B, H, W, C\].*netdissect_fast_tests::same.*BHWC.*--tokens"):
        collect(net, "", x)
    with torch.no_grad():
        expected = conv(x)
    assert torch.equal(collect(net, "", x, tokens=Tokens(layout="BHWC"))["model"], expected)
    assert torch.equal(collect(net, "", x, tokens=Tokens(layout="BCHW"))["model"], expected.permute(0, 2, 3, 1))


@pytest.mark.parametrize("units", [16, 17, 64, 256])
def test_either_axis_could_be_tokens(units: int) -> None:
    conv, x = nn.Conv2d(3, units, 2, 2), images(2, (16, 16))
    plain = Apply(lambda x, a: same(tokens(a(x)).contiguous()), conv)
    turned = Apply(lambda x, a: same(a(x).flatten(2)), conv)
    with torch.no_grad():
        expected = conv(x)
    for net, layout in ((plain, "BTD"), (turned, "BDT")):
        with pytest.raises(LayerError, match=r"either axis could be tokens.*layout='BTD'\), or 'BDT'.*--tokens"):
            collect(net, "", x)
        assert torch.equal(collect(net, "", x, tokens=Tokens(layout=layout))["model"], expected)


def test_tokens_are_inferred_where_nothing_else_fits() -> None:
    conv, x = nn.Conv2d(3, 24, 2, 2), images(2, (16, 16))
    net = Apply(lambda x, a: same(torch.cat([extra(t := tokens(a(x)), 1), t], 1)), conv)
    with torch.no_grad():
        assert torch.equal(collect(net, "", x)["model"], conv(x))


def test_tokens_before_and_after_can_be_stated() -> None:
    conv, x = nn.Conv2d(3, 24, 2, 2), images(2, (16, 16))
    net = Apply(lambda x, a: same(torch.cat([t := tokens(a(x)), extra(t, 1)], 1)), conv)
    with torch.no_grad():
        assert torch.equal(collect(net, "", x, tokens=Tokens(grid=(8, 8), prefix=0))["model"], conv(x))
        assert not torch.equal(collect(net, "", x, tokens=Tokens(grid=(8, 8)))["model"], conv(x))


def test_tokens_override_the_trace() -> None:
    """They are taken as given; then the traced grid is that of another cut, and does not count."""
    net = nn.Sequential(nn.Conv2d(3, 16, 5, 2, 2), Apply(lambda y: y.permute(0, 2, 3, 1)))
    with pytest.warns(GridWarning, match="not cut into maps as the trace says"):
        found = nd.dissect(net, CONCEPTS, "1", preprocess=PICTURE, tokens=Tokens(layout="BCHW"))
    assert found.layers["1"].grid.alignment == "half_pixel"
    stated = nd.dissect(net, CONCEPTS, "1", preprocess=PICTURE, tokens=Tokens(layout="BHWC")).layers["1"]
    assert stated.grid == nd.dissect(net, CONCEPTS, "1", preprocess=PICTURE).layers["1"].grid


def test_what_lies_on_no_grid_is_not_laid_out_as_tokens() -> None:
    """100 learned queries are no 10×10 grid; mixed tokens neither."""
    queries = Apply(lambda x, a: (torch.ones(100, 24) @ (y := a(x).flatten(2))).softmax(-1) @ y.mT, nn.Conv2d(3, 24, 4))
    with pytest.raises(LayerError, match=r"no place on the image.*Choose a different layer; if .*--tokens"):
        collect(queries, "", images(2, (16, 16)))
    joined = Apply(lambda x, a: a(x).permute(0, 2, 3, 1).flatten(2), nn.Conv2d(3, 7, 4, 4))
    with pytest.raises(LayerError, match="units and places share an axis"):
        collect(joined, "", images(2, (16, 16)))


# ------------------------------------------------------------------------------------------------ how it is carried out


def test_a_network_is_traced_once() -> None:
    """With its first image; later batches, and other watches that are given the layouts, run it once each."""
    sizes: list[int] = []
    net = Apply(lambda x, a: (sizes.append(len(x)), a(x).permute(0, 2, 3, 1))[1], nn.Conv2d(3, 6, 2, 2))
    with watch(net, "", lambda name, maps: None) as run:
        run(images(3))
        run(images(2))
    assert sizes == [1, 3, 2]
    with watch(net, "", lambda name, maps: None, layouts=run.layouts) as again:
        again(images(2))
    assert sizes == [1, 3, 2, 2]
    message = r"maps of shape \[4, 5, 6\] after \[4, 4, 6\]"
    with watch(net, "", lambda name, maps: None) as run:
        run(images(2))
        with pytest.raises(LayerError, match=message):
            run(images(2, (8, 10)))


def test_a_network_that_cannot_be_followed_runs_as_it_is() -> None:
    """It refuses tracing; and it draws random numbers, which tracing must not use up."""

    def refuse(x: Tensor, conv: nn.Module) -> Tensor:
        if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
            raise RuntimeError("no modes, please")
        return conv(x) + torch.rand(())

    conv, x = nn.Conv2d(3, 5, 2, 2), images(2)
    torch.manual_seed(3)
    seen = collect(Apply(refuse, conv), "", x)["model"]
    torch.manual_seed(3)
    with torch.no_grad():
        assert torch.equal(seen, conv(x) + torch.rand(()))
    with pytest.warns(GridWarning, match="it was not traced"):
        layer = nd.dissect(Apply(refuse, conv), CONCEPTS, "parts.0", preprocess=PICTURE).layers["parts.0"]
    assert (layer.grid.size, layer.grid.alignment, len(layer.units())) == ((16, 16), "half_pixel", 5)


def test_an_explanation_cuts_as_the_dissection_did() -> None:
    head = Apply(lambda y, a: a(y.mean((1, 2))), nn.Linear(16, 3))
    net = nn.Sequential(nn.Conv2d(3, 16, 5, 2, 2), Apply(lambda y: y.permute(0, 2, 3, 1)), head)
    found = nd.dissect(net, CONCEPTS, ["0", "1"], preprocess=PICTURE)
    plain, last = (
        nd.explain(net, found.layers[name], CONCEPTS.image(0), preprocess=PICTURE, target=1) for name in ("0", "1")
    )
    shares = [[row["contribution"] for row in explained.rows] for explained in (last, plain)]
    np.testing.assert_allclose(*shares, rtol=1e-5)


@pytest.mark.parametrize("layout", ["channels last", "rows, units, columns", "columns before rows, channels last"])
def test_ablation_silences_units_not_columns(layout: str) -> None:
    dims = {"channels last": (1, 2), "rows, units, columns": (1, 3), "columns before rows, channels last": (1, 2)}
    head = Apply(lambda y, a: a(y.mean(dims[layout])), nn.Linear(16, 9))
    net = nn.Sequential(nn.Conv2d(3, 16, 5, 2, 2), Apply(LAYOUTS[layout]), head)
    sets = {"first": [0, 1, 2], "last": [15], "most": [*range(12)]}
    plain, other = (nd.ablate(net, CONCEPTS, name, sets, preprocess=PICTURE) for name in ("0", "1"))
    assert other.rows == plain.rows
    assert any(row["changed"] for row in plain.rows)
    heads = nn.Sequential(Apply(lambda x, a: LAYOUTS["attention heads"](a(x)), net[0]), nn.Flatten())
    with pytest.raises(LayerError, match="tokens or several axes of units: it cannot be silenced"):
        nd.ablate(heads, CONCEPTS, "0", sets, preprocess=PICTURE)
