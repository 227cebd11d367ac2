"""Labels by a segmenter, of images and of what a generator makes of latents."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import netdissect_fast as nd
from netdissect_fast.data.dataset import ConceptDataset
from netdissect_fast.data.formats.segmented import Segmented
from netdissect_fast.errors import ArgumentError, ModelError

from ..support.generators import COUNT, NAMES, Brightest, Generator, eight_bits, generated, latents

ROOT = Path(__file__).parents[2]


def test_pictures_and_labels_of_latents() -> None:
    data, pixels = generated(), eight_bits(latents())
    assert isinstance(data, ConceptDataset)
    assert (len(data), data.name(3), data.vocabulary.names) == (COUNT, "latent 3", NAMES)
    assert data.vocabulary.categories == ("object",)
    for i in range(COUNT):
        np.testing.assert_array_equal(np.asarray(data.image(i)), pixels[i].transpose(1, 2, 0))
        np.testing.assert_array_equal(data.labels(i).maps, pixels[i].argmax(0)[None] + 1)
        torch.testing.assert_close(data.input(i), latents()[i], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_values_in_several_layers(dtype: torch.dtype) -> None:
    segmenter = Brightest(values=True).eval()
    data, pixels = generated(lambda x: segmenter(x).to(dtype), ("-", *NAMES)), eight_bits(latents())
    for i in (0, 7, COUNT - 1):
        bright = np.where(pixels[i].max(0) > 127, pixels[i].argmax(0) + 1, 0)
        np.testing.assert_array_equal(data.labels(i).maps, [bright, 3 * (pixels[i][2] > 191)])


def test_neither_order_nor_batches_nor_threads_matter() -> None:
    """The segmenter shifts pictures by how many it gets, so that other blocks would be seen."""

    def by_batch(x: Tensor) -> Tensor:
        return (x.argmax(1) + len(x)) % 3

    data = generated(by_batch)
    expected = [data.labels(i).maps.copy() for i in range(COUNT)]
    again = generated(by_batch)
    order = np.random.default_rng(0).permutation(COUNT).tolist() * 3
    with ThreadPoolExecutor(8) as pool:
        for i, labels in zip(order, pool.map(again.labels, order), strict=True):
            np.testing.assert_array_equal(labels.maps, expected[i])
    copied = pickle.loads(pickle.dumps(generated()))
    np.testing.assert_array_equal(copied.labels(5).maps, generated().labels(5).maps)
    assert copied.fingerprint() == generated().fingerprint()


def test_blocks_are_labelled_once() -> None:
    segmenter = Brightest().eval()
    data = generated(segmenter)
    for i in range(COUNT):
        data.labels(i)
    assert segmenter.calls == [4, 4, 4, 4, 4, 1]


def images() -> list[Any]:
    """The same picture in every form that is taken, of two sizes."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    return [Image.fromarray(pixels), tensor, tensor / 255, (tensor, 7), tensor.repeat_interleave(2, 1)]


def test_images_in_every_form() -> None:
    data = Segmented(images(), Brightest().eval(), NAMES, label_size=(4, 2), batch_size=5)
    first = np.asarray(images()[0])
    for i in range(5):
        np.testing.assert_array_equal(np.asarray(data.image(i))[:: 1 + (i == 4)], first)
        np.testing.assert_array_equal(data.labels(i).maps[0], first.argmax(2)[1::2, 2::4] + 1)
    assert data.input is None
    with pytest.raises(AttributeError):
        data.unknown  # noqa: B018
    with pytest.raises(IndexError):
        data.labels(5)


