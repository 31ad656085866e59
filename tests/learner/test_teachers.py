"""Which planner teaches a domain."""

import sys
from types import ModuleType

import pytest

from configs.schema import TeacherConfig
from learner.planners import MimirPlanner, PlanLimits, PlanOutcome
from learner.teachers import WORLD_TEACHERS, make_planner, planner_name
from tasks.domains import get_domain


def test_mimir_plans_for_pddl() -> None:
    domain = get_domain("blocks")
    for name in ("mimir-astar", "mimir-gbfs"):
        config = TeacherConfig(planner=name)
        planner = make_planner(domain, config)
        assert isinstance(planner, MimirPlanner)
        assert planner.name == planner_name("blocks", config) == name
        outcome = planner.plan(domain.draw({"blocks": (3, 3)}, 1), PlanLimits())
        assert outcome.status == "solved"


def test_a_world_has_its_own_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own:
        name = "blocks-teacher"

        def plan(self, *_: object) -> PlanOutcome:
            return PlanOutcome("solved")

    module = ModuleType("own_teacher")
    module.make_teacher = lambda domain, config: Own()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_teacher", module)
    monkeypatch.setitem(WORLD_TEACHERS, "blocks", "own_teacher")
    config = TeacherConfig()
    assert isinstance(make_planner(get_domain("blocks"), config), Own)
    assert planner_name("blocks", config) == "blocks-teacher"
