"""Every view by axe-core: no serious and no critical violation, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

Visit = Callable[..., "Page"]
VIEWS = {
    "#/colours/images": ".attention[data-painted]",
    "#/reviews/words": ".words .word",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("view", VIEWS)
def test_nothing_serious(visit: Visit, view: str, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = visit(view, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.locator(VIEWS[view]).first.wait_for()
    page.locator(".faithfulness").wait_for()
    found = Axe().run(page).response["violations"]
    serious = {
        one["id"]: [node["target"] for node in one["nodes"]]
        for one in found
        if one["impact"] in ("serious", "critical")
    }
    assert serious == {}
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_theme_is_turned_and_the_models_are_chosen(visit: Visit) -> None:
    page = visit("#/colours/images")
    page.locator(".attention[data-painted]").wait_for()
    paper = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(paper)
    page.locator("header button").last.click()
    assert page.evaluate(paper) != before
    page.locator("header select").select_option("reviews")
    page.locator("textarea").wait_for()
    assert "#/reviews/" in page.url
