"""Waits past their deadline are told once, and stand until they are over."""

from __future__ import annotations

from cluster.waits import Wait, WaitBook, wait_sentence


def room(since: float | None = None) -> Wait:
    return Wait("2 actors", "room on a host", "each needs 0.5 CPU", 20.0, since)


def learner() -> Wait:
    return Wait("actor-0", "the learner", "to publish version 3", 100.0)


def test_a_wait_is_told_once_when_its_deadline_passes() -> None:
    book = WaitBook()
    assert book.take([room(), learner()], 0.0) == []
    assert book.take([room(), learner()], 20.0) == []
    (late,) = book.take([room(), learner()], 21.0)
    assert wait_sentence(late) == (
        "2 actors waiting for room on a host since 21 s (deadline 20 s): each needs 0.5 CPU"
    )
    assert book.take([room(), learner()], 30.0) == []
    (standing,) = book.overdue(31.0)
    assert (standing.whom, standing.seconds) == ("room on a host", 31.0)
    assert book.passed == 1


def test_what_is_over_and_comes_again_counts_from_then() -> None:
    book = WaitBook()
    book.take([room()], 0.0)
    book.take([room()], 25.0)
    assert book.take([], 26.0) == []
    assert book.overdue(26.0) == ()
    assert book.take([room()], 30.0) == []
    assert len(book.take([room()], 51.0)) == 1
    assert book.passed == 2


def test_a_wait_may_know_since_when_it_is() -> None:
    assert len(WaitBook().take([room(since=-30.0)], 0.0)) == 1
