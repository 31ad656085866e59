"""What a run probes, and when."""

from __future__ import annotations

from cluster.script import Script


def test_the_last_probe_exchanges_procedures_and_leaves_the_banks_out() -> None:
    script = Script(2)
    modes = [script.probe_modes(stage) for stage in script.stages if stage.kind == "probe"]
    assert modes == [
        ("free", "restricted"),
        ("free",),
        ("free", "restricted", "exchanged", "silent"),
    ]


def test_without_memory_there_is_nothing_to_exchange_or_to_leave_out() -> None:
    script = Script(1, memory=False)
    assert script.probe_modes(script.stages[-1]) == ("free", "restricted")


def test_a_probe_looks_one_phase_ahead() -> None:
    """For forward transfer: what earlier phases gave a phase before it began."""
    script = Script(3)
    probes = [stage for stage in script.stages if stage.kind == "probe"]
    assert [list(script.probe_phases(stage)) for stage in probes] == [
        [0, 1, 2],
        [0, 1],
        [0, 1, 2],
        [0, 1, 2],
    ]
