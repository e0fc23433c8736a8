"""What is around the views, in a real browser: keys, models, addresses; an image's ways in."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Visit = Callable[..., "Page"]
KEY = "the-right-key-of-this-server"
PAINTED = ".attention[data-painted]"
EXPLAINED = ".explanation[data-painted]"
# A file that arrives as from outside: "paste" and "drop" carry it in properties of other names.
GIVE_FILE = """([kind, name, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  const given = { bubbles: true, cancelable: true };
  document.querySelector(".panel").dispatchEvent(
    kind === "paste"
      ? new ClipboardEvent("paste", { ...given, clipboardData: transfer })
      : new DragEvent(kind, { ...given, dataTransfer: transfer }),
  );
}"""


def png(colour: tuple[int, int, int]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), colour, np.uint8)).save(content, "PNG")
    return content.getvalue()


def upload(page: Page, name: str, content: bytes) -> None:
    page.get_by_role("radio", name="A file").check()
    page.locator("input[type=file]").set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": content}
    )


def give(page: Page, kind: str, name: str, content: bytes) -> None:
    page.evaluate(GIVE_FILE, [kind, name, base64.b64encode(content).decode()])


def scores_shown(page: Page) -> dict[str, str]:
    """The share that each class is shown with."""
    shares: dict[str, str] = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll('.bars li')].map((row) =>
             [row.querySelector('.bar-name').textContent,
              row.querySelector('.bar-value').textContent]))"""
    )
    return shares


def pixels_shown(page: Page) -> list[str]:
    """The canvases of attention and explanation, each as the address of its picture."""
    pictures: list[str] = page.evaluate(
        "() => [...document.querySelectorAll('.image-view canvas')].map((one) => one.toDataURL())"
    )
    return pictures


def expected_scores(answer: list[dict[str, Any]]) -> dict[str, float]:
    return {one["label"]: 100 * one["score"] for one in answer}


def assert_shown(page: Page, answer: list[dict[str, Any]], name: str) -> None:
    """That the page shows an answer, with the name of its image, and explains it."""
    page.locator(".answer").get_by_text(name).wait_for()
    page.locator(EXPLAINED).wait_for()
    shown = scores_shown(page)
    for label, score in expected_scores(answer).items():
        assert float(shown[label].strip(" >%")) == pytest.approx(score, abs=0.51)


@pytest.fixture
def images(visit: Visit) -> Page:
    page = visit("#/colours/images")
    settle(page)
    return page


def settle(page: Page) -> None:
    """Until nothing of an image is still under way."""
    page.locator(PAINTED).wait_for()
    page.locator(".faithfulness").wait_for()
    page.wait_for_function("() => !document.querySelector('main [aria-busy]')")


@pytest.fixture
def locked_page(
    browser: Browser, serve: Callable[..., Any], vision_run: Path, tmp_path: Path
) -> Iterator[Page]:
    """A page of a server that asks for a key."""
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n", "utf-8")
    keys.chmod(0o600)
    server = serve(vision_run, "--api-key-file", keys)
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(server.view(""))
    yield page
    context.close()


def test_a_key_is_asked_for_until_one_is_right(locked_page: Page) -> None:
    page = locked_page
    dialog = page.get_by_role("dialog")
    field = dialog.get_by_label("Key")
    field.wait_for()
    assert dialog.get_by_role("alert").is_hidden()
    field.fill("a-wrong-key-of-this-server")
    field.press("Enter")
    refused = dialog.get_by_role("alert")
    refused.wait_for()
    assert "did not accept" in refused.inner_text()
    assert field.input_value() == ""
    field.fill(KEY)
    dialog.get_by_role("button", name="Use this key").click()
    settle(page)
    assert dialog.is_hidden()
    assert page.locator("#notice").is_hidden()
    # Pictures need the key as well.
    page.wait_for_function("() => document.querySelector('.tiles img').naturalWidth > 0")
    page.reload()
    settle(page)
    assert dialog.is_hidden()


def test_without_a_key_the_page_says_what_to_do(locked_page: Page) -> None:
    page = locked_page
    page.get_by_role("dialog").get_by_role("button", name="Not now").click()
    page.locator("#notice").wait_for()
    told = page.locator("#notice").inner_text()
    assert "asks for a key" in told
    assert "Authorization" not in told
    page.reload()
    page.get_by_role("dialog").get_by_label("Key").wait_for()


