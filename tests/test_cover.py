"""Cover: what is covered and with what, the maps before and after, and the sentence that tells what came of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import model_zoo
import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import IncompatibleModel, ParameterError, Run, Sample, execute
from techniques.base.covering import fill_pixels, what_changed
from techniques.base.pictures import read_picture
from tests.test_contract import linear
from ui.samples import sample


def sample_for(model, seed: int = 0) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


@pytest.mark.parametrize("fill", techniques.find("cover").param("fill").choices)
def test_only_the_painted_area_changes_and_it_becomes_the_fill(tiny_model, fill):
    sample = sample_for(tiny_model)
    mask = np.zeros(tiny_model.preprocessing.size, bool)
    mask[5:11, 3:20] = True
    covered = techniques.run("cover", sample, tiny_model, mask=mask, fill=fill, seed=3).covered.items[1].values
    original, filling = sample.pixels[0].numpy(), fill_pixels(fill, sample.pixels, 3)[0].numpy()
    assert np.array_equal(covered[:, ~mask], original[:, ~mask])
    assert np.array_equal(covered[:, mask], filling[:, mask])
    assert not np.allclose(covered[:, mask], original[:, mask])


def test_the_predictions_are_those_of_the_picture_and_of_the_covered_picture(tiny_model):
    sample = sample_for(tiny_model)
    answer = techniques.run("cover", sample, tiny_model)
    again = tiny_model.logits(torch.cat([sample.pixels, torch.from_numpy(answer.covered.items[1].values)[None]]))
    assert answer.predictions.names == ("before", "after")
    assert np.allclose(answer.predictions.logits, again.numpy(), atol=1e-6)  # the same batch


def test_a_mask_of_another_size_covers_the_same_part_of_the_picture(tiny_models):
    model = tiny_models["cnn"]
    mask = np.zeros((100, 50))
    mask[:, :25] = 255
    covered = techniques.run("cover", sample_for(model), model, mask=mask).covered.items[1].values
    assert np.array_equal((covered == 0.5).all((0, 1)), np.arange(32) < 16)


def test_without_a_mask_the_middle_quarter_is_covered(tiny_models):
    answer = techniques.run("cover", sample_for(tiny_models["cnn"]), tiny_models["cnn"], fill="white")
    assert np.array_equal(np.argwhere((answer.covered.items[1].values == 1).all(0)), [[r, c] for r in range(8, 24) for c in range(8, 24)])
    assert answer.note.text.startswith("With 25 % of the picture covered, ")


def test_an_empty_mask_changes_nothing(tiny_models):
    model = tiny_models["cnn"]
    answer = techniques.run("cover", sample_for(model), model, mask=np.zeros((32, 32), bool))
    assert np.allclose(*answer.predictions.logits, atol=1e-6)
    assert "With 0 % of the picture covered" in answer.note.text and "stays at" in answer.note.text


@pytest.mark.parametrize("mask", [np.zeros(3), np.zeros((2, 4, 32, 32)), [np.zeros((4, 4)), np.zeros(4)], [], [np.zeros((4, 4))] * 7, "ink"])
def test_a_mask_that_is_no_plane_nor_a_few_of_them_is_refused(tiny_models, mask):
    with pytest.raises(ParameterError, match="expected a two-dimensional mask, or up to 6 of them"):
        techniques.run("cover", sample_for(tiny_models["cnn"]), tiny_models["cnn"], mask=mask)


def upper_and_left() -> tuple[np.ndarray, np.ndarray]:
    """Two areas of different sizes that overlap: the upper half of the picture and its left quarter."""
    upper, left = np.zeros((32, 32), bool), np.zeros((8, 16), bool)
    upper[:16], left[:, :4] = True, True
    return upper, left


def test_several_areas_are_each_covered_in_a_picture_of_its_own(tiny_models):
    answer = techniques.run("cover", sample_for(tiny_models["cnn"]), tiny_models["cnn"], mask=upper_and_left(), fill="white")
    before, upper, left = (item.values for item in answer.covered.items)
    assert np.array_equal(before, sample_for(tiny_models["cnn"]).pixels[0].numpy())
    assert np.array_equal((upper == 1).all(0), np.arange(32)[:, None].repeat(32, 1) < 16)
    assert np.array_equal((left == 1).all(0), np.arange(32)[None].repeat(32, 0) < 8)
    assert answer.covered.names == ("Before", "A: 50 % of the picture", "B: 25 % of the picture")
    assert answer.predictions.names == ("before", "A", "B")
    assert [line[:7] for line in answer.note.text.splitlines()] == ["A: With", "B: With"]


def test_two_areas_do_not_influence_each_other(tiny_model):
    sample, masks = sample_for(tiny_model), upper_and_left()
    both = techniques.run("cover", sample, tiny_model, mask=masks, target=0)
    for number, mask in enumerate(masks, 1):
        alone = techniques.run("cover", sample, tiny_model, mask=mask, target=0)
        for panel in ("covered", "grad_cam", "smooth_grad"):
            assert np.array_equal(getattr(both, panel).items[number].values, getattr(alone, panel).items[1].values), panel
        # the predictions go through the network as one batch, which rounds differently for another number of pictures
        assert np.allclose(both.predictions.logits[number], alone.predictions.logits[1], atol=1e-5)


def test_an_empty_area_beside_a_painted_one_is_left_out_and_the_others_keep_their_letters(tiny_models):
    empty, (upper, left) = np.zeros((32, 32), bool), upper_and_left()
    answer = techniques.run("cover", sample_for(tiny_models["cnn"]), tiny_models["cnn"], mask=[upper, empty, left])
    assert answer.predictions.names == ("before", "A", "C")


def test_the_maps_are_those_of_each_picture_for_the_class_it_had_before(tiny_model):
    sample = sample_for(tiny_model)
    answer = techniques.run("cover", sample, tiny_model, mask=upper_and_left(), samples=3)
    target = int(tiny_model.predicted(torch.from_numpy(answer.predictions.logits[0])))
    for picture, found in zip(answer.covered.items, answer.grad_cam.items):
        name = tiny_model.label(target)
        expected = techniques.run("grad_cam", Sample.from_pixels(picture.values, ""), tiny_model, target=target).grad_cam.cell(name)
        assert np.allclose(found.values, expected.values, atol=1e-6)  # the same passes
        assert np.array_equal(found.below, picture.values)


def test_without_noise_in_the_picture_smoothgrad_is_the_saliency_of_each_picture(tiny_models):
    model = tiny_models["cnn"]
    even = Sample.from_pixels(torch.full((3, 32, 32), 0.4), "even")  # its values have no range, so the noise has no width
    answer = techniques.run("cover", even, model, fill="white", samples=2)
    for picture, found in zip(answer.covered.items, answer.smooth_grad.items):
        target = int(model.predicted(torch.from_numpy(answer.predictions.logits[0])))
        expected = techniques.run("saliency", Sample.from_pixels(picture.values, ""), model, target=target).saliency.values
        assert np.allclose(found.values, expected, rtol=1e-4, atol=1e-6)  # sums of a batch of two


@pytest.mark.parametrize("threshold", [5, 40, 95])
def test_what_grad_cam_marks_is_exactly_what_lies_above_the_threshold(tiny_model, threshold):
    sample = sample_for(tiny_model)
    before = techniques.run("grad_cam", sample, tiny_model, target=1).grad_cam.cell(tiny_model.label(1)).values
    answer = techniques.run("cover", sample, tiny_model, target=1, region="what Grad-CAM marks", threshold=threshold, fill="noise", seed=4)
    expected = before > np.float32(threshold / 100) * before.max()
    assert expected.any() and (threshold < 95 or not expected.all())
    changed = (answer.covered.items[1].values != sample.pixels[0].numpy()).any(0)
    assert np.array_equal(changed, expected)
    assert f"Grad-CAM marks above {threshold} % of its maximum" in answer.note.text


def test_painted_areas_and_what_grad_cam_marks_stand_side_by_side(tiny_models):
    sample, model = sample_for(tiny_models["cnn"]), tiny_models["cnn"]
    answer = techniques.run("cover", sample, model, mask=upper_and_left(), region="both")
    assert answer.predictions.names == ("before", "A", "B", "marked")
    assert techniques.run("cover", sample, model, region="both").predictions.names == ("before", "after")


def test_a_model_without_places_leaves_grad_cam_out_and_does_the_rest():
    answer = techniques.run("cover", sample_for(linear()), linear())
    assert answer.grad_cam is None and len(answer.smooth_grad.items) == 2
    assert answer.note.text.endswith("Grad-CAM is left out: no layer of this model has places in the picture.")


def test_a_layer_without_places_leaves_grad_cam_out(tiny_models):
    answer = techniques.run("cover", sample_for(tiny_models["cnn"]), tiny_models["cnn"], layer="5")
    assert answer.grad_cam is None and "the layer “5” has no places in the picture" in answer.note.text


def test_where_grad_cam_marks_nothing_a_sentence_says_so():
    with pytest.raises(IncompatibleModel, match="no layer of this model has places in the picture. Paint over the picture instead"):
        techniques.run("cover", sample_for(linear()), linear(), region="what Grad-CAM marks")
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    network[4].weight.data.abs_().neg_()  # every feature speaks against every class
    model = wrap(network, key="against", preprocessing=Preprocessing(3, (16, 16)))
    with pytest.raises(IncompatibleModel, match="nothing in 1 speaks for “class 2”. Choose another class or layer, or paint."):
        techniques.run("cover", sample_for(model), model, target=2, region="both")


def test_predictions_are_shown_first_then_the_maps(tiny_models):
    shown = []
    execute(techniques.find("cover"), sample_for(tiny_models["cnn"]), tiny_models["cnn"], run=Run(show=shown.append))
    assert [(answer.grad_cam is None, answer.smooth_grad is None) for answer in shown] == [(True, True), (False, True)]


@pytest.fixture(scope="module")
def imagenette():
    return model_zoo.load("bundled/imagenette")


def bundled(name: str, model) -> Sample:
    picture = read_picture(sample(name).path, name)
    return Sample.from_image(picture.image, model, picture.origin)


@pytest.mark.parametrize(("name", "threshold"), [("golf_ball", 20), ("flower", 50)])
def test_covering_what_grad_cam_marks_lowers_the_class_more_than_as_many_random_pixels(imagenette, name, threshold):
    picture = bundled(name, imagenette)
    mark = techniques.run("cover", picture, imagenette, region="what Grad-CAM marks", threshold=threshold, samples=1)
    place = (mark.covered.items[1].values != picture.pixels[0].numpy()).any(0)
    generator = np.random.default_rng(0)
    randoms = [generator.permutation(place.ravel()).reshape(place.shape) for _ in range(6)]
    control = techniques.run("cover", picture, imagenette, mask=randoms, samples=1)
    target = int(mark.predictions.probabilities[0].argmax())
    before, covered = mark.predictions.probabilities[:, target]
    # measured: 71 % to 66 % against 89 % on the golf ball, 87 % to 6 % against 72 % on the flower
    assert covered < before - 0.02 and covered < control.predictions.probabilities[1:, target].min() - 0.1


def test_noise_depends_on_the_seed_alone():
    pixels = torch.rand(1, 3, 9, 9)
    assert torch.equal(fill_pixels("noise", pixels, 1), fill_pixels("noise", 1 - pixels, 1))
    assert not torch.equal(fill_pixels("noise", pixels, 1), fill_pixels("noise", pixels, 2))


def test_the_mean_fill_is_the_mean_colour():
    pixels = torch.rand(1, 3, 9, 7)
    assert torch.allclose(fill_pixels("mean", pixels)[0, :, 4, 2], pixels[0].flatten(1).mean(1))


def test_blur_agrees_with_torchvision_away_from_the_border():
    from torchvision.transforms.functional import gaussian_blur

    pixels = torch.rand(1, 3, 60, 80, generator=torch.Generator().manual_seed(0))
    expected = gaussian_blur(pixels, [37, 37], [6.0, 6.0])  # a tenth of 60 px, cut off at three standard deviations
    assert torch.allclose(fill_pixels("blur", pixels)[..., 18:-18, 18:-18], expected[..., 18:-18, 18:-18], atol=1e-6)


def test_blur_leaves_an_even_picture_as_it_is():
    assert torch.allclose(fill_pixels("blur", torch.full((1, 3, 5, 28), 0.3)), torch.tensor(0.3), atol=1e-6)


@pytest.mark.parametrize(
    ("target", "before", "after", "sentence"),
    [
        (0, (2.0, 1.0), (1.0, 2.0), "“tench” falls from 73.1 % to 26.9 %; the network now says “church” (73.1 %)"),
        (0, (1.0, 2.0), (2.0, 1.0), "“tench” rises from 26.9 % to 73.1 %; the network now says “tench”"),
        (1, (1.0, 2.0), (1.0, 2.0), "“church” stays at 73.1 %; the network still says “church”"),
    ],
)
def test_what_happened_is_told_in_one_sentence(tiny_models, target, before, after, sentence):
    never = (-100.0,) * 3  # the other classes
    assert what_changed(tiny_models["cnn"], target, torch.tensor(before + never), torch.tensor(after + never)) == sentence
