"""The one door through which every technique is run: page, command line, API and plain Python all go through it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from model_zoo.deferred import torch
from model_zoo.errors import AppError, IncompatibleModel, ParameterError
from model_zoo.loaded import LoadedModel
from techniques.base.registry import Technique
from techniques.base.results import Heatmap, Picture, Predictions, all_arrays, panels, to_numpy
from techniques.base.run import Run
from techniques.base.sample import Sample, Samples


def check_parameters(technique: Technique, model: LoadedModel, params: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of the technique, checked; what is not given takes its default."""
    known = {param.name: param for param in technique.params}
    for name in params:
        if name not in known:
            raise ParameterError(f"{technique.title} has no setting “{name}”. Expected {', '.join(known) or 'none'}.")
    return {name: param.check(params.get(name, param.default), model) for name, param in known.items()}


def execute(
    technique: Technique, sample: Sample | Samples, model: LoadedModel, params: Mapping[str, Any] | None = None, run: Run | None = None
) -> Any:
    """Run a technique: check its settings, ask whether the model fits, hold the model's lock, check the answer.

    Returns the technique's answer with numpy arrays on the CPU; they share no memory with the sample. Whatever the
    caller's mode, gradients can be taken inside. Raises ParameterError, IncompatibleModel, Cancelled, OutOfTime, or
    AppError when numbers that are not finite come out.
    """
    if technique.many != isinstance(sample, Samples):
        raise ParameterError(f"{technique.title} works on {'a set of pictures' if technique.many else 'one picture'}.")
    settings = check_parameters(technique, model, params or {})
    reason = technique.why_not(model)
    if reason:
        raise IncompatibleModel(f"{technique.title} does not work on {model.title}: {reason}")
    run = run or Run()
    with run.holding(model.lock), torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        run.check()
        answer = to_numpy(technique.function(_on_device(sample, model), model, run, **settings))
    _check_answer(technique, answer)
    return answer


def _on_device(sample: Sample | Samples, model: LoadedModel) -> Sample | Samples:
    """A copy where the model is: panels may hold the pixels themselves, and a caller may write into a panel."""
    if isinstance(sample, Samples):
        return replace(sample, device=model.device)  # each picture is copied when its turn comes
    return replace(sample, pixels=sample.pixels.to(model.device, copy=True))


def _check_answer(technique: Technique, answer: Any) -> None:
    """Refuse numbers that are not finite, and arrays that do not have the shape their kind promises."""
    for name, array in all_arrays(answer).items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            numbers = f"{bad} numbers that are not finite (in {name})"
            raise AppError(f"{technique.title} came out with {numbers}. The model's scores are too large or damaged.")
    dimensions = {Heatmap: 2, Picture: 3, Predictions: 2}
    for name, result in panels(answer).items():
        expected = dimensions.get(type(result))
        values = result.logits if isinstance(result, Predictions) else getattr(result, "values", None)
        if expected and values.ndim != expected:
            raise TypeError(f"{technique.name}.{name} must have {expected} axes, has shape {values.shape}.")