def test_a_key_that_no_longer_holds_is_asked_for_anew(locked_page: Page) -> None:
    page = locked_page
    field = page.get_by_role("dialog").get_by_label("Key")
    field.fill(KEY)
    field.press("Enter")
    settle(page)
    page.evaluate("() => sessionStorage.setItem('qkv-key', 'the-key-before-a-restart')")
    page.locator(".tiles > *").nth(1).click()
    page.get_by_role("dialog").get_by_role("alert").wait_for()
    with page.expect_response(lambda response: "/predict" in response.url) as asked:
        field.fill(KEY)
        field.press("Enter")
    assert asked.value.status == 200
    page.locator(".tiles > [aria-selected=true]").wait_for()


def test_a_key_of_letters_that_no_key_has_is_asked_for_again(locked_page: Page) -> None:
    dialog = locked_page.get_by_role("dialog")
    field = dialog.get_by_label("Key")
    field.fill("schlüssel-für-日本")
    field.press("Enter")
    dialog.get_by_role("alert").wait_for()
    assert locked_page.locator("#notice").is_hidden()
    field.fill(KEY)
    field.press("Enter")
    settle(locked_page)
    assert dialog.is_hidden()


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_an_image_is_pasted_or_dropped(images: Page, kind: str) -> None:
    before = pixels_shown(images)
    if kind == "drop":
        give(images, "dragover", "red.png", png((210, 30, 30)))
        assert images.locator("body.dropping").count() == 1
    with images.expect_response(lambda response: "/predict" in response.url) as asked:
        give(images, kind, "red.png", png((210, 30, 30)))
    answer = asked.value.json()
    assert max(answer, key=lambda one: one["score"])["label"] == "red"
    assert_shown(images, answer, "red.png")
    assert images.locator("body.dropping").count() == 0
    assert images.locator(".tiles [aria-selected=true]").count() == 0
    assert all(now != then for now, then in zip(pixels_shown(images), before, strict=True))


def test_what_is_no_image_is_refused_when_pasted(images: Page) -> None:
    before = scores_shown(images)
    images.evaluate(
        """() => {
          const transfer = new DataTransfer();
          transfer.items.add(new File(["a, b"], "table.csv", { type: "text/csv" }));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer }));
        }"""
    )
    assert "no image" in images.locator("#notice").inner_text()
    assert scores_shown(images) == before


def test_a_broken_file_leaves_the_earlier_result(visit: Visit) -> None:
    page = visit("#/colours/images", expect_errors=True)
    settle(page)
    with page.expect_response(lambda response: "/predict" in response.url) as asked:
        upload(page, "green.png", png((30, 190, 60)))
    assert_shown(page, asked.value.json(), "green.png")
    settle(page)
    scores, pictures = scores_shown(page), pixels_shown(page)
    faith = page.locator(".faithfulness").inner_text()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    upload(page, "broken.png", b"\x89PNG\r\n\x1a\nnothing")
    page.locator("#notice").wait_for()
    told = page.locator("#notice").inner_text()
    assert "\n" not in told
    assert len(told) < 200
    page.wait_for_function("() => !document.querySelector('.bars[aria-busy]')")
    assert scores_shown(page) == scores
    assert pixels_shown(page) == pictures
    assert page.locator(".faithfulness").inner_text() == faith
    page.locator(".answer").get_by_text("green.png").wait_for()
    assert page.get_by_text("broken.png").count() == 0
    assert len(requests) == 1, requests
    with page.expect_response(lambda response: "/predict" in response.url) as again:
        upload(page, "blue.png", png((30, 30, 200)))
    assert_shown(page, again.value.json(), "blue.png")
    assert page.locator("#notice").is_hidden()


