"""Pretrained causal language models of `transformers` as backbones, by name or folder.

Only safetensors are read, and no code of a model's repository is run. A model is read once a
process: all backbones made of it share its frozen weights. Of the embeddings only the rows of
the tokens in use stay (see `SubwordTokenizer`).
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from configs.schema import ModelConfig
from model.errors import ModelError
from model.packing import PACKED_ATTENTION
from model.tokenizer import SubwordTokenizer, Tokenizer, WordTokenizer

SUPPORTED = ("llama", "mistral", "olmo2", "qwen2", "qwen3", "smollm3")
"""Values of `model_type` whose layers are called alike, and have been tested."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

_IDENTITY = (
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "rms_norm_eps",
    "hidden_act",
    "tie_word_embeddings",
)
_SAMPLE = 64
"""Numbers of each weight that enter the digest of a model."""


@dataclass(frozen=True, slots=True)
class Pretrained:
    """What a backbone needs of a pretrained model; its tensors are never changed."""

    transformer: nn.Module  # without embeddings
    embeddings: Tensor  # (kept, D)
    head: Tensor | None  # (kept, D), or None where it is tied to the embeddings
    specials: Tensor  # (specials, D) its own rows of words like <act>, or the mean
    head_specials: Tensor | None  # (specials, D)
    digest: str  # of its configuration, a sample of its weights and the tokens in use


def resolved(config: ModelConfig) -> ModelConfig:
    """The configuration with widths, layers and heads of the pretrained model, if there is one.

    `ModelError` where the model cannot be had or does not fit.
    """
    if config.pretrained is None:
        return config
    theirs = _config(config.pretrained)
    where = f"the pretrained model {config.pretrained!r}"
    if config.memory.layer >= theirs.num_hidden_layers:
        raise ModelError(
            f"memory.layer = {config.memory.layer} leaves no layer above the memory: {where} has "
            f"{theirs.num_hidden_layers} layers"
        )
    window = getattr(theirs, "sliding_window", None) or theirs.max_position_embeddings
    longest = min(window, theirs.max_position_embeddings)
    if config.max_tokens > longest:
        raise ModelError(f"model.max_tokens = {config.max_tokens}, but {where} reads {longest}")
    if theirs.hidden_size % theirs.num_attention_heads:
        raise ModelError(
            f"{where} has width {theirs.hidden_size}, not a multiple of its "
            f"{theirs.num_attention_heads} heads, which the memory's reading needs: use another"
        )
    return config.model_copy(
        update={
            "layers": theirs.num_hidden_layers,
            "width": theirs.hidden_size,
            "heads": theirs.num_attention_heads,
            "feed_forward": theirs.intermediate_size,
        }
    )


def check(config: ModelConfig) -> None:
    """All that can be found out quickly: whether the model is there and fits, and its packages.

    `ModelError` where something is missing. Weights are not read.
    """
    if config.pretrained is None:
        return
    resolved(config)
    _tokenizer(config.pretrained)
    if config.tuning == "lora":
        _peft()


def make_tokenizer(
    config: ModelConfig, vocabulary: Sequence[str], names: Sequence[str]
) -> Tokenizer:
    """A word a token, or the pretrained model's own tokenizer, cut to what the vocabulary needs."""
    if config.pretrained is None:
        joined = (*names, "<end>") if config.positions == "atoms" else ()
        return WordTokenizer(vocabulary, joined, answers_apart=config.memory.use == "none")
    return SubwordTokenizer(_tokenizer(config.pretrained), vocabulary)


def build(config: ModelConfig, tokenizer: SubwordTokenizer) -> tuple[Any, Pretrained]:
    """A transformer of one's own (without embeddings) and what it was made of.

    Its weights are frozen and shared with others in this process, but where it is tuned in full;
    with LoRA it has trainable adapters in all linear maps of its layers.
    """
    if config.pretrained is None:
        raise ModelError("there is no pretrained model to build from")
    known = tuple(tokenizer.known(word) for word in tokenizer.specials)
    base = _load(config.pretrained, config.dtype, tokenizer.kept, known)
    full = config.tuning == "full"
    share: dict[int, Any] = {}
    if not full:
        for weight in base.transformer.parameters():
            share[id(weight)] = nn.Parameter(weight.detach(), requires_grad=False)
    transformer = copy.deepcopy(base.transformer, share).requires_grad_(full)
    if config.tuning == "lora":
        _add_adapters(transformer, config.lora_rank)
    return transformer, base


def _add_adapters(transformer: nn.Module, rank: int) -> None:
    """LoRA (arXiv:2106.09685) on every linear map of the layers, in float32."""
    peft = _peft()
    layers = transformer.get_submodule("layers")
    maps = {name for name, module in layers.named_modules() if isinstance(module, nn.Linear)}
    targets = sorted({name.rpartition(".")[2] for name in maps})
    settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets)
    peft.inject_adapter_in_model(settings, transformer)
    for name, weight in transformer.named_parameters():
        weight.requires_grad_("lora_" in name)
        if weight.requires_grad:
            weight.data = weight.data.float()


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise ModelError(
            "model.tuning = lora needs the package `peft`, which cannot be imported here "
            f"({error}): install it with `pip install peft`, or choose frozen or full"
        ) from error
    return peft


