"""One pass through a network after which the ordinary gradient hands back relevance by the rules of `techniques.base.relevance_rules`.

A relevance R of an activation a is held as a gradient g = R / a, so a * g is the relevance at any place. Whatever is linear and
has no rule of its own (additions, means, reshaping, concatenation, a ReLU, a maximum) then hands back its share by the gradient
as it is. Where a rule says otherwise, an output is replaced by an equal one with another gradient:

- A linear layer, with a batch norm right after it as one, follows a rule; a batch norm elsewhere is a linear layer of its own.
  (To hand its relevance through untouched, as zennit does, lets it grow without bound where batch norms come before the ReLU:
  to 1e31 times the logit in a DenseNet with random weights.)
- An activation that bends (sigmoid, GELU, ...) hands all it receives to its input.
- A product hands all to the signal and nothing to the gate: Arras et al. 2017, arXiv:1706.07206, for the gates of an LSTM. Here a
  gate comes out of a sigmoid, a softmax or a statistic, or has fewer numbers than it multiplies. For attention and layer
  norms this makes the rules of Ali et al. 2022, arXiv:2202.07304. Two signals get one half each: Achtibat et al. 2024,
  arXiv:2402.05602.
- What a bias, a constant or a rule keeps flows to a number of its own (`keepers`), so nothing is lost on the way.

All this happens where torch's functions are called: additions, functional activations, and modules that are used several
times need no hooks and no table of architectures, and the network is not written to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_zoo.deferred import torch
from model_zoo.errors import IncompatibleModel
from techniques.base.calls import LINEAR, calling, depends, different_numbers, is_constant, tensors_in
from techniques.base.relevance_rules import Rule, Rules, factors, first_contributions, ratio, stabiliser

if TYPE_CHECKING:
    from techniques.base.run import Run

HANDLERS = {
    "linear": LINEAR,
    "bending": ("relu6", "hardtanh", "clamp", "gelu", "silu", "hardswish", "elu", "selu", "celu", "mish", "softplus", "tanh", "sigmoid",
                "hardsigmoid", "softsign", "logsigmoid", "pow", "square", "rms_norm", "normalize", "local_response_norm"),
    "addition": ("add", "radd", "iadd", "sub", "rsub", "isub"),
    "weighted_addition": ("addcmul",),
    "mean": ("mean", "sum", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"),
    "joining": ("cat", "concat", "stack"),
    "product": ("mul", "rmul", "imul", "multiply", "matmul", "rmatmul", "bmm", "einsum"),
    "quotient": ("div", "divide", "true_divide", "truediv", "itruediv"),
    "attention": ("scaled_dot_product_attention",),
    "attention_block": ("multi_head_attention_forward",),
    "layer_norm": ("layer_norm",),
    "group_norm": ("group_norm",),
}  # fmt: skip
HANDLER_OF = {name: handler for handler, names in HANDLERS.items() for name in names}
GATES = {"sigmoid", "hardsigmoid", "softmax", "exp", "sqrt", "rsqrt", "norm", "vector_norm", "var", "std", "reciprocal"}
MIXING = {"matmul", "rmatmul", "bmm", "einsum"}  # products in which sizes do not tell the gate
IN_PLACE = {"__iadd__", "__isub__", "__imul__", "__itruediv__"}
QUESTIONS = {"__get__", "size", "dim", "numel", "is_floating_point", "is_contiguous"}


@dataclass
class Layer:
    """A linear layer that was computed, and whose rule waits until it is clear whether a batch norm follows: it puts out
    `apply(input, weight) + bias`, the bias in a shape that can be added."""

    apply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    input: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None
    first: bool

    def normalised(self, scale: torch.Tensor, shift: torch.Tensor) -> Layer:
        """This layer with a batch norm merged into it, which multiplies by `scale` and adds `shift`, each of the bias's shape."""
        weight = self.weight * scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        return Layer(self.apply, self.input, weight, shift if self.bias is None else self.bias * scale + shift, self.first)


