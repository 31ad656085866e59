"""What the acting benchmarks share: tasks, their texts, a model of random weights, filled banks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from configs.schema import DomainShare, ModelConfig, PhaseConfig, RenderingConfig, StreamConfig
from model.procedure_lm import ProcedureLM
from shared_memory.book import Book
from shared_memory.lookup import Neighbours
from shared_memory.records import SIGNS, Sign
from shared_memory.replica import Scope, search_banks
from shared_memory.replica_bank import ReplicaBank
from shared_memory.tried import Counts
from tasks.rendering import Rendering
from tasks.stream import TaskStream

STEP_LIMIT = 32
BANK_PROCEDURES = 2000
THRESHOLD = 0.1
"""So low that banks of random procedures answer every decision: a hundredth of them pass it."""
SIZES: dict[str, dict[str, tuple[int, int]]] = {
    "blocks": {"blocks": (3, 4)},
    "gripper": {"balls": (2, 3)},
    "ferry": {"cars": (2, 3), "locations": (3, 4)},
    "hanoi": {"discs": (3, 4)},
}


class FilledReplica:
    """Banks of random procedures in place of a server's, so that look-ups cost what they do."""

    def __init__(self, chunks: int, codes: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._banks: dict[str, dict[Sign, ReplicaBank]] = {domain: {} for domain in SIZES}
        for domain in SIZES:
            for sign in SIGNS:
                bank = ReplicaBank(actions=True)
                bank.add(
                    np.arange(BANK_PROCEDURES, dtype=np.int64),
                    np.ones(BANK_PROCEDURES, dtype=np.int64),
                    rng.integers(0, codes, (BANK_PROCEDURES, chunks)).astype(np.uint16),
                )
                self._banks[domain][sign] = bank
        self._book: Book | None = None

    def lookup_batch(
        self,
        domains: Sequence[str],
        signs: Sequence[Sign],
        codes: Any,
        code_vectors: Any,
        mean: Any,
        code_born: Any,
        min_version: int,
        nearest: int,
        threshold: float,
        scope: Scope = "domain",
    ) -> Mapping[Sign, Sequence[Neighbours]]:
        """The nearest procedures, as `BankReplica.lookup_batch`."""
        if self._book is None:
            self._book = Book(code_vectors, mean, code_born)
        return search_banks(
            self._banks,
            self._book,
            domains,
            signs,
            codes,
            min_version,
            nearest,
            threshold,
            scope=scope,
        )

    def tried(
        self, domain: str, sign: Sign, codes: Any, code_born: Any, min_version: int
    ) -> Sequence[Mapping[str, Counts]]:
        """What was tried, as `BankReplica.tried`."""
        return self._banks[domain][sign].tried_with(codes, code_born, min_version)


def make_stream(tasks: int) -> TaskStream:
    """Tasks of the four domains of `SIZES`."""
    shares = tuple(DomainShare(name=name, size=size) for name, size in SIZES.items())
    phase = PhaseConfig(name="all", tasks=tasks, domains=shares)
    config = StreamConfig(phases=(phase,), probe_tasks=1, step_limit=STEP_LIMIT)
    return TaskStream(config, seed=0)


def make_rendering(stream: TaskStream) -> Rendering:
    """The stream's text."""
    return Rendering(stream.domains, RenderingConfig())


def random_model(config: ModelConfig, rendering: Rendering) -> ProcedureLM:
    """Random weights, since only time is measured; it quantises, as after the warm-up."""
    torch.manual_seed(0)
    model = ProcedureLM(config, rendering.vocabulary, rendering.interchangeable).eval()
    model.book.codes.normal_(std=0.5)
    model.book.ready.fill_(True)
    return model


def plain_model(model: ProcedureLM) -> LlamaForCausalLM:
    """The backbone of the same weights as a causal LM of `transformers`, without memory."""
    config = model.config
    plain = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(model.tokenizer),
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
