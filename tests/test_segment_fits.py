"""Feature ablation, LIME and Kernel SHAP: closed forms on a linear network, captum, scikit-learn, Shapley values by brute force."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques import kernel_shap, lime
from techniques.base import Run, Sample, batches
from techniques.base.covering import fill_pixels
from techniques.base.segments import Segments

THREE = ("feature_ablation", "lime", "kernel_shap")


def sample_for(model, seed: int = 0) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


@pytest.fixture(scope="module")
def linear():
    """Logits are a weighted sum of the pixels."""
    torch.manual_seed(0)
    return wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3)), key="linear", preprocessing=Preprocessing(3, (16, 16)))


def values_of(segments: Segments, heatmap: np.ndarray) -> np.ndarray:
    """One value per segment from a map, after a check that no segment has two."""
    labels = segments.labels.numpy()
    assert all(np.ptp(heatmap[labels == one]) == 0 for one in range(segments.count))
    return np.array([heatmap[labels == one][0] for one in range(segments.count)])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("feature_ablation", {}),
        ("lime", {"fit": "least squares"}),
        ("lime", {"fit": "lasso", "shown": 20}),
        ("kernel_shap", {}),
        ("kernel_shap", {"segments": 6}),
    ],
)
def test_on_a_linear_network_a_segment_has_the_sum_of_weight_times_pixel_less_filling(linear, name, settings):
    sample = sample_for(linear)
    settings = {"segments": 16, **settings}
    answer = techniques.run(name, sample, linear, target=1, fill="mean", **settings)
    heatmap = (answer.logit_drop if name == "feature_ablation" else answer.logit).values
    segments = Segments.of(sample.pixels, "slic", settings["segments"])
    assert segments.count <= settings.get("shown", 99)  # or the lasso would leave some out
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (linear.preprocessing.mean, linear.preprocessing.std))
    weights = linear.network[1].weight[1].detach().view(3, 16, 16) / std
    shares = (weights * (sample.pixels - fill_pixels("mean", sample.pixels))[0]).sum(0).numpy()
    expected = [shares[segments.labels.numpy() == one].sum() for one in range(segments.count)]
    assert np.allclose(values_of(segments, heatmap), expected, atol=1e-5)  # the logits are float32
    assert np.abs(expected).max() > 0.05


@pytest.mark.parametrize("name", THREE)
def test_a_segment_that_alone_decides_is_found(name):
    network = nn.Sequential(nn.Flatten(), nn.Linear(400, 2))
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].weight[1].view(20, 20)[4:8, 12:16] = 0.2
        network[1].bias.copy_(torch.tensor([0.0, -2.0]))
    model = wrap(network, key="corner", preprocessing=Preprocessing(1, (20, 20), (0.0,), (1.0,)))
    pixels = torch.zeros(1, 20, 20)
    pixels[:, 4:8, 12:16] = 1
    answer = techniques.run(name, Sample.from_pixels(pixels, "patch"), model, target=1, segments=25, fill="black")
    first = answer[0].values
    assert first[5, 13] == first.max() > 0.3 and answer.table.rows[0][0] == 1
    assert np.abs(first[:, :8]).max() < 0.1 * first.max()


# Feature ablation


def test_feature_ablation_agrees_with_captum(tiny_models):
    from captum.attr import FeatureAblation

    model = tiny_models["cnn"]
    sample = sample_for(model)
    answer = techniques.run("feature_ablation", sample, model, target=2)
    labels = Segments.of(sample.pixels, "slic", 50).labels
    for forward, heatmap in ((model.probabilities, answer.probability_drop), (model.logits, answer.logit_drop)):
        peer = FeatureAblation(forward).attribute(sample.pixels, baselines=0.5, target=2, feature_mask=labels[None, None])
        expected = peer[0, 0].detach().numpy()
        assert np.abs(heatmap.values - expected).max() <= 1e-4 * np.abs(expected).max()  # batches round differently


def test_the_decisive_segment_is_the_one_that_lowers_the_probability_most(tiny_model):
    answer = techniques.run("feature_ablation", sample_for(tiny_model), tiny_model, target=0)
    drops = answer.predictions.probabilities[0, 0] - answer.predictions.probabilities[1, 0]
    assert drops == pytest.approx(answer.probability_drop.values.max(), abs=1e-6)


# LIME


@pytest.mark.parametrize(("fit", "alpha"), [("ridge", 1.0), ("least squares", 0.0)])
def test_limes_fit_agrees_with_scikit_learn(fit, alpha):
    from sklearn.linear_model import LinearRegression, Ridge

    random = np.random.default_rng(0)
    kept, readings = lime.neighbours(random, 80, 12), random.random((80, 2))
    weights, explained = lime._fitted(kept, readings, fit, 0.35, 5)
    near = lime.nearness(kept, 0.35)
    peer = (Ridge(alpha=alpha) if alpha else LinearRegression()).fit(kept, readings, near)
    assert np.allclose(weights, peer.coef_.T, atol=1e-10)
    assert np.allclose(explained, [peer_score(peer, kept, readings, near, one) for one in (0, 1)], atol=1e-10)


def peer_score(peer, kept, readings, near, one) -> float:
    from sklearn.metrics import r2_score

    return r2_score(readings[:, one], peer.predict(kept)[:, one], sample_weight=near)


def test_limes_ridge_agrees_with_captum_on_the_same_pictures(tiny_models):
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import LimeBase

    model = tiny_models["cnn"]
    sample = sample_for(model)
    answer = techniques.run("lime", sample, model, target=2, segments=12, samples=60, repeats=2, seed=5)
    segments = Segments.of(sample.pixels, "slic", 12)
    random, fits = np.random.default_rng(5), []
    for _ in range(2):
        kept = lime.neighbours(random, 60, segments.count)
        near = iter(lime.nearness(kept, 0.35))
        rows = iter(torch.from_numpy(kept).float())
        peer = LimeBase(
            lambda pictures: model.probabilities(pictures)[:, 2],
            SkLearnRidge(alpha=1.0),
            similarity_func=lambda *_, **__: float(next(near)),
            perturb_func=lambda *_, **__: next(rows)[None],
            perturb_interpretable_space=True,
            from_interp_rep_transform=lambda row, pixels, **_: segments.hidden(pixels, torch.full_like(pixels, 0.5), row > 0),
            to_interp_rep_transform=None,
        )
        fits.append(peer.attribute(sample.pixels, n_samples=60)[0].numpy())
    assert np.allclose(values_of(segments, answer.probability.values), np.mean(fits, 0), atol=1e-5)  # captum fits in float32
    assert np.allclose(values_of(segments, answer.spread.values), np.std(fits, 0, ddof=1), atol=1e-5)


def test_the_lasso_takes_the_segments_that_come_first_on_scikit_learns_path():
    from sklearn.linear_model import lars_path

    random = np.random.default_rng(1)
    x = random.standard_normal((60, 15))
    x -= x.mean(0)
    y = x[:, [3, 7, 11]] @ np.array([2.0, -1.0, 0.5]) + 0.3 * random.standard_normal(60)
    weights = lime.k_lasso(x, y - y.mean(), 4)
    _, active, _ = lars_path(x, y - y.mean(), method="lasso", max_iter=4)
    assert set(np.flatnonzero(weights)) == set(active)
    assert np.allclose(weights[active], np.linalg.lstsq(x[:, active], y - y.mean(), rcond=None)[0])


def test_neighbours_keep_each_segment_with_probability_one_half_and_the_first_all():
    kept = lime.neighbours(np.random.default_rng(0), 20_001, 10)
    assert kept[0].all()
    assert np.abs(kept[1:].mean(0) - 0.5).max() < 5 * math.sqrt(0.25 / 20_000)  # five standard deviations


def test_nearness_is_that_of_the_authors_code_for_pictures():
    """Theirs: the root of exp(-distance^2 / 0.25^2), distance scikit-learn's cosine distance to a row of ones."""
    from sklearn.metrics import pairwise_distances

    kept = lime.neighbours(np.random.default_rng(0), 50, 10)
    kept = kept[kept.any(1)]
    distances = pairwise_distances(kept.astype(float), np.ones((1, 10)), metric="cosine").ravel()
    assert np.allclose(lime.nearness(kept, 0.25 * math.sqrt(2)), np.sqrt(np.exp(-(distances**2) / 0.25**2)), atol=1e-12)


