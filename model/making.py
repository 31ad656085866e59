"""Which small LM a configuration means, and which decoding engine such an LM has."""

from __future__ import annotations

from collections.abc import Sequence

from configs.schema import ModelConfig
from model.decoding import DecodingEngine
from model.errors import ModelError
from model.plain_decoding import PlainDecodingEngine
from model.plain_lm import PlainLM
from model.procedure_lm import ProcedureLM
from model.small_lm import SmallLM

Engine = DecodingEngine | PlainDecodingEngine


def make_lm(
    config: ModelConfig,
    vocabulary: Sequence[str],
    interchangeable: Sequence[Sequence[str]] = (),
    names: Sequence[str] = (),
) -> SmallLM:
    """The LM of a configuration: with memory and book, or (memory.use: none) without."""
    kind = PlainLM if config.memory.use == "none" else ProcedureLM
    return kind(config, vocabulary, interchangeable, names)


def make_engine(model: SmallLM, slots: int, max_tokens: int) -> Engine:
    """The decoding engine of an LM, with its weights as they are now."""
    if isinstance(model, PlainLM):
        return PlainDecodingEngine(model, slots, max_tokens)
    if isinstance(model, ProcedureLM):
        return DecodingEngine(model, slots, max_tokens)
    raise ModelError(f"there is no decoding engine for a {type(model).__name__}")
