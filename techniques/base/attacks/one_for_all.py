"""One change that is to fool a model on many pictures: which of them it is made on and which are held out, and what the model says to all of
them. Pictures are made when their turn comes, so that a thousand take no more memory than a few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from model_zoo.deferred import torch
from techniques.base.attacks.goal import answered
from techniques.base.batches import batch_size, parts
from techniques.base.drawing.svg import percent
from techniques.base.gradients import batches
from techniques.base.parameters import Help, Range
from techniques.base.results import Gallery, Picture, Table

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.run import Run
    from techniques.base.sample import Samples

MOST = 10  # pictures of one step: more of them move the change less often
BATCH = 16  # pictures that are looked at in one pass
LABELS = 10  # answers that are counted
Change = Callable[["torch.Tensor"], "torch.Tensor"]  # of pictures; what comes out is clipped to [0, 1]

HeldOut = Annotated[
    int, Range(0, 50, 5, "% of the pictures"), Help("So many are not learned from, but tell whether the result holds for pictures it has never met.")
]
Epochs = Annotated[int, Range(1, 100, 1, "epochs"), Help("How often every picture is met.")]


def hold_out(samples: Samples, share: float, generator: torch.Generator) -> tuple[list[int], list[int]]:
    """The positions of the pictures to learn from, and of a random `share` in percent that is held out; none is where the set is too small."""
    order = torch.randperm(len(samples), generator=generator).tolist()
    count = min(round(len(samples) * share / 100), len(samples) - 1)
    return sorted(order[count:]), sorted(order[:count])


def met(positions: list[int], model: LoadedModel, generator: torch.Generator) -> Iterator[list[int]]:
    """All positions once in random order, in batches that fit into memory with the way back."""
    shuffled = [positions[number] for number in torch.randperm(len(positions), generator=generator).tolist()]
    size = len(batches(model, MOST)[0])
    return (shuffled[start : start + size] for start in range(0, len(shuffled), size))


def logits_of(samples: Samples, model: LoadedModel, run: Run, *changes: Change) -> tuple[torch.Tensor, ...]:
    """What the model says to every picture under each of the `changes`, `[N, K]` on the CPU for each, also for no picture; AppError where that
    is not finite."""
    found: list[list[torch.Tensor]] = [[torch.empty(0, model.classes)] for _ in changes]
    for part in run.steps(samples.batches(min(BATCH, batch_size(model))), "Looking, batch"):
        pixels = part.pixels
        for answers, change in zip(found, changes):
            run.check()
            answers.append(model.valid_logits(change(pixels).clamp(0, 1)).cpu())
    return tuple(map(torch.cat, found))


def examples(samples: Samples, model: LoadedModel, changes: Mapping[str, Change], labels: Mapping[str, str]) -> Gallery:
    """A few pictures, each as it is and under each of the `changes`, side by side, with what the model says to it. `labels` says what a
    changed picture is called when it is sent on."""
    changes = {"as it is": lambda pixels: pixels, **changes}
    pictures = torch.cat([change(sample.pixels).clamp(0, 1) for sample in samples for change in changes.values()])
    logits = torch.cat([model.valid_logits(part) for part in parts(pictures, batch_size(model))])
    said = answered(model, model.predicted(logits[:: len(changes)]).repeat_interleave(len(changes)), logits)
    names = [f"{model.label(int(answer))} {percent(float(share[answer]))}" for answer, share in zip(said, model.shares(logits))]
    kinds = [(sample.origin, kind) for sample in samples for kind in changes]
    items = (
        Picture(pixels, label=f"{labels[kind]}, on {origin}" if kind in labels else origin) for pixels, (origin, kind) in zip(pictures, kinds)
    )
    return Gallery(tuple(items), tuple(f"{kind}: {name}" for name, (_, kind) in zip(names, kinds)), columns=len(changes))


def counted(model: LoadedModel, said: Mapping[str, torch.Tensor]) -> Table:
    """How often the most frequent classes are answered, from logits `[N, K]` by the name of their column; by the first column, then the next."""
    counts: Sequence[Counter] = [Counter(model.predicted(logits).tolist()) for logits in said.values()]
    frequent = sorted(set().union(*counts), key=lambda index: tuple(-count[index] for count in counts))[:LABELS]
    rows = tuple((model.label(index), *(count[index] for count in counts)) for index in frequent)
    return Table(("answer", *said), rows, caption="How often each class is answered, all pictures together")
