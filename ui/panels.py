"""Each kind of result as HTML for the page; pictures travel inside it as lossless PNG, but for the frames of large animations."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from functools import singledispatch
from html import escape

import numpy as np
from PIL import Image

from techniques.base.drawing import explain, is_constant, magnification, picture_image, scale_of, to_svg
from techniques.base.drawing.charts import COLOURS, group_colour
from techniques.base.drawing.pictures import Scale, gallery_scales
from techniques.base.results import Animation, Browser, Curve, Gallery, Heatmap, Histogram, Note, Picture, Predictions, Result, Scatter, Table
from techniques.base.sample import Sample, Samples
from ui.files import png_bytes

FEW_ROWS = 3  # so many galleries of a browser stand below one another; of more, one is shown at a time
LONG_TABLE = 12  # rows; a longer table gets a box that filters it
SMALL = 64  # pixels; pictures up to this width are enlarged with sharp pixels
REPLAY_BYTES = 1_100_000  # of all frames of an animation; a third more as text
REPLAY_SIDE = 320  # pixels of a frame; it is shown hardly larger
GRID = 4000  # units along the longer side of a scatter

SHORT = 28  # characters of a table's text that stay on one line


def data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def progress(fraction: float, text: str) -> str:
    """How far some work is, as a bar with words below."""
    return f"<div class='lp-progress'><span style='width:{fraction:.0%}'></span></div><p class='lp-hint'>{escape(text)}</p>"


def panel(title: str, result: Result, sample: Sample | Samples) -> str:
    """One framed result: title, body, caption."""
    below = "" if result.caption == title else caption(result)
    return f"<section class='lp-panel lp-{type(result).__name__.lower()}'><h4>{escape(title)}</h4>{body(result, sample)}{below}</section>"


def caption(result: Result) -> str:
    return f"<p class='lp-caption'>{escape(result.caption)}</p>" if result.caption else ""


def place_of(*path: str) -> str:
    """The attribute by which a cell of a browser is found again when a picture in it is sent on."""
    return f"data-path='{escape(json.dumps(path))}'"


@singledispatch
def body(result: Result, sample: Sample | Samples) -> str:
    raise TypeError(f"no panel for {type(result).__name__}")


@body.register
def heat_map(result: Heatmap, sample, scale: Scale | None = None) -> str:
    values = np.asarray(result.values, np.float64)  # the width of a scale may be more than a float32 holds
    low, high = values.min(), values.max()
    span = (high - low) or 1.0
    darkest, brightest = scale or ((low, high) if is_constant(result) else scale_of(result))
    levels = np.round(np.clip((values - low) / span, 0, 1) * 65535).astype("<u2")
    height, width = result.values.shape
    below = result.below if result.below is not None or not isinstance(sample, Sample) else sample.pixels[0]
    picture = ""
    if below is not None and below.shape[-2:] == result.values.shape:
        picture = data_url(png_bytes(picture_image(Picture(below)).convert("RGB")))
    flat = f"<p class='lp-caption'>{explain(result)}</p>" if explain(result) else ""
    return (
        f"<loupe-map width='{width}' height='{height}' low='{low}' high='{high}' from='{darkest}' to='{brightest}' {'signed' if result.signed else ''} "
        f"unit='{escape(result.unit)}' name='{escape(result.caption or 'heat map')}' picture='{picture}' "
        f"levels='{base64.b64encode(levels.tobytes()).decode()}'></loupe-map>{flat}"
    )


@body.register
def _(result: Picture, sample) -> str:
    height, width = result.values.shape[1:]
    small = " class='lp-small'" if width <= SMALL else ""
    name = escape(result.label or result.caption or "picture")
    factor = f"<span class='lp-factor'>magnified {magnification(result):.3g} times around grey</span>" if result.signed else ""
    image = f"<img{small} src='{data_url(png_bytes(picture_image(result)))}' alt='{name}'>"
    save = f"<button type='button' data-save='{name}' title='Download this picture'>PNG</button>"
    made = result.label and isinstance(sample, Sample) and result.label != sample.origin  # from the sample: with it, it is a pair
    send = "" if result.signed else f"<loupe-send {'pair' if made else ''}></loupe-send>"
    return f"<figure>{image}<figcaption>{factor}{save}</figcaption>{send}</figure>"


@body.register
def _(result: Gallery, sample) -> str:
    items = "".join(
        f"<div data-item='{index}'><h5>{escape(name)}</h5>{heat_map(item, sample, scale) if isinstance(item, Heatmap) else body(item, sample)}</div>"
        for index, (item, name, scale) in enumerate(zip(result.items, result.names, gallery_scales(result)))
    )
    table = f" lp-columns' style='--columns:{result.columns}" if result.columns else ""
    return f"<div class='lp-gallery{table}'>{items}</div>"


@body.register
def _(result: Browser, sample) -> str:
    cells = list(result.leaves())
    names = [escape(" · ".join(path)) for path, _ in cells]
    views = [f"{place_of(*path)}>{body(cell, sample)}{caption(cell)}</div>" for path, cell in cells]
    if len(cells) <= FEW_ROWS and all(isinstance(cell, Gallery) for _, cell in cells):
        axes = escape(", ".join(result.axes))
        return "".join(f"<h5 class='lp-row'>{axes}: <b>{name}</b></h5><div {view}" for name, view in zip(names, views))
    return "<loupe-switch>" + "".join(f"<div data-name='{name}' {view}" for name, view in zip(names, views)) + "</loupe-switch>"


@body.register
def _(result: Animation, sample) -> str:
    height, width = result.frames.shape[2:]
    kind, frames = _replay([picture_image(Picture(frame)) for frame in result.frames])
    written = ",".join(base64.b64encode(frame).decode() for frame in frames)
    return (
        f"<loupe-player rate='{result.rate}' width='{width}' height='{height}' name='{escape(result.caption or 'animation')}' "
        f"names='{escape(json.dumps(result.names))}' kind='{kind}' frames='{written}'></loupe-player>"
    )


def _replay(images: list[Image.Image], side: int = REPLAY_SIDE) -> tuple[str, list[bytes]]:
    """(format, file of every frame): PNG for small ones, else JPEG, as good as `REPLAY_BYTES` allow. A replay is for the eye: lossless it would
    be ten times as heavy, and the exact pictures are in the arrays."""
    if images[0].width <= SMALL:
        return "png", [png_bytes(image) for image in images]
    for image in images:
        image.thumbnail((side, side))
    for quality in (92, 85, 75, 60):
        frames = [_jpeg(image, quality) for image in images]
        if sum(map(len, frames)) <= REPLAY_BYTES:
            break
    return "jpeg", frames


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@body.register(Predictions)
@body.register(Curve)
@body.register(Histogram)
def _(result, sample) -> str:
    return f"<div class='lp-chart'>{to_svg(result)}</div>"


@body.register
def _(result: Scatter, sample) -> str:
    """The points as whole numbers of a grid, which is finer than any screen, and all thumbnails as one picture. Points that are the pictures
    of a set can be sent on."""
    way = result.path if result.path is not None else result.points[:0]
    everything = np.concatenate([result.points, way]).astype(np.float64)
    low = everything.min(0) if len(everything) else np.zeros(2)
    unit = GRID / max(float((everything - low).max(initial=0)), 1e-300)
    grid = np.rint((everything - low) * unit).astype(int).tolist()
    url, columns = _sheet(result.thumbnails) if result.thumbnails is not None else ("", 0)
    told = {
        "points": grid[: len(result.points)],
        "path": grid[len(result.points) :],
        "pathNames": result.path_names,
        "names": result.names,
        "notes": result.notes,
        "groupings": {name: np.asarray(numbers).tolist() for name, numbers in {result.grouped_by: result.groups, **result.others}.items()},
        "groups": result.group_names,
        "colours": [group_colour(group) for group in range(COLOURS + 1)],
        "neighbours": [] if result.neighbours is None else np.asarray(result.neighbours).tolist(),
        "current": result.current,
        "tile": [*result.thumbnails.shape[:1:-1], columns] if url else None,
        "send": isinstance(sample, Samples),
    }
    name = escape(result.caption or "points")
    return f"<loupe-scatter name='{name}' points='{escape(json.dumps(told, separators=(',', ':')))}' sheet='{url}'></loupe-scatter>"


def _sheet(thumbnails: np.ndarray) -> tuple[str, int]:
    """All thumbnails uint8 `[N, C, h, w]` row by row in one picture, as a data address, with the number in a row."""
    count, channels, height, width = thumbnails.shape
    columns = max(1, round((count * height / width) ** 0.5))
    rows = -(-count // columns)
    filled = np.zeros((rows * columns, channels, height, width), np.uint8)
    filled[:count] = thumbnails
    sheet = filled.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)
    kind, (file,) = _replay([Image.fromarray(np.ascontiguousarray(sheet[..., 0] if channels == 1 else sheet))], side=max(sheet.shape))
    return f"data:image/{kind};base64,{base64.b64encode(file).decode()}", columns


@body.register
def _(result: Table, sample) -> str:
    heads = zip(result.columns, result.rows[0] if result.rows else result.columns)
    head = "".join(f"<th{_kind(value)}><button type='button' title='Sort by this column'>{escape(column)}</button></th>" for column, value in heads)
    cells = _marking(result) if result.marks else (map(_cell, row) for row in result.rows)
    rows = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    table = f"<div class='lp-scroll'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    return f"<loupe-table{' filter' if len(result.rows) > LONG_TABLE else ''}>{table}</loupe-table>"


def _marking(table: Table) -> Iterator[list[str]]:
    """The cells of each row; a number is a button that marks the points it counts, the darker the larger its share of the row."""
    for name, *numbers in table.rows:
        cells = [_cell(name)]
        for column, number in zip(table.columns[1:], numbers):
            groups = escape(json.dumps(dict(zip(table.marks, (name, column)))))
            share = 100 * number / max(1, sum(numbers))
            button = f"<button type='button' data-marks='{groups}'>{number:,}</button>" if number else "<i>0</i>"
            cells.append(f"<td class='lp-number lp-count' style='--share:{share:.0f}%'>{button}</td>")
        yield cells


def _cell(value: str | int | float) -> str:
    text = escape(value) if isinstance(value, str) else f"{value:.4g}" if isinstance(value, float) else f"{value:,}"
    return f"<td{_kind(value)}>{text}</td>"


def _kind(value: str | int | float) -> str:
    """The class of a cell that stays on one line: a number, on the right, or a few words."""
    if not isinstance(value, str):
        return " class=lp-number"
    return " class=lp-short" if len(value) < SHORT else ""


@body.register
def _(result: Note, sample) -> str:
    return f"<p class='lp-note'>{escape(result.text)}</p>"


def top_five(predictions: Predictions) -> str:
    """The most probable classes as bars; a click on one makes it the class to explain."""
    rows = "".join(
        f"<button type='button' class='lp-bar' data-class='{escape(label)}' title='Explain “{escape(label)}”'>"
        f"<span class='lp-bar-name'>{escape(label)}</span><span class='lp-bar-value'>{100 * share:.1f} %</span>"
        f"<span class='lp-bar-track'><span style='width:{max(share, 0.002):.2%}'></span></span></button>"
        for _, label, share in predictions.top(5)
    )
    return f"<div class='lp-bars'>{rows}</div>"
