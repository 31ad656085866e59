from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from fake_events import TASKS, accounting, estimate, fake_run, probe
from hypothesis import given
from hypothesis import strategies as st

from cluster.figures import SummaryBuilder
from cluster.measures import measure, pooled
from cluster.metrics_log import MetricsLog, read_metrics
from cluster.observer import Probed, RunFinished, RunStarted
from cluster.run_folder import RunFolder, RunFolderError
from cluster.summary import Summary, json_schema, read_summary, write_summary
from tasks.metrics import Attempt


def built(events: list[tuple[float, object]] | None = None) -> Summary:
    builder = SummaryBuilder()
    for seconds, event in events if events is not None else list(fake_run()):
        builder.observe(event, seconds)  # type: ignore[arg-type]
    summary = builder.build(1.0e9)
    assert summary is not None
    return summary


def test_continual_learning_is_told_from_the_probes() -> None:
    summary = built()
    cells = {
        (probe.after_phase, probe.phase): probe.measures.csr.value
        for probe in summary.probes
        if probe.mode == "free"
    }
    found = summary.continual
    assert found is not None
    assert found.accuracy is not None
    assert found.backward_transfer is not None
    assert found.forgetting is not None
    assert found.accuracy.value == pytest.approx((cells[1, 0] + cells[1, 1]) / 2)
    assert found.backward_transfer.value == pytest.approx(cells[1, 0] - cells[0, 0])
    assert found.forgetting.value == pytest.approx(cells[0, 0] - cells[1, 0])
    assert (found.forward_transfer is None) == ((0, 1) not in cells)
    early: list[tuple[float, object]] = [
        event for event in fake_run() if not isinstance(event[1], Probed)
    ]
    assert built(early).continual is None


def test_a_phase_and_the_whole_have_all_figures() -> None:
    summary = built()
    assert [phase.name for phase in summary.phases] == ["blocks", "gripper"]
    whole, first = summary.whole, summary.phases[0]
    assert whole.stream is not None
    assert first.stream is not None
    assert whole.stream.tasks == 2 * TASKS == summary.tasks_done
    assert first.stream.tasks == TASKS
    assert 0.3 < whole.stream.csr.value < 0.7
    assert whole.stream.spl is not None
    assert whole.stream.spl.value == pytest.approx(0.8 * whole.stream.csr.value, abs=0.05)
    assert whole.probe.free is not None
    assert whole.probe.free.tasks == 100
    assert whole.probe.free.csr.value == pytest.approx(0.7)
    assert whole.probe.free.csr.low > 0.59
    assert first.probe_at_end.restricted is not None
    assert first.probe_at_end.restricted.csr.value == 0.9
    assert whole.probe.untrained is not None
    assert whole.probe.untrained.csr.value == pytest.approx(0.02)
    assert whole.probe.memory_reliance == pytest.approx(0.3)
    assert whole.probe.bank_effect == pytest.approx(0.1)
    assert whole.banks is not None
    assert whole.banks.success.entries == 480
    assert whole.banks.success.hit_rate == pytest.approx(2 / 5)
    assert first.banks is not None
    assert first.banks.failure.entries == 120
    assert whole.book is not None
    assert (whole.book.codes_used, whole.book.perplexity) == (60, 48.0)
    assert whole.staleness is not None
    assert (whole.staleness.max, whole.staleness.mean) == (2, 1.0)
    assert whole.rates.episodes_per_s == pytest.approx(10.0)
    assert whole.rates.decisions_per_s == pytest.approx(50.0)
    assert whole.rates.distilled_tokens_per_s == pytest.approx(4000.0)
    assert (whole.planner.solved, whole.planner.timed_out) == (118, 2)
    assert (whole.planner.calls, whole.planner.cached) == (118, 2)  # both phases' second task
    assert whole.planner.seconds == pytest.approx(1.18)
    assert summary.memory is not None
    assert summary.memory.actor_mb == 500.0
    assert summary.outcome == "finished"


