import gc
import time

import pytest

from qkv.measurement.timing import interleaved, quartiles, round_ratios


def test_cases_take_turns_and_warm_up_is_not_counted():
    calls = []
    seconds = interleaved(
        {name: lambda name=name: calls.append(name) for name in "abc"}, rounds=3, warmup_rounds=2
    )
    assert calls == list("abc") * 5
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_each_case_gets_its_own_time():
    seconds = interleaved(
        {"slow": lambda: time.sleep(0.02), "quick": lambda: None}, rounds=2, warmup_rounds=0
    )
    assert min(seconds["slow"]) >= 0.02
    assert max(seconds["quick"]) < 0.02


def test_collector_rests_in_calls_and_is_restored_even_after_an_error():
    seen = []
    interleaved({"a": lambda: seen.append(gc.isenabled())}, rounds=1, warmup_rounds=1)
    assert seen == [False, False]
    assert gc.isenabled()

    def fail():
        raise KeyError("stop")

    with pytest.raises(KeyError):
        interleaved({"a": fail}, rounds=1, warmup_rounds=0)
    assert gc.isenabled()


def test_progress_counts_rounds():
    told = []
    interleaved({"a": lambda: None}, 2, 1, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_no_round_is_refused():
    with pytest.raises(ValueError, match="rounds is 0"):
        interleaved({"a": lambda: None}, rounds=0, warmup_rounds=1)


def test_quartiles_by_hand():
    assert quartiles([5.0, 1.0, 2.0, 4.0, 3.0]) == [2.0, 3.0, 4.0]
    assert quartiles([7.0]) == [7.0, 7.0, 7.0]


def test_ratios_pair_the_rounds():
    assert round_ratios([2.0, 6.0, 10.0], [1.0, 2.0, 10.0]) == [2.0, 3.0, 1.0]
    with pytest.raises(ValueError):
        round_ratios([1.0], [1.0, 2.0])
