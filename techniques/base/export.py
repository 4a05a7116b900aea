"""A finished run as files: every picture as PNG, every chart as SVG, every animation as GIF and MP4, every number in `arrays.npz`, a
manifest that says from what they came, the pictures that went in, and a program, `repeat.py`, that runs it once more. The same
run gives the same bytes, apart from the time.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import platform
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from techniques.base.drawing import (
    drawn, file_name, gif_bytes, magnification, mp4_bytes, outer_positions, overlay, picture_image, png_bytes, scale_of, to_svg,
)  # fmt: skip
from techniques.base.execute import check_parameters
from techniques.base.program import input_files, input_name, mask_name, program
from techniques.base.results import Animation, Browser, Gallery, Heatmap, Note, Picture, Result, Table, all_arrays, panels
from techniques.base.sample import Sample, Samples, to_image

if TYPE_CHECKING:
    import torch

    from model_zoo.loaded import LoadedModel
    from techniques.base.registry import Technique

BATCH = 16  # pictures that the model is asked about at once
PACKAGES = ("torch", "timm", "captum", "numpy", "pillow")


def write_bundle(
    folder: str | Path,
    technique: Technique,
    sample: Sample | Samples,
    model: LoadedModel,
    settings: Mapping[str, Any],
    answer: Any,
    unfinished: str = "",
) -> list[Path]:
    """Write the files of `bundle` into `folder`, which is made where there is none; returns their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in bundle(technique, sample, model, settings, answer, unfinished).items():
        (folder / name).write_bytes(content)
        paths.append(folder / name)
    return paths


