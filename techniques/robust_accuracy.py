"""How many pictures of a set are still answered rightly when each of them is attacked, and which ones give way. White noise of the same
size is the control.

Robust accuracy is that of RobustBench, Croce et al. 2021, arXiv:2010.09670, section 2, with one attack of your choice in the place of an
ensemble: the share of pictures answered rightly both as they are and attacked, an upper bound for what is left under the worst change
of that size. The right class of a picture is the group it belongs to, where the model has a class of this name, else the one it
predicts before the attack, and then accuracy is 100 % to begin with.

A long run may be stopped, and Run goes on: what was found is remembered while the app runs, by model, attack, settings and pixels.
Pictures are attacked in batches, each with the same seed whatever came before, so a run that goes on gives the numbers of one that was
never stopped. With batches of one, each picture's numbers are those of the attack's own tab.
"""

from __future__ import annotations

from functools import partial
from statistics import mean, median
from typing import Annotated, NamedTuple

from techniques.base import (
    TECHNIQUES, Epsilon, Gallery, Help, IncompatibleModel, LoadedModel, Note, OneOf, Picture, Range, Run, Sample, Samples, Seed, Table, TargetClass,
    technique, torch,
)  # fmt: skip
from techniques.base.attacks import Norm, answered, attacks, limit_of, none_fits, settings_of
from techniques.base.attacks.memory import Found
from techniques.base.attacks.sets import Batches, is_right
from techniques.base.drawing.svg import percent

SHOWN = 24  # pictures that are shown before and after
COLUMNS = (
    "picture", "right class", "says before", "probability", "says attacked", "probability then", "success", "L2", "L-infinity in 1/255", "queries",
)  # fmt: skip


class Answer(NamedTuple):
    note: Note
    accuracy: Table
    pictures: Gallery
    by_picture: Table


class Row(NamedTuple):
    """One picture: its row of the table, and of the picture as it is, attacked, and with white noise whether it is answered rightly and the
    probability of its right class."""

    cells: tuple[str | int | float, ...]
    right: tuple[bool, bool, bool]
    shares: tuple[float, float, float]


@technique(
    title="Robust accuracy",
    family="Robustness",
    paper="arXiv:2010.09670",
    order=84,
    limits="It is an upper bound: another attack, or more steps of this one, may fool the model on more pictures. Where the groups name no "
    "classes, pictures that the model gets wrong count as right.",
    why_not=none_fits,
)
def robust_accuracy(
    samples: Samples,
    model: LoadedModel,
    run: Run,
    *,
    method: Annotated[str, OneOf(attacks), Help("The attack on every picture, with its own defaults.")] = "pgd",
    epsilon: Epsilon = 2.0,
    norm: Norm = "linf",
    batch: Annotated[int, Range(1, 64, 1, "pictures"), Help("How many pictures are attacked at one time; more are faster and take more memory.")] = 8,
    target: TargetClass = None,
    seed: Seed = 0,
) -> Answer:
    """Shares of pictures that are answered rightly and mean probabilities of the right class; a row per picture, sizes in units of
    intensity (L2) and in 1/255, queries (forward passes) as the mean of its batch. Raises IncompatibleModel when the attack does not fit."""
    chosen = TECHNIQUES[method]
    if reason := chosen.why_not(model):
        raise IncompatibleModel(f"{chosen.title} does not work on {model.title}: {reason}")
    batches = Batches(chosen, model, settings_of(chosen, epsilon=epsilon, norm=norm), target, seed)
    rows: list[Row] = []
    shown: list[tuple[str, Picture]] = []
    remembered, parts = 0, samples.batches(batch)
    for number, part in enumerate(parts):
        pictures = list(part)
        stage = run.part(number, len(parts), f"{len(rows)} of {len(samples)} pictures")
        pixels, groups = torch.cat([sample.pixels for sample in pictures]), [sample.group for sample in pictures]
        right, found, known = batches.attack(pixels, groups, SHOWN - len(rows), stage)
        remembered += known * len(part)
        for sample, index, each in zip(pictures, right.tolist(), found):
            rows.append(_row(sample.origin, model, index, each))
            shown.extend(_before_and_after(sample, rows[-1], each, batches) if len(rows) <= SHOWN else ())
        run.show(partial(_answer, rows, shown, batches, remembered, len(samples)))
    return _answer(rows, shown, batches, remembered, len(samples))


def _row(origin: str, model: LoadedModel, right: int, found: Found) -> Row:
    """A picture that is not answered rightly as it is counts as lost, wherever the attack or the noise leaves it."""
    logits, classes = torch.stack(found[:3]), torch.full((3,), right)
    shares, says = model.shares(logits), answered(model, classes, logits).tolist()
    said = [cell for row in (0, 1) for cell in (model.label(says[row]), float(shares[row, says[row]]))]
    before, after, noisy = is_right(model, classes, logits).tolist()
    cells = (origin, model.label(right), *said, int(found.reached), found.l2, found.largest, found.forward)
    return Row(cells, (before, before and after, before and noisy), tuple(shares[:, right].tolist()))


def _before_and_after(sample: Sample, row: Row, found: Found, batches: Batches) -> list[tuple[str, Picture]]:
    """The picture and what the attack made of it, each with what the model says."""
    before, share, after, share_after = row.cells[2:6]
    label = f"{batches.technique.title}, {limit_of(batches.technique, batches.settings)}, of {sample.origin}"
    return [
        (f"{sample.origin}: {before} {percent(share)}", Picture(sample.pixels[0].clone(), label=sample.origin)),
        (f"attacked: {after} {percent(share_after)}", Picture(found.attacked.clone(), label=label)),
    ]


def _answer(rows: list[Row], shown: list[tuple[str, Picture]], batches: Batches, remembered: int, count: int) -> Answer:
    accuracy, shares = ([mean(map(float, column)) for column in zip(*(getattr(row, name) for row in rows))] for name in ("right", "shares"))
    title, limit = batches.technique.title, limit_of(batches.technique, batches.settings)
    treated = ("as they are", f"attacked by {title}", "with white noise of the same size")
    told = [
        f"Of {len(rows)} pictures {percent(accuracy[0])} are answered rightly as they are, {percent(accuracy[1])} when {title} attacks them "
        f"({limit}), {percent(accuracy[2])} with white noise of the same size."
    ]
    sizes = [row.cells[7] for row in rows if row.cells[6]]
    if sizes:
        told.append(f"The attack succeeds on {len(sizes)}, by changes with a median L2 of {median(sizes):.3g}.")
    if remembered:
        told.append(f"{remembered} of {count} were remembered.")
    names, pictures = zip(*shown)
    return Answer(
        Note(" ".join(told)),
        Table(("pictures", "accuracy", "probability of the right class"), tuple(zip(treated, accuracy, shares)), caption="Means over the pictures"),
        Gallery(pictures, names, columns=4, caption=f"Before and after, for the first {len(shown) // 2} pictures"),
        Table(COLUMNS, tuple(row.cells for row in rows), caption=f"{len(rows)} of {count} pictures; queries are the mean of a batch"),
    )
