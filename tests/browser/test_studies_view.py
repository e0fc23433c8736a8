"""The studies in a real browser: dragged, edited, stepped through and measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

Visit = Callable[..., "Page"]
STUDIES = ("recurrence", "copying", "linear-attention")


def _drag(page: Page, name: str, value: float) -> None:
    """Put a slider where a hand would."""
    page.get_by_role("slider", name=name).evaluate(
        """(slider, value) => {
          slider.value = value;
          slider.dispatchEvent(new Event('input', { bubbles: true }));
        }""",
        str(value),
    )


def _weights(page: Page) -> list[float]:
    return [float(text) for text in page.locator(".weights .weight").all_inner_texts()]


def test_dragging_beta_sharpens_the_copy(visit: Visit) -> None:
    page = visit("#/studies/copying")
    page.locator(".weights .weight", has_text="0.").first.wait_for()
    _drag(page, "β", 1)
    page.locator(".law", has_text="0.368").wait_for()
    soft = _weights(page)
    q = math.exp(-1)
    assert soft[0] == pytest.approx(1 / (1 + q + q * q), abs=1e-3)
    assert soft[4] == pytest.approx(1 / (1 + 2 * q), abs=1e-3)
    place = page.locator(".plot .ring").first.get_attribute("cx")
    _drag(page, "β", 2.5)
    page.locator(".law", has_text="0.00193").wait_for()
    sharp = [float(cell) for cell in page.locator(".weights .weight").all_inner_texts()[::4]]
    assert min(sharp) > 0.99
    assert page.locator(".plot .ring").first.get_attribute("cx") != place


def test_beta_moves_by_the_keyboard_and_by_the_plot(visit: Visit) -> None:
    page = visit("#/studies/copying")
    slider = page.get_by_role("slider", name="β")
    slider.focus()
    before = float(slider.input_value())
    page.keyboard.press("ArrowRight")
    assert float(slider.input_value()) == pytest.approx(before + 0.01)
    page.locator(".plot .ring").first.wait_for()
    box = page.locator(".plot").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
    assert float(slider.input_value()) > 4


def test_dragging_the_length_shows_what_both_cost(visit: Visit) -> None:
    page = visit("#/studies/linear-attention")
    page.get_by_text("At 4,096 tokens").wait_for()
    assert page.get_by_text("from 65 tokens on").is_visible()
    _drag(page, "T, the length", 8 * 12)
    page.get_by_text("At 65,536 tokens").wait_for()
    assert "1,016 times the operations" in page.locator(".study-grid").inner_text()
    page.get_by_role("radio", name="Memory").check()
    page.get_by_text("from 46 tokens on").wait_for()
    page.get_by_role("radio", name="16", exact=True).check()
    page.get_by_text("from 12 tokens on").wait_for()


def test_times_are_measured_on_request_and_can_be_stopped(visit: Visit) -> None:
    page = visit("#/studies/linear-attention")
    page.get_by_role("button", name="Measure on this server").click()
    page.locator("section[aria-labelledby='measured-title'] tbody tr").first.wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Measure again").wait_for()
    row = page.locator("section[aria-labelledby='measured-title'] tbody tr").first
    assert row.locator("th").inner_text() == "64"
    times = [float(text) for text in row.locator("td").all_inner_texts()]
    assert len(times) == 3
    assert min(times) > 0


def test_an_edited_sequence_is_followed_step_by_step(visit: Visit) -> None:
    page = visit("#/studies/recurrence")
    rows = page.locator(".step-table tbody tr")
    page.get_by_text("In the end y is 0").wait_for()
    assert rows.count() == 6
    page.get_by_label("Integers").fill("1, 2, −3 4 5")
    page.get_by_text("With an odd number of inputs").wait_for()
    states = [row.locator("td").nth(2).inner_text() for row in rows.all()]
    assert states == ["1", "1", "−4", "8", "−3"]
    assert (
        page.locator(".expansion").inner_text().replace("\n", "") == "h5 = 5 − 4 − 3 − 2 + 1 = −3"
    )
    page.get_by_role("button", name="One step back").click()
    assert page.locator("tr[aria-current='step'] th").inner_text() == "4"
    assert page.locator(".expansion strong").inner_text() == "8"


def test_integers_of_any_size_are_exact(visit: Visit) -> None:
    page = visit("#/studies/recurrence")
    large = 10**30 + 1
    page.get_by_label("Integers").fill(f"1, {large}")
    page.get_by_text("In the end y is 1").wait_for()
    assert page.locator(".step-table tbody tr").nth(1).locator("td").nth(2).inner_text() == str(
        large - 1
    )


def test_what_is_no_integer_is_said_beside_the_field(visit: Visit) -> None:
    page = visit("#/studies/recurrence")
    field = page.get_by_label("Integers")
    field.fill("1, two")
    page.get_by_text("“two” is not an integer.").wait_for()
    assert field.get_attribute("aria-invalid") == "true"
    field.fill("1, 2")
    page.get_by_text("In the end y is 1").wait_for()
    assert field.get_attribute("aria-invalid") == "false"


def test_steps_play_by_themselves(visit: Visit) -> None:
    page = visit("#/studies/recurrence")
    page.get_by_text("In the end y is 0").wait_for()
    page.get_by_role("button", name="Play").click()
    page.locator("tr[aria-current='step'] th", has_text="2").wait_for()
    page.get_by_role("button", name="Pause").click()
    assert page.get_by_role("button", name="Play").is_visible()


def test_one_study_leads_to_the_others(visit: Visit) -> None:
    page = visit("#/studies/recurrence")
    tabs = page.get_by_role("navigation", name="Studies")
    for name, heading in (
        ("Copying", "Attention that copies"),
        ("Linear attention", "Attention in linear time"),
        ("Recurrence", "A recurrence that compares"),
    ):
        tabs.get_by_role("link", name=name).click()
        page.get_by_role("heading", name=heading).wait_for()
        assert tabs.get_by_role("link", name=name).get_attribute("aria-current") == "page"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("study", STUDIES)
def test_the_studies_are_accessible_and_fit(
    visit: Visit, study: str, width: int, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = visit(
        f"#/studies/{study}", color_scheme=scheme, viewport={"width": width, "height": 800}
    )
    page.locator(".plot").first.locator("text").first.wait_for()
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in {"serious", "critical"}] == [], found
    assert page.evaluate("document.documentElement.scrollWidth") <= width
