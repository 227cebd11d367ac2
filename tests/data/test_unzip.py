"""Zip files that a stranger may have made."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from netdissect_fast.data.download import unzip as unzipping
from netdissect_fast.data.download.unzip import unzip
from netdissect_fast.errors import DataError, OutputError

MOST = {"most_bytes": 100_000, "most_files": 20}


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def member(name: str, mode: int = 0, flags: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.flag_bits = mode << 16, flags
    return info


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def require_refused(path: Path, *reasons: str) -> None:
    """Refused for these reasons, and nothing is left of it."""
    with pytest.raises(DataError) as caught:
        unzip(path, path.parent / "out", **MOST)
    assert caught.value.path == str(path)
    for reason in reasons:
        assert reason in caught.value.reason
    assert [left.name for left in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("top", ["", "broden1_224/"])
def test_unpacks(tmp_path: Path, top: str, kind: int) -> None:
    files = {"index.csv": b"image\n", "images/a/one.jpg": bytes(range(256)) * 100, "images/empty.png": b""}
    folders = [(f"{top}{name}", b"") for name in ("", "images/", "images/none/") if top or name]
    ignored = [("__MACOSX/broden1_224/._index.csv", b"x"), (f"{top}images/.DS_Store", b"x")]
    members = [*folders, *((top + name, data) for name, data in files.items()), *ignored]
    unzip(zipped(tmp_path / "a.zip", *members, kind=kind), tmp_path / "out", **MOST)
    assert tree(tmp_path / "out") == files
    assert (tmp_path / "out/images/none").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


def test_several_top_folders_stay(tmp_path: Path) -> None:
    unzip(zipped(tmp_path / "a.zip", ("a/x", b"1"), ("b/x", b"2")), str(tmp_path / "out"), **MOST)
    assert tree(tmp_path / "out") == {"a/x": b"1", "b/x": b"2"}


def test_only_into_a_new_folder(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("x", b"1"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    with pytest.raises(OutputError, match="cannot write the folder"):
        unzip(path, tmp_path / "out", **MOST)
    assert tree(tmp_path / "out") == {"mine": b"mine"}


NAMES = {
    "/etc/passwd": "absolute path",
    "//server/x": "absolute path",
    "C:/x": "drive letter",
    "c:x": "drive letter",
    "x:stream": "drive letter",
    "../x": "leads out of the folder",
    "a/../../x": "leads out of the folder",
    "a/..": "leads out of the folder",
    "a\\..\\x": "backslash",
    "\\x": "backslash",
    "a\nb": "control character",
    "a\x1b[2Jb": "control character",
    "./x": "some systems do not allow",
    "a//x": "some systems do not allow",
    "a./x": "some systems do not allow",
    "x ": "some systems do not allow",
    "top//x": "some systems do not allow",
    "top/../x": "leads out of the folder",
    "top/C:/x": "drive letter",
    "a/" * 40 + "x": "folders deep",
}


@pytest.mark.parametrize("name", NAMES)
def test_names(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "a.zip", ("top/good", b"1"), (name, b"2"))
    require_refused(path, NAMES[name], f"member {name!a}", "nothing was unpacked")


def test_nul(tmp_path: Path) -> None:
    """zipfile itself would cut the name at the NUL."""
    path = zipped(tmp_path / "a.zip", ("good.jpgQ.exe", b"1"))
    path.write_bytes(path.read_bytes().replace(b"good.jpgQ", b"good.jpg\0"))
    require_refused(path, "NUL", "'good.jpg\\x00.exe'")


KINDS = {
    "link": stat.S_IFLNK | 0o777,
    "device": stat.S_IFCHR | 0o666,
    "disk": stat.S_IFBLK | 0o666,
    "pipe": stat.S_IFIFO | 0o666,
    "socket": stat.S_IFSOCK | 0o666,
}


@pytest.mark.parametrize("name", KINDS)
def test_links_and_devices(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "a.zip", ("x", b"1"), (member(name, KINDS[name]), b"/etc/passwd"))
    require_refused(path, f"member '{name}' is a link or a device")


@pytest.mark.parametrize("name", ["set/uid", "plain"])
def test_modes_are_not_taken_over(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "a.zip", (member(f"top/{name}", stat.S_IFREG | 0o6777), b"1"))
    unzip(path, tmp_path / "out", **MOST)
    assert not (tmp_path / "out" / name).stat().st_mode & 0o7111


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(tmp_path: Path, kind: int) -> None:
    require_refused(zipped(tmp_path / "a.zip", ("x", b"1"), kind=kind), f"'x' is compressed by method {kind}")


def test_encrypted(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("x", b"1"))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    require_refused(path, "member 'x' is encrypted")


CLASHES = [
    ("x", "x"),
    ("a/Index.csv", "a/index.csv"),
    ("é.jpg", "e\u0301.jpg"),
    ("É.jpg", "e\u0301.jpg"),
    ("A/x", "a/X"),
    ("ß", "SS"),
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", CLASHES)
def test_members_that_would_replace_each_other(tmp_path: Path, names: tuple[str, str]) -> None:
    path = zipped(tmp_path / "a.zip", *((name, b"1") for name in names))
    require_refused(path, "has the same name as another", ascii(names[0]), ascii(names[1]))


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a/b/c", "A/B"), ("x/", "y", "x/y/z", "x/y")])
def test_files_where_folders_are_needed(tmp_path: Path, names: tuple[str, ...]) -> None:
    require_refused(zipped(tmp_path / "a.zip", *((name, b"") for name in names)), "is both a file and a folder")


def test_sizes(tmp_path: Path) -> None:
    """A bomb says how large it is."""
    path = zipped(tmp_path / "a.zip", ("x", b"0" * 60_000), ("bomb", b"0" * 40_001))
    assert path.stat().st_size < 1000
    require_refused(path, "member 'bomb'", "larger than 100000 bytes")
    unzip(path, tmp_path / "out", most_bytes=100_001, most_files=2)


def test_numbers(tmp_path: Path) -> None:
    require_refused(zipped(tmp_path / "a.zip", *((f"{n}", b"") for n in range(21))), "more than 20 members")
    unzip(zipped(tmp_path / "b.zip", *((f"{n}", b"") for n in range(20))), tmp_path / "out", **MOST)


def test_a_directory_too_large_to_read(tmp_path: Path) -> None:
    """Not a member of it is looked at: each would take memory."""
    path = tmp_path / "a.zip"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # a hole
        file.seek(1 << 30)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 1 << 30, 0, 0))
    require_refused(path, "its directory has 1073741824 bytes")


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    """One compressed block, named by many members: their sizes add up all the same."""
    block = io.BytesIO()
    with zipfile.ZipFile(block, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"0" * 50_000)
        for name in "bcd":
            info = zipfile.ZipInfo(name)
            first = archive.infolist()[0]
            for field in ("CRC", "compress_size", "file_size", "header_offset", "compress_type"):
                setattr(info, field, getattr(first, field))
            archive.filelist.append(info)
    (tmp_path / "a.zip").write_bytes(block.getvalue())
    require_refused(tmp_path / "a.zip", "member 'c'", "larger than 100000 bytes")


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [10, 60_001, 99_999])
def test_sizes_that_are_lies(tmp_path: Path, size: int, kind: int) -> None:
    """The directory says fewer or more bytes than there are."""
    path = zipped(tmp_path / "a.zip", ("lie", b"0123456789" * 6_000), kind=kind)
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.index(b"PK\1\2") + 24, size)
    path.write_bytes(data)
    require_refused(path, "member 'lie'")


def test_more_bytes_than_zipfile_should_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should zipfile one day not stop where a member ends by its own word."""
    path = zipped(tmp_path / "a.zip", ("x", b"1"))
    monkeypatch.setattr(unzipping, "_pieces", lambda *_: iter([b"1" * 1000] * 1000))
    require_refused(path, "has more bytes than the 1 it declares")


