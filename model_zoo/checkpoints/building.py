"""From a checked file of weights and its match to a network that runs, or a sentence why it would show nonsense.

A network that runs is not yet the visitor's: weights that are not finite, not floating point or not matched give maps
and class names as well. Whatever is accepted with a doubt says so in a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from model_zoo.checkpoints.architectures import Shape, instance, preprocessing, written
from model_zoo.checkpoints.guessing import guess
from model_zoo.checkpoints.matching import Match
from model_zoo.checkpoints.sentences import NOT_FINITE, NOT_FLOAT, refusal, shown
from model_zoo.deferred import torch
from model_zoo.errors import UploadError
from model_zoo.loaded import class_scores
from model_zoo.preprocessing import Preprocessing

LEAST_SHARE = 0.95  # of the tensors; with fewer, what a technique shows is the random rest's doing
CHANNELS = (1, 3, 4)  # grey, colour, colour with transparency
NAMED = 3  # tensors named in a sentence; the table of a match has all


class Built(NamedTuple):
    """A network in eval mode with a visitor's weights in float32, and what they should know about it."""

    network: torch.nn.Module
    notes: tuple[str, ...]


def build(path: Path, match: Match) -> Built:
    """The network of a match with the weights of its safetensors file; memory about the weights and their largest tensor.

    Tensors that the file lacks, at most one in twenty and none of the head, keep the numbers that their library
    starts from, with a fixed seed, and are named in a note. Raises UploadError when less was matched, when a shape or
    a type is wrong, and when the weights or the answers to noise are not finite.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = file.keys()
        _refuse_misfits(match, {name: tuple(file.get_slice(name).get_shape()) for name in names})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = instance(match.architecture, match.variant)
        kinds = _fill(network, match, file)
    network.eval().requires_grad_(False)
    notes = []
    if kinds - {"float32"}:
        notes.append(f"The file holds {' and '.join(sorted(kinds))} weights; they are computed with in float32.")
    if match.renamed:
        notes.append("; ".join(f"{name} was taken from {shown(found)}" for name, found in match.renamed) + ".")
    if match.missing:
        notes.append(f"The file lacks {_listed(match.missing)}; random numbers stand there.")
    if match.unexpected:
        notes.append(f"Not used from the file: {_listed(match.unexpected)}.")
    return Built(network, (*notes, *_probed(network, match)))


def preprocessing_of(match: Match) -> Preprocessing:
    """How the network of a match probably wants its pictures: as its architecture's best-known weights do."""
    return preprocessing(match.architecture, match.variant)


def _refuse_misfits(match: Match, shapes: Mapping[str, Shape]) -> None:
    name = match.architecture
    if match.share < LEAST_SHARE:
        raise UploadError(f"{_counted(match)}.{_better(match, shapes)}")
    if match.wrong_shape:
        tensor, expected, found = match.wrong_shape[0]
        others = f", and {len(match.wrong_shape) - 1} more tensors differ" if len(match.wrong_shape) > 1 else ""
        raise UploadError(f"{tensor} is {written(found)} in the file and {written(expected)} in {name}{others}.{_better(match, shapes)}")
    lost = [tensor for tensor in match.missing if tensor.rpartition(".")[0] in match.heads]
    if lost:
        instead = f" and has {_listed(match.unexpected)} instead: rename what belongs there" if match.unexpected else ": save all of the network"
        raise UploadError(f"The file lacks {_listed(lost)}, without which {name} would name classes at random{instead}.")
    if match.channels not in CHANNELS:
        raise UploadError(f"The network reads pictures with {match.channels} channels; Loupe shows it pictures with 1, 3 or 4.")


def _counted(match: Match) -> str:
    """How much was matched, where that is too little: of a larger network's file everything may be."""
    if match.matched == match.total:
        return f"The file has all {match.total} tensors of {match.architecture}, and {match.surplus} more, of a larger network"
    return f"Only {match.matched} of {match.total} tensors match {match.architecture}"


def _better(match: Match, shapes: Mapping[str, Shape]) -> str:
    """The architecture that the file does fit, or what to do when there is none."""
    best = next(iter(guess(shapes, limit=1)), None)
    if best and best.share >= LEAST_SHARE and best.architecture != match.architecture:
        return f" Did you mean {best.architecture}, of which {best.matched} of {best.total} match?"
    return " Choose the architecture that the weights were trained in."


def _fill(network: torch.nn.Module, match: Match, file) -> set[str]:
    """Copy the matched weights, one at a time, and return their types: "float16"."""
    kinds = set()
    for name, own in network.state_dict().items():
        # whole numbers stay the architecture's own: counters mean nothing here, and an index from a file may point anywhere
        if name not in match.names or not own.is_floating_point():
            continue
        found = file.get_tensor(match.names[name])
        kind = str(found.dtype).removeprefix("torch.")
        if not found.is_floating_point():
            raise refusal(NOT_FLOAT, name=shown(name), dtype=kind)
        own.detach().copy_(found)
        if not own.isfinite().all():
            raise refusal(NOT_FINITE, what="NaN" if own.isnan().any() else "infinity", name=shown(name))
        kinds.add(kind)
    return kinds


def _probed(network: torch.nn.Module, match: Match) -> list[str]:
    """Notes about the answers to two pictures of noise; UploadError when they are no numbers."""
    wanted = preprocessing_of(match)
    noise = torch.randn(2, wanted.channels, *wanted.size, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            scores = class_scores(network(noise))
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        raise UploadError(f"{match.architecture} does not run on a {written(noise.shape[1:])} picture with these weights.") from error
    if not scores.isfinite().all():
        raise UploadError("The network gives no valid numbers on a picture of noise, although each of its weights is one. Its training went wrong.")
    if scores.shape[1] > 1 and torch.equal(scores.amin(1), scores.amax(1)):
        return ["Every class gets the same score, whatever the picture: these weights know nothing."]
    if torch.equal(scores[0], scores[1]):
        return ["Two different pictures of noise get exactly the same scores: these weights may know nothing."]
    return []


def _listed(names: tuple[str, ...] | list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more tensors" if len(names) > NAMED else ""
    return ", ".join(shown(name) for name in names[:NAMED]) + more
