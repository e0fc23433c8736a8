"""The page's files over HTTP: types, tags, and nothing but what is in the table."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from qkv.serving.page import read_page, router

FILES = read_page()
IMPORT = re.compile(r"""(?:from|import)\s*\(?\s*["'](\.[^"']+)["']""")


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    app.include_router(router)
    return TestClient(app)


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_file_is_served_with_its_type_and_is_asked_for_again(
    client: TestClient, name: str
) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 200
    assert answer.content == FILES[name].content
    assert answer.headers["content-type"] == FILES[name].media_type
    again = client.get(f"/page/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_index_is_at_the_root(client: TestClient) -> None:
    assert client.get("/").content == FILES["index.html"].content


@pytest.mark.parametrize(
    "name", ["nothing.js", "../app.py", "%2e%2e/app.py", "..%2f..%2fapp.py", "__init__.py", ""]
)
def test_what_is_no_file_of_the_page_is_not_found(client: TestClient, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 404


def test_all_that_the_page_asks_for_is_there() -> None:
    html = FILES["index.html"].content.decode()
    for address in re.findall(r"""(?:src|href)="(/page/[^"]+)\"""", html):
        assert address.removeprefix("/page/") in FILES
    for name, file in FILES.items():
        if not name.endswith(".js"):
            continue
        folder = name.split("/")[:-1]
        for relative in IMPORT.findall(file.content.decode()):
            parts = list(folder)
            for step in relative.split("/"):
                if step == "..":
                    parts.pop()
                elif step != ".":
                    parts.append(step)
            assert "/".join(parts) in FILES, f"{name} imports {relative}"


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_file_asks_anyone_else(name: str) -> None:
    for address in re.findall(rb"https?://[^\s\"'<>)]+", FILES[name].content):
        assert address.startswith(b"http://www.w3.org/"), address


def test_the_page_has_no_inline_script_or_style() -> None:
    html = FILES["index.html"].content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert "style=" not in html
    assert "<style" not in html
