"""Random checkpoints of every architecture that works, with tokenizers made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from small_model import NAMES, WORDS
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from configs.schema import BookConfig, MemoryConfig, ModelConfig

END_OF_TEXT = "<|endoftext|>"
TOKENS = 300


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE that knows some of the words whole and others in pieces."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([f"go to the place {name}" for name in NAMES], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END_OF_TEXT)


def make_checkpoint(folder: Path, model_type: str, seed: int = 0, **changes: Any) -> Path:
    """Write a random model of four layers; more embeddings than tokens, as many models have."""
    settings = {
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": TOKENS + 20,
        "max_position_embeddings": 128,
        "tie_word_embeddings": model_type in ("qwen2", "smollm3"),
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "initializer_range": 0.2,
    }
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(model_type, **(settings | changes))
    )
    for name, weight in model.named_parameters():
        if name.endswith("bias"):  # made as zeros, which would hide a bias that is left out
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def config_for(
    folder: Path | str, also_written_at: tuple[int, ...] = (), **changes: Any
) -> ModelConfig:
    """A small memory above the second layer of a checkpoint."""
    settings: dict[str, Any] = {
        "pretrained": str(folder),
        "max_tokens": 96,
        "memory": MemoryConfig(
            slots=3, width=16, layer=2, also_written_at=also_written_at, heads=2
        ),
        "book": BookConfig(codes=16, width=8),
    }
    return ModelConfig.model_validate(settings | changes)


VOCABULARY = WORDS + NAMES
