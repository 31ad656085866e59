"""A reproducible run is the same at any speed of its parts, and whatever of it dies on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from ordered_world import OrderedWorld

pytestmark = pytest.mark.timeout(900)
torch.set_num_threads(1)

MakeWorld = Callable[[int], OrderedWorld]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeWorld]:
    made: list[OrderedWorld] = []
    root = tmp_path_factory.mktemp("worlds")

    def make(seed: int) -> OrderedWorld:
        made.append(OrderedWorld(root, seed))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture(scope="module")
def whole(worlds: MakeWorld) -> dict[str, Any]:
    """What a run does that nothing happens to."""
    world = worlds(0)
    world.run()
    found = world.result()
    assert len(found["episodes"]) == 48
    assert found["version"] == 6
    assert sum(len(one[-1]) for one in found["episodes"].values()) > 96
    assert sum(one[3] + one[4] for one in found["episodes"].values()) > 48  # the banks had a say
    return found


def test_at_another_speed(worlds: MakeWorld, whole: dict[str, Any]) -> None:
    world = worlds(1)
    world.run()
    assert world.result() == whole


@pytest.mark.parametrize(
    ("seed", "when"),
    [
        (2, (3, 27)),
        pytest.param(3, (3, 17, 26, 40), marks=pytest.mark.slow),
        pytest.param(4, (0, 9, 16, 24, 31, 38), marks=pytest.mark.slow),
    ],
)
def test_whatever_dies(
    worlds: MakeWorld, whole: dict[str, Any], seed: int, when: tuple[int, ...]
) -> None:
    world = worlds(seed)
    for tasks in when:
        world.run(until=tasks)
        world.drop_actor()
        world.run(until=tasks + 3)
        world.drop_driver()
        world.run(until=tasks + 5)
        world.drop_learner()
        world.start_learner()
    world.run()
    assert world.result() == whole


def test_all_dies_at_once(worlds: MakeWorld, whole: dict[str, Any]) -> None:
    world = worlds(5)
    for tasks in (17, 41):
        world.run(until=tasks)
        world.drop_learner()
        world.drop_driver()
        world.start_learner()
    world.run()
    assert world.result() == whole
