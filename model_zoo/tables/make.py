"""Make the tables: `python -m model_zoo.tables.make --results results-imagenet.csv`, some minutes, no weights, no network.

Every network is built on PyTorch's meta device, where tensors have shapes and no memory. timm's own results
(`results-imagenet.csv` in its repository, columns `model` and `top1`) are not part of the installed package; without
the file the column stays empty for timm's models.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import timm
import torch
from torchvision import models

from model_zoo.bundled import BUNDLED
from model_zoo.catalogue import ARCHITECTURES, PRETRAINED
from model_zoo.sources import classifies
from model_zoo.tables.families import family

SHAPES = ("key", "tensors", "parameters", "bytes")
FACTS = ("key", "family", "parameters", "bytes", "height", "width", "classes", "top1", "licence")


def main() -> None:
    """Write both tables; networks that cannot be built are named, and the exit status is 1."""
    parser = argparse.ArgumentParser(prog="python -m model_zoo.tables.make", description=__doc__)
    parser.add_argument("--results", type=Path, help="timm's results-imagenet.csv")
    top1 = read_top1(parser.parse_args().results)
    failed: list[str] = []
    _write(ARCHITECTURES, SHAPES, architectures(failed))
    _write(PRETRAINED, FACTS, [*bundled(), *pretrained_of_timm(top1, failed), *pretrained_of_torchvision()])
    if failed:
        sys.exit(f"Could not be built: {', '.join(failed)}")


def architectures(failed: list[str]) -> list[tuple]:
    """Rows of every architecture with a classifier; names that cannot be built are added to `failed`."""
    rows = [(f"torchvision/{name}", *shapes_of_torchvision(name)) for name in models.list_models(module=models)]
    names = [name for name in timm.list_models() if timm.get_pretrained_cfg(name, allow_unregistered=True).num_classes]
    rows.extend((f"timm/{name}", *shapes) for name, shapes in _built(names, failed))
    return rows


def bundled() -> list[tuple]:
    """Rows of the models that come with Loupe. Their accuracy is not ImageNet's and stays in their model cards."""
    rows = []
    for name, model in BUNDLED.items():
        _tensors, parameters, size = _count(model.build)
        rows.append((f"bundled/{name}", family(name, name), parameters, size, model.size, model.size, len(model.labels), "", ""))
    return rows


def pretrained_of_timm(top1: dict[str, str], failed: list[str]) -> list[tuple]:
    """Rows of every set of trained weights in timm that tells classes apart."""
    rows = []
    names = [name for name in timm.list_pretrained() if classifies(timm.get_pretrained_cfg(name).num_classes)]
    for name, (_tensors, parameters, size) in _built(names, failed):
        config = timm.get_pretrained_cfg(name)
        kind = family(config.architecture, timm.model_entrypoint(config.architecture).__module__.rpartition(".")[2])
        licence = (config.license or "").replace("unknown", "")
        facts = (parameters, size, *config.input_size[1:], config.num_classes, top1.get(name.lower(), ""), licence)
        rows.append((f"timm/{name}", kind, *facts))
    return rows


def pretrained_of_torchvision() -> list[tuple]:
    """Rows of the weights that torchvision prefers for each of its classifiers."""
    rows = []
    for name in models.list_models(module=models):
        weights = models.get_model_weights(name).DEFAULT
        _tensors, parameters, size = shapes_of_torchvision(name)
        (crop,) = weights.transforms().crop_size
        (accuracy,) = (f"{metrics['acc@1']:.2f}" for metrics in weights.meta["_metrics"].values())
        licence = "cc-by-nc-4.0" if "SWAG" in weights.meta.get("license", "") else ""  # no other weights name one
        rows.append((f"torchvision/{name}", family(name, name), parameters, size, crop, crop, len(weights.meta["categories"]), accuracy, licence))
    return rows


def _built(names: Iterable[str], failed: list[str]) -> Iterator[tuple[str, tuple[int, int, int]]]:
    for name in names:
        try:
            yield name, shapes_of_timm(name)
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            failed.append(f"{name} ({type(error).__name__})")


@cache
def shapes_of_timm(name: str) -> tuple[int, int, int]:
    """Tensors, parameters and bytes of one of timm's models; those of a tag like its architecture's are built once."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    plain = timm.get_pretrained_cfg(config.architecture, allow_unregistered=True)
    same = ("num_classes", "input_size", "fixed_input_size")
    if name != config.architecture and all(getattr(config, field) == getattr(plain, field) for field in same):
        return shapes_of_timm(config.architecture)
    return _count(lambda: timm.create_model(name, pretrained=False))


@cache
def shapes_of_torchvision(name: str) -> tuple[int, int, int]:
    """Tensors, parameters and bytes of one of torchvision's classifiers."""
    return _count(lambda: models.get_model(name, weights=None))


def read_top1(results: Path | None) -> dict[str, str]:
    """Share of ImageNet's validation pictures that timm counted as right, in percent, by `name.tag`."""
    if results is None:
        return {}
    with results.open(newline="") as file:
        # timm writes some names with capitals there, and in the library without
        return {row["model"].lower(): f"{float(row['top1']):.2f}" for row in csv.DictReader(file) if row["top1"]}


def _count(build: Callable[[], torch.nn.Module]) -> tuple[int, int, int]:
    try:
        with torch.device("meta"):
            network = build()
    except NotImplementedError:  # torchvision's RegNets compute with tensors while they are built
        network = build()
    state = network.state_dict()
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    return len(state), sum(parameter.numel() for parameter in network.parameters()), size


def _write(path: Path, columns: Iterable[str], rows: Iterable[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(sorted(rows))


if __name__ == "__main__":
    main()
