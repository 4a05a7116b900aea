"""The pictures that come with Loupe, as a set: enough to compare with where a technique on one picture is given no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from techniques.base.pictures import read_picture
from techniques.base.sample import Samples

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel

FOLDER = Path(__file__).resolve().parents[2] / "ui" / "samples"


def bundled_pictures(model: LoadedModel) -> Samples:
    """The photographs, or for a model of one channel the digits, in the order of their names, where the model is."""
    paths = sorted(FOLDER.glob("digits/*.png" if model.preprocessing.channels == 1 else "*.jpg"))
    samples = Samples.of([read_picture(path, path.stem.replace("_", " ")) for path in paths], model)
    return replace(samples, device=model.device)
