"""Saving and loading the whole model as one safetensors payload: no pickle, bit-equal.

payload = to_bytes(model, version=3)
model, version = from_bytes(payload)

A pretrained model's frozen weights are left out: the payload names it, with a digest, and it is
read again from where it came.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from configs.schema import ModelConfig
from model.errors import ModelError
from model.making import make_lm
from model.small_lm import SmallLM

FORMAT = "nesypr-model-3"
FILE = "model.safetensors"


def to_bytes(model: SmallLM, version: int, instead: Mapping[str, Tensor] | None = None) -> bytes:
    """Weights, codebook and generations, with configuration, vocabulary and version.

    `instead` holds tensors that take the place of the model's own, by name. The same model gives
    the same bytes.
    """
    frozen = frozen_weights(model)
    replaced = instead or {}
    tensors = {
        name: replaced.get(name, tensor).detach().to(tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if name not in frozen
    }
    metadata = {
        "format": FORMAT,
        "version": str(version),
        "config": model.config.model_dump_json(),
        "vocabulary": json.dumps(model.tokenizer.vocabulary),
        "interchangeable": json.dumps(model.interchangeable),
        "names": json.dumps(model.names),
        "pretrained_digest": model.backbone.digest,
    }
    return _in_order(save_tensors(tensors, metadata))


def from_bytes(payload: bytes, pretrained: str | None = None) -> tuple[SmallLM, int]:
    """The model and its version; `ModelError` if the payload is not one of ours.

    `pretrained` says where the pretrained model lies now, if it was moved.
    """
    metadata = _metadata(payload)
    try:
        config = ModelConfig.model_validate_json(metadata["config"])
        vocabulary = json.loads(metadata["vocabulary"])
        interchangeable = json.loads(metadata["interchangeable"])
        names = json.loads(metadata["names"])
        digest = metadata["pretrained_digest"]
        version = int(metadata["version"])
        tensors = load_tensors(payload)
    except (KeyError, ValueError, ValidationError, SafetensorError) as error:
        raise ModelError(f"this model file is damaged: {error}") from error
    if pretrained is not None and config.pretrained is not None:
        config = config.model_copy(update={"pretrained": pretrained})
    with torch.random.fork_rng(devices=[]):  # building draws numbers that are then overwritten
        model = make_lm(config, vocabulary, interchangeable, names)
    if model.backbone.digest != digest:
        raise ModelError(
            f"the pretrained model {config.pretrained!r} is not the one that this model was made "
            "with (its configuration, weights or tokenizer differ): give the folder of the former"
        )
    try:
        missing, unexpected = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise ModelError(f"this model file does not fit its own configuration: {error}") from error
    if unexpected or set(missing) - frozen_weights(model):
        differ = sorted({*unexpected, *(set(missing) - frozen_weights(model))})
        raise ModelError(
            f"this model file does not fit its own configuration: {differ[0]} and "
            f"{len(differ) - 1} other tensors are missing or too many"
        )
    return model, version


def births_in(payload: bytes) -> Tensor:
    """When each code of a payload's book last changed its meaning, (K,) int64; no model is made.

    `ModelError` if the payload is not one of ours.
    """
    _metadata(payload)
    try:
        born = load_tensors(payload)["book.born"]
    except (KeyError, SafetensorError) as error:
        raise ModelError(f"this model file is damaged: {error}") from error
    if born.ndim != 1 or born.dtype != torch.int64:
        raise ModelError("this model file is damaged: its book has no versions of its codes")
    return born


def save_pretrained(model: SmallLM, folder: Path | str, version: int = 0) -> Path:
    """Write FOLDER/model.safetensors: beside the old one, then renamed."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        beside = path.with_suffix(".partial")
        with beside.open("wb") as file:
            file.write(to_bytes(model, version))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise ModelError(
            f"the model cannot be written to {folder}: {error.strerror or error}; free space "
            "there or use another folder"
        ) from error
    return path


def from_pretrained(folder: Path | str, pretrained: str | None = None) -> tuple[SmallLM, int]:
    """Read what `save_pretrained` wrote: the model and its version.

    `ModelError` if there is none or it is damaged. `pretrained` says where the pretrained model
    below it lies now, if it was moved.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise ModelError(
            f"there is no {FILE} in {folder}: give a folder that `save_pretrained` wrote"
        )
    return from_bytes(path.read_bytes(), pretrained)


def frozen_weights(model: SmallLM) -> set[str]:
    """Names of the weights that are never trained, and so lie with the pretrained model."""
    return {name for name, weight in model.named_parameters() if not weight.requires_grad}


def _in_order(payload: bytes) -> bytes:
    """The payload with its header's keys in order: safetensors writes metadata in any."""
    length = int.from_bytes(payload[:8], "little")
    header = json.dumps(json.loads(payload[8 : 8 + length]), sort_keys=True, separators=(",", ":"))
    words = header.encode()
    words += b" " * (-len(words) % 8)
    return b"".join((len(words).to_bytes(8, "little"), words, memoryview(payload)[8 + length :]))


def _metadata(payload: bytes) -> dict[str, str]:
    """The header's metadata, read within bounds (safetensors: 8 bytes of length, then JSON)."""
    length = int.from_bytes(payload[:8], "little")
    if len(payload) < 8 or not 0 < length <= min(len(payload) - 8, 100_000_000):
        raise ModelError("this is not a model file: its header is cut or too long")
    try:
        header: Any = json.loads(payload[8 : 8 + length])
    except ValueError as error:
        raise ModelError("this is not a model file: its header is not JSON") from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ModelError(f"this is not a model file of format {FORMAT}")
    return metadata
