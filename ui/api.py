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
from model_zoo.loaded import LoadedModel
from model_zoo.preprocessing import FRAMINGS
from techniques import catalogue
from techniques.base import Param, Run, Sample, Samples, Technique
from techniques.base.export import write_bundle
from techniques.base.picture_sets import read_places
from techniques.base.pictures import ReadPicture
from ui.files import new_folder, prune
from ui.settings import Settings
from ui.upload import PictureInput, PicturesInput, Upload
from ui.worker import Done, Failed, dispatch

AT_ONCE = 2  # a caller who hangs up leaves a thread behind until its deadline; there are never more than so many
_places = threading.BoundedSemaphore(AT_ONCE)


class Setting(gr.JSON):
    """One setting as a parameter of an endpoint: typed by its declaration; `execute` checks what is given."""

    is_template = True

    def __init__(self, schema: dict[str, Any], value: Any):
        self._schema = schema
        super().__init__(value=value)

    def get_block_name(self) -> str:
        return "json"

    def preprocess(self, payload: Any) -> Any:
        return payload

    def postprocess(self, value: Any) -> Any:
        return value

    def api_info(self) -> dict[str, Any]:
        return self._schema

    def example_payload(self) -> Any:
        return self.value


def build_api(settings: Settings) -> None:
    """One public endpoint per technique, with its declared settings as typed parameters."""
    components: dict[Param, gr.components.Component] = {}
    with gr.Group(visible=False):
        trigger = gr.Button("API")
        image = PictureInput(format="png", label="Picture")
        images = PicturesInput(file_count="multiple", label="Pictures")
        model = Setting(_described("string", "bundled/<name>, timm/<name>, torchvision/<name> or hf-hub:owner/name"), settings.model)
        how = f"How a picture is made as large as the model wants it: {', '.join(f'{name}, {meaning}' for name, meaning in FRAMINGS.items())}."
        framing = Setting({**_described("string", how), "enum": list(FRAMINGS)}, "model")
        summary = gr.JSON(label="Manifest")
        files = gr.File(file_count="multiple", label="Pictures as PNG, numbers as arrays.npz")
        for technique in catalogue().values():
            for param in technique.params:
                components[param] = components.get(param) or _parameter(param)
            inputs = {"images": images} if technique.many else {"image": image}
            inputs |= {"model": model} | {param.name: components[param] for param in technique.params} | {"framing": framing}
            trigger.click(
                _endpoint(technique, list(inputs), settings),
                list(inputs.values()),
                [summary, files],
                api_name=technique.name,
                api_description=f"{technique.title}. {technique.meaning} {technique.limits}",
                concurrency_id="compute",
                concurrency_limit=1,
            )


def _parameter(param: Param) -> gr.components.Component:
    """What an endpoint takes for a setting: a picture for a mask, a typed value for everything else."""
    if param.kind == "mask":
        return PictureInput(format="png", label="Painted area, white on black")
    text = f"{param.help} Expected {param.expected}."
    if param.kind == "choice":
        return Setting({**_described("string", text), "enum": list(param.choices)}, param.default)
    if param.kind == "choices":
        names = {"type": "string"} if param.more else {"type": "string", "enum": list(param.choices)}
        return Setting({**_described("array", text), "items": names}, list(param.default))
    if param.kind == "target":
        return Setting({"anyOf": [{"type": "string"}, {"type": "integer"}], "description": text, "additional_description": text}, param.default)
    kinds = {"number": "number", "integer": "integer", "seed": "integer", "flag": "boolean", "layer": "string"}
    return Setting(_described(kinds[param.kind], text), param.default)


def _described(kind: str, text: str) -> dict[str, str]:
    """A JSON schema; Gradio's clients read the text under another name than everybody else."""
    return {"type": kind, "description": text, "additional_description": text}


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
    # only a picture has to be given: a setting that is None by default is optional by this default, others by their value
    endpoint.__signature__ = inspect.Signature(
        [inspect.Parameter(name, positional, default=inspect.Parameter.empty if name in ("image", "images") else None) for name in names]
    )
    endpoint.__name__ = technique.name
    return endpoint


def _run(technique: Technique, given: dict[str, Any], settings: Settings) -> tuple[dict, list[str]]:
    """Read the pictures, run, and write the files: (manifest, paths)."""
    model, framing = model_zoo.load(str(given.pop("model")), Run(seconds=settings.seconds)), given.pop("framing")
    if technique.many:
        pictures = read_places([(upload.path, upload.name) for upload in given.pop("images")], folders=False)
        sample: Sample | Samples = Samples.of(pictures, model, framing)
    else:
        upload = given.pop("image")
        if not isinstance(upload, Upload):
            raise gr.Error("The call has no picture. Pass one as “image”.", print_exception=False)
        sample = _sample(upload.read(), model, framing)
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


def _sample(picture: ReadPicture, model: LoadedModel, framing: str) -> Sample:
    return Sample.from_image(picture.image, model, picture.origin, picture.notes, framing)


def _painted(upload: Upload | None) -> np.ndarray | None:
    """White, or bright, where the caller's picture is painted."""
    return None if upload is None else np.asarray(upload.read().image.convert("L")) > 127