def test_the_log_gives_the_same_summary_again(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for seconds, event in fake_run():
        log.observe(event, seconds)
    log.close()
    again = [(one.seconds, one.event) for one in read_metrics(tmp_path / "metrics.jsonl")]
    assert built(list(again)).whole.stream == built().whole.stream
    assert built(list(again)).whole.probe == built().whole.probe


def test_what_is_told_twice_counts_once() -> None:
    events = list(fake_run())
    resumed = RunStarted(
        name="fake", seed=0, resumed=True, tasks=120, parameters=1, codes=256, episodes_done=120
    )
    twice = built([*events, (20.0, resumed), *events[1:]])
    once = built(list(events))
    assert twice.whole.stream == once.whole.stream
    assert twice.whole.planner == once.whole.planner
    assert twice.whole.rates.distilled_tokens == once.whole.rates.distilled_tokens
    assert twice.starts == 2


def test_a_run_that_broke_off_has_a_summary(tmp_path: Path) -> None:
    schema = json_schema()
    events = list(fake_run())
    for count in range(1, len(events), 7):
        summary = built(events[:count])
        assert summary.outcome == "unfinished"
        jsonschema.validate(summary.model_dump(mode="json"), schema)
    assert SummaryBuilder().build(0.0) is None


def test_the_file_validates_against_the_published_schema(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "fake", numbered=False) as folder:
        write_summary(folder, built())
    jsonschema.Draft202012Validator.check_schema(json_schema())
    values = json.loads(folder.summary_file.read_text())
    jsonschema.validate(values, json_schema())
    assert read_summary(folder.summary_file) == built()
    del values["whole"]["probe"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, json_schema())
    folder.summary_file.write_text(json.dumps(values))
    with pytest.raises(RunFolderError, match="is not a summary of this version"):
        read_summary(folder.summary_file)


def test_an_account_that_does_not_close_is_kept() -> None:
    events = list(fake_run())[:-1]
    end = RunFinished(outcome="finished", accounting=accounting(closes=False), version=6)
    summary = built([*events, (13.0, end)])
    assert summary.accounting is not None
    assert not summary.accounting.closes
    assert summary.accounting.problems


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(1, 9)), min_size=1))
def test_measures_are_shares_inside_their_intervals(
    episodes: list[tuple[bool, int, int]],
) -> None:
    attempts = [
        Attempt(
            success=success,
            conditions_met=3 if success else met,
            conditions=3,
            emitted=steps,
            accepted=min(met, steps),
            plan_length=2,
        )
        for success, met, steps in episodes
    ]
    measures = measure(attempts)
    for one in (measures.csr, measures.cgc, measures.exe, measures.spl):
        assert one is not None
        assert 0.0 <= one.low <= one.value + 1e-12
        assert one.value <= one.high + 1e-12 <= 1.0 + 1e-9
    assert measures.spl is not None
    assert measures.spl.value <= measures.csr.value + 1e-12


def test_pooled_probes_are_narrower_than_each() -> None:
    probes = [probe(phase, 1, "free", 0.5) for phase in range(4)]
    together = pooled(probes)
    assert together.tasks == 200
    assert together.csr.value == 0.5
    assert together.cgc.high - together.cgc.low == pytest.approx(0.1)
    assert pooled(probes[:1]).csr == estimate(0.5)


def test_exe_of_no_action_is_not_known() -> None:
    silent = Attempt(success=False, conditions_met=0, conditions=1, emitted=0, accepted=0)
    assert measure([silent, silent]).exe is None
    without = replace(probe(0, 0, "free", 0.0), exe=None)
    assert pooled([without]).exe is None
    one = probe(1, 0, "free", 0.5)
    assert pooled([without, one]).exe == one.exe


def test_spl_of_several_probes_weighs_tasks_with_a_plan() -> None:
    first = replace(probe(0, 1, "free", 0.5), spl=estimate(0.2), spl_tasks=10)
    second = replace(probe(1, 1, "free", 0.5), spl=estimate(0.8), spl_tasks=30)
    together = pooled([first, second])
    assert together.spl is not None
    assert (together.spl.value, together.spl_tasks) == (pytest.approx(0.65), 40)
    unplanned = replace(probe(2, 1, "free", 0.5), spl=None, spl_tasks=0)
    assert pooled([first, second, unplanned]).spl == together.spl
    assert pooled([unplanned]).spl is None
