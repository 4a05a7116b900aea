"""The few parts every chart is made of: text, ticks, colours and the frame; nothing here knows a kind of result.

Charts take their colours from the page: `currentColor` for text and grid, and the CSS variables --loupe-accent,
--loupe-series-2 ... --loupe-series-10, --loupe-font and --loupe-background, each with a fallback that reads on white and on black.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH = 380  # view box units; a phone of 390 px shows a chart at about its natural size
TEXT = 12
BOLD = 1.1  # how much wider bold text is
_COLOURS = ("#e4572e", "#2f83c5", "#3a9d6e", "#9467c4", "#c08400", "#1f9ea8", "#d6588f", "#8a7a5c", "#6b7fd7", "#7c9a2e")
_FRAME = (
    "display:block;width:100%;max-width:540px;height:auto;overflow:visible;fill:currentColor;font-size:12px;"
    "font-family:var(--loupe-font,ui-sans-serif,system-ui,-apple-system,'Segoe UI',sans-serif);font-variant-numeric:tabular-nums"
)


def svg(height: float, body: Sequence[str], label: str) -> str:
    """A whole chart; `label` is what a screen reader says."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}" '
        f'style="{_FRAME}">{"".join(body)}</svg>'
    )


def colour(index: int) -> str:
    """CSS colour of the series with this number; it repeats after ten."""
    index %= len(_COLOURS)
    return f"var(--loupe-{'accent' if index == 0 else f'series-{index + 1}'},{_COLOURS[index]})"


def text(x: float, y: float, content: str, anchor: str = "start", style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="{style}">{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, opacity: float = 0.12) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" style="fill:none;stroke:currentColor;stroke-opacity:{opacity}"/>'


def bar(x: float, y: float, width: float, height: float, fill: str, title: str = "") -> str:
    return (
        f'<rect class="bar" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" style="fill:{fill}">'
        f"<title>{escape(title)}</title></rect>"
    )


def hover(x: float, y: float, width: float, height: float, title: str, tick: str = "", at: float | None = None) -> str:
    """An invisible rectangle that says a number when the mouse rests on it; `tick` is the name that a page may be told at a click,
    `at` where a page may draw a line through what is said."""
    named = (f' data-tick="{escape(tick)}"' if tick else "") + ("" if at is None else f' data-at="{at:.1f}"')
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{named} style="fill:transparent;stroke:none">'
        f"<title>{escape(title)}</title></rect>"
    )


def names_line(names: Sequence[str], y: float) -> tuple[str, float]:
    """The names of the series, each in its colour, in as many lines as they need: (SVG, y below them)."""
    parts, x, row = [], 0.0, y
    for index, name in enumerate(names):
        name = fit(name, WIDTH)
        if x and x + text_width(name) > WIDTH:
            x, row = 0.0, row + 17
        parts.append(text(x, row, name, style=f"font-weight:600;fill:{colour(index)}"))
        x += text_width(name) * BOLD + 14
    return "".join(parts), row + 17


def text_width(content: str, size: float = TEXT) -> float:
    """About how wide the text is, rather too wide than too narrow; no font can be measured here."""
    narrow = sum(character in "iljtfrI.,:;'|!() " for character in content)
    return size * (0.64 * (len(content) - narrow) + 0.36 * narrow)


def fit(content: str, width: float, size: float = TEXT) -> str:
    """The text, cut with an ellipsis where it would be wider than `width`."""
    if text_width(content, size) <= width:
        return content
    while content and text_width(content + "…", size) > width:
        content = content[:-1]
    return content.rstrip() + "…"


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) whose ends enclose [low, high]."""
    if not high > low:
        low, high = (low - 0.5, low + 0.5) if low else (0.0, 1.0)
    rough = (high - low) / max(1, count - 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.7 * rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def number(value: float) -> str:
    """A number as short as four digits allow: 0.0312, 1.5, 12k, 3M, 2e−7."""
    size = abs(value)
    for limit, divisor, sign in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if limit <= size < 1e12:
            return f"{value / divisor:.4g}{sign}".replace("-", "−")
    short = f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-") if 0 < size < 1e-3 else f"{value:.4g}"
    return short.replace("-", "−")


def percent(probability: float) -> str:
    """93.1 %; a probability too small for that is said to be below 0.1 %."""
    return f"{100 * probability:.1f} %" if probability >= 0.0005 or probability == 0 else "< 0.1 %"


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, in their order, at least `gap` apart where [low, high] has room for that."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    placed = [0.0] * len(wanted)
    last = low - gap
    for index in order:
        last = placed[index] = max(wanted[index], last + gap)
    limit = high
    for index in reversed(order):
        limit = placed[index] = min(placed[index], limit)
        limit -= gap
    return placed
