"""Covering parts of a picture in the browser: brushes, several areas, and what Grad-CAM marks in one click."""

from __future__ import annotations

import numpy as np
import pytest

from techniques.base.covering import PAINTED
from tests.page_browser import begin_with, expect, go_to, run, saved, shares, stroke, top_five

# The share of the canvas that is painted in the area shown.
SHARE = """canvas => {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let painted = 0; for (let i = 3; i < data.length; i += 4) painted += data[i] > 0;
  return painted / (canvas.width * canvas.height);
}"""


@pytest.fixture
def page(shared_page):
    return shared_page


def cover(page, picture: str, model: str = "bundled/imagenette"):
    """The canvas of Cover with the brush, over a picture of its own for each test, so that nothing is painted there; only paint counts."""
    begin_with(page, picture, model)
    go_to(page, "cover")
    page.locator(f"#cover-region input[value={PAINTED}]").check()
    paint = page.locator("#cover-paint")
    tool(paint, "Brush")
    page.wait_for_function(f"() => ({SHARE})(document.querySelector('#cover-paint canvas')) === 0")
    return paint


def tool(paint, name: str) -> None:
    paint.get_by_role("radio", name=name).click()


def painted(paint) -> float:
    return paint.locator("canvas").evaluate(SHARE)


def names(page, panel: str) -> list[str]:
    return page.locator(f"#cover-{panel} h5").all_inner_texts()


def expect_covered(page, *parts: str) -> None:
    """The answer to the last step is there, and it is about areas with these shares of this picture."""
    for part in (*parts, f"“{top_five(page)[0]}”", shares(page)[0]):
        expect(page.locator("#cover-note")).to_contain_text(part)
    expect(page.locator("#cover-smooth_grad loupe-map canvas").first).to_be_visible()


def test_a_rectangle_covers_its_pixels_exactly_and_the_answer_has_all_maps_before_and_after(page):
    paint = cover(page, "church")
    tool(paint, "Rectangle")
    stroke(page, paint.locator("canvas"), (0.25, 0.5), (0.75, 1.0))
    assert painted(paint) == pytest.approx(0.25, abs=0.01)  # the mouse moves in whole pixels of the screen
    expect_covered(page, "With 25 % of the picture covered, “church”")
    assert names(page, "covered") == ["Before", "After: 25 % of the picture"]
    assert names(page, "grad_cam") == names(page, "smooth_grad") == ["Before", "After"]
    maps = page.locator("#cover-grad_cam loupe-map")
    assert maps.nth(0).get_attribute("to") == maps.nth(1).get_attribute("to")  # one scale
    assert maps.nth(0).get_attribute("picture") != maps.nth(1).get_attribute("picture")  # each over its own picture
    manifest, arrays = saved(page, "cover")
    changed = (arrays["covered.0"] != arrays["covered.1"]).any(0)
    assert manifest["settings"]["mask"]["painted"] == pytest.approx(painted(paint), abs=1e-5)  # written with six digits
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert np.ptp(rows) + 1 == pytest.approx(80, abs=2) and np.ptp(columns) + 1 == pytest.approx(80, abs=2)


def test_what_was_painted_can_be_erased_taken_back_and_cleared(page):
    paint = cover(page, "golf_ball")
    canvas = paint.locator("canvas")
    stroke(page, canvas, (0.2, 0.5), (0.8, 0.5))
    first = painted(paint)
    tool(paint, "Eraser")
    stroke(page, canvas, (0.1, 0.5), (0.9, 0.5))
    assert first > 0.08 and painted(paint) == 0  # no rim stays where the same way is gone again
    paint.get_by_role("button", name="Undo").click()
    assert painted(paint) == first
    paint.get_by_role("button", name="Clear").click()
    assert painted(paint) == 0
    paint.get_by_role("button", name="Undo").click()
    assert painted(paint) == first
    expect_covered(page, f"With {100 * first:.0f} % of the picture covered")


