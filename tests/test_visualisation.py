"""The parts of feature visualisation: what pictures are made of, how they are seen, what is climbed, and the steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from model_zoo.errors import ParameterError
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Run
from techniques.base.hooks import input_of, output_of
from techniques.base.visualisation import Aim, Climb, maximise
from techniques.base.visualisation.climb import Adam
from techniques.base.visualisation.images import COLOURS, CONTRAST, NOISE, STEEPNESS, WAVE, Images
from techniques.base.visualisation.views import Views, blurred

CPU = torch.device("cpu")
PLAIN = Climb(steps=30, l2=0, total_variation=0, fourier=False, decorrelated=False, jitter=0, rotation=0, scale=0)


def images(channels: int = 3, size: tuple[int, int] = (24, 31), fourier: bool = True, decorrelated: bool = True) -> Images:
    return Images(channels, size, fourier, decorrelated, CPU)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, *shape: int) -> torch.Tensor:
    return torch.rand(count, *shape, generator=generator(5))


# What pictures are made of


@pytest.mark.parametrize("fourier", [True, False])
@pytest.mark.parametrize("decorrelated", [True, False])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(24, 31), (31, 24), (16, 16)])
def test_the_numbers_of_a_picture_show_that_picture(fourier, decorrelated, channels, size):
    made = images(channels, size, fourier, decorrelated)
    given = 0.01 + 0.98 * pictures(2, channels, *size)
    torch.testing.assert_close(made.pictures(made.numbers(given)), given, atol=1e-5, rtol=0)  # there and back through logit and FFT in float32


def test_noise_of_pixels_is_white_and_faint():
    made = images(1, (64, 64), fourier=False)
    logits = torch.logit(made.pictures(made.start(generator())))
    assert float(logits.std()) == pytest.approx(NOISE, rel=0.05)  # 4096 draws: the deviation of their deviation is 1.1 %
    assert abs(float(logits.mean())) < 4 * NOISE / 64


def test_noise_of_waves_has_an_amplitude_that_falls_with_the_frequency():
    made = images(1, (64, 64))
    logits = torch.cat([torch.logit(made.pictures(made.start(generator(seed)))) for seed in range(40)])
    power = torch.fft.fft2(logits, norm="ortho").abs().square().mean((0, 1))
    frequency = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.fftfreq(64)[None])
    amplitude = WAVE * (1 / WAVE / frequency.clamp(min=1 / 64)) ** STEEPNESS
    expected = 2 * (NOISE / CONTRAST * amplitude) ** 2  # a real and an imaginary part, each of deviation NOISE
    inner = torch.ones(64, 64, dtype=torch.bool)
    inner[[0, 32]] = inner[:, [0, 32]] = False  # there a real picture has its coefficients in pairs
    for low, high in ((1 / 64, 4 / 64), (4 / 64, 12 / 64), (12 / 64, 32 / 64), (32 / 64, 1)):
        ring = inner & (frequency >= low) & (frequency < high)
        assert float((power / expected)[ring].mean()) == pytest.approx(1, abs=0.12)  # at least 40 * 40 / 2 draws of power: 3.5 % each


def test_colours_vary_together_as_they_do_in_photographs():
    made = images(3, (64, 64), fourier=False)
    logits = torch.logit(made.pictures(made.start(generator()))).flatten(2)[0]
    root = torch.tensor(COLOURS)
    expected = root @ root.T
    found = logits @ logits.T / logits.shape[1]
    torch.testing.assert_close(found / found[0, 0], expected / expected[0, 0], atol=0.05, rtol=0)  # 4096 draws: 1.6 % and what depends on it


def test_one_channel_has_no_colours_to_decorrelate():
    first, second = (images(1, (8, 8), decorrelated=on) for on in (True, False))
    assert torch.equal(first.pictures(first.start(generator())), second.pictures(second.start(generator())))


# How they are seen


def test_a_view_without_a_transformation_is_the_picture():
    given = pictures(2, 3, 20, 30)
    assert torch.equal(Views(0, 0, 0).seen(given, torch.ones(4)), given)


def test_moving_is_by_whole_pixels_and_mirrors_at_the_border():
    given = pictures(1, 1, 10, 20)
    seen = Views(10, 0, 0).seen(given, torch.tensor([1.0, -1.0, 0.3, 0.3]))  # 10 % of 20: two pixels right, two up
    torch.testing.assert_close(seen[..., 2:, :-2], given[..., :-2, 2:], atol=1e-5, rtol=0)  # places are computed in float32
    torch.testing.assert_close(seen[..., 2:, -2:], given[..., :-2, -2:].flip(3), atol=1e-5, rtol=0)


def test_turning_and_sizing_keep_a_circle_round_in_a_picture_that_is_not_square():
    rows, columns = torch.meshgrid(torch.arange(40) - 19.5, torch.arange(60) - 29.5, indexing="ij")
    circle = (torch.hypot(rows, columns) < 10).float()[None, None]
    turned = Views(0, 45, 0).seen(circle, torch.ones(4))
    change = (turned - circle)[..., 5:35, 15:45].abs()  # further out it is mirrored
    assert float(change.mean()) < 0.04  # its edge, 63 of 900 pixels, is sampled anew
    larger = Views(0, 0, 50).seen(circle, torch.ones(4))
    assert float(larger[..., 3:37, 10:50].sum() / circle.sum()) == pytest.approx(1.5**2, rel=0.02)


def test_a_blur_keeps_the_mean_and_spreads_a_point_by_its_deviation():
    point = torch.zeros(1, 2, 31, 31)
    point[:, :, 15, 15] = 1
    spread = blurred(point, 2.0)
    offsets = torch.arange(31) - 15.0
    assert torch.allclose(spread.sum((2, 3)), torch.ones(1, 2), atol=1e-5)
    deviation = float((spread[0, 0].sum(0) * offsets**2).sum().sqrt())
    assert deviation == pytest.approx(2.0, rel=0.02)  # cut off at three deviations, and sampled at whole pixels


# What is climbed


class Counted(nn.Module):
    """A ReLU network of four convolutions that counts how often each runs."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 20, 3, stride=2), nn.Conv2d(20, 32, (3, 5), 1, (2, 4), dilation=2), nn.Conv2d(32, 5, 1)]
        )  # fmt: skip
        self.runs = [0] * 4

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        for number, layer in enumerate(self.layers):
            pixels = layer(pixels).relu() if number < 3 else layer(pixels)
            self.runs[number] += 1
        return pixels.mean((2, 3))