def test_broken_bytes(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("x", b"0" * 100), ("y", b"abcd" * 100), kind=zipfile.ZIP_STORED)
    good = path.read_bytes()
    path.write_bytes(good.replace(b"abcdabcd", b"abcdabcX"))
    require_refused(path, "member 'y' is broken", "CRC")
    path.write_bytes(good.replace(b"y", b"z", 1))  # its name beside its bytes, not the directory's
    require_refused(path, "member 'y' is broken")


@pytest.mark.parametrize("cut", [0, 1, 21, 100, 399])
def test_no_zip_file(tmp_path: Path, cut: int) -> None:
    path = zipped(tmp_path / "a.zip", ("x", b"0" * 300), kind=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes()[:cut])
    require_refused(path, "is not a usable zip file")


def test_any_byte_changed(tmp_path: Path) -> None:
    """Whatever is changed in it: the right files, or an error of ours and nothing left."""
    path = zipped(tmp_path / "a.zip", ("top/x", b"0" * 30), ("top/y/z", b"abc"))
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        try:
            unzip(path, tmp_path / "out", **MOST)
        except DataError:
            assert not (tmp_path / "out").exists()
        else:
            assert all(data in (b"0" * 30, b"abc") for data in tree(tmp_path / "out").values())
            unzipping.shutil.rmtree(tmp_path / "out")
        assert [left.name for left in tmp_path.iterdir()] == ["a.zip"]


def test_missing_file_and_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        unzip(tmp_path / "none.zip", tmp_path / "out", **MOST)
    path = zipped(tmp_path / "a.zip", ("x", b"0" * 100), ("y", b"0" * 5000))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(unzipping.shutil, "disk_usage", lambda _: usage(0, 0, 3 * 4096 - 1))
    with pytest.raises(OutputError, match=r"takes 12288 bytes, and .* has 12287 free"):
        unzip(path, tmp_path / "out", **MOST)
    assert [left.name for left in tmp_path.iterdir()] == ["a.zip"]
