"""A classifier ready to be looked into: everything a technique may ask of a model."""

from __future__ import annotations

import difflib
import hashlib
import math
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property

from model_zoo.batch_norm import with_right_gradients
from model_zoo.deferred import torch
from model_zoo.errors import AppError, IncompatibleModel, ModelLoadError, ParameterError, did_you_mean
from model_zoo.layers import Layer, inspect
from model_zoo.preprocessing import Preprocessing
from model_zoo.traits import Fact, facts_of, find_ending, linear_heads


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network in eval mode whose parameters need no gradient, and what it knows about itself.

    `network` takes normalised pixels; `logits` takes pixels in `[0, 1]`, which is what techniques use.
    `lock` is held by `techniques.base.execute` while a technique runs: hooks on a shared network are not safe
    between threads.

    With `multi_label`, each label is a yes/no question of its own: `labels` holds the K labels, then their K opposites
    ("not ..."), and so do logits and probabilities.

    `pooled_layer` is the layer whose mean over its places is what the linear `head` receives, `facts` what the network says
    about itself, `trainable` the names of the parameters that needed a gradient before they were frozen.
    """

    key: str
    title: str
    network: torch.nn.Module
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    layers: tuple[Layer, ...]
    default_layer: str | None
    head: str | None
    notes: tuple[str, ...] = ()
    multi_label: bool = False
    pooled_layer: str | None = None
    facts: tuple[Fact, ...] = ()
    trainable: frozenset[str] = frozenset()
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def classes(self) -> int:
        return len(self.labels)

    @property
    def named(self) -> int:
        """How many of the classes are no opposites of others; they come first."""
        return self.classes // 2 if self.multi_label else self.classes

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over the names and bytes of all parameters and buffers, in the order of their names."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def bytes(self) -> int:
        """Memory of the parameters and buffers in bytes."""
        return sum(t.numel() * t.element_size() for t in self.network.state_dict().values())

    @cached_property
    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of each channel, on the CPU: the network may move to another device later."""
        shape = (1, self.preprocessing.channels, 1, 1)
        return torch.tensor(self.preprocessing.mean).view(shape), torch.tensor(self.preprocessing.std).view(shape)

    @cached_property
    def _has_batch_norm(self) -> bool:
        return any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in self.network.modules())

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits `[B, classes]` of pixels `[B, C, H, W]` in `[0, 1]`; differentiable.

        A head with a single logit z is presented as two classes with logits (-z/2, z/2): softmax then gives
        exactly sigmoid(z), and both directions have a gradient. With several labels z stands for each label
        (z/2) and for its opposite (-z/2).
        """
        mean, std = (values.to(pixels.device) for values in self._statistics)
        with with_right_gradients() if self._has_batch_norm and torch.is_grad_enabled() else nullcontext():
            scores = class_scores(self.network((pixels - mean) / std))
        if self.multi_label:
            return torch.cat([scores / 2, -scores / 2], 1)
        return torch.cat([-scores / 2, scores / 2], 1) if scores.shape[1] == 1 else scores

    def shares(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities `[..., classes]` of logits `[..., classes]`: softmax over all classes, or over each label and its opposite."""
        if not self.multi_label:
            return logits.softmax(-1)
        return logits.unflatten(-1, (2, -1)).softmax(-2).flatten(-2)

    def predicted(self, logits: torch.Tensor) -> torch.Tensor:
        """The most probable class of logits `[..., classes]`, int `[...]`; of several labels, the most probable one that is no opposite."""
        return logits[..., : self.named].argmax(-1)

    def valid_logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """The logits `[B, classes]` of `pixels` without a gradient; AppError when any of them is not finite."""
        with torch.no_grad():
            logits = self.logits(pixels)
        bad = int((~logits.isfinite()).sum())
        if bad:
            raise AppError(f"{self.title} gives no valid numbers for this picture: {bad} of {logits.numel()} logits are not finite.")
        return logits

    def probabilities(self, pixels: torch.Tensor) -> torch.Tensor:
        """The `shares` of the logits of `pixels`, `[B, classes]`, without a gradient; AppError when they are not finite."""
        return self.shares(self.valid_logits(pixels))

    def target(self, target: int | None, pixels: torch.Tensor) -> int:
        """`target` itself, or the predicted class of `pixels` when it is None."""
        if target is not None:
            return target
        with torch.no_grad():
            return int(self.predicted(self.logits(pixels)))

    def label(self, index: int) -> str:
        return self.labels[index]

    def find_label(self, name: str | int) -> int:
        """Class index of a label, of a number written as text, or of an index.

        Raises ParameterError with the nearest labels when the model has no such class.
        """
        text = str(name).strip()
        lowered = [label.lower() for label in self.labels]
        if text.lower() in lowered:
            return lowered.index(text.lower())
        parts = [[part.strip() for part in label.split(",")] for label in lowered]
        for index, synonyms in enumerate(parts):
            if text.lower() in synonyms:
                return index
        if text.isdigit() and int(text) < self.classes:
            return int(text)
        near = difflib.get_close_matches(text.lower(), lowered, n=3, cutoff=0.5)
        hint = did_you_mean(self.labels[lowered.index(label)] for label in near)
        raise ParameterError(
            f"{self.title} has no class “{text[:80]}”. Expected one of its {self.classes} labels or a number from 0 to {self.classes - 1}.{hint}"
        )

    def layer(self, name: str | None = None) -> Layer:
        """The layer of this name, or the default layer for heat maps when `name` is None.

        Raises ParameterError when there is no such layer, IncompatibleModel when there is no default.
        """
        name = name or self.default_layer
        if name is None:
            raise IncompatibleModel(f"{self.title} has no layer with a spatial grid.")
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in self.layers]
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[-3:]
        raise ParameterError(f"{self.title} has no layer “{name[:80]}”. Expected one of its {len(names)} layers, such as {', '.join(near)}.")

    def spatial_layers(self) -> tuple[Layer, ...]:
        """Layers whose output has a place in the picture: maps or tokens with a grid larger than one cell."""
        return tuple(layer for layer in self.layers if layer.kind != "vector")

    def module(self, layer: str) -> torch.nn.Module:
        return self.network.get_submodule(layer)


