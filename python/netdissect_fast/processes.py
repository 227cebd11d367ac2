"""Jobs run in order, in threads or in worker processes that end with their parent, even if it is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from multiprocessing.connection import wait
from typing import Any, TypeVar

from .errors import ArgumentError, CapacityError, shortened

R = TypeVar("R")
Job = tuple[Callable[..., R], tuple[Any, ...]]


def run_jobs(
    jobs: Iterable[Job[R]],
    workers: int,
    start: Callable[..., None],
    arguments: tuple[Any, ...],
    what: str,
    ahead: int = 4,
) -> Iterator[R]:
    """Run jobs, (function, arguments) that pickle, in processes; yield their results in order.

    workers    processes, or 0: a thread of this process
    start      called first in each worker, with ``arguments``
    what       for messages: what a process does
    ahead      jobs per worker taken from ``jobs`` before results are waited for

    Raises what a job raises, ArgumentError if ``arguments`` do not pickle, and CapacityError if a process dies.
    """
    with closing(in_order(_pool(workers, start, arguments), jobs, ahead * max(1, workers))) as results:
        try:
            yield from results
        except BrokenProcessPool as error:
            raise CapacityError(
                f"a process that {what} died or could not start. If memory is short, use fewer workers; in a script, "
                "call this under `if __name__ == '__main__':`, or use workers=0"
            ) from error


def _pool(workers: int, start: Callable[..., None], arguments: tuple[Any, ...]) -> Executor:
    if workers < 1:
        return ThreadPoolExecutor(1, "netdissect_fast worker", start, arguments)
    # Spawned: forking a process with threads, such as torch's, may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, _start_process, (start, *arguments))


def in_order(pool: Executor, jobs: Iterable[Job[R]], ahead: int) -> Generator[R, None, None]:
    """Run jobs in a pool, at most ``ahead`` more than results were taken; yield their results in order.

    The pool is shut down at the end, also if the generator is closed early.
    """
    waiting: deque[Future[R]] = deque()
    with pool:
        try:
            for function, arguments in jobs:
                with _interrupts_held(), _said_what_cannot_be_sent():
                    waiting.append(pool.submit(function, *arguments))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _start_process(start: Callable[..., None], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process stops its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start(*arguments)


def _end_with_parent() -> None:
    """Exit when the main process is gone: if it is killed, it cannot stop its workers."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@contextmanager
def loader_deaths_named() -> Iterator[None]:
    """Turn any error that the death of one of torch's loader processes caused into a CapacityError that says so.

    torch raises a RuntimeError in the main thread, wherever that is, such as inside the network.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        said = ""  # by torch: the innermost, since others quote it
        while cause is not None:
            said = str(cause) if "DataLoader worker (pid" in str(cause) else said
            cause = cause.__cause__ or cause.__context__
        if not said:
            raise
        raise CapacityError(
            f"a loader process died: {shortened(said).strip()} If memory is short, use fewer processes; with workers=0 "
            "(--workers 0) the main process loads the images, and an error there is shown"
        ) from error


@contextmanager
def _said_what_cannot_be_sent() -> Iterator[None]:
    """Turn the errors of several kinds that pickling raises into one ArgumentError."""
    try:
        yield
    except (BrokenProcessPool, OSError):
        raise
    except Exception as error:
        raise ArgumentError(
            f"the data set cannot be sent to other processes ({shortened(error)}): use workers=0 (--workers 0), or "
            "build it from functions and classes defined at the top level of a file, not from lambdas"
        ) from error


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C while processes start: it would reach them before they can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
