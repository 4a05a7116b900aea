"""One running app for every test that needs a server: started once, cut off from all other machines, ended at the end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from gradio_client import Client

ROOT = Path(__file__).resolve().parents[1]
UPLOAD_MB = 60  # the models that tests upload are smaller
START_SECONDS = 120  # a machine busy with other tests imports gradio slowly
PRIVATE = ("GRADIO_", "LOUPE_", "SPACE", "HF_", "TORCH_HOME")  # settings of whoever runs the tests


@dataclass
class Server:
    """The running app: its address, what it has printed, and the hosts it has asked for in vain."""

    url: str
    record: Path
    lines: list[str] = field(default_factory=list)

    def asked_for(self) -> list[str]:
        return self.record.read_text(encoding="utf-8").split()

    def asked_for_on_purpose(self) -> set[str]:
        """The hosts that a test has made the app ask for; they are forgotten, for the tests that expect none."""
        hosts = set(self.asked_for())
        self.record.write_text("")
        return hosts

    def output(self) -> str:
        return "".join(self.lines)


class Caller(Client):
    """A program of somebody else's that calls the app. Nothing is encrypted between the two, so it need not read all certificates for each
    request; and as it is quick then, it waits for the end of one answer before the next call, which Gradio's client takes for a part of it."""

    def __init__(self, address: str, **options):
        super().__init__(address, verbose=False, ssl_verify=False, **options)

    def predict(self, *values, **given):
        try:
            return super().predict(*values, **given)
        finally:
            wait([stream for stream in (self.streaming_future,) if stream])


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    """`app.py` in a process of its own, with empty caches and no network."""
    folder = tmp_path_factory.mktemp("server")
    record = folder / "asked-for"
    record.touch()
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.offline_app", str(record), "--host", "127.0.0.1", "--port", str(port), "--max-upload-mb", str(UPLOAD_MB)],
        cwd=ROOT,
        env=_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    running = Server(f"http://127.0.0.1:{port}", record)
    started = threading.Event()
    threading.Thread(target=_read, args=(process, running.lines, started), daemon=True).start()
    try:
        if not started.wait(START_SECONDS) or process.poll() is not None:
            pytest.fail(f"app.py did not start within {START_SECONDS} s:\n{running.output()}")
        yield running
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(folder: Path) -> dict[str, str]:
    """The settings of this process without those that change Loupe, and with caches of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
    caches = {name: str(folder / name.lower()) for name in ("HF_HOME", "TORCH_HOME", "TMPDIR")}
    Path(caches["TMPDIR"]).mkdir()
    return kept | caches | {"PYTHONUNBUFFERED": "1"}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _read(process: subprocess.Popen, lines: list[str], started: threading.Event) -> None:
    """Keep what the process prints; gradio says when it listens, and the end of the output means that it will not."""
    for line in process.stdout:
        lines.append(line)
        if "Running on" in line:
            started.set()
    started.set()
