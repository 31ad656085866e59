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

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from actors.policy import Policy
from actors.records import Assignment
from actors.rollout import FinishedEpisode, Rollout, RunningEpisode
from configs.schema import (
    ActingConfig,
    DomainShare,
    ModelConfig,
    PhaseConfig,
    RenderingConfig,
    StreamConfig,
)
from learner.planners import MimirPlanner, PlanLimits
from model.procedure_lm import ProcedureLM
from model.tokenizer import WordTokenizer
from shared_memory.lookup import Book, Neighbours
from shared_memory.records import Sign
from shared_memory.replica import ReplicaBank
from tasks.rendering import Rendering
from tasks.simulators import make_simulator
from tasks.stream import TaskStream
from tasks.task import Action

RUNS = 5
TASKS = 64
PLAIN_TASKS = 8
STEP_LIMIT = 32
BANK_PROCEDURES = 2000
SIZES: dict[str, dict[str, tuple[int, int]]] = {
    "blocks": {"blocks": (3, 4)},
    "gripper": {"balls": (2, 3)},
    "ferry": {"cars": (2, 3), "locations": (3, 4)},
    "hanoi": {"discs": (3, 4)},
}


class PlannedRollout(Rollout):
    """A rollout whose only allowed answer is the next action of a planner's plan."""

    plans: list[tuple[Action, ...]]  # of each episode, by its number

    def allowed_answers(self, episode: RunningEpisode) -> list[str]:
        """The plan's next action."""
        plan = self.plans[episode.assignment.episode]
        return [self.rendering.action(plan[len(episode.decisions)], episode.naming)]


class FilledReplica:
    """Banks of random procedures in place of a server's, so that look-ups cost what they do."""

    def __init__(self, chunks: int, codes: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._banks: dict[tuple[str, Sign], ReplicaBank] = {}
        for domain in SIZES:
            for sign in ("success", "failure"):
                bank = ReplicaBank()
                bank.add(
                    np.arange(BANK_PROCEDURES, dtype=np.int64),
                    np.ones(BANK_PROCEDURES, dtype=np.int64),
                    rng.integers(0, codes, (BANK_PROCEDURES, chunks)).astype(np.uint16),
                )
                self._banks[domain, sign] = bank
        self._book: Book | None = None

    def lookup(
        self,
        domain: str,
        sign: Sign,
        codes: Any,
        code_vectors: Any,
        mean: Any,
        code_born: Any,
        min_version: int,
        nearest: int,
        threshold: float,
    ) -> Sequence[Neighbours]:
        """The nearest procedures, as `BankReplica.lookup`."""
        if self._book is None:
            self._book = Book(code_vectors, mean, code_born)
        return self._banks[domain, sign].lookup(self._book, codes, min_version, nearest, threshold)


def bench_acting() -> dict[str, Any]:
    """Measure both, `RUNS` times each in turn; medians, and the median of the runs' ratios."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    stream = TaskStream(
        StreamConfig(
            phases=(
                PhaseConfig(
                    name="all",
                    tasks=TASKS,
                    domains=tuple(DomainShare(name=n, size=size) for n, size in SIZES.items()),
                ),
            ),
            probe_tasks=1,
            step_limit=STEP_LIMIT,
        ),
        seed=0,
    )
    rendering = Rendering(stream.domains, RenderingConfig())
    tokenizer = WordTokenizer(rendering.vocabulary)
    config = ModelConfig()
    model = ProcedureLM(config, rendering.vocabulary, rendering.interchangeable).eval()
    model.book.ready.fill_(True)  # quantise, as after the warm-up
    by_name = {domain.name: domain for domain in stream.domains}
    rollout = PlannedRollout(
        rendering,
        tokenizer,
        lambda domain: make_simulator(by_name[domain]),
        STEP_LIMIT,
        seed=0,
    )
    planners = {domain.name: MimirPlanner(domain) for domain in stream.domains}
    rollout.plans = [planners[task.domain].plan(task, PlanLimits()).plan for task in stream]
    acting = ActingConfig(threshold=0.2)  # low, so that banks answer and contrast has its cost
    policy = Policy(model, 1, acting, FilledReplica(model.chunks, config.book.codes, 0))
    assignments = [Assignment(index, stream[index]) for index in range(TASKS)]
    plain = _plain_model(model, config, len(tokenizer))
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


def _plain_model(model: ProcedureLM, config: ModelConfig, vocabulary: int) -> LlamaForCausalLM:
    """The backbone of the same weights as a causal LM of `transformers`."""
    plain = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=config.width,
            intermediate_size=config.feed_forward,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=config.max_tokens,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    plain.model.load_state_dict(model.backbone.transformer.state_dict())
    return plain.eval()


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
