"""An attack that leaves the page as a file and comes back: what its panel promised is what the model then says."""

from __future__ import annotations

import pytest

from tests.page_browser import expect, go_to, run, shares, top_five, upload


def test_the_downloaded_picture_of_an_attack_uploaded_again_is_taken_for_what_the_panel_promised(page, tmp_path):
    go_to(page, "pgd")
    run(page, "pgd")
    row = page.locator("#pgd-survival tbody tr", has_text="PNG file, uploaded again").locator("td").all_inner_texts()
    with page.expect_download() as download:
        page.click("#pgd-adversarial [data-save]")
    path = tmp_path / "attacked.png"
    download.value.save_as(path)
    before = top_five(page)[0]
    upload(page, path)
    expect(page.locator("#origin")).to_contain_text("attacked.png")
    expect(page.locator("#top-five .lp-bar-name").first).to_have_text(row[1])
    assert row[1] != before
    assert float(shares(page)[0].rstrip(" %")) / 100 == pytest.approx(float(row[2]), abs=6e-4)  # it is shown with one decimal
