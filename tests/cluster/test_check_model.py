from __future__ import annotations

import pytest

from cluster.conduct import check_model
from cluster.settings import load_settings
from model import ModelError


def test_a_model_that_is_not_there_is_refused_before_anything_starts() -> None:
    check_model(load_settings("smoke").config)
    config = load_settings("smoke", ["model.pretrained=/nowhere"], {}).config
    with pytest.raises(ModelError, match="the folder /nowhere does not exist"):
        check_model(config)
