"""What outlives what: treatments by their closed forms, curves by hand, agreement with the attacks' own panel, other models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import model_zoo
import techniques
from model_zoo.errors import ParameterError
from techniques.base import Run, Sample
from techniques.base.attacks.survival import TREATMENTS, Tried, Watched, cropped, jpeg, rounded
from techniques.base.covering import blurred
from tests.attack_cases import grey, linear_model, linear_weights, random_sample
from ui.samples import sample as sample_picture


def survival(model, *samples, **settings):
    return techniques.run("survival", list(samples), model, **settings)


@pytest.fixture(scope="module")
def pair(tiny_models):
    """A picture and what PGD made of it, and the attack's answer."""
    sample = random_sample(tiny_models["cnn"])
    attack = techniques.run("pgd", sample, tiny_models["cnn"], epsilon=8.0)
    return sample, Sample.from_pixels(attack.adversarial.values, "PGD, of noise"), attack


# The treatments


@pytest.mark.parametrize(("bits", "values"), [(1, [0, 1]), (2, [0, 1 / 3, 2 / 3, 1])])
def test_so_many_bits_tell_so_many_values_apart_and_each_goes_to_the_nearest(bits, values):
    pixels = torch.linspace(0, 1, 301).view(1, 1, 1, -1)
    found = rounded(pixels, bits)
    assert found.unique().tolist() == pytest.approx(values)
    assert float((found - pixels).abs().max()) == pytest.approx(0.5 / (2**bits - 1), abs=1 / 300)


def test_strengths_go_from_the_weakest_to_the_strongest_and_none_comes_twice():
    for treatment in TREATMENTS.values():
        strengths = treatment.strengths(30)
        assert (strengths[0], strengths[-1]) == (treatment.weakest, treatment.strongest) and len(set(strengths)) == len(strengths)
        assert strengths in (sorted(strengths), sorted(strengths, reverse=True))
    assert TREATMENTS["bit_depth"].strengths(30) == [8, 7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("name", TREATMENTS)
def test_the_stronger_a_treatment_the_further_the_picture_is_from_itself(name, photograph):
    """By root mean square, from the weakest of four strengths to the strongest; 8 bits leave a picture of 8 bits as it is."""
    pixels = torch.from_numpy(np.asarray(photograph, np.float32) / 255).permute(2, 0, 1)[None]
    drawn, treatment = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0)), TREATMENTS[name]
    changes = [float((treatment.apply(pixels, strength, drawn) - pixels).square().mean().sqrt()) for strength in treatment.strengths(4)]
    assert changes[0] < 0.7 * changes[-1] and changes[1] > 0


def test_noise_has_the_size_that_is_told():
    pixels, drawn = torch.full((1, 3, 64, 64), 0.5), torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    change = TREATMENTS["noise"].apply(pixels, 20, drawn) - pixels
    assert float(change.std()) * 255 == pytest.approx(20, rel=0.02)  # of 12,288 draws


def test_of_a_tiny_picture_something_is_left_when_it_is_cropped():
    assert cropped(torch.rand(1, 1, 2, 3), 0.4).shape == (1, 1, 2, 3)


# The curves


def test_each_point_of_a_curve_is_what_the_model_says_to_the_treated_picture(pair, tiny_models):
    model, (original, adversarial, attack) = tiny_models["cnn"], pair
    answer = survival(model, original, adversarial, points=10)
    before, after = (attack.predictions.top(1, row=row)[0] for row in (0, 1))
    assert list(answer.compression.lines) == [f"{before[1]}, original", f"{before[1]}, second", f"{after[1]}, second"]
    assert answer.compression.ticks == ("none", *map(str, range(100, 0, -10)))
    expected = [model.probabilities(pixels)[0, after[0]] for pixels in (adversarial.pixels, jpeg(adversarial.pixels, 100), jpeg(adversarial.pixels, 90))]
    np.testing.assert_allclose(answer.compression.lines[f"{after[1]}, second"][:3], expected, atol=1e-6)
    strongest = model.probabilities(blurred(original.pixels, 4.0))[0, before[0]]
    assert answer.blur.ticks[-1] == "4" and answer.blur.lines[f"{before[1]}, original"][-1] == pytest.approx(float(strongest), abs=1e-6)


def test_it_agrees_with_the_panel_of_the_attack(pair, tiny_models):
    original, adversarial, attack = pair
    answer = survival(tiny_models["cnn"], original, adversarial, points=10)
    panel = {row[0]: row for row in attack.survival.rows}
    for version, curve, place in (("as it is", answer.compression, 0), ("JPEG, quality 90", answer.compression, 2), ("8 bits, as in a PNG file", answer.bit_depth, 1)):
        _, says, share, _, original_says, original_share = panel[version]
        assert curve.lines[f"{original_says}, original"][place] == pytest.approx(original_share, abs=1e-6)
        if f"{says}, second" in curve.lines:
            assert curve.lines[f"{says}, second"][place] == pytest.approx(share, abs=1e-6)


def test_up_to_which_strength_an_answer_is_kept_is_read_from_the_weakest_on(tiny_models):
    """One picture that turns at the third strength and comes back at the fourth, one that is lost at the first."""
    model = tiny_models["cnn"]
    one, other = torch.eye(5)[0], torch.eye(5)[1]
    watched = Watched([grey(), grey()], model, torch.stack([one, other]))
    logits = torch.stack([torch.stack(pictures) for pictures in ([one, other], [one, one], [one, other], [other, other], [one, other])])
    tried = Tried(TREATMENTS["bit_depth"], [8, 6, 4, 2], logits, torch.zeros(3, 4, 4))
    assert tried.kept(watched) == [2, 0]


