"""Where classifiers come from: `bundled/<name>`, `timm/<name.tag>`, `torchvision/<name>`."""

from __future__ import annotations

import difflib
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from model_zoo.bundled import BUNDLED
from model_zoo.cache import ModelCache
from model_zoo.choices import CHOICES
from model_zoo.deferred import timm, torch, warm_up
from model_zoo.downloads import HubWeights, UrlWeights, Watcher, Weights, fetch
from model_zoo.errors import ModelLoadError
from model_zoo.labels import imagenet_labels, unique
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing

# torchvision reads its files with pickle; with this, torch reads tensors only and runs no code from a file
os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

CACHE = ModelCache(limit=int(os.environ.get("LOUPE_MODEL_CACHE_MB", 1024)) * 10**6)
TITLES = {choice.key: choice.title for choice in CHOICES}


@dataclass(frozen=True)
class Source:
    """One model that can be had: its full key, its weights on the network (None: they come with Loupe), and how
    it is built from the file of its weights."""

    key: str
    weights: Weights | None
    build: Callable[[Path], LoadedModel]


class Alone:
    """Watches a load that nobody follows or stops."""

    def check(self) -> None:
        pass

    def report(self, fraction: float, text: str) -> None:
        pass


def load(key: str, run: Watcher | None = None) -> LoadedModel:
    """The model of this key, ready to be looked into; kept, so that the next call returns at once.

    `run` follows a download and may stop it. Raises ModelLoadError with a sentence when there is no such model,
    or when its weights cannot be had or read.
    """
    run = run or Alone()
    warm_up()
    source = find(key)
    return CACHE.get(source.key, lambda: _load(source, run), run.check)


def needs_download(key: str) -> int | None:
    """About how many bytes `load` would fetch from the network, or None when all is on this machine.

    Asks no network. Raises ModelLoadError when there is no such model.
    """
    source = find(key)
    return source.weights.size() if source.weights and not source.weights.cached() else None


def find(key: str) -> Source:
    """The source of a model by its key; ModelLoadError names the nearest keys when there is none."""
    kind, _, name = key.partition("/")
    if kind not in SOURCES:
        near = _near(key, [*TITLES, *(f"timm/{known}" for known in timm.list_pretrained())])
        raise ModelLoadError(f"There is no model “{key[:80]}”. Expected bundled/<name>, timm/<name> or torchvision/<name>.{near}")
    return SOURCES[kind](name)


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
        raise ModelLoadError(f"There is no bundled model “{name[:80]}”. Expected one of {', '.join(BUNDLED)}.")
    return Source(f"bundled/{name}", None, lambda _path: load_bundled(name))


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


def _timm(name: str) -> Source:
    """A model of timm with its trained weights; without a tag, those that timm prefers."""
    if not timm.is_model_pretrained(name):
        known = timm.list_pretrained()
        near = _near(f"timm/{name}", [f"timm/{other}" for other in known])
        raise ModelLoadError(f"timm has no trained model “{name[:80]}”. Expected one of its {len(known)} names.{near}")
    config = timm.get_pretrained_cfg(name)
    name = f"{config.architecture}.{config.tag}"
    if not config.num_classes:
        raise ModelLoadError(f"timm/{name} puts out features, not classes. Choose a model that was trained or fine-tuned to classify.")
    size = partial(_parameter_bytes, name)
    weights = HubWeights(name, size, config.hf_hub_id) if config.hf_hub_id else UrlWeights(name, size, config.url)
    return Source(f"timm/{name}", weights, partial(_build_timm, name))


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


def _parameter_bytes(name: str) -> int:
    """Bytes of a timm model's parameters and buffers, from its shapes alone."""
    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False)
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


def _torchvision(name: str) -> Source:
    """A classifier of torchvision with the weights that torchvision prefers."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        near = _near(f"torchvision/{name}", [f"torchvision/{other}" for other in known])
        raise ModelLoadError(f"torchvision has no classifier “{name[:80]}”. Expected one of its {len(known)} names.{near}")
    chosen = models.get_model_weights(name).DEFAULT
    weights = UrlWeights(name, lambda: int(chosen.meta["_file_size"] * 2**20), chosen.url)
    return Source(f"torchvision/{name}", weights, lambda _path: _build_torchvision(name, chosen))


def _build_torchvision(name: str, weights) -> LoadedModel:
    from torchvision import models

    return wrap(
        models.get_model(name, weights=weights, progress=False),
        key=f"torchvision/{name}",
        title=TITLES.get(f"torchvision/{name}", f"{name} (torchvision)"),
        labels=unique(weights.meta["categories"]),
        preprocessing=Preprocessing.of_torchvision(weights.transforms()),
    )


def _near(key: str, known: list[str]) -> str:
    """ " Did you mean ...?" with the nearest of the known keys, or nothing."""
    longer = sorted((other for other in known if key.rpartition("/")[2] in other), key=len)
    near = longer[:3] or difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    return f" Did you mean {', '.join(near)}?" if near else ""


SOURCES: dict[str, Callable[[str], Source]] = {"bundled": _bundled, "timm": _timm, "torchvision": _torchvision}
