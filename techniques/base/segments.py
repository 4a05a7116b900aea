"""A picture cut into segments, patches that lie together and look alike; and the picture with some of them hidden.

The cuts are scikit-image's: SLIC (Achanta et al. 2012, IEEE TPAMI 34, 11, 2274-2282), quick shift (Vedaldi and Soatto 2008,
ECCV) and the graph-based one of Felzenszwalb and Huttenlocher (2004, IJCV 59, 2, 167-181). All three look at Lab colours (a
grey picture has only the lightness) and are set so that about the number of segments comes out that is asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from model_zoo.deferred import torch
from model_zoo.errors import ParameterError
from techniques.base.batches import batches
from techniques.base.parameters import Help, Range
from techniques.base.results import Heatmap, Picture

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_zoo.loaded import LoadedModel
    from techniques.base.run import Run

Cut = Annotated[
    Literal["slic", "quickshift", "felzenszwalb"],
    Help("How the picture is cut: slic into compact patches, quickshift and felzenszwalb into patches as irregular as what is seen."),
]
Count = Annotated[int, Range(4, 150, 1, "segments"), Help("About so many; fewer are surer and faster, more are finer.")]
Shown = Annotated[int, Range(1, 20, 1, "segments"), Help("So many of the strongest segments are numbered, listed and shown alone.")]

SIDE = 320  # pixels of the shorter side from which on lines between segments are thin
SPEAKS_FOR, SPEAKS_AGAINST = (0.84, 0.15, 0.20), (0.13, 0.47, 0.85)  # the colours of a signed map, bright enough on dark ground


@dataclass(frozen=True, eq=False)
class Segments:
    """`labels` int64 `[H, W]` from 0 to `count` - 1: to which segment each pixel belongs; on the device of the pixels."""

    labels: torch.Tensor
    count: int

    @classmethod
    def of(cls, pixels: torch.Tensor, cut: str, count: int) -> Segments:
        """Cut the picture `[1, C, H, W]` into about `count`; ParameterError where it does not fall apart at all."""
        picture = _colours(pixels[0]).astype(np.float64)
        found = {"slic": _slic, "quickshift": _quickshift, "felzenszwalb": _felzenszwalb}[cut](picture, count)
        names, labels = np.unique(found, return_inverse=True)
        if len(names) < 2:
            raise ParameterError(f"{cut} finds only one segment in this picture. Expected at least two: choose slic, or more segments.")
        return cls(torch.from_numpy(labels.reshape(found.shape).astype(np.int64)).to(pixels.device), len(names))

    def hidden(self, pixels: torch.Tensor, filling: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """One copy of the picture `[1, C, H, W]` per row of `kept` bool `[B, count]`: what is not kept shows `filling`. `[B, C, H, W]`.

        Channels lie last in memory, which convolutions are fastest in.
        """
        pictures = torch.where(kept.to(pixels.device)[:, self.labels][:, None], pixels, filling)
        return pictures.contiguous(memory_format=torch.channels_last)

    def map(self, values: np.ndarray) -> torch.Tensor:
        """One value per segment `[count]` as one per pixel, float32 `[H, W]`."""
        return torch.from_numpy(np.asarray(values, np.float32))[self.labels.cpu()]

    def heatmap(self, values: np.ndarray, unit: str, caption: str, signed: bool = True) -> Heatmap:
        return Heatmap(self.map(values), signed=signed, unit=unit, caption=caption)

    def strongest(self, values: np.ndarray, count: int) -> list[int]:
        """The segments with the largest absolute values `[count]`, largest first; those of value zero left out."""
        order = np.argsort(-np.abs(values), kind="stable")[:count]
        return [int(segment) for segment in order if values[segment] != 0]

    def place(self, segment: int) -> tuple[int, int]:
        """The (row, column) of the pixel of a segment that lies deepest in it: inside it even where its middle is not."""
        inside = (self.labels == segment).cpu().numpy()
        deepest, core = inside, inside
        while core.any():
            deepest, core = core, _inner(core)
        rows, columns = np.nonzero(deepest)
        nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        return int(rows[nearest]), int(columns[nearest])

    def told(self, segment: int) -> str:
        """Where a segment lies, in words."""
        return "row {}, column {}".format(*self.place(segment))

    def drawn(self, pixels: torch.Tensor, values: np.ndarray, chosen: list[int], caption: str) -> Picture:
        """All segments as lines on the picture, the `chosen` ones bright, numbered from 1, and framed in red where their value is
        above zero, in blue where it is below. Enlarged by a whole number where the picture is small: `[3, h, w]`."""
        factor = max(1, math.ceil(SIDE / min(self.labels.shape)))
        labels, picture = (array.repeat(factor, 0).repeat(factor, 1) for array in (self.labels.cpu().numpy(), _colours(pixels[0])))
        canvas = picture * np.where(np.isin(labels, chosen), 1, 0.45)[..., None]
        lines = np.zeros(labels.shape, bool)
        lines[:, 1:] |= labels[:, 1:] != labels[:, :-1]
        lines[1:] |= labels[1:] != labels[:-1]
        canvas[lines] = 0.6
        for segment in chosen:
            inside = labels == segment
            canvas[inside & ~_inner(_inner(inside))] = SPEAKS_FOR if values[segment] > 0 else SPEAKS_AGAINST
        places = [tuple(factor * (end + 0.5) for end in self.place(segment)) for segment in chosen]
        return Picture(torch.from_numpy(_numbered(canvas, places).transpose(2, 0, 1).copy()), caption=caption)


def ask(
    model: LoadedModel, run: Run, pixels: torch.Tensor, filling: torch.Tensor, segments: Segments, kept: torch.Tensor, target: int,
    see: Callable[[np.ndarray], None],
) -> np.ndarray:  # fmt: skip
    """Probability and logit of the class `target` for each row of `kept` bool `[N, count]`: float64 `[N, 2]`.

    `see` is called with what there is so far, `[n, 2]`, after a few pictures and whenever there are twice as many.
    """
    answers = np.zeros((len(kept), 2))
    for rows, due in run.steps(batches(len(kept), model), "Batch of pictures with hidden segments"):
        answers[rows] = readings(model, model.logits(segments.hidden(pixels, filling, kept[rows])), target)
        if due:
            see(answers[: rows.stop])
    return answers


def readings(model: LoadedModel, logits: torch.Tensor, target: int) -> np.ndarray:
    """Probability and logit of one class, float64 `[..., 2]`, from logits `[..., K]`."""
    return torch.stack([model.shares(logits)[..., target], logits[..., target]], -1).double().cpu().numpy()


def _colours(picture: torch.Tensor) -> np.ndarray:
    """A picture `[C, H, W]` as red, green and blue, float32 `[H, W, 3]`; a fourth channel is left out."""
    picture = picture.cpu().expand(3, -1, -1) if len(picture) == 1 else picture[:3].cpu()
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())


def _slic(picture: np.ndarray, count: int) -> np.ndarray:
    """The less compact, the closer to the colours; where noise leaves too few whole pieces, compactness is raised, up to a grid."""
    from skimage.segmentation import slic

    for compactness in (10, 30, 100, 300, 1000):
        found = slic(picture, n_segments=count, compactness=compactness, start_label=0, channel_axis=-1)
        if len(np.unique(found)) >= 0.6 * count:
            break
    return found


def _quickshift(picture: np.ndarray, count: int) -> np.ndarray:
    """Quick shift's tree joins each pixel with its nearest one of higher density; its longest links are cut until `count` trees are left."""
    from skimage.segmentation import quickshift

    width = min(4, max(1, min(picture.shape[:2]) / 32))
    _, parents, lengths = quickshift(picture, kernel_size=width, max_dist=math.inf, ratio=0.5, return_tree=True, rng=0)
    parents, lengths = np.array(parents, np.int64).ravel(), np.asarray(lengths).ravel()
    roots = np.argsort(-lengths, kind="stable")[: max(count, int(np.isinf(lengths).sum()))]
    parents[roots] = roots
    while (parents != parents[parents]).any():
        parents = parents[parents]
    return parents.reshape(picture.shape[:2])


