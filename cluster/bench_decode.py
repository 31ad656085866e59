"""`nesypr bench decode`: decisions/s of the decoding engine against `generate`, no simulators.

All read and write the same texts: prompts and actions of planners' plans for tasks of Blocks,
Gripper, Ferry and Hanoi, as many tokens for every decision as the plan's action has, `<end>`
included. The weights are random and the same; only time is measured. One torch thread, greedy,
float32, in turn in one process, several times; ratios are medians of the runs' own ratios.

- The engine runs `SLOTS` episodes in lock-step and refills slots as episodes end. It computes
  what it always computes: the memory, its codes, every token's scores and their argmax; only
  then the plan's token is put in place of the argmax.
- "one": `transformers`' `generate` as one writes it first: an episode after another, the whole
  text so far for each decision. It is a bare LM: no memory, no book.
- "batch": the same with all episodes that the engine runs at that moment in one `generate`,
  padded on the left; each call keeps its own cache, nothing is kept from decision to decision.
- Contrast: the engine with an R⁻ for every decision. `contrast_cost` is the time with it over the
  time without; `contrast_cost_with_banks` is that of whole decisions of the policy, look-ups in
  two banks of `BANK_PROCEDURES` procedures a domain and both reconstructions included.

The rivals get what a competent user gives them: `inference_mode`, tensors made once a call, no
sampling, no stopping criteria but the number of tokens. They get no more: no static or quantised
cache, no compilation, and no hand-written loop, which would be the engine again.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from actors.policy import Policy
from cluster.bench_setting import (
    BANK_PROCEDURES,
    THRESHOLD,
    FilledReplica,
    make_rendering,
    make_stream,
    plain_model,
    random_model,
)
from configs.schema import ActingConfig, ModelConfig
from learner.planners import MimirPlanner, PlanLimits
from learner.traces import teach
from model.batches import EncodedTrace
from model.choosing import Sampling
from model.decoding import DecodingEngine
from model.procedure_lm import ProcedureLM
from tasks.domains import get_pddl_domain
from tasks.simulators import make_simulator

RUNS = 5
TASKS = 192
SLOTS = 64
PLAIN_TASKS = 6


@dataclass(frozen=True, slots=True)
class Text:
    """One episode: its domain and its tokens."""

    domain: str
    trace: EncodedTrace

    @property
    def tokens(self) -> tuple[int, ...]:
        """All of them."""
        return self.trace.tokens

    def before(self, decision: int) -> tuple[int, ...]:
        """What the decision is made from, `<act>` included."""
        return self.tokens[: self.trace.decisions[decision][0] + 1]

    def answer(self, decision: int) -> tuple[int, ...]:
        """The action's tokens and `<end>`."""
        position, length = self.trace.decisions[decision]
        return self.tokens[position + 1 : position + 1 + length]

    def after(self, decision: int) -> tuple[int, ...] | None:
        """What is fed after the decision's `<act>`; None after the last."""
        if decision + 1 == len(self.trace.decisions):
            return None
        return self.tokens[
            self.trace.decisions[decision][0] + 1 : self.trace.decisions[decision + 1][0]
        ]


@dataclass(frozen=True, slots=True)
class Round:
    """Decisions taken together: which slots get a new episode, and what each slot decides."""

    entering: list[int]
    acting: list[tuple[int, Text, int]]  # (slot, episode, decision), by slot


class FollowingEngine(DecodingEngine):
    """Chooses as always, then goes on with the plan's tokens, so that texts are those of plans."""

    plan: list[tuple[int, ...]]  # of each decision, with <end>
    tokens_decoded = 0

    def follow(self, acting: Sequence[tuple[int, Text, int]]) -> None:
        """What the next `decode` is to answer."""
        self.plan = [text.answer(decision) for _, text, decision in acting]
        self._step = 0

    def _choose(self, scores: Tensor, running: Sequence[int], sampling: Sampling) -> Tensor:
        super()._choose(scores, running, sampling).tolist()
        step, self._step = self._step, self._step + 1
        plans = (self.plan[decision] for decision in running)
        return torch.tensor([plan[min(step, len(plan) - 1)] for plan in plans])


def bench_decode() -> dict[str, Any]:
    """Measure all, `RUNS` times each in turn."""
    torch.set_num_threads(1)
    model, texts = make_texts(ModelConfig(), TASKS)
    rounds = list(lock_step(texts, SLOTS))
    acting = ActingConfig(episodes=SLOTS, threshold=THRESHOLD)
    replica = FilledReplica(model.chunks, model.config.book.codes, 0)
    policy = Policy(model, 1, acting, replica)
    with torch.inference_mode():
        engine = FollowingEngine(model, SLOTS, model.config.max_tokens)
    policy.engine = engine
    plain = plain_model(model)
    few = texts[:PLAIN_TASKS]
    ways: dict[str, Callable[[], int]] = {
        "engine": lambda: run_engine(engine, rounds, contrast=False),
        "contrast": lambda: run_engine(engine, rounds, contrast=True),
        "policy": lambda: run_policy(policy, rounds, banks=False),
        "banks": lambda: run_policy(policy, rounds, banks=True),
        "one": lambda: sum(run_generate(plain, [(text, d)]) for text, d in decisions_of(few)),
        "batch": lambda: sum(
            run_generate(plain, [(text, d) for _, text, d in each.acting]) for each in rounds
        ),
    }
    run_generate(plain, [(few[0], 0)])  # warm-up
    run_engine(engine, rounds[:4], contrast=True)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(RUNS):
        for name, way in ways.items():
            began = time.perf_counter()
            decisions = way()
            rates[name].append(decisions / (time.perf_counter() - began))

    def ratio(mine: str, theirs: str) -> list[float]:
        return [round(a / b, 3) for a, b in zip(rates[mine], rates[theirs])]

    one, batch = ratio("engine", "one"), ratio("engine", "batch")
    contrast, banks = ratio("engine", "contrast"), ratio("policy", "banks")
    return {
        "engine_decisions_per_s": statistics.median(rates["engine"]),
        "one_decisions_per_s": statistics.median(rates["one"]),
        "batch_decisions_per_s": statistics.median(rates["batch"]),
        "ratio_to_one": statistics.median(one),
        "ratio_to_batch": statistics.median(batch),
        "contrast_cost": statistics.median(contrast),
        "contrast_cost_with_banks": statistics.median(banks),
        "policy_decisions_per_s": statistics.median(rates["policy"]),
        "policy_with_banks_decisions_per_s": statistics.median(rates["banks"]),
        "runs": RUNS,
        "ratios_to_one": one,
        "ratios_to_batch": batch,
        "contrast_costs": contrast,
        "contrast_costs_with_banks": banks,
        "slots": SLOTS,
        "episodes": len(texts),
        "decisions": sum(len(text.trace.decisions) for text in texts),
        "prompt_tokens": statistics.mean(text.trace.decisions[0][0] for text in texts),
        "answer_tokens": statistics.mean(
            length for text in texts for _, length in text.trace.decisions
        ),
        "bank_procedures": BANK_PROCEDURES,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "threads": torch.get_num_threads(),
    }