def class_scores(output, pictures: int | None = None) -> torch.Tensor:
    """The first float tensor `[B, K]` in whatever a network returns (a tensor, a tuple, a list, a dict), as float32.

    Raises IncompatibleModel when there is none, or when it has not one row for each of so many `pictures`.
    """
    candidates = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else (output,)
    for candidate in candidates:
        if isinstance(candidate, torch.Tensor) and candidate.ndim == 2 and candidate.is_floating_point() and candidate.shape[1]:
            if pictures in (None, len(candidate)):
                return candidate.to(torch.float32)
    raise IncompatibleModel("The network does not answer with one row of class scores per picture; its output format is not supported.")


def wrap(
    network: torch.nn.Module,
    *,
    key: str,
    title: str | None = None,
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    notes: tuple[str, ...] = (),
    multi_label: bool = False,
) -> LoadedModel:
    """Make any classifier a LoadedModel: switch it to eval mode, freeze it, look at its layers, try it once.

    With `multi_label` every output is a yes/no question of its own, read through a sigmoid. `labels` may be left out
    ("class 0" ...). Raises ModelLoadError when the network does not run at its own input size, has no head, or answers
    with numbers that are not finite (a class masked with -inf is one), IncompatibleModel when it answers in another form.
    """
    preprocessing = preprocessing or Preprocessing()
    _check_fit(network, preprocessing)
    trainable = frozenset(name for name, parameter in network.named_parameters() if parameter.requires_grad)
    network.eval().requires_grad_(False).to(torch.float32)
    overwriting = [module for module in network.modules() if getattr(module, "inplace", False)]
    for module in overwriting:
        module.inplace = False  # same numbers; an activation that was read must not change afterwards
    device = next(network.parameters()).device
    probe = torch.rand(1, preprocessing.channels, *preprocessing.size, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        seen = inspect(network, probe, getattr(network, "num_prefix_tokens", None))
    except Exception as error:  # whatever a network of somebody else's raises
        height, width = preprocessing.size
        size = f"{preprocessing.channels} x {height} x {width}"
        raise ModelLoadError(f"The network does not run on a {size} picture. Check its input channels and its picture size.") from error
    scores = class_scores(seen.output, pictures=2)
    count = scores.shape[1]
    bad = int((~scores.isfinite()).any(0).sum())
    if bad:
        told = f"{bad} of its {count} class scores {'is' if bad == 1 else 'are'} not finite"
        why = "Its weights are damaged, or it masks classes with infinity."
        raise ModelLoadError(f"The network gives no valid numbers on a test picture: {told}. {why}")
    multi_label = multi_label and count > 1  # a single logit is two classes already
    labels = _labels(labels, count, multi_label)
    ending = find_ending(network, seen.layers, probe, count, class_scores)
    return LoadedModel(
        key=key,
        title=title or key,
        network=network,
        labels=labels,
        preprocessing=preprocessing,
        layers=seen.layers,
        default_layer=ending.default,
        head=next(reversed(linear_heads(seen.layers, count)), None),
        notes=notes,
        multi_label=multi_label,
        pooled_layer=ending.pooled,
        facts=facts_of(network, seen, probe, ending=ending, classes=count, multi_label=multi_label, switched=len(overwriting)),
        trainable=trainable,
    )


def _check_fit(network: torch.nn.Module, preprocessing: Preprocessing) -> None:
    """Raises ModelLoadError for a network without weights or without a head, and for pictures that nobody has."""
    if next(network.parameters(), None) is None:
        raise ModelLoadError("The network has no weights; there is nothing in it to look into.")
    if getattr(network, "num_classes", None) == 0:
        raise ModelLoadError("The network puts out features, not classes. Choose a model that was trained or fine-tuned to classify.")
    channels, mean, std = preprocessing.channels, preprocessing.mean, preprocessing.std
    if channels not in (1, 3, 4):
        raise ModelLoadError(f"The network wants pictures of {channels} channels. Expected 1 (grey), 3 (colour) or 4 (colour and transparency).")
    if not len(mean) == len(std) == channels or not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise ModelLoadError(f"Mean and standard deviation must be {channels} finite numbers each, one per channel, and no deviation zero or less.")


def _labels(given: Sequence[str] | None, count: int, multi_label: bool) -> tuple[str, ...]:
    """One label per class for a network that puts out `count` numbers."""
    labels = tuple(given) if given else (("no", "yes") if count == 1 else tuple(f"class {i}" for i in range(count)))
    if len(labels) != max(2, count):
        raise ModelLoadError(f"{len(labels)} labels do not fit a network with {max(2, count)} classes.")
    return (*labels, *(f"not {label}" for label in labels)) if multi_label else labels
