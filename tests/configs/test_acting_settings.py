"""What the section of acting refuses about who runs the model."""

from __future__ import annotations

import pytest

from cluster.settings import load_settings
from configs.errors import ConfigurationError

SHARED = "acting.inference=shared"


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        ((SHARED, "acting.inference_batch=8"), "inference_batch = 8 is less than episodes = 16"),
        ((SHARED, "reproducible=true"), "reproducible = true needs acting.inference = own"),
        (("acting.gpus=2",), "less than or equal to 1"),
        ((SHARED, "acting.inference_wait_ms=-1"), "greater than or equal to 0"),
    ],
)
def test_what_cannot_work_is_one_sentence(assignments: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_settings("smoke", assignments)


def test_an_actor_has_its_own_model_unless_told_otherwise() -> None:
    acting = load_settings("smoke").config.acting
    assert (acting.inference, acting.gpus) == ("own", 0.0)
    load_settings("smoke", ("acting.inference_batch=8",))  # it is not asked for
    assert load_settings("smoke", (SHARED, "acting.gpus=0.5")).config.acting.gpus == 0.5
