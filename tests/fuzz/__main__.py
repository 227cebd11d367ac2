"""Search for an input that a reader does not refuse cleanly: ``python -m tests.fuzz TARGET [SECONDS]``.

It stops at the first, which it leaves as build/fuzz/TARGET-crash-... (or timeout-, oom-): to be made small and kept in
tests/fuzz/corpus/TARGET once it is mended. What it learnt stays in build/fuzz/TARGET for the next time.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

HERE = Path(__file__).parent
INSTRUMENTED = (
    *("netdissect_fast", "PIL.Image", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "json.decoder", "zipfile"),
    *("numpy.lib._format_impl", "numpy.lib._npyio_impl", "torch._weights_only_unpickler", "torch.serialization"),
)


def functions() -> Iterator[FunctionType]:
    """All functions of the modules whose branches the search is to see."""
    for name, module in list(sys.modules.items()):
        if name.startswith(INSTRUMENTED):
            classes = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == name]
            for value in [value for owner in (module, *classes) for value in vars(owner).values()]:
                function = getattr(value, "fget", getattr(value, "func", getattr(value, "__func__", value)))
                if isinstance(function, FunctionType) and function.__module__ == name:
                    yield function


def main() -> int:
    """Run one target under libFuzzer."""
    try:
        import atheris
    except ImportError:
        print("Atheris is not installed: pip install -e '.[test,fuzz]'")
        return 2
    from tests.fuzz.mutating import mutate
    from tests.fuzz.targets import MEMORY, TARGETS, limited_memory

    name, seconds = [*sys.argv[1:], "60"][:2] if len(sys.argv) > 1 else ("", "")
    if name not in TARGETS or not seconds.isdecimal():
        print(f"{__doc__}\n\nTargets: {', '.join(TARGETS)}")
        return 2
    work = HERE.parents[1] / "build" / "fuzz" / name
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[name](Path(folder))
        for number, seed in enumerate(target.seeds()):
            (work / f"seed-{number}").write_bytes(seed)
            target(seed)  # imports all that there is to instrument
        for function in functions():
            atheris.instrument_func(function)

        def change(data: bytes, most: int, seed: int) -> bytes:
            rng = random.Random(seed)
            part = lambda old: bytes(atheris.Mutate(old, len(old) + 16))  # noqa: E731
            first = data[:1] if rng.random() < 0.98 else b"%d" % rng.randrange(len(target.files))
            return (first + mutate(data[1:], rng, part))[:most]

        options = [f"-max_total_time={seconds}", "-max_len=65536", "-timeout=10", "-print_final_stats=1"]
        options += [f"-rss_limit_mb={MEMORY >> 20}", f"-artifact_prefix={work}-"]
        corpus = [str(path) for path in (work, HERE / "corpus" / name) if path.is_dir()]
        atheris.Setup([sys.argv[0], *options, *corpus], lambda data: target(data) and None, custom_mutator=change)
        with limited_memory():
            atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
