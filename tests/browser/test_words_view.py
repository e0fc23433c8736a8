"""The view of words, in a real browser: type, explain, point."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request, Route

Visit = Callable[..., "Page"]
A_TEXT = "a good film with a dull end"
LONG_TEXT = " ".join(f"word{number}" for number in range(70))
TOLD = "() => [...document.querySelectorAll('[role=alert]')].some((a) => a.textContent.trim())"
STRENGTHS = "(words) => words.map((one) => +getComputedStyle(one).getPropertyValue('--strength'))"
AGAINST = "(words) => words.map((one) => one.classList.contains('against'))"
# Shades go by steps of 1/40; of attention by a power, so that small shares show.
STEP, BEND = 1 / 40, 0.6
READABLE = 4.5
HOVER_MILLISECONDS = 100


@pytest.fixture
def page(visit: Visit) -> Page:
    page = visit("#/reviews/words")
    page.locator(".words .word").first.wait_for()
    return page


@pytest.fixture
def failing_page(visit: Visit) -> Page:
    page = visit("#/reviews/words", expect_errors=True)
    page.locator(".words .word").first.wait_for()
    return page


def wait_for_text(page: Page, text: str) -> None:
    """Until the text is shown word by word."""
    page.wait_for_function(
        "(text) => document.querySelector('.words[role]')?.textContent === text", arg=text
    )


def explain(page: Page, text: str) -> dict[str, Any]:
    """Explains a text by the button; the server's answer."""
    page.locator("textarea").fill(text)
    with page.expect_response(lambda response: "/explain" in response.url) as asked:
        page.get_by_role("button", name="Explain", exact=True).click()
    wait_for_text(page, text)
    answer: dict[str, Any] = asked.value.json()
    return answer


def attention(page: Page, choose: str = "Where it attends") -> dict[str, Any]:
    with page.expect_response(lambda response: "/attention" in response.url) as asked:
        page.get_by_role("radio", name=choose).check()
    answer: dict[str, Any] = asked.value.json()
    painted = f"{answer['layer']}/{answer['head']}/all"
    page.locator(f".reading[data-painted='{painted}']").wait_for()
    return answer


def refuse(page: Page, address: str, status: int, problem: str, remedy: str) -> None:
    """Lets every request to an address end in a refusal."""
    body = json.dumps({"error": problem, "remedy": remedy})
    page.route(
        address,
        lambda route: route.fulfill(status=status, body=body, content_type="application/json"),
    )


def told(page: Page) -> str:
    page.wait_for_function(TOLD)
    return page.get_by_role("alert").first.inner_text()


def test_typing_is_answered_by_live_bars(page: Page) -> None:
    shown = page.locator(".text-answer .bars")
    with page.expect_response(lambda response: _input(response.request).endswith(" good")) as asked:
        page.locator("textarea").press_sequentially(" good", delay=10)
    scores = {one["label"]: one["score"] for one in asked.value.json()}
    assert set(scores) == {"bad", "fine", "good"}
    best = max(scores, key=lambda name: scores[name])
    page.wait_for_function(
        "(best) => document.querySelector('.bars .top .bar-name').textContent === best", arg=best
    )
    assert f"{100 * scores[best]:.0f} %" in shown.locator(".top").inner_text()


def test_only_the_latest_of_many_letters_is_answered(page: Page) -> None:
    text = "a great book"
    asked: list[str] = []
    page.on("request", lambda request: asked.append(_input(request)))
    page.locator("textarea").fill("")
    with page.expect_response(lambda response: _input(response.request) == text):
        page.locator("textarea").press_sequentially(text, delay=5)
    assert len([one for one in asked if one]) < len(text) / 2


def test_an_older_answer_never_comes_after_a_newer(page: Page) -> None:
    held: list[Route] = []
    page.route("**/predict?*", lambda route: held.append(route) if not held else route.continue_())
    page.locator("textarea").fill("bad")
    page.wait_for_function("() => document.querySelector('.bars[aria-busy]')")
    with page.expect_response(lambda response: _input(response.request) == "a great book"):
        page.locator("textarea").fill("a great book")
    page.wait_for_function("() => !document.querySelector('.bars[aria-busy]')")
    shown = page.locator(".bars").inner_text()
    held[0].fulfill(json=[{"label": name, "score": 1 / 3} for name in ("bad", "fine", "good")])
    page.wait_for_timeout(200)
    assert page.locator(".bars").inner_text() == shown


