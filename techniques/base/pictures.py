"""One loader that reads every picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from PIL import Image

PictureSource = str | Path | bytes | Image.Image


@dataclass(frozen=True, eq=False)
class ReadPicture:
    image: Image.Image
    name: str
    notes: tuple[str, ...] = ()


def read_picture(source: PictureSource) -> ReadPicture:
    if isinstance(source, Image.Image):
        return ReadPicture(source, "picture")
    return ReadPicture(Image.open(source).convert("RGB"), Path(source).name)
