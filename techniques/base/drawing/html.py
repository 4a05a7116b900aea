"""A result as HTML that needs nothing else: pictures as embedded PNGs, animations as GIFs, charts as SVG. Notebooks show it."""

from __future__ import annotations

import base64
from dataclasses import replace
from html import escape
from typing import Any

from techniques.base.drawing.charts import curve_chart, histogram_chart, predictions_chart, scatter_chart
from techniques.base.drawing.colour import default_map, gradient_css
from techniques.base.drawing.film import gif_bytes
from techniques.base.drawing.pictures import (
    explain, gallery_scales, is_constant, item_image, magnification, png_bytes, scale_of,
)  # fmt: skip
from techniques.base.drawing.sheets import outer_positions, row_of_pictures, tiles
from techniques.base.drawing.svg import number
from techniques.base.results import (
    Animation, Browser, Curve, Gallery, Heatmap, Histogram, Note, Picture, Predictions, Result, Scatter, Table, panels,
)  # fmt: skip

CHARTS = {Predictions: predictions_chart, Curve: curve_chart, Histogram: histogram_chart, Scatter: scatter_chart}
OUTER, INNER = 6, 64  # a browser shows so many positions of its outer axes and its inner one; the rest is one call away
_SMALL = "font-size:0.85em;opacity:0.75"


def to_svg(result: Result) -> str | None:
    """The chart of a result of numbers, or None for a kind that is not drawn as a chart."""
    chart = CHARTS.get(type(result))
    return chart(result) if chart else None


def to_html(answer: Any) -> str:
    """A result, or every panel of a technique's answer in order, as HTML."""
    shown = panels(answer)
    return "".join(_figure(result, name if len(shown) > 1 else "") for name, result in shown.items())


def _figure(result: Result, name: str) -> str:
    """One panel: its name, what it shows, its caption."""
    head = f'<div style="font-weight:600;margin-bottom:4px">{escape(name.replace("_", " ").capitalize())}</div>' if name else ""
    caption = f'<figcaption style="margin-top:4px">{escape(result.caption)}</figcaption>' if result.caption else ""
    return (
        '<figure style="display:inline-block;vertical-align:top;width:380px;max-width:100%;margin:0 24px 20px 0">'
        f"{head}{_body(result)}{caption}</figure>"
    )


def _body(result: Result) -> str:
    if type(result) in CHARTS:
        return to_svg(result)
    if isinstance(result, Heatmap):
        return _image(png_bytes(item_image(result)), result.caption) + (_small(explain(result)) if is_constant(result) else _scale_bar(result))
    if isinstance(result, Picture):
        factor = magnification(result)
        said = f"Drawn {factor:.3g} times as strong as it is, around mid grey." if factor != 1 else ""
        return _image(png_bytes(item_image(result)), result.caption) + _small(said)
    if isinstance(result, Gallery):
        return _grid(result)
    if isinstance(result, Animation):
        return _image(gif_bytes(result), result.caption, "gif")
    if isinstance(result, Table):
        return _table(result)
    if isinstance(result, Note):
        return f"<p>{escape(result.text)}</p>"
    return _browser(result)


def _grid(gallery: Gallery) -> str:
    """The items side by side with their names, on their scales."""
    least = 104 if len(gallery.items) <= 12 else 52
    columns = f"{gallery.columns},minmax(0,1fr)" if gallery.columns else f"auto-fill,minmax({least}px,1fr)"
    cells = (
        f'<div>{_image(png_bytes(item_image(item, scale=scale)), name)}<div style="overflow-wrap:anywhere;{_SMALL}">{escape(name)}</div></div>'
        for item, name, scale in zip(gallery.items, gallery.names, gallery_scales(gallery))
    )
    return f'<div style="display:grid;gap:6px;grid-template-columns:repeat({columns})">{"".join(cells)}</div>'


def _browser(browser: Browser) -> str:
    """For the first positions of the outer axes: all cells side by side where they are pictures, else the first one."""
    paths = [path for path in outer_positions(browser) if browser.positions(*path)]
    if not paths:
        return _small("Nothing to show: there are no cells.")
    shown = []
    for path in paths[:OUTER]:
        row, first = tiles(browser, path) or row_of_pictures(browser, path), (*path, browser.positions(*path)[0])
        if row:
            shown.append(_small(" · ".join(path)) + _grid(replace(row, items=row.items[:INNER], names=row.names[:INNER])))
        else:
            shown.append(_small(" · ".join(first)) + _body(browser.cell(*first)))
    count = sum(len(browser.positions(*path)) for path in paths)
    example = ", ".join(map(repr, (*paths[0], browser.positions(*paths[0])[0])))
    return "".join(shown) + _small(f"{count} cells by {' and '.join(browser.axes)}; one of them is .cell({example}).")


def _image(file: bytes, description: str, kind: str = "png") -> str:
    """Small pictures are shown larger with their pixels left sharp."""
    source = base64.b64encode(file).decode()
    return f'<img alt="{escape(description)}" src="data:image/{kind};base64,{source}" style="width:100%;image-rendering:pixelated">'


def _scale_bar(heatmap: Heatmap) -> str:
    low, high = scale_of(heatmap)
    beyond = heatmap.values.max() > high or heatmap.values.min() < low
    unit = f" {heatmap.unit}" if heatmap.unit else ""
    return (
        f'<div style="height:7px;border-radius:3px;box-shadow:0 0 0 1px #8884;background:{gradient_css(default_map(heatmap.signed))}"></div>'
        f'<div style="display:flex;justify-content:space-between;font-variant-numeric:tabular-nums;{_SMALL}">'
        f"<span>{escape(number(low))}</span><span>{'≥ ' if beyond else ''}{escape(number(high) + unit)}</span></div>"
    )


def _table(table: Table) -> str:
    """Numbers to the right, in figures of equal width."""

    def cell(value: str | int | float, tag: str = "td") -> str:
        numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        align = "right;font-variant-numeric:tabular-nums" if numeric else "left"
        return f'<{tag} style="padding:3px 12px 3px 0;text-align:{align}">{escape(shown)}</{tag}>'

    head = "".join(cell(column, "th") for column in table.columns)
    rows = "".join(f"<tr>{''.join(cell(value) for value in row)}</tr>" for row in table.rows)
    return f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _small(sentence: str | None) -> str:
    return f'<div style="{_SMALL}">{escape(sentence)}</div>' if sentence else ""
