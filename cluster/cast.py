"""Who plays a run's actors: processes with a small LM, or stand-ins (`nesypr bench fleet`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.actor import ActorProcess
from actors.inference_actor import InferenceProcess
from actors.records import ActorSetting

AskForActor: TypeAlias = Callable[[str, ActorSetting, Mapping[str, float], str], Any]
"""(name, setting, what it needs of Ray, Ray's number of a host) to a handle; waits for nothing."""


def _ask_ray(name: str, setting: ActorSetting, need: Mapping[str, float], node: str) -> Any:
    return _ask(ActorProcess, name, setting, need, node)


def _ask_inference(name: str, setting: ActorSetting, need: Mapping[str, float], node: str) -> Any:
    return _ask(InferenceProcess, name, setting, need, node)


def _ask(
    remote: Any,  # a remote class; mypy sees the plain one
    name: str,
    setting: ActorSetting,
    need: Mapping[str, float],
    node: str,
) -> Any:
    """A process on a node, or on any other where that one is gone; "": Ray's choice."""
    return remote.options(
        num_cpus=need.get("CPU", 0.0),
        num_gpus=need.get("GPU", 0.0),
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True) if node else None,
    ).remote(name, setting)


def _kill(handle: Any) -> None:
    ray.kill(handle, no_restart=True)


@dataclass(frozen=True, slots=True)
class Cast:
    """How an actor and an inference actor are asked for, and how either is ended at once."""

    ask: AskForActor = _ask_ray
    end: Callable[[Any], None] = _kill
    ask_inference: AskForActor = _ask_inference


REAL_ACTORS = Cast()
