"""Rules for matrix products, attention, and everything that leaves each value in its place.

Attention mixes all positions, but its output for a token is added to that token's residual stream, so a token
keeps the place of its patch: positions follow the queries, never the keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..tracks import NotUnderstood, Track, Unknown, places, plain, track
from .branches import meet
from .calls import Call, Known, rule

if TYPE_CHECKING:
    import torch


@rule(
    "clone", "detach", "alias", "_to_copy", "to", "contiguous", "lift_fresh", "native_dropout",
    "dropout", "_softmax", "_safe_softmax", "_log_softmax", "softmax", "log_softmax",
    "native_layer_norm", "native_group_norm", "native_batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "_batch_norm_no_update", "cudnn_batch_norm",
    "miopen_batch_norm", "_batch_norm_with_update", "_fused_rms_norm", "hardswish",
    "log_sigmoid_forward", "rrelu_with_noise", "_prelu_kernel", "tril", "triu", "fill", "zero",
    "_transformer_encoder_layer_fwd", "_native_multi_head_attention", "_conj", "hardsigmoid", "celu",
    "_fused_dropout",
)  # fmt: skip
def keep(call: Call) -> Track:
    """Leave every value in its place (normalisation, dropout, activation, a whole encoder layer)."""
    return call.track("self", "input", "src", "query")


@rule("linear")
def linear(call: Call) -> Track:
    """Follow a fully connected layer over the last dimension."""
    x = call.track("input")
    return x.collapse(len(x.dims) - 1, call.shape[-1])


@rule("mm", "bmm", "addmm", "baddbmm", "matmul", "_addmm_activation")
def product(call: Call) -> Track:
    """Follow a matrix product [.., rows, k] × [.., k, columns]: the places of its rows, else of its columns."""
    pairs = (("mat1", "mat2"), ("batch1", "batch2"), ("self", "mat2"), ("self", "other"))
    names = next(pair for pair in pairs if all(name in call.args for name in pair))
    left, right = (call.find(call.args[name]) for name in names)
    if isinstance(left, Unknown):
        raise NotUnderstood(left)
    if isinstance(left, Track) and (places(left.dims[-2]) or right is None):
        last = len(left.dims) - 1
        return left.collapse(last, call.shape[-1])
    if isinstance(right, Unknown):
        raise NotUnderstood(right)
    if isinstance(right, Track) and (places(right.dims[-1]) or left is None):
        row = len(right.dims) - 2
        return right.collapse(row, call.shape[-2])
    if not isinstance(left, Track):
        raise NotUnderstood
    return left.collapse(len(left.dims) - 1, call.shape[-1])


@rule(*(f"_scaled_dot_product_{kind}" for kind in (
    "flash_attention", "flash_attention_for_cpu", "efficient_attention", "cudnn_attention", "attention_math",
    "fused_attention_overrideable")))  # fmt: skip
def attention(call: Call) -> Track:
    """Follow attention [.., queries, d]: each output has the place of its query."""
    x = call.track("query")
    return x.put(len(x.dims) - 1, plain(call.shape[-1]))


def elementwise(call: Call, operands: list[torch.Tensor]) -> Track:
    """Follow an element-wise operation, operands broadcast: the largest receptive field that is not constant."""
    known: list[tuple[torch.Tensor, Known]] = [(t, call.find(t)) for t in operands]
    tracks = [k for _, k in known if isinstance(k, Track)]
    causes = [(t, k) for t, k in known if isinstance(k, Unknown)]
    met = meet(tracks, call.shape) if tracks else None
    for tensor, cause in causes:
        wide = (1,) * (len(call.shape) - tensor.ndim) + tuple(tensor.shape)
        # A gate, one value for the whole image, cannot move the map that it scales.
        if met is None or not met.placed or any(places(dim) and wide[d] > 1 for d, dim in enumerate(met.dims)):
            raise NotUnderstood(cause)
    if met is None:
        raise NotUnderstood
    return met


def anything(call: Call, operands: list[torch.Tensor]) -> list[Track]:
    """Follow an operation without a rule: harmless as long as nothing in it has a place on the image."""
    known = [call.find(t) for t in operands]
    for k in known:
        if isinstance(k, Unknown):
            raise NotUnderstood(k)
    tracks = [k for k in known if isinstance(k, Track)]
    if any(t.placed for t in tracks):
        raise NotUnderstood
    return [track(tracks[0].axes, map(plain, t.shape)) for t in call.results]
