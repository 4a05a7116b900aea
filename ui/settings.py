"""What the app may be told at its start: command-line options, each also an environment variable for Spaces."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """`seconds` is the longest a run may take; `host` and `port` None leave the choice to gradio and its environment."""

    host: str | None
    port: int | None
    share: bool
    model: str
    max_upload_mb: int
    seconds: int
    mcp: bool

    @property
    def local(self) -> bool:
        """Whether the page can be reached from this machine only, so that its folders may be opened from it."""
        host = self.host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
        shared = self.share or os.environ.get("GRADIO_SHARE", "").lower() == "true"
        return host in ("127.0.0.1", "localhost", "::1") and not shared and not os.environ.get("SPACE_ID")


def read_settings(arguments: list[str] | None = None) -> Settings:
    """Options from the command line; what is not given comes from LOUPE_<OPTION>, then from the default."""
    parser = argparse.ArgumentParser(description="Loupe: see how an image classifier decides, and how it is fooled.")

    def option(name: str, kind: type, default, text: str) -> None:
        variable = "LOUPE_" + name.upper().replace("-", "_")
        parser.add_argument(f"--{name}", type=kind, default=os.environ.get(variable) or default, help=f"{text} [{variable}]")

    def switch(name: str, text: str) -> None:
        variable = "LOUPE_" + name.upper()
        on = os.environ.get(variable, "").lower() in ("1", "true")
        parser.add_argument(f"--{name}", action="store_true", default=on, help=f"{text} [{variable}]")

    on_space = bool(os.environ.get("SPACE_ID"))
    option("host", str, None, "address to listen on; 0.0.0.0 for every network")
    option("port", int, None, "port to listen on; the first free one from 7860 when left out")
    option("model", str, "bundled/imagenette", "the model the page opens with")
    option("max-upload-mb", int, 200 if on_space else 1000, "largest file a visitor may upload, in MB")
    option("seconds", int, 60 if on_space else 600, "longest time one run may take, in seconds")
    switch("share", "make a public link through gradio's tunnel")
    switch("mcp", "offer every technique as an MCP tool; needs `pip install 'gradio[mcp]'`")
    return Settings(**{key.replace("-", "_"): value for key, value in vars(parser.parse_args(arguments)).items()})
