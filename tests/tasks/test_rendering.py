"""Text for the small LM: complete vocabulary, bijective names, actions read back."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.schema import RenderingConfig
from tasks.domains import get_domain
from tasks.errors import TaskError
from tasks.generators import GENERATORS
from tasks.rendering import SPECIALS, Rendering
from tasks.simulators import make_simulator
from tasks.task import Simulator

DOMAINS = [get_domain(name) for name in GENERATORS]
SIMULATORS = {domain.name: make_simulator(domain) for domain in DOMAINS}


def started(name: str, seed: int) -> Simulator:
    simulator = SIMULATORS[name]
    simulator.reset(get_domain(name).draw({}, seed))
    return simulator


def unstacking() -> Simulator:
    """b3 on b1, b2 beside; b1 is to stand on b2."""
    problem = """(define (problem p) (:domain blocks)
        (:objects b1 b2 b3 - block robot - robot)
        (:init (on b3 b1) (ontable b1) (ontable b2) (clear b2) (clear b3) (handempty robot))
        (:goal (and (on b1 b2))))"""
    domain = get_domain("blocks")
    SIMULATORS["blocks"].reset(domain.task(domain.read_problem(problem, "p"), "p"))
    return SIMULATORS["blocks"]


def rendering(**settings_: object) -> Rendering:
    return Rendering(DOMAINS, RenderingConfig.model_validate(settings_))


def test_a_prompt_to_look_at() -> None:
    text = rendering(random_names=False)
    simulator = unstacking()
    naming = text.naming(simulator, 0)
    assert text.prompt(simulator, naming) == (
        "<domain> blocks <goal> on block1 block2 <state> clear block2 clear block3 "
        "handempty robot on block3 block1 ontable block1 ontable block2"
    )
    assert text.action(("unstack", "b3"), naming) == "unstack block3"


def test_specials_come_first_and_no_word_twice() -> None:
    vocabulary = rendering().vocabulary
    assert vocabulary[: len(SPECIALS)] == SPECIALS
    assert len(set(vocabulary)) == len(vocabulary)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(list(GENERATORS)),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.sampled_from(["none", "changes", "state"]),
    st.booleans(),
    st.booleans(),
)
def test_all_words_are_known_and_actions_read_back(
    name: str, task: int, seed: int, observation: str, static_atoms: bool, random_names: bool
) -> None:
    text = rendering(observation=observation, static_atoms=static_atoms, random_names=random_names)
    known = set(text.vocabulary)
    simulator = started(name, task)
    naming = text.naming(simulator, seed)
    assert {naming.object[word] for word in naming.word.values()} == dict(simulator.objects).keys()
    assert set(text.prompt(simulator, naming).split()) <= known
    rng = random.Random(seed)
    for _ in range(4):
        actions = simulator.applicable_actions()
        if not actions:  # in a trap
            break
        for action in actions:
            words = text.action(action, naming)
            assert set(words.split()) <= known
            assert text.parse_action(words, naming) == action
        before = simulator.atoms
        simulator.step(rng.choice(actions))
        seen = text.observation(before, simulator, naming)
        assert set(seen.split()) <= known
        assert (seen == "") is (observation == "none")


@pytest.mark.parametrize(
    "words",
    ["", "fly block1", "pickup", "pickup block1 block2", "pickup block8 ", "block1", "stack"],
)
def test_what_is_no_action_reads_as_none(words: str) -> None:
    text = rendering(random_names=False)
    naming = text.naming(unstacking(), 0)
    assert text.parse_action(words, naming) is None


def test_changes_are_new_atoms_then_vanished_ones() -> None:
    text = rendering(random_names=False, observation="changes")
    simulator = unstacking()
    naming = text.naming(simulator, 0)
    before = simulator.atoms
    assert simulator.step(("unstack", "b3"))
    assert text.observation(before, simulator, naming) == (
        "<see> clear block1 handfull robot holding block3 "
        "not clear block3 not handempty robot not on block3 block1"
    )
    assert text.observation(simulator.atoms, simulator, naming) == "<see>"


def test_interchangeable_names_are_those_that_carry_no_meaning() -> None:
    groups = rendering(objects_per_type=3).interchangeable
    assert ("block1", "block2", "block3") in groups
    assert ("peg1", "peg2", "peg3") in groups
    assert not any("left" in group for group in groups)  # plans take the left gripper first
    assert not any("disc1" in group or "robot" in group for group in groups)
    shown = rendering(objects_per_type=3, static_atoms=True).interchangeable
    assert ("disc1", "disc2", "disc3") in shown


def test_discs_are_named_by_size_and_pegs_at_random() -> None:
    text = rendering()
    simulator = started("hanoi", 4)
    namings = [text.naming(simulator, seed).word for seed in range(20)]
    assert all(naming["d1"] == "disc1" and naming["d2"] == "disc2" for naming in namings)
    assert len({naming["peg1"] for naming in namings}) > 3
    assert text.naming(simulator, 5) == text.naming(simulator, 5)


def test_too_few_names() -> None:
    text = rendering(objects_per_type=2)
    simulator = SIMULATORS["blocks"]
    simulator.reset(get_domain("blocks").draw({"blocks": (3, 3)}, 0))
    with pytest.raises(TaskError, match="3 objects of kind 'block' but there are 2 names: raise"):
        text.naming(simulator, 0)


def test_another_domain_is_refused(tmp_path: Path) -> None:
    text = Rendering([get_domain("gripper")], RenderingConfig())
    with pytest.raises(TaskError, match="not made for domain 'blocks'"):
        text.naming(started("blocks", 0), 0)


def test_any_domain_on_file_can_be_shown() -> None:
    for name in ("travel", "tsp", "depot", "hiking", "elevator", "minecraft", "movie"):
        domain = get_domain(name)
        text = Rendering([domain], RenderingConfig(objects_per_type=128, static_atoms=True))
        simulator = make_simulator(domain)
        simulator.reset(domain.task_from_file(domain.train_files[0]))
        naming = text.naming(simulator, 1)
        assert set(text.prompt(simulator, naming).split()) <= set(text.vocabulary)
        for action in simulator.applicable_actions():
            assert text.parse_action(text.action(action, naming), naming) == action
