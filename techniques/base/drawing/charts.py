"""Predictions, curves, histograms and scatters as self-contained SVG that takes its colours from the page around it."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

import numpy as np

from techniques.base.drawing.svg import (
    BOLD, WIDTH, apart, bar, colour, fit, hover, line, names_line, nice_ticks, number, percent, svg, text, text_width,
)  # fmt: skip
from techniques.base.results import Curve, Histogram, Predictions, Scatter

PLOT_HEIGHT = 190
HOVER_POINTS = 1500  # values that can be read; more make the chart heavier than the picture is worth
COLOURS = 10  # groups of a scatter that have a colour and a name in it
QUIET = "fill-opacity:.62;font-size:11px"


def predictions_chart(predictions: Predictions, count: int = 5) -> str:
    """Probabilities as horizontal bars: the top classes of one picture, or of several the top of their union.

    A bar of the full width is a probability of 1. Several pictures have one bar each per class, in the colour
    of their name.
    """
    probabilities = predictions.probabilities
    pictures = len(probabilities)
    classes = np.argsort(-probabilities[:, : predictions.named].max(0), kind="stable")[:count]
    names = [predictions.names[row] if row < len(predictions.names) else f"picture {row + 1}" for row in range(pictures)]
    body, y = [], 14.0
    if pictures > 1:
        head, y = names_line(names, y)
        body.append(head)
        y += 5
    thick, full = (7, WIDTH) if pictures == 1 else (9, WIDTH - 54)
    for index in classes:
        label = predictions.labels[index]
        body.append(text(0, y, fit(label, WIDTH - 60)))
        y += 6
        for row in range(pictures):
            probability = float(probabilities[row, index])
            said = f"{names[row] + ': ' if names[row] else ''}{label} {percent(probability)}"
            body.append(f'<rect x="0" y="{y:.1f}" width="{full}" height="{thick}" style="fill-opacity:.07"/>')
            body.append(bar(0, y, full * probability, thick, colour(row), said))
            body.append(text(WIDTH, y - 6 if pictures == 1 else y + 8, percent(probability), "end", "" if pictures == 1 else "font-size:11px"))
            y += thick + 4
        y += 19
    return svg(y - 16, body, predictions.caption or "Class probabilities")


def curve_chart(curve: Curve) -> str:
    """Lines over one axis, each named at its end; named ticks take the place of numbers where the curve has them."""
    lines = {name: np.asarray(values, dtype=np.float64) for name, values in curve.lines.items()}
    x = np.asarray(curve.x, dtype=np.float64)
    if not lines or not len(x):
        return _empty(curve.caption)
    low, high = min(v.min() for v in lines.values()), max(v.max() for v in lines.values())
    if 0 < low < 0.4 * high:
        low = 0.0
    ticks = nice_ticks(low, high)
    direct = len(lines) > 1
    right = WIDTH - (min(128, 8 + BOLD * max(text_width(name) for name in lines)) if direct else 6)
    grid, left, top, to_y = _vertical_axis(ticks, curve.y_label, right)
    to_x = _linear(x.min(), x.max(), left, right)
    body = [grid, _horizontal_axis(curve, x, to_x, top, left, right)]
    for index, values in enumerate(lines.values()):
        points = "L".join(f"{to_x(a):.1f} {to_y(b):.1f}" for a, b in zip(x, values))
        style = f"fill:none;stroke:{colour(index)};stroke-width:2;stroke-linejoin:round;stroke-linecap:round"
        body.append(f'<path class="line" d="M{points}" style="{style}"/>')
        if len(x) == 1:
            body.append(f'<circle cx="{to_x(x[0]):.1f}" cy="{to_y(values[0]):.1f}" r="3" style="fill:{colour(index)}"/>')
    if direct:
        places = apart([to_y(values[-1]) for values in lines.values()], 14, top, top + PLOT_HEIGHT)
        for index, (name, y) in enumerate(zip(lines, places)):
            body.append(text(right + 6, y + 4, fit(name, (WIDTH - right - 6) / BOLD), style=f"font-weight:600;fill:{colour(index)}"))
    if len(x) * len(lines) <= HOVER_POINTS:
        body.extend(_readings(curve, lines, x, to_x, top, left, right))
    return svg(top + PLOT_HEIGHT + (36 if curve.x_label else 22), body, curve.caption or f"{curve.y_label} over {curve.x_label}")


def histogram_chart(histogram: Histogram) -> str:
    """Counts as filled steps, groups over one another; with `log` every tenfold count is one step up."""
    edges = np.asarray(histogram.edges, dtype=np.float64)
    counts = {name: np.asarray(values, dtype=np.float64) for name, values in histogram.counts.items()}
    most = max((values.max(initial=0) for values in counts.values()), default=0)
    if not most:
        return _empty(histogram.caption)
    body, start = [], 0.0
    if len(counts) > 1:
        head, start = names_line(list(counts), 12.0)
        body.append(head)
        start -= 10
    ticks = _powers(most) if histogram.log else nice_ticks(0, most)
    grid, left, top, to_y = _vertical_axis(ticks, "count" + (", logarithmic" if histogram.log else ""), WIDTH - 6, histogram.log, start)
    to_x = _linear(edges[0], edges[-1], left, WIDTH - 6)
    body += [grid, _horizontal_axis(histogram, edges, to_x, top, left, WIDTH - 6)]
    bottom = top + PLOT_HEIGHT
    for index, values in enumerate(counts.values()):
        corners = [f"{to_x(edge):.1f} {to_y(values[i]):.1f}" for i in range(len(values)) for edge in (edges[i], edges[i + 1])]
        area = f"M{to_x(edges[0]):.1f} {bottom}L{'L'.join(corners)}L{to_x(edges[-1]):.1f} {bottom}Z"
        filled = 0.85 if len(counts) == 1 else 0.3
        edge_line = "" if len(counts) == 1 else f";stroke:{colour(index)};stroke-width:1.2;stroke-linejoin:round"
        body.append(f'<path class="steps" d="{area}" style="fill:{colour(index)};fill-opacity:{filled}{edge_line}"/>')
    if len(edges) <= HOVER_POINTS:
        for i in range(len(edges) - 1):
            said = "\n".join(f"{name + ': ' if name else ''}{number(values[i])}" for name, values in counts.items())
            width = to_x(edges[i + 1]) - to_x(edges[i])
            body.append(hover(to_x(edges[i]), top, width, PLOT_HEIGHT, f"{number(edges[i])} to {number(edges[i + 1])}\n{said}"))
    return svg(bottom + (36 if histogram.x_label else 22), body, histogram.caption or f"Histogram of {histogram.x_label}")


def scatter_chart(scatter: Scatter) -> str:
    """Points at one scale for both axes, coloured by group, each group named at the middle of its points."""
    points, groups = np.asarray(scatter.points, dtype=np.float64), np.asarray(scatter.groups).astype(int)
    if not len(points):
        return _empty(scatter.caption)
    path = np.asarray(scatter.path, dtype=np.float64) if scatter.path is not None else points[:0]
    everything = np.concatenate([points, path])
    low, high = everything.min(0), everything.max(0)
    unit = (WIDTH - 24) / max(float(high[0] - low[0]), 1e-12)
    unit = min(unit, 300 / max(float(high[1] - low[1]), 1e-12))
    height = max(120.0, (high[1] - low[1]) * unit + 24)
    middle = (low + high) / 2
    places, way = ((each - middle) * (unit, -unit) + (WIDTH / 2, height / 2) for each in (points, path))
    body = [line(x, 0, x, height, 0.09) for x in np.arange(WIDTH / 2 % 56, WIDTH, 56)]
    body += [line(0, y, WIDTH, y, 0.09) for y in np.arange(height / 2 % 56, height, 56)]
    radius = 4 if len(points) < 150 else 2.6 if len(points) < 800 else 1.8
    for index, (x, y) in enumerate(places):
        style = f"fill:{group_colour(groups[index])};fill-opacity:.75"
        said = _title(scatter, index, groups[index])
        body.append(f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="{radius}" style="{style}"><title>{said}</title></circle>')
    if len(way):
        body.append(_path(scatter, way))
    shown = [group for group in range(min(COLOURS, len(scatter.group_names))) if (groups == group).any()]
    centres = {group: np.median(places[groups == group], axis=0) for group in shown}
    heights = apart([centres[group][1] for group in shown], 13, 8, height - 8) if len(shown) > 1 else [centres[g][1] for g in shown]
    halo = "font-weight:700;paint-order:stroke;stroke:var(--loupe-background,transparent);stroke-width:3px;stroke-linejoin:round"
    for group, y in zip(shown, heights):
        name = fit(scatter.group_names[group], 150)
        half = text_width(name) / 2
        body.append(text(min(max(centres[group][0], half), WIDTH - half), y + 4, name, "middle", halo))
    return svg(height, body, scatter.caption or "Points by group")


def group_colour(group: int) -> str:
    """CSS colour of a group: the first ones have one each, the rest are grey."""
    return colour(group) if group < COLOURS else "color-mix(in srgb,currentColor 45%,transparent)"


def _path(scatter: Scatter, way: np.ndarray) -> str:
    """The way through the map, a dot at each step and a ring at its end."""
    halo, ink = "fill:none;stroke:var(--loupe-background,transparent);stroke-width:4", "fill:none;stroke:currentColor;stroke-width:1.6;stroke-linejoin:round"
    drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in way)
    parts = [f'<path d="M{drawn}" style="{style}"/>' for style in (halo, ink)]
    for index, (x, y) in enumerate(way):
        said = escape(scatter.path_names[index] if index < len(scatter.path_names) else f"step {index}")
        last = index == len(way) - 1
        style = "fill:var(--loupe-background,transparent);stroke:currentColor;stroke-width:2" if last else "fill:currentColor"
        parts.append(f'<circle class="step" cx="{x:.1f}" cy="{y:.1f}" r="{4.5 if last else 2}" style="{style}"><title>{said}</title></circle>')
    return "".join(parts)


def _title(scatter: Scatter, index: int, group: int) -> str:
    """The name of a point and of its group, as far as they are known, or what is noted of it."""
    names = (*scatter.names[index : index + 1], *(scatter.notes[index : index + 1] or scatter.group_names[group : group + 1]))
    return escape(", ".join(name for name in names if name))


def _linear(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """The straight line that takes `low` to `start` and `high` to `end`; everything to the middle without extent."""
    if not high > low:
        return lambda value: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _powers(most: float) -> list[float]:
    """1, 10, 100 ... as far as the first power that is not below `most`."""
    return [10.0**power for power in range(max(1, math.ceil(math.log10(most))) + 1)]


def _vertical_axis(ticks, label: str, right: float, log: bool = False, start: float = 0.0):
    """Grid lines, tick numbers and the axis title above them: (SVG, left edge, top edge, value -> y).

    On a logarithmic axis a count of 1 stands a little above the base line, so that it differs from none.
    """
    top = start + (30 if label else 12)
    bottom = top + PLOT_HEIGHT
    if log:
        place = _linear(math.log10(0.5), math.log10(ticks[-1]), bottom, top)

        def to_y(value: float) -> float:
            return place(math.log10(max(value, 0.5)))
    else:
        to_y = _linear(ticks[0], ticks[-1], bottom, top)
    left = max(text_width(number(tick), 11) for tick in ticks) + 10
    parts = [text(0, start + 12, f"↑ {label}", style=QUIET)] if label else []
    for tick in ticks:
        y = to_y(tick)
        parts += [line(left, y, right, y, 0.45 if tick == 0 else 0.12), text(left - 7, y + 4, number(tick), "end", QUIET)]
    if log:
        parts.append(line(left, bottom, right, bottom, 0.45))
    return "".join(parts), left, top, to_y


def _horizontal_axis(result: Curve | Histogram, x: np.ndarray, to_x: Callable, top: float, left: float, right: float) -> str:
    """Ticks below the plot, as many of them labelled as there is room for, and the axis title at the right end."""
    bottom = top + PLOT_HEIGHT
    names = getattr(result, "ticks", ())
    if names:
        marks = list(zip(x, names))
    else:
        inside = [(tick, number(tick)) for tick in nice_ticks(x.min(), x.max()) if x.min() <= tick <= x.max()]
        marks = inside or [(x[0], number(x[0]))]
    parts, free = [], 0.0
    for value, name in marks:
        place, half = to_x(value), text_width(name, 11) / 2
        parts.append(line(place, bottom, place, bottom + 4, 0.45))
        middle = min(max(place, half), WIDTH - half)
        if middle - half >= free:
            parts.append(text(middle, bottom + 17, name, "middle", QUIET))
            free = middle + half + 8
    if result.x_label:
        parts.append(text(right, bottom + 32, f"{result.x_label} →", "end", QUIET))
    return "".join(parts)


def _readings(curve: Curve, lines: dict, x: np.ndarray, to_x: Callable, top: float, left: float, right: float) -> list[str]:
    """One invisible strip per x that reads out the values of all lines there."""
    places = [to_x(value) for value in x]
    borders = [left, *((a + b) / 2 for a, b in zip(places, places[1:])), right]
    parts = []
    for index, value in enumerate(x):
        tick = curve.ticks[index] if index < len(curve.ticks) else ""
        where = tick or f"{curve.x_label} {number(value)}".strip()
        said = "\n".join(f"{name + ': ' if name else ''}{number(values[index])}" for name, values in lines.items())
        width = max(0.0, borders[index + 1] - borders[index])
        parts.append(hover(borders[index], top, width, PLOT_HEIGHT, f"{where}\n{said}", tick, places[index]))
    return parts


def _empty(caption: str) -> str:
    return svg(40, [text(0, 24, "Nothing to draw: there are no values.", style=QUIET)], caption or "No values")
