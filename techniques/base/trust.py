"""How far a heat map can be believed, measured in parts: what its pixels decide, and what becomes of it when the weights, the
picture or the zero point of the pixels change.

- Deletion and insertion: Petsiuk, Das and Saenko 2018 (RISE), arXiv:1806.07421, section 4.2. Pixels go, or come, in the order
  of the map, and the probability of the class is followed; the area under the curve is the mean over the shares of pixels.
  Departures: what stands for a missing pixel is one setting for both curves, and each is shown beside two controls: the same
  map put at random other places of the picture (round its borders), and the pixels in random order. A random order makes noise
  of a picture, which many networks cannot stand; only the first control takes away as large connected parts as the map does.
- Cascading randomization: Adebayo et al. 2018, arXiv:1810.03292, sections 3.1 and 4.1; see `techniques.base.scrambling`. The
  likeness of two maps is Spearman's rank correlation of their absolute values.
- Sensitivity: Yeh et al. 2019, arXiv:1901.09392, definition 2, as a search by chance: the largest |map' - map| / |map|
  (Euclidean norms) over copies of the picture with uniform noise. Departure: copies are clipped to [0, 1].
- Input shift: Kindermans et al. 2017, arXiv:1711.00867; see `techniques.base.scrambling`.
- Infidelity: Yeh et al. 2019, definition 1 and section 3. A map has one number per pixel, so a perturbation is here which pixels
  are there (1) or filled (0): half a dozen squares at random places are filled. Departures: the map may be scaled by the factor
  that fits best (proposition 1), as maps come in many units, and the error is given as the share of the mean squared change
  of the logit that the map does not explain, from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from model_zoo.deferred import torch
from techniques.base.agreement import rank_correlation
from techniques.base.batches import batch_size, parts
from techniques.base.covering import fill_pixels
from techniques.base.results import Heatmap
from techniques.base.scrambling import scrambled, shifted

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.maps import Question
    from techniques.base.run import Run
    from techniques.base.sample import Sample

READINGS = {
    "scrambling": "Scrambled weights",
    "curves": "Deletion and insertion",
    "noise": "Small noise",
    "shift": "Input shift",
    "infidelity": "Infidelity",
}
SQUARES, SIDE = 6, 0.15  # of a perturbation: how many, and their side as a share of the picture's shorter one


class Sizes(NamedTuple):
    """How much is measured: `points` of a curve, `controls` of each kind, `stages` of scrambling, `copies` with noise of up to
    `noise` (in units of intensity), `shift` of the zero point (the same), `squares` perturbations; `fill` stands for a missing pixel."""

    points: int = 10
    controls: int = 2
    stages: int = 5
    copies: int = 4
    noise: float = 0.02
    shift: float = -0.5
    squares: int = 40
    fill: str = "blur"
    seed: int = 0


class Curves(NamedTuple):
    """Probability of the class `[points + 1]` while pixels go and come, from none to all: in the order of the map, of the same
    map elsewhere, and by chance, each of the latter a mean over several."""

    deletion: np.ndarray
    insertion: np.ndarray
    deletion_elsewhere: np.ndarray
    insertion_elsewhere: np.ndarray
    deletion_random: np.ndarray
    insertion_random: np.ndarray


class Scrambling(NamedTuple):
    """Likeness to the map of the trained network `[stages]`, each with the layer down to which, and how many of the `of` layers."""

    likeness: tuple[float, ...]
    layers: tuple[str, ...]
    counts: tuple[int, ...]
    of: int
    maps: tuple[Heatmap, ...]


class Noise(NamedTuple):
    """Relative change of the map for each noisy copy of the picture, and when only the seed is another (None where there is no seed)."""

    changes: tuple[float, ...]
    reseeded: float | None
    picture: np.ndarray
    map: Heatmap
    other_seed: Heatmap | None


class Shift(NamedTuple):
    """Likeness of the map when the zero point has moved, and by how much the largest logit has changed: rounding only."""

    likeness: float
    logit_change: float
    map: Heatmap


@dataclass(frozen=True)
class Readings:
    """What has been measured of one map so far."""

    map: Heatmap
    scrambling: Scrambling | None = None
    curves: Curves | None = None
    noise: Noise | None = None
    shift: Shift | None = None
    infidelity: float | None = None


def readings(
    question: Question, sample: Sample, model: LoadedModel, target: int, which: tuple[str, ...], sizes: Sizes, run: Run
) -> Iterator[Readings]:
    """Measure what is named in `which`, and yield all that is known after each reading, the map alone first."""
    which = [name for name in READINGS if name in which]
    parts = len(which) + 1
    map_ = question.answer(sample, model, run.part(0, parts, "The map"))
    known = Readings(map_)
    yield known
    values = np.asarray(map_.values, np.float64)
    for number, name in enumerate(which, 1):
        part = run.part(number, parts, READINGS[name])
        if name == "curves":
            found = curves(values, sample.pixels, model, target, sizes, part)
        elif name == "infidelity":
            found = infidelity(values, sample.pixels, model, target, sizes, part)
        else:
            found = {"scrambling": scrambling, "noise": noise, "shift": shift}[name](question, map_, sample, model, sizes, part)
        known = replace(known, **{name: found})
        yield known


def gain(found: Curves) -> float:
    """How much more the map decides than the same map put elsewhere: insertion less deletion, less that of the control, from -2 to 2."""
    own = area(found.insertion) - area(found.deletion)
    return own - (area(found.insertion_elsewhere) - area(found.deletion_elsewhere))


def relative_change(values: np.ndarray, other: np.ndarray) -> float:
    """|other - values| / |values|, Euclidean; of a map that is zero everywhere 0 when the other is, too, else 1."""
    size = float(np.linalg.norm(np.asarray(values, np.float64)))
    change = float(np.linalg.norm(np.asarray(other, np.float64) - values))
    return change / size if size else float(change > 0)


def area(line: np.ndarray) -> float:
    """The area under a curve over shares from 0 to 1, by trapezoids."""
    return float(((line[1:] + line[:-1]) / 2).mean())


def curves(values: np.ndarray, pixels: torch.Tensor, model: LoadedModel, target: int, sizes: Sizes, run: Run) -> Curves:
    """Deletion and insertion of a map `[H, W]` of the picture `pixels` `[1, C, H, W]`."""
    generator = np.random.default_rng(sizes.seed)
    height, width = values.shape
    shifts = [generator.integers(1, max(2, side), sizes.controls) for side in (height, width)]
    elsewhere = [np.roll(values, (down, right), (0, 1)) for down, right in zip(*shifts)]
    chance = [np.zeros_like(values)] * sizes.controls  # equal values stand in random order
    lines = _lines([_turns(map_, generator) for map_ in (values, *elsewhere, *chance)], pixels, model, target, sizes, run)
    middle = 1 + sizes.controls
    return Curves(*lines[0], *lines[1:middle].mean(0), *lines[middle:].mean(0))


def _turns(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Whose turn is when, from the highest value to the lowest, equal ones in random order: int `[H, W]`."""
    order = np.lexsort((generator.permutation(values.size), -values.ravel()))
    turns = np.empty(values.size, np.int64)
    turns[order] = np.arange(values.size)
    return turns.reshape(values.shape)


