"""What a network says about itself, found by looking at it run: each trait is a name, a value, and the reason in a sentence.

Two passes with pictures that differ in one corner have been made by `model_zoo.layers`; one more here follows the
gradient back to the last layers, and a small one tries another picture size.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from model_zoo.apart import apart
from model_zoo.deferred import torch
from model_zoo.layers import Layer, Seen

NEAR_THE_END = 24  # so many of the last layers are tried as default first: a gradient that goes back no further is cheap
SAME = 1e-4  # relative difference below which two float32 vectors that were summed in another order are the same


@dataclass(frozen=True)
class Fact:
    """One thing a network says about itself, and how that is known; `value` and `reason` are texts for the page."""

    name: str
    value: str
    reason: str


class Ending(NamedTuple):
    """The last layers of a network: `default` for heat maps, `pooled` whose mean over the places is what the linear head
    receives; `reached` is whether every place of the default layer moves the class scores."""

    default: str | None
    pooled: str | None
    reached: bool


def linear_heads(layers: tuple[Layer, ...], classes: int) -> tuple[str, ...]:
    """Names of the linear layers that put out class scores, the last one last; a distilled transformer has two."""
    return tuple(layer.name for layer in layers if layer.type == "Linear" and layer.shape == (classes,))


def find_ending(network: torch.nn.Module, layers: tuple[Layer, ...], pixels: torch.Tensor, classes: int, scores) -> Ending:
    """The default layer is the last one that answers locally and whose every place moves the class scores.

    `scores` takes the class scores `[B, K]` out of what the network answers. A map of class scores itself (as in
    SqueezeNet) is passed over, so are the projections inside an attention block, and so is what follows the last place
    where patches are read: behind it only the class token counts, and the gradient at the patches is zero. Where no
    layer answers locally, one whose every place moves the scores is taken, else the last one with a grid.
    """
    candidates = [layer for layer in layers if layer.kind != "vector" and layer.channels != classes]
    candidates = [layer for layer in candidates if not (layer.kind == "tokens" and layer.type == "Linear")]
    head = next(reversed(linear_heads(layers, classes)), None)
    if not candidates:
        return Ending(None, None, False)
    reached: list[Layer] = []
    for near in dict.fromkeys((NEAR_THE_END, len(candidates))):
        moving, pooled = apart(lambda near=near: _followed_back(network, candidates[-near:], pixels, head, scores))
        reached = [layer for layer in candidates if layer.name in moving]
        local = [layer for layer in reached if layer.local]
        if local:
            return Ending(local[-1].name, pooled, True)
    last = reached or candidates
    return Ending(last[-1].name, pooled, bool(reached))


def _followed_back(network, candidates: list[Layer], pixels, head: str | None, scores) -> tuple[set[str], str | None]:
    """Names of the candidates of which more than half of the places have a gradient, and of the one that is pooled.

    The first candidate is the leaf of the graph: nothing before it is followed.
    """
    outputs: dict[str, torch.Tensor] = {}
    received: list[torch.Tensor] = []

    def record(name: str):
        def hook(_module, _inputs, output):
            leaf = name == candidates[0].name and not output.requires_grad
            outputs[name] = output.detach().requires_grad_(True) if leaf else output
            return outputs[name].clone()  # what follows may add to it in place

        return hook

    handles = [network.get_submodule(layer.name).register_forward_hook(record(layer.name)) for layer in candidates]
    if head:
        handles.append(network.get_submodule(head).register_forward_pre_hook(lambda _module, inputs: received.append(inputs[0].detach())))
    try:
        with torch.inference_mode(False), torch.enable_grad():
            score = scores(network(pixels.clone())).amax()
            names = [name for name, output in outputs.items() if output.requires_grad]
            gradients = torch.autograd.grad(score, [outputs[name] for name in names], allow_unused=True) if score.requires_grad else ()
    except RuntimeError:  # torch cannot differentiate it; there is still much to be seen in it
        return set(), None
    finally:
        for handle in handles:
            handle.remove()
    by_name = {layer.name: layer for layer in candidates}
    maps = {name: by_name[name].maps(gradient) for name, gradient in zip(names, gradients) if gradient is not None}
    moving = {name for name, gradient in maps.items() if float(gradient.abs().sum(1).gt(0).float().mean()) > 0.5}
    pooled = [layer.name for layer in candidates if received and _is_mean_of(received[-1], layer.maps(outputs[layer.name].detach()))]
    return moving, pooled[-1] if pooled else None


def _is_mean_of(vector: torch.Tensor, maps: torch.Tensor) -> bool:
    """Whether a vector `[1, C]` is the mean of maps `[1, C, h, w]` over their places."""
    mean = maps.mean((2, 3))
    return vector.shape == mean.shape and float((vector - mean).norm()) <= SAME * float(mean.norm()) and bool(mean.any())


def facts_of(
    network: torch.nn.Module, seen: Seen, pixels: torch.Tensor, *, ending: Ending, classes: int, multi_label: bool, switched: int
) -> tuple[Fact, ...]:
    """Everything a network says about itself, most important first; `switched` activations used to work in place."""
    layers = {layer.name: layer for layer in seen.layers}
    found = (
        _default_fact(layers.get(ending.default or ""), ending.reached),
        _places_fact(layers.get(ending.default or ""), getattr(network, "num_prefix_tokens", None)),
        _head_fact(network, seen, classes),
        _pooling_fact(ending.pooled),
        _classes_fact(classes, multi_label),
        _input_fact(network, pixels),
        _activations_fact(network, seen.uses),
        _channels_last_fact(seen.layers),
        _groups_fact(seen.groups),
        _order_fact(seen.layers),
        _uses_fact(seen.uses),
        _switched_fact(switched),
    )
    return tuple(fact for fact in found if fact)


def _default_fact(layer: Layer | None, reached: bool) -> Fact:
    name = "default layer for heat maps"
    if not layer:
        return Fact(name, "none", "No layer answers with a map, or with one vector per patch, of more than one place.")
    if not layer.local:
        return Fact(name, layer.name, "No layer with a grid answers in the corner in which the picture is changed: read its maps with caution.")
    if not reached:
        return Fact(name, layer.name, "The last layer with a grid. On a test picture no layer has places that move the class scores.")
    reason = "The last layer whose places move the class scores and follow a change in one corner of the picture (class maps are passed over)."
    return Fact(name, layer.name, reason)


def _places_fact(layer: Layer | None, told: int | None) -> Fact | None:
    if not layer:
        return None
    rows, columns = layer.grid
    if layer.kind == "spatial":
        kept = "channels last" if layer.channels_last else "channels first"
        reason = f"The shape of what {layer.name} puts out, {_times(layer.shape)}, has the proportions of the picture, {kept}."
        return Fact("places in the picture", f"{rows} × {columns} cells of {layer.stride} px", reason)
    prefix = f"{layer.prefix_tokens} prefix token{'s' * (layer.prefix_tokens != 1)}"
    source = "the network tells how many of them stand before the patches" if told == layer.prefix_tokens else "what remains is a grid of the picture"
    reason = f"The layer {layer.name} puts out {layer.shape[0]} tokens; {source}. Prefix tokens (class, distillation, registers) have no place in it."
    return Fact("places in the picture", f"{rows} × {columns} patches of {layer.stride} px, {prefix}", reason)


def _head_fact(network, seen: Seen, classes: int) -> Fact:
    heads = linear_heads(seen.layers, classes)
    if heads:
        module = network.get_submodule(heads[-1])
        reason = "The last linear layer, and it puts out the class scores." if len(heads) == 1 else "Each of them puts out class scores."
        return Fact("linear head", f"{', '.join(heads)}: {module.in_features} → {module.out_features}", reason)
    last = [layer for layer in seen.layers if layer.weighted]
    if last and last[-1].channels == classes and last[-1].type != "Linear":
        return Fact("linear head", "none: the last layer is a convolution", f"The layer {last[-1].name} puts out a map per class.")
    return Fact("linear head", "none", f"No linear layer puts out one vector of {classes} class scores per picture.")


def _pooling_fact(pooled: str | None) -> Fact:
    if pooled:
        return Fact("global average pooling", f"of {pooled}", "On a test picture its mean over the places is what the linear head receives.")
    reason = "What a linear head receives is the mean over the places of none of the last layers: something stands between, or one token is read."
    return Fact("global average pooling", "not right before a linear head", reason)


def _classes_fact(classes: int, multi_label: bool) -> Fact:
    if multi_label:
        return Fact("classes", f"{classes} labels, each for or against", "Loaded as a model of several labels: each score is a question of its own.")
    if classes == 1:
        return Fact("classes", "one logit, offered as two opposite classes", "The network puts out one number; a sigmoid of it is a probability.")
    return Fact("classes", f"{classes}", f"The network puts out {classes} numbers per picture.")


def _input_fact(network, pixels: torch.Tensor) -> Fact:
    channels, height, width = pixels.shape[1:]
    value = f"{channels} channel{'s' * (channels > 1)}, {height} × {width} px"
    other = tuple(_other_size(side) for side in (height, width))
    resized = torch.nn.functional.interpolate(pixels, other, mode="bilinear")
    try:
        with torch.no_grad():
            network(resized)
    except Exception:  # whatever a network raises at a size it was not made for
        return Fact("input", f"{value}, fixed", f"It does not run on a picture of {_times(other)} px.")
    return Fact("input", f"{value}, other sizes possible", f"It runs on a picture of {_times(other)} px, too; its accuracy there was not tried.")


def _other_size(side: int) -> int:
    """A smaller side that is a multiple of 32, which most networks want; above 32 px for a small picture, which may shrink no more."""
    return max(32, side // 2 // 32 * 32) if side > 32 else side + 32


def _activations_fact(network, uses: dict[str, int]) -> Fact:
    counts = Counter()
    for name, module in network.named_modules():
        if uses.get(name) and _is_activation(module):
            counts[type(module).__name__] += uses[name]
    value = ", ".join(f"{kind} × {count}" for kind, count in counts.most_common()) or "none as modules"
    return Fact("activations", value, "Uses of modules in one pass. An activation that is called as a function inside a module is not seen.")


def _is_activation(module) -> bool:
    home = type(module).__module__
    return home == "torch.nn.modules.activation" and not isinstance(module, torch.nn.MultiheadAttention) or home.startswith("timm.layers.activations")


def _channels_last_fact(layers: tuple[Layer, ...]) -> Fact | None:
    spatial = [layer for layer in layers if layer.kind == "spatial"]
    last = [layer.name for layer in spatial if layer.channels_last]
    reason = f"Such as {last[-1]}: its first two axes have the proportions of the picture." if last else ""
    return Fact("channels last", f"{len(last)} of {len(spatial)} layers with maps", reason) if last else None


def _groups_fact(groups: dict[str, tuple[int, int]]) -> Fact | None:
    if not groups:
        return None
    name, (count, positions) = next(iter(groups.items()))
    reason = f"Such as {name}: {count} windows or other parts of each picture, of {positions} positions, are stacked into the batch."
    return Fact("parts worked on separately", f"{len(groups)} modules", f"{reason} Such modules are not offered as layers.")


def _order_fact(layers: tuple[Layer, ...]) -> Fact | None:
    odd = [layer.name for layer in layers if not layer.local]
    places = sum(layer.kind != "vector" for layer in layers)
    reason = f"Such as {odd[-1]}: a change in one corner of the picture is seen in another corner of its grid, so maps of it mislead." if odd else ""
    return Fact("places in another order", f"{len(odd)} of {places} layers with a grid", reason) if odd else None


def _uses_fact(uses: dict[str, int]) -> Fact | None:
    several = {name: count for name, count in uses.items() if count > 1}
    name = max(several, key=several.get) if several else ""
    reason = f"Such as {name}, {several.get(name)} times in one pass. What is read there is its last use."
    return Fact("modules used several times", f"{len(several)}", reason) if several else None


def _switched_fact(switched: int) -> Fact | None:
    reason = "They used to overwrite what they were given; now they do not, so that what was read stays as it was. The numbers are the same."
    return Fact("in-place activations", f"{switched} switched off", reason) if switched else None


def _times(sides: tuple[int, ...]) -> str:
    return " × ".join(map(str, sides))
