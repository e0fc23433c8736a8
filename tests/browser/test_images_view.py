"""The view of images, in a real browser: choose, upload, draw, point, explain."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

Visit = Callable[..., "Page"]
# On a busy machine; an idle one draws in a few milliseconds.
HOVER_MILLISECONDS, PAINT_MILLISECONDS = 500, 5000


def png(colour: tuple[int, int, int]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), colour, np.uint8)).save(content, "PNG")
    return content.getvalue()


def painted(page: Page) -> str:
    return page.locator(".attention").get_attribute("data-painted") or ""


@pytest.fixture
def page(visit: Visit) -> Page:
    page = visit("#/colours/images")
    page.locator(".attention[data-painted]").wait_for()
    return page


def answer(page: Page) -> str:
    return page.locator(".bars").first.inner_text()


def test_a_test_image_is_answered_and_explained(page: Page) -> None:
    page.locator(".tiles > *").nth(2).click()
    page.get_by_text("%").first.wait_for()
    assert "blue" in answer(page)
    page.locator(".faithfulness").wait_for()
    assert "at random leaves" in page.locator(".faithfulness").inner_text()
    assert page.locator(".faith-charts svg").count() == 2


def test_an_upload_is_answered(page: Page) -> None:
    page.get_by_role("radio", name="A file").check()
    page.locator("input[type=file]").set_input_files(
        {"name": "red.png", "mimeType": "image/png", "buffer": png((210, 30, 30))}
    )
    page.get_by_text("red.png").first.wait_for()
    page.wait_for_function("() => document.querySelector('.bars').textContent.includes('%')")


def test_a_broken_file_is_told_in_one_line(visit: Visit) -> None:
    page = visit("#/colours/images", expect_errors=True)
    page.locator(".attention[data-painted]").wait_for()
    page.get_by_role("radio", name="A file").check()
    page.locator("input[type=file]").set_input_files(
        {"name": "broken.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\nnothing"}
    )
    told = page.get_by_role("alert")
    page.wait_for_function(
        "() => [...document.querySelectorAll('[role=alert]')].some((a) => a.textContent.trim())"
    )
    assert "\n" not in told.first.inner_text().strip()


def test_a_drawing_is_answered(page: Page) -> None:
    page.get_by_role("radio", name="Drawing").check()
    pad = page.locator("canvas.pad, .pad canvas").first
    pad.wait_for()
    box = pad.bounding_box()
    assert box is not None
    with page.expect_response(lambda response: "/predict" in response.url) as asked:
        page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.6 * box["height"], steps=8)
        page.mouse.up()
    assert asked.value.status == 200


def test_pointing_at_a_patch_shows_where_it_attends_without_a_request(page: Page) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    before = painted(page)
    patch = page.locator(".attention [aria-label^='Patch ']").nth(5)
    patch.hover()
    page.wait_for_function(
        "() => document.querySelector('.attention').dataset.painted.endsWith('/5')"
    )
    assert painted(page) != before
    assert requests == []


def test_patches_are_reached_by_the_keyboard(page: Page) -> None:
    page.locator(".attention [aria-label^='Patch '][tabindex='0']").focus()
    first = painted(page)
    page.keyboard.press("ArrowRight")
    second = painted(page)
    page.keyboard.press("ArrowDown")
    assert len({first, second, painted(page)}) == 3


def test_layer_and_head_are_chosen(page: Page) -> None:
    layer = page.locator(".attention fieldset", has_text="Layer")
    head = page.locator(".attention fieldset", has_text="Head")
    layer.get_by_role("radio", name="1").check()
    page.locator(".attention[data-painted^='0/mean/']").wait_for()
    head.get_by_role("radio", name="2").check()
    page.locator(".attention[data-painted^='0/1/']").wait_for()


def test_another_method_explains(page: Page) -> None:
    page.locator(".faithfulness").wait_for()
    chosen = page.get_by_label("Method")
    with page.expect_response(lambda response: "method=rollout" in response.url) as asked:
        chosen.select_option("rollout")
    assert asked.value.json()["method"] == "rollout"


def test_a_method_that_owes_a_sum_says_by_how_much_it_misses(page: Page) -> None:
    page.locator(".faithfulness").wait_for()
    missed = page.get_by_text("Its contributions miss the sum they owe by")
    with page.expect_response(lambda response: "/explain" in response.url) as asked:
        page.get_by_label("Method").select_option("integrated-gradients")
    missed.wait_for()
    document = asked.value.json()
    assert document["completeness_gap"] is not None
    assert missed.inner_text().endswith(f" {document['unit']}.")


def test_first_paint_and_pointing_are_quick(visit: Visit) -> None:
    page = visit("#/colours/images")
    page.locator(".attention[data-painted]").wait_for()
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    hover = page.evaluate(
        """async () => {
            const section = document.querySelector('.attention');
            const patches = [...section.querySelectorAll('[aria-label^="Patch "]')];
            const times = [];
            for (const patch of patches) {
                const before = performance.now();
                const { left, top, width, height } = patch.getBoundingClientRect();
                const at = { bubbles: true, clientX: left + width / 2, clientY: top + height / 2 };
                patch.dispatchEvent(new PointerEvent('pointerover', at));
                patch.dispatchEvent(new PointerEvent('pointerenter', at));
                patch.dispatchEvent(new PointerEvent('pointermove', at));
                await new Promise(requestAnimationFrame);
                times.push(performance.now() - before);
            }
            return times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
        }"""
    )
    print(f"first paint {paint:.0f} ms, patch to drawn attention {hover:.1f} ms")  # noqa: T201
    assert paint < PAINT_MILLISECONDS
    assert hover < HOVER_MILLISECONDS


def test_a_test_image_is_opened_by_its_address(visit: Visit, served: Any) -> None:
    example = httpx.get(f"{served.url}/v1/models/colours/examples/3", timeout=30).json()
    page = visit("#/colours/images?example=3")
    page.get_by_text(f"test image 3, true class {example['label']}").wait_for()
    page.locator(".tiles [data-index='3'][aria-selected=true]").wait_for()
    assert page.locator(".tiles [aria-selected=true]").count() == 1


def test_an_address_of_no_test_image_is_told(visit: Visit) -> None:
    page = visit("#/colours/images?example=99999", expect_errors=True)
    page.locator("#notice").wait_for()
    assert "99999" in page.locator("#notice").inner_text()
    page.locator(".tiles > *").first.click()
    page.locator(".attention[data-painted]").wait_for()
    assert page.locator("#notice").is_hidden()


def test_only_mistakes_are_listed_and_the_choice_is_kept(page: Page, served: Any) -> None:
    chosen = page.locator(".tiles [aria-selected=true]").get_attribute("data-index")
    address = f"{served.url}/v1/models/colours/examples"
    wrong = httpx.get(f"{address}?wrong=true&limit=20", timeout=30).json()
    with page.expect_response(lambda response: "wrong=true" in response.url):
        page.get_by_label("Only mistakes").check()
    page.wait_for_function(
        "(count) => document.querySelectorAll('.tiles > *').length === count",
        arg=len(wrong["examples"]),
    )
    page.get_by_label("Only mistakes").uncheck()
    page.locator(f".tiles [data-index='{chosen}'][aria-selected=true]").wait_for()
