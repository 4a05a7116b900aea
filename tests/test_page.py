"""What a visitor does with the page, from the first screen to a stopped run."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from techniques.base import Sample
from tests.page_browser import (
    COLOURS, begin_with, choose, expect, expect_top_five, go_to, pick_model, run, saved, set_number, shares, stroke, top_five, type_into, upload,
)  # fmt: skip


STOP_SECONDS = 3


@pytest.fixture(scope="module")
def blocks(tmp_path_factory) -> Path:
    """A picture that is no sample: coloured blocks of noise."""
    noise = np.random.default_rng(1).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("pictures") / "blocks.png"
    Image.fromarray(noise).resize((196, 168), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def page(shared_page):
    """The page with its first technique, model and picture."""
    begin_with(shared_page)
    return shared_page


def test_the_first_screen_shows_a_finished_example(open_page):
    page = open_page()
    assert len(top_five(page)) == 5
    expect(page.locator("#origin")).to_have_text("Church")
    colours, _ = page.locator("#grad_cam-grad_cam loupe-map:visible .lp-canvas canvas").evaluate(COLOURS)
    assert colours > 500  # a blank or missing map has one, a map without its picture at most 256
    assert page.locator("#grad_cam-grad_cam .lp-pills button").all_inner_texts() == top_five(page)


def test_a_picture_is_uploaded_explained_attacked_and_its_adversarial_picture_explained(page, blocks):
    before = shares(page)
    upload(page, blocks)
    expect(page.locator("#origin")).to_have_text("blocks.png")
    expect(page.locator("#top-five .lp-bar-value")).not_to_have_text(before)
    run(page, "grad_cam")
    expect(page.locator("#grad_cam-status")).to_contain_text("blocks.png")
    expect_top_five(page, saved(page, "grad_cam")[0]["pictures"][0]["top"])

    go_to(page, "pgd")
    run(page, "pgd")
    attack, arrays = saved(page, "pgd")
    assert attack["pictures"][0]["origin"] == "blocks.png"
    page.locator("#pgd-adversarial select.lp-send").select_option("saliency")
    expect(page.locator("#saliency-run")).to_be_visible()
    expect(page.locator("#origin")).to_have_text("PGD, epsilon 2/255, of blocks.png · at full precision")
    run(page, "saliency")
    explained, _ = saved(page, "saliency")
    # exactly the adversarial pixels arrived, not their 8-bit picture
    assert explained["pictures"][0]["sha256"] == Sample.from_pixels(arrays["adversarial"], "").sha256
    assert explained["pictures"][0]["origin"] == "PGD, epsilon 2/255, of blocks.png"


def test_a_long_run_is_stopped_and_nothing_else_is_lost(open_page):
    page = open_page()
    answer = page.inner_html("#grad_cam-predictions")
    go_to(page, "pgd")
    for _ in range(2):  # a second time: the first may leave something behind
        set_number(page, "#pgd-steps", 200)
        set_number(page, "#pgd-restarts", 20)
        page.click("#pgd-run")
        expect(page.locator("#pgd-status")).to_contain_text("of 4000")
        pressed = time.monotonic()
        page.click("#pgd-stop")
        expect(page.locator("#pgd-status")).to_contain_text("Stopped")
        assert time.monotonic() - pressed < STOP_SECONDS
        expect(page.locator("#pgd-run")).to_be_enabled()
        expect(page.locator("#pgd-stop")).to_be_disabled()
        set_number(page, "#pgd-steps", 2)
        set_number(page, "#pgd-restarts", 1)
        run(page, "pgd")
    expect(page.locator("#origin")).to_have_text("Church")
    assert len(top_five(page)) == 5
    assert page.inner_html("#grad_cam-predictions") == answer


def test_the_page_stays_quick_during_a_run_after_a_picture_was_sent(page):
    """Sending changes the tabs; when Gradio then shows progress on them, each message copies the state of the whole page."""
    go_to(page, "fgsm")
    run(page, "fgsm")
    page.locator("#fgsm-adversarial select.lp-send").select_option("saliency")
    expect(page.locator("#saliency-run")).to_be_visible()
    go_to(page, "pgd")
    set_number(page, "#pgd-steps", 200)
    page.click("#pgd-run")
    expect(page.locator("#pgd-status")).to_contain_text("of 200")
    longest = page.evaluate("""() => new Promise((done) => {
      const start = performance.now(); let last = start, longest = 0;
      const tick = () => {
        const now = performance.now();
        longest = Math.max(longest, now - last); last = now;
        if (now - start < 2000) setTimeout(tick, 0); else done(longest);
      };
      setTimeout(tick, 0);
    })""")
    page.click("#pgd-stop")
    expect(page.locator("#pgd-status")).to_contain_text("Stopped")
    assert longest < 5000  # ms; the page was deaf for half a minute


def test_a_file_that_is_no_picture_leaves_the_old_picture(page, tmp_path):
    (tmp_path / "letter.jpg").write_text("Dear Loupe")
    before = shares(page)
    upload(page, tmp_path / "letter.jpg")
    expect(page.locator(".toast-body")).to_contain_text("This file is not a picture we can read. Use JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF.")
    expect(page.locator("#origin")).to_have_text("Church")
    expect(page.locator("#picture img")).to_be_visible()
    run(page, "grad_cam")
    assert shares(page) == before


@pytest.mark.parametrize("button", ["Remove Image", "Upload file"])
def test_the_picture_makes_room_for_another_one_that_a_click_chooses(page, tmp_path, button):
    Image.new("RGB", (200, 200), (90, 120, 40)).save(tmp_path / "meadow.png")
    page.locator("#picture").get_by_label(button, exact=True).click()
    expect(page.locator("#picture")).to_contain_text("Drop a picture here")
    with page.expect_file_chooser() as chooser:
        page.locator("#picture button.upload-container").click()
    expect(page.locator("#origin")).to_have_text("Church")  # until there is another one
    chooser.value.set_files(tmp_path / "meadow.png")
    expect(page.locator("#origin")).to_have_text("meadow.png")
    expect(page.locator("#picture img")).to_be_visible()


def test_a_class_and_a_layer_that_the_model_does_not_have_are_told_and_can_be_mended(open_page):
    page = open_page()
    status = page.locator("#grad_cam-status .lp-error")
    type_into(page, "#target", "gulf ball")
    page.click("#grad_cam-run")
    expect(status).to_contain_text("has no class “gulf ball”. Expected one of its 10 labels or a number from 0 to 9. Did you mean golf ball?")
    page.locator("#top-five .lp-bar").nth(1).click()
    second = top_five(page)[1]
    expect(page.locator("#target input")).to_have_value(second)
    type_into(page, "#layer", "layer9")
    page.click("#grad_cam-run")
    expect(status).to_contain_text("has no layer “layer9”")
    choose(page, "#layer", "layer3 ", "layer3 ")
    run(page, "grad_cam")
    expect(page.locator("#grad_cam-grad_cam .lp-pills button").first).to_have_text(second)
    expect(page.locator("#grad_cam-grad_cam loupe-map:visible")).to_have_count(1)  # Gradio has patched the old answer into the new one
    assert saved(page, "grad_cam")[0]["settings"] == {"target": second, "layer": "layer3", "signed": False}


def test_the_digits_model_brings_its_samples_and_a_pad_to_draw_on(page):
    pick_model(page, "digits", "bundled/digits")
    expect(page.locator("#samples button")).to_have_count(10)
    expect(page.locator("#model-status")).to_contain_text("28 × 28 px")
    page.locator("#samples button[data-sample=digit_3]").click()
    expect(page.locator("#top-five .lp-bar-name").first).to_have_text("3")
    stroke(page, page.locator("#sketch canvas"), (0.5, 0.15), (0.5, 0.85))
    expect(page.locator("#origin")).to_have_text("drawn by hand")
    expect(page.locator("#top-five .lp-bar-name").first).to_have_text("1")
    run(page, "grad_cam")
    expect(page.locator("#grad_cam-status")).to_contain_text("drawn by hand · Handwritten digits")


def test_of_several_pictures_chosen_quickly_the_last_is_predicted(page):
    for name in ("parachute", "golf_ball", "rocket", "cat", "coffee"):
        page.locator(f"#samples button[data-sample={name}]").click()
    expect(page.locator("#origin")).to_have_text("Coffee")
    run(page, "grad_cam")
    manifest, _ = saved(page, "grad_cam")
    expect_top_five(page, manifest["pictures"][0]["top"])


def test_painting_covers_the_picture_without_a_press_on_run(page):
    go_to(page, "cover")
    canvas = page.locator("#cover-paint canvas")
    for height in (0.3, 0.5, 0.7):  # quickly: the last stroke counts as well
        stroke(page, canvas, (0.2, height), (0.8, height))
    expect(page.locator("#cover-covered img").last).to_be_visible()
    painted = canvas.evaluate("""canvas => {
      const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      let painted = 0; for (let i = 3; i < data.length; i += 4) painted += data[i] > 0;
      return painted / (canvas.width * canvas.height);
    }""")
    expect(page.locator("#cover-note")).to_contain_text(f"With {100 * painted:.0f} % of the picture covered")
    manifest, arrays = saved(page, "cover")
    assert manifest["settings"]["mask"]["painted"] == pytest.approx(painted, abs=1e-5)  # written with six digits
    grey = (abs(arrays["covered.1"] - 0.5) < 1e-6).all(0)
    assert grey.mean() == pytest.approx(painted, abs=0.001)  # a few other pixels may be as grey


def test_a_heat_map_answers_to_its_own_controls(page):
    run(page, "grad_cam")
    panel = page.locator("#grad_cam-grad_cam")
    canvas = panel.locator("loupe-map:visible .lp-canvas canvas")
    _, at_first = canvas.evaluate(COLOURS)
    panel.locator("loupe-map:visible input[type=range]").fill("0")
    _, clear = canvas.evaluate(COLOURS)
    panel.locator("loupe-map:visible input[type=range]").fill("1")
    _, full = canvas.evaluate(COLOURS)
    panel.locator("loupe-map:visible select").select_option("viridis")
    _, other = canvas.evaluate(COLOURS)
    assert len({at_first, clear, full, other}) == 4
    canvas.hover(position={"x": 40, "y": 50})
    expect(panel.locator("loupe-map:visible output")).to_contain_text("x ")
    pills = panel.locator(".lp-pills button")
    pills.nth(3).click()
    expect(panel.locator(".lp-caption:visible")).to_contain_text(f"“{pills.nth(3).inner_text()}”")
    assert pills.nth(3).get_attribute("aria-selected") == "true" and panel.locator("loupe-map:visible").count() == 1


def test_an_answer_of_another_picture_than_the_one_above_steps_back_until_it_is_run_again(page):
    run(page, "grad_cam")
    line, earlier = page.locator("#grad_cam-status .lp-done"), re.compile("lp-other")
    expect(line).not_to_have_class(earlier)
    page.click("#samples button[data-sample=golf_ball]")
    expect(line).to_have_class(earlier)
    page.click("#samples button[data-sample=church]")
    expect(line).not_to_have_class(earlier)
    pick_model(page, "bundled/digits", "bundled/digits")
    expect(line).to_have_class(earlier)
    run(page, "grad_cam")
    expect(line).not_to_have_class(earlier)


def test_average_activations_are_walked_through_by_layer_and_filter(page):
    go_to(page, "average_activation")
    expect(page.locator("#tray .lp-thumb")).to_have_count(2)
    run(page, "average_activation")
    panel = page.locator("#average_activation-browser")
    first = panel.locator("h4").inner_text()
    assert first.startswith("conv1.0 · ")
    panel.locator("loupe-axes select").select_option("layer4.1.conv2")
    expect(panel.locator("h4")).to_contain_text("layer4.1.conv2 · ")
    title = panel.locator("h4").inner_text()
    set_number(page, "#average_activation-browser loupe-axes", 7)
    expect(panel.locator("h4")).not_to_have_text(title)
    title = panel.locator("h4").inner_text()
    run(page, "average_activation")
    expect(panel.locator("h4")).to_have_text(title)
    expect(panel.locator("loupe-axes select")).to_have_value("layer4.1.conv2")
    expect(panel.locator("loupe-axes input[type=number]")).to_have_value("7")
    _, arrays = saved(page, "average_activation")
    number = int("".join(filter(str.isdigit, panel.locator("h4").inner_text().split("·")[-1])))
    assert 0 <= number < 256 and len(arrays) > 40


def test_all_channels_of_a_layer_are_shown_at_once_and_one_opens_over_the_picture(page):
    go_to(page, "activations")
    run(page, "activations")
    grid, cell = page.locator("#activations-channels .lp-top button"), page.locator("#activations-channels")
    expect(grid).to_have_count(256)
    title = grid.nth(39).locator("img").get_attribute("alt")
    grid.nth(39).click()
    expect(cell.locator("h4")).to_have_text(title)
    assert cell.locator("loupe-map").get_attribute("picture").startswith("data:image/png")
    page.locator("#activations-sparsity [data-tick='act1']").first.click()
    expect(page.locator("#activations-strongest h4")).to_contain_text("act1 · channel ")


def brightness(page) -> float:
    """Mean of what a margin of the page shows, 0 to 255."""
    corner = page.screenshot(clip={"x": 2, "y": 2, "width": 6, "height": 6})
    return float(np.asarray(Image.open(io.BytesIO(corner)).convert("L")).mean())


def test_the_page_fits_a_telephone_in_the_dark(open_page):
    page = open_page("?__theme=dark", viewport={"width": 390, "height": 844})
    for technique in ("cover", "average_activation", "pgd"):
        go_to(page, technique)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    run(page, "pgd")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert brightness(page) < 50


def test_light_and_dark_are_one_press_apart_and_remembered(open_page):
    page = open_page()
    assert brightness(page) > 200
    page.click(".lp-theme")
    assert brightness(page) < 50
    page.reload()
    page.wait_for_selector(".lp-bar")
    assert brightness(page) < 50