def _input(request: Request) -> str:
    """The text that a request asks about; empty if it asks about none."""
    text: str = json.loads(request.post_data or "{}").get("inputs", "")
    return text


def test_a_short_text_is_explained_after_a_pause(page: Page) -> None:
    with page.expect_response(lambda response: "/explain" in response.url):
        page.locator("textarea").fill(A_TEXT)
    wait_for_text(page, A_TEXT)


def test_a_long_text_waits_for_the_button(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("textarea").fill(LONG_TEXT)
    page.get_by_text("Press Explain").wait_for()
    assert page.locator(".words").inner_text() == LONG_TEXT
    assert page.locator(".words .word").count() == 0
    assert [url for url in asked if "/explain" in url] == []


def test_words_are_shaded_by_what_they_contribute(page: Page) -> None:
    answer = explain(page, A_TEXT)
    words = page.locator(".words .word")
    assert words.all_inner_texts() == A_TEXT.split()
    contributions = np.array(answer["contributions"])
    expected = np.abs(contributions) / np.abs(contributions).max()
    assert np.allclose(words.evaluate_all(STRENGTHS), expected, atol=STEP)
    against = np.array(words.evaluate_all(AGAINST))
    assert np.array_equal(against, (contributions < 0) & (expected > STEP / 2))
    legend = page.locator(".legend").inner_text()
    assert f"for “{answer['label']}”" in legend
    assert f"{np.abs(contributions).max():.2f}" in legend
    assert "at random leaves" in page.locator(".faithfulness").inner_text()


def test_a_word_tells_its_number_when_pointed_at_and_by_the_keyboard(page: Page) -> None:
    answer = explain(page, A_TEXT)
    numbers = [f"{value:+.2f}".replace("-", "−") for value in answer["contributions"]]
    page.locator(".words .word").nth(1).hover()
    assert page.locator(".tip").inner_text() == numbers[1]
    page.mouse.move(0, 0)
    assert page.locator(".tip").is_hidden()
    page.locator(".words .word[tabindex='0']").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".tip").inner_text() == numbers[-2]
    assert numbers[-2] in page.locator(".reading-said").inner_text()
    assert page.locator(".words .word[tabindex='0']").all_inner_texts() == ["dull"]


def test_a_word_that_was_touched_keeps_telling(visit: Visit) -> None:
    page = visit("#/reviews/words", has_touch=True, viewport={"width": 390, "height": 800})
    page.locator(".words .word").first.wait_for()
    explain(page, A_TEXT)
    for word in (1, 4):
        page.locator(".words .word").nth(word).tap()
        page.locator(f".reading[data-painted$='/{word}']").wait_for()
        page.wait_for_timeout(100)
        assert page.locator(".tip").is_visible()
    page.locator(".reading h2").tap()
    page.locator(".reading[data-painted$='/all']").wait_for()


def test_arrows_lead_to_the_line_above_and_below(page: Page) -> None:
    explain(page, " ".join(["a", "longer", "word", "or", "so"] * 11))
    page.locator(".words .word").nth(3).focus()
    middle = """() => {
      const { x, y, width } = document.activeElement.getBoundingClientRect();
      return [x + width / 2, y];
    }"""
    x, y = page.evaluate(middle)
    page.keyboard.press("ArrowDown")
    below_x, below_y = page.evaluate(middle)
    assert 20 < below_y - y < 60
    assert abs(below_x - x) < 60
    page.keyboard.press("ArrowUp")
    assert page.evaluate(middle)[1] == pytest.approx(y, abs=1)


def test_a_method_and_a_class_are_chosen(page: Page) -> None:
    explain(page, A_TEXT)
    with page.expect_response(lambda response: "method=occlusion" in response.url):
        page.get_by_label("Method").select_option("occlusion")
    page.locator(".reading[data-painted^='occlusion/']").wait_for()
    with page.expect_response(lambda response: "label=fine" in response.url) as asked:
        page.locator(".reading").get_by_label("Explain").select_option("fine")
    assert asked.value.json()["label"] == "fine"
    page.get_by_text("for “fine”").first.wait_for()


