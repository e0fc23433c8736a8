"""The view of a run, in a real browser: curves, confusion, calibration, mistakes, card."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qkv.runs import Run

if TYPE_CHECKING:
    from playwright.sync_api import Page

Visit = Callable[..., "Page"]
RUNS = ("colours", "reviews")


@pytest.mark.parametrize("model", RUNS)
def test_the_run_shows_its_figures(
    visit: Visit, vision_run: Path, text_run: Path, model: str
) -> None:
    test = Run(vision_run if model == "colours" else text_run).record()["test"]
    page = visit(f"#/{model}/run")
    facts = page.locator(".facts")
    facts.wait_for()
    assert f"{100 * test['accuracy']:.2f}" in facts.inner_text()
    assert page.get_by_role("heading", name="Confusion").is_visible()
    assert page.get_by_role("heading", name="Calibration").is_visible()
    assert page.locator(".plot .curve").count() >= 2
    assert page.locator(".plot .bar").count() >= 1
    cells = page.locator(".confusion button").all_inner_texts()
    counts = [0 if text == "·" else int(text) for text in cells]
    assert counts == [value for row in test["confusion_matrix"] for value in row]


def test_a_cell_shows_its_images(visit: Visit, vision_run: Path) -> None:
    matrix = Run(vision_run).record()["test"]["confusion_matrix"]
    names = Run(vision_run).record()["data"]["class_names"]
    truth = max(range(len(names)), key=lambda row: matrix[row][row])
    page = visit("#/colours/run")
    page.locator(f".confusion button[title^='{names[truth]}, answered rightly']").click()
    images = page.locator(".cell-cases img")
    page.get_by_text(f"{matrix[truth][truth]} example").wait_for()
    assert images.count() == min(matrix[truth][truth], 24)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.cell-cases img')]"
        ".every((image) => image.complete && image.naturalWidth === 16)"
    )
    link = page.locator(".cell-cases a").first.get_attribute("href")
    assert link is not None
    assert link.startswith("#/colours/images?example=")


def test_a_cell_shows_its_texts_whole_on_request(visit: Visit, text_run: Path) -> None:
    record = Run(text_run).record()
    names, matrix = record["data"]["class_names"], record["test"]["confusion_matrix"]
    truth = max(range(len(names)), key=lambda row: matrix[row][row])
    page = visit("#/reviews/run")
    page.locator(f".confusion button[title^='{names[truth]}, answered rightly']").click()
    page.get_by_text(f"{matrix[truth][truth]} example").wait_for()
    assert page.locator(".cell-cases .case-text").count() == min(matrix[truth][truth], 24)


def test_the_matrix_is_walked_by_arrow_keys_and_opened_by_enter(
    visit: Visit, vision_run: Path
) -> None:
    names = Run(vision_run).record()["data"]["class_names"]
    page = visit("#/colours/run")
    page.locator(".confusion button").first.focus()
    stops = "(cells) => cells.filter((cell) => cell.tabIndex === 0).length"
    assert page.locator(".confusion button").evaluate_all(stops) == 1
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    pressed = page.locator(".confusion button[aria-pressed='true']")
    pressed.wait_for()
    label = pressed.get_attribute("aria-label")
    assert label is not None
    assert label.startswith(f"{names[1]}, answered rightly")
    assert page.locator(".cell-cases h3").inner_text() == names[1]


def test_curves_change_from_accuracy_to_loss(visit: Visit) -> None:
    page = visit("#/colours/run")
    page.locator(".plot .curve").first.wait_for()
    before = page.locator(".plot .curve").first.get_attribute("d")
    page.get_by_role("radio", name="Loss").check()
    assert page.locator(".plot .curve").first.get_attribute("d") != before
    page.get_by_text("The numbers").first.click()
    assert page.get_by_role("columnheader", name="validation loss").is_visible()


def test_the_card_is_text_whatever_it_says(visit: Visit) -> None:
    card = "\n".join(
        [
            "# A <b>bold</b> card",
            "",
            "<script>window.stolen = 1</script> and `x < y` and **strong**",
            "",
            "![figure](figures/x.png)",
            "",
            "[evil](javascript:alert(1)) and [good](https://example.org/a)",
            "",
            "| a | b |",
            "|---|---|",
            "| 1 | <img src=x onerror=alert(1)> |",
            "",
            "- one",
            "- two",
            "",
            "```html",
            "<i>code</i>",
            "```",
        ]
    )
    page = visit("#/colours/run")
    page.locator(".card").wait_for()
    shown = page.evaluate(
        """async (card) => {
          const { renderMarkdown } = await import('/page/markdown.js');
          const box = document.createElement('div');
          box.append(renderMarkdown(card, 2));
          document.querySelector('main').append(box);
          return {
            tags: [...box.querySelectorAll('*')].map((element) => element.localName),
            text: box.textContent,
            links: [...box.querySelectorAll('a')].map((link) => link.href),
            heading: box.querySelector('h2').textContent,
            code: box.querySelector('pre').textContent,
            stolen: window.stolen ?? null,
          };
        }""",
        card,
    )
    assert not {"script", "img", "b", "i"} & set(shown["tags"])
    assert {"table", "ul", "pre", "code", "strong"} <= set(shown["tags"])
    assert shown["links"] == ["https://example.org/a"]
    assert shown["heading"] == "A <b>bold</b> card"
    assert shown["code"] == "<i>code</i>"
    assert "<script>window.stolen = 1</script>" in shown["text"]
    assert "<img src=x onerror=alert(1)>" in shown["text"]
    assert shown["stolen"] is None


def test_a_failure_is_told(visit: Visit) -> None:
    page = visit("#/colours/images", expect_errors=True)
    page.locator(".view").wait_for()
    refusal = json.dumps({"error": "the run is damaged", "remedy": "restore the folder"})
    page.route(
        "**/report",
        lambda route: route.fulfill(status=422, body=refusal, content_type="application/json"),
    )
    page.get_by_role("link", name="Report").click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "the run is damaged; restore the folder" in alert.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("model", RUNS)
def test_the_view_is_accessible_and_fits(visit: Visit, model: str, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = visit(f"#/{model}/run", color_scheme=scheme, viewport={"width": width, "height": 800})
    page.locator(".card").wait_for()
    page.locator(".plot .curve").first.wait_for()
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in {"serious", "critical"}] == [], found
    assert page.evaluate("document.documentElement.scrollWidth") <= width