@pytest.fixture(scope="module")
def counted() -> LoadedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return wrap(Counted(), key="tiny/counted", preprocessing=Preprocessing(3, (20, 20), crop_fraction=1.0))


def test_nothing_after_the_layer_runs_nor_the_layer_itself_where_a_filter_of_it_is_enough(counted):
    counted.network.runs[:] = [0] * 4
    maximise(counted, Aim.at_channels(counted.layer("layers.1"), [2, 5]), Climb(steps=3), Run())
    assert counted.network.runs == [5, 0, 0, 0]  # three steps, before and after them
    counted.network.runs[:] = [0] * 4
    maximise(counted, Aim(counted.layer("layers.1"), None), Climb(steps=3), Run())
    assert counted.network.runs == [5, 0, 0, 0]  # the hook ends the pass inside the layer's own call


@pytest.mark.parametrize("name", ["layers.0", "layers.1", "layers.2", "layers.3"])
def test_one_filter_is_what_the_whole_convolution_gives_for_it(counted, name):
    layer, pixels = counted.layer(name), pictures(3, 3, 20, 20)
    directions = torch.randn(3, layer.channels, generator=generator())
    found = Aim(layer, directions).values(counted, pixels)
    whole = torch.einsum("nchw,nc->nhw", output_of(counted, layer, pixels), directions)
    positive = whole.relu().mean((1, 2))
    expected = torch.where(positive > 0, positive, whole.mean((1, 2)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)  # sums in another order
    assert torch.equal(input_of(counted, layer, pixels).flatten(2).shape[:1] and found > 0, positive > 0)


@pytest.mark.parametrize("name", ["cnn", "transformer", "one_channel"])
def test_a_channel_is_read_the_same_at_each_layer_whatever_its_form(tiny_models, name):
    model = tiny_models[name]
    pixels = pictures(2, model.preprocessing.channels, *model.preprocessing.size)
    for layer in model.layers:
        last = min(3, layer.channels - 1)
        maps = layer.maps(output_of(model, layer, pixels))[:, last]
        expected = [float(map_.relu().mean() if (map_ > 0).any() else map_.mean()) for map_ in maps]
        found = Aim.at_channels(layer, [last, last]).values(model, pixels)
        np.testing.assert_allclose(found.tolist(), expected, rtol=1e-4, atol=1e-6)
        middle = Aim.at_channels(layer, [last, last], centre=True).values(model, pixels)
        np.testing.assert_allclose(middle.tolist(), maps[:, maps.shape[1] // 2, maps.shape[2] // 2].tolist(), rtol=1e-4, atol=1e-6)


# The steps


def linear_model(size: int = 8) -> LoadedModel:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.randn(2, 3 * size * size, generator=generator(1)))
    return wrap(network, key="tiny/linear", preprocessing=Preprocessing(3, (size, size), (0.0,) * 3, (1.0,) * 3, crop_fraction=1.0))


@pytest.mark.parametrize("fourier", [False, True])
def test_on_a_linear_model_the_picture_is_the_weight_vector(fourier):
    """With an L2 of w the best picture is grey plus weights of root mean square 1, times a quarter over w."""
    model, weight = linear_model(), 4.0
    climb = Climb(steps=200, l2=weight, total_variation=0, fourier=fourier, decorrelated=fourier, jitter=0, rotation=0, scale=0)
    found = maximise(model, Aim.at_classes(model, [0, 1]), climb, Run()).pictures - 0.5
    weights = model.network[1].weight.view(2, 3, 8, 8)
    expected = 0.25 / weight * weights / weights.square().mean((1, 2, 3), keepdim=True).sqrt()
    error = float((found - expected).norm() / expected.norm())
    assert error < 0.01  # some waves are still on their way after 200 steps


def test_steps_are_those_of_torchs_adam():
    start, gradients = torch.randn(5, 3, generator=generator()), torch.randn(6, 5, 3, generator=generator(1))
    ours, adam = start.clone(), Adam(0.05)
    theirs = start.clone().requires_grad_()
    peer = torch.optim.Adam([theirs], lr=0.05, maximize=True)
    for gradient in gradients:
        ours = adam.step(ours, gradient)
        theirs.grad = gradient.clone()
        peer.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)  # rounding of float32


def test_what_is_climbed_grows(tiny_model):
    classes = range(2)
    found = maximise(tiny_model, Aim.at_classes(tiny_model, classes), Climb(steps=20), Run())
    assert (found.reached > found.started + 0.1).all() and found.moved.all()
    with torch.no_grad():
        logits = tiny_model.logits(found.pictures)
    torch.testing.assert_close(found.reached, logits[range(2), classes], rtol=1e-4, atol=1e-4)  # a batch of another size
    assert found.path.shape == (20, 2) and 0 <= float(found.pictures.min()) <= float(found.pictures.max()) <= 1


def test_a_picture_is_the_same_alone_as_among_others(tiny_models, monkeypatch):
    model = tiny_models["cnn"]
    layer = model.layer("1")
    together = maximise(model, Aim.at_channels(layer, [0, 4, 7]), Climb(steps=6), Run(), seed=3).pictures
    alone = maximise(model, Aim.at_channels(layer, [4]), Climb(steps=6), Run(), seed=3).pictures
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-3)  # batches round differently, and Adam divides by small numbers
    monkeypatch.setattr("techniques.base.visualisation.climb.batch_size_with_graph", lambda *_: 2)
    in_parts = maximise(model, Aim.at_channels(layer, [0, 4, 7]), Climb(steps=6), Run(), seed=3).pictures
    torch.testing.assert_close(in_parts, together, rtol=0, atol=1e-3)


