"""When a run was itself again, told from its events."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, cast

from chaos_account import forced, longest_gap
from fault_injection import Struck
from fault_schedule import Fault, FaultKind
from kept_run import KeptRun
from recovery import actors_back, first_after, lost_actors, place_and_generation, settled


class Told:
    """Events without a run."""

    def __init__(self) -> None:
        self.events: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def episode(self, time: float, actor: str) -> None:
        self.events["episode"].append({"time": time, "actor": actor})

    def alarm(self, time: float, message: str) -> None:
        self.events["alarm"].append({"time": time, "kind": "actor_died", "message": message})


def told() -> tuple[Told, KeptRun]:
    found = Told()
    return found, cast(KeptRun, found)


def struck(kind: FaultKind, when: float, with_driver: bool) -> Struck:
    return Struck(Fault(0, kind, 0, 0.0, 0.0, 0.0), when, "left", 0, with_driver)


def test_an_actor_is_back_once_its_successor_has_finished_an_episode() -> None:
    events, run = told()
    assert place_and_generation("actor-1.3 died: …") == (1, 3)
    assert place_and_generation("actor-12 failed") == (12, 0)
    assert place_and_generation("the learner died") is None
    assert actors_back(run, 10.0) is None
    events.alarm(9.0, "actor-2 died before")
    events.alarm(11.0, "actor-0 died: killed")
    events.alarm(11.5, "the driver waits for actor-1.4 (act 8 tasks)")
    assert lost_actors(run, 10.0) == [(0, 0), (1, 4)]
    events.episode(12.0, "actor-0")  # pushed before it died
    events.episode(13.0, "actor-0.1")
    events.episode(14.0, "actor-1.4")
    assert actors_back(run, 10.0) is None
    events.episode(17.0, "actor-1.5")
    events.episode(18.0, "actor-0.1")
    assert actors_back(run, 10.0) == 17.0
    assert first_after(run.events["episode"], 13.0) == 14.0


def test_a_run_is_settled_once_all_places_act() -> None:
    events, run = told()
    for place in range(3):
        events.episode(100.0 + place, f"actor-{place}")
    assert not settled(run, 3, 103.0, within_s=10.0)
    run.events["version"].append({"time": 99.0})
    assert settled(run, 3, 103.0, within_s=10.0)
    assert not settled(run, 3, 112.0, within_s=10.0)


def test_gaps_and_ends_that_a_fault_explains() -> None:
    events, run = told()
    for time in (1.0, 2.0, 9.0, 9.5):
        events.episode(time, "actor-0")
    run.events["version"].append({"time": 5.0})
    assert longest_gap(run) == 4.0
    assert forced(50.0, [struck("driver", 49.0, True)])
    assert not forced(50.0, [struck("actor", 49.0, False), struck("driver", 51.0, True)])
    assert not forced(500.0, [struck("host", 49.0, True)])
