"""Which kinds of heat map can be believed on this model, and what each costs: a row per technique, every number a mean over
your pictures. Press a column's head to sort by it.

The table that reviews of attribution methods draw by judgement, measured; the readings are those of `techniques.base.trust`
(Adebayo et al. 2018, arXiv:1810.03292; Petsiuk et al. 2018, arXiv:1806.07421; Yeh et al. 2019, arXiv:1901.09392), passes and
memory those of `techniques.base.cost`. Each technique runs with its defaults, for the class that the model predicts.

Time is told as a text, in bare forward passes that are timed in the same run: no run can repeat it to the digit. Passes and
memory are counted once, on the first picture.
"""

from __future__ import annotations

import time
from statistics import mean, median
from typing import Annotated, NamedTuple

from techniques.base import TECHNIQUES, Help, LoadedModel, Note, Range, Run, Sample, Samples, Seed, Table, technique, torch
from techniques.base.cost import Cost, cost_of
from techniques.base.covering import Fill
from techniques.base.maps import HeatMaps, Question, nothing_fits
from techniques.base.trust import Readings, Sizes, area, gain, readings
from techniques.base.verdict import PARTLY, SAME, likeness

COLUMNS = (
    "technique", "deletion", "insertion", "gain over elsewhere", "change by noise", "likeness, scrambled", "said of it", "time",
    "forward passes", "backward passes", "memory, MB",
)  # fmt: skip
WHICH = ("scrambling", "curves", "noise")
BARE = 5  # forward passes that are timed


class Answer(NamedTuple):
    table: Table
    note: Note


class Measured(NamedTuple):
    """A technique on one picture: the readings, and how long its map took in seconds."""

    known: Readings
    seconds: float


@technique(
    title="Measured table",
    family="Compare",
    paper="arXiv:1810.03292",
    order=30,
    limits="The numbers are of these pictures and this model, each technique with its defaults; few pictures make them uncertain. No "
    "column says that a map is right: deletion and insertion depend on the fill, and a map of noise passes the scrambling.",
    why_not=nothing_fits,
)
def trust_table(
    samples: Samples,
    model: LoadedModel,
    run: Run,
    *,
    methods: HeatMaps = ("grad_cam", "saliency", "occlusion"),
    seed: Seed = 0,
    stages: Annotated[int, Range(2, 20, 1, "stages"), Help("In how many stages the weights are scrambled, from the head down.")] = 3,
    copies: Annotated[int, Range(1, 50, 1, "noisy copies"), Help("How many copies of each picture with small noise are tried.")] = 2,
    points: Annotated[int, Range(4, 100, 1, "points"), Help("In how many steps pixels go and come; more are finer and slower.")] = 8,
    fill: Fill = "blur",
) -> Answer:
    """Areas under deletion and insertion (0 to 1), how much larger their difference is than for the same map elsewhere, largest
    relative change by noise, mean rank correlation after scrambling, time in forward passes, passes, and memory in 10^6 bytes."""
    sizes = Sizes(points=points, stages=stages, copies=copies, fill=fill, seed=seed)
    bare = _bare_pass(samples[0], model, run)
    refused = {name: TECHNIQUES[name].why_not(model) for name in methods}
    fit = [name for name in methods if not refused[name]]
    rows = [_refused(TECHNIQUES[name].title) for name in methods if refused[name]]
    told = [f"{TECHNIQUES[name].title}: {reason}" for name, reason in refused.items() if reason]
    for number, name in enumerate(fit):
        part = run.part(number, len(fit), TECHNIQUES[name].title)
        found: list[Measured] = []
        for place in range(len(samples)):
            sample = samples[place]
            found.append(_measured(name, sample, model, sizes, part.part(place, len(samples), f"picture {place + 1}")))
            if place == 0:
                question = _question(name, sample, model, sizes)
                cost = cost_of(lambda: question.answer(sample, model, part.part(0, len(samples), "counting passes")), model)
            shown = [*rows, _row(TECHNIQUES[name].title, found, cost, bare)]
            run.show(lambda shown=shown: _answer(shown, told, len(samples), bare))
        rows = shown
    return _answer(rows, told, len(samples), bare)


def _bare_pass(sample: Sample, model: LoadedModel, run: Run) -> float:
    """Seconds of one forward pass without a gradient, the median of several after one to warm up."""
    seconds = []
    with torch.no_grad():
        for _ in range(1 + BARE):
            run.check()
            seconds.append(_timed(lambda: model.logits(sample.pixels), model)[1])
    return median(seconds[1:])


def _timed(work, model: LoadedModel) -> tuple:
    """What the work comes to, and the seconds it took, what it has put into a GPU's queue included."""
    start = time.perf_counter()
    result = work()
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return result, time.perf_counter() - start


def _question(name: str, sample: Sample, model: LoadedModel, sizes: Sizes) -> Question:
    return Question.about(name, target=model.target(None, sample.pixels), layer=None, seed=sizes.seed)


def _measured(name: str, sample: Sample, model: LoadedModel, sizes: Sizes, run: Run) -> Measured:
    run.check()
    question = _question(name, sample, model, sizes)
    measuring = readings(question, sample, model, model.target(None, sample.pixels), WHICH, sizes, run)
    known, seconds = _timed(lambda: next(measuring), model)
    for known in measuring:
        pass
    return Measured(known, seconds)


def _row(title: str, found: list[Measured], cost: Cost, bare: float) -> tuple[str | float, ...]:
    """The means over the pictures that have been measured."""
    known = [measured.known for measured in found]
    like = mean(map(likeness, known))
    return (
        title,
        mean(area(item.curves.deletion) for item in known),
        mean(area(item.curves.insertion) for item in known),
        mean(gain(item.curves) for item in known),
        mean(max(item.noise.changes) for item in known),
        like,
        "do not trust it" if like >= SAME else "part is the picture" if like >= PARTLY else "follows the weights",
        f"{median(measured.seconds for measured in found) / bare:.3g} ×",
        round(cost.forward, 4),
        round(cost.backward, 4),
        cost.bytes / 1e6,
    )


def _refused(title: str) -> tuple[str, ...]:
    return (title, *("",) * 5, "does not fit this model", *("",) * (len(COLUMNS) - 7))


def _answer(rows: list[tuple], told: list[str], pictures: int, bare: float) -> Answer:
    counted = f"{pictures} picture{'s' * (pictures > 1)}"
    note = f"A bare forward pass took {1000 * bare:.3g} ms here; time is in such passes. " + " ".join(told)
    caption = f"Means over {counted}; deletion, change and likeness are good when small, insertion and gain when large"
    return Answer(Table(COLUMNS, tuple(rows), caption=caption), Note(note.strip()))
