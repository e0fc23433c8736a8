"""A real `qkv serve` over two tiny runs, and a real browser that looks at it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

import qkv
from qkv.training.recipe import load_recipe
from small_reviews import write_reviews
from tiny_bert import tiny_bert

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# Debian, Fedora, Arch and Ubuntu call it differently.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
)
COLOURS = {"blue": (40, 40, 200), "green": (40, 190, 60), "red": (200, 40, 40)}
STARTED_WITHIN_SECONDS = 120


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    process: subprocess.Popen[str]

    def view(self, hash_: str) -> str:
        """The address of a view, such as `#/photos/images`."""
        return f"{self.url}/{hash_}"


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where the browser lies."""
    path = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if path is None or find_spec("playwright") is None:
        pytest.skip(
            "NO BROWSER, so the page goes untested. Install Chromium (`apt-get install chromium`) "
            "and Playwright (`pip install playwright`), and test again."
        )
    return path


# Not of the session: Playwright's event loop counts as running until it ends, and the other
# tests of the same process could start none.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser
        browser.close()


def _photo(folder: Path, colour: tuple[int, int, int], seed: int) -> None:
    """A noisy square of a colour, brighter in its upper left quarter."""
    noise = np.random.default_rng(seed).integers(-30, 30, (16, 16, 3))
    pixels = np.array(colour) + noise
    pixels[:8, :8] += 40
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{seed}.png")


@pytest.fixture(scope="session")
def vision_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Colours told apart by a ViT of 4 × 4 patches, two layers and two heads."""
    folder = tmp_path_factory.mktemp("browser-images")
    for number, (name, colour) in enumerate(COLOURS.items()):
        for seed in range(30):
            _photo(folder / "photos" / name, colour, 100 * number + seed)
    changes = [
        "model.dim=16",
        "model.depth=2",
        "model.num_heads=2",
        "model.head_dim=8",
        "model.mlp_dim=32",
        "model.patch_size=4",
        "model.stem='linear'",
        "data.image_size=16",
        "training.batch_size=8",
        "training.epochs=3",
        "training.device='cpu'",
    ]
    recipe = load_recipe("vision", None, changes)
    return Path(qkv.train(recipe, out=folder / "colours", data=folder / "photos").path)


@pytest.fixture(scope="session")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews in three classes, by an attention head on a tiny BERT of random weights."""
    folder = tmp_path_factory.mktemp("browser-texts")
    bert = tiny_bert(folder / "bert")
    changes = [
        f'encoder.name="{bert}"',
        'encoder.layers="last"',
        "training.epochs=2",
        "training.batch_tokens=300",
        "training.device='cpu'",
    ]
    recipe = load_recipe("text", None, changes)
    table = write_reviews(folder / "reviews.csv")
    return Path(qkv.train(recipe, out=folder / "reviews", data=table).path)


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """Starts `qkv serve` with the given arguments, on a port that was free; ends it at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path) -> Served:
        log = tmp_path_factory.mktemp("serve") / "log.txt"
        command = [sys.executable, "-m", "qkv", "serve", *map(str, arguments), "--port", "0"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200"}
        with log.open("w", encoding="utf-8") as stream:
            process = subprocess.Popen(
                command, stdout=stream, stderr=subprocess.STDOUT, text=True, env=environment
            )
        started.append(process)
        return Served(_wait_until_ready(process, log), process)

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
    for process in started:
        assert process.wait(30) == 0, "the server did not end as it should"


def _wait_until_ready(process: subprocess.Popen[str], log: Path) -> str:
    """Its address, once it says that its models are warm."""
    deadline = time.monotonic() + STARTED_WITHIN_SECONDS
    while time.monotonic() < deadline:
        said = log.read_text("utf-8")
        assert process.poll() is None, f"the server ended at once: {said}"
        if found := re.search(r"http://[\w.\[\]:]+:\d+", said):
            try:
                if httpx.get(f"{found[0]}/readyz", timeout=5).status_code == 200:
                    return found[0]
            except httpx.TransportError:
                pass  # it said where it will be, and is not there yet
        time.sleep(0.1)
    raise AssertionError(f"the server was not ready in time: {log.read_text('utf-8')}")


@pytest.fixture(scope="session")
def served(chromium: str, serve: Callable[..., Served], vision_run: Path, text_run: Path) -> Served:
    """One server of both runs, for all tests that change nothing in it."""
    return serve(vision_run, text_run)


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Callable[..., Page]]:
    """Opens a view in a fresh browser context: `visit("#/colours/images", color_scheme="dark")`.

    A script error, a broken rule of the content policy and a request to anywhere but the server
    fail the test at its end.
    """
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def open_page(hash_: str = "", *, expect_errors: bool = False, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: problems.append(f"script error: {error}"))
        page.on("request", lambda request: _note_outside(request.url, served.url, problems))
        if not expect_errors:
            page.on("console", lambda line: _note_console(line, problems))
        page.goto(served.view(hash_))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems, problems


def _note_outside(url: str, server: str, problems: list[str]) -> None:
    if not url.startswith((server, "data:", "blob:")):
        problems.append(f"a request to {url}")


def _note_console(line: Any, problems: list[str]) -> None:
    if line.type == "error":
        problems.append(f"console: {line.text}")
