"""Every technique as an HTTP endpoint (and, with the extra installed, an MCP tool) named after its module."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np

import model_zoo
from model_zoo.errors import AppError
from techniques.base import Sample, Samples, Technique
from techniques.base.export import write_bundle
from techniques.base.pictures import ReadPicture, read_picture
from ui.files import new_folder, prune
from ui.header import Header
from ui.settings import Settings
from ui.technique_tab import TechniqueTab
from ui.upload import PictureInput, Upload
from ui.worker import Done, Failed, dispatch

AT_ONCE = 2  # a caller who hangs up leaves a thread behind until its deadline; there are never more than so many
_places = threading.BoundedSemaphore(AT_ONCE)


def build_api(header: Header, tabs: list[TechniqueTab], settings: Settings) -> None:
    """One public endpoint per technique, with the components of the page as its typed inputs."""
    with gr.Group(visible=False):
        trigger = gr.Button("API")
        images = gr.File(file_count="multiple", label="Pictures")
        mask = PictureInput(format="png", label="Painted area: white on black, or opaque on transparent")
        summary = gr.JSON(label="Manifest")
        files = gr.File(file_count="multiple", label="Pictures as PNG, numbers as arrays.npz")
    shared = {"target": header.target, "layer": header.layer, "seed": header.seed, "mask": mask}
    for tab in tabs:
        technique = tab.technique
        own = dict(zip([param.name for param in technique.own_params if param.kind != "mask"], tab.controls))
        inputs = {"images": images} if technique.many else {"image": header.picture}
        inputs |= {"model": header.model}
        inputs |= {param.name: shared[param.kind] if param.kind in shared else own[param.name] for param in technique.params}
        trigger.click(
            _endpoint(technique, list(inputs), settings),
            list(inputs.values()),
            [summary, files],
            api_name=technique.name,
            api_description=f"{technique.title}. {technique.meaning} {technique.limits}",
            concurrency_id="compute",
            concurrency_limit=1,
        )


def _endpoint(technique: Technique, names: list[str], settings: Settings) -> Callable:
    """A function whose named arguments become the endpoint's parameters."""

    def endpoint(*values: Any) -> tuple[dict, list[str]]:
        if not _places.acquire(blocking=False):
            raise gr.Error("The server is busy with other runs. Please try again in a minute.", print_exception=False)
        try:
            return _run(technique, dict(zip(names, values)), settings)
        except AppError as error:
            raise gr.Error(str(error), print_exception=False) from error
        finally:
            _places.release()

    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    endpoint.__signature__ = inspect.Signature([inspect.Parameter(name, positional) for name in names])
    endpoint.__name__ = technique.name
    return endpoint


def _run(technique: Technique, given: dict[str, Any], settings: Settings) -> tuple[dict, list[str]]:
    """Read the pictures, run, and write the files: (manifest, paths)."""
    model = model_zoo.load(given.pop("model"))
    if technique.many:
        pictures = [read_picture(path) for path in given.pop("images") or []]
        sample: Sample | Samples = Samples(tuple(_sample(picture, model) for picture in pictures))
    else:
        upload = given.pop("image")
        if not isinstance(upload, Upload):
            raise gr.Error("The call has no picture. Pass one as “image”.", print_exception=False)
        sample = _sample(upload.read(), model)
    for param in technique.params:
        if param.kind == "mask":
            given[param.name] = _painted(given[param.name])
    last = None
    for last in dispatch(technique.name, sample, model.key, given, settings.seconds):
        pass
    if isinstance(last, Failed):
        raise gr.Error(last.text, print_exception=False)
    assert isinstance(last, Done)
    folder = new_folder(technique.name)
    paths = write_bundle(folder, technique, sample, model, given, last.value)
    prune()
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8")), [str(path) for path in paths]


def _sample(picture: ReadPicture, model) -> Sample:
    return Sample.from_image(picture.image, model, picture.origin, picture.notes)


def _painted(upload: Upload | None) -> np.ndarray | None:
    """White, or bright, where the caller's picture is painted."""
    return None if upload is None else np.asarray(upload.read().image.convert("L")) > 127
