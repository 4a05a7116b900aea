"""Put a patch on your pictures and see what they are taken for: send one here from Adversarial patch, add other pictures to the
set, and move the sliders, or paint on the current picture where it is to lie. Any picture whose name begins with “patch” is one.

The patch of Brown, Mane, Roy, Abadi and Gilmer 2017, arXiv:1712.09665, laid on by hand. A painted area stands for the largest patch that fits into
the frame around it; several areas are several patches. The map moves one patch over the first picture, as Zeiler and Fergus 2014,
arXiv:1311.2901, section 4.2, move a grey square: what it says of a place is the probability of the class with the middle of the patch there.
Beside the patch, one of white noise lies at the same place: what that changes is done by covering something alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple

from techniques.base import (
    Gallery, Heatmap, Help, LoadedModel, Mask, Note, ParameterError, Predictions, Range, Run, Samples, Seed, Table, TargetClass, technique, torch,
)  # fmt: skip
from techniques.base.attacks import answered, draw
from techniques.base.attacks.one_for_all import Change, examples, logits_of
from techniques.base.batches import batch_size, parts
from techniques.base.placing import Placement, Shape, placed, side_of

NAME = "patch"  # what the name of a patch begins with
SHOWN = 6  # pictures
COLUMNS = ("picture", "as it is", "probability", "with the patch", "probability of that", "changed", "with noise", "changed by noise")


class Answer(NamedTuple):
    pictures: Gallery
    predictions: Predictions
    note: Note
    table: Table | None
    everywhere: Heatmap | None


@dataclass(frozen=True, eq=False)
class Laid:
    """A patch `[1, C, h, w]`, one of white noise, and where both lie on every picture."""

    patch: torch.Tensor
    noise: torch.Tensor
    shape: str
    places: Sequence[Placement]

    def on(self, patch: torch.Tensor) -> Change:
        def lay(pixels: torch.Tensor) -> torch.Tensor:
            for place in self.places:
                pixels = placed(pixels, patch, [place], self.shape)
            return pixels

        return lay

    @property
    def covered(self) -> str:
        share = sum(place.side**2 for place in self.places) * (math.pi / 4 if self.shape == "round" else 1)
        return f"{100 * share:.3g} % of the picture"


@technique(
    title="Place a patch",
    family="Robustness",
    paper="arXiv:1712.09665",
    order=76,
    limits="A patch also hides what lies under it: compare the patch of noise. What works at one place and size need not at another: look at the map. "
    "It was learned for one model; on another one it may be no more than a colourful disc.",
)
def place_patch(
    samples: Samples,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    mask: Mask = None,
    patch: Annotated[
        Literal["by its name", "first", "last"], Help("Which picture of the set is the patch: the last one that is called so, else the last of all; or by its place.")
    ] = "by its name",
    shape: Shape = "round",
    across: Annotated[int, Range(0, 100, 1, "% from the left"), Help("Where the middle of the patch lies, where nothing is painted.")] = 70,
    down: Annotated[int, Range(0, 100, 1, "% from the top"), Help("Where the middle of the patch lies, where nothing is painted.")] = 70,
    size: Annotated[int, Range(1, 60, 1, "% of the picture"), Help("How much of the picture it covers, where nothing is painted.")] = 10,
    rotation: Annotated[int, Range(-180, 180, 1, "degrees"), Help("How far it is turned, counterclockwise.")] = 0,
    grid: Annotated[int, Range(2, 24, 1, "places each way"), Help("How finely the map is made of the first picture with the patch everywhere.")] = 6,
    seed: Seed = 0,
) -> Answer:
    """Some pictures as they are, with the patch, and with one of noise; what the model says to each; and on the first picture the probability `[H, W]`
    of the chosen class, else of the one that the patch brings most often, with the patch in each place. Raises ParameterError for a patch alone."""
    if len(samples) < 2:
        raise ParameterError("There is one picture in the set; a patch and at least one other picture are needed. Add pictures to put it on.")
    position = _position(samples, patch)
    sticker = samples[position].pixels
    others = samples.only(number for number in range(len(samples)) if number != position)
    noise = draw(torch.rand, sticker, torch.Generator().manual_seed(seed))
    laid = Laid(sticker, noise, shape, _painted(mask, rotation) or [Placement(down / 100, across / 100, side_of(size / 100, shape), rotation)])
    changes = {"with the patch": laid.on(sticker), "with noise": laid.on(noise)}
    first = logits_of(others.only([0]), model, run, lambda pixels: pixels, *changes.values())
    name = samples.origins[position]
    labels = {"with the patch": f"With {name[:1].lower()}{name[1:]}", "with noise": "With a patch of noise"}
    shown = replace(examples(others.only(range(min(SHOWN, len(others)))), model, changes, labels), caption=f"On {laid.covered}")
    predictions = Predictions.of(model, torch.cat(first), ("as it is", *changes), f"The first picture, {others.origins[0]}")
    answer = Answer(shown, predictions, Note(f"“{name}” is the patch."), None, None)
    run.show(lambda: answer)
    said = logits_of(others, model, run.part(0, 2, "All pictures"), lambda pixels: pixels, *changes.values())
    before, after, noisy = (answered(model, model.predicted(said[0]), logits) for logits in said)
    aim = Counter(after.tolist()).most_common(1)[0][0] if target is None else target
    note = Note(f"{answer.note.text} {_story(model, laid, aim, before, after, noisy)}")
    answer = answer._replace(note=note, table=_table(model, others.origins, said, (before, after, noisy)))
    run.show(lambda: answer)
    return answer._replace(everywhere=_everywhere(model, others[0].pixels, laid, aim, grid, run.part(1, 2, "The patch everywhere")))


def _position(samples: Samples, patch: str) -> int:
    """The number of the patch in the set."""
    called = [number for number, origin in enumerate(samples.origins) if origin.lower().startswith(NAME)]
    last = len(samples) - 1
    return {"first": 0, "last": last, "by its name": (called or [last])[-1]}[patch]


def _painted(mask: tuple | None, rotation: float) -> list[Placement]:
    """A place for each painted area: the middle of its frame, and the largest side that fits into it."""
    found = []
    for plane in mask or ():
        rows, columns = plane.any(1).nonzero()[0], plane.any(0).nonzero()[0]
        if len(rows):
            (top, bottom), (left, right) = ((line[0] / length, (line[-1] + 1) / length) for line, length in zip((rows, columns), plane.shape))
            found.append(Placement((top + bottom) / 2, (left + right) / 2, min(bottom - top, right - left), rotation))
    return found


def _table(model: LoadedModel, origins: list[str], said: Sequence[torch.Tensor], answers: Sequence[torch.Tensor]) -> Table:
    shares = [model.shares(logits) for logits in said]
    rows = []
    for number, (origin, before, after, noisy) in enumerate(zip(origins, *(answer.tolist() for answer in answers))):
        rows.append((
            origin, model.label(before), float(shares[0][number, before]), model.label(after), float(shares[1][number, after]), int(after != before),
            model.label(noisy), int(noisy != before),
        ))  # fmt: skip
    return Table(COLUMNS, tuple(rows), caption="What the model says to each picture")


def _story(model: LoadedModel, laid: Laid, aim: int, before: torch.Tensor, after: torch.Tensor, noisy: torch.Tensor) -> str:
    changed, by_noise = (int((answers != before).sum()) for answers in (after, noisy))
    pictures = f"{len(before)} picture{'s' * (len(before) > 1)}"
    return (
        f"On {laid.covered} it changes the answer to {changed} of {pictures}, a patch of noise there to {by_noise}. With it {int((after == aim).sum())} are "
        f"answered as “{model.label(aim)}”, without it {int((before == aim).sum())}."
    )


def _everywhere(model: LoadedModel, pixels: torch.Tensor, laid: Laid, target: int, count: int, run: Run) -> Heatmap:
    """The probability of the class with the patch, as large and as far turned as the first, at each place where it fits; between them bilinear."""
    side, rotation = laid.places[0].side, laid.places[0].rotation
    middles = torch.linspace(side / 2, 1 - side / 2, count if side < 1 else 1).tolist()
    found = []
    for some in run.steps(parts([(down, across) for down in middles for across in middles], batch_size(model)), "batch"):
        lying = placed(pixels, laid.patch, [Placement(*middle, side, rotation) for middle in some], laid.shape)
        found.append(model.probabilities(lying.clamp(0, 1))[:, target])
    values = torch.cat(found).view(1, 1, len(middles), len(middles))
    spans = [((torch.arange(length) + 0.5) / length - side / 2) / max(1 - side, 1e-6) for length in pixels.shape[2:]]
    down, across = torch.meshgrid(*(2 * span - 1 for span in spans), indexing="ij")
    where = torch.stack([across, down], -1)[None].to(values)
    smooth = torch.nn.functional.grid_sample(values, where, padding_mode="border", align_corners=True)[0, 0]
    caption = f"Probability of “{model.label(target)}” with the middle of the patch here; towards the border, of the nearest place where it fits"
    return Heatmap(smooth, unit="probability", caption=caption, below=pixels[0])
