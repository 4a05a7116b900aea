"""From a patch that is learned to pictures with it: sent on at full precision, laid by sliders, and by painting."""

from __future__ import annotations

import numpy as np

from tests.page_browser import expect, go_to, run, saved, set_number, stroke


def test_a_learned_patch_is_sent_on_and_laid_on_pictures_by_sliders_and_by_hand(open_page):
    page = open_page("?technique=grad_cam&model=bundled/digits&picture=digit_0")
    go_to(page, "adversarial_patch")
    set_number(page, "#adversarial_patch-steps", 6)
    run(page, "adversarial_patch")
    expect(page.locator("#adversarial_patch-note")).to_contain_text("the patch makes")
    learned = saved(page, "adversarial_patch")[1]["patch"]

    page.locator("#adversarial_patch-patch select.lp-send").select_option("place_patch")
    expect(page.locator("#place_patch-run")).to_be_visible()
    expect(page.locator("#tray .lp-thumb-name").last).to_contain_text("Patch for “")
    page.click("#tray-add-samples")
    expect(page.locator("#tray .lp-thumb")).to_have_count(2 + 1 + 10)  # the patch is neither the first nor the last any more
    run(page, "place_patch")
    expect(page.locator("#place_patch-note")).to_contain_text("of 12 pictures")
    manifest, arrays = saved(page, "place_patch")
    changed = arrays["pictures.1"] - arrays["pictures.0"]
    assert manifest["panels"][0]["caption"] == "On 10 % of the picture"
    rows, columns = np.flatnonzero(changed.any((0, 2))), np.flatnonzero(changed.any((0, 1)))
    assert abs(rows.mean() - 0.7 * 28) < 1.5 and abs(columns.mean() - 0.7 * 28) < 1.5

    page.locator("#samples button[data-sample=digit_3]").click()
    expect(page.locator("#top-five .lp-bar-name").first).to_have_text("3")  # it is under the brushes, too
    paint = page.locator("#place_patch-paint")
    paint.get_by_role("radio", name="Rectangle").click()
    stroke(page, paint.locator("canvas"), (0.99, 0.99), (-0.1, -0.1))  # a patch as large as the picture is there as it was learned
    expect(page.locator("#place_patch-note")).to_contain_text("On 78.5 % of the picture")
    whole = saved(page, "place_patch")[1]["pictures.1"]
    np.testing.assert_allclose(whole[:, 10:18, 10:18], learned[:, 10:18, 10:18], rtol=0, atol=1e-5)  # the places of pixels are float32

    page.locator("#place_patch-pictures select.lp-send").nth(1).select_option("saliency")
    expect(page.locator("#origin")).to_contain_text("With patch for “")
