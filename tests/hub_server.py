"""A stand-in for the Hugging Face hub on the loopback address: enough of its protocol for one file to be fetched."""

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

    `files` maps a path ("timm/name/resolve/main/model.safetensors") to bytes. With `status` every request gets
    that error; with `wrong_bytes` the body is not what its entity tag says; with `mute` no request is answered,
    and with `half` only half of a body is sent, until `released` is set.
    """

    files: dict[str, bytes]
    status: int | None = None
    error_code: str = ""
    wrong_bytes: bool = False
    mute: bool = False
    half: bool = False
    released: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)
    address: str = ""


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
            body = hub.files.get(self.path.lstrip("/").partition("?")[0])
            status = hub.status or (200 if body is not None else 404)
            self.send_response(status)
            self.send_header("X-Repo-Commit", COMMIT)
            if status != 200:
                self.send_header("X-Error-Code", hub.error_code or "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self._send(bytes(len(body)) if hub.wrong_bytes else body)

        def _send(self, body: bytes) -> None:
            middle = len(body) // 2
            self.wfile.write(body[:middle])
            self.wfile.flush()
            if hub.half:
                hub.released.wait()
            self.wfile.write(body[middle:])

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