def _lines(orders: list[np.ndarray], pixels: torch.Tensor, model: LoadedModel, target: int, sizes: Sizes, run: Run) -> np.ndarray:
    """Probability of the target while pixels go (0) and come (1) in each order: `[orders, 2, points + 1]`."""
    filling = fill_pixels(sizes.fill, pixels, sizes.seed)
    turns = [torch.from_numpy(order).to(pixels.device) for order in orders]
    ends = model.probabilities(torch.cat([filling, pixels]))[:, target].cpu().numpy()
    lines = np.empty((len(orders), 2, sizes.points + 1))
    lines[:, 0, 0] = lines[:, 1, -1] = ends[1]
    lines[:, 0, -1] = lines[:, 1, 0] = ends[0]
    places = [(order, comes, point) for order in range(len(orders)) for comes in (0, 1) for point in range(1, sizes.points)]
    for batch in run.steps(parts(places, batch_size(model)), "batch"):
        pictures = []
        for order, comes, point in batch:
            turned = turns[order] < round(turns[order].numel() * point / sizes.points)
            pictures.append(torch.where(turned, *((pixels, filling) if comes else (filling, pixels))))
        for place, probability in zip(batch, model.probabilities(torch.cat(pictures))[:, target].tolist()):
            lines[place] = probability
    return lines


