"""Lock-step episodes with real simulators, and a policy that follows a planner."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from actors.policy import Choice, Policy
from actors.records import Assignment
from actors.rollout import Rollout, naming_seed
from configs.schema import DomainShare, PhaseConfig, RenderingConfig, StreamConfig
from learner.planners import MimirPlanner, PlanLimits
from model.tokenizer import WordTokenizer
from tasks.mimir_simulator import MimirSimulator
from tasks.rendering import Rendering
from tasks.simulators import make_simulator
from tasks.stream import TaskStream
from tasks.task import Action, Task

STREAM = TaskStream(
    StreamConfig(
        phases=(
            PhaseConfig(
                name="both",
                tasks=24,
                domains=(
                    DomainShare(name="blocks", size={"blocks": (2, 3)}),
                    DomainShare(name="ferry", size={"cars": (1, 2), "locations": (2, 3)}),
                ),
            ),
        ),
        probe_tasks=4,
    ),
    seed=3,
)
RENDERING = Rendering(STREAM.domains, RenderingConfig())
TOKENIZER = WordTokenizer(RENDERING.vocabulary)
PLANNERS = {domain.name: MimirPlanner(domain) for domain in STREAM.domains}
DOMAINS = {domain.name: domain for domain in STREAM.domains}


class Oracle:
    """Stands in for `Policy`: knows each running episode's plan. `spoil` turns the given decision
    of every episode into nonsense or an inapplicable action."""

    def __init__(self, rollout: Rollout, slots: int, spoil: dict[int, str] | None = None) -> None:
        self.config = SimpleNamespace(episodes=slots)
        self.max_tokens = 200
        self.spoil = spoil or {}
        self.rollout = rollout
        self.sequences: dict[int, list[int]] = {}
        self.rounds: list[int] = []

    def enter(self, slots: list[int], prompts: list[list[int]]) -> None:
        for slot, prompt in zip(slots, prompts, strict=True):
            self.sequences[slot] = list(prompt)

    def feed(self, slots: list[int], tokens: list[list[int]]) -> None:
        for slot, more in zip(slots, tokens, strict=True):
            self.sequences[slot] += [TOKENIZER.act, *more]

    def decide(
        self,
        slots: Sequence[int],
        domains: Sequence[str],
        allowed: Sequence[Sequence[Sequence[int]]] | None = None,
        shuffle: str = "none",
        banks: bool = True,
        watched: Sequence[int] = (),
    ) -> list[Choice]:
        del shuffle, banks, watched
        self.rounds.append(len(slots))
        choices = []
        for place, (slot, _) in enumerate(zip(slots, domains, strict=True)):
            episode = RUNNING[slot]
            number = len(episode.decisions)
            word = self.spoil.get(number)
            if word is not None:
                tokens = TOKENIZER.encode(word)
            else:
                tokens = TOKENIZER.encode(
                    RENDERING.action(self.plan(episode)[number], episode.naming)
                )
                if allowed is not None:
                    assert tokens in [list(answer) for answer in allowed[place]]
            choices.append(Choice(np.zeros(4, dtype=np.uint16), tuple(tokens), False, number == 0))
        return choices

    def plan(self, episode: Any) -> tuple[Action, ...]:
        task = episode.assignment.task
        return PLANNERS[task.domain].plan(task, PlanLimits()).plan


RUNNING: dict[int, Any] = {}


@pytest.fixture
def rollout(monkeypatch: pytest.MonkeyPatch) -> Rollout:
    made = Rollout(
        RENDERING,
        TOKENIZER,
        lambda domain: make_simulator(DOMAINS[domain]),
        step_limit=12,
        seed=0,
    )
    original = Rollout._round

    def remember(self: Rollout, policy: Any, free: Any, running: Any, *rest: Any) -> Any:
        global RUNNING
        RUNNING = running
        return original(self, policy, free, running, *rest)

    monkeypatch.setattr(Rollout, "_round", remember)
    return made


ASSIGNMENTS = [Assignment(100 + index, STREAM[index]) for index in range(len(STREAM))]


def run(rollout: Rollout, oracle: Oracle, **options: Any) -> list[Any]:
    return list(rollout.run(cast(Policy, oracle), ASSIGNMENTS, **options))


@pytest.mark.parametrize("restrict", [False, True])
def test_every_task_is_acted_once_and_a_perfect_policy_solves_all(
    rollout: Rollout, restrict: bool
) -> None:
    oracle = Oracle(rollout, slots=5)
    finished = run(rollout, oracle, restrict=restrict)
    assert sorted(each.episode for each in finished) == [100 + i for i in range(len(STREAM))]
    assert all(each.success and each.ending == "solved" for each in finished)
    assert all(each.conditions_met == each.conditions for each in finished)
    assert max(oracle.rounds) == 5  # slots are refilled and never exceeded
    assert rollout.times.decisions == sum(len(each.decisions) for each in finished)
    assert rollout.times.episodes == len(STREAM)


def test_decisions_carry_the_text_that_they_were_made_from(rollout: Rollout) -> None:
    oracle = Oracle(rollout, slots=24)
    finished = run(rollout, oracle)
    longest = max(finished, key=lambda each: len(each.decisions))
    prompt = list(longest.decisions[0].prompt_tokens)
    for decision in longest.decisions:
        assert list(decision.prompt_tokens) == prompt
        prompt += [TOKENIZER.act, *TOKENIZER.encode(decision.action), TOKENIZER.end]
    assert [decision.number for decision in longest.decisions] == list(
        range(len(longest.decisions))
    )
    assert longest.hits_failure == 1


class FedOracle(Oracle):
    """Remembers what each slot was given, in order."""

    def __init__(self, rollout: Rollout, slots: int) -> None:
        super().__init__(rollout, slots)
        self.fed: dict[tuple[int, int], list[list[int]]] = {}  # (slot, episode) → texts

    def enter(self, slots: list[int], prompts: list[list[int]]) -> None:
        self.entered = dict(zip(slots, prompts, strict=True))

    def decide(self, slots: Sequence[int], *rest: Any) -> list[Choice]:
        for slot in slots:
            if slot in self.entered:
                key = slot, RUNNING[slot].assignment.episode
                self.fed[key] = [list(self.entered.pop(slot))]
        return super().decide(slots, *rest)

    def feed(self, slots: list[int], tokens: list[list[int]]) -> None:
        for slot, more in zip(slots, tokens, strict=True):
            self.fed[slot, RUNNING[slot].assignment.episode].append(list(more))


def test_with_prompts_every_decision_is_made_from_the_present_one(rollout: Rollout) -> None:
    prompted = Rendering(STREAM.domains, RenderingConfig(observation="prompt"))
    assert prompted.vocabulary == RENDERING.vocabulary
    rollout.rendering = prompted
    oracle = FedOracle(rollout, slots=5)
    finished = run(rollout, oracle)
    assert all(each.success for each in finished)
    assert max(len(each.decisions) for each in finished) > 2
    fed = {episode: texts for (_, episode), texts in oracle.fed.items()}
    for each in finished:
        simulator = make_simulator(DOMAINS[each.task.domain])
        simulator.reset(each.task)
        seed = naming_seed(rollout.seed, Assignment(each.episode, each.task))
        naming = prompted.naming(simulator, seed)
        for decision in each.decisions:
            prompt = TOKENIZER.encode(prompted.prompt(simulator, naming))
            assert list(decision.prompt_tokens) == prompt
            assert fed[each.episode][decision.number] == prompt
            action = prompted.parse_action(decision.action, naming)
            assert action is not None
            assert simulator.step(action)
        assert len(fed[each.episode]) == len(each.decisions)  # the last state is not fed


@pytest.mark.parametrize(
    ("word", "ending", "action"),
    [("<state> not", "unparsable", "<state> not"), (None, "refused", None)],
)
def test_the_first_refusal_ends_the_episode_and_counts(
    rollout: Rollout, word: str | None, ending: str, action: str | None
) -> None:
    first = STREAM.domains[0]
    oracle = Oracle(rollout, slots=8, spoil={0: word} if word else {})
    if word is None:  # an action of the domain that is not applicable: all of them are tried

        def refused(episode: Any) -> tuple[Action, ...]:
            simulator = episode.simulator
            objects = [name for name, _ in simulator.objects]
            from itertools import product

            for name, arity in DOMAINS[episode.assignment.task.domain].actions.items():
                for arguments in product(objects, repeat=arity):
                    candidate = (name, *arguments)
                    if candidate not in simulator.applicable_actions() and all(
                        argument in episode.naming.word for argument in arguments
                    ):
                        return (candidate,)
            raise AssertionError(first)

        oracle.plan = refused  # type: ignore[method-assign]
    for each in run(rollout, oracle):
        assert each.ending == ending
        assert not each.success
        assert len(each.decisions) == 1
        assert each.steps == 0
        assert not each.decisions[0].accepted
        if action is not None:
            assert each.decisions[0].action == action


def test_the_step_limit_ends_an_episode(rollout: Rollout) -> None:
    rollout.step_limit = 1
    finished = run(rollout, Oracle(rollout, slots=8))
    assert {each.ending for each in finished} <= {"solved", "step limit"}
    assert all(len(each.decisions) == 1 for each in finished)


def test_names_are_drawn_by_episode_but_fixed_for_probes(rollout: Rollout) -> None:
    oracle = Oracle(rollout, slots=4)
    probe = [Assignment(-1, STREAM.probe(0)[0])]
    first, second = (
        next(iter(rollout.run(cast(Policy, oracle), probe))).decisions[0].prompt_tokens
        for _ in range(2)
    )
    assert first == second
    task = STREAM[0]
    texts = {
        next(iter(rollout.run(cast(Policy, oracle), [Assignment(number, task)])))
        .decisions[0]
        .prompt_tokens
        for number in range(8)
    }
    assert len(texts) > 1


class Faulty(MimirSimulator):
    """Does wrong with some tasks, at some moment."""

    def __init__(self, domain: Any, wrong: Mapping[str, str]) -> None:
        super().__init__(domain)
        self._wrong = wrong
        self._fault = ""
        self.resets = 0

    def reset(self, task: Task) -> None:
        self._fault = self._wrong.get(task.digest, "")
        self.resets += 1
        if self._fault == "crashes at reset":
            raise OSError("no such game")
        super().reset(task)

    def step(self, action: Action) -> bool:
        if self._fault == "crashes at step":
            raise ZeroDivisionError("inside")
        if self._fault == "hangs":
            for number in itertools.count():
                assert number >= 0
        return super().step(action)

    def applicable_actions(self) -> tuple[Action, ...]:
        if self._fault == "crashes at actions":
            raise KeyError("action")
        return super().applicable_actions()


def test_a_simulator_that_fails_costs_one_episode(rollout: Rollout) -> None:
    """Four of the tasks each do something else; all others are solved, in the same slots."""
    kinds = {
        "crashes at reset": "OSError: no such game",
        "crashes at step": "ZeroDivisionError: inside",
        "crashes at actions": "KeyError: 'action'",
        "hangs": "the simulator did not come back within 1 s",
    }
    digests = dict.fromkeys(each.task.digest for each in ASSIGNMENTS)
    wrong = dict(zip(digests, kinds))
    made: list[Faulty] = []

    def make(domain: str) -> Faulty:
        made.append(Faulty(DOMAINS[domain], wrong))
        return made[-1]

    faulty = Rollout(RENDERING, TOKENIZER, make, 12, 0, simulator_deadline_s=1.0)
    oracle = Oracle(faulty, slots=5)
    finished = run(faulty, oracle, restrict=True)
    assert sorted(each.episode for each in finished) == [each.episode for each in ASSIGNMENTS]
    for each in finished:
        kind = wrong.get(each.task.digest, "")
        assert each.success is not bool(kind)
        assert each.fault == kinds.get(kind, "")
        if kind:
            assert each.ending == "fault"
            assert (each.conditions_met, each.conditions) == (0, 1)
            assert all(decision.codes.shape == (0,) for decision in each.decisions)
    assert len(made) > 5  # one that failed is not used again


def test_a_task_with_more_objects_than_names_costs_one_episode() -> None:
    """Three blocks or three locations find two names; the other tasks begin."""
    few = Rendering(STREAM.domains, RenderingConfig(objects_per_type=2))
    narrow = Rollout(few, TOKENIZER, lambda domain: make_simulator(DOMAINS[domain]), 12, 0)
    ended: dict[str, list[str]] = {}
    oracle = SimpleNamespace(config=SimpleNamespace(episodes=2), max_tokens=4)
    cast(Any, oracle).enter = lambda slots, prompts: None
    for each in narrow.run(cast(Policy, oracle), ASSIGNMENTS):
        ended.setdefault(each.ending, []).append(each.fault)
    assert set(ended) == {"fault", "too long"}
    assert sum(map(len, ended.values())) == len(ASSIGNMENTS)
    assert all("raise rendering.objects_per_type" in fault for fault in ended["fault"])