def test_attention_of_a_word_is_drawn_without_a_request(page: Page) -> None:
    explain(page, A_TEXT)
    answer = attention(page)
    size = len(answer["words"])
    halves = np.frombuffer(base64.b64decode(answer["matrix"]), "<f2").astype(float)
    matrix = halves.reshape(size, size)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    words = page.locator(".words .word")
    for word in (3, 5):
        words.nth(word).hover()
        page.locator(f".reading[data-painted$='/{word}']").wait_for()
        expected = (matrix[word] / matrix[word].max()) ** BEND
        assert np.allclose(words.evaluate_all(STRENGTHS), expected, atol=STEP)
    most = A_TEXT.split()[int(matrix[5].argmax())]
    assert f"“dull” attends most to “{most}”" in page.locator(".reading-said").inner_text()
    assert requests == []


def test_a_word_is_kept_by_a_click_and_by_enter(page: Page) -> None:
    explain(page, A_TEXT)
    attention(page)
    page.locator(".words .word").nth(2).click()
    page.mouse.move(0, 0)
    page.locator(".reading[data-painted$='/2']").wait_for()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator("textarea").focus()
    page.locator(".reading[data-painted$='/3']").wait_for()


def test_the_pool_and_the_layers_are_shown(page: Page) -> None:
    explain(page, A_TEXT)
    attention(page)
    pool = attention(page, "Pool")
    words = page.locator(".words .word")
    weights = np.array(pool["weights"])
    expected = (weights / weights.max()) ** BEND
    assert np.allclose(words.evaluate_all(STRENGTHS), expected, atol=STEP)
    words.nth(1).hover()
    assert page.locator(".tip").inner_text().endswith("%")


def test_the_layers_are_played_once_through(page: Page, served: Any) -> None:
    explain(page, A_TEXT)
    attention(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    play = page.get_by_role("button", name="Play the layers")
    play.click()
    page.get_by_role("button", name="Stop", exact=True).wait_for()
    play.wait_for()
    layers = httpx.get(f"{served.url}/v1/models/reviews", timeout=30).json()["attention"]["layers"]
    assert [httpx.URL(url).params["layer"] for url in asked] == [str(one) for one in layers[1:]]
    page.locator(f".reading[data-painted='{layers[-1]}/mean/all']").wait_for()


def test_an_address_of_no_test_text_is_told(visit: Visit) -> None:
    page = visit("#/reviews/words?example=99999", expect_errors=True)
    assert "99999" in told(page)
    page.wait_for_timeout(300)
    assert "99999" in told(page)


def test_a_test_example_is_chosen_and_opened_by_its_address(visit: Visit, served: Any) -> None:
    example = httpx.get(f"{served.url}/v1/models/reviews/examples/3", timeout=30).json()
    page = visit("#/reviews/words?example=3")
    page.wait_for_function(
        "(text) => document.querySelector('textarea')?.value === text", arg=example["text"]
    )
    wait_for_text(page, example["text"])
    assert f"true class {example['label']}" in page.locator(".text-answer").inner_text()
    other = page.locator(".text-entry[data-index='1']")
    other.click()
    text = httpx.get(f"{served.url}/v1/models/reviews/examples/1", timeout=30).json()["text"]
    wait_for_text(page, text)
    assert other.get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=alert(1)> <b>bold</b>", "😀 a good film 🎬 and\n\na bad end 😀"]
)
def test_whatever_is_in_a_text_is_text(page: Page, text: str) -> None:
    answer = explain(page, text)
    assert page.locator(".words img, .words b").count() == 0
    assert page.locator(".words .word").evaluate_all("(all) => all.map((w) => w.textContent)") == [
        word["text"] for word in answer["words"]
    ]


def test_what_takes_long_can_be_stopped(page: Page) -> None:
    held: list[Route] = []
    page.route("**/explain?*", lambda route: held.append(route))
    page.locator("textarea").fill(LONG_TEXT)
    page.get_by_role("button", name="Explain", exact=True).click()
    page.get_by_role("status").get_by_text("Explaining").wait_for()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_text("Stopped. Press Explain to try again.").wait_for()
    page.unroute("**/explain?*")
    explain(page, A_TEXT)