def _is_folder(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or Path(name).is_dir()


def _read(name: str, what: str, call: Callable[..., Any], **arguments: Any) -> Any:
    """`call` a `from_pretrained`; errors become one sentence: what, where, what to do."""
    folder = _is_folder(name)
    arguments |= {"trust_remote_code": False}
    try:
        if folder:
            _check_folder(Path(name).expanduser())
            return call(str(Path(name).expanduser()), local_files_only=True, **arguments)
        try:  # what was fetched before is used without asking: no network, no waiting
            return call(name, local_files_only=True, **arguments)
        except (OSError, ValueError):
            return call(name, **arguments)
    except ModelError:
        raise
    except Exception as error:  # damaged files raise anything, from three libraries
        raise ModelError(_sentence(name, what, folder, error)) from error


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        missing = "holds no config.json" if folder.is_dir() else "does not exist"
        raise ModelError(
            f"model.pretrained: the folder {folder} {missing}: give a folder that "
            "`save_pretrained` of transformers wrote, or a name such as Qwen/Qwen2.5-0.5B"
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"model.pretrained: the folder {folder} holds no *.safetensors (pickled weights such "
            "as *.bin are not read): save the model again with `save_pretrained` of transformers"
        )


def _sentence(name: str, what: str, folder: bool, error: BaseException) -> str:
    causes: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in causes:
        causes.append(at)
        at = at.__cause__ or at.__context__
    start = f"model.pretrained: the {what} of {name!r} cannot be read"
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return (
            f"{start}, because access is restricted: accept its terms on "
            f"https://huggingface.co/{name} and log in here with `hf auth login`"
        )
    if any(isinstance(cause, RepositoryNotFoundError | HFValidationError) for cause in causes):
        return (
            f"{start}, because there is no such model on huggingface.co: check its name, or give "
            "the folder that it lies in"
        )
    offline = (LocalEntryNotFoundError, ConnectionError, TimeoutError)
    if not folder and any(isinstance(cause, offline) for cause in causes):
        return (
            f"{start}, because huggingface.co cannot be reached and it was not fetched before: "
            f"run `hf download {name}` where there is a network and copy the cache, or give the "
            "folder that it lies in"
        )
    reason = " ".join(str(error).split())[:300]
    return f"{start}: {reason} (only safetensors and a tokenizer.json are read)"


@functools.lru_cache(maxsize=4)
def _config(name: str) -> Any:
    theirs = _read(name, "configuration", AutoConfig.from_pretrained)
    if theirs.model_type not in SUPPORTED:
        raise ModelError(
            f"model.pretrained: {name!r} is a {theirs.model_type!r} model, and these work: "
            f"{', '.join(SUPPORTED)}"
        )
    return theirs


@functools.lru_cache(maxsize=4)
def _tokenizer(name: str) -> Any:
    return _read(name, "tokenizer", AutoTokenizer.from_pretrained)


@functools.lru_cache(maxsize=1)
def _load(
    name: str, dtype: str, kept: tuple[int, ...], known: tuple[int | None, ...]
) -> Pretrained:
    """Read a model; of its embeddings keep some rows, and one for each special word."""
    _config(name)
    disable_progress_bar()
    model, found = _read(
        name,
        "model",
        AutoModelForCausalLM.from_pretrained,
        dtype=DTYPES[dtype],
        use_safetensors=True,
        attn_implementation=PACKED_ATTENTION,
        output_loading_info=True,
    )
    if found["missing_keys"]:  # they would be random
        missing = sorted(found["missing_keys"])
        raise ModelError(
            f"model.pretrained: {name!r} lacks {missing[0]} and {len(missing) - 1} other weights "
            "of a causal language model: give one that is whole"
        )
    transformer = model.model.requires_grad_(False)
    table = transformer.embed_tokens.weight.detach()
    head = model.lm_head.weight.detach()
    tied = head.data_ptr() == table.data_ptr()
    beyond = [number for number in kept if number >= len(table)]
    if beyond:
        raise ModelError(
            f"model.pretrained: the tokenizer of {name!r} has tokens that the model has no "
            f"embedding for (the first is {beyond[0]} of {len(table)}): they do not belong together"
        )
    embeddings, specials = _rows(table, kept, known)
    head_rows, head_specials = (None, None) if tied else _rows(head, kept, known)
    transformer.embed_tokens = None
    digest = _digest(model.config, transformer, kept, embeddings, head_rows)
    return Pretrained(transformer, embeddings, head_rows, specials, head_specials, digest)


def _rows(
    table: Tensor, kept: tuple[int, ...], known: tuple[int | None, ...]
) -> tuple[Tensor, Tensor]:
    """The kept rows, and for each special word its own row or the mean of all, in float32."""
    mean = table.float().mean(0)
    specials = [mean if row is None else table[row].float() for row in known]
    return table[list(kept)].clone(), torch.stack(specials)


def _digest(
    config: Any,
    transformer: nn.Module,
    kept: tuple[int, ...],
    embeddings: Tensor,
    head: Tensor | None,
) -> str:
    """16 bytes in hexadecimal that tell this model from others of the same architecture."""
    said = {key: getattr(config, key, None) for key in _IDENTITY}
    digest = hashlib.blake2b(json.dumps([said, kept]).encode(), digest_size=16)
    weights = [weight.flatten()[:_SAMPLE] for weight in transformer.parameters()]
    for tensor in [*weights, embeddings, *([] if head is None else [head])]:
        digest.update(tensor.detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
