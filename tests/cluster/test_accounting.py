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
    traces_distilled=3,
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
    entries_read=15,
    problems=(),
)


def test_closes_where_every_sum_agrees() -> None:
    account = close(DRIVER, SHARED)
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
        ({}, {"entries_read": 14}, "found 14 entries"),
        ({"plans_answered": 9}, {}, "9 answered"),
        ({}, {"problems": ("blocks success: bytes differ",)}, "bytes differ"),
    ],
)
def test_names_the_sum_that_does_not_close(
    driver: dict[str, int], shared: dict[str, int], words: str
) -> None:
    account = close(replace(DRIVER, **driver), replace(SHARED, **shared))
    assert not account.closes
    assert words in sentence(account.problems)
