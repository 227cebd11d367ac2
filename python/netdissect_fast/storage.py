"""The one place that writes files and folders: under a temporary name, then renamed. Files are checked when read."""

from __future__ import annotations

import glob
import json
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import DataError, InUse, OutputError, shortened
from .types import Array

_CHECKSUM = "crc32"  # of all other arrays' bytes, by name
LOCK = ".netdissect-fast.lock"  # of a folder that is being written
MAX_JSON = 100_000_000  # bytes of one JSON file, as safetensors allows its headers
_STALE = 24 * 3600  # seconds after which the process of an unfinished folder is surely gone


@contextmanager
def atomic_file(path: Path, sync: bool = True) -> Iterator[IO[bytes]]:
    """Open ``path`` for writing so that a reader sees the old file or the whole new one, never half of it.

    ``sync=False``, for many small files that can be made again, does not wait for the disk: a power failure may leave
    one empty. Raises OutputError, and leaves nothing behind, if the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if sync:
            _sync_folder(path.parent)
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        with suppress(OSError):  # renamed after success; never created if the folder is not one
            temporary.unlink()


def _output_error(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror or error}; free some space or choose a different --out")


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # other systems cannot open a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder next to ``path`` to fill; it is renamed to ``path`` at the end, removed on any error.

    Raises OutputError if it cannot be written, or ``path`` exists by then and is not an empty folder.
    """
    if not path.name:
        raise OutputError(f"cannot write the folder {path}: give the name of a new folder")
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        temporary.mkdir()
        yield temporary
        temporary.rename(path)
        _sync_folder(path.parent)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"cannot write the folder {path}: {error.strerror or error}; free some space or choose a different one"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _remove_stale(path: Path) -> None:
    """Remove what killed processes left next to ``path``."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with suppress(OSError):  # its process may be finishing just now
            if time.time() - left.stat().st_mtime > _STALE:
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def only_writer(folder: Path, lock: str = LOCK) -> Iterator[None]:
    """Hold ``folder``, created if needed, so that no other process writes into it meanwhile.

    The hold is a lock on the file ``lock`` in it, which the system releases when the process ends, however it ends;
    the file names the holder. Raises InUse naming the process and host that hold the folder, OutputError if it
    cannot be written. If the file system has no locks, nothing is held.
    """
    path = folder / lock
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _locked(path)
    except OutputError:
        raise
    except OSError as error:
        raise _output_error(folder, error) from error
    try:
        yield
    finally:
        with suppress(OSError):  # while still held, so that no other process's is removed
            path.unlink()
        file.close()


def _locked(path: Path) -> IO[str]:
    while True:
        file = path.open("a+", encoding="utf-8")
        file.seek(0)  # some systems lock from the current position
        try:
            _lock(file)
        except BlockingIOError:
            message = _held(path, file)
            file.close()
            raise InUse(message) from None
        except OSError:  # such as a network file system without locks
            return file
        try:
            ours = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except FileNotFoundError:
            ours = False
        if not ours:  # its holder has just removed it
            file.close()
            continue
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
        except OSError:
            path.unlink()
            with suppress(OSError):
                file.close()
            raise
        return file


def _held(path: Path, file: IO[str]) -> str:
    holder = file.read(200).strip() or "another process"
    return f"{path.parent} is being written by {holder}; wait for it to finish, or choose a different --out"


def _lock(file: IO[str], shared: bool = False) -> None:
    """Lock a file without waiting. BlockingIOError if another process holds it, other OSError if there are no locks."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def require_unheld(folder: Path, lock: str = LOCK) -> None:
    """Raise InUse if another process is the only writer of ``folder``."""
    path = folder / lock
    with suppress(FileNotFoundError), path.open("r+", encoding="utf-8") as file:
        try:
            _lock(file, shared=True)  # so that two that ask do not take each other for a writer
        except BlockingIOError:
            raise InUse(_held(path, file)) from None
        except OSError:  # no locks here
            return


def require_writable(folder: Path) -> None:
    """Raise OutputError now, rather than after hours of work, if nothing can be written to ``folder``."""
    with atomic_file(folder / ".writable"):
        pass
    (folder / ".writable").unlink(missing_ok=True)


def remove_file(path: Path) -> None:
    """Remove a file or a link, if it exists. Raises OutputError if it cannot be removed or is a folder."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _output_error(path, error) from error


def remove_tree(path: Path) -> None:
    """Remove a folder with all its content, or a file; of a link only the link. Raises OutputError if that fails.

    Readers see the whole folder or none.
    """
    if path.is_symlink() or not path.is_dir():
        remove_file(path)
        return
    try:
        leaving = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        path.rename(leaving)
        shutil.rmtree(leaving)
    except OSError as error:
        raise _output_error(path, error) from error


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes had begun to write or remove in a folder and two levels below it.

    Only for the only writer of all these; what cannot be removed stays.
    """
    for pattern in (".*.part", "*/.*.part", "*/*/.*.part"):
        for left in list(folder.glob(pattern)):
            if re.fullmatch(r"\..+\.[0-9a-f]+\.part", left.name):
                with suppress(OutputError):
                    remove_tree(left)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, with line ends as they are."""
    with atomic_file(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write human-readable JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if not text.isascii() and text != text.encode(errors="replace").decode():
        text = json.dumps(value, indent=2)  # a file name that is not UTF-8 can only be escaped
    write_text(path, text + "\n")


def _require_file(path: Path) -> int:
    """Return the size of a regular file, else raise DataError: a pipe would wait forever, a device may have no end."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise DataError(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(path, "cannot be read: it is not a regular file")
    return status.st_size


def read_json(path: Path) -> Any:
    """Read JSON. Raises DataError if it is missing, broken or larger than MAX_JSON."""
    size = _require_file(path)
    if size > MAX_JSON:
        raise DataError(path, f"has {size} bytes, more than the {MAX_JSON} expected at most")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"is not JSON: {shortened(error)}") from error


def write_arrays(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays and text metadata as one safetensors file, with a checksum as an additional array."""
    from safetensors.numpy import save

    payload = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    payload[_CHECKSUM] = np.array([_checksum(payload)], np.uint32)  # as metadata its order would vary
    with atomic_file(path) as file:
        file.write(save(payload, metadata=dict(metadata) if metadata else None))


def read_arrays(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Read the arrays and metadata of a safetensors file. Raises DataError if it is missing, broken or was changed."""
    from safetensors import SafetensorError, safe_open

    _require_file(path)
    try:
        with safe_open(path, framework="numpy") as file:
            arrays, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(path, f"is not a readable safetensors file: {shortened(error)}") from error
    checksum = arrays.pop(_CHECKSUM, None)
    if checksum is not None and checksum.tolist() != [_checksum(arrays)]:
        raise DataError(path, "has changed since it was written: its checksum does not match")
    return arrays, metadata


def _checksum(arrays: Mapping[str, Array]) -> int:
    checksum = 0
    for _, array in sorted(arrays.items()):
        checksum = zlib.crc32(array.reshape(-1).view(np.uint8).data, checksum)
    return checksum
