"""What every technique promises, tried on every registered technique with five small models.

A new technique is tried here without a line being added. It runs with its defaults or says why not; its answer is of
the kinds it declares; it leaves pictures, models and random numbers as they were, also after an error; it can be
repeated, stopped and pickled; and others may work on the same model at the same time.
"""

from __future__ import annotations

import copy
import hashlib
import math
import pickle
import random
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module

import techniques
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import (
    Animation,
    Browser,
    Cancelled,
    Curve,
    Gallery,
    Heatmap,
    Histogram,
    IncompatibleModel,
    Note,
    Param,
    ParameterError,
    Picture,
    Predictions,
    Run,
    Sample,
    Samples,
    Scatter,
    Table,
    Technique,
    execute,
)  # fmt: skip
from techniques.base.attacks.memory import MEMORY
from techniques.base.results import KINDS, all_arrays, panels
from tests.tiny_models import TINY_MODELS

CATALOGUE = techniques.catalogue()
PARAMETERS = [(technique, param) for technique in CATALOGUE.values() for param in technique.params]
of_each_parameter = pytest.mark.parametrize(("technique", "param"), PARAMETERS, ids=[f"{t.name}-{p.name}" for t, p in PARAMETERS])


def linear() -> LoadedModel:
    """One linear layer on 3 x 12 x 12 pixels, 4 classes: no layer of it has places in the picture."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 4))
    return wrap(network, key="tiny/linear", title="Tiny linear", preprocessing=Preprocessing(3, (12, 12), crop_fraction=1.0))


@pytest.fixture(params=list(CATALOGUE))
def technique(request) -> Technique:
    """Each registered technique in turn."""
    return CATALOGUE[request.param]


@pytest.fixture(scope="module")
def models(tiny_models) -> dict[str, LoadedModel]:
    return {**tiny_models, "linear": linear()}


@pytest.fixture(params=[*TINY_MODELS, "linear"])
def model(request, models) -> LoadedModel:
    """Each small model in turn."""
    return models[request.param]


@pytest.fixture
def fitting(technique, model) -> LoadedModel:
    """Each small model that the technique does not refuse."""
    if technique.why_not(model):
        pytest.skip(f"{technique.title} does not work on {model.title}, and says so")
    return model


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch) -> None:
    """Every run is a whole one."""
    monkeypatch.setattr(MEMORY, "limit", 0)


def given(technique: Technique, model: LoadedModel) -> Sample | Samples:
    """What the technique works on: one picture, or two different ones."""
    preprocessing = model.preprocessing
    generator = torch.Generator().manual_seed(3)
    count = 2 if technique.many else 1
    pixels = torch.rand(count, preprocessing.channels, *preprocessing.size, generator=generator)
    samples = tuple(Sample.from_pixels(picture, f"noise {number}") for number, picture in enumerate(pixels))
    return Samples(samples) if technique.many else samples[0]


def pictures(sample: Sample | Samples) -> list[Sample]:
    return list(sample) if isinstance(sample, Samples) else [sample]


@dataclass
class Observed:
    """One run with the defaults, watched from all sides: its answer, some of what it showed on the way, what it reported, what it
    was handed (pixels, and a copy of them), what of `state` it left changed, how often it asked for Stop, how many forward passes it
    made between two such moments at most, and whether another thread could have had the model's lock during a pass."""

    answer: object
    shown: list
    reports: list[tuple[float, str]]
    handed: list[tuple[torch.Tensor, torch.Tensor]]
    changed: list[str]
    shared: list[str]
    asked: int
    passes: int
    free: list[bool]


@lru_cache(maxsize=None)
def observed(name: str, model: LoadedModel) -> Observed:
    """The run of a technique on a model that many tests look at."""
    technique, model = CATALOGUE[name], replace(model, network=copy.deepcopy(model.network))
    sample, stop = given(technique, model), StopAt()
    found = Observed(None, [], [], [], [], [], 0, 0, [])

    def overheard(sample, *rest, **settings):
        found.handed.extend((picture.pixels, picture.pixels.clone()) for picture in pictures(sample))
        return technique.function(sample, *rest, **settings)

    def show(answer) -> None:
        found.shown[2:] = [answer]  # the first two and the last

    def passes(*_) -> None:
        found.passes = max(found.passes, stop.passes + 1)
        stop.passes += 1
        if len(found.free) < 3:
            with ThreadPoolExecutor(1) as pool:
                found.free.append(pool.submit(gets, model.lock).result())

    model.network.register_forward_pre_hook(passes)
    before = state(model, sample)
    run = Run(stop=stop, show=show, report=lambda *report: found.reports.append(report))
    found.answer = execute(replace(technique, function=overheard), sample, model, run=run)
    found.changed, found.asked = changed(before, state(model, sample)), stop.asked
    originals = [tensor.numpy() for tensor in (*model.network.state_dict().values(), *(picture.pixels for picture in pictures(sample)))]
    found.shared = [name for name, array in all_arrays(found.answer).items() if any(np.shares_memory(array, original) for original in originals)]
    return found


