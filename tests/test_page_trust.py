"""Trust on the page: measured under a map, stopped, marked as old; and tables sorted by their heads."""

from __future__ import annotations

import pytest

from tests.page_browser import begin_with, expect, go_to, run


@pytest.fixture
def page(shared_page):
    """The page with its first technique, model and picture."""
    begin_with(shared_page)
    return shared_page


def open_section(page, technique: str) -> None:
    """Show what is asked about the map of a technique."""
    if not page.locator(f"#{technique}-trust [data-ring=measure]").is_visible():
        page.click(f"#{technique}-trust > button")


def measure(page, technique: str) -> None:
    """Open the section under a map and measure it."""
    open_section(page, technique)
    page.click(f"#{technique}-trust [data-ring=measure]")
    expect(page.locator(f"#{technique}-trust-found .lp-done")).to_be_visible()
    expect(page.locator(f"#{technique}-trust [data-ring=measure]")).to_be_visible()


def test_the_map_that_is_shown_is_measured_and_the_sentence_stands_under_it_and_its_table_is_sorted_by_a_press_on_a_head(page):
    run(page, "grad_cam")
    measure(page, "grad_cam")
    found = page.locator("#grad_cam-trust-found")
    expect(found.locator("p.lp-note")).to_contain_text("Grad-CAM changes when the weights are scrambled")
    assert found.locator(".lp-chart svg").count() == 2
    assert found.locator("loupe-map canvas[role=img]").count() >= 8
    assert found.locator("tbody tr").count() >= 10
    expect(found.locator(".lp-old")).to_be_hidden()

    table = found.locator("loupe-table")
    values = "table => [...table.querySelectorAll('tbody td:nth-child(2)')].map(cell => parseFloat(cell.textContent))"
    table.locator("th button").nth(1).click()
    falling = table.evaluate(values)
    assert falling == sorted(falling, reverse=True) and len(set(falling)) > 1
    expect(table.locator("th[aria-sort=descending]")).to_contain_text("value")
    table.locator("th button").nth(1).click()
    assert table.evaluate(values) == sorted(falling)

    run(page, "grad_cam")
    expect(found.locator(".lp-old")).to_be_visible()  # what stands there is of the answer before


def test_a_measurement_can_be_stopped(page):
    go_to(page, "occlusion")
    run(page, "occlusion")
    open_section(page, "occlusion")
    page.click("#occlusion-trust [data-ring=measure]")
    page.click("#occlusion-trust [data-ring=stop]")
    expect(page.locator("#occlusion-trust-line")).to_contain_text("Stopped.")


def test_without_an_answer_the_section_says_what_to_do(page):
    go_to(page, "saliency")
    open_section(page, "saliency")
    page.click("#saliency-trust [data-ring=measure]")
    expect(page.locator("#saliency-trust-line")).to_contain_text("Run it on one picture first")