# Kernel SHAP


def brute_force(worth, count: int) -> np.ndarray:
    """Shapley values `[count]` from their definition: what each segment adds to each choice of the others, each size as important."""
    values = np.zeros(count)
    for one in range(count):
        others = [other for other in range(count) if other != one]
        for size in range(count):
            choices = [frozenset(choice) for choice in combinations(others, size)]
            values[one] += np.mean([worth(choice | {one}) - worth(choice) for choice in choices]) / count
    return values


@pytest.mark.parametrize("name", ["cnn", "transformer", "one_channel"])
def test_with_few_segments_kernel_shap_gives_the_exact_shapley_values(tiny_models, name):
    model = tiny_models[name]
    sample = sample_for(model)
    answer = techniques.run("kernel_shap", sample, model, target=1, segments=6)
    segments = Segments.of(sample.pixels, "slic", 6)
    assert 4 <= segments.count <= 9
    choices = [frozenset(choice) for size in range(segments.count + 1) for choice in combinations(range(segments.count), size)]
    kept = torch.tensor([[one in choice for one in range(segments.count)] for choice in choices])
    probabilities = model.probabilities(segments.hidden(sample.pixels, torch.full_like(sample.pixels, 0.5), kept))[:, 1]
    worth = dict(zip(choices, probabilities.double().tolist()))
    expected = brute_force(worth.__getitem__, segments.count)
    assert np.allclose(values_of(segments, answer.probability.values), expected, atol=1e-6)  # the network's answers are float32
    assert answer.spread is None and "the values are exact" in answer.note.text