def gets(lock) -> bool:
    """Whether this thread gets a lock."""
    taken = lock.acquire(blocking=False)
    if taken:
        lock.release()
    return taken


class StopAt(threading.Event):
    """A Stop that is pressed at one of the times a run asks for it; counts how often it does, and how many passes there were since."""

    def __init__(self, number: float = math.inf):
        super().__init__()
        self.number, self.asked, self.passes = number, 0, 0

    def is_set(self) -> bool:
        self.passes = 0
        self.asked += 1
        return self.asked >= self.number


@pytest.fixture
def run_of(technique, fitting) -> Observed:
    """The watched run of the technique on the model."""
    return observed(technique.name, fitting)


# What comes out


def test_it_runs_with_its_defaults_or_says_why_not(technique, model):
    reason = technique.why_not(model)
    if reason:
        with pytest.raises(IncompatibleModel) as refusal:
            execute(technique, given(technique, model), model)
        assert str(refusal.value) == f"{technique.title} does not work on {model.title}: {reason}"
    else:
        check_answer(technique, model, observed(technique.name, model).answer)


def test_a_model_that_does_not_fit_is_told_why_not(models):
    assert CATALOGUE["grad_cam"].why_not(models["linear"]).startswith("no layer of this model has places")


def check_answer(technique: Technique, model: LoadedModel, answer) -> None:
    """The answer holds the declared panels, and each is what its kind promises."""
    found = panels(answer)
    assert found and all(type(result) is technique.results[name] for name, result in found.items())
    for name, array in all_arrays(answer).items():
        assert isinstance(array, np.ndarray), name
        assert array.dtype.kind != "f" or np.isfinite(array).all(), name
    for result in found.values():
        CHECKS[type(result)](result, model)


def _heatmap(result: Heatmap, model: LoadedModel) -> None:
    assert result.values.ndim == 2 and result.values.dtype.kind == "f"
    assert result.signed or result.values.min() >= 0


def _picture(result: Picture, model: LoadedModel) -> None:
    assert result.values.ndim == 3 and result.values.shape[0] in (1, 3)
    assert result.signed or 0 <= result.values.min() <= result.values.max() <= 1


def _gallery(result: Gallery, model: LoadedModel) -> None:
    assert len(result.items) == len(result.names)
    for item in result.items:
        {Heatmap: _heatmap, Picture: _picture}[type(item)](item, model)


def _predictions(result: Predictions, model: LoadedModel) -> None:
    assert result.logits.shape == (len(result.names), model.classes) and result.labels == model.labels


def _table(result: Table, model: LoadedModel) -> None:
    assert result.rows and {len(row) for row in result.rows} == {len(result.columns)}
    assert all(type(value) in (str, int, float) for row in result.rows for value in row)


def _curve(result: Curve, model: LoadedModel) -> None:
    assert result.lines and all(line.shape == result.x.shape == (len(result.x),) for line in result.lines.values())
    assert len(result.ticks) in (0, len(result.x))


def _histogram(result: Histogram, model: LoadedModel) -> None:
    assert (np.diff(result.edges) > 0).all()
    assert result.counts and all(counts.shape == (len(result.edges) - 1,) and counts.min() >= 0 for counts in result.counts.values())


def _animation(result: Animation, model: LoadedModel) -> None:
    assert result.frames.ndim == 4 and result.frames.shape[1] in (1, 3) and len(result.frames) and result.rate > 0
    assert 0 <= result.frames.min() <= result.frames.max() <= 1
    assert len(result.names) in (0, len(result.frames))


def _scatter(result: Scatter, model: LoadedModel) -> None:
    assert result.points.shape == (len(result.names), 2) and result.groups.shape == (len(result.names),)
    for groups in (result.groups, *result.others.values()):
        assert groups.shape == (len(result.names),) and set(np.unique(groups)) <= set(range(len(result.group_names)))
    if result.thumbnails is not None:
        assert result.thumbnails.dtype == np.uint8 and result.thumbnails.ndim == 4 and len(result.thumbnails) == len(result.names)
    if result.neighbours is not None:
        assert len(result.neighbours) == len(result.names) and set(np.unique(result.neighbours)) <= set(range(len(result.names)))
    if result.path is not None:
        assert result.path.shape == (len(result.path_names), 2)


