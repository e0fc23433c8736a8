"""Load on a server, and the search for the rate that it bears."""

import asyncio
import math
import socket
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stub_server import scores, stub_server

from benchmarks.serving import module_environment
from benchmarks.serving.http_client import difference, is_right, read_scores, request_bytes
from benchmarks.serving.load import (
    LoadGenerator,
    OpenLoop,
    Target,
    closed_loop,
    percentiles,
    poisson_arrivals,
)
from benchmarks.serving.search import Search, highest_rate, is_borne
from qkv.errors import QKVError


def requests_to(port, bodies=(b"a", b"bc")):
    return [request_bytes(port, "/predict", "text/plain", body) for body in bodies]


def open_loop(port, arrivals, *, expected=None, **options):
    target = Target(port, requests_to(port), expected, tolerance=0.01)
    return asyncio.run(OpenLoop(target, arrivals, **options).run())


def test_arrivals_are_poisson():
    times = poisson_arrivals(200.0, 50.0, seed=1)
    assert times == poisson_arrivals(200.0, 50.0, seed=1)
    assert times != poisson_arrivals(200.0, 50.0, seed=2)
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 50
    gaps = np.diff(times)
    # Exponential: mean and standard deviation alike, and no memory.
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.05)
    assert gaps.std() == pytest.approx(1 / 200, rel=0.05)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.05


def test_everything_due_is_sent_and_answered():
    with stub_server() as stub:
        result = open_loop(stub.port, poisson_arrivals(300.0, 0.5, seed=0))
        assert sorted(set(stub.bodies)) == [b"a", b"bc"]
    assert result["due"] == result["sent"] == result["answered"] == len(stub.bodies) > 100
    assert result["errors"] == result["unanswered"] == 0
    assert not result["given_up"]
    assert result["by_status"].keys() == {"200"}
    latency = result["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    assert sum(result["answers_each_second"]) <= result["answered"]
    assert 1 <= result["connections"] <= 100


def test_latency_counts_from_the_time_at_which_a_request_was_due():
    # Ten requests due at once, 20 ms each, one after the other: the last waits 200 ms. A generator
    # that sent each after the answer to the one before would find 20 ms for all.
    with stub_server(seconds=0.02) as stub:
        together = open_loop(stub.port, [0.0] * 10)
        after_each_other = asyncio.run(
            closed_loop(Target(stub.port, requests_to(stub.port)), concurrency=1, count=10)
        )
        # On one connection the generator itself holds them up, and is not excused either.
        held_up = open_loop(stub.port, [0.0] * 10, connections=1)
    assert together["latency_ms"]["max"] >= 200
    assert held_up["latency_ms"]["max"] >= 200
    assert held_up["connections"] == 1
    assert after_each_other["sent"] == after_each_other["answered"] == 10
    assert 20 <= after_each_other["latency_ms"]["p50"] < 100


def test_a_lost_load_is_given_up():
    with stub_server(seconds=0.03) as stub:
        arrivals = poisson_arrivals(200.0, 20.0, seed=0)
        result = open_loop(stub.port, arrivals, limit_seconds=0.05)
    assert result["given_up"]
    assert result["sent"] < len(arrivals) / 2
    assert result["sending_seconds"] < 10
    # What was still under way when it was given up is nobody's fault.
    assert result["errors"] == 0


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (lambda number, _: (429 if number % 2 else 200, b"x"), "429"),
        (lambda number, _: None if number % 2 else (200, b"x"), "broken"),
    ],
)
def test_failures_are_errors(reply, status):
    with stub_server(reply) as stub:
        result = open_loop(stub.port, [0.01 * n for n in range(10)])
        bounded = open_loop(stub.port, [0.01 * n for n in range(200)], limit_seconds=5.0)
    assert result["errors"] == result["by_status"][status]["count"] == 5
    assert result["answered"] == 5
    assert bounded["given_up"]
    assert bounded["sent"] < 200


def test_nobody_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        result = open_loop(unused.getsockname()[1], [0.0, 0.01])
    assert result["by_status"]["broken"]["count"] == result["errors"] == 2


def test_an_answer_without_end_is_unanswered():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = open_loop(silent.getsockname()[1], [0.0, 0.01], patience_seconds=0.2)
    assert result["unanswered"] == result["errors"] == 2


def test_answers_of_other_requests_are_wrong():
    expected = [{"x": 0.2, "y": 0.8}, {"x": 0.7, "y": 0.3}]
    right = {b"a": scores(y=0.8, x=0.205), b"bc": scores(x=0.7, y=0.3)}
    with stub_server(lambda _, body: (200, right[body])) as stub:
        good = open_loop(stub.port, [0.0] * 6, expected=expected)
    swapped = {b"a": right[b"bc"], b"bc": right[b"a"]}
    with stub_server(lambda number, body: (200, (swapped if number == 3 else right)[body])) as stub:
        bad = open_loop(stub.port, [0.0] * 6, expected=expected)
    assert (good["wrong_answers"], good["errors"]) == (0, 0)
    assert (bad["wrong_answers"], bad["errors"]) == (1, 1)


