"""Fetches one large file over HTTP from any of several addresses, resuming an interrupted download."""

from __future__ import annotations

import re
import shutil
import time
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from ...errors import ArgumentError, DownloadError, OutputError, shortened
from .partial_file import Part

WAITS = (1.0, 2.0, 4.0)  # seconds before each further attempt
_PIECE = 1 << 16  # bytes read at a time
_PROGRESS = 1 << 20  # bytes after which an address gets all its attempts again
_ZIP = b"PK\3\4"
_LATER = {408, 425, 429}  # status codes, besides 5xx, that may be temporary


class _Refused(Exception):
    """An address is of no use."""


class _Broken(Exception):
    """An attempt failed; the next may not."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        new, old = urlsplit(newurl), urlsplit(req.full_url)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
            fp.close()
            raise _Refused(
                f"redirects to {_plain(newurl)}, which is refused: only http and https, and https must stay https"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def require_web(url: str) -> str:
    """Return the address; raise ArgumentError if it is not an http or https one."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        _ = parts.port  # ValueError if it is not a number
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or not url.isascii() or " " in url:
        raise ArgumentError(f"an address must be http://... or https://..., without a user name, got {url!r}")
    return url


class Fetching:
    """Fetches a zip file into ``part`` from the first of ``urls`` that has it.

    most      the most bytes that it may have
    sha256    what it must be, if given
    timeout   seconds without receiving a byte after which a connection counts as broken
    bar       a tqdm of bytes
    """

    def __init__(
        self, part: Part, urls: Sequence[str], most: int, sha256: str | None, timeout: float, bar: Any
    ) -> None:
        self.part, self.urls, self._most, self._sha256 = part, urls, most, sha256
        self._timeout, self._bar = timeout, bar
        self._opener = urllib.request.OpenerDirector()  # not the usual one, which also opens files
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.UnknownHandler(),
            _Redirects(),
        ):
            self._opener.add_handler(handler)

    def fetch(self, name: str) -> None:
        """Fetch it. Raises DownloadError that lists every address, OutputError if it cannot be written."""
        problems = []
        begun = self.part.of.get("url")
        for url in sorted(self.urls, key=lambda url: url != begun):  # what was received is not thrown away
            try:
                self._fetch(url)
                self._check_sha256()
                return
            except _Refused as error:
                problems.append(f"\n  {url}: {error}")
        raise DownloadError(
            f"{name} could not be downloaded:{''.join(problems)}\n"
            "try again later (the download resumes), pass a different address as --url, or get the zip file "
            "elsewhere and unpack it by hand"
        )

    def _check_sha256(self) -> None:
        found = self.part.sha256.hexdigest()
        if self._sha256 not in (None, found):
            self.part.remove()
            raise _Refused(f"sent a file with sha256 {found}, expected {self._sha256}; it was removed")

    def _fetch(self, url: str) -> None:
        waits, reached = iter(WAITS), 0
        while True:
            if self.part.of.get("url") == url and self.part.size == self.part.of.get("bytes"):
                return
            try:
                self._attempt(url)
            except OutputError:
                raise
            except (_Broken, OSError, HTTPException, ValueError) as error:
                if self.part.size >= reached + _PROGRESS:
                    waits, reached = iter(WAITS), self.part.size
                wait, reason = next(waits, None), self._said(error)
                if wait is None:
                    raise _Refused(f"{reason}; {len(WAITS) + 1} attempts") from error
                self._bar.set_postfix_str(f"{reason}; retrying")
                time.sleep(wait)

    def _attempt(self, url: str) -> None:
        part = self.part
        validator = part.validator() if part.of.get("url") == url and part.size else None
        headers = {"User-Agent": "netdissect-fast"}
        if validator is not None:
            headers |= {"Range": f"bytes={part.size}-", "If-Range": validator}
        with self._open(url, headers) as response:
            if validator is not None and response.status == 206:
                self._go_on(response)
                data = b""
            elif response.status == 200:
                data = self._begin(url, response)
            else:
                raise _Refused(f"answered {response.status}; expected the file")
            self._copy(response, data)

    def _open(self, url: str, headers: dict[str, str]) -> HTTPResponse:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 — http and https only: require_web
        try:
            response: HTTPResponse = self._opener.open(request, timeout=self._timeout)
            return response
        except HTTPError as error:
            error.close()
            if error.code == 416 and "Range" in headers:
                self.part.remove()  # longer than the file is now
            said = f"answered {error.code} {_plain(error.reason)}"
            if error.code >= 500 or error.code in _LATER or error.code == 416:
                raise _Broken(said) from error
            raise _Refused(said) from error

    def _begin(self, url: str, response: HTTPResponse) -> bytes:
        """Start over with the file that this response sends; return its first bytes."""
        total = response.length
        if total is not None and total > self._most:
            raise _Refused(f"has a file of {total} bytes; expected at most {self._most}")
        first = response.read1(_PIECE)
        if not first or not _ZIP.startswith(first[:4]):
            kind = _plain(response.headers.get_content_type())
            raise _Refused(f"sent not a zip file but {kind} that begins with {first[:40]!r}")
        self._check_space(total)
        etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
        self.part.begin({"url": url, "etag": etag, "modified": modified, "bytes": total})
        return first

    def _go_on(self, response: HTTPResponse) -> None:
        """Check that this response sends the rest of what was received so far."""
        part = self.part
        said = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", said, re.ASCII)
        start, stop, total = (int(number) for number in match.groups()) if match else (-1, -1, -1)
        known = part.of.get("bytes")
        fits = start == part.size and start <= stop < total <= self._most and known in (None, total)
        same = all(
            response.headers.get(header) in (None, part.of.get(name))
            for header, name in (("ETag", "etag"), ("Last-Modified", "modified"))
        )
        if not fits or not same:
            expected = f"bytes {part.size}-.../{'...' if known is None else known}"
            part.remove()
            if fits:
                raise _Broken("has a different file than before")
            raise _Broken(f"answered with Content-Range {_plain(said)!r}, expected {expected}")
        self._check_space(total)
        if known is None:
            part.set({**part.of, "bytes": total})

    def _check_space(self, total: int | None) -> None:
        folder = self.part.path.parent
        needed, free = (total or 0) - self.part.size, shutil.disk_usage(folder).free
        if needed > free:
            raise OutputError(f"{needed} bytes remain to come, and {folder} has {free} free; choose a different --out")

    def _copy(self, response: HTTPResponse, data: bytes) -> None:
        part, bar = self.part, self._bar
        total = part.of["bytes"]
        bar.initial = part.size
        bar.reset(total)
        bar.update(part.size)
        with part.appending() as file:
            while True:
                part.append(file, data)
                bar.update(len(data))
                if part.size > self._most:
                    part.remove()
                    raise _Refused(f"sent more than {self._most} bytes, the most expected")
                left = _PIECE if total is None else total - part.size
                if not left or not (data := response.read1(min(left, _PIECE))):
                    break
        if total is None:
            part.set({**part.of, "bytes": part.size})
        elif part.size < total:
            raise _Broken(f"closed the connection after {part.size} of {total} bytes")

    def _said(self, error: Exception) -> str:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, TimeoutError):
            return f"sent nothing for {self._timeout:g} s"
        return _plain(getattr(reason, "strerror", None) or reason) or type(reason).__name__


def _plain(text: object) -> str:
    """Return a server's text, safe for a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in shortened(text)).split())
