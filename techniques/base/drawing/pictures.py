"""Heat maps and pictures as PIL images, always with a scale that can be stated.

An unsigned heat map runs from 0 to its largest value, a signed one from -m to m, where m is the largest absolute value:
zero keeps its colour. Where a few pixels stand far above all others, as in most maps made of gradients, m is the value that
all but FEW of them stay below, and those few are drawn as that: else there would be nothing to see but them. A signed
picture v is drawn as 0.5 + v / (2 m). Any other scale is given by the caller as (low, high).
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from techniques.base.drawing.colour import SIGNED_MAPS, colour_table, default_map
from techniques.base.results import Gallery, Heatmap, Picture

Scale = tuple[float, float]
MID_GREY = 128
FEW = 0.005  # the share of the pixels that may lie beyond the scale ...
FAR = 2.0  # ... where the largest is so many times larger than all others


def scale_of(item: Heatmap | Picture, map: str | None = None) -> Scale:
    """The (low, high) between which values are drawn: (0, 1) for a plain picture, else around or from zero."""
    if isinstance(item, Picture) and not item.signed:
        return 0.0, 1.0
    values = np.nan_to_num(item.values)
    if item.signed or map in SIGNED_MAPS:
        most = _most(np.abs(values), isinstance(item, Heatmap))
        return -most, most
    return 0.0, max(0.0, _most(values, True))


def _most(values: np.ndarray, few_aside: bool) -> float:
    """The largest of the values, or of all but FEW of them where it stands far above these."""
    most = float(values.max(initial=0))
    if not few_aside or not most > 0:
        return most
    usual = float(np.quantile(values, 1 - FEW))
    return usual if 0 < FAR * usual < most else most


def magnification(picture: Picture) -> float:
    """How many times larger a signed picture is drawn than it is; 1 for a plain one and for one that is zero."""
    high = scale_of(picture)[1]
    return 1 / (2 * high) if picture.signed and high else 1.0


def is_constant(heatmap: Heatmap) -> bool:
    values = np.nan_to_num(heatmap.values)
    return bool(values.min() == values.max())


def explain(heatmap: Heatmap) -> str | None:
    """What has to be said about a heat map in which nothing can be seen, or None."""
    return "No region stands out: every pixel has the same value." if is_constant(heatmap) else None


def heatmap_image(heatmap: Heatmap, map: str | None = None, scale: Scale | None = None) -> Image.Image:
    """The heat map in colour, one pixel per value; flat mid grey where every value is the same."""
    if _is_flat(heatmap, scale):
        return Image.new("RGB", heatmap.values.shape[::-1], (MID_GREY,) * 3)
    map = map or default_map(heatmap.signed)
    return Image.fromarray(colour_table(map)[_levels(heatmap.values, scale or scale_of(heatmap, map))])


def overlay(
    picture: Image.Image, heatmap: Heatmap, opacity: float = 0.5, map: str | None = None, scale: Scale | None = None
) -> Image.Image:
    """The heat map over a picture of any size, which keeps its size.

    With a signed map the opacity falls to nothing towards zero (with the root of the value), so that only what
    speaks for or against is coloured. A constant heat map leaves the picture as it is.
    """
    picture = picture.convert("RGB")
    if _is_flat(heatmap, scale):
        return picture
    map = map or default_map(heatmap.signed)
    low, high = scale or scale_of(heatmap, map)
    values = np.nan_to_num(heatmap.values).astype(np.float32)
    if values.shape != picture.size[::-1]:
        values = np.asarray(Image.fromarray(values).resize(picture.size, Image.Resampling.BILINEAR))
    share = np.sqrt(np.clip(np.abs(values) / max(-low, high), 0, 1)) if map in SIGNED_MAPS else np.ones_like(values)
    share = (opacity * share)[..., None]
    colours = colour_table(map)[_levels(values, (low, high))]
    return Image.fromarray(np.rint(np.asarray(picture) * (1 - share) + colours * share).astype(np.uint8))


def picture_image(picture: Picture, scale: Scale | None = None) -> Image.Image:
    """The picture `[C, H, W]` with 8 bits per channel (mode L or RGB), one pixel per value."""
    levels = _levels(picture.values, scale or scale_of(picture)).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(levels[..., 0] if levels.shape[2] == 1 else levels[..., :3]))


def item_image(item: Heatmap | Picture, map: str | None = None, scale: Scale | None = None) -> Image.Image:
    """One item of a gallery or one cell of a browser; `map` colours heat maps only."""
    return heatmap_image(item, map, scale) if isinstance(item, Heatmap) else picture_image(item, scale)


def common_scales(items: Sequence[Heatmap | Picture], reach: float = 0.0) -> list[Scale]:
    """The scale of each item when all items of one kind and sign share the widest one; that of heat maps goes at least up to `reach`."""
    widest: dict[tuple, Scale] = {}
    for item in items:
        kind, (low, high) = (type(item), item.signed), scale_of(item)
        if isinstance(item, Heatmap):
            low, high = min(low, -reach if item.signed else 0.0), max(high, reach)
        known = widest.get(kind, (low, high))
        widest[kind] = min(low, known[0]), max(high, known[1])
    return [widest[type(item), item.signed] for item in items]


def gallery_scales(gallery: Gallery) -> list[Scale]:
    """The scale of each item of a gallery, as the gallery wants them shared."""
    items = gallery.items
    if gallery.scale == "common":
        return common_scales(items, gallery.reach)
    if gallery.scale == "own" or not gallery.columns:
        return [scale_of(item) for item in items]
    of_columns = [common_scales(items[column :: gallery.columns]) for column in range(gallery.columns)]
    return [of_columns[place % gallery.columns][place // gallery.columns] for place in range(len(items))]


def enlarge(image: Image.Image, least: int = 224) -> Image.Image:
    """The image with every pixel repeated until the longer side has at least `least` pixels."""
    factor = math.ceil(least / max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST) if factor > 1 else image


def png_bytes(image: Image.Image) -> bytes:
    """The image as a lossless PNG file; compressed lightly, which is several times as fast and hardly larger."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _is_flat(heatmap: Heatmap, scale: Scale | None) -> bool:
    """Whether nothing can be told apart: all values are the same, or the given scale has no extent."""
    return scale[0] >= scale[1] if scale else is_constant(heatmap)


def _levels(values: np.ndarray, scale: Scale, top: int = 255) -> np.ndarray:
    """Values as whole numbers from 0 (low) to `top` (high), clipped; the middle when low equals high."""
    low, high = scale
    values = np.nan_to_num(np.asarray(values, dtype=np.float64))
    share = np.clip((values - low) / (high - low), 0, 1) if high > low else np.full(values.shape, 0.5)
    return np.rint(share * top).astype(np.uint8 if top < 256 else np.uint16)
