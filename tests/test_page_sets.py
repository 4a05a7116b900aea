"""What a visitor does with a set of pictures: a zip, a folder of the machine, the wall of thumbnails, and saved answers."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from model_zoo.errors import UploadError
from techniques.base.drawing import png_bytes
from techniques.base.pictures import ReadPicture
from tests.page_browser import begin_with, expect, go_to, run, type_into
from ui import session as session_module
from ui.session import Sessions
from ui.settings import read_settings
from ui.thumbnails import PAGE, Wall
from ui.tray import build_tray

TECHNIQUE = "average_activation"
FIRST = ["Church", "Golf ball"]  # the set with which the page opens


@pytest.fixture(scope="module")
def pets(tmp_path_factory) -> Path:
    """A zip with three pictures of each of two groups, and a text."""
    random, path = np.random.default_rng(2), tmp_path_factory.mktemp("sets") / "pets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for group, colours in (("light", (150, 256)), ("dark", (0, 90))):
            for number in range(3):
                noise = random.integers(*colours, (9, 9, 3), dtype=np.uint8)
                archive.writestr(f"pets/{group}/{number}.png", png_bytes(Image.fromarray(noise).resize((180, 180), Image.Resampling.BICUBIC)))
        archive.writestr("pets/read me.txt", "six pictures")
    return path


def thumbnails(page):
    return page.locator("#tray .lp-thumb")


@pytest.fixture
def page(shared_page):
    """The page with its first model, and the technique that compares the two pictures of the set with which it opens."""
    begin_with(shared_page)
    go_to(shared_page, TECHNIQUE)
    if names(shared_page) != FIRST:
        shared_page.click("#tray-clear")
        expect(shared_page.locator("#tray")).to_contain_text("No pictures yet")
        for picture in ("church", "golf_ball"):
            begin_with(shared_page, picture)
            go_to(shared_page, TECHNIQUE)
            shared_page.click("#tray-add-current")
    expect(shared_page.locator("#tray .lp-thumb-name")).to_have_text(FIRST)
    shared_page.locator(f"#{TECHNIQUE}-groups").get_by_label("pictures", exact=True).check()
    return shared_page


def names(page) -> list[str]:
    return page.locator("#tray .lp-thumb-name").all_inner_texts()


def add(page, path: Path) -> None:
    page.set_input_files("#tray-files input[type=file]", str(path))


def test_a_zip_with_one_folder_per_group_is_added_predicted_and_compared(page, pets):
    page.click("#tray-clear")
    expect(page.locator("#tray")).to_contain_text("No pictures yet")
    add(page, pets)
    expect(thumbnails(page)).to_have_count(6)
    expect(page.locator("#tray .lp-set")).to_have_text("6 pictures in 2 groups: light 3, dark 3")
    expect(page.locator("#tray-status")).to_contain_text("Left out: read me.txt (This file is not a picture we can read.")
    expect(page.locator("#tray .lp-predicted")).to_have_count(6)
    page.get_by_label("named groups").click()
    run(page, TECHNIQUE)
    expect(page.locator(f"#{TECHNIQUE}-note")).to_contain_text("light (3 pictures) against dark (3 pictures)")


def test_a_picture_is_taken_out_by_its_own_button_and_a_second_press_takes_no_other(page):
    page.click("#tray-add-samples")
    expect(thumbnails(page)).to_have_count(16)
    before = names(page)
    page.evaluate("""() => { const button = document.querySelectorAll('#tray [data-remove]')[3]; button.click(); button.click(); }""")
    expect(thumbnails(page)).to_have_count(15)
    page.click("#tray-add-current")
    expect(thumbnails(page)).to_have_count(16)
    assert names(page) == [*before[:3], *before[4:], page.inner_text("#origin")]


def test_the_predictions_under_the_pictures_are_those_of_the_model_that_is_chosen(page):
    expect(page.locator("#tray .lp-predicted").first).to_contain_text("church")
    type_into(page, "#model", "bundled/digits")
    expect(page.locator("#tray .lp-thumb-name")).to_have_text(["0", "1"])
    expect(page.locator("#model-answers")).to_be_hidden()  # Enter has chosen
    expect(page.locator("#tray .lp-predicted").first).to_contain_text("0 ")


def test_random_pictures_of_a_folder_of_this_machine_come_a_page_at_a_time(page, tmp_path):
    for number in range(PAGE + 12):
        folder = tmp_path / "set" / f"group {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (4 * number % 256, 90, 120)).save(folder / f"{number}.png")
    page.locator("#tray-place").locator("input, textarea").fill(str(tmp_path / "set"))
    page.locator("#tray-count input").fill(str(PAGE))
    page.click("#tray-add-place")
    expect(page.locator("#tray .lp-turn")).to_contain_text(f"1 to {PAGE} of {PAGE + 2}")
    page.locator("#tray [data-turn]").last.click()
    expect(thumbnails(page)).to_have_count(2)
    page.locator("#tray-place").locator("input, textarea").fill(str(tmp_path / "nowhere"))
    page.click("#tray-add-place")
    expect(page.locator("#tray-status .lp-error")).to_contain_text("There is nothing at")
    expect(page.locator("#tray .lp-set")).to_contain_text(f"{PAGE + 2} pictures")


def test_a_click_in_the_graph_chooses_the_layer_and_a_click_on_a_small_picture_the_filter(page):
    run(page, TECHNIQUE)
    heading = page.locator(f"#{TECHNIQUE}-browser h4")
    page.locator(f"#{TECHNIQUE}-layers [data-tick='layer3.0.conv2']").click()
    expect(heading).to_contain_text("layer3.0.conv2 · ")
    browser = page.locator(f"#{TECHNIQUE}-browser")
    expect(browser.locator("loupe-axes select")).to_have_value("layer3.0.conv2")
    expect(page.locator(f"#{TECHNIQUE}-layer_average h4")).to_have_text("layer3.0.conv2")
    expect(page.locator(f"#{TECHNIQUE}-histogram h4")).to_have_text("layer3.0.conv2 · all filters")
    small = browser.locator(".lp-top button").nth(4)
    number = small.inner_text()
    small.click()
    expect(heading).to_have_text(f"layer3.0.conv2 · filter {number}")
    expect(browser.locator("loupe-axes input[type=number]")).to_have_value("5")
    browser.locator("loupe-axes select").select_option("fc")
    expect(browser.locator(".lp-top")).to_have_count(0)  # one rectangle: there is nothing to choose
    expect(browser.locator("loupe-axes input[type=number]")).to_be_hidden()


def test_a_saved_computation_is_opened_again_when_another_model_has_been_run(page, tmp_path):
    run(page, TECHNIQUE)
    with page.expect_download() as download:
        page.click(f"#{TECHNIQUE}-download")
    download.value.save_as(tmp_path / "saved.zip")
    heading, note = page.locator(f"#{TECHNIQUE}-browser h4"), page.locator(f"#{TECHNIQUE}-note")
    shown = [heading.inner_text(), note.inner_text()]
    type_into(page, "#model", "bundled/digits")
    expect(page.locator("#model-status")).to_contain_text("28 × 28 px")
    run(page, TECHNIQUE)
    assert [heading.inner_text(), note.inner_text()] != shown
    page.set_input_files(f"#{TECHNIQUE}-saved input[type=file]", str(tmp_path / "saved.zip"))
    expect(page.locator(f"#{TECHNIQUE}-status .lp-done")).to_contain_text("saved.zip, opened · saved ")
    assert [heading.inner_text(), note.inner_text()] == shown
    page.locator(f"#{TECHNIQUE}-layers [data-tick='layer4.1.conv2']").click()
    expect(heading).to_contain_text("layer4.1.conv2")
    expect(page.locator(f"#{TECHNIQUE}-download")).to_have_count(0)
    (tmp_path / "letter.zip").write_text("Dear Loupe")
    page.set_input_files(f"#{TECHNIQUE}-saved input[type=file]", str(tmp_path / "letter.zip"))
    expect(page.locator(f"#{TECHNIQUE}-status .lp-error")).to_contain_text("This file is not a saved computation.")
    expect(heading).to_contain_text("layer4.1.conv2")


# Without a browser


@pytest.mark.parametrize(
    ("arguments", "environment", "local"),
    [
        ([], {}, True),
        (["--host", "localhost"], {}, True),
        (["--host", "0.0.0.0"], {}, False),
        (["--share"], {}, False),
        ([], {"SPACE_ID": "owner/loupe"}, False),
        ([], {"GRADIO_SERVER_NAME": "0.0.0.0"}, False),
        ([], {"GRADIO_SHARE": "True"}, False),
    ],
)
def test_folders_of_the_machine_are_opened_only_from_a_page_that_nobody_else_can_reach(monkeypatch, arguments, environment, local):
    for name in ("SPACE_ID", "GRADIO_SERVER_NAME", "GRADIO_SHARE", "LOUPE_HOST", "LOUPE_SHARE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = read_settings(arguments)
    assert settings.local is local
    with gr.Blocks():
        assert (build_tray(settings).add_place is not None) is local


def picture(name: str = "1.png", group: str = "", side: int = 10) -> ReadPicture:
    return ReadPicture(Image.new("RGB", (side, side)), name, (), group)


def test_names_and_groups_of_strangers_are_only_text_on_the_wall():
    html = Wall().html([picture("<img src=x onerror=alert(1)>", "'><script>")], ("model", "model"))
    assert "<img src=x" not in html and "<script>" not in html


def test_a_prediction_of_another_model_is_not_shown():
    wall, shown = Wall(), picture()
    thumbnail = wall.thumbnail(shown)
    thumbnail.said, thumbnail.asked = "tench 90 %", ("a", "model")
    assert "tench" in wall.html([shown], ("a", "model")) and "tench" not in wall.html([shown], ("b", "model"))


def test_the_sets_of_all_visitors_together_have_a_limit(monkeypatch):
    monkeypatch.setattr(session_module, "PICTURE_BYTES", 1000)
    sessions = Sessions("model")
    first, second = sessions.create("1"), sessions.create("2")
    sessions.add(first, [picture(side=10), picture(side=10)])
    with pytest.raises(UploadError, match="holds too many pictures of its visitors"):
        sessions.add(second, [picture(side=13)])
    assert second.pictures == [] and len(first.pictures) == 2
    first.pictures.clear()
    sessions.add(second, [picture(side=13)])


def test_a_set_holds_no_more_pictures_than_it_may():
    sessions = Sessions("model")
    session = sessions.create("1")
    sessions.add(session, [picture()] * 1000)
    with pytest.raises(UploadError, match="at most 1,000 pictures"):
        sessions.add(session, [replace(picture(), origin="one more")])
    assert len(session.pictures) == 1000


def test_a_thumbnail_is_small_whatever_the_picture():
    wall, large = Wall(), ReadPicture(Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)), "noise")
    assert len(wall.thumbnail(large).url) < 20_000 and wall.thumbnail(large) is wall.thumbnail(large)
