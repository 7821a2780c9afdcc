"""One request to a server: its redirects, what it says of a file, and its failures in words."""

import re
import urllib.request
from contextlib import suppress
from http.client import HTTPException, HTTPMessage, HTTPResponse
from socket import gaierror
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from slotcli import __version__
from slotcli.errors import UnavailableError, printable

_PATIENCE = 30  # seconds without an answer
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')
_ELSEWHERE = (
    "Fetch it on another machine and give it with --from FILE, or set SLOTCLI_MIRROR to a mirror."
)


class Answer:
    """A server's answer: what it says of the file, and its content as a stream to `close`.

    `first` is the position of the content's first byte in the file, 0 where the server sends the
    whole file though a part was requested; `total` is the size of the whole file, if it is known.
    """

    def __init__(self, response: HTTPResponse, stated_sha256: str | None) -> None:
        self._response = response
        headers = response.headers
        found = _RANGE.match(headers.get("Content-Range", ""))
        length = headers.get("Content-Length", "")
        self.first = int(found[1]) if found and response.status == 206 else 0
        self.total: int | None = None
        if found and found[2] != "*":
            self.total = int(found[2])
        elif response.status == 200 and length.isdecimal():
            self.total = int(length)
        self.is_page = headers.get_content_type() == "text/html"
        self.stated_sha256 = stated_sha256
        # A weak mark is not one of the bytes, so the server would not resume by it.
        mark = headers.get("ETag", "")
        self.validator: str | None = mark if mark.startswith('"') else headers.get("Last-Modified")

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end. Raises OSError or HTTPException."""
        return self._response.read(size)

    def close(self) -> None:
        self._response.close()

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, never from https to http, and keeps the hash that one of them states."""

    stated_sha256: str | None = None

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        # The Hugging Face hub states the hash of a large file before it redirects to its storage.
        if found := _SHA256.fullmatch(headers.get("X-Linked-ETag", "")):
            self.stated_sha256 = found[1]
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise URLError(f"it redirects to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def ask(address: str, first: int = 0, validator: str | None = None) -> Answer | None:
    """The answer to a request for a file, from its byte `first` on if `validator` still holds.

    It is None where the file now ends before `first`. Proxies are those of the environment. Raises
    UnavailableError where the server cannot be reached or has no such file.
    """
    headers = {"User-Agent": f"slotcli/{__version__}", "Accept-Encoding": "identity"}
    if first:
        headers["Range"] = f"bytes={first}-"
    if first and validator is not None:
        headers["If-Range"] = validator
    redirects = Redirects()
    opener = urllib.request.build_opener(redirects)
    try:
        request = urllib.request.Request(address, headers=headers)
        response = opener.open(request, timeout=_PATIENCE)
        return Answer(response, redirects.stated_sha256)
    except HTTPError as error:
        with error:
            if first and error.code == 416:
                return None
        raise _refusal(address, error.code, str(error.reason)) from error
    except (OSError, HTTPException) as error:
        reason: Any = error.reason if isinstance(error, URLError) else error
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        host = printable(urlsplit(address).hostname or address)
        proxy = _proxy(address)
        through = f" through the proxy {proxy}" if proxy else ""
        unknown = " There is no network, or no such host." if isinstance(reason, gaierror) else ""
        raise UnavailableError(
            f"{host}: cannot be reached{through}: {printable(text)}.{unknown}", _ELSEWHERE
        ) from error
    except ValueError as error:  # an address that is none, as a mirror's may be
        raise UnavailableError(f"{printable(address)}: {error}.", "Correct the mirror.") from error


def _refusal(address: str, code: int, reason: str) -> UnavailableError:
    said = f"{code} {printable(reason)}".strip()
    if code in (404, 410):
        return UnavailableError(
            f"{address}: there is no such file ({said}).",
            "Its authors may have moved it: look at their page (slotcli models list --json), and "
            "give the file with --from FILE.",
        )
    if code in (401, 403, 407):
        return UnavailableError(f"{address}: the server refuses it ({said}).", _ELSEWHERE)
    return UnavailableError(
        f"{address}: the server answers {said}.", "Try later: the same command resumes."
    )


def _proxy(address: str) -> str:
    """The host of the proxy that a request to `address` goes through, without any password."""
    parts = urlsplit(address)
    found = urllib.request.getproxies().get(parts.scheme, "")
    with suppress(OSError):
        if not found or urllib.request.proxy_bypass(parts.hostname or ""):
            return ""
    return printable(found.rpartition("@")[2].removeprefix(f"{parts.scheme}://").rstrip("/"))
