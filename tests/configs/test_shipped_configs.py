from __future__ import annotations

from collections import Counter

import pytest

from cluster.conduct import check_stream
from cluster.settings import load_settings, shipped_configs
from tasks.stream import TaskStream


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_a_shipped_configuration_is_valid_and_its_domains_exist(name: str) -> None:
    settings = load_settings(name)
    check_stream(settings.config)
    assert settings.config.name == name


def test_the_quickstart_probes_enough_tasks_of_enough_domains() -> None:
    stream = TaskStream(load_settings("quickstart").config.stream, seed=0)
    tasks = [task for phase in stream.phases for task in stream.probe(phase.number)]
    assert len({task.visible for task in tasks}) == len(tasks) >= 104
    counts = Counter(task.domain for task in tasks)
    assert len(counts) == 4
    assert min(counts.values()) >= 8