def _felzenszwalb(picture: np.ndarray, count: int) -> np.ndarray:
    """The larger the scale, the fewer segments: it is halved in on."""
    from skimage.color import rgb2lab
    from skimage.segmentation import felzenszwalb

    picture, smallest = rgb2lab(picture) / 100, max(2, round(picture[..., 0].size / count / 4))
    low, high, best = 0.1, 1e4, None
    for _ in range(10):
        scale = math.sqrt(low * high)
        found = felzenszwalb(picture, scale=scale, sigma=0.5, min_size=smallest, channel_axis=-1)
        if best is None or abs(found.max() + 1 - count) < abs(best.max() + 1 - count):
            best = found
        low, high = (scale, high) if found.max() + 1 > count else (low, scale)
    return best


def _inner(inside: np.ndarray) -> np.ndarray:
    """The pixels of an area `[H, W]` whose four neighbours belong to it, too; beyond the picture nothing does."""
    around = np.pad(inside, 1)
    return inside & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]


def _numbered(canvas: np.ndarray, places: list[tuple[float, float]]) -> np.ndarray:
    """Numbers from 1 at the (row, column) places of a picture `[h, w, 3]` in `[0, 1]`; returned as float32."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray((canvas * 255).round().astype(np.uint8))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(max(12, min(canvas.shape[:2]) // 20))
    for number, (row, column) in enumerate(places, 1):
        draw.text((column, row), str(number), fill="white", font=font, anchor="mm", stroke_width=2, stroke_fill="black")
    return np.asarray(image, np.float32) / 255
