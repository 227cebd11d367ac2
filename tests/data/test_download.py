"""Downloads from loopback servers: good ones, and dead, slow and lying ones."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netdissect_fast.commands.data import download as data_download
from netdissect_fast.data.download import download as downloading
from netdissect_fast.data.download import fetch as fetching
from netdissect_fast.data.download.download import download
from netdissect_fast.data.formats.broden import Broden
from netdissect_fast.errors import ArgumentError, DataError, DownloadError, InUse, NetDissectError, OutputError
from netdissect_fast.storage import only_writer

from ..support.tiny_broden import write_tiny
from ..support.web import Site, chunked, dead_url, page, redirect, serve, status


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(fetching, "_PIECE", 1000)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as started:
        yield started


def zip_of(folder: Path, **more: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, Path("tiny") / path.relative_to(folder))
        for name, data in more.items():
            archive.writestr(zipfile.ZipInfo(f"tiny/{name}"), data)
    return file.getvalue()


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return zip_of(write_tiny(tmp_path_factory.mktemp("tiny")), noise=bytes(range(256)) * 2, stored=b"abc" * 1000)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def get(*urls: str, **options: Any) -> Path:
    return download("tiny", urls=urls, **{"timeout": 20.0, "progress": False, **options})


def names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def require_whole(payload: bytes, url: str) -> None:
    assert names() == ["tiny"]
    record = json.loads(Path("tiny/download.json").read_text())
    assert record == {"name": "tiny", "url": url, "bytes": len(payload), "sha256": sha256(payload)}
    assert len(Broden("tiny")) == 3
    Broden("tiny").image(0)


GOOD = {
    "with ranges": serve,
    "without": lambda data: serve(data, ranges=False, etag=None),
    "in chunks": chunked,
}


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("checked", [False, True])
def test_downloads(site: Site, payload: bytes, kind: str, checked: bool) -> None:
    url = site.url("/a.zip", GOOD[kind](payload))
    assert get(url, sha256=sha256(payload).upper() if checked else None) == Path("tiny")
    require_whole(payload, url)
    assert site.asked == [("/a.zip", None)]


def test_zip_is_kept(site: Site, payload: bytes) -> None:
    url = site.url("/a.zip", serve(payload))
    assert get(url, out=Path("sub/here"), keep_zip=True) == Path("sub/here")
    assert Path("sub/tiny.zip").read_bytes() == payload
    assert sorted(path.name for path in Path("sub").iterdir()) == ["here", "tiny.zip"]
    with pytest.raises(OutputError, match=r"tiny\.zip already exists"):
        get(url, out="sub/other", keep_zip=True)
    with pytest.raises(DataError, match=r"sub/index\.csv: does not exist: the folder holds something else"):
        get(url, out="sub")


def test_one_that_is_there(site: Site, payload: bytes) -> None:
    url = site.url("/a.zip", serve(payload))
    Path("tiny").mkdir()  # an empty folder counts as none
    get(url)
    for given in (None, sha256(payload)):
        assert get(url, sha256=given) == Path("tiny")
    assert len(site.asked) == 1
    with pytest.raises(DataError, match=f"is {sha256(payload)}, expected {'0' * 64}"):
        get(url, sha256="0" * 64)
    Path("tiny/download.json").write_text("[]")
    with pytest.raises(DataError, match="has no sha256"):
        get(url, sha256="0" * 64)
    Path("tiny/download.json").unlink()
    get(url)
    with pytest.raises(DataError, match="is not recorded"):
        get(url, sha256="0" * 64)
    Path("tiny/index.csv").unlink()
    with pytest.raises(DataError, match=r"index\.csv"):
        get(url)
    assert len(site.asked) == 1


def test_goes_on_where_it_was_broken_off(site: Site, payload: bytes) -> None:
    """Twice; each time only the missing bytes are requested."""
    url = site.url("/a.zip", serve(payload, stop=1500), serve(payload, stop=2600), serve(payload))
    get(url, sha256=sha256(payload))
    require_whole(payload, url)
    assert site.ranges("/a.zip") == [None, "bytes=1500-", "bytes=2600-"]


def test_goes_on_in_a_later_call(site: Site, payload: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, then a server that is down, then a full disk: no received byte is lost."""

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    url = site.url("/a.zip", serve(payload, stop=1500), status(404), serve(payload))
    with monkeypatch.context() as patch:
        patch.setattr(fetching.time, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            get(url)
    assert names() == [".tiny.zip.part", ".tiny.zip.part.json"]
    with pytest.raises(DownloadError, match="answered 404"):
        get(url)
    usage = namedtuple("usage", "total used free")
    for free, reason in ((10, f"{len(payload) - 1500} bytes remain to come"), (len(payload), "unpacking .* takes")):
        with monkeypatch.context() as patch:
            patch.setattr(fetching.shutil, "disk_usage", lambda _, free=free: usage(0, 0, free))
            with pytest.raises(OutputError, match=reason):
                get(url)
    asked = site.ranges("/a.zip")
    assert asked == [None, *["bytes=1500-"] * 3]
    get(url)  # already complete: only unpacked
    assert site.ranges("/a.zip") == asked
    require_whole(payload, url)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"url": 3}', '{"url": "URL", "etag": "\\"1\\"", "bytes": "x"}'])