def scrambling(question: Question, map_: Heatmap, sample: Sample, model: LoadedModel, sizes: Sizes, run: Run) -> Scrambling:
    """The map of networks that are scrambled further and further, on one copy of the network (as much memory as its weights)."""
    found = []
    run.check()
    for stage in scrambled(model, sample.pixels, sizes.stages, sizes.seed):
        part = run.part(len(found), sizes.stages, f"down to {stage.name}")
        other = question.answer_or_nothing(sample, stage.model, part, map_)
        found.append((rank_correlation(map_.values, other.values), stage.name, stage.count, other))
    likeness, layers, counts, maps = zip(*found)
    return Scrambling(likeness, layers, counts, stage.of, maps)


def noise(question: Question, map_: Heatmap, sample: Sample, model: LoadedModel, sizes: Sizes, run: Run) -> Noise:
    """The map of noisy copies of the picture; and, where the technique has a seed, of the picture with another seed."""
    generator = torch.Generator().manual_seed(sizes.seed)
    total = sizes.copies + bool(question.seed)
    changes, first = [], None
    for number in range(sizes.copies):
        moved = (2 * torch.rand(sample.pixels.shape, generator=generator) - 1).to(sample.pixels) * sizes.noise
        pixels = (sample.pixels + moved).clamp(0, 1)
        other = question.answer_or_nothing(sample, model, run.part(number, total, f"copy {number + 1}"), map_, pixels=pixels)
        changes.append(relative_change(map_.values, other.values))
        first = first or (pixels[0].cpu().numpy(), other)
    reseeded = None
    if question.seed:
        changed = {question.seed: (question.settings[question.seed] + 1) % 2**31}
        reseeded = question.answer_or_nothing(sample, model, run.part(sizes.copies, total, "another seed"), map_, **changed)
    change = None if reseeded is None else relative_change(map_.values, reseeded.values)
    return Noise(tuple(changes), change, *first, reseeded)


def shift(question: Question, map_: Heatmap, sample: Sample, model: LoadedModel, sizes: Sizes, run: Run) -> Shift:
    """The map of the same picture written with another zero point, for the network that gives the same answers for it."""
    other, pixels = shifted(model, sizes.shift), sample.pixels + sizes.shift
    run.check()
    with torch.no_grad():
        change = (other.logits(pixels) - model.logits(sample.pixels)).abs().amax()
    moved = question.answer_or_nothing(sample, other, run, map_, pixels=pixels)
    return Shift(rank_correlation(map_.values, moved.values), float(change), moved)


def infidelity(values: np.ndarray, pixels: torch.Tensor, model: LoadedModel, target: int, sizes: Sizes, run: Run) -> float:
    """The share of the logit's mean squared change, when squares are filled, that the map does not explain; 0 where nothing changes."""
    filling = fill_pixels(sizes.fill, pixels, sizes.seed)
    gone = perturbations(values.shape, sizes.squares, sizes.seed)
    run.check()
    with torch.no_grad():
        before = model.logits(pixels)[0, target]
        after = []
        for batch in run.steps(parts(list(gone), batch_size(model)), "batch"):
            covered = torch.from_numpy(np.stack(batch))[:, None].to(pixels.device)
            after.append(model.logits(torch.where(covered, filling, pixels))[:, target])
    change = (before - torch.cat(after)).double().cpu().numpy()
    told = np.array([values[plane].sum() for plane in gone])
    scale = told @ change / (told @ told) if told.any() else 0.0
    return float(np.mean((scale * told - change) ** 2) / np.mean(change**2)) if change.any() else 0.0


def perturbations(size: tuple[int, int], count: int, seed: int) -> np.ndarray:
    """Which pixels are filled, bool `[count, H, W]`: squares at random places."""
    generator = np.random.default_rng(seed)
    side = max(1, round(SIDE * min(size)))
    gone = np.zeros((count, *size), bool)
    for plane in gone:
        for _ in range(SQUARES):
            top, left = (generator.integers(0, length - side + 1) for length in size)
            plane[top : top + side, left : left + side] = True
    return gone
