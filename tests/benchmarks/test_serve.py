"""The serving cases: their documents, their gates, and the processes of their servers."""

import importlib.util
import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stub_server import stub_server

from benchmarks import serve
from benchmarks.registry import run
from benchmarks.serving import servers
from benchmarks.serving import workload as workload_module
from benchmarks.serving.baselines import TextPipeline, VisionPipeline
from benchmarks.serving.search import SystemUnderTest
from benchmarks.serving.servers import (
    ServerProcess,
    fastapi_setups,
    free_port,
    litserve_setups,
    qkv_setup,
    require_packages,
)
from benchmarks.serving.workload import (
    TOLERANCES,
    image_inputs,
    make_text_run,
    make_workload,
    require_same_scores,
    text_inputs,
)
from qkv.errors import DataError, MissingExtraError, QKVError
from qkv.loading import load
from tiny_bert import tiny_bert


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    return make_workload("vision", tmp_path_factory.mktemp("runs"), 12, made=True)


def test_document_of_images(monkeypatch, capfd):
    only_images = replace(serve.QUICK_SIZES, inputs={"vision": 8})
    monkeypatch.setattr(serve, "QUICK_SIZES", only_images)
    told = []
    document = run("serve", quick=True, progress=lambda *counts: told.append(counts))
    assert document.keys() == {"case", "ratios", "figures", "machine"}
    assert document["ratios"].keys() == {"vision_vs_fastapi", "vision_vs_litserve"}
    figures = document["figures"]["vision"]
    for kind in ("qkv", "fastapi", "litserve"):
        figure = figures[kind]
        assert figure["requests_per_second"] > 0
        assert figure["scores_off_by"] <= figures["tolerance"] == TOLERANCES["vision"]
        assert figure["answers_checked"] > 0
        assert figure["p99_limit_ms"] >= 3 * figure["solo_median_ms"] > 0
        assert figure["p99_ms"][0] <= figure["p99_limit_ms"]
        assert figure["bursts"][-1]["borne"]
        assert figure["memory_mb"] > 50
        if kind != "qkv":
            assert document["ratios"][f"vision_vs_{kind}"] == pytest.approx(
                figures["qkv"]["requests_per_second"] / figure["requests_per_second"]
            )
    assert "made-up" in figures["inputs"]
    assert document["figures"]["quick"]
    assert told == [(number, 6) for number in range(1, 7)]
    # What was found was told while it went on.
    assert capfd.readouterr().err.count(" a second, p99 ") == 6
    json.dumps(document, allow_nan=False)


def test_document_of_overload():
    document = run("serve-overload", quick=True)
    figures = document["figures"]["vision"]
    assert document["ratios"] == {"vision_goodput": figures["goodput_over_peak"]}
    assert figures["goodput_per_second"] > 0
    assert figures["wrong_answers"] == figures["unanswered"] == 0
    assert figures["by_status"].keys() <= {"200", "429"}
    assert sum(figures["by_status"].values()) == figures["answered"] + figures["refused"]
    first, most, _last = figures["memory_mb"]
    assert figures["memory_growth"] == pytest.approx(most / first - 1, abs=1e-3)
    json.dumps(document, allow_nan=False)


def test_the_baselines_compute_what_qkv_computes(vision):
    classifier = load(vision.folder)
    found = classifier.predict_proba(list(vision.inputs.bodies))
    expected = np.array([[of[n] for n in classifier.class_names] for of in vision.expected])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # Inputs have answers of their own.
    assert found.std(axis=0).min() > 0.01
    # In a batch as alone.
    pipeline = VisionPipeline(vision.folder)
    pixels = torch.stack([pipeline.decode(body) for body in vision.inputs.bodies])
    together = pipeline.probabilities(pixels)
    np.testing.assert_allclose(together.numpy(), expected, atol=1e-4)
    answer = pipeline.answer(together[0])
    assert answer == sorted(answer, key=lambda entry: -entry["score"])


def test_the_baseline_of_texts_computes_what_qkv_computes(tmp_path):
    texts = ["a good film", "the book was dull and not so good . " * 3, "hated it", "bright red"]
    encoder = str(tiny_bert(tmp_path / "bert", positions=512))
    make_text_run(tmp_path / "text", texts, encoder=encoder)
    pipeline = TextPipeline(tmp_path / "text")
    found = load(tmp_path / "text").predict_proba(texts)
    alone = torch.cat([pipeline.probabilities([text]) for text in texts]).numpy()
    np.testing.assert_allclose(found, alone, atol=TOLERANCES["text"])
    np.testing.assert_allclose(pipeline.probabilities(texts), alone, atol=TOLERANCES["text"])
    assert np.ptp(found[:, 1]) > 4 * TOLERANCES["text"]


def test_gate(vision):
    assert require_same_scores("it", vision, vision.expected) == 0
    other = [*vision.expected[1:], vision.expected[0]]
    for scores in (other, [{**vision.expected[0], "Bag": float("nan")}, *vision.expected[1:]]):
        with pytest.raises(QKVError, match="it answers vision inputs with scores that are off by"):
            require_same_scores("it", vision, scores)


def test_answers_that_are_too_much_alike_are_no_measure(tmp_path, monkeypatch):
    monkeypatch.setattr(workload_module, "LEAST_SPREAD", 1e6)
    with pytest.raises(QKVError, match="answers to two inputs differ by only"):
        make_workload("vision", tmp_path, 4, made=True)