@pytest.mark.parametrize(
    ("names", "numbers", "words"),
    [
        ((*NAMES[:2], "-"), [1, 2, 0], [("object", "red"), ("object", "green")]),
        ({0: "warm", 1: ("cold", "green"), 2: "warm"}, [1, 2, 1], [("object", "warm"), ("cold", "green")]),
        (nd.Vocabulary([1, 2], NAMES[:2], [0, 0], ("color",)), [0, 1, 2], [("color", name) for name in NAMES[:2]]),
    ],
)
def test_names(names: Any, numbers: list[int], words: list[tuple[str, str]]) -> None:
    data = generated(names=names)
    values = eight_bits(latents())[0].argmax(0)
    np.testing.assert_array_equal(data.labels(0).maps[0], np.array(numbers)[values])
    found = data.vocabulary
    assert [(found.categories[c], name) for c, name in zip(found.category, found.names, strict=True)] == words


def gives(*shape: int, dtype: torch.dtype = torch.float32, value: float = 0) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.full((len(x), *shape), value, dtype=dtype)


def fails(x: Tensor) -> Tensor:
    raise RuntimeError("no such thing")


@pytest.mark.parametrize(
    ("segmenter", "said"),
    [
        (gives(4, 8, 8), r"floats \[4, 3, y, x\].*got Tensor \[4, 4, 8, 8\] of float32 for latent 4 … latent 7"),
        (gives(8, 8), r"got Tensor \[4, 8, 8\] of float32"),
        (gives(8, dtype=torch.int64), r"got Tensor \[4, 8\] of int64"),
        (gives(8, 8, dtype=torch.bool), "of bool"),
        (gives(3, 8, 8, value=float("nan")), "returned NaN for latent 4 … latent 7"),
        (gives(8, 8, dtype=torch.int64, value=4), "gave latent 4 the value 4, which has no name"),
        (gives(8, 8, dtype=torch.int64, value=-1), "gave latent 4 the value -1"),
        (lambda x: x[:1], r"whose first axis is the 4 images; got Tensor \[1, 3, 8, 8\]"),
        (lambda x: {"out": x}, "one tensor.*got dict"),
        (fails, "segmenter raised RuntimeError for latent 4 … latent 7: no such thing"),
    ],
)
def test_bad_outputs_of_the_segmenter(segmenter: Any, said: str) -> None:
    with pytest.raises((ArgumentError, ModelError), match=said):
        generated(segmenter).labels(5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"generator": gives(1, 8, 8)}, r"floats \[1, 3, Y, X\], got Tensor \[1, 1, 8, 8\] of float32 for latent 0"),
        ({"generator": gives(3, 8, 8, value=float("nan"))}, "finite floats"),
        ({"generator": gives(3, 8, 8, dtype=torch.uint8)}, "of uint8"),
        ({"generator": lambda z: (z, z)}, "generator must return one tensor.*got tuple"),
        ({"generator": fails}, "the generator raised RuntimeError"),
        ({"generator": lambda z: torch.rand(len(z), 3, 8, 8)}, "latent 0 is a different picture each time"),
        ({"generator": Generator()}, "generator is in training mode"),
        ({"segmenter": Brightest()}, "segmenter is in training mode"),
        ({"segmenter": nn.Sequential(Brightest(), nn.Dropout().train()).eval().append(nn.Dropout())}, "training mode"),
        ({"segmenter": "a network"}, "segmenter must be a module or a function, got str"),
        ({"generator": 3}, "generator must be a module or a function, got int"),
        ({"z": torch.zeros(0, 3, 4, 4)}, "no image"),
        ({"z": torch.zeros(5)}, r"latents must be a float tensor \[N, ...\], got Tensor \[5\]"),
        ({"z": torch.zeros(5, 3, dtype=torch.int64)}, "of int64"),
        ({"output_range": (1, -1)}, "output_range must be"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"label_size": 0}, "label_size must be"),
        ({"device": "tpu!"}, "device 'tpu!' is unknown to torch"),
        ({"names": "red"}, "names must be a list"),
        ({"names": ["-", None]}, "at least one concept"),
        ({"names": []}, "at least one concept"),
    ],
)
def test_bad_arguments(options: dict[str, Any], said: str) -> None:
    with pytest.raises((ArgumentError, ModelError), match=said):
        generated(**options)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (7, "expected a data set or a sequence of images, got int"),
        ([], "no image"),
        ([torch.zeros(3, 4, 4) - 1], "image 0: expected uint8 or floats in 0..1"),
        ([torch.zeros(4, 4)], "image 0: expected a PIL image"),
    ],
)
def test_bad_images(given: Any, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        Segmented(given, Brightest().eval(), NAMES)


def test_training_mode_later_on() -> None:
    segmenter = Brightest().eval()
    data = generated(segmenter)
    segmenter.train()
    with pytest.raises(ArgumentError, match="training mode"):
        data.labels(0)


def test_what_changes_the_fingerprint() -> None:
    other = Generator().eval()
    with torch.no_grad():
        other.units.weight[0, 0] += 1
    found = [
        data.fingerprint()
        for data in (
            generated(),
            generated(z=latents() + 0.1),
            generated(generator=other),
            generated(lambda x: x),
            generated(lambda x: x + 1),
            generated(names=("red", "green", "other")),
            generated(names={0: "red", 1: "green", 2: ("color", "blue")}),
            generated(names={0: "red", 1: "green", 2: "green"}),
            generated(label_size=4),
            generated(batch_size=5),
            generated(output_range=(0, 1)),
            *(Segmented(given, Brightest().eval(), NAMES) for given in (images()[:1], images()[:2], nd.Synthetic(1))),
            *(Segmented(images(), Brightest().eval(), NAMES, version=version) for version in ("1", "2")),
        )
    ]
    assert len(set(found)) == len(found)
    assert generated().fingerprint() == found[0]


NETWORK = nn.Conv2d(3, 3, 1).eval()


def by_network(x: Tensor) -> Any:
    return NETWORK(x)


class ByNetwork:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor) -> Any:
        return NETWORK(x)


