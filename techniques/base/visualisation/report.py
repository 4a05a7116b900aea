"""What came of a climb, or of several side by side: the pictures with their names, how high they got, and whether the model sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model_zoo.deferred import torch
from model_zoo.loaded import LoadedModel
from techniques.base.drawing.svg import percent
from techniques.base.results import Curve, Gallery, Note, Picture, Predictions
from techniques.base.visualisation.climb import Climbed

LINES = 6  # of so many pictures each has a line of its own
FEW = 3  # so many pictures are told by name


@dataclass(frozen=True, eq=False)
class Report:
    """`names` are what each picture was made for, on the layer `where` or, with "", for the `classes`; `begun` is what all begin with,
    and `ways` are the titles of the climbs, one or several."""

    model: LoadedModel
    names: tuple[str, ...]
    where: str
    classes: tuple[int, ...]
    begun: str
    ways: tuple[str, ...]

    @property
    def columns(self) -> int:
        """How many pictures make a row where there are several climbs; 0 where pictures flow."""
        return len(self.ways) if len(self.ways) > 1 else 0

    @property
    def unit(self) -> str:
        return "activation" if self.where else "logit"

    def titles(self, ways: tuple[str, ...]) -> tuple[str, ...]:
        """The name of each picture, for each of these ways."""
        if len(self.ways) == 1:
            return self.names
        return tuple(way if len(self.names) == 1 else f"{name}, {way}" for name in self.names for way in ways)

    def gallery(self, pictures: Mapping[str, torch.Tensor]) -> Gallery:
        """The pictures `[N, C, H, W]` of each way, picture by picture; of four channels the colours alone."""
        titles = self.titles(tuple(pictures))
        label = f"Visualised{f' in {self.where}' if self.where else ''}, from {self.begun}: "
        items = tuple(Picture(values[:3], label=f"{label}{title}") for title, values in zip(titles, _in_rows(pictures)))
        caption = f"{self.begun[:1].upper()}{self.begun[1:]}, changed step by step until {self.where or 'the class'} answers as strongly as it can"
        return Gallery(items, titles, columns=self.columns, caption=caption)

    def predictions(self, done: Mapping[str, Climbed]) -> Predictions | None:
        """What the model says to pictures that were made for classes."""
        if not self.classes:
            return None
        with torch.no_grad():
            logits = self.model.logits(_in_rows({way: climbed.pictures for way, climbed in done.items()}))
        return Predictions.of(self.model, logits, self.titles(tuple(done)), caption="Does the model see it in its own picture?")

    def curve(self, done: Mapping[str, Climbed]) -> Curve:
        """What was climbed at each step: a line for each of a few pictures, the mean of each way, or highest, mean and lowest."""
        paths = _in_rows({way: climbed.path.T for way, climbed in done.items()})
        if len(paths) <= LINES:
            lines = dict(zip(_distinct(self.titles(tuple(done))), paths))
        elif self.columns:
            lines = {f"{way}, mean": climbed.path.mean(1) for way, climbed in done.items()}
        else:
            lines = {"highest": paths.amax(0), "mean": paths.mean(0), "lowest": paths.amin(0)}
        caption = "What is climbed, in the view of each step: moved, turned and sized at random"
        return Curve(torch.arange(paths.shape[1]).float(), lines, x_label="step", y_label=self.unit, caption=caption)

    def note(self, done: Mapping[str, Climbed], predictions: Predictions | None) -> Note:
        """How high they got, whether the model sees the classes, and what nothing moves."""
        parts = [self._climbed(done), *([self._recognised(predictions, len(done))] if predictions else [])]
        still = [name for climbed in done.values() for name, moved in zip(self.names, climbed.moved.tolist()) if not moved]
        if still:
            parts.append(f"Nothing moves {', '.join(dict.fromkeys(still))}: the gradient is zero.")
        return Note(" ".join(parts))

    def _climbed(self, done: Mapping[str, Climbed]) -> str:
        started = _in_rows({way: climbed.started for way, climbed in done.items()})
        reached = _in_rows({way: climbed.reached for way, climbed in done.items()})
        if len(reached) > FEW:
            return f"On average from {self._value(started.mean())} to {self._value(reached.mean())}; {self._value(reached.min())} at the least."
        each = zip(self.titles(tuple(done)), started, reached)
        return " ".join(f"“{title}”: from {self._value(low)} to {self._value(high)}." for title, low, high in each)

    def _value(self, value: torch.Tensor) -> str:
        return f"{float(value):.3g}" + (" logits" if self.classes else "")

    def _recognised(self, predictions: Predictions, ways: int) -> str:
        shares = self.model.shares(torch.as_tensor(predictions.logits))
        meant = [index for index in self.classes for _ in range(ways)]
        said = [index if share[index] > 0.5 else int(self.model.predicted(share)) for index, share in zip(meant, shares)]
        if len(meant) > FEW:
            return f"The model sees the class in {sum(a == b for a, b in zip(said, meant))} of {len(meant)} of its own pictures."
        told = []
        for title, index, answer, share in zip(predictions.names, meant, said, shares):
            own = f"“{self.model.label(index)}” {percent(float(share[index]))}"
            other = f", and rather “{self.model.label(answer)}” {percent(float(share[answer]))}" if answer != index else ""
            told.append(f"In {'its own picture' if len(meant) == 1 else f'the picture “{title}”'} the model sees {own}{other}.")
        return " ".join(told)


def _in_rows(found: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """`[N, ...]` of each way as `[N * ways, ...]`: picture by picture, for each way."""
    return torch.stack(list(found.values()), 1).flatten(0, 1)


def _distinct(names: tuple[str, ...]) -> list[str]:
    """The names of lines: labels may be equal, lines may not."""
    return [name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names, 1)]