def make_texts(config: ModelConfig, tasks: int) -> tuple[ProcedureLM, list[Text]]:
    """A model of random weights, and the texts of plans for tasks."""
    stream = make_stream(tasks)
    rendering = make_rendering(stream)
    model = random_model(config, rendering)
    by_name = {domain.name: domain for domain in stream.domains}
    planners = {name: MimirPlanner(get_pddl_domain(name)) for name in by_name}
    simulators = {name: make_simulator(domain) for name, domain in by_name.items()}
    texts = []
    for task in stream:
        name = task.domain
        _, trace = teach(task, planners[name], simulators[name], rendering, PlanLimits())
        if trace is not None:
            encoded = EncodedTrace.encode(
                model.tokenizer, trace.prompt, trace.observations, trace.actions
            )
            texts.append(Text(name, encoded))
    return model, texts


def lock_step(texts: Sequence[Text], slots: int) -> Iterator[Round]:
    """The rounds in which an actor would take these episodes' decisions."""
    waiting = list(reversed(texts))
    running: dict[int, tuple[Text, int]] = {}
    while waiting or running:
        entering = [slot for slot in range(slots) if slot not in running][: len(waiting)]
        for slot in entering:
            running[slot] = (waiting.pop(), 0)
        acting = [(slot, *running[slot]) for slot in sorted(running)]
        yield Round(entering, acting)
        for slot, text, decision in acting:
            if text.after(decision) is None:
                del running[slot]
            else:
                running[slot] = (text, decision + 1)


def decisions_of(texts: Sequence[Text]) -> list[tuple[Text, int]]:
    """Every decision of every episode."""
    return [(text, number) for text in texts for number in range(len(text.trace.decisions))]


def run_engine(engine: FollowingEngine, rounds: Sequence[Round], contrast: bool) -> int:
    """How many decisions were taken."""
    decisions = 0
    with torch.inference_mode():
        for each in rounds:
            _enter(engine, each)
            slots = [slot for slot, _, _ in each.acting]
            engine.follow(each.acting)
            R = engine.read(slots).memory
            against = R.roll(1, 0) if contrast else None
            where = torch.ones(len(slots), dtype=torch.bool)
            engine.decode(slots, R, against, where, alpha=0.5, gamma=0.1)
            _feed(engine, each)
            decisions += len(slots)
    return decisions


def run_policy(policy: Policy, rounds: Sequence[Round], banks: bool) -> int:
    """How many decisions were taken. Its engine must be a `FollowingEngine`."""
    engine = policy.engine
    assert isinstance(engine, FollowingEngine)
    decisions = 0
    for each in rounds:
        _enter(engine, each)
        engine.follow(each.acting)
        slots, domains = zip(*((slot, text.domain) for slot, text, _ in each.acting))
        choices = policy.decide(slots, domains, banks=banks)
        assert all(choice.hit_failure for choice in choices) or not banks
        _feed(engine, each)
        decisions += len(slots)
    return decisions


def _enter(engine: DecodingEngine, each: Round) -> None:
    new = set(each.entering)
    prompts = [text.before(0)[:-1] for slot, text, _ in each.acting if slot in new]
    engine.enter(each.entering, prompts)


def _feed(engine: DecodingEngine, each: Round) -> None:
    after = [(slot, text.after(decision)) for slot, text, decision in each.acting]
    going = [(slot, tokens) for slot, tokens in after if tokens is not None]
    engine.feed([slot for slot, _ in going], [tokens for _, tokens in going])


def run_generate(plain: LlamaForCausalLM, batch: Sequence[tuple[Text, int]]) -> int:
    """One call of `generate` for these decisions; how many they were."""
    texts = [text.before(decision) for text, decision in batch]
    answer = max(len(text.answer(decision)) for text, decision in batch)
    longest = max(len(text) for text in texts)
    tokens = torch.tensor([[0] * (longest - len(text)) + list(text) for text in texts])
    mask = torch.tensor([[0] * (longest - len(text)) + [1] * len(text) for text in texts])
    with torch.inference_mode():
        output = plain.generate(
            tokens,
            attention_mask=mask,
            do_sample=False,
            min_new_tokens=answer,
            max_new_tokens=answer,
        )
    output[:, longest:].tolist()
    return len(batch)
