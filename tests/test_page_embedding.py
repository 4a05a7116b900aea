"""The embedding map on the page: points are clicked, marked from the confusion matrix, and sent on."""

from __future__ import annotations

import zipfile
from pathlib import Path

from techniques.base.pictures import read_picture
from tests.page_browser import expect, go_to, run

SAMPLES = Path(__file__).resolve().parents[1] / "ui" / "samples"
GROUPS = {"church": ("church", "temple"), "golf ball": ("golf_ball", "coffee"), "parachute": ("parachute",)}


def test_a_point_shows_its_picture_and_neighbours_and_is_sent_on_and_the_matrix_marks_points(page, tmp_path):
    path = tmp_path / "things.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for group, names in GROUPS.items():
            for name in names:
                archive.write(SAMPLES / f"{name}.jpg", f"things/{group}/{name}.jpg")
    go_to(page, "embedding_map")
    page.click("#tray-clear")
    page.set_input_files("#tray-files input[type=file]", str(path))
    expect(page.locator("#tray .lp-thumb")).to_have_count(5)
    run(page, "embedding_map")
    map = page.locator("#embedding_map-map loupe-scatter")
    expect(map.locator(".lp-point")).to_have_text("Click a point to see its picture and its neighbours.")
    names = map.evaluate("map => map.told.names")

    index = names.index("golf_ball.jpg")
    canvas = map.locator(".lp-plane > canvas")
    x, y = map.evaluate("(map, index) => map.place(map.told.points[index])", index)
    canvas.click(position={"x": x, "y": y})
    expect(map.locator(".lp-point h5")).to_have_text("golf_ball.jpg")
    expect(map.locator(".lp-point p").nth(0)).to_contain_text("golf ball")
    expect(map.locator(".lp-point p").nth(1)).to_have_text("true class golf ball")
    expect(map.locator(".lp-near button")).to_have_count(4)
    seen = map.locator(".lp-point > canvas").evaluate("canvas => [...canvas.getContext('2d').getImageData(10, 80, 1, 1).data]")
    colours = read_picture(SAMPLES / "golf_ball.jpg").image.resize((96, 96)).getpixel((10, 80))
    assert all(abs(one - other) < 40 for one, other in zip(seen, colours))  # grass, and not another picture of the sheet

    page.locator("#embedding_map-confusion [data-marks*='church'][data-marks*='church\"']").first.click()
    expect(map.locator(".lp-told")).to_contain_text("of 5: true class church, predicted class church")
    marked = map.evaluate("map => map.told.names.filter((_, index) => map.isMarked(index))")
    assert marked and set(marked) <= {"church.jpg", "temple.jpg"}
    map.locator(".lp-told button").click()
    expect(map.locator(".lp-told")).to_be_hidden()

    map.locator("select.lp-send").select_option("grad_cam")
    expect(page.locator("#origin")).to_contain_text("golf_ball.jpg")
    expect(page.locator("#grad_cam-run")).to_be_visible()
