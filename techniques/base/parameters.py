"""A technique's settings, read from its signature: the one declaration that page, command line and API follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import numpy as np

from model_zoo.errors import ParameterError

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel

MASKS = 6  # so many painted areas are told apart in one run
LONGEST = 200  # characters of a text that is in no list
TOLD = 8  # so many names of a long list are told in a sentence


@dataclass(frozen=True)
class Range:
    """Allowed numbers from `low` to `high`, both included, in steps of `step`, with their unit."""

    low: float
    high: float
    step: float = 1
    unit: str = ""

    def __str__(self) -> str:
        low, high = (int(end) if float(end).is_integer() else end for end in (self.low, self.high))
        return f"{low} to {high}" + (f" {self.unit}" if self.unit else "")


@dataclass(frozen=True)
class Help:
    """One sentence that says what a setting does."""

    text: str


@dataclass(frozen=True)
class OneOf:
    """Marks a text that is one of a list known only once every technique is there: `names()` gives title by name, in order."""

    names: Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class Several:
    """Marks texts, one or more, out of a list known only once every technique is there: `names()` gives title by name, in order.

    With `more`, a phrase that says what, other texts may be given, too; whether they mean something is for the technique to say.
    """

    names: Callable[[], Mapping[str, str]]
    more: str = ""


@dataclass(frozen=True)
class Shared:
    """Marks a setting that belongs to the page's header, not to one technique: target, layer or seed."""

    kind: Literal["target", "layer", "seed", "mask"]


TargetClass = Annotated[
    int | None, Shared("target"), Help("The class to explain or, for an attack, to aim at; left out: the predicted class, or none.")
]
LayerName = Annotated[str | None, Shared("layer"), Help("The layer to look at; left out: the model's own choice.")]
Seed = Annotated[int, Shared("seed"), Range(0, 2**31 - 1), Help("Fixes every random choice.")]
Mask = Annotated[Any, Shared("mask"), Help("Painted areas, each boolean [H, W] at any size; left out: the middle of the picture.")]
Epsilon = Annotated[float, Range(0, 64, 0.5, "of 255"), Help("How far a pixel may move, in 1/255 of the range from black to white.")]
Steps = Annotated[int, Range(1, 200, 1, "steps"), Help("How many steps the method takes.")]


@dataclass(frozen=True)
class Param:
    """One setting of a technique: its name, kind, default, help, and what it may be.

    A "choice" is one of `choices`, of "choices" any of them, at least one. They are `texts`, or what `names` knows when it is asked;
    `more` says in words what else "choices" may be.
    """

    name: str
    kind: Literal["number", "integer", "choice", "choices", "flag", "target", "layer", "seed", "mask"]
    default: Any
    help: str
    range: Range | None = None
    texts: tuple[str, ...] = ()
    names: Callable[[], Mapping[str, str]] | None = None
    more: str = ""

    @property
    def choices(self) -> tuple[str, ...]:
        """The texts that may be chosen; empty for other kinds."""
        return tuple(self.titles)

    @property
    def titles(self) -> Mapping[str, str]:
        """What each of the choices is called on the page."""
        return self.names() if self.names else {text: text for text in self.texts}

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").capitalize()

    @property
    def expected(self) -> str:
        """What may be given, in words."""
        if self.kind in ("number", "integer", "seed"):
            return f"{'a number' if self.kind == 'number' else 'a whole number'} from {self.range}"
        return {
            "choice": f"one of {self._told}",
            "choices": f"some of {self._told}" + (f", {self.more}" if self.more else ""),
            "flag": "true or false",
            "target": "a class name or number of the model",
            "layer": "a layer name of the model",
            "mask": f"a two-dimensional mask, or up to {MASKS} of them",
        }[self.kind]

    @property
    def _told(self) -> str:
        """The choices in a sentence, the first of them where they are many."""
        more = len(self.choices) - TOLD
        return ", ".join(self.choices[:TOLD]) + (f" and {more} more" if more > 0 else "")

    def check(self, value: Any, model: LoadedModel | None) -> Any:
        """The value as the technique wants it; ParameterError says what was received and what is expected.

        Only a class and a layer are looked up in the `model`.
        """
        if self.kind == "target":
            return None if self._left_out(value) else model.find_label(value)
        if self.kind == "layer":
            return None if self._left_out(value) else model.layer(str(value)).name
        if self.kind == "mask":
            return self._mask(value)
        if self.kind == "flag":
            if not isinstance(value, (bool, np.bool_)):
                raise self._error(value)
            return bool(value)
        if self.kind == "choice":
            if not isinstance(value, str) or value not in self.choices:
                raise self._error(value)
            return value
        if self.kind == "choices":
            if not isinstance(value, (list, tuple)) or not value or not all(map(self._is_choice, value)):
                raise self._error(", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value)
            return tuple(dict.fromkeys(value))
        return self._number(value)

    def invalid(self) -> Any:
        """A value that `check` must refuse, for tests."""
        if self.range:
            return self.range.high + max(1, self.range.step)
        return {
            "choice": "no such choice", "choices": () if self.more else ("no such choice",), "flag": "maybe", "target": "no such class",
            "layer": "no.such.layer", "mask": np.zeros(3),
        }[self.kind]  # fmt: skip

    def _is_choice(self, text: Any) -> bool:
        return isinstance(text, str) and (text in self.choices or bool(self.more) and 0 < len(text.strip()) <= LONGEST)

    @staticmethod
    def _left_out(value: Any) -> bool:
        return value is None or (isinstance(value, str) and not value.strip())

    def _number(self, value: Any) -> float | int:
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) or not math.isfinite(value):
            raise self._error(value)
        if not self.range.low <= value <= self.range.high:
            raise self._error(value)
        if self.kind == "number":
            return float(value)
        if int(value) != value:
            raise self._error(value)
        return int(value)

    def _mask(self, value: Any) -> tuple[np.ndarray, ...] | None:
        """One plane, or several of any sizes, as boolean planes; painted is what is above zero."""
        if value is None:
            return None
        try:
            planes = [np.asarray(plane) for plane in value]
            if planes and all(plane.ndim == 1 for plane in planes):  # the rows of one plane
                planes = [np.asarray(value)]
        except (TypeError, ValueError) as error:  # not a sequence; rows of different length
            raise self._error(value) from error
        if not 1 <= len(planes) <= MASKS:
            raise self._error(f"{len(planes)} masks")
        for plane in planes:
            if plane.ndim != 2 or not plane.size or plane.dtype.kind not in "biuf":
                raise self._error(f"an array of shape {plane.shape}")
        return tuple(plane > 0 for plane in planes)

    def _error(self, value: Any) -> ParameterError:
        return ParameterError(f"{self.title}: received {str(value)[:60]!r}, expected {self.expected}.")


