"""One writer to a folder at a time, whoever dies."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from netdissect_fast.errors import OutputError
from netdissect_fast.storage import LOCK, only_writer

HOLD = """
import sys, time
from pathlib import Path
from netdissect_fast.storage import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_makes_the_folder_and_leaves_nothing(tmp_path: Path) -> None:
    with only_writer(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK).exists()
    assert not list((tmp_path / "a" / "b").iterdir())
    with pytest.raises(ZeroDivisionError), only_writer(tmp_path / "a"):
        raise ZeroDivisionError
    assert not (tmp_path / "a" / LOCK).exists()


def test_another_process_is_named(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        try:
            for _ in range(2):
                with (
                    pytest.raises(OutputError, match=f"process {process.pid} on {platform.node()}"),
                    only_writer(tmp_path),
                ):
                    pass
            assert process.poll() is None
        finally:
            process.kill()


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_holder_that_died_holds_nothing(tmp_path: Path, end: signal.Signals) -> None:
    with holder(tmp_path) as process:
        process.send_signal(end)
        process.wait(60)
    assert (tmp_path / LOCK).exists() == (end == signal.SIGKILL)
    with only_writer(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / LOCK).read_text()
    assert not (tmp_path / LOCK).exists()


def test_threads_take_turns(tmp_path: Path) -> None:
    """However the lock is passed on, two never hold it at once."""
    inside, most, refused = [0], [0], [0]

    def work() -> None:
        for _ in range(300):
            try:
                with only_writer(tmp_path):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    inside[0] -= 1
            except OutputError:
                refused[0] += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert refused[0] < 1200


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"), only_writer(tmp_path / "file"):
        pass
