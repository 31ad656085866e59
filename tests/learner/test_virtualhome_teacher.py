from __future__ import annotations

import importlib.util

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
    importlib.util.find_spec("virtualhome_eval") is None,
    reason="virtualhome-eval is not installed: pip install '.[virtualhome]'",
)

LIMITS = PlanLimits(60.0)


def test_what_people_wrote_is_shortened_and_put_in_order() -> None:
    domain = get_domain("virtualhome")
    teacher = make_planner(domain, TeacherConfig())
    task = domain.task_from_origin("program:virtualhome:1004_2")
    outcome = teacher.plan(task, LIMITS)
    assert outcome.plan == (
        ("walk", "freezer_289"),
        ("grab", "food_food_1000"),
        ("open", "freezer_289"),
        ("putin", "food_food_1000", "freezer_289"),
    )
    assert outcome.plan == teacher.plan(task, LIMITS).plan


def test_a_text_that_is_no_task_is_an_error_and_no_time_a_timeout() -> None:
    domain = get_domain("virtualhome")
    teacher = make_planner(domain, TeacherConfig())
    assert teacher.plan(Task("virtualhome", "?", "", ""), LIMITS).status == "error"
    task = domain.task_from_origin("program:virtualhome:1003_2")
    assert teacher.plan(task, PlanLimits(0.0001)).status == "timeout"


def test_another_domain_is_refused() -> None:
    from learner.virtualhome_teacher import make_teacher

    with pytest.raises(LearnerError, match="blocks"):
        make_teacher(get_domain("blocks"), TeacherConfig())


@pytest.mark.parametrize(
    ("every", "least"), [(30, 12), pytest.param(1, 330, marks=pytest.mark.slow)]
)
def test_tasks_have_validated_plans(every: int, least: int) -> None:
    domain = get_domain("virtualhome")
    rendering = Rendering([domain], RenderingConfig(objects_per_type=24, observation="prompt"))
    teacher = make_planner(domain, TeacherConfig())
    simulator = domain.make_simulator()
    solved = 0
    for file in domain.train_files[::every]:
        task = domain.task_from_file(file)
        outcome, trace = teach(task, teacher, simulator, rendering, LIMITS)
        assert outcome.status != "error", outcome.reason
        solved += trace is not None
    assert solved >= least