def test_scores_are_compared_by_label():
    assert read_scores(scores(a=0.25, b=0.75)) == {"a": 0.25, "b": 0.75}
    assert difference({"a": 0.25, "b": 0.75}, {"b": 0.5, "a": 0.5}) == 0.25
    assert difference({"a": 1.0}, {"b": 1.0}) == math.inf
    for body in (b"{}", b"[1]", b"nothing", b'[{"label": "a"}]', b"3"):
        assert not is_right(body, {"a": 1.0}, 0.1)
    assert not is_right(b'[{"label": "a", "score": NaN}]', {"a": 1.0}, 0.1)
    assert is_right(scores(a=0.05), {"a": 0.0}, 0.1)


def test_percentiles_are_nearest_ranks():
    milliseconds = [n / 1000 for n in range(100, 0, -1)]
    found = percentiles(milliseconds)
    assert found == pytest.approx({"p50": 50, "p90": 90, "p99": 99, "max": 100})
    assert percentiles([0.003]) == pytest.approx({"p50": 3, "p90": 3, "p99": 3, "max": 3})
    assert percentiles([]) == {}


def test_the_generator_is_a_process_that_ends_with_the_benchmark():
    expected = [{"x": 1.0}, {"x": 0.0}]
    answers = {b"a": scores(x=1.0), b"bc": scores(x=0.0)}
    with stub_server(lambda _, body: (200, answers[body])) as stub, LoadGenerator() as generator:
        generator.add_target("t", Target(stub.port, requests_to(stub.port), expected))
        result = generator.open_loop("t", 200.0, 0.3, seed=1, limit_seconds=5.0)
        assert result["answered"] == result["due"] > 20
        assert result["wrong_answers"] == 0
        assert generator.one_at_a_time("t", 4)["answered"] == 4
        saturated = generator.saturate("t", 3, 0.2)
        assert saturated["answered"] == saturated["sent"] > 3
        moment = generator.at_the_same_moment("t", 20, connections=7, patience_seconds=5.0)
        assert (moment["answered"], moment["connections"]) == (20, 7)
        process = generator._process
        assert process.is_alive()
    assert not process.is_alive()
    with pytest.raises(QKVError, match="has ended"), LoadGenerator() as generator:
        generator._process.kill()
        generator.one_at_a_time("t", 1)


def test_making_load_needs_neither_torch_nor_numpy():
    code = "import sys, benchmarks.serving.load as l; print({'torch', 'numpy'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=module_environment(),
    )
    assert done.stdout.strip() == "set()"


class Server:
    """Bears rates up to its capacity, for 99th percentiles that grow towards it."""

    def __init__(self, capacity, hiccups=()):
        self.capacity = capacity
        self.hiccups = set(hiccups)
        self.offered = []

    def __call__(self, rate, seconds):
        self.offered.append((rate, seconds))
        bad = rate > self.capacity or len(self.offered) in self.hiccups
        return {
            "due": 10,
            "errors": 0,
            "given_up": bad,
            "latency_ms": {"p99": 500.0 if bad else 50.0},
            "sending_seconds": seconds,
        }


@given(st.floats(0.5, 5000), st.floats(0.5, 5000))
def test_the_rate_found_is_borne_and_a_little_more_is_not(capacity, start):
    server = Server(capacity)
    search = Search(step=1.5, precision=0.05, most_tries=200)
    found = highest_rate(server, start, search)
    assert found.rate <= capacity < found.rate * 1.05 * (1 + 1e-9)
    assert server.offered[-1] == (found.rate, 8.0)
    assert found.confirmed["latency_ms"] == {"p99": 50.0}
    assert len(found.tried) == len(server.offered)
    assert found.tried[-1]["borne"]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_one_hiccup_of_the_machine_changes_nothing(number):
    calm = highest_rate(Server(120.0), 100.0, Search())
    assert highest_rate(Server(120.0, {number}), 100.0, Search()).rate == calm.rate


def test_a_rate_that_is_not_confirmed_is_lowered():
    class Tiring(Server):
        def __call__(self, rate, seconds):
            load = super().__call__(rate, seconds)
            tired = seconds == 8.0 and rate > 90
            return {**load, "given_up": load["given_up"] or tired}

    found = highest_rate(Tiring(120.0), 100.0, Search(precision=0.04))
    assert 90 / 1.04 < found.rate <= 90


def test_a_server_that_bears_nothing_or_everything_ends_the_search():
    for capacity in (0.0, float("inf")):
        server = Server(capacity)
        with pytest.raises(QKVError, match="no highest rate after 40 tries"):
            highest_rate(server, 100.0, Search())
        assert len(server.offered) == 40


def test_nothing_is_offered_beyond_the_ceiling():
    server = Server(float("inf"))
    assert highest_rate(server, 100.0, Search(step=1.5, ceiling=300.0)).rate == 225.0
    assert [rate for rate, _ in server.offered] == [100.0, 150.0, 225.0, 225.0]


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"latency_ms": {"p99": 130.0}}, True),
        ({"latency_ms": {"p99": 130.1}}, False),
        ({"errors": 1}, False),
        ({"given_up": True}, False),
        ({"due": 0, "latency_ms": {}}, True),
    ],
)
def test_what_is_borne(change, good):
    load = {"due": 5, "errors": 0, "given_up": False, "latency_ms": {"p99": 20.0}}
    assert is_borne({**load, **change}, 130.0) is good


def test_tries_are_long_enough_for_a_percentile_and_no_longer_than_allowed():
    search = Search(least_requests=300, try_seconds=(2.5, 6.0))
    assert search.seconds_at(1000) == 2.5
    assert search.seconds_at(100) == 3.0
    assert search.seconds_at(10) == 6.0
    assert search.seconds_at(0.5) == 10.0
