"""An HTTP server on this machine whose files, marks and failures a test chooses."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Site:
    """What the server has, how it behaves, and what it was asked and has sent."""

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    linked_etag: str | None = None  # sent with a redirect, as the Hugging Face hub does
    etag: str | None = '"1"'
    content_type: str = "application/octet-stream"
    ranges: bool = True
    sized: bool = True
    status: int = 200
    breaks_after: int | None = None  # bytes of a body, after which the connection is closed
    address: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    def headers(self, number: int = -1) -> dict[str, str]:
        return self.asked[number][1]


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

        def do_GET(self) -> None:
            site.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
            path = re.sub(r"^http://[^/]+", "", self.path)  # as a proxy is asked
            if path in site.redirects:
                self.send_response(302)
                self.send_header("Location", site.redirects[path])
                if site.linked_etag is not None:
                    self.send_header("X-Linked-ETag", site.linked_etag)
                self.end_headers()
                return
            content = site.files.get(path)
            if content is None or site.status != 200:
                self.send_error(404 if content is None else site.status)
                return
            first, code = self._first(len(content)), 200
            if first is not None and first >= len(content):
                self.send_error(416)
                return
            if first is not None:
                code = 206
            body = content[first or 0 :]
            self.send_response(code)
            self.send_header("Content-Type", site.content_type)
            if code == 206:
                last = len(content) - 1
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            if site.sized:
                self.send_header("Content-Length", str(len(body)))
            if site.etag is not None:
                self.send_header("ETag", site.etag)
            self.end_headers()
            body = body[: site.breaks_after]
            site.sent.append(len(body))
            self.wfile.write(body)

        def _first(self, size: int) -> int | None:
            """The first byte of a range that the server agrees to."""
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if wanted is None or not site.ranges:
                return None
            condition = self.headers.get("If-Range")
            return int(wanted[1]) if condition in (None, site.etag) else None

    return Handler


@contextmanager
def serving() -> Iterator[Site]:
    """A site at `address`, until the end of the context."""
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
