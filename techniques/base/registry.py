"""The catalogue of techniques: `@technique` reads one from a plain function and enters it by its module's name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from model_zoo.loaded import LoadedModel
from techniques.base.parameters import Param, read_parameter
from techniques.base.results import KINDS, Result
from techniques.base.run import Run
from techniques.base.sample import Sample, Samples

if TYPE_CHECKING:
    from techniques.base.attacks.method import Method

FAMILIES = {
    "Regions": "Where it looks: the regions that speak for a class, at the resolution of one layer.",
    "Pixels": "Where it looks: how each pixel moves the answer, followed back through the network.",
    "Covering": "Where it looks: what changes when a part of the picture is hidden.",
    "Compare": "Several methods side by side, and how far each can be believed.",
    "What is inside": "What the layers answer to this picture, or to one group of pictures more than to another.",
    "Fooling it": "Changes too small to see that change the answer, found with the network's own gradient.",
    "Black box": "Fooling it: the same by asking questions alone, every one of them counted.",
    "Robustness": "Fooling it: attacks side by side, over many pictures and several models, and what outlives a change.",
}

Saved = tuple[Callable[[str], bool], Callable[[Mapping[str, Any], Mapping[str, Any]], Any]]


@dataclass(frozen=True)
class Technique:
    """One technique as page, command line and API see it.

    `meaning` is the first paragraph of the module's docstring, `limits` what its picture does not tell,
    `results` the panels by name, `many` whether it takes a set of pictures, `order` its place in the family, small first.
    `saved` opens an answer from its files again without a run: which arrays it needs, by name, and how it is made from the
    manifest and these. `assumes` says what an attacker is taken to know and to want, and `attack` is his search
    (`techniques.base.attacks`); both are empty for other techniques. `pairs` is False where two pictures have nothing to compare.
    """

    name: str
    title: str
    family: str
    meaning: str
    limits: str
    paper: str
    function: Callable
    params: tuple[Param, ...]
    results: dict[str, type[Result]]
    many: bool
    why_not: Callable[[LoadedModel], str | None]
    order: int
    saved: Saved | None = None
    assumes: str = ""
    attack: Method | None = None
    pairs: bool = True

    def param(self, name: str) -> Param | None:
        return next((param for param in self.params if param.name == name), None)

    @property
    def own_params(self) -> tuple[Param, ...]:
        """The settings of this technique alone, without the header's target, layer and seed."""
        return tuple(param for param in self.params if param.kind not in ("target", "layer", "seed"))


TECHNIQUES: dict[str, Technique] = {}


def technique(
    *,
    title: str,
    family: str,
    paper: str,
    limits: str,
    why_not: Callable[[LoadedModel], str | None] = lambda model: None,
    order: int = 100,
    saved: Saved | None = None,
    assumes: str = "",
    attack: Method | None = None,
    pairs: bool = True,
) -> Callable[[Callable], Callable]:
    """Register a function `(sample, model, run, *, settings...)` as the technique named after its module.

    A name that is taken, an unknown family, other arguments than these, a setting without default, range or help, and
    an answer of an unknown kind raise TypeError or ValueError at import, with a sentence that names the culprit.
    """

    def register(function: Callable) -> Callable:
        name = function.__module__.rpartition(".")[2]
        where = f"technique “{name}”"
        if name in TECHNIQUES:
            raise ValueError(f"{where} is registered already, by {TECHNIQUES[name].function.__module__}.")
        if family not in FAMILIES:
            raise ValueError(f"{where}: unknown family “{family}”. Expected one of {', '.join(FAMILIES)}.")
        meaning = inspect.cleandoc(sys.modules[function.__module__].__doc__ or "").split("\n\n")[0].replace("\n", " ")
        if not meaning or not limits:
            raise TypeError(f"{where}: it needs a module docstring that says what the picture means, and limits that say what it does not.")
        hints = get_type_hints(function, include_extras=True)
        if hasattr(hints.get("return"), "_fields"):
            hints["return"]._repr_html_ = Result._repr_html_  # a NamedTuple cannot inherit it
        arguments = inspect.signature(function).parameters.values()
        settings = [argument for argument in arguments if argument.kind is argument.KEYWORD_ONLY]
        takes = [hints.get(argument.name) for argument in arguments if argument not in settings]
        if takes not in ([Sample, LoadedModel, Run], [Samples, LoadedModel, Run]):
            raise TypeError(f"{where}: its arguments must be a Sample or Samples, a LoadedModel, a Run, and its settings after a *.")
        params = tuple(read_parameter(setting, hints.get(setting.name), where) for setting in settings)
        TECHNIQUES[name] = Technique(
            name=name,
            title=title,
            family=family,
            meaning=meaning,
            limits=limits,
            paper=paper,
            function=function,
            params=params,
            results=_panel_types(hints.get("return"), where),
            many=takes[0] is Samples,
            why_not=why_not,
            order=order,
            saved=saved,
            assumes=assumes,
            attack=attack,
            pairs=pairs,
        )
        return function

    return register


def in_order(known: Iterable[Technique]) -> list[Technique]:
    """The techniques by family, by their order in it, and by title."""
    families = list(FAMILIES)
    return sorted(known, key=lambda technique: (families.index(technique.family), technique.order, technique.title))


def _panel_types(answer: Any, where: str) -> dict[str, type[Result]]:
    """The kinds of the panels an answer declares; optional panels may be `Kind | None`."""
    declared = get_type_hints(answer) if hasattr(answer, "_fields") else {"result": answer}
    panels = {}
    for name, kind in declared.items():
        kinds = [k for k in get_args(kind) or (kind,) if k is not type(None)]
        if len(kinds) != 1 or kinds[0] not in KINDS:
            raise TypeError(f"{where}: “{name}” is of kind {kind}. Expected one of {', '.join(k.__name__ for k in KINDS)}.")
        panels[name] = kinds[0]
    return panels
