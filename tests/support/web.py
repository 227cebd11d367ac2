"""A web server on loopback that serves a file well, badly or not at all."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]
ETAG, STALL = '"1"', 10.0


class Site:
    """Answers each request of a path by the next of its ``answers``; the last answers all that follow.

    ``asked``: path and Range (or None) of each request.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.closed = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append((self.path, self.headers["Range"]))
                answers = site.answers[self.path]
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                with suppress(OSError):  # the client has gone
                    answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Site:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str, *answers: Answer) -> str:
        """Address of a path that is answered so."""
        self.answers[path] = list(answers)
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def ranges(self, path: str) -> list[str | None]:
        return [asked for where, asked in self.asked if where == path]

    def stall(self, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.flush()
        self.closed.wait(STALL)


def dead_url() -> str:
    """An address where nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{server.getsockname()[1]}/file.zip"


def serve(
    data: bytes,
    etag: str | None = ETAG,
    modified: str | None = None,
    ranges: bool = True,
    stop: int | None = None,
    length: int | None = None,
    content_range: str | None = None,
    obey: bool = True,
    then: Answer | None = None,
) -> Answer:
    """Serve ``data`` as a good server does, but for what is asked for.

    ranges          False: Range is not known, all is sent
    stop            only so many bytes are sent, then the connection is closed, or ``then`` called
    length          what Content-Length says
    content_range   what a 206 says
    obey            False: If-Range is not looked at
    """

    def answer(handler: BaseHTTPRequestHandler) -> None:
        start, asked = 0, re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
        if ranges and asked and (not obey or handler.headers["If-Range"] in (etag, modified)):
            start = int(asked[1])
            if start >= len(data):
                handler.send_error(416)
                return
        body = data[start:]
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", content_range or f"bytes {start}-{len(data) - 1}/{len(data)}")
        for header, value in (("ETag", etag), ("Last-Modified", modified)):
            if value is not None:
                handler.send_header(header, value)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body[: None if stop is None else max(stop - start, 0)])
        if then is not None:
            then(handler)

    return answer


def status(code: int) -> Answer:
    return lambda handler: handler.send_error(code)


def redirect(to: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.end_headers()

    return answer


def page(handler: BaseHTTPRequestHandler) -> None:
    """A web page, as of a network that wants a login first."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.end_headers()
    handler.wfile.write(b"<!DOCTYPE html><title>Log in</title>")


def chunked(data: bytes, again: bool = False) -> Answer:
    """Serve ``data`` in chunks, without a length; ``again``: without end."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        while again:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        handler.wfile.write(b"0\r\n\r\n")

    return answer
