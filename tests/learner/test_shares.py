"""How a batch is shared out among learners."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import DistillationConfig
from learner.shares import enough, shared_out, weight
from shared_memory.records import Trace


def trace(number: int, decisions: int = 4) -> Trace:
    observations = ("", *["here"] * (decisions - 1))
    return Trace(number, "0" * 32, "walk", 0, "hand", "8 words!", observations, ("go",) * decisions)


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=40), st.integers(1, 8))
def test_every_trace_is_in_one_share_and_no_share_is_empty(
    weights: list[float], learners: int
) -> None:
    weights += [1.0] * (learners - len(weights))
    shares = shared_out(weights, learners)
    assert len(shares) == learners
    assert all(shares)
    assert [place for share in shares for place in share] == list(range(len(weights)))


@pytest.mark.parametrize(
    ("weights", "cuts"),
    [
        ([1] * 8, [4, 8]),
        ([4, 1, 1, 1, 1], [1, 5]),
        ([1, 1, 1, 1, 4], [4, 5]),
        ([100, 1, 1], [1, 2, 3]),
        ([1, 1, 100], [1, 2, 3]),
        ([3, 3, 1, 1, 2, 2], [1, 4, 6]),
    ],
)
def test_shares_are_about_as_heavy(weights: list[float], cuts: list[int]) -> None:
    assert [share.stop for share in shared_out(weights, len(cuts))] == cuts


def test_a_batch_with_fewer_traces_than_learners_is_repeated() -> None:
    made = [trace(0), trace(1)]
    assert [each.task_index for each in enough(made, 5)] == [0, 1, 0, 1, 0]
    assert enough(made, 2) == made
    assert enough(made, 1) == made


def test_only_decisions_that_are_read_weigh() -> None:
    whole = weight(trace(0), DistillationConfig())
    assert whole == 8 + 3 * 4 + 4 * 2
    assert weight(trace(0), DistillationConfig(decisions=2)) == whole / 2
    assert weight(trace(0), DistillationConfig(decisions=9)) == whole


def test_more_learners_than_traces_are_refused() -> None:
    with pytest.raises(ValueError, match=r"distillation\.learners = 9 is more than .* = 8: each"):
        DistillationConfig(learners=9, batch_traces=8)
