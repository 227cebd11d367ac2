"""Scoring: from peaks or activations, and labels, to a LayerResult. No network, no torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np

from ..concepts import ImageLabels, PackedLabels, Vocabulary, numbers_of_maps
from ..errors import ArgumentError, ShapeError, check_option
from ..geometry.grids import Alignment, Grid, GridWarning, make_grid
from ..scoring.backends.base import Backend, NonFiniteError, nonfinite
from ..scoring.backends.choice import choose
from ..scoring.counts import CategoryRule, count_crops
from ..scoring.peaks import Peaks, peaks_of
from ..scoring.thresholds import Quantile, checked_thresholds
from ..types import Array, Int64Array
from .layer_result import LayerResult

AxisOrder: TypeAlias = Literal["BCHW", "BHWC"]


def score_peaks(
    peaks: Peaks,
    grid: Grid,
    labels: PackedLabels,
    vocabulary: Vocabulary,
    *,
    name: str = "layer",
    quantile: Quantile | None = None,
    category_rule: CategoryRule = "image",
    unit_numbers: Int64Array | None = None,
    backend: Backend | None = None,
) -> LayerResult:
    """Score peaks against labels of the same images, without the network.

    ``quantile``: any up to the one the peaks were kept for. ``labels`` may be of other concepts, as long as they are
    labels of the same N images. Raises ArgumentError if the numbers of images differ.

    >>> maps = np.array([[[[4, 0], [0, 0]]], [[[0, 0], [0, 3]]]], np.float32)
    >>> layer = nd.score(maps, np.array([[[7, 0], [0, 0]], [[0, 0], [9, 7]]]), quantile="1/4")
    >>> words = nd.Vocabulary([1], ("sky",), [0], ("object",))
    >>> sky = nd.PackedLabels.pack([nd.ImageLabels(np.ones((1, 2, 2))), nd.ImageLabels(np.zeros((1, 2, 2)))], words)
    >>> nd.score_peaks(layer.require_peaks(), layer.grid, sky, words).iou.tolist()  # 1 of 4 pixels
    [[0.25]]
    >>> nd.score_peaks(layer.require_peaks(), layer.grid, sky, words, quantile="1/8").thresholds.tolist()
    [3.0]
    """
    if len(labels) != peaks.images:
        raise ArgumentError(f"the peaks cover {peaks.images} images, the labels {len(labels)}")
    thresholds = peaks.thresholds(quantile)
    counts = count_crops(peaks.crops, thresholds, grid, labels, vocabulary, backend or choose(), category_rule)
    numbers = np.arange(peaks.units) if unit_numbers is None else unit_numbers
    return LayerResult(name, counts, thresholds, vocabulary, grid, numbers, peaks)


def score(
    activations: Any,  # [N, U, H, W], [N, H, W, U] or [N, U]
    labels: Array | Iterable[ImageLabels] | PackedLabels | Any,
    vocabulary: Vocabulary | None = None,
    *,
    quantile: Quantile = 0.005,
    thresholds: Any = None,
    alignment: Alignment = "half_pixel",
    input_size: tuple[int, int] | None = None,
    layout: AxisOrder | None = None,
    category_rule: CategoryRule = "image",
    backend: str = "auto",
    threads: int | None = None,
    name: str = "layer",
) -> LayerResult:
    """Dissect existing activations; works without torch.

    Parameters
    ----------
    activations :
        [N, U, H, W] float32 or float16 (or [N, U], taken as 1×1 maps): NumPy array, memory map or torch tensor; one
        array of all images.
    labels :
        of the same N images, in the same order: integers [N, Y, X] of concept numbers (0 = unlabelled),
        an iterable of ImageLabels, PackedLabels, or a data set such as ``nd.Broden``.
    vocabulary :
        names and categories of the concepts. Needed unless ``labels`` is a data set; for an integer array
        without one, the concepts are called by their numbers, in one category "concept".
    quantile, thresholds :
        the top fraction of each unit's activations that counts as active, or the thresholds themselves,
        [U]: then no peaks are kept.
    alignment, input_size :
        where the H×W positions lie on the image: "half_pixel", "align_corners", or (stride, offset) in pixels of
        ``input_size`` (default: the first image's label size).
    layout :
        "BCHW" for activations [N, U, H, W], "BHWC" for [N, H, W, U], as TensorFlow and JAX have them. None (default):
        "BCHW", with a GridWarning if only "BHWC" has the aspect ratio of the labels.
    category_rule :
        "image" (spec 1.5) or "none": areas over all images.
    backend, threads :
        "cpu", "reference" or "auto"; threads of the kernels (None: all cores).
    name :
        of the layer, in the result and in messages.

    Raises
    ------
    ShapeError, ArgumentError
        for arguments that do not fit together.
    ActivationError
        for NaN or infinite activations.

    Examples
    --------
    Two images, one unit, two concepts; the unit is active on the top quarter of its activations:

    >>> maps = np.array([[[[4, 0], [0, 0]]], [[[0, 0], [0, 3]]]], np.float32)  # [images, units, H, W]
    >>> labels = np.array([[[7, 0], [0, 0]], [[0, 0], [9, 7]]])  # [images, Y, X], concept numbers
    >>> words = nd.Vocabulary([7, 9], ("car", "street"), [0, 1], ("object", "scene"))
    >>> layer = nd.score(maps, labels, words, quantile="1/4")
    >>> layer.thresholds.tolist(), layer.iou.tolist()
    ([0.0], [[1.0, 0.0]])
    >>> unit = layer.units()[0]
    >>> unit.label, unit.category, unit.detector
    ('car', 'object', True)
    """
    activations = _channels_first(activations, layout)
    images, units, height, width = (int(side) for side in activations.shape)
    if not images or not height or not width:
        raise ShapeError(f"expected at least one image and one position, got activations {list(activations.shape)}")
    packed, vocabulary = _packed(labels, vocabulary)
    if len(packed) != images:
        raise ArgumentError(f"got activations of {images} images, but labels of {len(packed)}")
    if alignment == "receptive_field":
        raise ArgumentError("alignment 'receptive_field' needs the network; give (stride, offset) and input_size")
    size = input_size or (int(packed.grid[0, 0]), int(packed.grid[0, 1]))
    if layout is None and _only_channels_last((units, height, width), size):
        warnings.warn(
            f"activations {list(activations.shape)} are taken as [N, U, H, W], but {height}×{width} maps do not have "
            f"the aspect ratio of the image, {size[0]}×{size[1]}, and {units}×{height} ones do: if they are "
            "[N, H, W, U], pass layout='BHWC', otherwise layout='BCHW'",
            GridWarning,
            stacklevel=2,
        )
    grid = make_grid(alignment, None, (height, width), size)
    chosen = choose(backend, threads)
    try:
        if thresholds is not None:
            fixed = checked_thresholds(thresholds, units)
            crops = chosen.keep(activations, fixed, 0)
            counts = count_crops(crops, fixed, grid, packed, vocabulary, chosen, category_rule)
            return LayerResult(name, counts, fixed, vocabulary, grid, np.arange(units))
        peaks = peaks_of(activations, quantile, chosen)
    except NonFiniteError as error:
        raise nonfinite(name, error, str(error.image)) from None
    return score_peaks(peaks, grid, packed, vocabulary, name=name, category_rule=category_rule, backend=chosen)


def _channels_first(activations: Any, layout: AxisOrder | None) -> Any:
    """Return activations [N, U, H, W] of any layout; nothing is copied."""
    if layout is not None:
        check_option("layout", layout, AxisOrder)
    dimensions = getattr(activations, "ndim", None)
    if dimensions == 2:
        return activations[:, :, None, None]
    if dimensions is None:
        raise ShapeError(
            "expected activations [N, U, H, W] or [N, U] in one array or tensor, got "
            f"a {type(activations).__name__}: join batches first, activations=np.concatenate(list(batches))"
        )
    if dimensions != 4:
        raise ShapeError(f"expected activations [N, U, H, W] or [N, U], got {np.shape(activations)}")
    if layout != "BHWC":
        return activations
    return np.moveaxis(activations, 3, 1) if isinstance(activations, np.ndarray) else activations.permute(0, 3, 1, 2)


def _only_channels_last(shape: tuple[int, int, int], image: tuple[int, int]) -> bool:
    """Return whether axes 1 and 2 of activations have exactly the image's aspect ratio, while 2 and 3 do not."""
    first, second = (a * image[1] == b * image[0] for a, b in pairwise(shape))
    return first and not second


def _packed(labels: Any, vocabulary: Vocabulary | None) -> tuple[PackedLabels, Vocabulary]:
    if hasattr(labels, "labels") and hasattr(labels, "vocabulary"):  # a ConceptDataset
        vocabulary = labels.vocabulary
        return PackedLabels.pack((labels.labels(i) for i in range(len(labels))), labels.vocabulary), vocabulary
    if isinstance(labels, np.ndarray):
        if labels.ndim != 3 or not np.issubdtype(labels.dtype, np.integer):
            raise ShapeError(f"expected integer labels [N, Y, X], got {labels.dtype} {list(labels.shape)}")
        if vocabulary is None:
            numbers = np.unique(numbers_of_maps(labels[labels != 0])).astype(np.int64)
            names = tuple(str(number) for number in numbers)
            vocabulary = Vocabulary(numbers, names, np.zeros(len(numbers), np.int32), ("concept",))
        labels = [ImageLabels(image[None]) for image in labels]
    if vocabulary is None:
        raise ArgumentError("a vocabulary is needed to name the concepts of these labels: pass vocabulary=")
    if isinstance(labels, PackedLabels):
        return labels, vocabulary
    return PackedLabels.pack(labels, vocabulary), vocabulary
