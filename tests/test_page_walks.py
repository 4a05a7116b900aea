"""In the browser: an address opens what it says, the address follows what is done, and a walk leads from step to step."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from PIL import Image

from techniques.base.pictures import read_picture
from tests.page_browser import choose, expect, go_to, pick_model, run, saved, set_number, top_five, upload
from ui.address import picture_hash
from ui.walks import walks

ZERO = walks()["the_zero_that_becomes_an_eight"]


@pytest.fixture
def visit(open_page):
    """Opens an address, and does not wait for anything."""
    return lambda query: open_page(f"/{query}", wait=False)


def address(page) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(page.url).query))


def expect_address(page, **parts: str) -> None:
    """The address comes to hold exactly these parts."""
    page.wait_for_function(
        "parts => { const now = Object.fromEntries(new URLSearchParams(location.search));"
        " return JSON.stringify(Object.entries(now).sort()) === JSON.stringify(Object.entries(parts).sort()); }",
        arg={name.replace("_of_", "."): value for name, value in parts.items()},
    )


def done(page, technique: str) -> None:
    expect(page.locator(f"#{technique}-status .lp-done")).to_be_visible()


@pytest.fixture
def mine(tmp_path):
    """A picture that only this visitor has."""
    path = tmp_path / "mine.png"
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return path


def test_an_address_opens_model_picture_tab_and_settings_and_runs_once(visit):
    page = visit("?technique=pgd&model=bundled/digits&picture=digit_3&target=8&seed=4&framing=pad&pgd.epsilon=20&pgd.random_start=false")
    done(page, "pgd")
    manifest, _ = saved(page, "pgd")
    assert manifest["model"]["key"] == "bundled/digits" and manifest["pictures"][0]["origin"] == "3"
    assert manifest["settings"] | {"target": "8", "epsilon": 20, "random_start": False, "seed": 4} == manifest["settings"]
    assert manifest["pictures"][0]["framing"] == "pad"
    assert page.input_value("#target input") == "8"
    assert page.inner_text("#notice").strip() == ""
    assert not page.locator("#grad_cam-status .lp-done").count()


def test_the_address_follows_what_is_done_and_stays_plain_until_then(page):
    assert address(page) == {}
    choose(page, "#target", "church", "church")
    run(page, "grad_cam")
    expect_address(page, technique="grad_cam", model="bundled/imagenette", picture="church", target="church")
    page.click("#samples [data-sample=parachute]")
    expect_address(page, technique="grad_cam", model="bundled/imagenette", picture="parachute", target="church")
    go_to(page, "fgsm")
    set_number(page, "#fgsm-epsilon", 7)
    run(page, "fgsm")
    expect_address(page, technique="fgsm", model="bundled/imagenette", picture="parachute", target="church", fgsm_of_epsilon="7")
    pick_model(page, "digits", "bundled/digits")
    expect_address(page, technique="fgsm", model="bundled/digits", picture="digit_0", fgsm_of_epsilon="7")


def test_a_picture_of_ones_own_is_asked_for_again_and_recognised(visit, page, mine):
    upload(page, mine)
    expect(page.locator("#origin")).to_have_text("mine.png")
    go_to(page, "saliency")
    run(page, "saliency")
    own = picture_hash(read_picture(mine))
    expect_address(page, technique="saliency", model="bundled/imagenette", picture=own)
    query = urlsplit(page.url).query

    other = visit("?" + query)
    expect(other.locator("#notice")).to_contain_text(f"belongs to a picture of your own (sha256 {own}…). Choose it again.")
    expect(other.locator("#tab-saliency-button")).to_have_attribute("aria-selected", "true")
    other.click("#samples [data-sample=cat]")
    expect(other.locator("#notice")).to_contain_text("“Cat” is another one.")
    assert not other.locator("#saliency-status .lp-done").count()
    upload(other, mine)
    expect(other.locator("#notice")).to_contain_text("This is the picture")
    done(other, "saliency")


def test_an_address_full_of_faults_opens_the_page_and_names_each(visit):
    page = visit("?technique=<img src=x onerror=alert(1)>&model=bundled/nope&picture=../secret&target=foo&layer=bar&pgd.epsilon=900&colour=1")
    done(page, "grad_cam")
    said = page.locator("#notice li").all_inner_texts()
    assert len(said) == 7
    for named in ("<img src=x", "bundled model “nope”", "../secret", "class “foo”", "layer “bar”", "'900.0'", "“colour”"):
        assert any(named in sentence for sentence in said), named
    assert page.locator("#notice img").count() == 0
    expect(page.locator("#origin")).to_have_text("Church")
    assert len(top_five(page)) == 5


@pytest.mark.parametrize("key,size", [("timm/resnet18.a1_in1k", "47 MB"), ("hf-hub:someone/something", "its size is known once it is chosen")])
def test_an_address_downloads_nothing_without_a_press(visit, server, key, size):
    server.asked_for_on_purpose()
    page = visit(f"?technique=saliency&model={key}&target=golf+ball")
    expect(page.locator("#notice")).to_contain_text(f"{key} (")
    expect(page.locator("#notice")).to_contain_text(size)
    expect(page.locator("#notice [data-fetch]")).to_be_visible()
    expect(page.locator("#top-five .lp-bar")).to_have_count(5)  # the model meanwhile
    assert page.input_value("#model input") == "bundled/imagenette"
    assert server.asked_for() == []
    assert not page.locator("#saliency-status .lp-done").count()


def test_a_model_of_ones_own_is_asked_for_again(visit):
    page = visit("?technique=saliency&model=own&saliency.channels=mean")
    expect(page.locator("#notice")).to_contain_text("belongs to a model of your own. Upload its weights again")
    assert page.locator("#saliency-channels input[value=mean]").is_checked()


def start(page, name: str) -> None:
    page.click(".lp-walks summary")
    page.click(f".lp-walk[data-walk={name}]")


def expect_step(page, walk, number: int) -> None:
    """The step is shown, and after its run also what is seen in it."""
    expect(page.locator(".lp-step h4")).to_have_text(walk.steps[number].title)
    expect(page.locator(".lp-step .lp-after")).to_have_text(walk.steps[number].after)


def test_a_walk_is_gone_from_step_to_step_and_each_shows_what_it_says(page):
    start(page, ZERO.name)
    expect_step(page, ZERO, 0)
    expect(page.locator("#origin")).to_have_text("0")
    assert top_five(page)[0] == "0"
    page.click(".lp-next")
    expect_step(page, ZERO, 1)
    manifest, arrays = saved(page, "fgsm")
    assert manifest["settings"]["epsilon"] == 51 and manifest["settings"]["target"] == "8"
    assert arrays["predictions.probabilities"][1].argmax() == 8
    page.click(".lp-next")
    expect_step(page, ZERO, 2)
    manifest, pair = saved(page, "grad_cam")
    assert [picture["origin"] for picture in manifest["pictures"]] == ["0", "FGSM, epsilon 51/255, of 0"]
    assert pair["grad_cam.8/1"].mean() > pair["grad_cam.8/0"].mean()
    page.get_by_role("button", name="Done").click()
    expect(page.locator(".lp-walks")).to_be_visible()


def test_a_visitor_is_free_between_two_steps_and_nothing_of_theirs_is_lost(page, mine):
    start(page, ZERO.name)
    expect_step(page, ZERO, 0)
    upload(page, mine)
    expect(page.locator("#origin")).to_have_text("mine.png")
    pick_model(page, "imagenette", "bundled/imagenette")
    expect(page.locator("#samples [data-sample=cat]")).to_be_visible()
    go_to(page, "saliency")
    run(page, "saliency")
    expect(page.locator(".lp-step h4")).to_have_text(ZERO.steps[0].title)
    page.click(".lp-next")
    expect_step(page, ZERO, 1)
    assert page.input_value("#model input") == "bundled/digits"
    page.click("#trail [data-step=back]")
    expect(page.locator("#origin")).to_have_text("mine.png")


def test_a_walk_fits_a_telephone(open_page):
    page = open_page(viewport={"width": 390, "height": 844})
    start(page, "class_blend_across_layers")
    expect_step(page, walks()["class_blend_across_layers"], 0)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
