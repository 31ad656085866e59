"""The closing account."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.accounting import DriverBooks, SharedBooks, close, sentence

DRIVER = DriverBooks(
    submitted=10,
    finished=8,
    failed=2,
    in_flight=0,
    doubled=0,
    procedures=30,
    plans_answered=8,
    traces_queued=3,
)
SHARED = SharedBooks(
    finished=8,
    doubled=0,
    submitted=30,
    admitted=20,
    duplicates=10,
    retired=5,
    requested=8,
    traced=3,
    entries=15,
    read_back=True,
    problems=(),
)


def test_closes_where_every_sum_agrees() -> None:
    account = close(DRIVER, SHARED, finished=True)
    assert account.closes
    assert account.problems == ()
    assert account.bank_entries_read == 15


@pytest.mark.parametrize(
    ("driver", "shared", "words"),
    [
        ({"failed": 1}, {}, "episodes were started"),
        ({}, {"finished": 7}, "shared memory 7"),
        ({"procedures": 31}, {}, "31 procedures"),
        ({}, {"duplicates": 9}, "9 duplicates"),
        ({}, {"entries": 14}, "hold 14 entries"),
        ({"plans_answered": 9}, {}, "9 answered"),
        ({"plans_answered": 7}, {}, "8 plans were asked for, but 7 answered"),
        ({"traces_queued": 2}, {}, "3 traces were queued"),
        ({}, {"problems": ("blocks success: bytes differ",)}, "bytes differ"),
    ],
)
def test_names_the_sum_that_does_not_close(
    driver: dict[str, int], shared: dict[str, int], words: str
) -> None:
    account = close(replace(DRIVER, **driver), replace(SHARED, **shared), finished=True)
    assert not account.closes
    assert words in sentence(account.problems)


def test_what_is_open_in_a_stopped_run_is_no_problem() -> None:
    account = close(
        replace(DRIVER, plans_answered=7, traces_queued=2), replace(SHARED, read_back=False)
    )
    assert account.closes
    assert account.bank_entries_read is None
