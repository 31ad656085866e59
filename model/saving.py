"""Saving and loading the whole model as one safetensors payload: no pickle, bit-equal.

payload = to_bytes(model, version=3)
model, version = from_bytes(payload)
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
from model.procedure_lm import ProcedureLM

FORMAT = "nesypr-model-1"
FILE = "model.safetensors"


def to_bytes(
    model: ProcedureLM, version: int, instead: Mapping[str, Tensor] | None = None
) -> bytes:
    """Weights, codebook and generations, with configuration, vocabulary and version.

    `instead` holds tensors that take the place of the model's own, by name.
    """
    tensors = {**model.state_dict(), **(instead or {})}
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    metadata = {
        "format": FORMAT,
        "version": str(version),
        "config": model.config.model_dump_json(),
        "vocabulary": json.dumps(model.tokenizer.vocabulary),
        "interchangeable": json.dumps(model.interchangeable),
    }
    return save_tensors(tensors, metadata)


def from_bytes(payload: bytes) -> tuple[ProcedureLM, int]:
    """The model and its version; `ModelError` if the payload is not one of ours."""
    metadata = _metadata(payload)
    try:
        config = ModelConfig.model_validate_json(metadata["config"])
        vocabulary = json.loads(metadata["vocabulary"])
        interchangeable = json.loads(metadata["interchangeable"])
        version = int(metadata["version"])
        tensors = load_tensors(payload)
    except (KeyError, ValueError, ValidationError, SafetensorError) as error:
        raise ModelError(f"this model file is damaged: {error}") from error
    with torch.random.fork_rng(devices=[]):  # building draws numbers that are then overwritten
        model = ProcedureLM(config, vocabulary, interchangeable)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"this model file does not fit its own configuration: {error}") from error
    return model, version


def save(model: ProcedureLM, folder: Path, version: int = 0) -> Path:
    """Write FOLDER/model.safetensors: beside the old one, then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    beside = path.with_suffix(".partial")
    with beside.open("wb") as file:
        file.write(to_bytes(model, version))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    return path


def load(folder: Path) -> tuple[ProcedureLM, int]:
    """Read what `save` wrote; `ModelError` if there is none or it is damaged."""
    path = folder / FILE
    if not path.is_file():
        raise ModelError(f"there is no {FILE} in {folder}")
    return from_bytes(path.read_bytes())


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