def test_a_busy_server_is_told_and_forgotten(failing_page: Page) -> None:
    refuse(failing_page, "**/explain?*", 429, "too many wait", "try again in a moment")
    failing_page.locator("textarea").fill(A_TEXT)
    failing_page.get_by_role("button", name="Explain", exact=True).click()
    assert told(failing_page) == "too many wait; try again in a moment"
    failing_page.unroute("**/explain?*")
    explain(failing_page, A_TEXT)
    assert failing_page.get_by_role("alert").first.is_hidden()


def test_a_text_that_is_too_long_is_told(failing_page: Page) -> None:
    failing_page.locator("textarea").fill("word " * 20_001)
    assert "100" in told(failing_page)


def test_a_server_that_has_gone_is_told(failing_page: Page) -> None:
    failing_page.context.set_offline(True)
    failing_page.locator("textarea").fill("a text that nobody answers")
    assert told(failing_page) == "The server does not answer; is it still running?"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stays_readable_on_every_shade(visit: Visit, scheme: str) -> None:
    page = visit("#/reviews/words", color_scheme=scheme)
    page.locator(".words .word").first.wait_for()
    contrasts = page.evaluate(
        """() => {
          const canvas = document.createElement('canvas');
          const context = canvas.getContext('2d', { willReadFrequently: true });
          const line = document.querySelector('.words');
          const panel = getComputedStyle(document.querySelector('.reading')).backgroundColor;
          const luminance = (...layers) => {
            for (const colour of layers) {
              context.fillStyle = colour;
              context.fillRect(0, 0, 1, 1);
            }
            const [red, green, blue] = [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)]
              .map((byte) => byte / 255)
              .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
          };
          const word = document.createElement('span');
          line.append(word);
          const found = [];
          for (const kind of ['word shade', 'word shade against', 'takes']) {
            line.classList.toggle('takes', kind === 'takes');
            word.className = kind === 'takes' ? 'word shade' : kind;
            for (const strength of [0, 0.25, 0.5, 0.75, 1]) {
              word.style.setProperty('--strength', strength);
              const style = getComputedStyle(word);
              const ink = luminance(style.color);
              const paper = luminance(panel, style.backgroundColor);
              found.push((Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05));
            }
          }
          return found;
        }"""
    )
    assert len(set(np.round(contrasts, 3))) > 12
    assert min(contrasts) >= READABLE


def test_512_words_stay_quick_to_point_at(page: Page) -> None:
    text = " ".join(f"w{number}" for number in range(512))
    ends = np.cumsum([len(word) + 1 for word in text.split()]) - 1
    words = [
        {"text": word, "start": int(end) - len(word), "end": int(end)}
        for word, end in zip(text.split(), ends, strict=True)
    ]
    matrix = np.random.default_rng(0).dirichlet(np.full(512, 0.1), 512).astype("<f2")
    answer = {
        "layer": 1,
        "head": "mean",
        "query": None,
        "words": words,
        "matrix": base64.b64encode(matrix.tobytes()).decode(),
    }
    page.route("**/attention?*", lambda route: route.fulfill(json=answer))
    page.get_by_role("radio", name="Where it attends").check()
    page.locator("textarea").fill(text)
    wait_for_text(page, text)
    times = page.evaluate(
        """async () => {
          const words = [...document.querySelectorAll('.words .word')];
          const times = [];
          for (let turn = 0; turn < 40; turn += 1) {
            const word = words[(turn * 131) % words.length];
            const before = performance.now();
            word.dispatchEvent(new PointerEvent('pointerover', { bubbles: true }));
            // After the frame that shows it: a message follows what the frame does.
            await new Promise((done) => requestAnimationFrame(() => {
              const { port1, port2 } = new MessageChannel();
              port1.onmessage = done;
              port2.postMessage(null);
            }));
            times.push(performance.now() - before);
          }
          return times.sort((one, other) => one - other);
        }"""
    )
    print(f"word to drawn attention {times[20]:.1f} ms, at most {times[-1]:.1f} ms")  # noqa: T201
    assert page.locator(".words .word").count() == 512
    assert times[20] < HOVER_MILLISECONDS
