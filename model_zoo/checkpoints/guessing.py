"""Which architecture a file of weights was made for, told by nothing but the names and shapes of its tensors.

The shipped table of all architectures gives a short list: as many tensors, about as many bytes, and the
layers that its library names (those that read pixels and those that put out logits) under these names. Each of
the short list is then built without memory and matched tensor by tensor.

Some architectures have the same tensors and still compute differently (`efficientnet_b0` and `tf_efficientnet_b0` pad
their pictures differently): no file of weights can tell them apart, so all of them are offered.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_zoo.catalogue import Architecture, architectures
from model_zoo.checkpoints.architectures import Shape, named
from model_zoo.checkpoints.matching import WRAPPERS, Match, match
from model_zoo.deferred import timm
from model_zoo.downloads import Watcher
from model_zoo.errors import ModelLoadError

CANDIDATES = 12  # built and matched; each costs a tenth of a second
UNLIKE = 1.0  # difference in tensors and bytes that no two networks with half their tensors in common have
LEAST_SHARE = 0.5  # of the tensors; what fits less is no guess
ALIKE = 0.005  # difference in distance below which two architectures may have the same tensors
DEEPEST_LAYER = 5  # components in the names of the layers that put out logits or read pixels
COUNTER = "num_batches_tracked"  # one per batch norm; left out by whoever saves parameters and statistics alone
TORCHVISION_HEADS = ("fc", "head", "heads.head", "classifier", "classifier.1", "classifier.2", "classifier.3", "classifier.6")
COLOURS = 3
TORCHVISION_CLASSES = 1000


@dataclass(frozen=True)
class _Census:
    """A file in numbers that do not depend on prefixes: its tensors and their bytes in float32, counting every batch
    norm's counter, and the shapes of its weights by each ending of their names."""

    tensors: int
    bytes: int
    endings: Mapping[str, Shape]


def guess(shapes: Mapping[str, Shape], limit: int = 5, hint: str = "", run: Watcher | None = None) -> list[Match]:
    """Architectures that the tensors of a file fit, best first: at most `limit`, and all that fit as well as the best.

    `hint`, the file's name, decides between equals; without it those of timm and the plainest name come first. Empty
    when no known architecture has at least half of its tensors in the file.
    """
    census = _census(_without_copies(shapes))
    order = sorted((_distance(census, architecture), _taste(architecture.key, hint), architecture.key) for architecture in architectures())
    found: list[Match] = []
    nearest = math.inf  # of the distances of those that fit in everything
    for distance, _, key in order[:CANDIDATES]:
        if run:
            run.check()
        if distance > min(nearest + ALIKE, UNLIKE):
            break
        try:
            found.append(match(shapes, key))
        except ModelLoadError:
            continue  # in the table, and not in the installed library
        if found[-1].complete:
            nearest = min(nearest, distance)
    found = [candidate for candidate in found if candidate.share >= LEAST_SHARE]
    found.sort(key=lambda candidate: (*_quality(candidate), _taste(candidate.architecture, hint)))
    return found[: max(limit, len(equals(found)))]


def equals(found: Sequence[Match]) -> list[Match]:
    """Of matches, best first, those that fit as well as the first."""
    return [candidate for candidate in found if _quality(candidate) == _quality(found[0])]


def doubt(found: Sequence[Match]) -> str | None:
    """A sentence when several architectures fit equally well, for whoever chooses one of them."""
    names = [candidate.architecture for candidate in equals(found)]
    if len(names) < 2:
        return None
    return f"{', '.join(names)} have the same tensors and may still compute differently. Choose the one that the weights were trained in."


def _quality(candidate: Match) -> tuple[float, int, bool]:
    return -candidate.share, len(candidate.unexpected), candidate.size is not None


def _without_copies(shapes: Mapping[str, Shape]) -> Mapping[str, Shape]:
    """The tensors without those of a second network of the same make: a teacher beside its student, running averages."""
    groups: dict[str, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        first, _, rest = name.partition(".")
        groups.setdefault(first, {})[rest.removeprefix("module.")] = shape
    largest = max(groups, key=lambda first: len(groups[first]), default="")
    copies = {first for first in groups if first != largest and groups[first] == groups[largest]}
    if not copies or len(groups[largest]) < len(shapes) / 4:
        return shapes
    return {name: shape for name, shape in shapes.items() if name.partition(".")[0] not in copies}


def _census(shapes: Mapping[str, Shape]) -> _Census:
    last = {name: name.rpartition(".")[2] for name in shapes}
    counters = sum(ending == "running_mean" for ending in last.values())
    tensors = sum(ending != COUNTER for ending in last.values()) + counters
    size = 4 * sum(math.prod(shape) for name, shape in shapes.items() if last[name] != COUNTER) + 8 * counters
    endings: dict[str, Shape] = {}
    for name in sorted(shapes, key=len, reverse=True):  # of two layers called `fc` the one on the outside is kept
        if last[name] == "weight" and len(name) < 200:
            parts = [part for part in name.rsplit(".", DEEPEST_LAYER + 1)[-DEEPEST_LAYER - 1 : -1] if part not in WRAPPERS]
            endings.update({".".join(parts[start:]): shapes[name] for start in range(len(parts))})
    return _Census(tensors, size, endings)


def _distance(census: _Census, architecture: Architecture) -> float:
    """How unlike a file an architecture is: differences in tensors and in bytes as shares, with those of another number
    of classes or channels taken out, and something for each of its outermost layers that the file lacks."""
    heads, stem, classes = _outermost(architecture.key, census)
    shapes = [census.endings.get(head, ()) for head in heads]
    size = census.bytes + 4 * sum((math.prod(shape[1:]) + 1) * (classes - shape[0]) for shape in shapes if len(shape) in (2, 4))
    for out, channels, *kernel in (shape for name in stem if len(shape := census.endings.get(name, ())) == 4):
        size += 4 * out * math.prod(kernel) * (COLOURS - channels) if channels <= 4 else 0
    apart = abs(size - architecture.bytes) / architecture.bytes
    missing = sum(name not in census.endings for name in (*heads, *stem))
    return abs(census.tensors - architecture.tensors) / architecture.tensors + apart + 0.02 * missing


def _outermost(key: str, census: _Census) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Names of the layers that put out logits and that read pixels, and the number of classes, before a network is built."""
    library, _, name = key.partition("/")
    if library == "timm" and (config := timm.get_pretrained_cfg(name)):
        return named(config.classifier), named(config.first_conv), config.num_classes
    return tuple(head for head in TORCHVISION_HEADS if head in census.endings)[:1], (), TORCHVISION_CLASSES


def _taste(key: str, hint: str) -> tuple[int, int, bool, str]:
    """Order among equals: named in the hint, the longest such name first; then the shortest name, and timm's."""
    library, _, name = key.partition("/")
    letters, hinted = _letters(name), _letters(hint)
    return -len(letters) if letters in hinted else 0, len(name), library != "timm", name


def _letters(text: str) -> str:
    return re.sub("[^a-z0-9]", "", text.lower())
