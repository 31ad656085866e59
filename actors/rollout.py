"""Episodes in lock-step: every slot that is free takes the next task, all slots decide together.

An episode ends when its goal holds, at the step limit, when its text would outgrow the model's
longest sequence, or at the first action that the simulator refuses or that is no action at all.
The last is ours: a refused action leaves the state as it was, so greedy decoding has nothing new
to go by and would be refused for ever; the refusal counts against Exe.

A simulator that raises or hangs (`actors.guard`) costs its own episode: that ends as failed, with
what was wrong, no goal condition met, and no procedure for a bank, since the policy is not to
blame. The simulator is not used again. A task with more objects than there are names ends so, too.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from actors.errors import ActingError
from actors.guard import Guard, SimulatorError
from actors.policy import Choice
from actors.records import Assignment, Shuffle, StageTimes
from configs.schema import ActingConfig
from model.tokenizer import Tokenizer
from shared_memory.records import Decision
from tasks.naming import Naming
from tasks.rendering import Rendering
from tasks.task import Action, Simulator, Task

LONGEST_TEXT = 1024
"""Characters of an answer that a decision keeps."""

MakeSimulator = Callable[[str], Simulator]


class Deciding(Protocol):
    """What decides: an `actors.policy.Policy`, or a session with a shared one."""

    @property
    def config(self) -> ActingConfig:
        """Its `episodes` are how many slots there are."""

    @property
    def version(self) -> int:
        """The book version that decides."""

    @property
    def max_tokens(self) -> int:
        """How long an episode's text may become."""

    def enter(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """See `Policy.enter`."""

    def feed(self, slots: Sequence[int], tokens: Sequence[Sequence[int]]) -> None:
        """See `Policy.feed`."""

    def decide(
        self,
        slots: Sequence[int],
        domains: Sequence[str],
        allowed: Sequence[Sequence[Sequence[int]]] | None = None,
        shuffle: Shuffle = "none",
        banks: bool = True,
        watched: Sequence[int] = (),
    ) -> list[Choice]:
        """See `Policy.decide`."""


@dataclass(frozen=True, slots=True)
class FinishedEpisode:
    """An episode as it came out of the simulator."""

    episode: int
    task: Task
    success: bool
    conditions_met: int
    conditions: int
    steps: int  # accepted actions
    decisions: tuple[Decision, ...]
    hits_success: int
    hits_failure: int
    seconds: float
    ending: str  # "solved", "step limit", "refused", "unparsable", "too long", "no action", "fault"
    fault: str = ""  # what the simulator did wrong, where that ended it
    near: tuple[str, ...] = ()  # of a watched one: which banks had something near each decision
    alone: tuple[str, ...] = ()  # and its answer without them; "" where not known


@dataclass(slots=True)
class RunningEpisode:
    """An episode that goes on: its simulator, names, and text so far."""

    assignment: Assignment
    simulator: Simulator
    naming: Naming
    tokens: list[int]
    started: float
    decisions: list[Decision] = field(default_factory=list)
    steps: int = 0
    hits_success: int = 0
    hits_failure: int = 0
    near: list[str] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)


def naming_seed(seed: int, assignment: Assignment) -> int:
    """The seed of an episode's names: by its number; for a probe by its content, so that every
    probe of the same task reads the same text."""
    what = assignment.task.digest if assignment.episode < 0 else str(assignment.number)
    return int.from_bytes(hashlib.blake2s(f"{seed}/{what}".encode(), digest_size=4).digest(), "big")