def test_the_layers_are_played_once_through(images: Page) -> None:
    images.evaluate(
        """() => {
          window.layers = [];
          const section = document.querySelector('.attention');
          new MutationObserver(() => window.layers.push(section.dataset.painted.split('/')[0]))
            .observe(section, { attributeFilter: ['data-painted'] });
        }"""
    )
    play = images.get_by_role("button", name="Play the layers")
    play.click()
    images.get_by_role("button", name="Stop", exact=True).wait_for()
    images.locator(f"{PAINTED}[data-painted^='0/']").wait_for()
    images.locator(f"{PAINTED}[data-painted^='1/']").wait_for()
    play.wait_for()
    images.wait_for_timeout(1000)
    assert images.evaluate("() => window.layers") == ["0", "1"]
    chosen = images.locator(".attention fieldset", has_text="Layer").locator("input:checked")
    assert chosen.input_value() == "1"


def test_playing_stops_when_asked(images: Page) -> None:
    images.get_by_role("button", name="Play the layers").click()
    images.locator(f"{PAINTED}[data-painted^='0/']").wait_for()
    images.get_by_role("button", name="Stop", exact=True).click()
    images.wait_for_timeout(1000)
    assert images.locator(f"{PAINTED}[data-painted^='0/']").count() == 1


def test_who_wants_less_motion_turns_the_layers_by_hand(visit: Visit) -> None:
    page = visit("#/colours/images", reduced_motion="reduce")
    page.locator(f"{PAINTED}[data-painted^='1/']").wait_for()
    button = page.get_by_role("button", name="Next layer")
    for layer in (0, 1):
        button.click()
        page.locator(f"{PAINTED}[data-painted^='{layer}/']").wait_for()


def test_views_are_reached_by_the_keyboard_alone(images: Page) -> None:
    images.evaluate("() => document.activeElement.blur()")
    for name, view in (("Report", "run"), ("Studies", "studies"), ("Images", "images")):
        for _ in range(20):
            images.keyboard.press("Tab")
            if images.evaluate("() => document.activeElement.textContent") == name:
                break
        images.keyboard.press("Enter")
        images.locator(f".view-{view}").wait_for()
        assert images.evaluate("() => document.activeElement.id") == "view"
        assert images.locator("#nav [aria-current=page]").inner_text() == name
        images.evaluate("() => document.querySelector('.skip').focus()")


def test_the_skip_link_leads_to_the_content_of_this_view(visit: Visit) -> None:
    page = visit("#/colours/run")
    page.locator(".view-run h1").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.id") == "view"
    assert page.url.endswith("#/colours/run")


@pytest.mark.parametrize("name", ["nobody", "50%", "<b>bold"])
def test_an_unknown_model_is_told_and_others_are_offered(visit: Visit, name: str) -> None:
    page = visit(f"#/{name}/images")
    page.locator("#notice").wait_for()
    assert f"no model “{name}”" in page.locator("#notice").inner_text()
    assert page.locator("main li a").all_inner_texts() == ["colours", "reviews"]
    page.locator("main").get_by_role("link", name="reviews").click()
    page.locator(".view-words textarea").wait_for()
    assert page.locator("#notice").is_hidden()
    page.go_back()
    page.locator("main li a").first.wait_for()
    page.locator("#model").select_option("colours")
    page.locator(PAINTED).wait_for()


def test_a_view_of_another_task_gives_way_to_its_own(visit: Visit) -> None:
    page = visit("#/colours/words")
    page.locator(PAINTED).wait_for()
    assert page.locator("#nav [aria-current=page]").inner_text() == "Images"


def test_runs_are_switched_and_the_view_is_kept(visit: Visit) -> None:
    page = visit("#/colours/images")
    settle(page)
    chosen = page.locator("#model")
    chosen.select_option("reviews")
    page.locator(".words .word").first.wait_for()
    assert page.locator("h1").inner_text() == "reviews"
    assert page.locator(".bars .bar-name").all_inner_texts() == ["bad", "fine", "good"]
    page.locator("#nav").get_by_role("link", name="Report").click()
    page.locator(".view-run h1").wait_for()
    chosen.select_option("colours")
    page.wait_for_function("() => document.title.includes('colours')")
    assert page.url.endswith("#/colours/run")
    assert "reviews" not in page.locator("main").inner_text()
    page.go_back()
    page.wait_for_function("() => document.title.includes('reviews')")
    assert chosen.input_value() == "reviews"
    assert page.locator(".view").count() == 1