def test_another_seed_gives_another_picture_and_the_same_seed_the_same(tiny_models):
    model = tiny_models["cnn"]

    def made(seed: int) -> torch.Tensor:
        return maximise(model, Aim.at_classes(model, [1]), Climb(steps=4), Run(), seed=seed).pictures

    assert torch.equal(made(1), made(1)) and not torch.allclose(made(1), made(2), atol=1e-3)


def test_it_begins_with_the_picture_that_is_given(tiny_models):
    model, start, seen = tiny_models["cnn"], 0.1 + 0.8 * pictures(1, 3, 32, 32), []
    maximise(model, Aim.at_classes(model, [1, 2]), Climb(steps=2), Run(), start=start, see=lambda step, shown, _: seen.append((step, shown)))
    assert [step for step, _ in seen] == [0, 1, 2]
    torch.testing.assert_close(seen[0][1], start.expand(2, -1, -1, -1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("stronger", "measure"),
    [
        ({"l2": 2.0}, lambda shown: float((shown - 0.5).square().mean())),
        ({"total_variation": 0.5}, lambda shown: float(shown.diff(dim=2).abs().mean() + shown.diff(dim=3).abs().mean())),
        ({"blur_every": 2}, lambda shown: float(shown.diff(dim=2).abs().mean() + shown.diff(dim=3).abs().mean())),
    ],
)
def test_each_penalty_makes_less_of_what_it_is_against(tiny_models, stronger, measure):
    model = tiny_models["cnn"]
    plain, held = (maximise(model, Aim.at_classes(model, [1]), Climb(**{**PLAIN.__dict__, **more}), Run()).pictures for more in ({}, stronger))
    assert measure(held) < 0.8 * measure(plain)


def closed_model() -> LoadedModel:
    """Its second channel is below zero for every picture that is nearly grey; its third never depends on the picture."""
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, 2))
    with torch.no_grad():
        network[0].weight[1], network[0].bias[1] = 1.0, -6.0
        network[0].weight[2], network[0].bias[2] = 0.0, -1.0
    return wrap(network, key="tiny/closed", preprocessing=Preprocessing(1, (8, 8), (0.0,), (1.0,), crop_fraction=1.0))