def test_ten_segments_are_tried_whole_with_the_default_settings_and_twelve_are_not():
    random = np.random.default_rng(0)
    assert kernel_shap.Plan.of(random, 9, 300, 3).exact and len(kernel_shap.Plan.of(random, 9, 300, 3).rows) == 2**9 - 2
    assert not kernel_shap.Plan.of(random, 12, 300, 3).exact


@pytest.mark.parametrize(("count", "samples"), [(12, 100), (12, 1000), (30, 300), (50, 50), (120, 100)])
def test_the_weights_of_the_choices_follow_the_shapley_kernel(count, samples):
    plan = kernel_shap.Plan.of(np.random.default_rng(0), count, samples, 3)
    assert plan.weights.sum() + plan.rest == pytest.approx(1) and plan.drawn.shape[1:] == (3, count)
    sizes = plan.whole.sum(1)
    kernel = np.array([(count - 1) / (math.comb(count, size) * size * (count - size)) for size in sizes])
    assert len(sizes) == 0 or np.allclose(plan.weights / plan.weights[0], kernel / kernel[0])
    assert len(np.unique(plan.whole, axis=0)) == len(plan.whole)
    assert (plan.drawn[0::2] ^ plan.drawn[1::2]).all()  # each choice is followed by its opposite
    assert len(plan.whole) + len(plan.drawn) <= samples


def test_drawn_values_come_near_the_exact_ones_and_nearer_with_more_pictures(tiny_models):
    model = tiny_models["cnn"]
    sample = sample_for(model)
    exact = techniques.run("kernel_shap", sample, model, target=1, segments=12, samples=4000, repeats=2)
    assert exact.spread is None
    errors = []
    for samples in (50, 400):
        found = techniques.run("kernel_shap", sample, model, target=1, segments=12, samples=samples, repeats=2)
        errors.append(np.abs(found.logit.values - exact.logit.values).max() / np.abs(exact.logit.values).max())
    assert errors[0] < 0.3 and errors[1] < 0.05 and errors[1] < errors[0]


