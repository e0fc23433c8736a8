"""`qkv serve` on tiny runs: mistakes in one line, and a process that serves and stops in order."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server_processes import ServerProcess, qkv_serve

Call = Callable[..., Any]
KEY = "correct-horse-battery"


def mistake(outcome: Any) -> str:
    """The one line of an outcome that must be a mistake."""
    assert outcome.code == 2, outcome.err
    assert outcome.out == ""
    (line,) = outcome.err.splitlines()
    assert line.startswith("qkv: error: ")
    return str(line)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "models.example.org"])
def test_beyond_loopback_it_demands_keys_or_a_decision(qkv: Call, run: Path, host: str) -> None:
    line = mistake(qkv("serve", run, "--host", host))
    assert host in line
    assert "--api-key-file FILE, or --no-auth" in line


def test_what_is_no_run_is_refused(qkv: Call, run: Path, tmp_path: Path) -> None:
    line = mistake(qkv("serve", run, tmp_path / "absent", "--port", "0"))
    assert "absent" in line
    assert "RUN" in mistake(qkv("serve"))


def test_a_run_without_weights_is_refused(qkv: Call, run_copy: Path) -> None:
    (run_copy / "model.safetensors").unlink()
    assert str(run_copy) in mistake(qkv("serve", run_copy, "--port", "0"))


def test_a_taken_port_is_said_before_a_model_is_loaded(qkv: Call, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = mistake(qkv("serve", tmp_path / "absent", "--port", port))
    assert f"port {port} of 127.0.0.1 is taken" in line
    assert "--port 0" in line


def test_an_unfit_key_file_is_said_before_a_model_is_loaded(qkv: Call, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    line = mistake(qkv("serve", tmp_path / "absent", "--api-key-file", keys))
    assert f"cannot read {keys}" in line
    keys.write_text("")
    keys.chmod(0o600)
    assert "holds no key" in mistake(qkv("serve", tmp_path / "absent", "--api-key-file", keys))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--host", "http://localhost"), "host"),
        (("--allow-host", "example.org:80"), "allowed_hosts"),
        (("--device", "abacus"), "device"),
        (("--port", "70000"), "--port"),
    ],
)
def test_a_wrong_option_is_named(
    qkv: Call, tmp_path: Path, options: tuple[str, ...], word: str
) -> None:
    assert word in mistake(qkv("serve", tmp_path, *options))


def test_a_host_without_an_address_is_named(
    qkv: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    line = mistake(qkv("serve", tmp_path, "--host", "nobody.example", "--no-auth"))
    assert "host nobody.example has no address" in line


def test_keys_and_no_keys_contradict_each_other(qkv: Call, tmp_path: Path) -> None:
    line = mistake(qkv("serve", tmp_path, "--no-auth", "--api-key-file", tmp_path / "keys"))
    assert "contradict" in line


def test_without_the_extra_it_says_how_to_get_it(
    qkv: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "fastapi" else find(name))
    line = mistake(qkv("serve", tmp_path))
    assert "fastapi" in line
    assert "pip install 'qkv[serve]'" in line


def test_a_model_that_fails_at_its_first_computation_is_one_line(
    qkv: Call, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qkv.serving.predictors import ImagePredictor

    def fail(_: ImagePredictor) -> None:
        raise RuntimeError("not enough memory:\n  tried to allocate 8 GiB")

    monkeypatch.setattr(ImagePredictor, "warm_up", fail)
    line = mistake(qkv("serve", run, "--port", "0"))
    assert str(run) in line
    assert "RuntimeError: not enough memory: tried to allocate 8 GiB" in line
    assert "--device" in line


def test_the_help_says_what_stops_it(qkv: Call) -> None:
    outcome = qkv("serve", "--help")
    assert outcome.code == 0
    assert "--api-key-file" in outcome.out
    assert "Ctrl-C" in outcome.out


@pytest.fixture(scope="module")
def server(run: Path, text_run: Path) -> Iterator[ServerProcess]:
    """Both tiny runs, one of them twice; no test stops it."""
    with qkv_serve(run, text_run, run) as server:
        yield server


def test_it_serves_runs_under_ids_of_their_own(server: ServerProcess) -> None:
    line = r"qkv: serving \S+ \(models: photos, reviews, photos-2\); stop with Ctrl-C"
    assert re.fullmatch(line, server.lines[0])
    with server.client() as client:
        models = client.get("/v1/models").json()["models"]
        assert [model["id"] for model in models] == ["photos", "reviews", "photos-2"]
        assert client.get("/readyz").status_code == 200
        assert client.get("/").headers["content-type"].startswith("text/html")
        assert client.get("/openapi.json").json()["openapi"].startswith("3.1")


def test_it_answers_as_qkv_predict_does(
    qkv: Call, server: ServerProcess, run: Path, text_run: Path, photos: Path
) -> None:
    image = sorted((photos / "blue").iterdir())[0]
    expected = qkv("predict", run, image, "--json").json["predictions"][0]
    with server.client() as client:
        headers = {"content-type": "image/png"}
        answer = client.post(
            "/v1/models/photos/predict", content=image.read_bytes(), headers=headers
        )
        assert answer.status_code == 200
        assert answer.json()[0]["label"] == expected["label"]
        assert answer.json()[0]["score"] == pytest.approx(expected["probability"], abs=1e-4)
        expected = qkv("predict", text_run, "a fine day", "--json").json["predictions"][0]
        answer = client.post("/v1/models/reviews/predict", json={"inputs": "a fine day"})
        assert answer.json()[0]["label"] == expected["label"]


def test_it_counts_what_it_does(server: ServerProcess) -> None:
    with server.client() as client:
        client.post("/v1/models/reviews/predict", json={"inputs": ["one text", "two texts"]})
        text = client.get("/metrics").text
    assert 'qkv_batch_inputs_count{model="reviews"}' in text
    assert 'qkv_queue_depth{queue="reviews"} 0.0' in text
    assert 'route="/v1/models/{model_id}/predict"' in text


def test_a_path_is_no_model(server: ServerProcess, run: Path) -> None:
    with server.client() as client:
        for name in ("../photos", "..%2fphotos", str(run).replace("/", "%2f"), "%00", "photos%00"):
            assert client.get(f"/v1/models/{name}").status_code == 404


def test_with_keys_only_the_page_is_open(run: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"# for the page\n{KEY}\n")
    keys.chmod(0o600)
    with qkv_serve(run, "--api-key-file", keys) as server, server.client() as client:
        assert client.get("/").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models").headers["www-authenticate"].startswith("Bearer")
        key = {"Authorization": f"Bearer {KEY}"}
        assert client.get("/v1/models", headers=key).status_code == 200
        assert not any(KEY in line for line in server.lines)
        assert server.end() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_the_processes_of_images_serve_and_end_in_order(
    qkv: Call, run: Path, text_run: Path, photos: Path
) -> None:
    image = sorted((photos / "blue").iterdir())[0]
    expected = qkv("predict", run, image, "--json").json["predictions"][0]
    with (
        qkv_serve(run, text_run, "--processes", "--workers", "2") as server,
        server.client() as client,
    ):
        children = children_of(server.process.pid)
        assert len(children) == 2  # those of the one model of images
        (answer,) = client.post(
            "/v1/models/photos/predict",
            content=image.read_bytes(),
            headers={"content-type": "image/png"},
            params={"top_k": 1},
        ).json()
        assert answer["label"] == expected["label"]
        assert answer["score"] == pytest.approx(expected["probability"], abs=1e-4)
        assert server.end() == 0
        assert server.lines[1:] == ["qkv: stopping; once more to stop at once", "qkv: stopped"]
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def children_of(parent: int) -> list[int]:
    """The processes that one has started, from whichever of its threads, to compute in."""
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    # Besides them Python starts one to clean up after them.
    return [one for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def test_asked_to_stop_under_load_it_loses_no_request(text_run: Path, tmp_path: Path) -> None:
    outcomes: list[str] = []
    stop = threading.Event()

    def ask_on(url: str) -> None:
        is_new = True
        with httpx.Client(trust_env=False, timeout=20) as client:
            while not stop.is_set():
                try:
                    answer = client.post(url, json={"inputs": ["a text of some words"] * 8})
                except httpx.TransportError as error:
                    # When a socket stops listening, the system refuses new connections and resets
                    # those that the server has not accepted; nothing of them was ever read.
                    outcomes.append("nobody" if is_new else f"lost: {error!r}")
                    return
                is_new = answer.headers.get("connection") == "close"
                outcomes.append(str(answer.status_code))
                assert answer.status_code == 503 or len(answer.json()) == 8

    with qkv_serve(text_run) as server:
        url = f"{server.url}/v1/models/reviews/predict"
        threads = [threading.Thread(target=ask_on, args=(url,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        while outcomes.count("200") <= 10 and time.monotonic() < began + 60:
            time.sleep(0.1)
        assert server.end(within=20) == 0
        stop.set()
        for thread in threads:
            thread.join(timeout=30)
        assert server.lines[-1] == "qkv: stopped"
    assert set(outcomes) <= {"200", "503", "nobody"}, set(outcomes)
    assert outcomes.count("200") > 10