def test_notes_that_are_broken(site: Site, payload: bytes, text: str) -> None:
    url = site.url("/a.zip", serve(payload))
    Path(".tiny.zip.part").write_bytes(b"x" * 100)
    Path(".tiny.zip.part.json").write_text(text.replace("URL", url))
    get(url)
    require_whole(payload, url)


def test_goes_on_by_date(site: Site, payload: bytes) -> None:
    """If the ETag is weak, since If-Range accepts only strong ones."""
    date = "Thu, 26 Oct 2017 12:00:00 GMT"
    dated = {"etag": 'W/"1"', "modified": date}
    url = site.url("/a.zip", serve(payload, stop=1500, **dated), serve(payload, **dated))
    get(url)
    require_whole(payload, url)
    assert site.ranges("/a.zip") == [None, "bytes=1500-"]


CHANGED = {
    "by If-Range": (serve, {"etag": '"2"'}),
    "that it does not obey": (serve, {"etag": '"2"', "obey": False}),
    "without ranges": (serve, {"ranges": False}),
    "without ETag": (serve, {"etag": None}),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_another_file_is_not_mixed_in(site: Site, payload: bytes, kind: str) -> None:
    make, options = CHANGED[kind]
    old = b"PK\3\4" + bytes(3000)
    url = site.url("/a.zip", serve(old, stop=2000), make(payload, **options))
    get(url)
    require_whole(payload, url)
    assert site.ranges("/a.zip")[:2] == [None, "bytes=2000-"]


def test_without_a_validator_it_starts_over(site: Site, payload: bytes) -> None:
    url = site.url(
        "/a.zip", serve(payload, etag=None, stop=1500), serve(payload, etag='W/"1"', stop=1500), serve(payload)
    )
    get(url)
    require_whole(payload, url)
    assert site.ranges("/a.zip") == [None, None, None]


def test_mirrors(site: Site, payload: bytes) -> None:
    """The first breaks off; its bytes are not mixed with the second's, whose download the next call resumes first."""
    first = site.url("/first.zip", serve(b"PK\3\4" + bytes(9000), stop=5000), status(404))
    second = site.url("/second.zip", serve(payload, stop=1500), status(403))
    with pytest.raises(DownloadError) as caught:
        get(first, second, dead_url())
    for text in ("first.zip: answered 404", "second.zip: answered 403", "Connection refused; 4 attempts", "--url"):
        assert text in str(caught.value)
    site.url("/second.zip", serve(payload))
    get(first, second)
    require_whole(payload, second)
    assert site.asked[-1] == ("/second.zip", "bytes=1500-")


def test_an_answer_that_passes(site: Site, payload: bytes) -> None:
    url = site.url("/a.zip", status(503), redirect("/b.zip"))
    site.url("/b.zip", serve(payload))
    get(url)
    require_whole(payload, url)


def test_slow(site: Site, payload: bytes) -> None:
    """A server that stalls is dropped and retried; one that always stalls is given up."""
    url = site.url("/a.zip", serve(payload, stop=1500, then=site.stall), serve(payload))
    get(url, timeout=0.3)
    require_whole(payload, url)
    assert site.ranges("/a.zip") == [None, "bytes=1500-"]
    with pytest.raises(DownloadError, match=r"sent nothing for 0.1 s; 4 attempts"):
        get(site.url("/b.zip", site.stall), out="other", timeout=0.1)


REFUSED = {
    "long": (lambda data: serve(data, length=len(data) + 1), "closed after .* of .* bytes|answered 416"),
    "huge": (lambda data: serve(data, length=10**15), "has a file of 1000000000000000 bytes; expected at most"),
    "range": (
        lambda data: serve(data, stop=1500, content_range=f"bytes 0-{len(data) - 1}/{len(data)}"),
        "answered with Content-Range|closed after",
    ),
    "page": (lambda _: page, "sent not a zip file but text/html that begins with b'<!DOCTYPE"),
    "empty": (lambda _: serve(b""), "sent not a zip file but"),
    "endless": (lambda data: chunked(data, again=True), "sent more than 100000 bytes, the most expected"),
    "file": (lambda _: redirect("file:///etc/passwd"), "answered 302 .*file:///etc/passwd"),
    "ftp": (lambda _: redirect("ftp://127.0.0.1/a.zip"), "redirects to ftp://127.0.0.1/a.zip"),
    "loop": (lambda _: redirect("/a.zip"), "answered 302 .*loop"),
    "missing": (lambda _: status(404), "answered 404 Not Found"),
    "away": (lambda _: status(503), "answered 503 Service Unavailable; 4 attempts"),
    "nothing new": (lambda _: status(204), "answered 204"),
    "silent": (lambda _: lambda handler: None, "Remote end closed connection without response; 4 attempts"),
}


@pytest.mark.parametrize("lie", REFUSED)
def test_lies(site: Site, payload: bytes, lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, reason = REFUSED[lie]
    if lie == "endless":
        monkeypatch.setattr(downloading, "MOST", 100_000)
    with pytest.raises(DownloadError, match=f"tiny could not be downloaded:\n  http://127.*/a.zip: ({reason})"):
        get(site.url("/a.zip", make(payload)))
    assert len(site.asked) <= 10
    assert "tiny" not in names()


BAD_FILES = {
    "short": (lambda data: serve(data, length=len(data) - 100), "is not a usable zip file"),
    "other bytes": (lambda data: serve(data[:1000] + b"?" * 100 + data[1100:]), "is broken"),
    "no data set": (lambda _: serve(ZIP_OF_NOTHING), "has no index.csv"),
    "hostile": (lambda _: serve(ZIP_OF_EVIL), r"member '\.\./evil' leads out of the folder"),
}


def _zip(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "x")
    return file.getvalue()


ZIP_OF_NOTHING, ZIP_OF_EVIL = _zip("readme.txt"), _zip("../evil")


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("what", BAD_FILES)
def test_bad_files(site: Site, payload: bytes, what: str, kept: bool) -> None:
    make, reason = BAD_FILES[what]
    with pytest.raises(DataError, match=f"a.zip: .*{reason}.*sha256.*try another --url"):
        get(site.url("/a.zip", make(payload)), keep_zip=kept)
    assert names() == (["tiny.zip"] if kept else [])


def test_other_bytes_of_the_same_etag(site: Site, payload: bytes) -> None:
    """Only the checksum reveals it: the file is removed, and the next address is tried."""
    other = bytes(2000) + payload[2000:]
    first = site.url("/a.zip", serve(payload, stop=1500), serve(other))
    second = site.url("/b.zip", serve(payload))
    with pytest.raises(DownloadError, match=f"expected {sha256(payload)}; it was removed"):
        get(first, sha256=sha256(payload))
    assert site.ranges("/a.zip") == [None, "bytes=1500-"]
    assert names() == []
    get(first, second, sha256=sha256(payload))
    require_whole(payload, second)


def test_known_names_have_known_numbers(site: Site, payload: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    url = site.url("/a.zip", serve(payload), serve(payload))
    with pytest.raises(DataError, match=r"/a.zip: lists 3 images; broden1_224 has 63305: it is a different data set"):
        download("broden1_224", urls=[url], progress=False)
    assert names() == []
    monkeypatch.setattr(downloading, "IMAGES", 3)
    assert download("broden1_224", urls=[url], progress=False) == Path("broden1_224")
    monkeypatch.setattr(downloading, "IMAGES", 4)
    with pytest.raises(DataError, match=r"broden1_224/index.csv: lists 3 images; broden1_224 has 4"):  # exists already
        download("broden1_224", urls=[url], progress=False)
    assert len(site.asked) == 2


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_bad_file_of_one_mirror_is_not_the_last_word(site: Site, payload: bytes, what: str) -> None:
    make, _ = BAD_FILES[what]
    first, second = site.url("/a.zip", make(payload)), site.url("/b.zip", serve(payload))
    get(first, second)
    require_whole(payload, second)


ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    (
        {"name": "broden"},
        "no address of broden is known: pass --url, or choose one of broden1_224, broden1_227, broden1_384",
    ),
    ({"name": "../x"}, "name of a data set"),
    ({"name": ".x"}, "name of a data set"),
    ({"name": "x" * 101}, "name of a data set"),
    ({"sha256": "0" * 63}, "64 hexadecimal digits"),
    ({"timeout": 0.0}, "timeout"),
    ({"timeout": float("nan")}, "timeout"),
    *[
        ({"urls": [url]}, "an address must be http")
        for url in (
            "file:///etc/passwd",
            "ftp://a/b",
            "a/b.zip",
            "http://",
            "http://a:b@c/d",
            "http://a:x/",
            "http://a/b c",
            "http://[a/",
        )
    ],
]


@pytest.mark.parametrize(("arguments", "reason"), ARGUMENTS)
def test_arguments(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        download(**{"name": "broden1_224", "progress": False, **arguments})
    assert names() == []


def test_one_at_a_time(site: Site, payload: bytes) -> None:
    url = site.url("/a.zip", serve(payload))
    with only_writer(Path(), ".tiny.download.lock"), pytest.raises(InUse):
        get(url)
    Path("file").write_text("")
    with pytest.raises(OutputError):
        get(url, out="file/tiny")
    assert site.asked == []


def run(*words: str) -> None:
    parser = argparse.ArgumentParser()
    data_download.add(parser.add_subparsers())
    arguments = parser.parse_args(["download", *words])
    arguments.command(arguments)


def test_command(site: Site, payload: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    url = site.url("/a.zip", serve(payload))
    command = ["tiny", "--url", dead_url(), "--url", url, "--out", "sub/here", "--sha256", sha256(payload), "--quiet"]
    last = f'nd.Broden("sub/here")  # 3 images; sha256 of the zip file: {sha256(payload)}\n'
    run(*command)
    assert capsys.readouterr() == (last, "")
    run(*command)
    assert capsys.readouterr() == (f"sub/here already exists: nothing was downloaded\n{last}", "")
    with pytest.raises(NetDissectError, match="63305"):
        run("broden1_227", "--url", url)