def test_the_shares_add_up_to_what_the_picture_has_more_than_the_filling(tiny_model):
    sample = sample_for(tiny_model)
    answer = techniques.run("kernel_shap", sample, tiny_model, target=0, segments=20, samples=50)
    segments = Segments.of(sample.pixels, "slic", 20)
    both = tiny_model.logits(torch.cat([sample.pixels, torch.full_like(sample.pixels, 0.5)])).detach()
    for heatmap, values in ((answer.logit, both), (answer.probability, tiny_model.shares(both))):
        assert values_of(segments, heatmap.values).sum() == pytest.approx(float(values[0, 0] - values[1, 0]), abs=1e-5)  # maps are float32
    assert max(abs(row[-1]) for row in answer.completeness.rows) < 1e-9


# What LIME and Kernel SHAP have in common


@pytest.mark.parametrize("name", ["lime", "kernel_shap"])
def test_the_spread_is_the_deviation_over_repeats_and_falls_with_more_pictures(tiny_models, name):
    model = tiny_models["cnn"]
    few, many = (techniques.run(name, sample_for(model), model, target=1, segments=16, samples=count, repeats=3) for count in (50, 600))
    assert many.spread.values.mean() < 0.6 * few.spread.values.mean()  # twelve times as many: 0.29 in the mean
    assert [column for column in few.table.columns if "deviation" in column] == ["probability, standard deviation", "logit, standard deviation"]
    assert "3 repeats with other random numbers have a mean rank correlation of" in few.note.text


@pytest.mark.parametrize("name", THREE)
def test_unfinished_maps_are_shown_and_the_size_of_a_batch_changes_nothing(tiny_models, name, monkeypatch):
    model, shown = tiny_models["cnn"], []
    settings = {"target": 0, "segments": 20} | ({} if name == "feature_ablation" else {"samples": 100, "repeats": 2})
    whole = techniques.run(name, sample_for(model), model, **settings)
    monkeypatch.setitem(batches.MEMORY, "cpu", 1_000_000)  # a few pictures at a time
    parts = techniques.run(name, sample_for(model), model, run=Run(show=shown.append), **settings)
    assert np.allclose(whole[1].values, parts[1].values, atol=1e-4)  # batches round differently
    assert shown and not np.allclose(shown[0][1].values, parts[1].values, atol=1e-4)


@pytest.mark.parametrize("name", ["lime", "kernel_shap"])
def test_a_segment_that_looks_like_the_filling_has_no_weight_and_takes_no_part(tiny_models, name):
    model = tiny_models["one_channel"]
    pixels = torch.zeros(1, 28, 28)
    pixels[:, 4:24, 10:18] = torch.rand(20, 8, generator=torch.Generator().manual_seed(0))
    answer = techniques.run(name, Sample.from_pixels(pixels, "a stroke"), model, target=3, fill="black")
    segments = Segments.of(pixels[None], "slic", 30)
    seen = np.array([bool(pixels[0][segments.labels == one].any()) for one in range(segments.count)])
    values = values_of(segments, answer.logit.values)
    assert not values[~seen].any() and values[seen].all() and 2 <= seen.sum() < segments.count
    assert f"{(~seen).sum()} of them like the filling and without weight" in answer.segments.caption


@pytest.mark.parametrize("name", ["lime", "kernel_shap"])
def test_where_no_segment_speaks_for_the_class_none_is_shown_alone(name):
    network = nn.Sequential(nn.Flatten(), nn.Linear(400, 2))
    with torch.no_grad():
        network[1].weight[0], network[1].weight[1] = 0.05, -0.05  # whatever is brighter than black speaks against the second class
    model = wrap(network, key="against", preprocessing=Preprocessing(1, (20, 20), (0.0,), (1.0,)))
    answer = techniques.run(name, sample_for(model), model, target=1, segments=6, fill="black")
    assert answer.strongest_alone is None
    assert np.allclose(answer.predictions.logits[1], network[1].bias.detach(), atol=1e-6)  # what is left is black
    assert answer.note.text.endswith("No segment speaks for “class 1”.") and answer.probability.values.max() <= 0
