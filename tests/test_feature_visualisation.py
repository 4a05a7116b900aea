"""Feature visualisation as a technique: what is chosen is what is maximised, and what is told of it is so."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import techniques
from model_zoo.errors import ParameterError
from model_zoo.loaded import LoadedModel
from techniques.base import Run, Sample
from techniques.base.hooks import output_of
from techniques.base.visualisation import frames


def sample_for(model: LoadedModel) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(4)), "noise")


def visualise(model: LoadedModel, run: Run | None = None, **settings):
    return techniques.run("feature_visualisation", sample_for(model), model, run=run, **{"steps": 6, **settings})


def answers(model: LoadedModel, layer: str, values: np.ndarray) -> torch.Tensor:
    """The layer's maps `[C, h, w]` for one picture."""
    found = model.layer(layer)
    return found.maps(output_of(model, found, torch.from_numpy(values)[None]))[0]


def test_a_class_is_the_chosen_one_or_the_predicted_one_and_more_follow_by_probability(tiny_models):
    model = tiny_models["cnn"]
    probable = model.probabilities(sample_for(model).pixels)[0].argsort(descending=True).tolist()
    by_default = visualise(model, count=3)
    assert by_default.pictures.names == tuple(model.label(index) for index in probable[:3])
    chosen = visualise(model, target="church", count=2)
    assert chosen.pictures.names == ("church", model.label(probable[0] if model.label(probable[0]) != "church" else probable[1]))


def test_the_model_is_asked_what_it_sees_and_the_note_says_it(tiny_models):
    model = tiny_models["transformer"]
    answer = visualise(model, target="tench", steps=40)
    picture = torch.from_numpy(answer.pictures.items[0].values)[None]
    share = float(model.probabilities(picture)[0, model.find_label("tench")])
    np.testing.assert_allclose(answer.predictions.logits, model.valid_logits(picture).numpy(), rtol=1e-4, atol=1e-4)
    assert share > 0.5 and f"In its own picture the model sees “tench” {100 * share:.1f} %." in answer.note.text


def test_a_class_that_the_model_does_not_see_in_its_picture_is_told(tiny_models):
    model = tiny_models["cnn"]
    note = visualise(model, target="parachute", steps=1, learning_rate=0.001).note.text
    assert "the model sees “parachute”" in note and ", and rather “" in note


def test_several_classes_are_counted(tiny_models):
    model = tiny_models["transformer"]
    answer = visualise(model, count=5, steps=20)
    seen = sum(int(row.argmax()) == model.find_label(name) for row, name in zip(answer.predictions.logits, answer.pictures.names))
    assert f"The model sees the class in {seen} of 5 of its own pictures." in answer.note.text


@pytest.mark.parametrize(("of", "word"), [("channels", "channel"), ("neurons", "neuron")])
def test_channels_are_those_from_the_first_on_and_each_answers_more_to_its_own_picture(tiny_models, of, word):
    model = tiny_models["cnn"]
    answer = visualise(model, maximise=of, layer="1", first=9, count=8, steps=30)
    assert answer.pictures.names == (f"{word} 9", f"{word} 10", f"{word} 11")  # of twelve
    maps = torch.stack([answers(model, "1", item.values) for item in answer.pictures.items])[:, 9:]
    numbers = maps[:, :, 8, 8] if of == "neurons" else maps.mean((2, 3))
    assert numbers.argmax(0).tolist() == [0, 1, 2]
    assert answer.predictions is None


def test_a_dense_layer_has_units(tiny_models):
    model = tiny_models["one_channel"]
    answer = visualise(model, maximise="channels", layer="7", first=3, count=2, steps=20)
    assert answer.pictures.names == ("unit 3", "unit 4")
    units = torch.stack([answers(model, "7", item.values).flatten() for item in answer.pictures.items])[:, 3:5]
    assert (units.diagonal() > units.flip(0).diagonal()).all()


def test_random_channels_are_any_and_none_twice(tiny_models):
    model = tiny_models["cnn"]
    names = visualise(model, maximise="channels", layer="1", count=12, pick="at random", steps=1).pictures.names
    assert sorted(names, key=lambda name: int(name.split()[1])) == [f"channel {number}" for number in range(12)] != list(names)


def test_a_whole_layer_and_the_direction_of_the_picture_are_one_picture_each(tiny_models):
    model = tiny_models["cnn"]
    whole = visualise(model, maximise="whole layer", layer="1", count=5, steps=20)
    before = float(answers(model, "1", sample_for(model).pixels[0].numpy()).square().mean())
    from_picture = visualise(model, maximise="whole layer", layer="1", start="picture", steps=20)
    after = [float(answers(model, "1", made.pictures.items[0].values).square().mean()) for made in (whole, from_picture)]
    assert len(whole.pictures.items) == 1 and after[1] > before
    answer = visualise(model, maximise="direction of the picture", layer="1", steps=40)
    wanted, noise = (answers(model, "1", values).mean((1, 2)) for values in (sample_for(model).pixels[0].numpy(), answer.animation.frames[0]))
    found = answers(model, "1", answer.pictures.items[0].values).mean((1, 2))
    assert answer.pictures.names == ("as noise",) and float(found @ wanted) > 1.2 * float(noise @ wanted)


