"""The view of words, in a real browser: type, explain, point."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

Visit = Callable[..., "Page"]
A_TEXT = "a good film with a dull end"


@pytest.fixture
def page(visit: Visit) -> Page:
    page = visit("#/reviews/words")
    page.wait_for_function("() => document.querySelector('textarea')?.value.length > 0")
    return page


def explain(page: Page, text: str) -> None:
    page.locator("textarea").fill(text)
    with page.expect_response(lambda response: "/explain" in response.url):
        page.get_by_role("button", name="Explain", exact=True).click()
    page.wait_for_function(
        "(text) => [...document.querySelectorAll('.words .word')].map((w) => w.textContent)"
        ".join(' ') === text.split(' ').join(' ')",
        arg=text,
    )


def test_typing_is_answered(page: Page) -> None:
    with page.expect_response(lambda response: "/predict" in response.url) as asked:
        page.locator("textarea").press_sequentially(" good", delay=10)
    assert asked.value.status == 200
    assert len(asked.value.json()) == 3


def test_words_are_shaded_by_what_they_contribute(page: Page) -> None:
    explain(page, A_TEXT)
    strengths = page.locator(".words .word").evaluate_all(
        "(words) => words.map((one) => +getComputedStyle(one).getPropertyValue('--strength'))"
    )
    assert len(strengths) == 7
    assert max(strengths) > 0.9
    page.locator(".faithfulness").wait_for()
    assert "at random leaves" in page.locator(".faithfulness").inner_text()


def test_a_word_tells_its_number_when_pointed_at_and_by_the_keyboard(page: Page) -> None:
    explain(page, A_TEXT)
    page.locator(".words .word").nth(1).hover()
    first = page.locator(".tip").inner_text()
    assert any(character.isdigit() for character in first)
    page.locator(".words .word[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.locator(".tip").wait_for()


def test_attention_of_a_word(page: Page) -> None:
    explain(page, A_TEXT)
    with page.expect_response(lambda response: "/attention" in response.url) as asked:
        page.get_by_role("radio", name="Where it attends").check()
    assert asked.value.status == 200
    page.locator(".words.takes, .reading .takes").first.wait_for()
    before = page.locator(".reading").get_attribute("data-painted")
    page.locator(".words .word").nth(3).hover()
    page.wait_for_function(
        "(before) => document.querySelector('.reading').dataset.painted !== before", arg=before
    )


def test_markup_in_a_text_is_text(page: Page) -> None:
    text = "<img src=x onerror=alert(1)> <b>bold</b>"
    page.locator("textarea").fill(text)
    with page.expect_response(lambda response: "/explain" in response.url):
        page.get_by_role("button", name="Explain", exact=True).click()
    page.wait_for_function(
        "(text) => document.querySelector('.words')?.textContent === text", arg=text
    )
    assert page.locator(".words img, .words b").count() == 0


def test_a_server_that_has_gone_is_told(visit: Visit) -> None:
    page = visit("#/reviews/words", expect_errors=True)
    page.wait_for_function("() => document.querySelector('textarea')?.value.length > 0")
    page.context.set_offline(True)
    page.locator("textarea").fill("a text that nobody answers")
    page.wait_for_function(
        "() => [...document.querySelectorAll('[role=alert]')].some((a) => a.textContent.trim())"
    )
