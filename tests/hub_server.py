"""A stand-in for the Hugging Face hub on the loopback address: enough of its protocol for files to be fetched, also in parts."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server holds and how it behaves; tests change it between requests.

    `files` maps a path ("timm/name/resolve/main/model.safetensors") to bytes; `main` is its only commit. With `status` every request gets
    that error; with `wrong_bytes` the body is not what its entity tag says; with `mute` no request is answered,
    and with `half` only half of a body is sent, until `released` is set. The next `drops` bodies break off in the
    middle. With `elsewhere` large files are at another address, as the real hub keeps them. `ranges` are the ranges
    that were asked for, `bodies` counts the bytes of each body, in order, and `tokens` holds each request's host and what it was authorised with.
    """

    files: dict[str, bytes]
    status: int | None = None
    error_code: str = ""
    wrong_bytes: bool = False
    mute: bool = False
    half: bool = False
    drops: int = 0
    elsewhere: bool = False
    bodies: list[int] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)
    tokens: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""

    @property
    def sent(self) -> int:
        """The bytes of all bodies."""
        return sum(self.bodies)


def _tag(path: str, body: bytes) -> str:
    """The hub's entity tag: SHA-256 of a large file, git's own digest of a small one."""
    if path.partition("?")[0].endswith(".json"):
        return '"' + hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest() + '"'
    return '"' + hashlib.sha256(body).hexdigest() + '"'


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Run the server on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self._answer(with_body=False)

        def do_GET(self):
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            if hub.mute:
                hub.released.wait()
                return
            hub.tokens.append((self.headers["Host"].partition(":")[0], self.headers.get("Authorization", "")))
            path = self.path.partition("?")[0].removeprefix("/elsewhere").lstrip("/")
            body = hub.files.get(path.replace(f"/resolve/{COMMIT}/", "/resolve/main/"))
            if hub.elsewhere and body is not None and self.path.endswith(".safetensors") and not self.path.startswith("/elsewhere"):
                self._send_away(body)
                return
            start = self._start(body)
            status = hub.status or (404 if body is None else 206 if start else 200)
            self.send_response(status)
            self.send_header("X-Repo-Commit", COMMIT)
            if status not in (200, 206):
                self.send_header("X-Error-Code", hub.error_code or "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_header("ETag", _tag(self.path, body))
            self.send_header("Content-Length", str(len(body) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.end_headers()
            if with_body:
                self._send((bytes(len(body)) if hub.wrong_bytes else body)[start:])

        def _send_away(self, body: bytes) -> None:
            self.send_response(302)
            self.send_header("Location", hub.address.replace("127.0.0.1", "localhost") + "/elsewhere" + self.path)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-ETag", _tag(self.path, body))
            self.send_header("X-Linked-Size", str(len(body)))
            self.send_header("ETag", '"of the redirection"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _start(self, body: bytes | None) -> int:
            asked = self.headers.get("Range")
            if asked and body:
                hub.ranges.append(asked)
            return int(asked.removeprefix("bytes=").partition("-")[0]) if asked and body else 0

        def _send(self, body: bytes) -> None:
            place, middle = len(hub.bodies), len(body) // 2
            hub.bodies.append(0)
            self._write(body[:middle], place)
            if hub.drops:
                hub.drops -= 1
                self.close_connection = True
                return
            if hub.half:
                hub.released.wait()
            self._write(body[middle:], place)

        def _write(self, piece: bytes, place: int) -> None:
            self.wfile.write(piece)
            self.wfile.flush()
            hub.bodies[place] += len(piece)

        def log_message(self, *_arguments) -> None:
            """Say nothing on the terminal."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_arguments) -> None:
            """A client that went away in the middle is part of the tests."""

    server = Server(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
