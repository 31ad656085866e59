"""`nesypr bench acting`: an actor's decisions/s against a plain loop over `generate`.

Both act the same tasks of Blocks, Gripper, Ferry and Hanoi in the same simulators, with the
backbone of the same weights, one torch thread each, and the same number of answer tokens for every
decision. The actor runs many episodes in lock-step, keeps its key/value cache from decision to
decision, quantises its memory, looks procedures up in banks, and decodes by contrast. The plain
loop is what one writes first with `transformers`: one episode after another, `generate` on the
whole text so far for each decision; it has no memory, no procedure-book and no banks, so it does
less. The weights are random, since only time is measured: both are held to the actions of a
planner's plan, so that both read and write the texts of solved tasks.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import LlamaForCausalLM

from actors.policy import Policy
from actors.records import Assignment
from actors.rollout import FinishedEpisode, Rollout, RunningEpisode
from cluster.bench_setting import (
    BANK_PROCEDURES,
    STEP_LIMIT,
    THRESHOLD,
    FilledReplica,
    make_rendering,
    make_stream,
    plain_model,
    random_model,
)
from configs.schema import ActingConfig, ModelConfig
from learner.planners import MimirPlanner, PlanLimits
from model.tokenizer import WordTokenizer
from tasks.domains import get_pddl_domain
from tasks.simulators import make_simulator
from tasks.task import Action

RUNS = 5
TASKS = 128
SLOTS = 64
PLAIN_TASKS = 8


class PlannedRollout(Rollout):
    """A rollout whose only allowed answer is the next action of a planner's plan."""

    plans: list[tuple[Action, ...]]  # of each episode, by its number

    def allowed_answers(self, episode: RunningEpisode) -> list[str]:
        """The plan's next action."""
        plan = self.plans[episode.assignment.episode]
        return [self.rendering.action(plan[len(episode.decisions)], episode.naming)]


def bench_acting() -> dict[str, Any]:
    """Measure both, `RUNS` times each in turn; medians, and the median of the runs' ratios."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    stream = make_stream(TASKS)
    rendering = make_rendering(stream)
    tokenizer = WordTokenizer(rendering.vocabulary)
    config = ModelConfig()
    model = random_model(config, rendering)
    by_name = {domain.name: domain for domain in stream.domains}
    rollout = PlannedRollout(
        rendering,
        tokenizer,
        lambda domain: make_simulator(by_name[domain]),
        STEP_LIMIT,
        seed=0,
    )
    planners = {
        domain.name: MimirPlanner(get_pddl_domain(domain.name)) for domain in stream.domains
    }
    rollout.plans = [planners[task.domain].plan(task, PlanLimits()).plan for task in stream]
    acting = ActingConfig(episodes=SLOTS, threshold=THRESHOLD)
    policy = Policy(model, 1, acting, FilledReplica(model.chunks, config.book.codes, 0))
    assignments = [Assignment(index, stream[index]) for index in range(TASKS)]
    plain = plain_model(model)
    episodes = list(
        rollout.run(policy, assignments, restrict=True)
    )  # warm-up; also what the plain loop follows
    actor_rates, plain_rates = [], []
    for _ in range(RUNS):
        began = time.perf_counter()
        acted = list(rollout.run(policy, assignments, restrict=True))
        decisions = sum(len(episode.decisions) for episode in acted)
        actor_rates.append(decisions / (time.perf_counter() - began))
        plain_rates.append(_plain_rate(plain, rollout, tokenizer, episodes[:PLAIN_TASKS]))
    ratios = [mine / theirs for mine, theirs in zip(actor_rates, plain_rates)]
    return {
        "actor_decisions_per_s": statistics.median(actor_rates),
        "plain_decisions_per_s": statistics.median(plain_rates),
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
        "runs": RUNS,
        "episodes_in_lock_step": acting.episodes,
        "bank_procedures": BANK_PROCEDURES,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "threads": torch.get_num_threads(),
        "actor_rates": [round(rate, 1) for rate in actor_rates],
        "plain_rates": [round(rate, 1) for rate in plain_rates],
    }


def _plain_rate(
    plain: LlamaForCausalLM,
    rollout: Rollout,
    tokenizer: WordTokenizer,
    episodes: Sequence[FinishedEpisode],
) -> float:
    """Decisions/s of the plain loop on these episodes, one after another."""
    began = time.perf_counter()
    decisions = 0
    for episode in episodes:
        running = rollout.begin(Assignment(episode.episode, episode.task))
        for decision in episode.decisions:
            text = [*decision.prompt_tokens, tokenizer.act]
            answer = len(tokenizer.encode(decision.action)) + 1
            with torch.inference_mode():
                inputs = torch.tensor([text])
                output = plain.generate(
                    inputs,
                    attention_mask=torch.ones_like(inputs),
                    do_sample=False,
                    min_new_tokens=answer,
                    max_new_tokens=answer,
                )
            tokenizer.decode(output[0, len(text) :].tolist())
            action = rollout.rendering.parse_action(decision.action, running.naming)
            before = running.simulator.atoms
            if action is not None:
                running.simulator.step(action)
            rollout.rendering.observation(before, running.simulator, running.naming)
            decisions += 1
    return decisions / (time.perf_counter() - began)
