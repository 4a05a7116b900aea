"""What the attention layers of a network attend to, read while it runs and as it is used, whatever the network is made of.

Scaled dot-product attention: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1. Networks have it computed by torch in one fused
step, which does not give the weights away. Here torch's own functions are listened to (a `TorchFunctionMode`, which sees
only what this thread calls): from the queries and keys that reach the fused step, after any norm, rotation or mask, the weights
are computed again; where a network takes the softmax itself, its result is read. Nothing in the network is changed.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

from model_zoo.deferred import torch
from model_zoo.errors import IncompatibleModel
from model_zoo.loaded import LoadedModel
from techniques.base.hooks import watching

CLASS_TOKENS = ("cls_token", "class_token")  # what networks call the token that is read by their head


class Attention(NamedTuple):
    """What one layer attends to: `weights` `[heads, queries, keys]`, each row of them adding up to one.

    The keys are `prefix` tokens without a place, then the places of `grid` (height, width), row by row. The queries are the
    same tokens, or the class token alone.
    """

    layer: str
    weights: torch.Tensor
    prefix: int
    grid: tuple[int, int]

    def places(self, rows: torch.Tensor) -> torch.Tensor:
        """The part of `rows` `[N, keys]` that is about places: `[N, h, w]`."""
        return rows[:, self.prefix :].reshape(-1, *self.grid)

    def alike(self, others: list[Attention]) -> bool:
        """Whether all of them have these tokens as queries and as keys."""
        count = self.weights.shape[2]
        return all(other.weights.shape[1:] == (count, count) and other.prefix == self.prefix for other in others)


def attending(model: LoadedModel) -> tuple[str, ...]:
    """The names of the modules with attention heads: with a number of heads, and a projection or weights for the queries."""
    found = []
    for name, module in model.network.named_modules():
        parts = [*(part for part, _ in module.named_children()), *(part for part, _ in module.named_parameters(recurse=False))]
        heads = any(isinstance(getattr(module, word, None), int) for word in ("num_heads", "heads"))
        if heads and any(part.startswith(("q", "in_proj")) for part in parts):
            found.append(name)
    return tuple(found)


def of_whole_pictures(model: LoadedModel) -> tuple[str, ...]:
    """Those of the modules with attention heads that answer for every place of the picture at once; windows are stacked into the batch."""
    places = {layer.name for layer in model.spatial_layers()}
    return tuple(name for name in attending(model) if name in places or isinstance(model.module(name), torch.nn.MultiheadAttention))


def why_no_attention(model: LoadedModel) -> str | None:
    """Why there is no map of what this model attends to, and what to take instead; None when there may be one."""
    if not attending(model):
        return "it has no layers with attention heads. Grad-CAM and LayerCAM work without."
    if not of_whole_pictures(model):
        return "its attention looks within windows, at pooled places or between channels, never over the whole picture. Grad-CAM works without."
    return None


def has_class_token(model: LoadedModel) -> bool:
    """Whether the first of the tokens stands for the whole picture."""
    return any(getattr(model.network, name, None) is not None for name in CLASS_TOKENS)


def attention_of(model: LoadedModel, pixels: torch.Tensor) -> tuple[list[Attention], int, torch.Tensor]:
    """What the layers attend to in one picture `[1, C, H, W]`, those that look over all places of it, in the order of execution; how
    many there are in all; and the logits `[1, K]`. Raises IncompatibleModel when there is none."""
    caught: dict[str, list[torch.Tensor]] = {}
    fresh: list[torch.Tensor] = []

    def see(name: str, _output) -> None:  # called for the innermost module first, which is the one that attends
        if fresh:
            caught[name] = caught.get(name, []) + [weights for weights in fresh if weights.ndim == 4]
            fresh.clear()

    with torch.no_grad(), watching(model, attending(model), see), _listening(fresh):
        logits = model.logits(pixels)
    read = [_located(model, name, weights[0]) for name, weights in caught.items() if len(weights) == 1]
    found = [attention for attention in read if attention]
    if not found:
        raise IncompatibleModel(f"No attention layer of {model.title} looks over all places of the picture at once. Choose Grad-CAM.")
    return found, len(caught), logits


def _listening(heard: list[torch.Tensor]):
    """A context in which the weights of every attention that this thread computes are added to `heard`."""
    functional = torch.nn.functional
    softmaxes = (torch.softmax, torch.Tensor.softmax, functional.softmax)

    class Listening(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if function is functional.multi_head_attention_forward:  # torch's own module, which hands the weights over when asked
                output, weights = function(*args, **(kwargs | {"need_weights": True, "average_attn_weights": False}))
                heard.append(weights)
                return output, weights if kwargs.get("need_weights", True) else None
            result = function(*args, **kwargs)
            if function is functional.scaled_dot_product_attention:
                heard.append(attention_weights(*args, **kwargs))
            elif function in softmaxes:
                heard.append(result)
            return result

    return Listening()


def attention_weights(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False) -> torch.Tensor:
    """softmax(query @ key^T * scale + mask), `[..., queries, keys]`, from the arguments of torch's fused step."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    logits = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones_like(logits, dtype=torch.bool).tril()
    if attn_mask is not None:
        logits = logits.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
    return logits.softmax(-1)


def _located(model: LoadedModel, name: str, weights: torch.Tensor) -> Attention | None:
    """Where the keys of weights `[1, heads, queries, keys]` lie in the picture; None when they are not all of its places."""
    if weights.ndim != 4 or len(weights) != 1 or weights.shape[2] not in (1, weights.shape[3]):
        return None
    own = next((layer for layer in model.layers if layer.name == name and layer.kind != "vector"), None)
    fits = [layer for layer in model.spatial_layers() if layer.local and layer.prefix_tokens + math.prod(layer.grid) == weights.shape[3]]
    if not fits or (own and own not in fits):
        return None
    prefix, grid = Counter((layer.prefix_tokens, layer.grid) for layer in fits).most_common(1)[0][0]  # of one layer it may be read wrongly
    return Attention(name, weights[0], prefix, grid)
