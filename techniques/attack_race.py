"""Which attack fools this model soonest, and with the smallest change: several attacks on the same pictures, each with the same
number of passes through the network. White noise and nothing at all run with them.

Success over the passes that were spent is the second robustness curve of Dong et al. 2020, arXiv:1912.11852 (attack success rate
against attack strength); epsilon and norm are the same for all attacks that have them, as they ask of a fair comparison. A
success is a picture that is answered otherwise than before, or as the class that is chosen at the top. Departures: strength is
counted in pictures that go through the network, there and back, not in iterations, whose price differs from attack to
attack; it stands beside the forward passes alone, which are the queries of an attack without gradients.

Each attack has its own defaults; where it has a number of steps or queries, that is set to what the budget pays for (`budget`
in `techniques.base.attacks`). What is not found by then counts as failure. Each picture is attacked alone, as on the
attack's own tab, so that every number can be looked up there. Time is told as a text: no run can repeat it to the digit.
"""

from __future__ import annotations

from functools import partial
from statistics import mean, median
from typing import Annotated, NamedTuple

from techniques.base import (
    TECHNIQUES, Curve, Epsilon, Gallery, Help, LoadedModel, Note, Picture, Range, Run, Sample, Samples, Seed, Several, Table, TargetClass, technique,
    torch,
)  # fmt: skip
from techniques.base.attacks import Ball, Norm, answered, attacks, limit_in_words, limit_of, none_fits, settings_of
from techniques.base.attacks.race import Entry, Race
from techniques.base.drawing.svg import percent

COLUMNS = ("attack", "knows", "limited by", "success", "L2", "L-infinity in 1/255", "SSIM", "fooled after", "passes", "queries", "time")
POINTS = 41  # of the curve of success


class Answer(NamedTuple):
    standings: Table
    success: Curve
    pictures: Gallery
    note: Note


@technique(
    title="Attack race",
    family="Robustness",
    paper="arXiv:1912.11852",
    order=80,
    limits="The winner is so on these pictures, at this budget and with the defaults of each attack: a slow attack may win with a larger "
    "budget. Attacks without gradients are at a disadvantage that is no weakness of theirs; compare them with each other.",
    why_not=none_fits,
)
def attack_race(
    samples: Samples,
    model: LoadedModel,
    run: Run,
    *,
    methods: Annotated[tuple[str, ...], Several(attacks), Help("The attacks that run against each other.")] = ("fgsm", "pgd", "deep_fool"),
    budget: Annotated[int, Range(3, 20000, 1, "passes"), Help("How many passes, there and back, each attack has for each picture.")] = 20,
    epsilon: Epsilon = 2.0,
    norm: Norm = "linf",
    target: TargetClass = None,
    seed: Seed = 0,
) -> Answer:
    """A row for each attack: share of successes, median sizes of those changes that succeeded, median passes; success over passes; and
    what each attack made of the first picture."""
    refused = {TECHNIQUES[name].title: reason for name in methods if (reason := TECHNIQUES[name].why_not(model))}
    fit = [TECHNIQUES[name] for name in methods if TECHNIQUES[name].title not in refused]
    race, parts = Race(model, budget, target, seed), len(samples) + 1
    noise, nothing = Entry("white noise", "nothing", limit_in_words({"epsilon": epsilon, "norm": norm})), Entry("nothing", "nothing", "no change")
    for sample in samples:
        race.control(noise, nothing, Ball(sample.pixels, epsilon, norm), run)
    entries: list[Entry] = []
    for number, entrant in enumerate(fit):
        part, settings = run.part(number, len(fit), entrant.title), settings_of(entrant, epsilon=epsilon, norm=norm)
        settings |= race.length(entrant, samples[0].pixels, settings, part.part(0, parts, "what a step costs"))
        entries.append(Entry(entrant.title, entrant.attack.knowledge, limit_of(entrant, settings)))
        for place, sample in enumerate(samples, 1):
            race.run(entries[-1], entrant, sample.pixels, settings, part.part(place, parts, f"picture {place}"))
            run.show(partial(_answer, entries, [noise, nothing], refused, samples, model, budget))
    return _answer(entries, [noise, nothing], refused, samples, model, budget)


