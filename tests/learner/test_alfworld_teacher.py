"""ALFWorld's teachers: they win generated and real games, by what may be known alone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from alfworld_archive import real_games

from configs.schema import RenderingConfig, TeacherConfig
from learner.alfworld_search import next_command
from learner.alfworld_teacher import MOST_STEPS, SearchingTeacher, SeeingPlanner, make_teacher
from learner.errors import LearnerError
from learner.planners import PlanLimits
from learner.traces import teach
from tasks.alfworld.generate import TASK_TYPES
from tasks.alfworld.knowledge import Knowledge
from tasks.alfworld.searching import search_order
from tasks.alfworld.simulator import AlfworldSimulator
from tasks.domains import get_domain
from tasks.rendering import Rendering
from tasks.task import Task

ROOM = (
    "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly "
    "around you, you see a cabinet 1, a cabinet 2, a countertop 1, a diningtable 1, "
    "a fridge 1, and a microwave 1.\n\nYour task is to: {task}."
)


def draw(seed: int, **size: int) -> Task:
    return get_domain("alfworld").draw({name: (n, n) for name, n in size.items()}, seed)


def only(task_type: str) -> dict[str, int]:
    return {name: int(name == task_type) for name in TASK_TYPES}


def real_tasks(split: str, most: int | None = None) -> Iterator[Task]:
    """Real games of a split."""
    return (Task("alfworld", text, "", path) for path, text in real_games(split, most))


def check(task: Task) -> int:
    """The length of the searching teacher's plan, replayed; the seeing one's is not longer."""
    found = SearchingTeacher().plan(task, PlanLimits())
    best = SeeingPlanner().plan(task, PlanLimits())
    for outcome in (found, best):
        assert outcome.status == "solved", (task.origin, outcome)
        simulator = AlfworldSimulator()
        simulator.reset(task)
        assert all(simulator.step(action) for action in outcome.plan), (task.origin, outcome)
        assert simulator.solved
    assert best.cost <= found.cost <= MOST_STEPS
    return found.cost


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_the_teacher_wins_each_generated_game(task_type: str) -> None:
    for seed in range(4):
        check(draw(seed, **only(task_type)))
    check(draw(4, receptacles=60, distractors=40, **only(task_type)))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_teacher_wins_a_thousand_generated_games() -> None:
    for seed in range(1000):
        check(draw(seed, receptacles=3 + seed % 50, wanted=1 + seed % 3, distractors=seed % 25))


def test_the_teacher_wins_real_games_of_the_train_split() -> None:
    for task in real_tasks("train", 10):
        check(task)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_teacher_wins_nearly_all_real_games_within_the_step_limit() -> None:
    teacher, planner, simulator = SearchingTeacher(), SeeingPlanner(), AlfworldSimulator()
    found = []
    for task in real_tasks("valid_seen"):
        found.append(teacher.plan(task, PlanLimits()))
        best = planner.plan(task, PlanLimits())
        simulator.reset(task)
        assert all(simulator.step(action) for action in best.plan), (task.origin, best)
        assert simulator.solved
    assert len(found) == 140
    assert sum(outcome.status == "solved" for outcome in found) >= 0.95 * 140


def test_a_plan_becomes_a_trace() -> None:
    domain = get_domain("alfworld")
    rendering = Rendering([domain], RenderingConfig(observation="prompt"))
    outcome, trace = teach(
        draw(2), SearchingTeacher(), domain.make_simulator(), rendering, PlanLimits()
    )
    assert outcome.status == "solved", outcome
    assert trace is not None
    assert trace.teacher == "alfworld-teacher"
    assert len(trace.actions) == len(trace.observations) == outcome.cost
    assert trace.actions[0].startswith("go ")


def test_the_same_task_gives_the_same_plan() -> None:
    task = draw(7)
    plans = {make_teacher(get_domain("alfworld"), TeacherConfig()).plan(task, PlanLimits()).plan}
    teacher = SearchingTeacher()
    plans |= {teacher.plan(task, PlanLimits()).plan for _ in range(2)}
    assert len(plans) == 1


def test_the_search_begins_where_such_things_are_and_goes_by_number() -> None:
    knowledge = Knowledge(ROOM.format(task="put a cool tomato in microwave"))
    order = search_order(knowledge.looks, "tomato")
    assert set(order[:3]) == {"fridge 1", "countertop 1", "diningtable 1"}
    assert order.index("cabinet 1") < order.index("cabinet 2")
    assert order.index("microwave 1") < order.index("cabinet 1")
    assert next_command(knowledge) == f"go to {order[0]}"


def test_the_next_command_follows_from_what_was_told() -> None:
    knowledge = Knowledge(ROOM.format(task="put a cool tomato in microwave"))
    knowledge.observe(
        "go to countertop 1",
        "You arrive at countertop 1. On the countertop 1, you see a knife 1, and a tomato 2.",
    )
    assert next_command(knowledge) == "take tomato 2 from countertop 1"
    knowledge.observe("", "You pick up the tomato 2 from the countertop 1.")
    assert next_command(knowledge) == "go to fridge 1"
    knowledge.observe("", "You arrive at fridge 1. The fridge 1 is closed.")
    assert next_command(knowledge) == "cool tomato 2 with fridge 1"
    knowledge.observe("", "You cool the tomato 2 using the fridge 1.")
    assert next_command(knowledge) == "go to microwave 1"
    knowledge.observe("", "You arrive at microwave 1. The microwave 1 is closed.")
    assert next_command(knowledge) == "open microwave 1"
    knowledge.observe(
        "", "You open the microwave 1. The microwave 1 is open. In it, you see nothing."
    )
    assert next_command(knowledge) == "move tomato 2 to microwave 1"


def test_a_thing_that_is_not_wanted_is_put_down_first() -> None:
    knowledge = Knowledge(ROOM.format(task="put some tomato on diningtable"))
    knowledge.observe(
        "go to countertop 1", "You arrive at countertop 1. On the countertop 1, you see a knife 1."
    )
    knowledge.observe("", "You pick up the knife 1 from the countertop 1.")
    assert next_command(knowledge) == "move knife 1 to countertop 1"


def test_the_second_of_two_goes_where_the_first_is() -> None:
    knowledge = Knowledge(ROOM.format(task="put two mug in cabinet"))
    knowledge.observe(
        "go to cabinet 2", "The cabinet 2 is open. In it, you see a mug 1, and a plate 1."
    )
    knowledge.observe("go to fridge 1", "The fridge 1 is open. In it, you see a mug 2.")
    assert next_command(knowledge) == "go to fridge 1"
    knowledge.observe("", "You pick up the mug 2 from the fridge 1.")
    assert next_command(knowledge) == "go to cabinet 2"


def test_a_search_in_vain_ends() -> None:
    task = draw(3, **only("pick_and_place_simple"))
    game = json.loads(task.problem)
    game["pddl_problem"] = game["pddl_problem"].replace("(inReceptacle ", "(wasInReceptacle ")
    lost = Task("alfworld", json.dumps(game), "", "none")
    assert SearchingTeacher().plan(lost, PlanLimits()).status == "unsolvable"
    assert SeeingPlanner().plan(lost, PlanLimits()).status == "error"


def test_what_is_no_game_is_an_error_with_a_reason() -> None:
    for planner in (SearchingTeacher(), SeeingPlanner()):
        outcome = planner.plan(Task("alfworld", "{}", "", "nowhere"), PlanLimits())
        assert outcome.status == "error"
        assert outcome.reason


def test_time_is_limited() -> None:
    assert SearchingTeacher().plan(draw(1), PlanLimits(seconds=0.0)).status == "timeout"


def test_another_domain_is_refused() -> None:
    with pytest.raises(LearnerError, match="blocks"):
        make_teacher(get_domain("blocks"), TeacherConfig())
