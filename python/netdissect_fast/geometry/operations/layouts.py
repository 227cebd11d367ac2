"""Rules for operations that move, cut or join dimensions, or reduce along them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..tracks import TOKENS, NotUnderstood, Track, Unknown, length, places, plain
from .branches import joined, meet, resolved
from .calls import Call, rule


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "_reshape_copy", "view_copy", "flatten", "unflatten")
def view(call: Call) -> Track:
    """Follow the same elements into a different shape."""
    return call.track("self").regroup(call.shape)


@rule("permute", "transpose", "t", "numpy_T", "permute_copy", "transpose_copy", "t_copy")
def permute(call: Call) -> Track:
    """Follow dimensions into a different order."""
    x = call.track("self")
    n = len(x.dims)
    if "dims" in call.args:
        return x.permute([d % n for d in call.args["dims"]])
    order = list(range(n))
    a, b = (call.dim("dim0", n), call.dim("dim1", n)) if "dim0" in call.args else (0, n - 1)
    order[a], order[b] = order[b], order[a]
    return x.permute(order)


@rule("unsqueeze")
def unsqueeze(call: Call) -> Track:
    """Insert a dimension of one."""
    x = call.track("self")
    d = call.dim("dim", len(x.dims) + 1)
    return replace(x, dims=(*x.dims[:d], (), *x.dims[d:]))


@rule("squeeze")
def squeeze(call: Call) -> Track:
    """Remove dimensions of one."""
    x = call.track("self")
    dims = call.args.get("dim", range(len(x.dims)))
    chosen = {d % len(x.dims) for d in ([dims] if isinstance(dims, int) else dims)}
    return replace(x, dims=tuple(dim for d, dim in enumerate(x.dims) if d not in chosen or length(dim) > 1))


@rule("expand", "expand_copy", "copy", "copy_", "broadcast_to")
def expand(call: Call) -> Track:
    """Follow a tensor repeated along dimensions of one, or copied into another tensor."""
    return meet([call.track("src", "self")], call.shape)


@rule("repeat")
def repeat(call: Call) -> Track:
    """Follow copies side by side, along dimensions that are not on the image."""
    x = call.track("self")
    x = replace(x, dims=((),) * (len(call.shape) - len(x.dims)) + x.dims)
    for d, size in enumerate(call.shape):
        if size != length(x.dims[d]):
            if places(x.dims[d]):
                raise NotUnderstood
            x = x.put(d, plain(size))
    return x


def _sizes(x: Track) -> tuple[int, ...]:
    return tuple(length(dim) for dim in x.dims)


@rule("slice", "narrow", "slice_copy")
def cut(call: Call) -> Track:
    """Follow a (strided) slice of one dimension."""
    x = call.track("self")
    d = call.dim("dim", len(x.dims))
    start, _, step = slice(call.args["start"], call.args["end"], call.args["step"]).indices(length(x.dims[d]))
    return _cut(x, d, start, call.shape[d], step)


def _cut(x: Track, d: int, start: int, size: int, step: int = 1) -> Track:
    dim = x.dims[d]
    if len(dim) == 1 and dim[0].axis == TOKENS and step == 1:
        first, last = dim[0].before, dim[0].before + length(dim[0].inner)
        if start + size <= first or start >= last:  # extra tokens only: not on the image
            return x.put(d, plain(size))
        if start <= first and last <= start + size:
            return x.put(d, (replace(dim[0], size=size, before=first - start),))
        raise NotUnderstood
    return x.resample(d, size, step, start, 0)


@rule("select", "select_copy")
def select(call: Call) -> Track:
    """Select one index of a dimension."""
    x = call.track("self")
    d = call.dim("dim", len(x.dims))
    index = int(call.args["index"]) % length(x.dims[d])
    if places(x.dims[d]) and x.dims[d][0].axis != TOKENS:
        raise NotUnderstood
    return _cut(x, d, index, 1).without(d)


@rule("split", "split_with_sizes", "chunk", "unbind", "split_copy", "unsafe_split", "unsafe_split_with_sizes")
def split(call: Call) -> Sequence[Track]:
    """Cut a dimension into pieces."""
    x = call.track("self")
    d = call.dim("dim", len(x.dims))
    unbind = call.name == "unbind"
    if unbind and places(x.dims[d]):
        raise NotUnderstood
    parts, start = [], 0
    for result in call.results:
        size = 1 if unbind else result.shape[d]
        part = _cut(x, d, start, size)
        parts.append(part.without(d) if unbind else part)
        start += size
    return parts


@rule("cat", "stack", "concat", "_cat")
def cat(call: Call) -> Track:
    """Join branches side by side, or a grid of tokens with other tokens around it."""
    tensors = [t for t in call.args["tensors"] if t.numel()]
    d = call.dim("dim", len(call.shape))
    known = [call.find(t) for t in tensors]
    for k in known:
        if isinstance(k, Unknown):
            raise NotUnderstood(k)
    tracks = [k for k in known if isinstance(k, Track)]
    if call.name == "stack":
        tracks = [replace(t, dims=(*t.dims[:d], (), *t.dims[d:])) for t in tracks]
        return meet(tracks, call.shape)
    along = [i for i, k in enumerate(known) if isinstance(k, Track) and places(k.dims[d])]
    if any(_pure(known[i], d) for i in along):
        grid = known[along[0]]
        if len(along) > 1 or not isinstance(grid, Track):  # two grids end to end
            raise NotUnderstood
        return joined(grid, d, call.shape[d], sum(t.shape[d] for t in tensors[: along[0]]))
    tracks = [t.collapse(d, 1) for t in tracks]  # channels may carry sub-positions (pixel unshuffle)
    return meet(tracks, (*call.shape[:d], 1, *call.shape[d + 1 :])).put(d, plain(call.shape[d]))


def _pure(known: object, d: int) -> bool:
    """Return whether dimension ``d`` is nothing but image, so that joining along it joins places."""
    return isinstance(known, Track) and all(part.axis >= 0 for part in known.dims[d])


@rule("roll")
def roll(call: Call) -> Track:
    """Follow a cyclic shift (shifted windows): correct away from the border, and undone by the shift back."""
    x = call.track("self")
    if not call.args["dims"]:
        raise NotUnderstood
    for d, shift in zip(call.args["dims"], call.args["shifts"], strict=True):
        d %= len(x.dims)
        x = x.resample(d, length(x.dims[d]), 1, -shift, 0)
    return x


@rule("flip", "rot90", "sort", "topk", "index_select", "gather", "scatter", "cumsum", "glu")
def along_plain(call: Call) -> Track:
    """Follow operations that shuffle or fold one or more dimensions, if these are not on the image."""
    x = call.track("self")
    dims = call.args["dims" if "dims" in call.args else "dim"]
    for d in [dims] if isinstance(dims, int) else dims:
        if places(x.dims[d % len(x.dims)]):
            raise NotUnderstood(reordered=call.name not in ("cumsum", "glu"))
        x = x.put(d % len(x.dims), plain(call.shape[d]))
    return x


@rule("index")
def index(call: Call) -> Track:
    """Follow indexing by one list of indices, of a dimension that is not on the image."""
    x = call.track("self")
    chosen = [(d, i) for d, i in enumerate(call.args["indices"]) if i is not None]
    if any(places(x.dims[d]) for d, _ in chosen):
        raise NotUnderstood(reordered=True)
    if len(chosen) != 1 or chosen[0][1].ndim != 1:
        raise NotUnderstood
    return x.put(chosen[0][0], plain(call.shape[chosen[0][0]]))


@rule("unfold")
def windows(call: Call) -> Track:
    """Follow Tensor.unfold into adjacent windows: a dimension is split in two, the inner one last."""
    x, size = call.track("self"), int(call.args["size"])
    d = call.dim("dimension", len(x.dims))
    sizes = _sizes(x)
    if size != call.args["step"] or sizes[d] % size:
        raise NotUnderstood
    x = x.regroup((*sizes[:d], sizes[d] // size, size, *sizes[d + 1 :]))
    return x.permute([i for i in range(len(x.dims)) if i != d + 1] + [d + 1])


@rule("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle")
def shuffle(call: Call) -> Track:
    """Follow shuffles, as the view, permutation and view that they stand for."""
    x = call.track("self")
    *lead, channels, height, width = _sizes(x)
    n = len(lead)
    front = list(range(n))
    if "groups" in call.args:
        groups = int(call.args["groups"])
        x = x.regroup([*lead, groups, channels // groups, height, width])
        return x.permute([*front, n + 1, n, n + 2, n + 3]).regroup(call.shape)
    if "upscale_factor" in call.args:
        r = int(call.args["upscale_factor"])
        x = x.regroup([*lead, channels // r**2, r, r, height, width])
        return resolved(x.permute([*front, n, n + 3, n + 1, n + 4, n + 2]).regroup(call.shape))
    r = int(call.args["downscale_factor"])
    x = x.regroup([*lead, channels, height // r, r, width // r, r])
    return x.permute([*front, n, n + 2, n + 4, n + 1, n + 3]).regroup(call.shape)


@rule(
    "mean", "sum", "nansum", "nanmean", "amax", "amin", "max", "min", "argmax", "argmin", "prod", "any", "all",
    "median", "std", "var", "std_mean", "var_mean", "logsumexp", "norm", "linalg_vector_norm",
)  # fmt: skip
def reduce(call: Call) -> Track:
    """Follow a reduction: over the image's dimensions it leaves one value for the whole image."""
    x = call.track("self")
    dims = call.args.get("dim")
    every = list(range(len(x.dims)))
    chosen = [dims] if isinstance(dims, int) else every if dims is None or len(dims) == 0 else list(dims)
    for d in sorted({d % max(len(x.dims), 1) for d in chosen}, reverse=True):
        x = x.collapse(d, 1)
        x = x if call.args.get("keepdim") else x.without(d)
    return x