def _answer(entries: list[Entry], controls: list[Entry], refused: dict[str, str], samples: Samples, model: LoadedModel, budget: int) -> Answer:
    empty = [(title, *("",) * (len(COLUMNS) - 2), "does not fit this model") for title in refused]
    counted = f"{len(samples)} picture{'s' * (len(samples) > 1)}"
    caption = f"{counted}, up to {budget} passes each; medians, those before “passes” over the pictures that are fooled"
    return Answer(
        Table(COLUMNS, (*map(_row, entries), *empty, *map(_row, controls)), caption=caption),
        _curve([*entries, controls[0]], budget),
        _gallery([*entries, controls[0]], samples[0], model),
        Note(" ".join([_told(entries, controls[0]), *(f"{title}: {reason}" for title, reason in refused.items())])),
    )


def _row(entry: Entry) -> tuple[str | float, ...]:
    """The size of a change that did not succeed says nothing; where none did, there are no sizes."""
    sizes = [float(_won(entry, of)) if _success(entry) else "" for of in ("l2", "largest", "similar", "after")]
    passes = float(median(lap.forward + lap.backward for lap in entry.laps)), float(median(lap.forward for lap in entry.laps))
    seconds = median(lap.seconds for lap in entry.laps)
    return entry.name, entry.knows, entry.limit, _success(entry), *sizes, *passes, f"{seconds:.2g} s" if seconds else ""


def _success(entry: Entry) -> float:
    return mean(float(lap.reached) for lap in entry.laps)


def _curve(entries: list[Entry], budget: int) -> Curve:
    """The share of pictures for which each attack succeeds when it is stopped after so many passes."""
    passes, lines = torch.linspace(0, budget, POINTS), {}
    for entry in entries:
        lines[entry.name] = torch.tensor([mean(float(lap.reached_after(spent)) for lap in entry.laps) for spent in passes.tolist()])
    return Curve(passes, lines, x_label="passes", y_label="success", caption="The share of pictures that are fooled after so many passes")


def _gallery(entries: list[Entry], sample: Sample, model: LoadedModel) -> Gallery:
    """The first picture, and what came of it, each with what the model says to it."""
    with torch.no_grad():
        start = model.logits(sample.pixels)
    before = model.predicted(start)

    def said(name: str, logits: torch.Tensor) -> str:
        after = int(answered(model, before, logits))
        return f"{name}: {model.label(after)} {percent(float(model.shares(logits)[0, after]))}"

    items = [Picture(sample.pixels[0], label=sample.origin), *(_picture(entry, sample) for entry in entries)]
    names = [said("original", start), *(said(entry.name, entry.shown[0][1]) for entry in entries)]
    return Gallery(tuple(items), tuple(names), caption="The first picture; every one can be sent on")


def _picture(entry: Entry, sample: Sample) -> Picture:
    return Picture(entry.shown[0][0][0], label=f"{entry.name}, {entry.limit}, of {sample.origin}")


def _told(entries: list[Entry], noise: Entry) -> str:
    """Who wins: the most successes, and among equals the fewest passes until then, and the smallest change."""
    told = []
    if entries:
        most = max(map(_success, entries))
        best = [entry for entry in entries if _success(entry) == most]
        named = " and ".join(entry.name for entry in best) if len(best) < 3 else f"{len(best)} of {len(entries)} attacks"
        told.append(f"{named} {'fools' if len(best) == 1 else 'fool'} the model on {percent(most)} of the pictures")
        if most and len(best) > 1:
            soonest, smallest = (min(best, key=partial(_won, of=of)) for of in ("after", "l2"))
            told.append(f"Soonest: {soonest.name}, after {_won(soonest, 'after'):g} passes")
            told.append(f"Smallest change: {smallest.name}, L2 {_won(smallest, 'l2'):.3g}")
    told.append(f"White noise at the same distance does so on {percent(_success(noise))}")
    return ". ".join(told) + "."


def _won(entry: Entry, of: str) -> float:
    return median(getattr(lap, of) for lap in entry.laps if lap.reached)
