"""Sending pictures on: every picture to every technique that can take it, as it is; and back, with nothing lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import techniques
from techniques.base import Browser, Gallery, Heatmap, IncompatibleModel, Note, Picture, Sample, Samples
from techniques.base.pairs import compares
from tests.page_browser import expect, go_to, run, saved, set_number
from ui import session as sessions
from ui.panels import panel
from ui.sending import picture_at, send_choices
from ui.session import Answered, Sessions

SALIENCY, AVERAGE = techniques.find("saliency"), techniques.find("average_activation")
RED, BLUE = (Picture(np.full((3, 4, 4), value, np.float32), label=name) for value, name in ((0.25, "red, of lion.jpg"), (0.75, "blue, of lion.jpg")))


def sample(value: float, origin: str) -> Sample:
    return Sample.from_pixels(torch.full((3, 4, 4), value), origin)


@pytest.fixture
def session():
    """A visitor with a lion at hand, and nothing sent yet."""
    opened = Sessions("bundled/imagenette").create("connection")
    opened.picture = sample(0.5, "lion.jpg")
    return opened


def answered(of: Sample) -> Answered:
    return Answered(Gallery((RED, BLUE), ("a", "b")), of, "bundled/imagenette", "Imagenette", {})


# Which picture is meant, and where it may go


def test_a_picture_is_found_wherever_it_stands():
    gallery = Gallery((RED, Heatmap(np.ones((4, 4))), BLUE), ("a", "map", "b"))
    browser = Browser(("layer", "filter"), {"conv1": {"filter 3": gallery, "filter 4": RED}})
    assert picture_at(RED, None, None) == (RED, "")
    assert picture_at(gallery, None, 2) == (BLUE, "b")
    assert picture_at(browser, ["conv1", "filter 3"], 0) == (RED, "conv1, filter 3, a")
    assert picture_at(browser, ["conv1", "filter 4"], None) == (RED, "conv1, filter 4")


@pytest.mark.parametrize(
    ("path", "item"),
    [(None, 0), ("conv1", 0), (["conv1"], 0), (["conv1", "no such"], 0), (["conv1", {}], 0), ([["conv1"], "f"], 0), (["conv1", "f"], -1),
     (["conv1", "f"], 2), (["conv1", "f"], "0"), (["conv1", "f"], None), (["conv1", "f"], 1)],
)  # fmt: skip
def test_what_names_no_picture_finds_none(path, item):
    browser = Browser(("layer", "filter"), {"conv1": {"f": Gallery((RED, replace(BLUE, signed=True)), ("a", "pattern"))}})
    assert picture_at(browser, path, item) is None


def test_other_results_are_not_sent():
    assert picture_at(Note("a"), None, None) is None and picture_at(None, None, None) is None


def test_the_choices_are_grouped_by_family_and_say_what_does_not_fit(tiny_models):
    model = tiny_models["cnn"]
    no_maps = replace(SALIENCY, why_not=lambda model: 'it has no "maps".')
    html = send_choices([(technique, technique.why_not(model)) for technique in (no_maps, techniques.find("fgsm"), AVERAGE)])
    assert html.count("<optgroup") == 3 and "<optgroup label='Fooling it'>" in html
    assert "<option value='fgsm' data-picture>FGSM</option>" in html  # it shows no map of two pictures
    assert "<option value='average_activation' data-picture data-pair>" in html
    assert "<option value='saliency' data-picture data-pair disabled title='Not for this model: it has no &quot;maps&quot;.'>" in html


def test_every_picture_has_a_way_to_send_it_and_only_what_was_made_from_another_one_a_pair():
    lion = sample(0.5, "lion.jpg")
    assert "<loupe-send pair>" in panel("a", RED, lion)
    assert "<loupe-send >" in panel("a", replace(RED, label="lion.jpg"), lion)
    assert "<loupe-send >" in panel("a", RED, Samples((lion, lion)))
    assert "loupe-send" not in panel("a", replace(RED, signed=True), lion)
    html = panel("a", Browser(("set",), {"A'": Gallery((RED, BLUE), ("a", "b"))}), lion)
    assert html.count("<loupe-send pair>") == 2 and "data-item='1'" in html and "data-path='[&quot;A&#x27;&quot;]'" in html


# What the session remembers


def test_a_picture_sent_alone_is_at_hand_and_the_pair_is_offered(session):
    lion, attacked = session.picture, sample(0.25, "PGD, of lion.jpg")
    session.send(attacked, lion, SALIENCY, together=False)
    assert session.picture is attacked and not session.comparing
    assert [one.origin for one in session.current_pair] == ["lion.jpg", "PGD, of lion.jpg"]


def test_a_pair_is_compared_until_another_picture_is_chosen(session):
    session.send(sample(0.25, "PGD, of lion.jpg"), session.picture, SALIENCY, together=True)
    assert session.comparing and session.current_pair
    session.picture = sample(0.1, "cat.jpg")
    assert session.current_pair is None


def test_the_original_sent_itself_is_the_visitors_own_picture_and_no_pair(session):
    lion = session.picture
    session.send(sample(0.5, "lion.jpg"), lion, SALIENCY, together=False)
    assert session.picture is lion and session.current_pair is None


def test_a_pair_for_a_set_takes_its_place_and_a_picture_alone_joins_it(session):
    session.pictures = [sample(0.1, "cat.jpg")]
    attacked = sample(0.25, "PGD, of lion.jpg")
    session.send(attacked, session.picture, AVERAGE, together=False)
    assert [picture.origin for picture in session.pictures] == ["cat.jpg", "PGD, of lion.jpg"]
    session.send(attacked, sample(0.5, "lion.jpg"), AVERAGE, together=True)
    assert [picture.origin for picture in session.pictures] == ["lion.jpg", "PGD, of lion.jpg"]


def test_the_pair_has_the_very_numbers_that_the_technique_saw(session, tiny_models):
    model = tiny_models["cnn"]
    pixels = torch.rand(3, *model.preprocessing.size)
    attacked = Sample.from_pixels(pixels + 1e-6, "attacked")
    session.send(attacked, Sample.from_pixels(pixels, "lion.jpg"), SALIENCY, together=True)
    both = session.both(model)
    assert torch.equal(both[0].pixels[0], pixels) and torch.equal(both[1].pixels[0], pixels + 1e-6)


def test_back_and_forward_restore_pictures_pair_set_and_answer(session):
    lion, cat = session.picture, sample(0.1, "cat.jpg")
    session.pictures = [cat]
    first = session.answers["pgd"] = answered(lion)
    session.leave("pgd")
    attacked = sample(0.25, "PGD, of lion.jpg")
    session.send(attacked, lion, AVERAGE, together=True)
    session.answers["pgd"] = answered(cat)  # run again meanwhile
    place = session.step(back=True)
    assert place.technique == "pgd" and place.answered is first
    assert session.picture is lion and session.pictures == [cat] and session.current_pair is None
    place = session.step(back=False)
    assert place.technique == "average_activation" and session.picture is attacked and len(session.pictures) == 2 and session.comparing
    assert session.step(back=False) is None


def test_a_new_way_ends_the_way_forward(session):
    session.leave("pgd")
    session.step(back=True)
    session.leave("fgsm")
    assert [place.technique for place in session.behind] == ["fgsm"] and session.ahead == []


def test_only_so_many_steps_are_remembered(session):
    for number in range(sessions.STEPS + 5):
        session.leave(f"technique {number}")
    assert len(session.behind) == sessions.STEPS and session.behind[-1].technique == f"technique {sessions.STEPS + 4}"


def test_answers_to_go_back_to_count_as_memory_and_go_before_the_newest(monkeypatch):
    opened = Sessions("bundled/imagenette")
    visitor, lion = opened.create("connection"), sample(0.5, "lion.jpg")
    monkeypatch.setattr(sessions, "ANSWER_BYTES", 1.5 * answered(lion).bytes)
    opened.keep(visitor, "pgd", answered(lion))
    visitor.leave("pgd")
    assert visitor.behind[0].answered
    opened.keep(visitor, "pgd", answered(lion))
    assert visitor.behind[0].answered is None and visitor.behind[0].technique == "pgd" and visitor.answers["pgd"]


def test_attacks_show_no_map_and_every_technique_that_does_can_compare():
    assert {technique.name for technique in techniques.catalogue().values() if compares(technique)} >= {"grad_cam", "saliency", "occlusion"}
    assert not any(compares(techniques.find(name)) for name in ("fgsm", "pgd", "architecture", "average_activation"))


def test_a_technique_that_does_not_fit_says_so_for_a_pair_too(tiny_models):
    model = tiny_models["cnn"]
    unfit = replace(SALIENCY, why_not=lambda model: "no maps.")
    with pytest.raises(IncompatibleModel, match="Saliency does not work on Tiny cnn: no maps."):
        techniques.base.pairs.execute_pair(unfit, sample(0.5, "a").fit(model), sample(0.1, "b").fit(model), model)


# In the browser


def test_the_digit_that_becomes_another_is_explained_before_and_after_and_back_leads_back(open_page):
    page = open_page("?technique=grad_cam&model=bundled/digits&picture=digit_0")
    expect(page.locator("#top-five .lp-bar-name").first).to_have_text("0")
    go_to(page, "fgsm")
    set_number(page, "#fgsm-epsilon", 51)
    run(page, "fgsm")
    attack, attacked = saved(page, "fgsm")
    story = page.inner_text("#fgsm-note p.lp-note")

    page.locator("#fgsm-adversarial select.lp-send-pair").select_option("grad_cam")
    expect(page.locator("#both input")).to_be_checked()
    expect(page.locator("#origin")).to_contain_text("FGSM, epsilon 51/255, of 0 · at full precision")
    expect(page.locator("#pair figure").nth(0)).to_contain_text("0 100.0 %")
    expect(page.locator("#pair figure").nth(1)).to_contain_text("FGSM, epsilon 51/255, of 0")
    run(page, "grad_cam")
    expect(page.locator("#grad_cam-grad_cam loupe-map canvas[role=img]")).to_have_count(6)
    assert page.locator("#grad_cam-grad_cam h5.lp-row b").all_inner_texts()[0] == "0"
    about, arrays = saved(page, "grad_cam")
    assert [picture["origin"] for picture in about["pictures"]] == ["0", "FGSM, epsilon 51/255, of 0"]
    np.testing.assert_array_equal(arrays["grad_cam.0/2"], arrays["grad_cam.0/1"] - arrays["grad_cam.0/0"])
    # the model was asked about exactly the attacked pixels: its probabilities are those of the attack, row for row
    np.testing.assert_allclose(arrays["predictions.logits"], attacked["predictions.logits"][:2], atol=1e-5)  # the same passes in other batches

    go_to(page, "saliency")
    expect(page.locator("#both input")).to_be_checked()
    page.locator("#both input").uncheck()
    run(page, "saliency")
    expect(page.locator("#saliency-saliency loupe-map canvas[role=img]")).to_have_count(1)

    page.click("#trail [data-step=back]")
    expect(page.locator("#fgsm-run")).to_be_visible()
    expect(page.locator("#origin")).to_have_text("0")
    expect(page.locator("#top-five .lp-bar-name").first).to_have_text("0")
    assert page.inner_text("#fgsm-note p.lp-note") == story
    assert attack["pictures"][0]["origin"] == "0"
    page.click("#trail [data-step=ahead]")
    expect(page.locator("#grad_cam-run")).to_be_visible()
    expect(page.locator("#origin")).to_contain_text("FGSM, epsilon 51/255, of 0")


def test_back_shows_the_answer_that_was_there_when_the_technique_was_run_again_meanwhile(page):
    go_to(page, "fgsm")
    run(page, "fgsm")
    story = page.inner_text("#fgsm-note p.lp-note")
    page.locator("#fgsm-adversarial select.lp-send").select_option("fgsm")
    expect(page.locator("#origin")).to_contain_text("FGSM, epsilon 4/255, of Church")
    run(page, "fgsm")
    expect(page.locator("#fgsm-status")).to_contain_text("FGSM, epsilon 4/255, of Church")
    assert page.inner_text("#fgsm-note p.lp-note") != story
    page.click("#trail [data-step=back]")
    expect(page.locator("#fgsm-note p.lp-note")).to_contain_text(story)
    assert saved(page, "fgsm")[0]["pictures"][0]["origin"] == "Church"


def test_a_pair_becomes_the_set_and_a_picture_of_the_set_is_sent_on(page):
    go_to(page, "fgsm")
    run(page, "fgsm")
    page.locator("#fgsm-adversarial select.lp-send-pair").select_option("average_activation")
    expect(page.locator("#tray .lp-thumb")).to_have_count(2)
    expect(page.locator("#tray .lp-thumb-name").nth(1)).to_have_text("FGSM, epsilon 4/255, of Church")
    page.locator("#tray select.lp-send").nth(0).select_option("saliency")
    expect(page.locator("#saliency-run")).to_be_visible()
    expect(page.locator("#origin")).to_contain_text("Church")
    expect(page.locator("#both")).to_have_count(0)
    page.click("#trail [data-step=back]")
    expect(page.locator("#average_activation-run")).to_be_visible()
