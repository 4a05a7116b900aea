"""The three maps agree with what they are defined by and with scikit-learn, and the technique puts pictures, neighbours and an attack's path
where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import techniques
from techniques.base import ParameterError, Sample, Samples
from techniques.base.embedding import (
    Plane, attraction, between_neighbours, divergence, joint_probabilities, memberships, repulsion, squared_distances, t_sne, turned, umap,
)  # fmt: skip
from techniques.base.embedding import _gradient as gradient_of_t_sne
from techniques.base.feature_map import PREDICTED, TRUE, features_of


def clusters(count: int = 90, groups: int = 3, width: int = 20) -> tuple[torch.Tensor, np.ndarray]:
    """Vectors of normal noise around a few centres, and the number of the centre of each."""
    generator = torch.Generator().manual_seed(4)
    numbers = torch.arange(count) % groups
    return torch.randn(groups, width, generator=generator)[numbers] * 2 + torch.randn(count, width, generator=generator), numbers.numpy()


def pictures(model, count: int, groups: tuple[str, ...] = ("",)) -> Samples:
    generator = torch.Generator().manual_seed(7)
    pixels = torch.rand(count, model.preprocessing.channels, *model.preprocessing.size, generator=generator)
    return Samples(tuple(replace(Sample.from_pixels(one, f"p{i}"), group=groups[i % len(groups)]) for i, one in enumerate(pixels)))


def run(samples: Samples, model, **settings):
    return techniques.run("embedding_map", list(samples), model, **settings)


@pytest.mark.parametrize("width", [5, 200])
def test_the_plane_is_that_of_scikit_learn(width):
    from sklearn.decomposition import PCA

    features = torch.randn(40, width, generator=torch.Generator().manual_seed(1))
    plane, theirs = Plane(features), PCA(2).fit(features.double().numpy())
    assert plane.shares == pytest.approx(theirs.explained_variance_ratio_, rel=1e-9)
    assert plane.places(features).abs().numpy() == pytest.approx(np.abs(theirs.transform(features.double().numpy())), abs=1e-9)


def test_a_direction_in_which_nothing_differs_has_no_extent():
    line = torch.arange(4.0)[:, None] * torch.tensor([[3.0, 4.0]])
    assert Plane(line).places(line)[:, 0].diff().tolist() == pytest.approx([5, 5, 5]) and not Plane(line).places(line)[:, 1].abs().max() > 1e-9
    assert not Plane(torch.ones(3, 1)).places(torch.ones(3, 1)).any()


def test_the_gradient_of_t_sne_is_that_of_the_divergence():
    features, _ = clusters(300)
    wanted = joint_probabilities(squared_distances(features), 20)
    places = torch.randn(300, 2, generator=torch.Generator().manual_seed(2)).requires_grad_()
    others = ~torch.eye(300, dtype=torch.bool)
    closeness = (1 + (places[:, None] - places).square().sum(2)).reciprocal()[others]
    (-wanted[others] * (closeness / closeness.sum()).log()).sum().backward()
    found = gradient_of_t_sne(wanted, places.detach(), 1.0)
    assert torch.allclose(found, places.grad, atol=1e-4 * float(places.grad.abs().max()))  # float32, sums over 300


def test_neighbourhoods_have_the_perplexity_that_is_asked_for():
    ring = torch.linspace(0, 2 * torch.pi, 41)[:-1]  # on a ring all neighbourhoods are alike, and making them symmetric changes nothing
    shares = joint_probabilities(squared_distances(torch.stack([ring.sin(), ring.cos()], 1)), 7.0).double() * 40
    assert (-torch.xlogy(shares, shares).sum(1)).exp().tolist() == pytest.approx([7.0] * 40, rel=1e-3)  # a bisection in float32
    assert shares.sum(1).tolist() == pytest.approx([1.0] * 40, rel=1e-5)


def test_t_sne_fits_as_well_as_that_of_scikit_learn():
    from sklearn.manifold import TSNE

    features, _ = clusters()
    theirs = TSNE(perplexity=15, method="exact", init="pca", max_iter=750, random_state=0)
    theirs.fit_transform(features.numpy())
    distances = squared_distances(features)
    *_, places = t_sne(distances, Plane(features).places(features), 15)
    ours = divergence(joint_probabilities(distances, 15), places)
    assert 0.5 * theirs.kl_divergence_ < ours < 1.05 * theirs.kl_divergence_  # the same quantity, at another minimum


def test_umap_pulls_and_pushes_along_the_gradient_of_its_likelihood():
    difference = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    tied = 1 / (1 + 1.577 * difference.square().sum(1) ** 0.8951)
    (pull,) = torch.autograd.grad(tied.log().sum(), difference, retain_graph=True)
    (push,) = torch.autograd.grad((1 - tied).log().sum(), difference)
    near = difference.norm(dim=1) > 0.3  # the 0.001 that keeps a push finite matters below
    assert torch.allclose(attraction(difference), pull.clamp(-4, 4))
    assert torch.allclose(repulsion(difference)[near], push.clamp(-4, 4)[near], rtol=0.02)


def test_ties_are_symmetric_and_reach_the_nearest_with_full_strength():
    features, _ = clusters()
    distances = squared_distances(features).sqrt()
    tied = memberships(distances, 8)
    assert torch.equal(tied, tied.T) and 0 <= float(tied.min()) and float(tied.max()) <= 1 + 1e-9
    nearest = distances.fill_diagonal_(torch.inf).argmin(1)
    assert tied[torch.arange(90), nearest].tolist() == pytest.approx([1.0] * 90)


@pytest.mark.parametrize("method", ["t-SNE", "UMAP"])
def test_clusters_stay_together(method):
    features, numbers = clusters()
    distances, start = squared_distances(features), Plane(features).places(features)
    *_, places = t_sne(distances, start, 15) if method == "t-SNE" else umap(distances, start, 10, torch.Generator().manual_seed(0))
    near = squared_distances(places).fill_diagonal_(torch.inf).argmin(1).numpy()
    assert (numbers[near] == numbers).mean() > 0.95


def test_a_new_vector_stands_between_those_that_are_known():
    known, places = torch.tensor([[0.0, 0], [2, 0], [0, 9]]), torch.tensor([[1.0, 1], [3, 5], [-4, 0]])
    at = between_neighbours(torch.tensor([[0.0, 0], [1, 0]]), known, places, count=2)
    assert at.tolist() == [pytest.approx([1, 1], abs=1e-6), pytest.approx([2, 3])]


def test_a_turned_map_keeps_all_distances_and_lies_along_the_page():
    places = torch.tensor([[0.0, 0], [0, 4], [1, 8], [0, 12]])
    found = turned(places, torch.stack([-places[:, 1], places[:, 0]], 1))
    assert torch.allclose(squared_distances(found), squared_distances(places)) and found[:, 0].std() > found[:, 1].std()
    assert found[0, 0] > found[3, 0]  # mirrored like the other one


def test_the_features_are_what_the_head_receives(tiny_models):
    for name, receives in {"cnn": 16, "transformer": 24, "one_channel": 16}.items():
        model = tiny_models[name]
        logits, features = features_of(model, pictures(model, 3).pixels)
        assert features.shape == (3, receives)
        assert torch.allclose(model.module(model.head)(features), logits, atol=1e-5)  # float32
    cnn = replace(tiny_models["cnn"], head=None)
    assert torch.allclose(features_of(cnn, pictures(cnn, 3).pixels)[1], features_of(tiny_models["cnn"], pictures(cnn, 3).pixels)[1], atol=1e-5)


@pytest.mark.parametrize("method", ["PCA", "t-SNE"])
def test_the_path_leads_from_the_current_picture_to_what_pgd_makes_of_it(tiny_models, method):
    model = tiny_models["cnn"]
    samples = pictures(model, 9)
    found = run(samples, model, method=method, epsilon=16.0, seed=5)
    alone = techniques.run("pgd", samples[8], model, epsilon=16.0, seed=5)
    assert found.map.current == 8 and found.map.path[0] == pytest.approx(found.map.points[8], abs=1e-5)
    assert torch.equal(torch.as_tensor(found.attacked.items[-1].values), torch.as_tensor(alone.adversarial.values))
    if method == "PCA":
        features = features_of(model, samples.pixels)[1]
        (end,) = Plane(features).places(features_of(model, torch.as_tensor(alone.adversarial.values)[None])[1])
        assert found.map.path[-1] == pytest.approx(end.numpy(), abs=1e-5)
    without = run(samples, model, method="PCA", path="none")
    assert without.map.path is None and without.attacked is None


def test_neighbours_are_near_by_features_and_the_matrix_counts_every_picture(tiny_models):
    model = tiny_models["cnn"]
    samples = pictures(model, 12, ("golf ball", "somebody's cats"))
    found = run(samples, model)
    logits, features = features_of(model, samples.pixels)
    distances = torch.cdist(features, features).fill_diagonal_(torch.inf)
    assert found.map.neighbours.tolist() == distances.argsort(1)[:, :5].tolist()
    names, predicted = found.map.group_names, [model.label(int(i)) for i in model.predicted(logits)]
    assert [names[group] for group in found.map.groups] == predicted
    assert [names[group] for group in found.map.others[TRUE]] == ["golf ball", "somebody's cats"] * 6
    head, rows = found.confusion.columns[1:], {row[0]: row[1:] for row in found.confusion.rows}
    assert {name: sum(row) for name, row in rows.items()} == {"golf ball": 6, "somebody's cats": 6}
    assert [rows["golf ball"][head.index(label)] for label in set(predicted)] == [predicted[::2].count(label) for label in set(predicted)]
    assert found.confusion.marks == (TRUE, PREDICTED)
    assert [row[0] for row in found.pictures.rows] == [f"p{i}" for i in range(12)]


def test_too_few_pictures_are_told(tiny_models):
    model = tiny_models["cnn"]
    with pytest.raises(ParameterError, match="at least two pictures; received one"):
        run(pictures(model, 1), model)
    few, enough = run(pictures(model, 3), model).note.text, run(pictures(model, 4), model).note.text
    assert "t-SNE takes at least 4 pictures; for fewer this is PCA." in few and "add some" in few and "have its" not in few
    assert "for fewer" not in enough and "add some" not in enough and "have its predicted class" in enough


def test_a_picture_that_is_there_twice_breaks_nothing(tiny_models):
    model = tiny_models["cnn"]
    one = pictures(model, 1)
    for method in ("t-SNE", "UMAP", "PCA"):
        found = run(Samples(one.items * 6), model, method=method)
        assert np.isfinite(found.map.points).all() and np.isfinite(found.map.path).all()