def test_one_bit_makes_of_a_step_on_a_linear_model_black_and_white_by_the_signs_of_its_weights():
    """Grey, rounded down to black, is “on” by the bias of 1; the step against the weights leaves white where they are negative."""
    weights = linear_weights()
    step = Sample.from_pixels(0.5 - 0.17 * weights.sign().view(1, 4, 4), "step")
    answer = survival(linear_model(), grey(), step)
    margins = {"on, original": 1.0, "on, second": 1 + float(weights[weights < 0].sum())}
    for name, margin in margins.items():
        assert answer.bit_depth.lines[name][-1] == pytest.approx(1 / (1 + np.exp(-margin)), abs=1e-5)
    assert [row[1:] for row in answer.outlived.rows if row[0] == "Bit depth"] == [("all, to 1 bit", "all, to 1 bit")]


def test_an_attack_that_changed_no_answer_has_nothing_to_outlive():
    small = Sample.from_pixels(0.5 - 0.02 * linear_weights().sign().view(1, 4, 4), "small step")
    note = survival(linear_model(), grey(), small, points=2).note.text
    assert note == "The second picture is 5.1/255 from the original in root mean square, and taken for “on”, too: there is nothing to outlive."


def test_an_attack_on_a_photograph_ends_by_blur_and_jpeg_before_the_original_is_lost():
    model = model_zoo.load("bundled/imagenette")
    steady = {"step_size": 0.25, "shrinking": False, "loss": "cross-entropy"}  # as in the paper
    attack = techniques.run("pgd", str(sample_picture("golf_ball").path), model, epsilon=4.0, **steady)
    pictures = [Sample.from_pixels(panel.values, panel.label) for panel in (attack.original, attack.adversarial)]
    answer = survival(model, *pictures, points=2)
    kept = {row[0]: row[1:] for row in answer.outlived.rows}
    assert kept["JPEG"][0] == "all, to quality 10" and kept["JPEG"][1] == "quality 100"
    assert kept["Blur"][0] == "all, to 4 px" and kept["Blur"][1] == "0.5 px"
    assert "This ends while the original stays “golf ball”: JPEG from quality 10 on, Blur from 4 px on" in answer.note.text


# What stands beside them


def test_several_pictures_made_from_one_are_told_apart_by_number_and_one_alone_is_followed_by_itself(pair, tiny_models):
    model, (original, adversarial, _) = tiny_models["cnn"], pair
    answer = survival(model, original, adversarial, random_sample(model, 7), points=2)
    assert {name.partition(", ")[2] for name in answer.noise.lines} == {"original", "second", "third"}
    assert [row[1] for row in answer.transfer.rows] == ["PGD, of noise", "noise"]
    alone = survival(model, original, points=2)
    assert len(alone.compression.lines) == 1 and alone.transfer is None and alone.note.text.startswith("The picture is taken for")


def test_the_treated_pictures_can_be_sent_on_and_say_what_was_done(pair, tiny_models):
    original, adversarial, _ = pair
    answer = survival(tiny_models["cnn"], original, adversarial, points=3)
    assert [item.label.partition(", of ")[0] for item in answer.pictures.items] == [
        "JPEG, quality 55", "Blur, 2.2 px", "Resizing, 55 %", "Cropping, 16 %", "Noise, 26/255", "Bit depth, 4 bit",
    ]  # fmt: skip
    np.testing.assert_array_equal(answer.pictures.items[0].values, jpeg(adversarial.pixels, 55)[0].numpy())


def test_every_chosen_model_is_asked_about_both_pictures(pair, tiny_models, monkeypatch):
    original, adversarial, attack = pair
    other = tiny_models["one_channel"]
    monkeypatch.setattr(model_zoo, "load", lambda key: other)
    answer = survival(tiny_models["cnn"], original, adversarial, points=2, models=("this", "bundled/digits"))
    own, foreign = answer.transfer.rows
    assert own[2] == attack.predictions.top(1, row=0)[0][1] and own[4] == attack.predictions.top(1, row=1)[0][1] and own[6] == 1
    shares = other.probabilities(torch.cat([sample.fit(other).pixels for sample in (original, adversarial)]))
    assert foreign[0] == other.title and foreign[2::2] == (*[other.label(int(share.argmax())) for share in shares], int(shares[0].argmax() != shares[1].argmax()))
    assert foreign[3:6:2] == pytest.approx(shares.amax(1).tolist(), abs=1e-6)


def test_more_pictures_than_lines_that_can_be_told_apart_are_refused(tiny_models):
    with pytest.raises(ParameterError, match="^Survival looks at one original and up to 7 pictures made from it; received 9."):
        survival(tiny_models["cnn"], *[random_sample(tiny_models["cnn"])] * 9)


def test_treatments_are_shown_as_they_come(pair, tiny_models):
    shown = []
    survival(tiny_models["cnn"], *pair[:2], points=2, run=Run(show=shown.append))
    assert [sum(getattr(answer, name) is not None for name in TREATMENTS) for answer in shown] == [1, 2, 3, 4, 5, 6]
