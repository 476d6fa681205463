"""The report in a browser: the results of a run, from a wide window, a phone and a printer."""

import pytest
from browser import opened

from toycrystals.report.collect import collect
from toycrystals.report.page import read_libraries, render
from toycrystals.report.sources import Code, read_outputs

PAPER = 680  # px between the margins of A4


@pytest.fixture(scope="module")
def report(finished, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    told = {"code": Code("0" * 40, "subject"), "stale": [], "lock_problem": "", "changed": {}, "makers": {}}
    provenance = told | {"outputs": read_outputs(finished)}
    path.write_text(render(finished, collect(finished), provenance, read_libraries(finished)), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=[1200, 390], ids=["wide", "phone"])
def shown(request, browser, report):
    with opened(browser, report, width=request.param) as shown:
        shown.page.wait_for_function("document.documentElement.dataset.charts === 'done'")
        yield shown


def test_it_opens_offline_without_complaints(shown):
    assert shown.problems == []
    assert shown.requests == []


def test_all_images_are_loaded(shown):
    widths = shown.page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
    assert len(widths) >= 10
    assert min(widths) > 0


def test_all_charts_are_drawn(shown):
    count = (
        "places => places.map(place => place.querySelectorAll('svg.marks .mark-symbol path, svg.marks .mark-line path').length)"
    )
    marks = shown.page.eval_on_selector_all(".vega", count)
    assert len(marks) >= 10
    assert min(marks) > 0


def test_nothing_is_wider_than_the_window_but_what_can_be_scrolled(shown):
    overflow, widest = shown.page.evaluate(
        """() => [document.documentElement.scrollWidth - window.innerWidth,
                  Math.max(...[...document.querySelectorAll('.charts svg')].map(svg => svg.getBoundingClientRect().right))]"""
    )
    assert overflow <= 0
    assert widest <= shown.page.viewport_size["width"]


def test_pointing_at_a_mark_shows_its_numbers(shown):
    # A white dot may lie on it, which tells the same.
    shown.page.locator(".vega .mark-symbol path").first.hover(force=True)
    tip = shown.page.locator("#vg-tooltip-element")
    tip.wait_for(state="visible")
    told = tip.inner_text()
    assert "value" in told
    assert "rev" not in told


def test_it_prints_on_pages_that_hold_every_figure(browser, report):
    with opened(browser, report, width=PAPER) as shown:
        shown.page.wait_for_function("document.documentElement.dataset.charts === 'done'")
        shown.page.emulate_media(media="print")
        ends = shown.page.eval_on_selector_all(
            "img, .vega svg, table", "all => all.map(one => one.getBoundingClientRect().right)"
        )
        assert max(ends) <= PAPER
        pages = shown.page.pdf(prefer_css_page_size=True)
        assert pages.startswith(b"%PDF")
        assert pages.count(b"/Type /Page\n") > 1