def test_a_channel_behind_a_closed_rectifier_is_opened_and_one_that_nothing_opens_is_told():
    model = closed_model()
    found = maximise(model, Aim.at_channels(model.layer("1"), [1, 2]), Climb(steps=40, jitter=0, rotation=0, scale=0), Run())
    assert found.started.tolist() == [0, 0] and found.path[0].tolist() == [0, 0]
    assert float(found.reached[0]) > 0.5 and float(found.reached[1]) == 0
    assert found.moved.tolist() == [True, False]


def test_another_size_is_taken_where_the_network_allows_it_and_told_where_not(tiny_models):
    model = tiny_models["one_channel"]  # its dense layers want one size, its convolutions any
    convolution, dense = model.layer("3"), model.layer("7")
    found = maximise(model, Aim.at_channels(convolution, [1]), Climb(steps=2), Run(), size=(40, 33))
    assert found.pictures.shape == (1, 1, 40, 33)
    with pytest.raises(ParameterError, match="does not come as far as its layer “7” with a picture of 40 × 33 px. Choose another size, or 0"):
        maximise(model, Aim.at_channels(dense, [1]), Climb(steps=2), Run(), size=(40, 33))


def test_the_middle_is_where_a_neuron_looks(tiny_models):
    model = tiny_models["cnn"]
    start = torch.full((1, 3, 32, 32), 0.5)
    climb = Climb(**{**PLAIN.__dict__, "steps": 1})
    found = maximise(model, Aim.at_channels(model.layer("0"), [3], centre=True), climb, Run(), start=start)
    rows, columns = (found.pictures - start).abs().sum((0, 1)).nonzero(as_tuple=True)
    assert math.isclose(rows.float().mean(), 16) and math.isclose(columns.float().mean(), 16)
    assert rows.min() >= 15 and rows.max() <= 17  # one convolution of 3 x 3
