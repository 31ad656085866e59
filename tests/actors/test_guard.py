"""What simulators do wrong becomes one error, in time, and leaves nothing behind."""

from __future__ import annotations

import gc
import itertools
import sys
import threading
import time

import pytest

from actors.guard import Guard, SimulatorError


def spin() -> None:
    for number in itertools.count():
        assert number >= 0


def stubborn() -> None:
    while True:
        try:
            spin()
        except Exception:  # noqa: BLE001 - as careless simulators do
            continue


def test_results_pass_and_errors_are_sentences() -> None:
    guard = Guard(5.0)
    assert guard.call(lambda: 7) == 7
    with pytest.raises(SimulatorError, match="ZeroDivisionError: division by zero"):
        guard.call(lambda: 1 / 0)
    with pytest.raises(SimulatorError, match="SystemExit: 3"):
        guard.call(lambda: sys.exit(3))
    with pytest.raises(KeyboardInterrupt):
        guard.call(lambda: (_ for _ in ()).throw(KeyboardInterrupt()))


@pytest.mark.parametrize("work", [spin, stubborn])
def test_a_call_that_hangs_is_interrupted(work: object) -> None:
    guard = Guard(0.2)
    began = time.monotonic()
    with pytest.raises(SimulatorError, match=r"did not come back within 0\.2 s"):
        guard.call(work)  # type: ignore[arg-type]
    assert time.monotonic() - began < 20
    assert guard.call(lambda: 1) == 1  # and nothing strikes later


def test_it_interrupts_its_own_thread_only() -> None:
    guard = Guard(0.2)
    found: list[BaseException] = []

    def run() -> None:
        try:
            guard.call(spin)
        except SimulatorError as fault:
            found.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert len(found) == 1


def test_calls_that_end_as_time_runs_out_raise_nothing_else() -> None:
    guard = Guard(0.02)
    faults = 0
    for _ in range(40):
        try:
            guard.call(lambda: time.sleep(0.02))
        except SimulatorError:
            faults += 1
        for _ in range(1000):  # an interruption that was left over would strike here
            pass
    assert 0 <= faults <= 40


def test_a_guard_that_is_gone_is_not_watched() -> None:
    before = threading.active_count()
    guard = Guard(0.1)
    guard.call(lambda: None)
    del guard
    gc.collect()
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before
