"""A technique on a pair of pictures: how the heat maps of a picture change when it is attacked, covered, or replaced.

A technique is written for one picture and knows nothing of this. It is run on both, for the same class each time: the
chosen one, or the predicted classes of both pictures. (The digit 0 that an attack makes an 8: why it was a 0, why it is
an 8, before and after: four maps and two differences.) A heat map becomes a Browser with the axis "class" whose cells
are Galleries of before, after and their difference, all on one scale; for the other kinds see `side_by_side`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from model_zoo.errors import ParameterError
from model_zoo.loaded import LoadedModel
from techniques.base.class_maps import class_name
from techniques.base.execute import check_parameters, execute
from techniques.base.registry import Technique
from techniques.base.results import Browser, Gallery, Heatmap, Note, Result, panels
from techniques.base.run import Run
from techniques.base.sample import Sample, Samples
from techniques.base.side_by_side import Pair, reach, side_by_side
from techniques.base.stack import Stack


def compares(technique: Technique) -> bool:
    """Whether the technique can be run on a pair: it takes one picture and answers with maps or pictures side by side.
    An attack is not: it makes a pair out of one picture; nor one whose pictures are not about the given one."""
    if not technique.pairs or technique.many or technique.assumes:
        return False
    return any(kind in (Heatmap, Gallery, Browser) for kind in technique.results.values())


def execute_on(
    technique: Technique, pictures: Sample | Samples, model: LoadedModel, params: Mapping[str, Any] | None = None, run: Run | None = None
) -> Any:
    """`execute`, or `execute_pair` for two pictures and a technique on one; raises ParameterError when their number does not fit."""
    if technique.many or isinstance(pictures, Sample):
        return execute(technique, pictures, model, params, run)
    check_count(technique, len(pictures))
    if len(pictures) == 1:
        return execute(technique, pictures[0], model, params, run)
    return execute_pair(technique, pictures[0], pictures[1], model, params, run)


def check_count(technique: Technique, count: int) -> None:
    """Refuse a number of pictures that the technique cannot take."""
    if technique.many or count == 1 or (count == 2 and compares(technique)):
        return
    expected = "one picture, or on two to compare" if compares(technique) else "one picture"
    raise ParameterError(f"{technique.title} works on {expected}, received {count}. Run it once for each.")


def execute_pair(
    technique: Technique, first: Sample, second: Sample, model: LoadedModel, params: Mapping[str, Any] | None = None, run: Run | None = None
) -> Any:
    """Run a technique on two pictures, and answer with its panels before and after.

    The panels have the technique's names but not always its kinds. Progress runs once over all runs, and Stop and the
    deadline hold for all together. Raises what `execute` raises, and ParameterError for a technique without heat maps.
    """
    check_count(technique, 2)
    settings, run = check_parameters(technique, model, params or {}), run or Run()
    pair = Pair((first.origin, second.origin), tuple(sample.pixels[0].detach().cpu().numpy() for sample in (first, second)))
    target = next((param.name for param in technique.params if param.kind == "target"), None)
    by_class: dict[str, dict[str, Result]] = {}
    with run.holding(model.lock):
        classes = _classes(Samples((first, second)), model, settings[target]) if target else [None]
        for number, index in enumerate(classes):
            answers = []
            for side, (sample, word) in enumerate(((first, "Before"), (second, "After"))):
                part = run.part(2 * number + side, 2 * len(classes), word)
                answers.append(execute(technique, sample, model, settings | ({target: index} if target else {}), part))
            name = class_name(model, index) if target else ""
            by_class[name] = _panels_of_both(*answers, pair)
            run.show(lambda: _answer(answers[0], by_class))
    return _answer(answers[0], by_class)


def _classes(pictures: Samples, model: LoadedModel, chosen: int | None) -> list[int]:
    """The chosen class, or the predicted ones of all pictures, each once."""
    if chosen is not None:
        return [chosen]
    return list(dict.fromkeys(model.predicted(model.probabilities(pictures.pixels.to(model.device))).tolist()))


def _panels_of_both(before: Any, after: Any, pair: Pair) -> dict[str, Result]:
    first, second = panels(before), panels(after)
    return {name: side_by_side(result, second[name], pair) for name, result in first.items() if name in second}


def _answer(like: Any, by_class: Mapping[str, Mapping[str, Result]]) -> Any:
    """The technique's own answer with the panels for all classes in place of its own."""
    names = dict.fromkeys(name for shown in by_class.values() for name in shown)
    together = {name: _of_all_classes({label: shown[name] for label, shown in by_class.items() if name in shown}) for name in names}
    if not hasattr(like, "_replace"):
        return together["result"]
    return like._replace(**{name: together.get(name) for name in like._fields})


def _of_all_classes(by_class: dict[str, Result]) -> Result:
    """One panel from those for each class: by class where they differ, and heat maps always; all on one scale."""
    results = list(by_class.values())
    first = results[0]
    if "" in by_class:
        return _on_one_scale(first) if isinstance(first, Browser) and len(first.axes) == 1 else first
    if isinstance(first, Browser) and first.axes == ("class",):
        cells = {}
        for name, browser in by_class.items():  # of a technique that shows more classes than the one it was asked for, this one
            cells |= {name: browser.cells[name]} if name in browser.cells else browser.cells
        return _on_one_scale(replace(first, cells=cells))
    has_maps = isinstance(first, Gallery) and any(isinstance(item, Heatmap) for item in first.items)
    if not has_maps and all(_same(first, other) for other in results[1:]):
        return first
    if isinstance(first, Note):
        return Note("\n".join(f"“{label}”. {note.text}" for label, note in by_class.items()), caption=first.caption)
    if isinstance(first, Browser):  # no axis more than before: a page has room for two
        cells = {f"{label} · {name}": cell for label, browser in by_class.items() for name, cell in browser.cells.items()}
        return replace(first, axes=(f"class and {first.axes[0]}", *first.axes[1:]), cells=cells)
    return _on_one_scale(Browser(("class",), dict(by_class)))


def _on_one_scale(browser: Browser) -> Browser:
    """The galleries of a browser with one axis drawn on the scale of the widest; not those of a stack, which are made one by one when asked for."""
    if isinstance(browser.cells, Stack):
        return browser
    galleries = [cell for cell in browser.cells.values() if isinstance(cell, Gallery)]
    if len(galleries) < len(browser.cells):
        return browser
    widest = max((reach(gallery.items) for gallery in galleries), default=0.0)
    return replace(browser, cells={name: replace(cell, reach=widest) for name, cell in browser.cells.items()})


def _same(first: Result, second: Result) -> bool:
    """Whether two panels say the same, in words and in numbers."""
    numbers, others = first.arrays(), second.arrays()
    if (first.caption, getattr(first, "text", "")) != (second.caption, getattr(second, "text", "")) or list(numbers) != list(others):
        return False
    return getattr(first, "rows", ()) == getattr(second, "rows", ()) and all(
        numbers[name].shape == others[name].shape and np.allclose(numbers[name], others[name]) for name in numbers
    )
