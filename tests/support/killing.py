"""A server that forks a process for every run it is asked for, and kills it: at its n-th write, or after some seconds.

Importing torch takes seconds, a fork milliseconds. The server only imports and draws pictures, and is one thread
whenever it forks, so that its children are like new processes. It takes a job a line on stdin, as JSON:

    what    "dissect" or "merge", with ``options``
    write   kill the process before its n-th write in ``folder``; 0: only count them
    after   or kill it after so many seconds
    broken  one of BREAKS, in that process

and answers with status (negative: the signal), seconds and, where it was not killed, writes and error.
"""

from __future__ import annotations

import builtins
import functools
import gc
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

IMAGES, SIZE, BATCH = 40, 48, 4
FOLDER_EVENTS = {"os.mkdir", "os.remove", "os.rename", "os.rmdir"}
IMPORTED = (
    "netdissect_fast.scoring.backends.cpu",
    "netdissect_fast.dissection",
    "netdissect_fast.runs.merge",
    "safetensors.numpy",
    "tests.support.networks",
    "torch.utils.data",
    "tqdm.auto",
)
Job = dict[str, Any]


class Writes:
    """Counts what this process does to files and folders in ``folder``, and kills it before the n-th of it.

    When the n-th is bytes to be written, half of them are.
    """

    def __init__(self, folder: str, fatal: int) -> None:
        self.folder, self.fatal, self.count, self._lock = folder, fatal, 0, threading.Lock()

    def install(self) -> None:
        """Watch this process until it ends."""
        fsync, self._open = os.fsync, io.open

        def watched_fsync(handle: int) -> None:
            self._step(file_of(handle))
            fsync(handle)

        os.fsync = watched_fsync
        builtins.open = io.open = self._watched_open
        sys.addaudithook(self._audit)

    def _is_due(self, path: str) -> bool:
        if path != self.folder and not path.startswith(f"{self.folder}/"):
            return False
        with self._lock:
            self.count += 1
            return self.count == self.fatal

    def _step(self, path: str) -> None:
        if self._is_due(path):
            die()

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self._step(os.fsdecode(path))
        elif event in FOLDER_EVENTS:
            path, handle = os.fsdecode(arguments[0]), arguments[-1]
            self._step(path if handle < 0 else f"{file_of(handle)}/{path}")

    def _watched_open(self, path: Any, *arguments: Any, **options: Any) -> Any:
        file = self._open(path, *arguments, **options)
        if isinstance(path, str | os.PathLike) and file.writable():
            write, truncate = file.write, file.truncate

            def watched_write(data: Any) -> int:
                if self._is_due(os.fspath(path)):
                    file.flush()
                    data = data.encode() if isinstance(data, str) else memoryview(data).cast("B")
                    os.write(file.fileno(), data[: len(data) // 2])
                    die()
                return write(data)

            def watched_truncate(*size: int) -> int:
                self._step(os.fspath(path))
                return truncate(*size)

            file.write, file.truncate = watched_write, watched_truncate
        return file


def file_of(handle: int) -> str:
    return str(Path(f"/proc/self/fd/{handle}").readlink())


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# ------------------------------------------------------------------------------- what must not pass unnoticed


def _parts_in_place() -> None:
    from netdissect_fast.runs import parts

    @contextmanager
    def in_place(path: Path) -> Iterator[Path]:
        path.mkdir(parents=True, exist_ok=True)
        yield path

    parts.new_folder = in_place


def _old_part_first() -> None:
    from netdissect_fast.runs import checkpoints, parts

    save_part = checkpoints.save_part

    def save(out: Path, span: Any, *arguments: Any) -> Path:
        parts.remove_parts(out, span)
        return save_part(out, span, *arguments)

    checkpoints.save_part = save


def _old_result_stays() -> None:
    from netdissect_fast.results import run_result as results

    results.remove_file = lambda path: None


def _shards_first() -> None:
    from netdissect_fast.results import run_result as results
    from netdissect_fast.runs import parts

    save = results.Dissection.save

    def removed_first(self: Any, out: Path) -> None:
        parts.remove_parts(out)
        save(self, out)

    results.Dissection.save = removed_first


BREAKS: dict[str, Callable[[], None]] = {
    "a part is written in place": _parts_in_place,
    "the last part is removed before the next is there": _old_part_first,
    "an older result is not withdrawn": _old_result_stays,
    "shards are removed before the result is there": _shards_first,
}

# ---------------------------------------------------------------------------------------------- the server


def _work(job: Job) -> None:
    import netdissect_fast as nd

    from .networks import two_layers

    options = dict(job["options"])
    if job["what"] == "merge":
        nd.merge(**options)
        return
    data = nd.Subset.first(nd.Synthetic(IMAGES, size=SIZE), options.pop("images", IMAGES))
    nd.dissect(two_layers(), data, ["0", "3"], batch_size=BATCH, **{"checkpoint_every": 0, **options})


def _child(job: Job, pipe: int) -> None:
    if "broken" in job:
        BREAKS[job["broken"]]()
    writes, error = Writes(job.get("folder", "/nowhere"), job.get("write", 0)), ""
    if "write" in job:
        from netdissect_fast.results import run_result as results

        results.ThreadPoolExecutor = functools.partial(ThreadPoolExecutor, 1)  # one order of writes
        writes.install()
    try:
        _work(job)
    except Exception:
        error = traceback.format_exc()
    os.write(pipe, json.dumps({"writes": writes.count, "error": error[-20_000:]}).encode())


def _attempt(job: Job) -> Job:
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork would lose threads"
    reading, writing = os.pipe()
    begun = time.perf_counter()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            _child(job, writing)
        finally:
            os._exit(0)
    os.close(writing)
    if "after" in job:
        time.sleep(job["after"])
        os.kill(child, signal.SIGKILL)  # not yet waited for, so the number is still its own
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"status": status, "seconds": time.perf_counter() - begun, **json.loads(answer or "{}")}


def serve() -> None:
    """Work off jobs until stdin ends."""
    import torch

    import netdissect_fast as nd
    from netdissect_fast.data.formats import synthetic

    for module in IMPORTED:
        import_module(module)
    torch.set_num_threads(1)
    synthetic._draw = functools.cache(synthetic._draw)  # each picture is drawn once, not in every run
    pictures = nd.Synthetic(IMAGES, size=SIZE)
    for i in range(IMAGES):
        pictures.image(i)
    gc.freeze()  # the children need not look through all this
    for line in sys.stdin:
        print(json.dumps(_attempt(json.loads(line))), flush=True)


class Server:
    """The server, from outside."""

    def __enter__(self) -> Server:
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore::ResourceWarning", "-m", "tests.support.killing"],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **single},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate(timeout=60)

    def __call__(self, what: str, options: Job, **how: Any) -> Job:
        """Do a job, however it ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"what": what, "options": {"threads": 1, "progress": False, **options}, **how}
        self._process.stdin.write(json.dumps(job, default=str) + "\n")
        self._process.stdin.flush()
        answer: Job = json.loads(self._process.stdout.readline())
        return answer

    def finish(self, what: str, options: Job, **how: Any) -> Job:
        """Do a job that must succeed."""
        answer = self(what, options, **how)
        assert (answer["status"], answer.get("error")) == (0, ""), answer.get("error")
        return answer


if __name__ == "__main__":
    serve()