def test_nothing_is_timed_behind_a_shut_gate(monkeypatch):
    def never(*_args, **_kwargs):
        raise AssertionError("timed")

    monkeypatch.setattr(serve, "QUICK_SIZES", replace(serve.QUICK_SIZES, inputs={"vision": 4}))
    monkeypatch.setitem(workload_module.TOLERANCES, "vision", -1.0)
    monkeypatch.setattr(SystemUnderTest, "_measure_solo", never)
    monkeypatch.setattr(SystemUnderTest, "highest_rate", never)
    with pytest.raises(QKVError, match="off by"):
        serve.measure(quick=True)


def test_inputs_are_different_and_the_same_every_time(monkeypatch):
    def nowhere(*_):
        raise DataError("it is nowhere", remedy="fetch it")

    for made in (image_inputs, text_inputs):
        inputs = made(40, made=True)
        assert inputs == made(40, made=True)
        assert len(set(inputs.bodies)) == 40
    words = [len(json.loads(body)["inputs"].split()) for body in text_inputs(400, made=True).bodies]
    assert 130 < np.median(words) < 230
    assert max(words) > 500
    # Without the data they are made up as well, and say so.
    monkeypatch.setattr(workload_module.fashion_mnist, "load", nowhere)
    monkeypatch.setattr(workload_module, "sampled_reviews", nowhere)
    assert image_inputs(3) == image_inputs(3, made=True)
    assert text_inputs(3) == text_inputs(3, made=True)
    assert "made-up" in text_inputs(3).source


def test_setups_leave_qkv_as_it_comes_and_the_baselines_a_choice():
    assert qkv_setup().options == {}
    assert len(fastapi_setups()) >= 1
    for task in ("vision", "text"):
        batched = litserve_setups(task)
        assert len(batched) >= 2
        assert all(setup.options["max-batch-size"] > 1 for setup in batched)
        assert len({tuple(setup.options.items()) for setup in batched}) == len(batched)


@pytest.mark.parametrize(("missing", "extra"), [("litserve", "bench"), ("uvicorn", "serve")])
def test_a_missing_package_is_named(monkeypatch, missing, extra):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    for measure in (serve.measure, serve.measure_overload):
        if missing == "litserve" and measure is serve.measure_overload:
            continue
        with pytest.raises(MissingExtraError, match=missing) as caught:
            measure(quick=True)
        assert caught.value.remedy == f"pip install 'qkv[{extra}]'"
    if missing == "litserve":
        require_packages(baselines=False)


# Answers GET with 200, from a process that has a child of its own.
SERVER = """
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time\\nwhile True: time.sleep(0.01)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(code=SERVER, ready_path="/ready"):
    port = free_port()
    command = [sys.executable, "-c", code, str(port)]
    return ServerProcess("a server", command, port, ready_path=ready_path)


def alive(pid):
    try:
        return state(pid) not in "ZX"
    except OSError:
        return False


def wait_until(true, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_server_and_its_children_start_pause_and_end():
    with server() as process:
        process.require_alive()
        wait_until(lambda: len(process._pids()) == 2)
        pids = process._pids()
        assert all(map(alive, pids))
        assert process.memory_bytes() > 2e6
        process.pause()
        wait_until(lambda: all(state(pid) == "T" for pid in pids))
        process.resume()
        wait_until(lambda: not any(state(pid) == "T" for pid in pids))
    wait_until(lambda: not any(map(alive, pids)))


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_paused_server_ends_too():
    with server() as process:
        pids = process._pids()
        process.pause()
    wait_until(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_is_left_behind_by_an_interrupt(error):
    with pytest.raises(error), server() as process:
        pids = process._pids()
        raise error
    wait_until(lambda: not any(map(alive, pids)))


def test_one_interrupted_while_it_starts_is_ended(monkeypatch):
    started = []

    def interrupted(_port, _path):
        started.extend(process._pids())
        raise KeyboardInterrupt

    monkeypatch.setattr(servers, "_is_ready", interrupted)
    process = server()
    with pytest.raises(KeyboardInterrupt):
        process.__enter__()
    assert started
    wait_until(lambda: not any(map(alive, started)))


def test_one_that_ignores_the_signal_is_killed(monkeypatch):
    monkeypatch.setattr(servers, "STOP_SECONDS", 0.3)
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER
    with server(deaf) as process:
        pids = process._pids()
    wait_until(lambda: not any(map(alive, pids)))


def test_a_server_that_ends_says_why(monkeypatch):
    with pytest.raises(QKVError, match=r"a server ended with 3: no such model"):
        server("import sys; print('no such model'); sys.exit(3)").__enter__()
    monkeypatch.setattr(servers, "START_SECONDS", 0.5)
    with pytest.raises(QKVError, match=r"was not ready after 0.5 s: it printed nothing"):
        server(ready_path="/never").__enter__()
    with server() as process:
        os.kill(process._process.pid, signal.SIGKILL)
        process._process.wait()
        with pytest.raises(QKVError, match=r"ended with -9"):
            process.require_alive()


def posted(port, bodies):
    process = ServerProcess("a stub", [], port, ready_path="/")
    return process.post_each("/predict", "text/plain", bodies)


def test_posting_one_after_another():
    with stub_server() as stub:
        assert posted(stub.port, [b"a", b"b"]) == [b"a", b"b"]
    with (
        stub_server(lambda *_: (503, b"not now")) as stub,
        pytest.raises(QKVError, match="number 0 answered 503: not now"),
    ):
        posted(stub.port, [b"a"])
    with pytest.raises(QKVError, match="POST /predict failed"):
        posted(free_port(), [b"a"])
