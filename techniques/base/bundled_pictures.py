"""The pictures that come with Loupe, as a set: enough to compare with where a technique on one picture is given no others."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from techniques.base.pictures import ReadPicture, read_picture
from techniques.base.sample import Samples

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel

FOLDER = Path(__file__).resolve().parents[2] / "ui" / "samples"


def bundled_pictures(model: LoadedModel) -> Samples:
    """The photographs, or for a model of one channel the digits, in the order of their names, where the model is."""
    pictures = _read("digits/*.png" if model.preprocessing.channels == 1 else "*.jpg")
    return replace(Samples.of(pictures, model), device=model.device)


@lru_cache(maxsize=2)
def _read(pattern: str) -> tuple[ReadPicture, ...]:
    """They never change, and reading takes longer than looking through them."""
    return tuple(read_picture(path, path.stem.replace("_", " ")) for path in sorted(FOLDER.glob(pattern)))
