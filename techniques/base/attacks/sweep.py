"""One attack on one model at growing epsilon: what stays right, how sure the model is, and how far its layers are moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING, Any, NamedTuple

from model_zoo.deferred import torch
from techniques.base.activations import relative_changes
from techniques.base.attacks.goal import answered
from techniques.base.attacks.method import Outcome, attack_pixels
from techniques.base.attacks.sets import goal_against, is_right, right_classes
from techniques.base.results import Browser, Curve

if TYPE_CHECKING:
    from model_zoo.layers import Layer
    from model_zoo.loaded import LoadedModel
    from techniques.base.registry import Technique
    from techniques.base.run import Run
    from techniques.base.sample import Sample, Samples


class Reading(NamedTuple):
    """One picture at one epsilon, attacked or with white noise: whether the right class is answered, the probability of that class, which class
    is answered, and the relative change of each layer by its name."""

    right: bool
    share: float
    answer: int
    moved: Mapping[str, float]


class Smallest(NamedTuple):
    """The smallest epsilon found at which a picture is not answered rightly, None where there is none, and what is answered there."""

    picture: str
    label: str
    epsilon: float | None
    says: str


@dataclass(eq=False)
class Sweep:
    """`attacked` and `noisy` hold for each of the `epsilons` (in 1/255, rising from 0) a reading of every picture so far; `first` is the first
    picture attacked at each of them `[1, C, H, W]`. The changes of `layers` are followed."""

    technique: Technique
    model: LoadedModel
    settings: Mapping[str, Any]
    epsilons: Sequence[float]
    seed: int
    layers: Sequence[Layer] = ()
    attacked: list[list[Reading]] = field(init=False)
    noisy: list[list[Reading]] = field(init=False)
    first: list[torch.Tensor] = field(default_factory=list)
    smallest: list[Smallest] = field(default_factory=list)

    def __post_init__(self):
        self.attacked, self.noisy = ([[] for _ in self.epsilons] for _ in range(2))

    def read(self, part: Samples, run: Run) -> Iterator[None]:
        """Attack some pictures at every epsilon; yields after each."""
        pixels, right, clean = self._start(list(part), run)
        for number, epsilon in enumerate(self.epsilons):
            outcome = self._attack(pixels, right, clean, epsilon, run.part(number, len(self.epsilons), f"epsilon {epsilon:.3g}/255"))
            moved, _ = self._look(pixels, outcome.pixels, run)
            self.attacked[number] += self._readings(right, clean, outcome.logits, moved)
            moved, noisy = self._look(pixels, outcome.noise, run)
            self.noisy[number] += self._readings(right, clean, noisy, moved)
            if len(self.first) == number:
                self.first.append(outcome.pixels[:1])
            yield

    def bisect(self, sample: Sample, place: int, precision: float, run: Run) -> None:
        """Find the smallest epsilon of the picture at this place, to within `precision`, between the readings where its answer turned."""
        readings = [at_epsilon[place] for at_epsilon in self.attacked]
        pixels, right, clean = self._start([sample], run)
        label, turned = self.model.label(int(right)), next((number for number, reading in enumerate(readings) if not reading.right), None)
        if turned is None:
            self.smallest.append(Smallest(sample.origin, label, None, ""))
            return
        low, high, answer = self.epsilons[max(0, turned - 1)], self.epsilons[turned], readings[turned].answer
        while high - low > precision:
            middle = (low + high) / 2
            outcome = self._attack(pixels, right, clean, middle, run)
            (reading,) = self._readings(right, clean, outcome.logits, {})
            low, high, answer = (middle, high, answer) if reading.right else (low, middle, reading.answer)
        self.smallest.append(Smallest(sample.origin, label, high, self.model.label(answer)))

    def _start(self, part: Sequence[Sample], run: Run) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The pictures as this model wants them `[B, C, H, W]`, their right classes `[B]`, and their logits `[B, K]`."""
        pixels = torch.cat([sample.fit(self.model).pixels.to(self.model.device) for sample in part])
        run.check()
        with torch.no_grad():
            logits = self.model.logits(pixels)
        return pixels, right_classes(self.model, [sample.group for sample in part], logits), logits

    def _attack(self, pixels: torch.Tensor, right: torch.Tensor, clean: torch.Tensor, epsilon: float, run: Run) -> Outcome:
        settings = {**self.settings, "epsilon": epsilon}
        goal = goal_against(self.technique.attack, self.model, right, clean, None, settings.get("loss"))
        if not epsilon:
            return Outcome(pixels, clean, goal.reached(clean), 0, 0, pixels)
        return attack_pixels(self.technique, self.model, pixels, goal, run, seed=self.seed, **settings)

    def _look(self, pixels: torch.Tensor, changed: torch.Tensor, run: Run) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Relative changes of the layers `[B]`, and the logits of the changed pictures `[B, K]`."""
        run.check()
        moved, logits = relative_changes(self.model, self.layers, pixels, changed)
        return moved, logits[len(pixels) :]

    def _readings(self, right: torch.Tensor, clean: torch.Tensor, logits: torch.Tensor, moved: dict[str, torch.Tensor]) -> list[Reading]:
        """A picture that was not answered rightly before is not so after, wherever the attack leaves it."""
        kept = is_right(self.model, right, clean) & is_right(self.model, right, logits)
        shares = self.model.shares(logits).gather(1, right[:, None])[:, 0].tolist()
        by_picture = ({name: float(values[place]) for name, values in moved.items()} for place in range(len(right)))
        return list(map(Reading, kept.tolist(), shares, answered(self.model, right, logits).tolist(), by_picture))


def spread(model: LoadedModel, count: int) -> list[Layer]:
    """So many of the layers with weights, evenly from the first to the last; of a model without such layers, of all."""
    layers = [layer for layer in model.layers if layer.weighted] or list(model.layers)
    places = torch.linspace(0, len(layers) - 1, min(count, len(layers))).round().int().tolist()
    return [layers[place] for place in places]


def means(readings: Sequence[Sequence[Reading]], of: Callable[[Reading], float]) -> torch.Tensor:
    """The mean over the pictures at each epsilon that was tried."""
    return torch.tensor([mean(map(of, at_epsilon)) for at_epsilon in readings if at_epsilon])


def layer_changes(sweep: Sweep) -> Browser:
    """Relative changes of the layers over epsilon, and at the last one that was tried from layer to layer: means over the pictures."""
    names, tried, cells = [layer.name for layer in sweep.layers], torch.tensor(sweep.epsilons[: len(sweep.first)]), {}
    last = {}
    for kind, readings in ((sweep.technique.title, sweep.attacked), ("white noise", sweep.noisy)):
        lines = {name: means(readings, lambda reading, name=name: reading.moved[name]) for name in names}
        last[kind] = torch.stack([line[-1] for line in lines.values()])
        caption = f"How far {kind} moves each layer, as a share of what it puts out"
        cells[f"{kind} over epsilon"] = Curve(tried, lines, x_label="epsilon in 1/255", y_label="relative change", caption=caption)
    caption = f"How far each layer is moved, from the first to the last, at epsilon {float(tried[-1]):.3g}/255"
    depth = torch.arange(float(len(names)))
    return Browser(("change",), {"layer by layer": Curve(depth, last, y_label="relative change", ticks=tuple(names), caption=caption), **cells})