def test_a_channel_that_the_layer_does_not_have_is_refused_with_those_it_has(tiny_models):
    with pytest.raises(ParameterError, match="First: received 12, but the channels of 1 are numbered from 0 to 11."):
        visualise(tiny_models["cnn"], maximise="channels", layer="1", first=12)


def test_a_model_whose_layers_have_no_places_is_asked_for_units_of_its_last(tiny_models):
    from tests.test_contract import linear

    assert visualise(linear(), maximise="channels", count=2).pictures.names == ("unit 0", "unit 1")


def test_settings_stand_side_by_side_and_each_does_what_it_would_do_alone(tiny_models):
    model = tiny_models["cnn"]
    ways = ("as set", "l2=2", "fourier=no learning_rate=0.01")
    answer = visualise(model, maximise="channels", layer="1", first=2, count=2, beside=ways)
    assert answer.pictures.columns == 3
    assert answer.pictures.names == tuple(f"channel {number}, {way}" for number in (2, 3) for way in ("As set", "L2 2", ways[2]))
    alone = visualise(model, maximise="channels", layer="1", first=2, count=2, fourier=False, learning_rate=0.01)
    for there, here in ((2, 0), (5, 1)):
        np.testing.assert_array_equal(answer.pictures.items[there].values, alone.pictures.items[here].values)
    assert list(answer.objective.lines) == list(answer.pictures.names) and answer.animation.frames.shape[2:] == (64, 96)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("steps=3", "Beside: received 'steps=3', expected a change such as l2=0.1, of one of learning_rate, l2, "),
        ("l2", "Beside: received 'l2', expected a change"),
        ("l2=11", "L2: received '11.0', expected a number from 0 to 10."),
        ("l2=much", "L2: received 'much', expected a number from 0 to 10."),
        ("fourier=maybe", "Fourier: received 'maybe', expected true or false."),
        ("blur_every=1.5", "Blur every: received '1.5', expected a whole number from 0 to 100 steps."),
    ],
)
def test_a_change_that_cannot_be_made_is_refused_in_a_sentence(tiny_models, change, sentence):
    with pytest.raises(ParameterError) as refusal:
        visualise(tiny_models["cnn"], beside=(change,))
    assert str(refusal.value).startswith(sentence)


def test_more_pictures_than_a_run_holds_are_refused(tiny_models):
    with pytest.raises(ParameterError, match="24 pictures in 3 ways are more than 64. Choose fewer."):
        visualise(tiny_models["transformer"], maximise="channels", count=24, beside=("as set", "l2=2", "l2=0.5"))


def test_the_animation_goes_from_the_start_to_the_picture_with_each_step_named(tiny_models):
    model = tiny_models["cnn"]
    answer = visualise(model, steps=50)
    steps = [int(name.removeprefix("step ")) for name in answer.animation.names]
    assert steps[0] == 0 and steps[-1] == 50 and len(steps) == frames.MOST == len(answer.animation.frames)
    assert set(np.diff(steps)) <= {1, 2}  # even
    assert answer.animation.frames[0].std() < 0.05 < answer.animation.frames[-1].std()  # from faint noise
    np.testing.assert_array_equal(answer.animation.frames[-1], answer.pictures.items[0].values)


def test_many_pictures_share_each_frame_in_a_square():
    kept = frames.Frames(1, 5)
    pictures = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, 200, 100) / 10
    for step in (0, 1):
        kept.see(step, pictures)
    made = frames.animation([kept], 0, "five").frames
    assert made.shape == (2, 1, 256, 192)  # three columns of 64 pixels, two rows of 128
    assert made[0, 0, ::128, ::64].flatten().tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 1])


def test_unfinished_pictures_are_shown_and_the_last_of_them_are_those_of_the_end(tiny_models):
    model, shown = tiny_models["cnn"], []
    answer = visualise(model, Run(show=shown.append), steps=4)
    assert len(shown) == 5 and shown[0].note.text.startswith("At step 0: ")
    np.testing.assert_array_equal(shown[-1].pictures.items[0].values, answer.pictures.items[0].values)


def test_another_size_is_another_size_of_the_pictures(tiny_models):
    answer = visualise(tiny_models["one_channel"], maximise="channels", layer="3", size=48, start="picture", steps=2)
    assert answer.pictures.items[0].values.shape == (1, 48, 48)


def test_four_channels_are_shown_by_their_colours():
    from torch import nn

    from model_zoo.loaded import wrap
    from model_zoo.preprocessing import Preprocessing

    network = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    model = wrap(network, key="tiny/rgba", preprocessing=Preprocessing(4, (16, 16), (0.5,) * 4, (0.5,) * 4, crop_fraction=1.0))
    answer = visualise(model, steps=2)
    assert answer.pictures.items[0].values.shape == (3, 16, 16) and answer.animation.frames.shape == (3, 3, 16, 16)


@pytest.mark.parametrize("name", ["bundled/imagenette", "bundled/digits"])
def test_the_bundled_models_see_their_classes_in_what_they_make(name):
    """All ten of each after the default number of steps, when this was written."""
    import model_zoo

    model = model_zoo.load(name)
    answer = visualise(model, count=4, steps=16)
    assert [int(row.argmax()) for row in answer.predictions.logits] == [model.find_label(label) for label in answer.pictures.names]