def read_parameter(parameter: Parameter, annotation: Any, where: str) -> Param:
    """The Param that a keyword-only argument declares.

    Raises TypeError, naming the technique and the argument, when default, range or help are missing or do not fit
    each other: a contributor's mistake is found at import.
    """
    where = f"{where}, parameter “{parameter.name}”"
    if parameter.default is Parameter.empty:
        raise TypeError(f"{where}: it has no default. Give one that makes a sensible picture.")
    # Python 3.10 wraps the type of a setting whose default is None into Optional
    annotation = next((part for part in get_args(annotation) if get_origin(part) is Annotated), annotation)
    base, *marks = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    help_text = next((mark.text for mark in reversed(marks) if isinstance(mark, Help)), "")
    limits = next((mark for mark in reversed(marks) if isinstance(mark, Range)), None)
    shared = next((mark for mark in marks if isinstance(mark, Shared)), None)
    if not help_text:
        raise TypeError(f"{where}: it has no Help sentence.")
    param = Param(parameter.name, "flag", parameter.default, help_text, limits)
    named = next((mark for mark in marks if isinstance(mark, (OneOf, Several))), None)
    if shared:
        param = replace(param, kind=shared.kind)
    elif named:
        if base != {OneOf: str, Several: tuple[str, ...]}[type(named)]:
            raise TypeError(f"{where}: OneOf marks a str, Several a tuple[str, ...]; it is {base}.")
        param = replace(param, kind="choice" if base is str else "choices", names=named.names, more=getattr(named, "more", ""))
    elif get_origin(base) is Literal:
        param = replace(param, kind="choice", texts=get_args(base))
    elif base in (int, float):
        param = replace(param, kind="integer" if base is int else "number")
        if limits is None:
            raise TypeError(f"{where}: a number needs a Range.")
    elif base is not bool:
        known = "int, float, bool, Literal of texts, OneOf, Several, TargetClass, LayerName, Seed, Mask"
        raise TypeError(f"{where}: its type {base} is none of {known}.")
    _check_default(param, where)
    return param


def _check_default(param: Param, where: str) -> None:
    """A default must be a value that may be given; the class, layer and area that a model or a picture decides on are None."""
    if not all(isinstance(choice, str) for choice in param.texts):
        raise TypeError(f"{where}: its choices {param.texts} must be texts.")
    if param.names:  # what they are is not known yet
        texts = param.default if param.kind == "choices" else (param.default,)
        if not isinstance(texts, tuple) or not texts or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"{where}: the default {param.default!r} is not allowed. Expected {'texts' if param.kind == 'choices' else 'a text'}.")
        return
    if param.kind in ("target", "layer", "mask"):
        if param.default is not None:
            raise TypeError(f"{where}: the default {param.default!r} does not fit every model. Expected None.")
        return
    try:
        param.check(param.default, model=None)
    except ParameterError:
        raise TypeError(f"{where}: the default {param.default!r} is not allowed. Expected {param.expected}.") from None
