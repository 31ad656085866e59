from __future__ import annotations

import pytest

from cluster.conduct import check_stream
from cluster.settings import load_settings, shipped_configs


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_a_shipped_configuration_is_valid_and_its_domains_exist(name: str) -> None:
    settings = load_settings(name)
    check_stream(settings.config)
    assert settings.config.name == name


def test_the_quickstart_probes_enough_tasks_of_enough_domains() -> None:
    stream = load_settings("quickstart").config.stream
    assert stream.probe_tasks * len(stream.phases) >= 100
    assert len({share.name for phase in stream.phases for share in phase.domains}) >= 4
