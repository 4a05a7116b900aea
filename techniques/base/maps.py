"""The heat map of any technique: which techniques have one, and how a technique is asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from model_zoo.deferred import torch
from model_zoo.errors import IncompatibleModel
from techniques.base.execute import execute
from techniques.base.parameters import Help, OneOf, Several
from techniques.base.registry import FAMILIES, TECHNIQUES, Technique, in_order
from techniques.base.results import Browser, Heatmap, panels

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.run import Run
    from techniques.base.sample import Sample


def has_map(technique: Technique) -> bool:
    """Whether the technique's first panel is a heat map of one class for one picture, or a browser of such maps by class."""
    first = next(iter(technique.results.values()))
    of_a_class = not technique.many and any(param.kind == "target" for param in technique.params)
    return of_a_class and (first is Heatmap or first is Browser and FAMILIES[technique.family].startswith("Where it looks"))


def heat_maps() -> dict[str, str]:
    """Title by name of every technique that has a heat map, by family and order."""
    return {technique.name: technique.title for technique in in_order(TECHNIQUES.values()) if has_map(technique)}


def nothing_fits(model: LoadedModel) -> str | None:
    """Why no heat map at all can be had of this model; None when there is one."""
    reasons = [TECHNIQUES[name].why_not(model) for name in heat_maps()]
    return None if None in reasons else "none of the techniques that answer with a heat map works on it."


def fitting(name: str, model: LoadedModel) -> tuple[str, str]:
    """This technique, or where it does not fit the model the first one that does, with a sentence that says so ("" where it fits)."""
    reason = TECHNIQUES[name].why_not(model)
    if not reason:
        return name, ""
    other = next(other for other in heat_maps() if not TECHNIQUES[other].why_not(model))
    return other, f"{TECHNIQUES[name].title} does not work on this model: {reason.rstrip('.')}. Here is {TECHNIQUES[other].title} instead. "


def map_of(answer: Any) -> Heatmap:
    """The heat map in a technique's answer: its first panel, or the first cell of that, which is the class that was asked for."""
    first = next(iter(panels(answer).values()))
    return next(cell for _, cell in first.leaves()) if isinstance(first, Browser) else first


HeatMap = Annotated[str, OneOf(heat_maps), Help("Whose heat map is looked at.")]
HeatMaps = Annotated[tuple[str, ...], Several(heat_maps), Help("Whose heat maps are looked at.")]


@dataclass(frozen=True)
class Question:
    """A technique with checked settings, class and all: the same can be asked of other pictures and other networks."""

    technique: Technique
    settings: Mapping[str, Any]

    @classmethod
    def about(cls, name: str, *, own: Mapping[str, Any] | None = None, **shared: Any) -> Question:
        """`shared` (target, layer, seed) are given where the technique has such settings; `own` are its other ones."""
        technique = TECHNIQUES[name]
        settings = {param.name: shared[param.kind] for param in technique.params if param.kind in shared}
        return cls(technique, {**(own or {}), **settings})

    @property
    def seed(self) -> str | None:
        """The name of its setting for chance, where it has one."""
        return next((param.name for param in self.technique.params if param.kind == "seed"), None)

    def answer(self, sample: Sample, model: LoadedModel, run: Run, pixels: torch.Tensor | None = None, **changed: Any) -> Heatmap:
        """The map `[H, W]` for the sample, or for other `pixels` `[1, C, H, W]` in its place, with some settings `changed`.

        Raises what the technique raises.
        """
        asked = sample if pixels is None else replace(sample, pixels=pixels, exact=True)
        return map_of(execute(self.technique, asked, model, {**self.settings, **changed}, run))

    def answer_or_nothing(self, sample: Sample, model: LoadedModel, run: Run, like: Heatmap, **changed: Any) -> Heatmap:
        """As `answer`; zeros in the shape of `like` where the technique finds that there is nothing to draw."""
        try:
            return self.answer(sample, model, run, **changed)
        except IncompatibleModel:
            return replace(like, values=0 * like.values)
