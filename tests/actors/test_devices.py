"""The policy on a device of its own: all that it computes with lies there, answers are the same.

No GPU is here: the device is pretended (`pretend_device`), and shows that nothing is mixed up
between host and device, not how fast a GPU is or what it rounds otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pretend_device import DEVICE, DeviceTensor, MixedDevicesError, pretended_device, put

from actors.device import acting_device
from actors.errors import ActingError
from actors.policy import Policy
from configs.schema import ActingConfig, BookConfig, MemoryConfig, ModelConfig
from model.making import make_lm
from model.small_lm import SmallLM
from shared_memory.lookup import Neighbours

WORDS = ("<pad>", "<act>", "<end>", *(f"word{number}" for number in range(20)))
SLOTS = range(6)


class Bank:
    """Has something near every other decision, and blames some actions."""

    def lookup_batch(self, domains: Any, signs: Any, codes: Any, *rest: Any) -> Any:
        random = np.random.default_rng(int(codes.sum()))
        found = {}
        for sign in signs:
            found[sign] = [
                Neighbours(
                    random.integers(0, 16, (row % 3, codes.shape[1])).astype(np.uint16),
                    np.full(row % 3, 0.97),
                )
                for row in range(len(codes))
            ]
        return found

    def tried(self, domain: Any, sign: Any, codes: Any, *rest: Any) -> Any:
        return [{} for _ in codes]


def lm(use: str) -> SmallLM:
    torch.manual_seed(0)
    config = ModelConfig(
        layers=2,
        width=32,
        heads=2,
        feed_forward=48,
        max_tokens=64,
        memory=MemoryConfig(slots=2, width=16, layer=1, heads=2, use=use),  # type: ignore[arg-type]
        book=BookConfig(codes=16, width=8),
    )
    made = make_lm(config, WORDS)
    made.book.ready.fill_(True)
    made.book.codes.copy_(torch.randn(made.book.codes.shape) * 0.5)
    return made


def decided(model: SmallLM, acting: ActingConfig, **how: Any) -> list[Any]:
    bank: Any = Bank()
    policy = Policy(model, 1, acting, bank)
    policy.enter(SLOTS, [[3 + slot, 4] * (1 + slot % 2) for slot in SLOTS])
    found = []
    for _ in range(3):
        choices = policy.decide(SLOTS, ["blocks", "hanoi"] * 3, **how)
        found.append([(one.action_tokens, one.codes.tolist(), one.alone) for one in choices])
        policy.feed(SLOTS, [[*one.action_tokens[:3], 2, 5] for one in choices])
    return found


ALLOWED = [[[5, 6], [7]], [[8]], [[9, 10], [9, 11]], [[12]], [[13], [14, 15]], [[16]]]


@pytest.mark.parametrize(
    ("use", "changes", "how"),
    [
        ("procedure", {}, {}),
        ("procedure", {}, {"allowed": ALLOWED, "watched": [0, 1, 2]}),
        ("procedure", {"contrast_by": "outcomes", "remember_episode": True}, {}),
        ("procedure", {"banks": "none"}, {"shuffle": "domain"}),
        ("none", {"banks": "none"}, {}),
    ],
)
def test_decides_on_its_models_device_alone(
    use: str, changes: dict[str, Any], how: dict[str, Any]
) -> None:
    acting = ActingConfig.model_validate({"episodes": 6, "threshold": -1.0, **changes})
    wanted = decided(lm(use), acting, **how)
    model = lm(use)
    with pretended_device():
        put(model)
        assert decided(model, acting, **how) == wanted


def test_the_pretended_device_refuses_what_a_gpu_refuses() -> None:
    with pretended_device():
        there = torch.zeros(3, device=DEVICE)
        assert isinstance(there, DeviceTensor)
        with pytest.raises(MixedDevicesError):
            there + torch.ones(3)
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
        assert (there + torch.tensor([1.0, 2.0, 3.0]).to(DEVICE)).cpu().tolist() == [1, 2, 3]
    assert Policy(lm("procedure"), 0, ActingConfig(), None)._vectors.device.type == "cpu"


def test_asks_for_a_gpu_only_where_it_is_told_to() -> None:
    assert acting_device(0.0, []).type == "cpu"
    with pytest.raises(ActingError, match=r"acting.gpus = 0.25, but Ray gave no GPU"):
        acting_device(0.25, [])
    if not torch.cuda.is_available():
        with pytest.raises(ActingError, match=r"Ray gave GPU 0, but torch .* sees none"):
            acting_device(0.5, [0])
