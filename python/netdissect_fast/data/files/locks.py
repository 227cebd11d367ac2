"""A lock for data sets, which are copied to loader processes."""

from __future__ import annotations

import os
import threading
from typing import Any


class Lock:
    """A lock that pickles, and that is free in a forked process: the thread that held it does not exist there."""

    def __init__(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()

    def __enter__(self) -> None:
        if os.getpid() != self._process:
            self.__init__()  # type: ignore[misc]
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return Lock, ()
