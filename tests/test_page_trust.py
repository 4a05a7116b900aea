"""Trust on the page: measured under a map, stopped, marked as old; and tables sorted by their heads."""

from __future__ import annotations

from tests.page_browser import expect, go_to, run


def measure(page, technique: str) -> None:
    """Open the section under a map and measure it."""
    page.click(f"#{technique}-trust > button")
    page.click(f"#{technique}-trust [data-ring=measure]")
    expect(page.locator(f"#{technique}-trust-found .lp-done")).to_be_visible()
    expect(page.locator(f"#{technique}-trust [data-ring=measure]")).to_be_visible()


def test_the_map_that_is_shown_is_measured_and_the_sentence_stands_under_it(page):
    measure(page, "grad_cam")
    found = page.locator("#grad_cam-trust-found")
    expect(found.locator("p.lp-note")).to_contain_text("Grad-CAM changes when the weights are scrambled")
    assert found.locator(".lp-chart svg").count() == 2
    assert found.locator("loupe-map canvas[role=img]").count() >= 8
    assert found.locator("tbody tr").count() >= 10
    expect(found.locator(".lp-old")).to_be_hidden()
    run(page, "grad_cam")
    expect(found.locator(".lp-old")).to_be_visible()  # what stands there is of the answer before


def test_a_measurement_can_be_stopped(page):
    go_to(page, "occlusion")
    run(page, "occlusion")
    page.click("#occlusion-trust > button")
    page.click("#occlusion-trust [data-ring=measure]")
    page.click("#occlusion-trust [data-ring=stop]")
    expect(page.locator("#occlusion-trust-line")).to_contain_text("Stopped.")


def test_without_an_answer_the_section_says_what_to_do(page):
    go_to(page, "saliency")
    page.click("#saliency-trust > button")
    page.click("#saliency-trust [data-ring=measure]")
    expect(page.locator("#saliency-trust-line")).to_contain_text("Run it on one picture first")


def test_a_table_is_sorted_by_a_press_on_a_head_and_the_other_way_by_another(page):
    measure(page, "grad_cam")
    table = page.locator("#grad_cam-trust-found loupe-table")
    values = "table => [...table.querySelectorAll('tbody td:nth-child(2)')].map(cell => parseFloat(cell.textContent))"
    table.locator("th button").nth(1).click()
    falling = table.evaluate(values)
    assert falling == sorted(falling, reverse=True) and len(set(falling)) > 1
    expect(table.locator("th[aria-sort=descending]")).to_contain_text("value")
    table.locator("th button").nth(1).click()
    assert table.evaluate(values) == sorted(falling)
