"""What the network is made of: every layer with its type, its output for your picture, and its share of all that has been
learned; and what the network says about itself, each with the reason why we believe it.

The summary of a model in Keras (Chollet et al. 2015, model.summary), there made from the layers as they were declared. Here
one forward pass is watched, so layers come in the order in which they finish, and modules that are called inside others
are told apart. Parameters are counted where they are held: a module's own, without those of the modules inside it, so
that the column adds up to the total. Multiply-adds are those of convolutions and linear layers; products inside attention,
normalisations and activations are not counted.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

from techniques.base import Help, LoadedModel, Run, Sample, Table, technique, torch
from techniques.base.hooks import watching

ITSELF = "(the network itself)"  # parameters held by no module inside it, such as a class token
COLUMNS = ("layer", "type", "output shape", "parameters", "share of all in %", "trainable", "multiply-adds")


class Answer(NamedTuple):
    layers: Table
    totals: Table
    facts: Table


class Row(NamedTuple):
    """One module: its name, its output's shape without the batch (None when it puts out no tensor or never ran), its multiply-adds."""

    name: str
    shape: tuple[int, ...] | None
    multiply_adds: int


@technique(
    title="Architecture",
    family="What is inside",
    paper="model.summary, Keras, Chollet et al. 2015",
    order=5,
    limits="Size is not importance: a layer with few parameters may decide, and one with many may be left unused. The count of "
    "multiply-adds leaves out attention's own products, and says little about time on a particular machine.",
)
def architecture(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    show: Annotated[
        Literal["all modules", "layers with weights", "places in the picture"],
        Help("Every module; those with parameters of their own; or those whose output has places in the picture, for heat maps."),
    ] = "all modules",
) -> Answer:
    """Tables of the modules in the order of execution, of totals, and of the model's facts; totals do not depend on `show`."""
    run.check()
    rows = watch(model, sample.pixels)
    with_places = {layer.name for layer in model.spatial_layers()}
    shown = {
        "all modules": rows,
        "layers with weights": [row for row in rows if _own(model, row.name)],
        "places in the picture": [row for row in rows if row.name in with_places],
    }[show] or rows
    total = sum(parameter.numel() for parameter in model.network.parameters())
    caption = f"{len(shown)} of {len(rows)} modules, in the order in which they finish; the batch axis is left out"
    return Answer(
        Table(COLUMNS, tuple(_line(model, row, total) for row in shown), caption=caption),
        Table(("total", "value", "unit"), _totals(model, rows), caption="The whole network"),
        Table(
            ("trait", "value", "how we know"),
            tuple((fact.name, fact.value, fact.reason) for fact in model.facts) or (("nothing", "", "This model was not looked at."),),
            caption="What the network says about itself",
        ),
    )


def watch(model: LoadedModel, pixels: torch.Tensor) -> list[Row]:
    """A row for each module of one forward pass, in the order in which they finish; then those with parameters that never ran."""
    modules = {name: module for name, module in model.network.named_modules() if name}
    shapes: dict[str, tuple[int, ...] | None] = {}
    work: dict[str, int] = {}

    def see(name: str, output) -> None:
        shapes.pop(name, None)  # the last use decides the place in the order
        shapes[name] = tuple(output.shape[1:]) if isinstance(output, torch.Tensor) else None
        work[name] = work.get(name, 0) + multiply_adds(modules[name], output)

    with torch.no_grad(), watching(model, modules, see):
        model.logits(pixels)
    rows = [Row(name, shape, work[name]) for name, shape in shapes.items()]
    idle = [Row(name, None, 0) for name in modules if name not in shapes and _own(model, name)]
    return rows + idle + ([Row("", None, 0)] if _own(model, "") else [])


def multiply_adds(module: torch.nn.Module, output) -> int:
    """Multiplications (each with an addition) of a convolution or a linear layer for one picture; 0 for other modules."""
    if isinstance(module, torch.nn.Linear):
        return output.numel() * module.in_features
    if isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)):
        return output.numel() * module.in_channels // module.groups * math.prod(module.kernel_size)
    return 0


def _own(model: LoadedModel, name: str) -> dict[str, torch.Tensor]:
    """The parameters that a module holds itself, by their full names."""
    prefix = f"{name}." if name else ""
    return {prefix + own: parameter for own, parameter in model.module(name).named_parameters(recurse=False)}


def _line(model: LoadedModel, row: Row, total: int) -> tuple[str | int | float, ...]:
    own = _own(model, row.name)
    count = sum(parameter.numel() for parameter in own.values())
    free = sum(name in model.trainable for name in own)
    trainable = "–" if not own else "yes" if free == len(own) else "no" if not free else "partly"
    shape = " × ".join(map(str, row.shape)) if row.shape is not None else "–"
    return row.name or ITSELF, type(model.module(row.name)).__name__, shape, count, 100 * count / max(1, total), trainable, row.multiply_adds


def _totals(model: LoadedModel, rows: list[Row]) -> tuple[tuple[str, int | float, str], ...]:
    parameters, buffers = dict(model.network.named_parameters()), dict(model.network.named_buffers())
    return (
        ("modules", len(rows), "that ran or hold parameters"),
        ("layers", sum(1 for row in rows if _own(model, row.name)), "with parameters of their own"),
        ("parameters", sum(parameter.numel() for parameter in parameters.values()), "numbers"),
        ("trainable parameters", sum(parameter.numel() for name, parameter in parameters.items() if name in model.trainable), "numbers"),
        ("buffers", sum(buffer.numel() for buffer in buffers.values()), "numbers that no gradient changes, such as means of batch norms"),
        ("memory", model.bytes / 2**20, "MB for parameters and buffers"),
        ("multiply-adds", sum(row.multiply_adds for row in rows), "per picture, convolutions and linear layers"),
    )