def _note(result: Note, model: LoadedModel) -> None:
    assert result.text.strip()


def _browser(result: Browser, model: LoadedModel) -> None:
    cells = list(result.leaves())
    assert cells and all(len(path) == len(result.axes) for path, _ in cells)
    for _, cell in cells:
        CHECKS[type(cell)](cell, model)


CHECKS = {
    Heatmap: _heatmap, Picture: _picture, Gallery: _gallery, Predictions: _predictions, Table: _table, Curve: _curve, Histogram: _histogram,
    Animation: _animation, Scatter: _scatter, Note: _note, Browser: _browser,
}  # fmt: skip


def test_every_kind_of_result_is_checked_here():
    assert set(CHECKS) == set(KINDS)


def test_every_panel_with_numbers_has_its_key_among_the_arrays(run_of):
    keys = {key.partition(".")[0] for key in all_arrays(run_of.answer)}
    assert keys == {name for name, result in panels(run_of.answer).items() if result.arrays()}
    assert {name for name, result in panels(run_of.answer).items() if not isinstance(result, (Note, Table))} <= keys


def test_its_answer_survives_pickling(run_of):
    again = pickle.loads(pickle.dumps(run_of.answer))
    assert type(again) is type(run_of.answer) and differing(all_arrays(run_of.answer), all_arrays(again)) == []


def test_its_answer_shares_no_memory_with_the_pictures_or_the_model(run_of):
    assert run_of.shared == []


# What it leaves behind


def state(model: LoadedModel, sample: Sample | Samples) -> dict[str, object]:
    """All that a technique could leave changed, by what to call it."""
    modules = dict(model.network.named_modules())
    parameters = dict(model.network.named_parameters())
    tensors = {**parameters, **dict(model.network.named_buffers())}
    return {
        "pixels": [hashlib.sha256(picture.pixels.numpy().tobytes()).hexdigest() for picture in pictures(sample)],
        "gradient of the pixels": [(picture.pixels.requires_grad, picture.pixels.grad) for picture in pictures(sample)],
        "weights": {name: hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest() for name, tensor in tensors.items()},
        "gradients": [name for name, parameter in parameters.items() if parameter.grad is not None],
        "what needs a gradient": [name for name, parameter in parameters.items() if parameter.requires_grad],
        "training mode": [name for name, module in modules.items() if module.training],
        "hooks": {name: hooks_of(module) for name, module in modules.items()},
        "hooks on weights": [name for name, parameter in parameters.items() if parameter._backward_hooks],
        "hooks on all modules": hooks_of(torch_module),
        "attributes of modules": {name: sorted(vars(module)) for name, module in modules.items()},
        "methods of modules": {name: type(module).forward for name, module in modules.items()},
        "random state of torch": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        "random state of numpy": pickle.dumps(np.random.get_state()),
        "random state of Python": random.getstate(),
        "mode of torch": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(), torch.get_num_threads()),
    }


def hooks_of(holder) -> dict[str, int]:
    """How many hooks a module, or torch's own list for all modules, holds, by the name of the collection."""
    return {name: len(value) for name, value in vars(holder).items() if name.endswith("_hooks") and isinstance(value, dict)}


def changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    return [name for name in before if before[name] != after[name]]


@pytest.mark.parametrize(
    ("name", "meddle"),
    [
        ("weights", lambda network: network[0][0].weight.data.add_(1e-6)),
        ("gradients", lambda network: setattr(network[0][0].weight, "grad", torch.zeros(8, 3, 3, 3))),
        ("what needs a gradient", lambda network: network[5].requires_grad_(True)),
        ("training mode", lambda network: network[0][1].train()),
        ("hooks", lambda network: network[5].register_full_backward_pre_hook(lambda *_: None)),
        ("attributes of modules", lambda network: setattr(network[5], "rule", "epsilon")),
        ("random state of torch", lambda network: torch.rand(1)),
        ("random state of numpy", lambda network: np.random.random()),
    ],
)
def test_the_look_at_what_is_left_behind_sees(name, meddle, models):
    network = copy.deepcopy(models["cnn"].network)
    model = replace(models["cnn"], network=network)
    sample = given(CATALOGUE["saliency"], model)
    with torch.random.fork_rng(devices=[]):
        before = state(model, sample)
        meddle(network)
        assert name in changed(before, state(model, sample))


def test_it_leaves_everything_as_it_was(run_of):
    assert run_of.changed == []


