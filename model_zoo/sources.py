"""Where classifiers come from: `bundled/<name>`, `timm/<name.tag>`, `torchvision/<name>`, `hf-hub:<owner>/<name>`.

A key is only ever looked up in the lists of these sources; nothing that a visitor types reaches a library's own way of
opening names, files and addresses.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from model_zoo import hub, uploads
from model_zoo.bundled import BUNDLED
from model_zoo.cache import ModelCache
from model_zoo.catalogue import closest, entry, hub_repository
from model_zoo.choices import CHOICES
from model_zoo.deferred import timm, torch, warm_up
from model_zoo.downloads import Alone, UrlWeights, Watcher, Weights, fetch
from model_zoo.errors import ModelLoadError, did_you_mean
from model_zoo.hub_files import HubWeights
from model_zoo.labels import imagenet_labels, unique
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing

# torchvision reads its files with pickle; with this, torch reads tensors only and runs no code from a file
os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

MEMORY_MB = 1500 if os.environ.get("SPACE_ID") else 4000  # of weights; a free Space has 16 GB for everything
CACHE = ModelCache(limit=int(os.environ.get("LOUPE_MODEL_CACHE_MB") or MEMORY_MB) * 10**6)
TITLES = {choice.key: choice.title for choice in CHOICES}
EMBEDDINGS = {384, 512, 640, 768, 1024, 1152, 1280}  # numbers that CLIP-like models put out for comparing pictures with texts
EXPECTED = "Expected bundled/<name>, timm/<name>, torchvision/<name> or hf-hub:<owner>/<name>."


@dataclass(frozen=True)
class Source:
    """One model that can be had: its full key, the memory of its parameters and buffers in float32, its weights on
    the network (None: they are here), and how it is built from the file of its weights."""

    key: str
    bytes: int
    weights: Weights | None
    build: Callable[[Path], LoadedModel]


def load(key: str, run: Watcher | None = None) -> LoadedModel:
    """The model of this key, ready to be looked into; kept, so that the next call returns at once.

    `run` follows a download and may stop it. Raises ModelLoadError with a sentence when there is no such model,
    when it is too large for this machine, or when its weights cannot be had or read.
    """
    run = run or Alone()
    repository = hub_repository(key)
    kept = CACHE.find(hub.key_of(repository) if repository else key)
    if kept:
        return kept
    warm_up()
    source = find(key, run)
    return CACHE.get(source.key, source.bytes, lambda: _load(source, run), run.check)


def needs_download(key: str) -> int | None:
    """About how many bytes `load` would fetch from the network, or None when all is on this machine; 0 for a
    repository of the hub whose description is not here yet, so that its size is unknown.

    Asks no network. Raises ModelLoadError when there is no such model.
    """
    repository = hub_repository(key)
    if repository and not hub.is_described(repository):
        return 0
    source = find(key)
    return source.weights.size if source.weights and not source.weights.cached() else None


def find(key: str, run: Watcher | None = None) -> Source:
    """The source of a model by its key; ModelLoadError names the nearest keys when there is none.

    Asks the network only for what a repository of the hub says about itself, unless it was asked before.
    """
    repository = hub_repository(key)
    if repository:
        model = hub.find(repository, run or Alone())
        return Source(model.key, model.bytes, model.weights, model.build)
    kind, _, name = key.partition("/")
    if kind in SOURCES:
        return SOURCES[kind](name)
    if key.lower().startswith(("hf-hub:", "hf_hub:")):
        raise ModelLoadError(f"“{_shown(key)}” names no repository of the Hugging Face hub. Expected hf-hub:<owner>/<name>.")
    if "://" in key:
        raise ModelLoadError(f"“{_shown(key)}” is not an address that models are taken from. Only repositories on huggingface.co are. {EXPECTED}")
    if key.startswith(("local-dir:", "local_dir:", "/", ".", "~", "\\")) or key[1:2] == ":":
        raise ModelLoadError(f"“{_shown(key)}” looks like a folder or a file, and none is opened by its name. {EXPECTED}")
    raise ModelLoadError(f"There is no model “{_shown(key)}”. {EXPECTED}{did_you_mean(closest(key))}")


def _load(source: Source, run: Watcher) -> LoadedModel:
    from safetensors import SafetensorError

    path = fetch(source.weights, run) if source.weights else Path()
    run.check()
    run.report(1.0, f"Reading {source.key}")
    try:
        return source.build(path)
    except (RuntimeError, ValueError, KeyError, OSError, pickle.UnpicklingError, SafetensorError) as error:
        raise ModelLoadError(f"The weights of {source.key} could not be read. Choose another model.") from error


def _bundled(name: str) -> Source:
    if name not in BUNDLED:
        raise ModelLoadError(f"There is no bundled model “{_shown(name)}”. Expected one of {', '.join(BUNDLED)}.")
    return Source(f"bundled/{name}", entry(f"bundled/{name}").bytes, None, lambda _path: load_bundled(name))


def load_bundled(name: str) -> LoadedModel:
    """A classifier trained by this project, from `model_zoo/weights/`."""
    from safetensors.torch import load_file

    bundled = BUNDLED[name]
    network = bundled.build()
    network.load_state_dict(load_file(bundled.weights))
    size = (bundled.size, bundled.size)
    return wrap(
        network,
        key=f"bundled/{name}",
        title=bundled.title,
        labels=bundled.labels,
        preprocessing=Preprocessing(bundled.channels, size, bundled.mean, bundled.std, crop_fraction=1.0, interpolation="bilinear"),
    )


def classifies(outputs: int) -> bool:
    """Whether a trained model of timm with so many outputs tells classes apart."""
    return outputs > 0 and outputs not in EMBEDDINGS


def _timm(name: str) -> Source:
    """A model of timm with its trained weights; without a tag, those that timm prefers."""
    if not timm.is_model_pretrained(name):
        known = len(timm.list_pretrained())
        raise ModelLoadError(f"timm has no trained model “{_shown(name)}”. Expected one of its {known} names.{did_you_mean(closest(f'timm/{name}'))}")
    config = timm.get_pretrained_cfg(name)
    name = f"{config.architecture}.{config.tag}"
    if not classifies(config.num_classes):
        raise ModelLoadError(f"timm/{name} puts out features, not classes. Choose a model that was trained or fine-tuned to classify.")
    known = entry(f"timm/{name}")
    size = known.bytes if known else _bytes_on_meta(name)  # a timm newer than our table
    weights = HubWeights(name, size, config.hf_hub_id) if config.hf_hub_id else UrlWeights(name, size, config.url)
    return Source(f"timm/{name}", size, weights, partial(_build_timm, name))


def _build_timm(name: str, path: Path) -> LoadedModel:
    from timm.data import resolve_model_data_config

    network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)})
    labels = imagenet_labels(network.num_classes)
    notes = () if labels else (f"timm gives no names for its {network.num_classes} classes; they are numbered.",)
    return wrap(
        network,
        key=f"timm/{name}",
        title=TITLES.get(f"timm/{name}", name),
        labels=labels,
        preprocessing=Preprocessing.of_timm(resolve_model_data_config(network)),
        notes=notes,
    )


def _bytes_on_meta(name: str) -> int:
    with torch.device("meta"):
        return hub.state_bytes(timm.create_model(name, pretrained=False))


def _torchvision(name: str) -> Source:
    """A classifier of torchvision with the weights that torchvision prefers."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        near = did_you_mean(closest(f"torchvision/{name}"))
        raise ModelLoadError(f"torchvision has no classifier “{_shown(name)}”. Expected one of its {len(known)} names.{near}")
    chosen = models.get_model_weights(name).DEFAULT
    weights = UrlWeights(name, int(chosen.meta["_file_size"] * 2**20), chosen.url)
    row = entry(f"torchvision/{name}")
    return Source(f"torchvision/{name}", row.bytes if row else weights.size, weights, lambda _path: _build_torchvision(name, chosen))


def _build_torchvision(name: str, weights) -> LoadedModel:
    from torchvision import models

    return wrap(
        models.get_model(name, weights=weights, progress=False),
        key=f"torchvision/{name}",
        title=TITLES.get(f"torchvision/{name}", f"{name} (torchvision)"),
        labels=unique(weights.meta["categories"]),
        preprocessing=Preprocessing.of_torchvision(weights.transforms()),
    )


def _shown(text: str) -> str:
    """What a visitor typed, short and without characters that cannot be seen."""
    return "".join(character if character.isprintable() else " " for character in text[:80])


def _upload(name: str) -> Source:
    """A visitor's own model; only their page knows its name."""
    return Source(f"upload/{name}", uploads.bytes_of(name), None, lambda _path: uploads.build(name))


SOURCES: dict[str, Callable[[str], Source]] = {"bundled": _bundled, "timm": _timm, "torchvision": _torchvision, "upload": _upload}