def bundle(
    technique: Technique, sample: Sample | Samples, model: LoadedModel, settings: Mapping[str, Any], answer: Any, unfinished: str = ""
) -> dict[str, bytes]:
    """All files of a run by name; of one that was stopped, `unfinished` says what it was doing when this answer came of it.

    Pictures keep one pixel per value. A heat map as large as the picture comes a second time, laid over it. Of a
    browser, the contact sheets and some cells are drawn; of an animation the last frame and, as GIF and MP4, all with
    their names; the numbers of all are in the arrays.
    `arrays.npz` has one key per result field, floats as float32.
    """
    below = to_image(sample.pixels[0]) if isinstance(sample, Sample) else None
    files: dict[str, bytes] = {}
    names: dict[str, list[str]] = {}
    for panel, result in panels(answer).items():
        of_panel = _panel_files(panel, result, below)
        names[panel] = list(of_panel)
        files |= of_panel
    checked = check_parameters(technique, model, settings)
    for param in technique.params:
        for number, plane in enumerate(checked[param.name] or () if param.kind == "mask" else ()):
            files[mask_name(param.name, number)] = png_bytes(Image.fromarray(plane.astype(np.uint8) * 255))
    files |= input_files(sample, model)
    files["repeat.py"] = program(technique, sample, model, checked, bool(unfinished)).encode()
    files["arrays.npz"] = _npz(answer)
    about = manifest(technique, sample, model, settings, answer, names, unfinished)
    files["manifest.json"] = (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()
    return files


def manifest(
    technique: Technique,
    sample: Sample | Samples,
    model: LoadedModel,
    settings: Mapping[str, Any],
    answer: Any,
    files: Mapping[str, list[str]] | None = None,
    unfinished: str = "",
) -> dict[str, Any]:
    """What has to be known to repeat a run and to read its files; ready for JSON. `files` names those of each panel;
    `unfinished` is "" or where the run was stopped."""
    checked = check_parameters(technique, model, settings)
    samples = sample if isinstance(sample, Samples) else Samples((sample,))
    return {
        "technique": technique.name,
        "title": technique.title,
        "paper": technique.paper,
        "settings": {param.name: _setting(param.kind, checked[param.name], model) for param in technique.params},
        "seed": checked.get("seed"),
        "unfinished": unfinished,
        "model": {"key": model.key, "title": model.title, "sha256": model.sha256, "default_layer": model.default_layer},
        "pictures": [{"file": input_name(item, number), **about} for number, (item, about) in enumerate(_pictures(samples, model), 1)],
        "panels": [{**_panel(name, result), "files": list((files or {}).get(name, ()))} for name, result in panels(answer).items()],
        "versions": _versions(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _panel_files(panel: str, result: Result, below: Image.Image | None) -> dict[str, bytes]:
    """The files that show one panel, named after it."""
    files: dict[str, bytes] = {}
    for suffix, image, heatmap, scale in drawn(result):
        stem = file_name(panel, suffix)
        while f"{stem}.png" in files:
            stem += "_"  # labels such as C and C++ become the same file name
        files[f"{stem}.png"] = png_bytes(image)
        picture = below if heatmap is None or heatmap.below is None else picture_image(Picture(heatmap.below))
        if heatmap and picture and heatmap.values.shape == picture.size[::-1]:
            files[f"{stem}-overlay.png"] = png_bytes(overlay(picture, heatmap, scale=scale))
    for suffix, cell in _first_cells(result) if isinstance(result, Browser) else [("", result)]:
        chart = to_svg(cell)
        if chart:
            files[f"{file_name(panel, suffix)}.svg"] = chart.encode()
        if isinstance(cell, Animation):
            files[f"{file_name(panel, suffix)}.gif"] = gif_bytes(cell)
            files[f"{file_name(panel, suffix)}.mp4"] = mp4_bytes(cell)
    if isinstance(result, Table):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([result.columns, *result.rows])
        files[f"{panel}.csv"] = text.getvalue().encode()
    return files


def _first_cells(browser: Browser) -> Iterator[tuple[str, Result]]:
    """The first cell of every position of the outer axes, with a suffix for its file."""
    for path in outer_positions(browser):
        names = browser.positions(*path)
        if names:
            yield file_name(*path, names[0]), browser.cell(*path, names[0])


def _panel(name: str, result: Result) -> dict[str, Any]:
    """Name, kind and caption of a panel, and what its picture cannot say itself: scale, unit, magnification, the names of frames."""
    about: dict[str, Any] = {"name": name, "kind": type(result).__name__, "caption": result.caption}
    if isinstance(result, (Heatmap, Picture)):
        about |= {"signed": result.signed, "scale": list(scale_of(result))}
    if isinstance(result, Heatmap):
        about["unit"] = result.unit
    if isinstance(result, Picture):
        about["magnification"] = magnification(result)
    if isinstance(result, Animation):
        about |= {"rate": result.rate, "names": list(result.names)}
    if isinstance(result, Note):
        about["text"] = result.text
    cell = next((cell for _, cell in result.leaves()), None) if isinstance(result, Browser) else result
    if isinstance(cell, Gallery):
        about["names"] = list(cell.names)
    return about


def _pictures(samples: Samples, model: LoadedModel) -> Iterator[tuple[Sample, dict[str, Any]]]:
    """Each picture with what is to be known of it."""
    for part in samples.batches(BATCH):
        with model.lock:
            probabilities = model.probabilities(part.pixels.to(model.device)).cpu()
        yield from ((sample, _picture(sample, model, shares)) for sample, shares in zip(part, probabilities))


def _picture(sample: Sample, model: LoadedModel, probabilities: torch.Tensor) -> dict[str, Any]:
    """Where a picture came from, its hash, and the five most probable classes, of their probabilities `[K]`."""
    best = probabilities[: model.named].argsort(descending=True, stable=True)[:5].tolist()
    return {
        "origin": sample.origin,
        "sha256": sample.sha256,
        "size": list(sample.image.size),
        "framing": sample.framing,
        "group": sample.group,
        "notes": list(sample.notes),
        "top": [{"index": index, "label": model.label(index), "probability": round(float(probabilities[index]), 6)} for index in best],
    }


def _setting(kind: str, value: Any, model: LoadedModel) -> Any:
    """A checked setting as the command line would take it, a class by its number where two have the same label; a
    painted mask by what it covers and its hash, several as a list."""
    if kind == "target" and value is not None:
        label = model.label(value)
        return label if model.labels.count(label) == 1 else value
    if kind == "mask" and value is not None:
        planes = [_mask(plane) for plane in value]
        return planes if len(planes) > 1 else planes[0]
    return value


def _mask(plane: np.ndarray) -> dict[str, Any]:
    """What is to be known of one painted area: its (width, height), the share that is painted, and its hash."""
    digest = hashlib.sha256(np.packbits(plane).tobytes()).hexdigest()
    return {"size": list(plane.shape[::-1]), "painted": round(float(plane.mean()), 6), "sha256": digest}


def _npz(answer: Any) -> bytes:
    arrays = {name: np.asarray(array) for name, array in all_arrays(answer).items()}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in arrays.items()})
    return buffer.getvalue()


def _versions() -> dict[str, str | None]:
    from techniques.base import __version__

    found: dict[str, str | None] = {"loupe": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