def test_a_refusal_leaves_everything_as_it_was(technique, model):
    if not technique.why_not(model):
        pytest.skip(f"{technique.title} works on {model.title}")
    sample = given(technique, model)
    before = state(model, sample)
    with pytest.raises(IncompatibleModel):
        execute(technique, sample, model)
    assert changed(before, state(model, sample)) == []


def test_it_leaves_the_pixels_it_was_handed_as_they_were(run_of):
    assert run_of.handed and all(torch.equal(pixels, copied) and not pixels.requires_grad for pixels, copied in run_of.handed)


def test_it_leaves_everything_as_it_was_after_a_class_that_does_not_exist(technique, fitting):
    if not technique.param("target"):
        pytest.skip(f"{technique.title} knows no classes")
    sample = given(technique, fitting)
    before = state(fitting, sample)
    with pytest.raises(ParameterError, match="has no class “no such class”"):
        execute(technique, sample, fitting, {"target": "no such class"})
    assert changed(before, state(fitting, sample)) == []


class Broken(Exception):
    """Raised by a layer in the middle of a run."""


def break_forward(module: nn.Module) -> None:
    def refuse(*_):
        raise Broken

    module.register_forward_hook(refuse)


def break_backward(module: nn.Module) -> None:
    def refuse(*_):
        raise Broken

    module.register_full_backward_pre_hook(refuse)


@pytest.mark.parametrize("break_it", [break_forward, break_backward])
def test_it_leaves_everything_as_it_was_after_a_layer_that_raises(technique, fitting, break_it):
    model = replace(fitting, network=copy.deepcopy(fitting.network))
    break_it(model.module([layer.name for layer in model.layers if layer.weighted][-1]))
    sample = given(technique, model)
    before = state(model, sample)
    # a technique without gradients never comes to the layer that raises on the way back
    with pytest.raises(Broken) if break_it is break_forward else suppress(Broken):
        execute(technique, sample, model)
    assert changed(before, state(model, sample)) == []


# How it runs


def test_a_stop_that_is_set_already_cancels_it(technique, fitting):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        execute(technique, given(technique, fitting), fitting, run=Run(stop=stop))


def test_a_stop_at_the_last_moment_cancels_it_and_leaves_everything_as_it_was(technique, fitting, run_of):
    sample = given(technique, fitting)
    before = state(fitting, sample)
    with pytest.raises(Cancelled):
        execute(technique, sample, fitting, run=Run(stop=StopAt(run_of.asked)))
    assert changed(before, state(fitting, sample)) == []


def test_it_asks_for_stop_at_least_once_in_three_forward_passes(run_of):
    assert 1 <= run_of.passes <= 3


def test_it_reports_shares_between_nothing_and_all_of_the_work(run_of):
    assert all(0 <= fraction <= 1 and text for fraction, text in run_of.reports)


def test_what_it_shows_on_the_way_is_an_answer_like_the_last(technique, fitting, run_of):
    for answer in run_of.shown:
        check_answer(technique, fitting, pickle.loads(pickle.dumps(answer)))


