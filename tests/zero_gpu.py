"""ZeroGPU without a GPU: the platform's four answers, and the app of a Space folder driven through `spaces` itself.

`python -m tests.zero_gpu` runs with `spaces`' own forked workers, queues and stop signals. Only the two steps that
need a GPU device are left out. It prints what was seen as a line of JSON, and then serves the app.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "bundled/imagenette"


class Platform(ThreadingHTTPServer):
    """Lends a GPU to whoever asks. `paths` are the requests; `reuse` offers the last process again; `full` refuses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.paths: list[str] = []
        self.reuse, self.full = True, False
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.paths.append(self.path)
        loan = {"idle": self.server.reuse, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"}
        refused = self.server.full and self.path.startswith("/schedule")
        body = json.dumps(loan).encode()
        self.send_response(503 if refused else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments) -> None:
        pass


def main() -> None:
    platform = Platform()
    os.environ |= {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{platform.server_port}"}
    from spaces.zero import torch as device

    import app  # imports spaces first, as on the platform

    device.init = device.move = lambda *_arguments, **_options: None
    print(json.dumps(rehearse(platform, device)), flush=True)
    app.main()


def rehearse(platform: Platform, device) -> dict:
    """What `dispatch` does through ZeroGPU's workers, as plain data."""
    import torch

    from model_zoo.sources import CACHE
    from techniques import catalogue
    from techniques.base import Sample, Samples
    from tests.tiny_models import cnn, transformer
    from ui import worker

    seen: dict = {"worker": worker.__file__, "gradients_here": 0}
    gradient, here = torch.autograd.grad, os.getpid()

    def watched(*arguments, **options):
        seen["gradients_here"] += os.getpid() == here
        return gradient(*arguments, **options)

    torch.autograd.grad = watched
    seen["default_layer"] = transformer().default_layer
    model = CACHE.get(KEY, 0, lambda: replace(cnn(), key=KEY), lambda: None)
    sample = Sample.from_pixels(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)), "noise")
    other = Sample.from_pixels(1 - sample.pixels, "its negative")

    def run(name: str, **settings) -> list[list[str]]:
        given = Samples((sample, other)) if catalogue()[name].many else sample
        return [[type(event).__name__, getattr(event, "text", "")] for event in worker.dispatch(name, given, KEY, settings, 60)]

    seen["runs"] = {name: run(name) for name in catalogue()}
    seen["shared"] = sample.pixels.is_shared()
    seen["wrong_class"] = run("saliency", target="no such class")

    long = worker.dispatch("pgd", sample, KEY, {"steps": 100, "restarts": 20}, 60)
    seen["before_stop"] = next(event.text for event in long if event.text)
    start = time.monotonic()
    long.close()
    seen["after_stop"] = run("saliency")  # waits for the lock that the stopped run must let go of
    seen["stop_seconds"] = time.monotonic() - start

    platform.reuse = False
    with held(model.lock):
        seen["forked_while_locked"] = run("saliency")
    platform.full = True
    seen["no_gpu"] = run("saliency")
    platform.full = False
    ready, device.init = device.init, lambda _uuid: 1 / 0
    seen["broken_gpu"] = run("saliency")
    device.init = ready
    seen["requests"] = platform.paths[:]
    return seen


class held:
    """A lock that another thread holds for the length of a with block."""

    def __init__(self, lock) -> None:
        self.lock, self.taken, self.done = lock, threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._hold)

    def _hold(self) -> None:
        with self.lock:
            self.taken.set()
            self.done.wait()

    def __enter__(self) -> None:
        self.thread.start()
        self.taken.wait()

    def __exit__(self, *_error) -> None:
        self.done.set()
        self.thread.join()


if __name__ == "__main__":
    main()
