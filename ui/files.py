"""Files the page shows or offers: written by us, named by their content, the oldest removed.

Gradio copies what a handler returns as a path; a picture returned as an array would be written twice into the
same place by two visitors with the same result.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from PIL import Image

FOLDER = Path(tempfile.mkdtemp(prefix="loupe-"))
KEEP = 1000  # a run of the API leaves a dozen of them, and forty may be under way
LONGEST_SIDE = 1024
_lock = threading.Lock()


def png_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def shown_picture(image: Image.Image) -> str:
    """Path of a PNG of the picture for the page, at most `LONGEST_SIDE` pixels; the session keeps the original."""
    if max(image.size) > LONGEST_SIDE:
        image = image.copy()
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    data = png_bytes(image)
    path = FOLDER / f"{hashlib.sha256(data).hexdigest()[:32]}.png"
    if not path.exists():
        unfinished = FOLDER / f".{secrets.token_hex(8)}"
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
        prune()
    return str(path)


def new_folder(name: str) -> Path:
    """An empty folder of this name inside one nobody can guess."""
    folder = FOLDER / secrets.token_hex(8) / name
    folder.mkdir(parents=True)
    return folder


def prune() -> None:
    """Remove the oldest files beyond `KEEP`, and the folders that become empty."""
    with _lock:
        files = sorted((Path(root, name) for root, _, names in os.walk(FOLDER) for name in names), key=_written)
        for path in files[:-KEEP]:
            path.unlink(missing_ok=True)
            for folder in (path.parent, path.parent.parent):
                if FOLDER in folder.parents:
                    with suppress(OSError):  # not empty
                        folder.rmdir()


def _written(path: Path) -> float:
    """When a file was written; one that another request has just moved or removed counts as the newest."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
