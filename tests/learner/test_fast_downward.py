"""Fast Downward: plans that the simulator takes, and calls that end in time whatever happens."""

from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path

import pytest

from configs.schema import RenderingConfig, TeacherConfig
from learner import fast_downward
from learner.errors import LearnerError
from learner.planners import MimirPlanner, PlanLimits
from learner.teacher import TeacherClosedError, TeacherPool
from learner.teachers import check_teacher, make_planner, planner_name
from learner.traces import teach
from shared_memory.records import PlanRequest
from tasks.domains import get_domain
from tasks.rendering import Rendering
from tasks.simulators import make_simulator
from tasks.task import Task

OPTIMAL = TeacherConfig(planner="fd-optimal")
FIRST = TeacherConfig(planner="fd-satisficing")

installed = pytest.mark.skipif(
    importlib.util.find_spec("up_fast_downward") is None,
    reason="Fast Downward is not installed: pip install '.[fast-downward]'",
)


def running(folder_prefix: str = "nesypr-plan-") -> list[str]:
    """The processes that work in a folder of a planner's call."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            where = (process / "cwd").readlink().name if process.name.isdigit() else ""
        except OSError:
            continue
        if where.startswith(folder_prefix):
            found.append(process.name)
    return found


@installed
@pytest.mark.parametrize("config", [OPTIMAL, FIRST], ids=lambda config: config.planner)
def test_plans_become_traces(config: TeacherConfig) -> None:
    names = ("blocks", "ferry", "slidetile")
    rendering = Rendering([get_domain(n) for n in names], RenderingConfig(objects_per_type=12))
    for name in names:
        domain = get_domain(name)
        planner, simulator = make_planner(domain, config), make_simulator(domain)
        shortest = MimirPlanner(domain, canonical=True)
        for seed in range(2):
            task = domain.draw({}, seed)
            outcome, trace = teach(task, planner, simulator, rendering, PlanLimits())
            assert outcome.status == "solved"
            assert outcome.optimal == (config is OPTIMAL)
            best = shortest.plan(task, PlanLimits())
            assert best.optimal
            assert outcome.cost == best.cost if config is OPTIMAL else outcome.cost >= best.cost
            if outcome.cost:
                assert trace is not None
                assert trace.teacher == planner_name(name, config) == config.planner


@installed
def test_the_blind_search_takes_over_where_the_heuristic_does_not_know_the_domain() -> None:
    domain = get_domain("fridge")  # with derived predicates
    task = domain.draw({}, 1)
    outcome = make_planner(domain, OPTIMAL).plan(task, PlanLimits())
    assert (outcome.status, outcome.optimal) == ("solved", True)
    assert outcome.cost > 0


@installed
def test_what_cannot_be_solved_or_read_says_so() -> None:
    domain = get_domain("hanoi")
    text = domain.draw({"discs": (2, 2)}, 1).problem
    impossible = text[: text.index("(:goal")] + "(:goal (and (on d1 d1))))"
    for config in (OPTIMAL, FIRST):
        planner = make_planner(domain, config)
        assert planner.plan(Task("hanoi", impossible, "0", ""), PlanLimits()).status == "unsolvable"
    broken = planner.plan(Task("hanoi", "(define (problem", "0", ""), PlanLimits())
    assert broken.status == "error"
    assert "translator ended with status 31 for task 0 (hanoi): " in broken.reason


@installed
def test_a_call_ends_at_its_deadline_and_at_its_memory_limit(tmp_path: Path) -> None:
    domain = get_domain("blocks")
    large = domain.draw({"blocks": (24, 24)}, 0)
    began = time.monotonic()
    outcome = make_planner(domain, OPTIMAL).plan(large, PlanLimits(seconds=0.7))
    assert outcome.status == "timeout"
    assert time.monotonic() - began < 5.0
    (tmp_path / "domain.pddl").write_text(  # conditional effects: the search is blind
        "(define (domain switches) (:predicates (on ?s) (switch ?s))"
        "(:action press :parameters (?s) :precondition (switch ?s)"
        " :effect (and (when (on ?s) (not (on ?s))) (when (not (on ?s)) (on ?s)))))"
    )
    switches = [f"s{i}" for i in range(40)]
    text = (
        f"(define (problem p) (:domain switches) (:objects {' '.join(switches)})"
        f" (:init {' '.join(f'(switch {s})' for s in switches)})"
        f" (:goal (and {' '.join(f'(on {s})' for s in switches)})))"
    )
    tight = TeacherConfig(planner="fd-optimal", memory_limit_mb=40)
    planner = make_planner(get_domain(str(tmp_path)), tight)
    outcome = planner.plan(Task("switches", text, "0", ""), PlanLimits(seconds=100.0))
    assert outcome.status == "out_of_memory"
    assert running() == []


@installed
def test_a_teacher_that_is_closed_leaves_no_planner_behind() -> None:
    task = get_domain("blocks").draw({"blocks": (24, 24)}, 0)
    request = PlanRequest(0, task.digest, "blocks", 0, task.problem, task.origin, True)
    config = TeacherConfig(planner="fd-optimal", time_limit_s=30.0)
    teacher = TeacherPool(["blocks"], RenderingConfig(objects_per_type=40), config)
    seen: list[str] = []

    def close_when_it_searches() -> None:
        deadline = time.monotonic() + 50.0
        while not seen and time.monotonic() < deadline:
            time.sleep(0.1)
            seen.extend(running())
        teacher.close()

    closer = threading.Thread(target=close_when_it_searches)
    closer.start()
    with pytest.raises(TeacherClosedError):
        teacher.plan([request])
    closer.join()
    assert seen
    deadline = time.monotonic() + 2.0
    while running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running() == []


def test_what_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    fast_downward.programs.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for act in (lambda: check_teacher(FIRST), lambda: make_planner(get_domain("blocks"), FIRST)):
        with pytest.raises(LearnerError, match=r"pip install '\.\[fast-downward\]'"):
            act()
    check_teacher(TeacherConfig())
