"""How the difference of an answer to that for a baseline is handed back to the pixels, call by call.

DeepLIFT's rescale rule: Shrikumar, Greenside and Kundaje 2017, arXiv:1704.02685, section 3.5.2. Where y = f(x) is one number
from one, its multiplier is (y - y0) / (x - x0), 0 marking the baseline; the derivative where the two are the same. What is
linear keeps its gradient. Max pooling is as in the SHAP library's deep explainer: what the largest input has risen above
the baseline's goes to its place, what the baseline's has fallen to that one's.

Departure, for what the paper has no rule for. A product of two things that both depend on the picture (gates, attention)
shares its difference evenly: a b - a0 b0 = (a - a0)(b + b0)/2 + (b - b0)(a + a0)/2, Shapley's value for two players.
Division, normalisation and softmax are taken apart into steps with one of these rules. All of them hand on the whole
difference, so the pixels' shares add up; a call without a rule keeps its gradient, and they do not.

The network runs on the baseline first, and every call's arguments are kept; then on the picture, each call meeting the
same call of the first run. Calls are seen wherever they stand (`techniques.base.calls`), so modules may be used twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from model_zoo.deferred import torch
from model_zoo.errors import IncompatibleModel
from techniques.base.calls import depends, in_its_place, intercepting
from techniques.base.hooks import gradient_at

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.run import Run

ONE_BY_ONE = set(
    "relu relu6 hardtanh clamp clamp_min clamp_max clip threshold leaky_relu prelu elu selu celu silu mish gelu hardswish hardsigmoid sigmoid "
    "logsigmoid softplus softsign tanh exp expm1 log log1p sqrt rsqrt square pow abs reciprocal rdiv erf sin cos".split()
)
PRODUCTS = {"mul", "multiply", "matmul", "bmm", "einsum"}
QUOTIENTS = {"div", "divide", "true_divide"}
POOLS = {f"{kind}max_pool{axes}d": axes for kind in ("", "adaptive_") for axes in (1, 2, 3)}
SAME = 1e-4  # inputs that differ by less than this share of the larger have the derivative between them: their quotient would be rounding
FAR = 1e9  # stands for the infinity that masks a place in attention


class Shares(NamedTuple):
    """Multipliers `[1, C, H, W]` in logits per unit of intensity for the class `target`, and the logits `[K]` of picture and baseline."""

    multipliers: torch.Tensor
    logits: torch.Tensor
    of_baseline: torch.Tensor
    target: int


def multipliers(model: LoadedModel, pixels: torch.Tensor, baseline: torch.Tensor, target: int | None, run: Run) -> Shares:
    """The rescale rule for one picture and one baseline; the predicted class is the target where it is None.

    Raises IncompatibleModel where the network does not make the same calls for both.
    """
    kept: list[tuple[str, list[torch.Tensor]]] = []

    def keep(name, function, arguments, again):
        rule = _rule_for(name, arguments)
        if rule in IN_STEPS.values():
            return again(rule, *arguments, **_named(function))
        if rule:
            kept.append((name, [value.detach().clone() for value in arguments if depends(value)]))
        return function(*arguments)

    def meet(name, function, arguments, again):
        rule = _rule_for(name, arguments)
        if rule in IN_STEPS.values():
            return again(rule, *arguments, **_named(function))
        if not rule:
            return function(*arguments)
        other, before = kept.pop(0) if kept else ("", [])
        if other != name or [value.shape for value in before] != [value.shape for value in arguments if depends(value)]:
            raise IncompatibleModel("This network takes other steps for the baseline than for the picture. Integrated gradients can work with that.")
        return rule(name, function, arguments, before)

    with torch.enable_grad():
        with torch.autograd.graph.saved_tensors_hooks(lambda _: None, lambda _: None), intercepting(keep):  # nothing goes back here
            of_baseline = model.logits(baseline.detach().clone().requires_grad_(True)).detach()
        run.check()
        leaf = pixels.detach().clone().requires_grad_(True)
        with intercepting(meet):
            logits = model.logits(leaf)
    target = int(model.predicted(logits[0])) if target is None else target
    return Shares(gradient_at(logits[0, target], leaf), logits[0].detach(), of_baseline[0], target)


def _rule_for(name: str, arguments: tuple):
    """The rule for a call that is not linear in what depends on the picture, or None."""
    count = sum(map(depends, arguments))
    if name in PRODUCTS:
        return _product if count == 2 else None
    if name in QUOTIENTS:
        return _quotient if depends(arguments[1]) else None
    if not (arguments and depends(arguments[0])):
        return None
    return _one_by_one if name in ONE_BY_ONE else _max_pool if name in POOLS else _softmax if name == "softmax" else IN_STEPS.get(name)


def _named(function) -> dict:
    return getattr(function, "keywords", {})


def _leaning(tensor: torch.Tensor) -> torch.Tensor:
    """Zero in value, but with the tensor's gradient: a rule is y plus something linear in this."""
    return tensor - tensor.detach()


