"""Choosing a model in the browser: the list, a download that fails, how pictures are fitted, and a visitor's own weights."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from model_zoo.bundled import DIGITS, digits_network
from tests.page_browser import begin_with, expect, run, saved, shares, top_five, type_into, upload


@pytest.fixture
def page(shared_page):
    """The page with its first model and picture."""
    begin_with(shared_page)
    return shared_page


def test_a_model_that_cannot_be_had_is_told_and_the_old_one_stays(page, server):
    before, name = shares(page), page.input_value("#model input")
    sentences = {
        "timm/no_such_model": "timm has no trained model “no_such_model”.",
        "timm/resnet18.a1_in1k": "needs a download of about 47 MB, and this machine cannot reach its host.",
    }
    for key, sentence in sentences.items():
        type_into(page, "#model", key)
        expect(page.locator("#model-status .lp-error")).to_contain_text(sentence)
        expect(page.locator("#model input")).to_have_value(name)
        expect(page.locator("#stop-loading")).to_be_hidden()
    assert server.asked_for_on_purpose() == {"huggingface.co"}
    run(page, "grad_cam")
    assert shares(page) == before



def test_the_list_opens_with_the_curated_models_and_narrows_while_one_types(open_page):
    page = open_page()
    page.click("#model input")
    rows = page.locator("#model-answers .lp-model")
    expect(rows.first).to_contain_text("bundled/imagenette")
    expect(rows.first).to_contain_text("on this machine")
    page.fill("#model input", "")
    page.locator("#model input").press_sequentially("vit_7b")
    expect(rows).to_have_count(0)  # it has no classifier
    page.fill("#model input", "")
    page.locator("#model input").press_sequentially("convnext nano")
    expect(rows.first).to_contain_text("convnext_nano")
    expect(rows.first).to_contain_text("to download")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.model") == rows.first.get_attribute("data-model")
    page.keyboard.press("Escape")
    expect(rows.first).to_be_hidden()
    expect(page.locator("#model input")).to_have_value("bundled/imagenette")


def test_a_model_too_large_for_the_machine_is_greyed_out_with_its_size(page):
    page.click("#model input")
    page.locator("#model input").fill("")
    page.locator("#model input").press_sequentially("eva_giant")
    row = page.locator("#model-answers .lp-model").first
    expect(row).to_be_disabled()
    expect(row).to_contain_text("GB of memory, 4.0 GB are allowed here")


def test_what_somebody_types_never_becomes_html(page):
    page.click("#model input")
    page.locator("#model input").press_sequentially("hf-hub:<img src=x onerror=alert(1)>")
    expect(page.locator("#model-answers .lp-hint")).to_contain_text("No model is called so.")
    assert page.locator("#model-answers img").count() == 0


def test_the_model_sees_the_picture_as_the_visitor_wants_it(page, tmp_path):
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, :40] = 255  # at the left edge: cropped away, or not
    Image.fromarray(wide).save(tmp_path / "wide.png")
    upload(page, tmp_path / "wide.png")
    expect(page.locator("#origin")).to_have_text("wide.png")
    seen = {}
    for label, how in (("Crop", "cropped to the middle"), ("Squash", "squashed"), ("Pad", "padded")):
        page.locator("#framing label", has_text=label).click()
        expect(page.locator("#seen figcaption")).to_contain_text(f"160 × 160 px, {how}")
        run(page, "grad_cam")
        seen[label] = saved(page, "grad_cam")[0]["pictures"][0]["framing"]
    assert seen == {"Crop": "crop", "Squash": "squash", "Pad": "pad"}


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """What visitors bring along: a training checkpoint with lists of names, weights of an unknown network, a program."""
    import timm

    folder = tmp_path_factory.mktemp("own")
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=3)
    torch.save({"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}, "epoch": 7}, folder / "mine.pth")
    save_file(digits_network().state_dict(), folder / f"{DIGITS.name}.safetensors")
    (folder / "names.txt").write_text("cat\n<b>dog</b>\nbird\n")
    (folder / "two.txt").write_text("cat\ndog\n")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(folder / "program.pt"))
    return folder


@pytest.fixture(scope="module")
def own_tensors(own) -> int:
    return len(torch.load(own / "mine.pth", weights_only=True)["state_dict"])


@pytest.fixture
def own_model(open_page):
    """The page of a new visitor, with the place for a model of one's own."""
    page = open_page()
    page.click("#own-model button")
    page.wait_for_selector("#own-weights input[type=file]", state="attached")
    return page


def test_a_visitor_s_own_weights_are_matched_and_used(own_model, own, own_tensors):
    page = own_model
    page.set_input_files("#own-weights input[type=file]", own / "mine.pth")
    expect(page.locator("#own-status")).to_contain_text(f"{own_tensors} of {own_tensors} tensors matched")
    expect(page.locator("#own-status")).to_contain_text("3 classes")
    expect(page.locator("#own-architecture input")).to_have_value("timm/resnet10t")
    page.set_input_files("#own-class-names input[type=file]", own / "two.txt")
    expect(page.locator("#own-class-names")).to_contain_text(re.compile(r"two\s*\.txt"))
    page.click("#own-use")
    expect(page.locator("#model-status .lp-error")).to_contain_text("2 names")
    assert page.input_value("#model input") == "bundled/imagenette"
    page.locator("#own-class-names button[aria-label*=lear], #own-class-names button[aria-label*=emove]").first.click()
    page.set_input_files("#own-class-names input[type=file]", own / "names.txt")
    expect(page.locator("#own-class-names")).to_contain_text(re.compile(r"names\s*\.txt"))
    page.click("#own-use")
    expect(page.locator("#model-status")).to_contain_text("tensors matched")
    expect(page.locator("#model input")).to_have_value("mine.pth (timm/resnet10t)")
    expect(page.locator("#top-five .lp-bar-name")).to_have_count(3)
    assert sorted(top_five(page)) == ["<b>dog</b>", "bird", "cat"]
    run(page, "grad_cam")
    assert saved(page, "grad_cam")[0]["model"]["title"] == "mine.pth (timm/resnet10t)"


def test_a_program_instead_of_weights_is_refused_and_everything_stays(own_model, own):
    page, before = own_model, shares(own_model)
    page.set_input_files("#own-weights input[type=file]", own / "program.pt")
    expect(page.locator("#own-status .lp-error")).to_contain_text("This is a whole program (TorchScript), not weights.")
    expect(page.locator("#own-use")).to_be_hidden()
    run(page, "grad_cam")
    assert shares(page) == before


def test_weights_that_fit_nothing_are_told_and_another_architecture_may_be_typed(own_model, own):
    page = own_model
    page.set_input_files("#own-weights input[type=file]", own / "digits.safetensors")
    expect(page.locator("#own-status")).to_contain_text("fit no architecture")
    type_into(page, "#own-architecture", "timm/resnet18")
    expect(page.locator("#own-status")).to_contain_text("0 of 122 tensors matched")
    page.click("#own-use")
    expect(page.locator("#model-status .lp-error")).to_contain_text("Only 0 of 122 tensors match timm/resnet18")
    type_into(page, "#own-architecture", "timm/resnet1800")
    expect(page.locator("#own-status .lp-error")).to_contain_text("There is no architecture “timm/resnet1800”.")


def test_a_model_is_chosen_by_the_keyboard_alone(page):
    page.click("#model input")
    page.fill("#model input", "")
    page.locator("#model input").press_sequentially("digits")
    expect(page.locator("#model-answers .lp-model").first).to_contain_text("bundled/digits")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#model input")).to_have_value("bundled/digits")
    expect(page.locator("#model-status")).to_contain_text("28 × 28 px")
