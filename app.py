"""Start Loupe: `python app.py`. Builds the page and serves it; names no technique and no model."""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
if os.environ.get("SPACES_ZERO_GPU"):
    import spaces  # noqa: F401  (must come before torch)

import threading

from model_zoo.deferred import warm_up
from ui.page import build, launch_options
from ui.settings import read_settings


def main() -> None:
    settings = read_settings()
    demo = build(settings)
    demo.launch(prevent_thread_lock=True, **launch_options(settings))
    threading.Thread(target=warm_up, daemon=True).start()
    demo.block_thread()


if __name__ == "__main__":
    main()