class Propagation:
    """The pass. `ends` are what the first linear layer receives for the images that its own rule needs; `keepers` is one number
    1 for each operation that keeps relevance, whose gradient is how much."""

    def __init__(self, rules: Rules, run: Run, ends: list[torch.Tensor | None]):
        self.rules, self.run, self.ends = rules, run, ends
        self.keepers: list[torch.Tensor] = []
        self.seen_first: torch.Tensor | None = None

    def mode(self) -> torch.overrides.TorchFunctionMode:
        """A context in which every torch function that this thread calls goes through `call`."""
        return calling(self.call)

    def call(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        name = function.__name__
        if name in QUESTIONS:
            answer = function(*args, **kwargs)
            if not isinstance(answer, torch.Tensor):
                return answer
        plain = name.strip("_")
        if plain == "batch_norm":
            return self.batch_norm(function, *args, **kwargs)
        overwritten = args[0] if args and (name in IN_PLACE or kwargs.get("inplace") or name.endswith("_") != name.endswith("__")) else None
        args, kwargs = self.current(args), self.current(kwargs)
        moving = [tensor for tensor in tensors_in((args, kwargs)) if tensor.requires_grad]
        if not moving:
            return function(*args, **kwargs)
        handler = HANDLER_OF.get(plain)
        answer = getattr(self, handler)(function, *args, **kwargs) if handler else function(*args, **kwargs)
        if plain in GATES or all(hasattr(tensor, "gate") for tensor in moving):
            for tensor in tensors_in(answer):
                tensor.gate = True
        if isinstance(overwritten, torch.Tensor) and isinstance(answer, torch.Tensor) and answer is not overwritten:
            overwritten.replaced_by = answer  # for those who go on with what they believe was overwritten
        return answer

    def current(self, value: Any) -> Any:
        """The same arguments with the output of each waiting layer replaced by an equal one that has its rule's gradient."""
        if isinstance(value, torch.Tensor):
            if hasattr(value, "layer") and not hasattr(value, "replaced_by"):
                value.replaced_by = self.by_rule(value.layer, value)
                del value.layer
                if hasattr(value, "gate"):
                    value.replaced_by.gate = True
            return self.current(value.replaced_by) if hasattr(value, "replaced_by") else value
        if isinstance(value, dict):
            return {key: self.current(item) for key, item in value.items()}
        return type(value)(self.current(item) for item in value) if type(value) in (list, tuple) else value

    def keep(self, output: torch.Tensor, handed_on: torch.Tensor) -> torch.Tensor:
        """`output`, bit by bit, with the gradient of `handed_on`; the relevance of what is between them is kept."""
        keeper = self.keeper(output)
        return (handed_on - handed_on.detach() * keeper) + output.detach() * keeper

    def keeper(self, like: torch.Tensor) -> torch.Tensor:
        self.keepers.append(torch.ones((), dtype=like.dtype, device=like.device, requires_grad=True))
        return self.keepers[-1]

    def linear(self, function, input, weight, bias=None, *rest, **options):
        self.run.check()
        weight, bias = weight.detach(), None if bias is None else bias.detach()  # some networks make them from the picture: gates
        if self.seen_first is None:
            self.seen_first = input
        with torch.no_grad():
            output = function(input, weight, bias, *rest, **options)
        if bias is not None and function.__name__ != "linear":
            bias = bias.view(-1, *[1] * (weight.ndim - 2))
        output.layer = Layer(lambda x, w: function(x, w, None, *rest, **options), input, weight, bias, input is self.seen_first)
        return output

    def batch_norm(self, function, input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
        layer = getattr(input, "layer", None)
        if layer is None or layer.weight.ndim == 2 and input.ndim > 2:  # none to be merged into; a dense layer has its channels last
            layer, input = None, self.current(input)
        if training or layer is None and not input.requires_grad:  # some networks normalise their weights so
            return function(self.current(input), running_mean, running_var, weight, bias, training, momentum, eps)
        with torch.no_grad():
            output = function(input, running_mean, running_var, weight, bias, False, momentum, eps)
            scale = (running_var + eps).rsqrt() * (1 if weight is None else weight)
            shift = (0 if bias is None else bias) - running_mean * scale
            scale, shift = (values.view(-1, *[1] * (input.ndim - 2)) for values in (scale, shift))
        if layer is None:
            return self.divided(self.rules.places if output[0, 0].numel() > 1 else self.rules.dense, output, input * scale, shift)
        output.layer = layer.normalised(scale, shift)
        return output

    def by_rule(self, layer: Layer, output: torch.Tensor) -> torch.Tensor:
        """The output of a linear layer with the gradient of its rule."""
        if layer.first and self.ends and self.ends[0] is not None:
            parts = first_contributions(self.rules.first, layer, self.ends)
            return self.keep(output, parts * ratio(output, parts.detach()))
        rule = self.rules.places if output[0].numel() > len(layer.weight) else self.rules.dense
        if rule == "epsilon":
            return self.divided(rule, output, layer.apply(layer.input, layer.weight), layer.bias)
        raising, lowering, above = layer.weight.clamp(min=0), layer.weight.clamp(max=0), layer.input.clamp(min=0)
        positive, negative = layer.apply(above, raising), layer.apply(above, lowering)
        if bool((layer.input < 0).any()):
            below = layer.input.clamp(max=0)
            positive, negative = positive + layer.apply(below, lowering), negative + layer.apply(below, raising)
        return self.weighted(rule, output, positive, negative, layer.bias)

    def divided(self, rule: Rule, output: torch.Tensor, whole: torch.Tensor, constant: torch.Tensor | None) -> torch.Tensor:
        """`output`, which is the sum of `whole` and a constant, by a rule."""
        if rule != "epsilon":
            return self.weighted(rule, output, whole.clamp(min=0), whole.clamp(max=0), constant)
        if self.rules.epsilon:
            whole = whole * stabiliser(output, self.rules.epsilon)
        return whole if constant is None and not self.rules.epsilon else self.keep(output, whole)

    def weighted(
        self, rule: Rule, output: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, constant: torch.Tensor | None
    ) -> torch.Tensor:
        """`output`, which is the sum of what is positive, what is negative, and a constant, by a rule that tells them apart."""
        above, below = positive.detach(), negative.detach()
        if constant is not None and self.rules.biases:
            above, below = above + constant.clamp(min=0), below + constant.clamp(max=0)
        of_positive, of_negative = factors(rule, output, above, below)
        return self.keep(output, positive * of_positive + negative * of_negative)

    def bending(self, function, input, *rest, **options):
        with torch.no_grad():
            output = function(input.clone(), *rest, **options)
        return self.keep(output, input * ratio(output, input.detach()))

    def addition(self, function, input, other, **options):
        if self.seen_first is None:  # the picture is being prepared: the mean that is taken off it counts with its pixels
            return function(input, other, **options)
        if self.rules.sums != "epsilon" and not options:
            return self.addition_by_rule(function, input, other)
        if depends(input) and is_constant(other):
            other = other * self.keeper(input)
        elif depends(other) and is_constant(input):
            input = input * self.keeper(other)
        return function(input, other, **options)

    def addition_by_rule(self, function, input, other):
        with torch.no_grad():
            output = function(input.clone() if isinstance(input, torch.Tensor) else input, other)
        kind = function.__name__.strip("_")
        parts = (-input if kind == "rsub" else input, -other if kind in ("sub", "isub") else other)
        moving, constants = [part for part in parts if depends(part)], [part for part in parts if not depends(part)]
        constant = torch.as_tensor(constants[0]).to(output) if constants else None
        above, below = sum(part.clamp(min=0) for part in moving), sum(part.clamp(max=0) for part in moving)
        return self.weighted(self.rules.sums, output, above, below, constant)

    def weighted_addition(self, function, input, tensor1, tensor2, *, value=1):
        return self.addition(torch.add, input, value * self.product(torch.mul, tensor1, tensor2))

    def mean(self, function, input, *rest, **options):
        if self.rules.sums == "epsilon":
            return function(input, *rest, **options)
        above, below = (function(part, *rest, **options) for part in (input.clamp(min=0), input.clamp(max=0)))
        return self.weighted(self.rules.sums, (above + below).detach(), above, below, None)

    def joining(self, function, tensors, *rest, **options):
        like = next(tensor for tensor in tensors if depends(tensor))
        return function([tensor if depends(tensor) or not is_constant(tensor) else tensor * self.keeper(like) for tensor in tensors], *rest, **options)

    def product(self, function, *args, **options):
        moving, mixing = [index for index, value in enumerate(args) if depends(value)], function.__name__.strip("_") in MIXING
        if mixing:
            self.refuse("a product of matrices")
        if len(moving) < 2:
            return function(*args, **options)
        gates = [index for index in moving if hasattr(args[index], "gate")]
        if len(gates) in (0, len(moving)) and not mixing:
            sizes = {index: different_numbers(args[index]) for index in moving}
            gates = [index for index in moving if sizes[index] < max(sizes.values())]
        if len(gates) in (0, len(moving)):
            self.refuse("a product of two signals")
            return function(*(0.5 * value + 0.5 * value.detach() if index in moving else value for index, value in enumerate(args)), **options)
        return function(*(value.detach() if index in gates else value for index, value in enumerate(args)), **options)

    def quotient(self, function, input, other, **options):
        return function(input, other.detach() if depends(input) and depends(other) else other, **options)

    def attention(self, function, query, key, value, *rest, **options):
        self.refuse("attention")
        options = {name: option.detach() if depends(option) else option for name, option in options.items()}
        return function(query.detach(), key.detach(), value, *(item.detach() if depends(item) else item for item in rest), **options)

    def attention_block(self, function, query, key, value, width, heads, into, into_bias, *rest, **options):
        """torch's own attention, whose projections are inside: they divide in proportion, and their biases keep their part."""
        self.refuse("attention")
        query, key = query.detach(), key.detach()
        with torch.no_grad():
            output = function(query, key, value, width, heads, into, into_bias, *rest, **options)[0]
            of_biases = function(query, key, torch.zeros_like(value), width, heads, into, into_bias, *rest, **options)[0]
        handed_on, weights = function(query, key, value, width, heads, into, into_bias, *rest, **options)
        return self.keep(output, handed_on - of_biases), weights

    def layer_norm(self, function, input, normalized_shape, weight=None, bias=None, eps=1e-5):
        self.refuse("layer normalisation")
        axes = tuple(range(-len(normalized_shape), 0))
        centred = input - input.mean(axes, keepdim=True)
        scaled = centred * (centred.detach().square().mean(axes, keepdim=True) + eps).rsqrt()
        with torch.no_grad():
            output = function(input, normalized_shape, weight, bias, eps)
        return self.keep(output, scaled if weight is None else scaled * weight)

    def group_norm(self, function, input, num_groups, weight=None, bias=None, eps=1e-5):
        groups = input.reshape(len(input), num_groups, -1)
        scaled = self.layer_norm(torch.nn.functional.layer_norm, groups, groups.shape[-1:], eps=eps).view_as(input)
        scaled = scaled if weight is None else scaled * weight.view(-1, *[1] * (input.ndim - 2))
        return scaled if bias is None else self.addition(torch.add, scaled, bias.view(-1, *[1] * (input.ndim - 2)))

    def refuse(self, operation: str) -> None:
        """Raise IncompatibleModel where relevance must keep its sign, as it does not in this operation."""
        if self.rules.one_sign:
            raise IncompatibleModel(
                f"The network has {operation}, in which relevance may change its sign, and this method is made for networks in which it cannot. "
                "Layer-wise relevance propagation works here."
            )
