"""A hub of one repository on the loopback interface, in the few answers that a download needs."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class SmallHub:
    """Serves `files` of the repository `name`, whose branch main is at `COMMIT`."""

    def __init__(self, name: str, files: dict[str, bytes], kind: str = "model") -> None:
        self.name = name
        self.files = files
        self.kind = kind
        self.status = 200  # of every answer
        self.error_code: str | None = None  # the hub's own word for what is wrong
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(f"{self.command} {self.path}")
                outer.answer(self)

            do_HEAD = do_GET

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path
        api = f"/api/{self.kind}s/{self.name}"
        folder = f"{'' if self.kind == 'model' else f'/{self.kind}s'}/{self.name}/resolve/{COMMIT}/"
        name = path.removeprefix(folder)
        headers: dict[str, str] = {}
        status, body = 404, b""
        if self.status != 200:
            status = self.status
        elif path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            siblings = [{"rfilename": each} for each in self.files]
            status, body = (
                200,
                json.dumps({"id": self.name, "sha": COMMIT, "siblings": siblings}).encode(),
            )
        elif path.startswith(f"{api}/revision/"):
            headers["X-Error-Code"] = "RevisionNotFound"
        elif path == f"{api}/tree/{COMMIT}":
            entries = [
                {"type": "file", "path": each, "size": len(content), "oid": _tag(content)}
                for each, content in self.files.items()
            ]
            status, body = 200, json.dumps(entries).encode()
        elif path.startswith(folder) and name in self.files:
            status, body = 200, self.files[name]
            headers |= {"ETag": f'"{_tag(body)}"', "X-Repo-Commit": COMMIT}
        elif path.startswith(folder):
            headers["X-Error-Code"] = "EntryNotFound"
        else:
            headers["X-Error-Code"] = "RepoNotFound"
        if self.error_code:
            headers["X-Error-Code"] = self.error_code
        handler.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(key, value)
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(body)

    def use(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Self:
        """Let huggingface_hub take this for the hub, with a cache of its own."""
        from huggingface_hub import constants

        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, self.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        return self

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def _tag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
