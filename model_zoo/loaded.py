"""A classifier ready to be looked into: everything a technique may ask of a model."""

from __future__ import annotations

import difflib
import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from model_zoo.apart import apart
from model_zoo.deferred import torch
from model_zoo.errors import IncompatibleModel, ModelLoadError, ParameterError
from model_zoo.layers import Layer, inspect
from model_zoo.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network in eval mode whose parameters need no gradient, and what it knows about itself.

    `network` takes normalised pixels; `logits` takes pixels in `[0, 1]`, which is what techniques use.
    `lock` is held by `techniques.base.execute` while a technique runs: hooks on a shared network are not safe
    between threads.
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
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def classes(self) -> int:
        return len(self.labels)

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

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits `[B, classes]` of pixels `[B, C, H, W]` in `[0, 1]`; differentiable.

        A head with a single logit z is presented as two classes with logits (-z/2, z/2): softmax then gives
        exactly sigmoid(z), and both directions have a gradient.
        """
        mean, std = (values.to(pixels.device) for values in self._statistics)
        return two_sided(class_scores(self.network((pixels - mean) / std)))

    def probabilities(self, pixels: torch.Tensor) -> torch.Tensor:
        """Softmax of `logits`, `[B, classes]`, without a gradient."""
        with torch.no_grad():
            return self.logits(pixels).softmax(1)

    def target(self, target: int | None, pixels: torch.Tensor) -> int:
        """`target` itself, or the predicted class of `pixels` when it is None."""
        return int(self.probabilities(pixels).argmax()) if target is None else target

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
        hint = f" Did you mean {', '.join(self.labels[lowered.index(label)] for label in near)}?" if near else ""
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


def class_scores(output) -> torch.Tensor:
    """The first float tensor `[B, K]` in whatever a network returns (a tensor, a tuple, a dict)."""
    if isinstance(output, torch.Tensor) and output.ndim == 2 and output.is_floating_point():
        return output
    candidates = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    for candidate in candidates:
        if isinstance(candidate, torch.Tensor) and candidate.ndim == 2 and candidate.is_floating_point():
            return candidate
    raise IncompatibleModel("The network does not answer with one row of class scores per picture; its output format is not supported.")


def two_sided(scores: torch.Tensor) -> torch.Tensor:
    """Logits of two opposite classes for a head with one logit; any other head unchanged."""
    return torch.cat([-scores / 2, scores / 2], 1) if scores.shape[1] == 1 else scores


def wrap(
    network: torch.nn.Module,
    *,
    key: str,
    title: str | None = None,
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    notes: tuple[str, ...] = (),
) -> LoadedModel:
    """Make any classifier a LoadedModel: switch it to eval mode, freeze it, look at its layers, try it once.

    `labels` may be left out ("class 0" ...). Raises ModelLoadError when the network does not run at its own
    input size, or answers with numbers that are not finite.
    """
    preprocessing = preprocessing or Preprocessing()
    network.eval().requires_grad_(False).to(torch.float32)
    for module in network.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # same numbers; an activation that was read must not change afterwards
    device = next(network.parameters()).device
    probe = torch.rand(1, preprocessing.channels, *preprocessing.size, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        with torch.no_grad():
            scores = class_scores(network(probe))
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        height, width = preprocessing.size
        raise ModelLoadError(f"The network does not run on a {preprocessing.channels} x {height} x {width} picture: {error}") from error
    if not torch.isfinite(scores).all():
        raise ModelLoadError("The network gives no valid numbers on a test picture; its weights are damaged.")
    count = scores.shape[1]
    labels = tuple(labels) if labels else (("no", "yes") if count == 1 else tuple(f"class {i}" for i in range(count)))
    if len(labels) != max(2, count):
        raise ModelLoadError(f"{len(labels)} labels do not fit a network with {max(2, count)} classes.")
    layers = inspect(network, probe, getattr(network, "num_prefix_tokens", 0))
    return LoadedModel(
        key=key,
        title=title or key,
        network=network,
        labels=labels,
        preprocessing=preprocessing,
        layers=layers,
        default_layer=apart(lambda: _default_layer(network, layers, probe, count)),
        head=_head(layers, count),
        notes=notes,
    )


def _head(layers: tuple[Layer, ...], classes: int) -> str | None:
    """Name of the linear layer that puts out the class scores, or None."""
    names = [layer.name for layer in layers if layer.type == "Linear" and layer.shape == (classes,)]
    return names[-1] if names else None


def _default_layer(network, layers: tuple[Layer, ...], probe, classes: int) -> str | None:
    """The last layer with a grid whose every cell still moves the class scores.

    A map of class scores itself (as in SqueezeNet) is passed over, so are the projections inside an attention
    block, and so is what follows the last place where patches are read: behind it only the class token counts,
    and the gradient at the patches is zero.
    """
    candidates = [layer for layer in layers if layer.kind != "vector" and layer.channels != classes]
    candidates = [layer for layer in candidates if not (layer.kind == "tokens" and layer.type == "Linear")]
    if not candidates or candidates[-1].kind == "spatial":
        return candidates[-1].name if candidates else None
    outputs: dict[str, torch.Tensor] = {}
    handles = [
        network.get_submodule(layer.name).register_forward_hook(lambda _m, _i, output, name=layer.name: outputs.__setitem__(name, output))
        for layer in candidates
    ]
    try:
        with torch.enable_grad():
            score = class_scores(network(probe.clone().requires_grad_(True))).amax()
            names = [layer.name for layer in candidates if outputs[layer.name].requires_grad]
            gradients = torch.autograd.grad(score, [outputs[name] for name in names], allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    moved = {name: gradient for name, gradient in zip(names, gradients) if gradient is not None}
    for layer in reversed(candidates):
        if layer.name in moved and layer.maps(moved[layer.name]).abs().sum(1).gt(0).float().mean() > 0.5:
            return layer.name
    return candidates[-1].name