class Rollout:
    """Runs assignments through a policy, as many at once as the policy has slots.

    `make_simulator(domain)` is called at most once a slot and domain; simulators are kept and
    reused. `times` grows with every run. Every `watch_every`-th episode is watched: what the banks
    had for each of its decisions is kept, and what they changed.
    """

    def __init__(
        self,
        rendering: Rendering,
        tokenizer: Tokenizer,
        make_simulator: MakeSimulator,
        step_limit: int,
        seed: int,
        end_on_refusal: bool = True,
        simulator_deadline_s: float = 30.0,
        watch_every: int = 0,
    ) -> None:
        self.rendering = rendering
        self.tokenizer = tokenizer
        self.step_limit = step_limit
        self.seed = seed
        self.end_on_refusal = end_on_refusal
        self.times = StageTimes()
        self._watch_every = watch_every
        self._make_simulator = make_simulator
        self._idle: dict[str, list[Simulator]] = {}
        self._guard = Guard(simulator_deadline_s)

    def run(
        self,
        policy: Deciding,
        assignments: Sequence[Assignment],
        restrict: bool = False,
        shuffle: Shuffle = "none",
        banks: bool = True,
        on_progress: Callable[[], None] | None = None,
    ) -> Iterator[FinishedEpisode]:
        """Yield every assignment's episode as it ends (not in the order given).

        `restrict` allows only the actions that the simulator would accept; `shuffle` and `banks`
        are the policy's. `on_progress` is called after each round of decisions. Raises
        ActingError if the policy answers for a wrong number of slots.
        """
        waiting = list(reversed(assignments))
        free = list(reversed(range(policy.config.episodes)))
        running: dict[int, RunningEpisode] = {}
        while waiting or running:
            yield from self._refill(policy, waiting, free, running)
            if running:
                yield from self._round(policy, free, running, restrict, shuffle, banks)
            if on_progress is not None:
                on_progress()

    def _refill(
        self,
        policy: Deciding,
        waiting: list[Assignment],
        free: list[int],
        running: dict[int, RunningEpisode],
    ) -> Iterator[FinishedEpisode]:
        """Put waiting tasks into free slots and feed their prompts to the model."""
        began = time.perf_counter()
        slots: list[int] = []
        ended: list[FinishedEpisode] = []
        while waiting and free:
            assignment = waiting.pop()
            try:
                episode = self.begin(assignment)
                solved = self._guard.call(lambda: episode.simulator.solved)  # noqa: B023
            except SimulatorError as fault:
                ended.append(self._ended_by(fault, assignment))
                continue
            if solved:
                ended.append(self._end(episode, "solved"))
            elif len(episode.tokens) + 2 > policy.max_tokens:
                ended.append(self._end(episode, "too long"))
            else:
                slot = free.pop()
                running[slot] = episode
                slots.append(slot)
        if slots:
            policy.enter(slots, [running[slot].tokens for slot in slots])
        self.times.reset += time.perf_counter() - began
        yield from ended

    def _round(
        self,
        policy: Deciding,
        free: list[int],
        running: dict[int, RunningEpisode],
        restrict: bool,
        shuffle: Shuffle,
        banks: bool,
    ) -> Iterator[FinishedEpisode]:
        """One decision of every running episode."""
        began = time.perf_counter()
        ended: list[FinishedEpisode] = []
        allowed: list[list[list[int]]] | None = None
        if restrict:
            allowed = []
            for slot in sorted(running):
                episode = running[slot]
                try:
                    words = self._guard.call(lambda: self.allowed_answers(episode))  # noqa: B023
                except SimulatorError as fault:
                    ended.append(self._ended_by(fault, episode.assignment, running.pop(slot)))
                    free.append(slot)
                    continue
                if words:
                    allowed.append([self.tokenizer.encode(text) for text in words])
                else:
                    ended.append(self._end(running.pop(slot), "no action"))
                    free.append(slot)
        slots = sorted(running)
        choosing = time.perf_counter()
        domains = [running[slot].assignment.task.domain for slot in slots]
        watched = [row for row, slot in enumerate(slots) if self._watches(running[slot].assignment)]
        choices = policy.decide(slots, domains, allowed, shuffle, banks, watched) if slots else []
        if len(choices) != len(slots):
            raise ActingError(
                f"the policy answered {len(choices)} decisions for {len(slots)} slots: "
                "its decoding engine is broken"
            )
        stepping = time.perf_counter()
        going: list[int] = []
        growth: list[list[int]] = []
        for row, (slot, choice) in enumerate(zip(slots, choices, strict=True)):
            episode = running[slot]
            if row in watched:
                self._note(episode, choice)
            text = self.tokenizer.decode(list(choice.action_tokens))
            action = self.rendering.parse_action(text, episode.naming)
            broken: SimulatorError | None = None
            try:
                accepted, solved, observation = self._guard.call(
                    lambda: self._step(episode, action)  # noqa: B023
                )
            except SimulatorError as error:
                accepted, solved, observation, broken = False, False, "", error
            episode.decisions.append(
                Decision(
                    number=len(episode.decisions),
                    codes=choice.codes,
                    action=text[:LONGEST_TEXT],
                    accepted=accepted,
                    prompt_tokens=tuple(episode.tokens),
                )
            )
            episode.steps += accepted
            episode.hits_success += choice.hit_success
            episode.hits_failure += choice.hit_failure
            if broken is not None:
                ended.append(self._ended_by(broken, episode.assignment, running.pop(slot)))
                free.append(slot)
                continue
            seen = self.tokenizer.encode(observation)
            answer = [self.tokenizer.act, *choice.action_tokens, self.tokenizer.end]
            if self.tokenizer.begin in seen:  # the text begins anew
                episode.tokens = seen
                grown = seen
            else:
                episode.tokens.extend([*answer, *seen])
                grown = [*answer[1:], *seen]
            ending = self._ending(episode, action, accepted, solved, policy.max_tokens)
            if ending is None:
                going.append(slot)
                growth.append(grown)
            else:
                ended.append(self._end(episode, ending))
                del running[slot]
                free.append(slot)
        feeding = time.perf_counter()
        if going:
            policy.feed(going, growth)
        done = time.perf_counter()
        self.times.select += (stepping - choosing) + (done - feeding)
        self.times.step += (choosing - began) + (feeding - stepping)
        self.times.decisions += len(slots)
        yield from ended

    def _watches(self, assignment: Assignment) -> bool:
        if not self._watch_every or assignment.episode < 0:
            return False
        return assignment.number % self._watch_every == 0

    def _note(self, episode: RunningEpisode, choice: Choice) -> None:
        """Keep what the banks had for a decision, and what it would be without them."""
        signs = {(True, True): "both", (True, False): "success", (False, True): "failure"}
        episode.near.append(signs.get((choice.hit_success, choice.hit_failure), ""))
        alone = "" if choice.alone is None else self.tokenizer.decode(list(choice.alone))
        episode.alone.append(alone[:LONGEST_TEXT])

    def _step(self, episode: RunningEpisode, action: Action | None) -> tuple[bool, bool, str]:
        """Let the simulator take the action: (accepted, solved now, what is seen after it)."""
        simulator = episode.simulator
        before = simulator.atoms
        accepted = action is not None and simulator.step(action)
        observation = self.rendering.observation(before, simulator, episode.naming)
        return accepted, simulator.solved, observation

    def _ending(
        self,
        episode: RunningEpisode,
        action: Action | None,
        accepted: bool,
        solved: bool,
        max_tokens: int,
    ) -> str | None:
        """Why the episode is over; None if it goes on."""
        if solved:
            return "solved"
        if not accepted and self.end_on_refusal:
            return "unparsable" if action is None else "refused"
        if len(episode.decisions) >= self.step_limit:
            return "step limit"
        if len(episode.tokens) + 2 > max_tokens:
            return "too long"
        return None

    def begin(self, assignment: Assignment) -> RunningEpisode:
        """Reset a simulator to the task and render its prompt.

        Raises SimulatorError for what the simulator does wrong, and where the rendering has too
        few names for the task.
        """
        domain = assignment.task.domain
        idle = self._idle.setdefault(domain, [])
        simulator = idle.pop() if idle else self._make_simulator(domain)
        self._guard.call(lambda: _reset(simulator, assignment.task))
        seed = naming_seed(self.seed, assignment)
        naming = self._guard.call(lambda: self.rendering.naming(simulator, seed))
        prompt = self._guard.call(lambda: self.rendering.prompt(simulator, naming))
        tokens = self.tokenizer.encode(prompt)
        return RunningEpisode(assignment, simulator, naming, tokens, time.perf_counter())

    def _end(self, episode: RunningEpisode, ending: str) -> FinishedEpisode:
        """Give the simulator back and say how the episode went."""
        simulator = episode.simulator
        try:
            (met, conditions), success = self._guard.call(
                lambda: (simulator.goal_conditions(), simulator.solved)
            )
        except SimulatorError as fault:
            return self._ended_by(fault, episode.assignment, episode)
        self._idle[episode.assignment.task.domain].append(simulator)
        self.times.episodes += 1
        return FinishedEpisode(
            episode=episode.assignment.episode,
            task=episode.assignment.task,
            success=success,
            conditions_met=met,
            conditions=conditions,
            steps=episode.steps,
            decisions=tuple(episode.decisions),
            hits_success=episode.hits_success,
            hits_failure=episode.hits_failure,
            seconds=time.perf_counter() - episode.started,
            ending=ending,
            near=tuple(episode.near),
            alone=tuple(episode.alone),
        )

    def _ended_by(
        self, fault: SimulatorError, assignment: Assignment, episode: RunningEpisode | None = None
    ) -> FinishedEpisode:
        """The episode (None: it had not begun) as its simulator's fault leaves it."""
        self.times.episodes += 1
        decisions = () if episode is None else tuple(episode.decisions)
        none = np.empty(0, dtype=np.uint16)
        return FinishedEpisode(
            episode=assignment.episode,
            task=assignment.task,
            success=False,
            conditions_met=0,
            conditions=1,
            steps=0 if episode is None else episode.steps,
            decisions=tuple(replace(decision, codes=none) for decision in decisions),
            hits_success=0 if episode is None else episode.hits_success,
            hits_failure=0 if episode is None else episode.hits_failure,
            seconds=0.0 if episode is None else time.perf_counter() - episode.started,
            ending="fault",
            fault=str(fault),
            near=() if episode is None else tuple(episode.near),
            alone=() if episode is None else tuple(episode.alone),
        )

    def allowed_answers(self, episode: RunningEpisode) -> list[str]:
        """The applicable actions as text, in the episode's names."""
        return [
            self.rendering.action(action, episode.naming)
            for action in episode.simulator.applicable_actions()
        ]


def _reset(simulator: Simulator, task: Task) -> None:
    """Reset, and look at what is there, since a simulator may do its work only then."""
    simulator.reset(task)
    _ = simulator.objects, simulator.atoms
