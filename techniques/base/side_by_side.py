"""Two answers of one technique, to two pictures, as one answer: before, after, and for every heat map the difference.

Nothing is lost on the way: what cannot be laid over each other stands side by side. The difference is always the value
after less the value before; its colours mean the same as those of the maps beside it, since all share one scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial, singledispatch
from typing import Any

import numpy as np

from techniques.base.results import Array, Browser, Curve, Gallery, Heatmap, Histogram, Note, Picture, Predictions, Result, Table
from techniques.base.stack import Stack

BEFORE, AFTER, DIFFERENCE = "before", "after", "difference"
SIDES = (BEFORE, AFTER)


@dataclass(frozen=True, eq=False)
class Pair:
    """The two pictures: where they come from, and their pixels `[C, H, W]`, which their heat maps are drawn over."""

    origins: tuple[str, str]
    pixels: tuple[Array, Array]


@singledispatch
def side_by_side(before: Result, after: Result, pair: Pair) -> Result:
    """Both results as one; a Browser with the axis "picture" where the kind knows nothing better."""
    return _by_picture(before, after)


def _by_picture(before: Result, after: Result) -> Browser:
    return Browser(("picture",), {BEFORE: before, AFTER: after}, caption=before.caption)


@side_by_side.register
def _(before: Heatmap, after: Heatmap, pair: Pair) -> Gallery:
    items = _maps(before, after, pair)
    return Gallery(items, (BEFORE, AFTER, DIFFERENCE)[: len(items)], reach=reach(items), caption=_told(before, after))


def _maps(before: Heatmap, after: Heatmap, pair: Pair) -> tuple[Heatmap, ...]:
    """Both maps over their pictures and, where they are equally large, their difference over none: it is of both."""
    maps = tuple(
        one if one.below is not None or one.values.shape != pixels.shape[1:] else replace(one, below=pixels)
        for one, pixels in zip((before, after), pair.pixels)
    )
    if before.values.shape != after.values.shape:
        return maps
    caption = f"After less before: {after.caption}"
    return *maps, Heatmap(after.values - before.values, signed=True, unit=after.unit, caption=caption)


def reach(items: tuple[Heatmap | Picture, ...]) -> float:
    """The largest absolute value of all heat maps."""
    return max((float(np.abs(item.values).max(initial=0)) for item in items if isinstance(item, Heatmap)), default=0.0)


@side_by_side.register
def _(before: Picture, after: Picture, pair: Pair) -> Gallery:
    return Gallery((before, after), SIDES, caption=_told(before, after))


@side_by_side.register
def _(before: Gallery, after: Gallery, pair: Pair) -> Gallery | Browser:
    if before.names != after.names or [*map(type, before.items)] != [*map(type, after.items)]:
        return _by_picture(before, after)
    items: list[Heatmap | Picture] = []
    names: list[str] = []
    for first, second, name in zip(before.items, after.items, before.names):
        fresh = side_by_side(first, second, pair)
        items += fresh.items
        names += [f"{name}: {_numbered(side)}" for side in fresh.names]
    return Gallery(tuple(items), tuple(names), reach=reach(tuple(items)), caption=_told(before, after))


@side_by_side.register
def _(before: Predictions, after: Predictions, pair: Pair) -> Predictions:
    alone = len(before.logits) == len(after.logits) == 1
    names = SIDES if alone else tuple(f"{name}: {_numbered(side)}" for side, one in zip(SIDES, (before, after)) for name in one.names)
    return replace(before, logits=np.concatenate([before.logits, after.logits]), names=names)


def _numbered(side: str) -> str:
    """A side in other words, beside names that may be “before” and “after” themselves: some techniques change the picture."""
    return {BEFORE: "picture 1", AFTER: "picture 2"}.get(side, side)


@side_by_side.register
def _(before: Table, after: Table, pair: Pair) -> Table | Browser:
    if before.columns != after.columns:
        return _by_picture(before, after)
    rows = tuple((side, *row) for side, table in zip(SIDES, (before, after)) for row in table.rows)
    return replace(before, columns=("picture", *before.columns), rows=rows)


@side_by_side.register
def _(before: Curve, after: Curve, pair: Pair) -> Curve | Browser:
    if not np.array_equal(before.x, after.x):
        return _by_picture(before, after)
    return replace(before, lines=_both(before.lines, after.lines))


@side_by_side.register
def _(before: Histogram, after: Histogram, pair: Pair) -> Histogram | Browser:
    if not np.array_equal(before.edges, after.edges):
        return _by_picture(before, after)
    return replace(before, counts=_both(before.counts, after.counts))


def _both(before: Mapping[str, Array], after: Mapping[str, Array]) -> dict[str, Array]:
    return {f"{name}: {side}" if name else side: values for side, lines in zip(SIDES, (before, after)) for name, values in lines.items()}


@side_by_side.register
def _(before: Note, after: Note, pair: Pair) -> Note:
    told = (f"{side.capitalize()}, {origin}: {note.text}" for side, origin, note in zip(SIDES, pair.origins, (before, after)))
    return replace(before, text="\n".join(told))


@side_by_side.register
def _(before: Browser, after: Browser, pair: Pair) -> Browser:
    return replace(before, cells=_cells(before.cells, after.cells, len(before.axes), pair))


def _cells(before: Mapping[str, Any], after: Mapping[str, Any], depth: int, pair: Pair) -> Mapping[str, Any]:
    """The positions that both have, in the order of the first. A cell that is a browser itself gives its cells to the axis."""
    names = [name for name in before if name in after]
    if depth > 1:
        return {name: _cells(before[name], after[name], depth - 1, pair) for name in names}
    if isinstance(before, Stack) and isinstance(after, Stack) and names:
        if not isinstance(side_by_side(before[names[0]], after[names[0]], pair), Browser):
            return _stack(before, after, names, pair)
    cells: dict[str, Result] = {}
    for name in names:
        cell = side_by_side(before[name], after[name], pair)
        cells |= {f"{name}, {side}": part for side, part in cell.cells.items()} if isinstance(cell, Browser) else {name: cell}
    return cells


def _stack(before: Stack, after: Stack, names: list[str], pair: Pair) -> Stack:
    """The cells of both that have these names, still held as a few arrays, the second ones in the order of the first."""
    stacked = {}
    for side, stack in zip(SIDES, (before, after)):
        places = [stack.names.index(name) for name in names]
        stacked |= {f"{side}/{key}": array[places] for key, array in stack.stacked.items()}
    return Stack(tuple(names), stacked, partial(_cell, before.make, after.make, pair))


def _cell(before, after, pair: Pair, name: str, entry: Mapping[str, Any]) -> Result:
    first, second = ({key.partition("/")[2]: value for key, value in entry.items() if key.startswith(f"{side}/")} for side in SIDES)
    return side_by_side(before(name, first), after(name, second), pair)


def _told(before: Result, after: Result) -> str:
    """One caption where both are the same, else both."""
    return before.caption if before.caption == after.caption else f"{before.caption}. After: {after.caption}"
