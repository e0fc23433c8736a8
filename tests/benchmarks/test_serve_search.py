import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.serving.search import Search, highest_rate, is_borne
from qkv.errors import QKVError


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
