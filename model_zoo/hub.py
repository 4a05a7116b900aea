"""timm models in repositories of the Hugging Face hub: `hf-hub:<owner>/<name>`.

The size of what a repository describes is known before any weights are downloaded. Weights are taken from safetensors
only, of the commit that the description belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.tensors import read_header
from model_zoo.deferred import timm, torch
from model_zoo.description import LONGEST, Description, read
from model_zoo.downloads import Watcher, fetch
from model_zoo.errors import ModelLoadError, UploadError
from model_zoo.hub_files import HubWeights
from model_zoo.loaded import LoadedModel, wrap


@dataclass(frozen=True)
class HubModel:
    """A model in a repository: its key, the bytes of its parameters and buffers in float32, and where its weights are."""

    key: str
    bytes: int
    weights: HubWeights
    description: Description

    def build(self, path: Path) -> LoadedModel:
        """The network with the weights of this file, every one of which has to be a number and to fit."""
        described = self.description
        try:
            read_header(path, self.weights.limit)
        except UploadError as error:
            raise ModelLoadError(f"The weights of {self.key} could not be read. {error}") from error
        preprocessing = described.preprocessing
        classes = described.arguments["num_classes"]
        overlay = {"file": str(path), "label_offset": 0, "num_classes": classes, "input_size": (preprocessing.channels, *preprocessing.size)}
        try:
            network = timm.create_model(described.architecture, pretrained=True, pretrained_cfg_overlay=overlay, **described.arguments)
        except (RuntimeError, KeyError) as error:
            raise ModelLoadError(
                f"The weights of {self.key} do not fit a {described.architecture} with {classes} classes, which is what its config.json "
                "describes. Choose another model."
            ) from error
        title = self.key.rpartition("/")[2]
        return wrap(network, key=self.key, title=title, labels=described.labels, preprocessing=preprocessing, notes=described.notes)


def key_of(repository: str) -> str:
    """The key of the model in the repository `owner/name`."""
    return f"hf-hub:{repository}"


def find(repository: str, run: Watcher) -> HubModel:
    """The model in the repository `owner/name`; its description is downloaded when it is not on this machine.

    Raises ModelLoadError when the description cannot be had, or describes no classifier that can be built.
    """
    key = key_of(repository)
    path = fetch(_description(repository), run)
    described = read(path, key)
    size = bytes_on_meta(described, key)
    weights = HubWeights(
        key,
        size,
        repository,
        files=("model.safetensors",),
        revision=path.parent.name,  # of a snapshot in the hub's cache: the commit
        limit=2 * size + 2**22,  # in float64, with a long header
        absent="the repository holds no model.safetensors, the only file that weights are taken from. Choose another model",
    )
    return HubModel(key, size, weights, described)


def is_described(repository: str) -> bool:
    """Whether the description is on this machine, so that `find` asks no network."""
    return _description(repository).cached() is not None


def bytes_on_meta(described: Description, key: str) -> int:
    """Bytes of the parameters and buffers of a described network, from its shapes alone.

    Raises ModelLoadError when timm cannot build it.
    """
    preprocessing = described.preprocessing
    overlay = {"input_size": (preprocessing.channels, *preprocessing.size)}
    try:
        with torch.device("meta"):
            network = timm.create_model(described.architecture, pretrained=False, pretrained_cfg_overlay=overlay, **described.arguments)
    except (RuntimeError, ValueError, TypeError, AssertionError, AttributeError, LookupError, ArithmeticError) as error:
        given = ", ".join(f"{name} {value}" for name, value in described.arguments.items())
        raise ModelLoadError(f"{key}: timm builds no {described.architecture} with {given}. Choose another model.") from error
    return state_bytes(network)


def state_bytes(network: Any) -> int:
    """Bytes of a network's parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


def _description(repository: str) -> HubWeights:
    return HubWeights(
        f"The description of hf-hub:{repository}",
        0,
        repository,
        files=("config.json",),
        limit=LONGEST,
        absent="the repository holds no config.json, and so no timm model. Choose another one",
    )