def test_two_areas_stand_side_by_side_until_one_is_removed(page):
    paint = cover(page, "parachute")
    canvas = paint.locator("canvas")
    tool(paint, "Rectangle")
    stroke(page, canvas, (0.5, 0.5), (0.0, 0.0))
    paint.get_by_role("button", name="+").click()
    assert painted(paint) == 0
    stroke(page, canvas, (0.2, 0.5), (1.1, 1.1))  # out of the picture, which ends where it ends
    expect_covered(page, "A: With 25 % of the picture covered", "B: With 40 % of the picture covered")
    expect(page.locator("#cover-smooth_grad h5")).to_have_text(["Before", "A", "B"])
    assert [mask["painted"] for mask in saved(page, "cover")[0]["settings"]["mask"]] == pytest.approx([0.25, 0.4], abs=0.01)
    paint.get_by_role("tab", name="A").click()
    assert painted(paint) == pytest.approx(0.25, abs=0.01)
    paint.get_by_role("button", name="Remove").click()
    expect(page.locator("#cover-note")).not_to_contain_text("A: ")
    expect_covered(page, "With 40 % of the picture covered")
    assert painted(paint) == pytest.approx(0.4, abs=0.01)


def test_what_grad_cam_marks_is_covered_in_one_click_beside_what_was_painted(page):
    paint = cover(page, "temple")
    paint.get_by_role("button", name="Cover what Grad-CAM marks").click()
    expect_covered(page, "With what Grad-CAM marks above 20 % of its maximum covered")
    assert saved(page, "cover")[0]["settings"]["region"] == "both"
    tool(paint, "Rectangle")
    stroke(page, paint.locator("canvas"), (0.5, 0.5), (0.0, 0.0))
    expect_covered(page, "A: With 25 %", "Marked: With what Grad-CAM marks")
    expect(page.locator("#cover-smooth_grad h5")).to_have_text(["Before", "A", "Marked"])


def test_a_stroke_counts_also_where_only_grad_cam_was_asked_for(page):
    paint = cover(page, "cat")
    page.locator("#cover-region").get_by_label("what Grad-CAM marks", exact=True).check()
    stroke(page, paint.locator("canvas"), (0.2, 0.5), (0.8, 0.5))
    expect_covered(page, "A: With ", "Marked: With what Grad-CAM marks")


def test_a_finger_paints_and_does_not_scroll_the_page(open_page):
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True)
    go_to(page, "cover")
    canvas = page.locator("#cover-paint canvas")
    canvas.scroll_into_view_if_needed()
    box, scrolled = canvas.bounding_box(), page.evaluate("scrollY")
    touch = page.context.new_cdp_session(page)
    places = [{"x": box["x"] + 0.5 * box["width"], "y": box["y"] + share * box["height"]} for share in (0.3, 0.5, 0.7)]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": places[:1]})
    for place in places[1:]:
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [place]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert painted(page.locator("#cover-paint")) > 0.05 and page.evaluate("scrollY") == scrolled
    expect_covered(page, "% of the picture covered")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_was_painted_stays_for_another_run_and_is_there_again_with_its_picture(page):
    paint = cover(page, "tower")
    tool(paint, "Rectangle")
    stroke(page, paint.locator("canvas"), (0.2, 0.5), (1.0, 1.0))
    expect_covered(page, "With 40 % of the picture covered")
    run(page, "cover")
    expect_covered(page, "With 40 % of the picture covered")
    page.locator("#samples button[data-sample=flower]").click()
    expect(page.locator("#origin")).to_have_text("Flower")
    expect(page.locator("#top-five .lp-bar-name").first).to_have_text("golf ball")
    run(page, "cover")
    expect_covered(page, "With 25 % of the picture covered, “golf ball”")  # the middle, as nothing is painted
    assert painted(paint) == 0
    page.locator("#samples button[data-sample=tower]").click()
    expect(page.locator("#top-five .lp-bar-name").first).to_have_text("church")
    run(page, "cover")
    expect_covered(page, "With 40 % of the picture covered, “church”")
    assert painted(paint) == pytest.approx(0.4, abs=0.01)


def test_a_digit_is_covered_on_the_small_model(page):
    paint = cover(page, "digit_3", "bundled/digits")
    expect(page.locator("#cover-paint loupe-paint[width='28']")).to_be_visible()
    paint.get_by_role("button", name="Cover what Grad-CAM marks").click()
    expect_covered(page, "With what Grad-CAM marks above 20 % of its maximum covered")
