"""A gate in front of the server: bodies that are too large, files by foreign address, and sniffing browsers.

Gradio takes a web address wherever a file may be given, for any component, and would fetch it from here;
`fetch_nothing` ends that.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable, MutableMapping
from urllib.parse import unquote

import gradio as gr
from gradio import processing_utils

MEGABYTE = 1_000_000
JSON_MEGABYTES = 4
SPARE = 10**9  # bytes of the disk that stay free

Scope = MutableMapping
Receive = Callable[[], Awaitable[MutableMapping]]
Send = Callable[[MutableMapping], Awaitable[None]]


def fetch_nothing() -> None:
    """Make Gradio refuse every address that a visitor gives in place of a file."""

    async def refuse(_url: str, *_rest) -> None:
        raise gr.Error("Loupe fetches no files from other addresses. Upload the picture itself.", print_exception=False)

    processing_utils.async_ssrf_protected_get = refuse


class Guard:
    """An ASGI middleware. Refuses a body above its limit (uploads: the largest file's worth; everything else a few MB) and
    an upload that would fill the disk, refuses to fetch files from other hosts for a visitor, and forbids browsers to guess content types."""

    def __init__(self, app, max_upload_mb: int):
        self.app = app
        self.upload_bytes = (max_upload_mb + 1) * MEGABYTE  # the file, and the lines that frame it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = unquote(scope["path"])
        if "/file=http" in path.replace("/file/", "/file=") or "/proxy=" in path:
            await _refuse(send, 403, "Loupe fetches no files from other addresses.")
            return
        limit = self.upload_bytes if path.endswith("/upload") else JSON_MEGABYTES * MEGABYTE
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if int(length) > limit if length.isdigit() else True:
            await _refuse(send, 413, f"This request is too large; the limit is {limit // MEGABYTE} MB.")
            return
        if path.endswith("/upload") and shutil.disk_usage(tempfile.gettempdir()).free < int(length) + SPARE:
            await _refuse(send, 507, "The storage of this server is full. Please try again later.")
            return
        await self.app(scope, _counting(receive, limit), _with_header(send))


async def _refuse(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def _counting(receive: Receive, limit: int) -> Receive:
    """`receive` that ends the connection when a body without a declared length grows beyond the limit."""
    seen = 0

    async def counted() -> MutableMapping:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if seen > limit else message

    return counted


def _with_header(send: Send) -> Send:
    async def sent(message: MutableMapping) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), (b"x-content-type-options", b"nosniff")]
        await send(message)

    return sent
