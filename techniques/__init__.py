"""Loupe's techniques: `ls techniques/` is the catalogue, one public module per technique."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model_zoo.errors import ParameterError
from techniques.base import TECHNIQUES, LoadedModel, Run, Sample, Samples, Technique, __version__
from techniques.base.pairs import check_count, execute_on
from techniques.base.picture_sets import read_places
from techniques.base.pictures import PictureSource, ReadPicture, read_picture
from techniques.base.registry import in_order

__all__ = ["__version__", "catalogue", "find", "run"]


def catalogue() -> dict[str, Technique]:
    """Every technique by name, by family and order; imports each module of this folder once."""
    for module in pkgutil.iter_modules(__path__):
        if module.name not in ("base", "__main__"):
            importlib.import_module(f"{__name__}.{module.name}")
    return {technique.name: technique for technique in in_order(TECHNIQUES.values())}


def find(name: str) -> Technique:
    """The technique of this name; ParameterError names the known ones."""
    known = catalogue()
    if name not in known:
        raise ParameterError(f"There is no technique “{str(name)[:60]}”. Expected one of {', '.join(known)}.")
    return known[name]


def run(
    name: str, image: PictureSource | list[PictureSource], model: LoadedModel, *, run: Run | None = None, framing: str = "model", **settings: Any
) -> Any:
    """Run a technique from Python: `techniques.run("grad_cam", "cat.jpg", model, target="golf ball")`.

    `image` is a path, bytes, a PIL picture, or a Sample; a list of these, or a folder or zip, for a technique on a set, or of two to compare, before
    and after, by one that shows heat maps (`techniques.base.pairs`). `framing` says how a picture is made as large as the model wants
    it: "model" (its own way), "crop", "squash" or "pad". Returns the answer; a NamedTuple of panels or one panel, which show themselves
    in a notebook.
    """
    chosen = find(name)
    if chosen.many or isinstance(image, (list, tuple)):
        images = image if isinstance(image, (list, tuple)) else [image]
        check_count(chosen, len(images))
        return execute_on(chosen, Samples.of(_read(images), model, framing), model, settings, run)
    return execute_on(chosen, _sample(image, model, framing), model, settings, run)


def _read(images: Sequence[PictureSource | Sample]) -> list[ReadPicture | Sample]:
    """Every picture that is given, and those in the folders and zip files that are."""
    if all(isinstance(image, (str, Path)) for image in images):
        return list(read_places([(image, Path(image).name) for image in images], folders=True))
    return [image if isinstance(image, Sample) else read_picture(image) for image in images]


def _sample(image: PictureSource | Sample, model: LoadedModel, framing: str) -> Sample:
    if isinstance(image, Sample):
        return image.fit(model)
    picture = read_picture(image)
    return Sample.from_image(picture.image, model, picture.origin, picture.notes, framing)