def test_a_network_that_a_function_runs_is_in_the_fingerprint() -> None:
    inside = nn.Conv2d(3, 3, 1).eval()
    for function, network in ((by_network, NETWORK), (lambda x: inside(x), inside), (ByNetwork(), NETWORK)):
        before = generated(function).fingerprint()
        with torch.no_grad():
            network.weight += 1
        assert generated(function).fingerprint() != before


class Above:
    """A segmenter that is no module; ``values`` is a method that is one too."""

    def __init__(self, least: float) -> None:
        self.least = least

    def __call__(self, x: Tensor) -> Tensor:
        return (x[:, 0] > self.least).long()

    def values(self, x: Tensor) -> Tensor:
        return (x[:, 1] > self.least).long()


def test_what_a_segmenter_is_set_to_is_in_the_fingerprint() -> None:
    for make in (lambda v: Brightest(bool(v)).eval(), Above, lambda v: Above(v).values):
        found = [generated(make(least), ("-", *NAMES)).fingerprint() for least in (0.0, 0.5, 0.5)]
        assert found[0] != found[1] == found[2]


PROGRAM = """
from tests.support.generators import generated
from tests.data.test_segmented import add
print(generated().fingerprint(), generated(add).fingerprint())
"""


def add(x: Tensor) -> Tensor:
    return x + 1


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env={"PYTHONHASHSEED": "1", "PATH": ""}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert run.stdout.split() == [generated().fingerprint(), generated(add).fingerprint()]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_forked_while_a_picture_is_being_made() -> None:
    """As loader processes are: the lock that another thread held at that moment is not waited for."""
    making, done = threading.Event(), threading.Event()

    def slowly(z: Tensor) -> Tensor:
        if len(z) == 4:
            making.set()
            done.wait(60)
        return torch.nn.functional.interpolate(z, scale_factor=2)

    data = generated(generator=slowly)
    thread = threading.Thread(target=data.labels, args=(0,))
    thread.start()
    making.wait(60)
    child = multiprocessing.get_context("fork").Process(target=data.image, args=(1,), daemon=True)
    child.start()
    child.join(60)
    done.set()
    thread.join()
    assert child.exitcode == 0