def _one_by_one(name, function, arguments, before):
    given, output, in_place = in_its_place(function, arguments)
    difference = given.detach() - before[0]
    with torch.no_grad():
        slope = (output - function(before[0], *arguments[1:])) / difference
        middle = (given + before[0]) / 2
        close = difference.abs() <= SAME * torch.maximum(given.abs(), before[0].abs())  # never on two sides of zero
    if close.any():
        leaf = middle.requires_grad_(True)
        (derivative,) = torch.autograd.grad(function(leaf.clone(), *arguments[1:]).sum(), leaf)
        slope = torch.where(close, derivative, slope)
    return in_place(output.detach() + _leaning(given) * slope)


def _product(name, function, arguments, before):
    first, second = (position for position, value in enumerate(arguments) if depends(value))
    value, output, in_place = in_its_place(function, arguments) if first == 0 else (arguments[first], function(*arguments), lambda other: other)

    def with_these(one, two):
        changed = list(arguments)
        changed[first], changed[second] = one, two
        return function(*changed)

    other = value if arguments[second] is arguments[first] else arguments[second]
    means = (value.detach() + before[0]) / 2, (other.detach() + before[1]) / 2
    return in_place(output.detach() + with_these(_leaning(value), means[1]) + with_these(means[0].clone(), _leaning(other)))


def _quotient(name, function, arguments, before):
    value, output, in_place = in_its_place(function, arguments)
    below, below_before = arguments[1], before[-1]
    start = before[0] if depends(value) else value
    inverse = (1 / below.detach() + 1 / below_before) / 2
    shared = (value.detach() + start) / 2 / (below.detach() * below_before)
    return in_place(output.detach() + _leaning(value) * inverse - _leaning(below) * shared)


def _max_pool(name, function, arguments, before):
    axes, given = POOLS[name], arguments[0]

    def pooled(values):
        pool = getattr(torch.nn.functional, name)
        return pool(values, *arguments[1:], **_named(function) | {"return_indices": True})

    def at(values, places):
        return values.flatten(-axes).gather(-1, places.flatten(-axes)).view_as(places)

    with torch.no_grad():
        (output, places), (start, places_before) = pooled(given), pooled(before[0])
        difference, most = given - before[0], torch.maximum(output, start)
        moved, moved_before = at(difference, places), at(difference, places_before)
        risen = torch.where(moved == 0, 1, (most - start) / moved)
        fallen = torch.where(moved_before == 0, 0, (output - most) / moved_before)
    leaning = _leaning(given)
    return output + at(leaning, places) * risen + at(leaning, places_before) * fallen


def _softmax(name, function, arguments, before):
    """y = exp(z) one by one, z = x - log sum exp(x). As the answers sum to one, the multipliers L of exp say how x changes the
    second: by the mean of x with weights L. At equal inputs this is the derivative."""
    given, output = arguments[0], function(*arguments).detach()
    axis = _named(function).get("dim", arguments[1] if len(arguments) > 1 else -1)
    with torch.no_grad():
        logs = given.log_softmax(axis)
        difference = logs - before[0].log_softmax(axis)
        start = function(before[0], *arguments[1:])
        slope = torch.where(difference.abs() < SAME, (output + start) / 2, (output - start) / difference)
        weights = slope / slope.sum(axis, keepdim=True)
    leaning = _leaning(given)
    return output + slope * (leaning - (weights * leaning).sum(axis, keepdim=True))


def _standardised(values, axes, eps):
    centred = values - values.mean(axes, keepdim=True)
    return centred * ((centred * centred).mean(axes, keepdim=True) + eps).rsqrt()


def _affine(values, weight, bias):
    values = values if weight is None else values * weight
    return values if bias is None else values + bias


def _layer_norm(values, normalized_shape, weight=None, bias=None, eps=1e-5):
    return _affine(_standardised(values, tuple(range(-len(normalized_shape), 0)), eps), weight, bias)


def _group_norm(values, num_groups, weight=None, bias=None, eps=1e-5):
    grouped = _standardised(values.reshape(len(values), num_groups, -1), (2,), eps).reshape(values.shape)
    shape = (1, -1, *[1] * (values.ndim - 2))
    return _affine(grouped, *(None if each is None else each.view(shape) for each in (weight, bias)))


def _normalize(values, p=2.0, dim=1, eps=1e-12, out=None):
    return values / (values * values).sum(dim, keepdim=True).sqrt().clamp_min(eps)


def _attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    weights = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    if attn_mask is not None:
        masked = attn_mask.dtype == torch.bool
        weights = weights.masked_fill(~attn_mask, -FAR) if masked else weights + attn_mask.clamp_min(-FAR)
    return weights.softmax(-1) @ value


IN_STEPS = {"layer_norm": _layer_norm, "group_norm": _group_norm, "normalize": _normalize, "scaled_dot_product_attention": _attention}
