"""The page: its files, served from a table that is made once, so no path comes from a client."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

from qkv.errors import DataError

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFile:
    """A file of the page: its bytes, their type, and a tag that changes with them."""

    content: bytes
    media_type: str
    tag: str


def read_page() -> dict[str, PageFile]:
    """Every file of the page by its name below this package, such as `views/images.js`.

    Raises:
        DataError: the installation has no page.
    """
    folder = Path(__file__).parent
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in _TYPES and path.is_file():
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            name = path.relative_to(folder).as_posix()
            files[name] = PageFile(content, _TYPES[path.suffix], tag)
    if "index.html" not in files:
        raise DataError(
            f"the page is not in {folder}", remedy="install qkv again, with its data files"
        )
    return files


_FILES = read_page()
router = APIRouter(include_in_schema=False)


@router.get("/")
@router.get("/page/{name:path}")
async def file(request: Request, name: str = "index.html") -> Response:
    """The page itself, or one of its files; a name is only ever a key of the table."""
    found = _FILES.get(name)
    if found is None:
        raise HTTPException(404, "the page has no such file")
    # A browser asks every time whether its copy still holds: an upgrade shows at once, and an
    # answer without a body costs next to nothing.
    headers = {"ETag": found.tag, "Cache-Control": "no-cache"}
    asked = request.headers.get("If-None-Match", "")
    if found.tag in {tag.strip().removeprefix("W/") for tag in asked.split(",")}:
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media_type)
