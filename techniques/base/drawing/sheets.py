"""Every picture of a result, one by one and side by side: what goes into files, and how a browser becomes contact sheets."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from techniques.base.drawing.pictures import MID_GREY, Scale, enlarge, gallery_scales, item_image
from techniques.base.results import Animation, Browser, Gallery, Heatmap, Picture, Result
from techniques.base.stack import Stack

GAP = 8  # pixels between the tiles of a sheet
LINE = 18  # pixels for a name below its tile
ALONE = 40  # of a browser with thousands of cells, so many become pictures of their own
FEW = 3  # of so few galleries along the only axis, each item becomes a picture of its own
TILE = 48  # pixels of one of many small pictures
ROWS = 12  # of the galleries along an axis, so many stand below one another on a sheet


class Drawn(NamedTuple):
    """One drawn picture: a suffix for its file name ("" for the only or first one), and what it shows when it is
    one heat map, with the scale it was drawn on."""

    suffix: str
    image: Image.Image
    heatmap: Heatmap | None = None
    scale: Scale | None = None


def drawn(result: Result) -> Iterator[Drawn]:
    """Every picture of a result, each pixel one value.

    A gallery is its contact sheet and its items; an animation its last frame. A browser is one sheet per position
    of its outer axes and, where a cell is one picture, the first cells on their own.
    """
    if isinstance(result, (Heatmap, Picture)):
        yield _one("", result)
    elif isinstance(result, Gallery):
        yield Drawn("", contact_sheet(result))
        for index, (name, item, scale) in enumerate(_scaled(result)):
            yield _one(file_name(str(index + 1), name), item, scale)
    elif isinstance(result, Animation):
        yield _one("", Picture(result.frames[-1]))
    elif isinstance(result, Browser):
        yield from _of_browser(result)


def draw(result: Result) -> list[tuple[str, Image.Image]]:
    """Every picture of a result with a suffix for its file name ("" for its only or first one)."""
    return [(suffix, image) for suffix, image, *_ in drawn(result)]


def outer_positions(browser: Browser) -> list[tuple[str, ...]]:
    """Every path along all axes but the innermost one; the empty path when there is one axis."""
    paths: list[tuple[str, ...]] = [()]
    for _ in browser.axes[:-1]:
        paths = [(*path, name) for path in paths for name in browser.positions(*path)]
    return paths


def row_of_pictures(browser: Browser, path: tuple[str, ...]) -> Gallery | None:
    """The cells along the innermost axis as one gallery, or None where they are no pictures."""
    names = browser.positions(*path)
    if not names or not isinstance(browser.cell(*path, names[0]), (Heatmap, Picture)):
        return None
    return Gallery(tuple(browser.cell(*path, name) for name in names), names)


def tiles(browser: Browser, path: tuple[str, ...], side: int = TILE) -> Gallery | None:
    """Every cell along the innermost axis as one small item, some of its values only where it is larger than `side`, on the
    scales that the cells have; None where the cells name no tile."""
    stack = browser.cells
    for name in path:
        stack = stack[name]
    if not isinstance(stack, Stack) or not stack.tile or not stack.names:
        return None
    values, first = stack.stacked[stack.tile], stack[stack.names[0]]
    step = -(-max(values.shape[-2:]) // side)
    items = tuple(replace(first.items[0], values=entry[..., ::step, ::step], caption="") for entry in values)
    return Gallery(items, stack.names, reach=first.reach, scale=first.scale)


def contact_sheet(gallery: Gallery, map: str | None = None, tile: int = 112, columns: int | None = None) -> Image.Image:
    """All items of a gallery with their names on one transparent sheet, on the scales that the gallery wants."""
    if not gallery.items:
        return Image.new("RGBA", (tile, tile))
    images = [enlarge(item_image(item, map, scale), tile) for _, item, scale in _scaled(gallery)]
    columns = min(columns or gallery.columns or math.ceil(math.sqrt(len(images) * 1.5)), len(images))
    width, height = max(image.width for image in images), max(image.height for image in images)
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGBA", (columns * (width + GAP) - GAP, rows * (height + LINE + GAP) - GAP))
    for index, (image, name) in enumerate(zip(images, gallery.names)):
        left, top = index % columns * (width + GAP), index // columns * (height + LINE + GAP)
        sheet.paste(image, (left, top))
        _write(sheet, name, left, top + height + 2, width)
    return sheet


def file_name(*parts: str) -> str:
    """The parts joined by hyphens, with nothing in them that a file system or a shell would mind."""
    return "-".join(clean for part in parts if (clean := re.sub(r"[^\w.]+", "-", part).strip("-.")[:60]))


def _one(suffix: str, item: Heatmap | Picture, scale: Scale | None = None) -> Drawn:
    return Drawn(suffix, item_image(item, scale=scale), item if isinstance(item, Heatmap) else None, scale)


def _scaled(gallery: Gallery) -> list[tuple[str, Heatmap | Picture, Scale]]:
    """The items of a gallery with their names and scales."""
    return list(zip(gallery.names, gallery.items, gallery_scales(gallery)))


def _of_browser(browser: Browser) -> Iterator[Drawn]:
    alone = 0
    for path in outer_positions(browser):
        names = browser.positions(*path)
        row = row_of_pictures(browser, path)
        if row:
            yield Drawn(file_name(*path, "sheet"), contact_sheet(row))
            for name, item in zip(names[: ALONE - alone], row.items):
                yield _one(file_name(*path, name), item)
            alone = min(ALONE, alone + len(names))
        elif names and isinstance(browser.cell(*path, names[0]), Gallery):
            small = tiles(browser, path)
            if small:
                yield Drawn(file_name(*path, "all"), contact_sheet(small, tile=TILE))
            galleries = {name: browser.cell(*path, name) for name in names[:ROWS]}
            yield Drawn(file_name(*path, "sheet"), _stacked(galleries))
            if len(browser.axes) == 1 and len(names) <= FEW:
                yield from (_one(file_name(name, of), item, scale) for name, gallery in galleries.items() for of, item, scale in _scaled(gallery))


def _stacked(galleries: dict[str, Gallery]) -> Image.Image:
    """Galleries below one another, each a row on its own scale with its position above it."""
    rows = [contact_sheet(gallery, columns=len(gallery.items)) for gallery in galleries.values()]
    sheet = Image.new("RGBA", (max(row.width for row in rows), sum(row.height + LINE + GAP for row in rows) - GAP))
    top = 0
    for name, row in zip(galleries, rows):
        _write(sheet, name, 0, top, sheet.width)
        sheet.paste(row, (0, top + LINE))
        top += row.height + LINE + GAP
    return sheet


def _write(sheet: Image.Image, text: str, left: int, top: int, width: int) -> None:
    """The text in a grey that can be read on a light and on a dark page, cut with an ellipsis where it is too wide."""
    font = ImageFont.load_default(size=12)
    ImageDraw.Draw(sheet).text((left, top), cut(text, font, width), fill=(MID_GREY,) * 3, font=font)


def cut(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, cut with an ellipsis where it is wider than so many pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