def differing(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> list[str]:
    """The names under which two answers do not hold the very same numbers."""
    assert first.keys() == second.keys()
    return [name for name in first if not np.array_equal(first[name], second[name])]


def test_the_same_seed_gives_the_same_numbers_in_another_thread_without_gradients_whatever_was_drawn_elsewhere(technique, fitting, run_of):
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # a technique that draws from the global generators would give another answer
        np.random.seed(1)
        random.seed(1)
        (found,) = in_threads([lambda: answer_in(torch.no_grad, technique, fitting)])
    np.random.set_state(numpy_state)
    random.setstate(python_state)
    assert differing(all_arrays(run_of.answer), found) == []


def test_it_gives_the_same_numbers_where_the_caller_has_switched_gradients_off_for_good(technique, fitting, run_of):
    assert differing(all_arrays(run_of.answer), answer_in(torch.inference_mode, technique, fitting)) == []


def answer_in(mode, technique: Technique, model: LoadedModel) -> dict[str, np.ndarray]:
    """The numbers of a run where the caller has set torch to a mode; everything is as it was after it."""
    with mode():
        sample = given(technique, model)
        before = state(model, sample)
        found = all_arrays(execute(technique, sample, model))
        assert changed(before, state(model, sample)) == []
    return found


def in_threads(works: list) -> list:
    """What each of the functions returns when all are called at once, each in a thread of its own, or what it raised."""
    answers: list = [None] * len(works)
    start = threading.Barrier(len(works))

    def work(position: int) -> None:
        torch.set_num_threads(1)  # is a setting of each thread; sums in another order would round otherwise
        start.wait()
        try:
            answers[position] = works[position]()
        except Exception as error:
            answers[position] = error

    threads = [threading.Thread(target=work, args=(position,)) for position in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


LOAD = {"grad_cam": {}, "saliency": {}, "pgd": {"steps": 5}, "occlusion": {"window": 30, "stride": 100}}


def concurrent_mistakes(model: LoadedModel, rounds: int) -> list[str]:
    """What goes wrong when the techniques of LOAD run on one model at once, compared with each alone."""
    works = {
        name: lambda name=name, settings=settings: all_arrays(execute(CATALOGUE[name], given(CATALOGUE[name], model), model, settings))
        for name, settings in LOAD.items()
    }
    alone = {name: work() for name, work in works.items()}
    mistakes = []
    for _ in range(rounds):
        for name, found in zip(works, in_threads(list(works.values()))):
            if isinstance(found, Exception):
                mistakes.append(f"{name}: {found!r}")
            else:
                mistakes += [f"{name}: {array}" for array in differing(alone[name], found)]
    return mistakes


@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_four_techniques_at_once_on_one_model_each_give_the_numbers_they_give_alone(models, name):
    assert concurrent_mistakes(models[name], rounds=10) == []


def test_the_models_lock_is_held_whenever_the_network_runs(run_of):
    assert run_of.free and not any(run_of.free)


# Its settings


@pytest.fixture(scope="module")
def any_model(tiny_models) -> LoadedModel:
    return tiny_models["cnn"]


@of_each_parameter
def test_a_value_that_does_not_fit_is_refused_and_the_sentence_says_what_is_expected(technique, param, any_model):
    with pytest.raises(ParameterError) as refusal:
        execute(technique, given(technique, any_model), any_model, {param.name: param.invalid()})
    expected = {"target": "Expected one of its 5 labels", "layer": "Expected one of its"}.get(param.kind, f"expected {param.expected}")
    assert expected in str(refusal.value)


STRANGE = {
    "nothing": None, "a list": [1, 2], "a tensor": torch.zeros(2), "an array": np.zeros(2), "rows of different length": [[1], [1, 2]],
    "not a number": math.nan, "infinity": math.inf, "an object": object(), "markup": "<b>", "a truth": True, "nan": np.float32("nan"),
}  # fmt: skip


OF_EACH_KIND = {param.kind: param for _, param in PARAMETERS}


@pytest.mark.parametrize("value", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("param", OF_EACH_KIND.values(), ids=OF_EACH_KIND)
def test_a_value_of_any_type_is_taken_or_refused_in_a_sentence(param, value, any_model):
    try:
        param.check(value, any_model)
    except ParameterError as refusal:
        assert "xpected" in str(refusal) and len(str(refusal)) < 400
    else:
        harmless = {"flag": (True,), "target": (None,), "layer": (None,), "mask": (None,)}
        assert any(value is allowed for allowed in harmless.get(param.kind, ()))


@of_each_parameter
def test_its_default_and_all_its_choices_are_allowed(technique, param, any_model):
    assert param.check(param.default, any_model) == param.default
    if param.kind == "choices":
        assert param.check(list(param.choices), any_model) == param.choices
    else:
        assert [param.check(choice, any_model) for choice in param.choices] == list(param.choices)


RANGED = [(technique, param) for technique, param in PARAMETERS if param.range]


@pytest.mark.parametrize("end", ["low", "high"])
@pytest.mark.parametrize(("technique", "param"), RANGED, ids=[f"{t.name}-{p.name}" for t, p in RANGED])
def test_both_ends_of_a_range_are_allowed_and_what_lies_beyond_is_not(technique: Technique, param: Param, end: str, any_model):
    value = getattr(param.range, end)
    assert param.check(value, any_model) == value
    beyond = value - param.range.step if end == "low" else value + param.range.step
    with pytest.raises(ParameterError, match="expected a"):
        param.check(beyond, any_model)


def test_a_setting_that_the_technique_does_not_have_is_refused_by_name(technique, any_model):
    with pytest.raises(ParameterError, match=re.escape(f"{technique.title} has no setting “no_such_setting”. Expected ")):
        execute(technique, given(technique, any_model), any_model, {"no_such_setting": 1})


def test_one_picture_is_not_taken_for_a_set_nor_a_set_for_one(technique, any_model):
    other = replace(technique, many=not technique.many)
    with pytest.raises(ParameterError, match="works on"):
        execute(technique, given(other, any_model), any_model)
