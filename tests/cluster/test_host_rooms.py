"""How many actors a host takes, as reckoned from looks at Ray."""

from __future__ import annotations

from cluster.host_rooms import HostRooms
from cluster.hosts import HostLook, RayHost
from cluster.placement import UNLIMITED, Host


def host(node: str, total: float, free: float, draining: bool = False) -> RayHost:
    return RayHost(node, f"{node}.net", "10.0.0.1", "", {"CPU": total}, {"CPU": free}, draining)


def test_room_is_what_others_leave() -> None:
    rooms = HostRooms({"CPU": 0.5, "GPU": 0.0})
    hosts = (host("a", 2.0, 0.5), host("b", 2.0, 2.0, draining=True), host("head", 0.0, 0.0))
    rooms.take(HostLook(1.0, hosts), {"a": 1})
    assert rooms.hosts({"none"}) == [
        Host("a", size=4, room=2),
        Host("b", size=4, room=4, leaving=True),
        Host("head", size=0, room=0),
    ]
    assert rooms.hosts({"a"})[0].leaving


def test_one_look_counts_once_though_actors_come_and_go_meanwhile() -> None:
    rooms = HostRooms({"CPU": 0.5})
    look = HostLook(1.0, (host("a", 2.0, 1.0),))
    rooms.take(look, {"a": 1})
    assert rooms.hosts(())[0].room == 3
    rooms.take(look, {"a": 3})  # Ray will say so with the next look
    assert rooms.hosts(())[0].room == 3
    rooms.take(HostLook(3.0, (host("a", 2.0, 0.0),)), {"a": 3})
    assert rooms.hosts(())[0].room == 3


def test_where_actors_need_nothing_there_is_no_limit() -> None:
    rooms = HostRooms({"CPU": 0.0, "GPU": 0.0})
    rooms.take(HostLook(1.0, (host("a", 2.0, 0.0),)), {})
    assert rooms.hosts(())[0].room == UNLIMITED
    assert rooms.states({"a": 5}, ())[0].room == -1


def test_the_sentence_says_what_is_needed_and_what_is_free() -> None:
    rooms = HostRooms({"CPU": 0.5, "GPU": 0.0})
    rooms.take(HostLook(1.0, (host("a", 2.0, 0.25),)), {})
    assert rooms.sentence() == "each needs 0.5 CPU; a.net has 0.25 of 2 CPU free"
    assert rooms.words("a") == "a.net"
    assert rooms.words("an-unknown-node") == "an-unknown-n"


def test_a_host_without_what_its_actors_share_takes_none() -> None:
    rooms = HostRooms({"CPU": 0.5}, {"GPU": 0.5})
    with_gpu = RayHost("a", "a", "a", "", {"CPU": 2.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 1.0})
    without = RayHost("b", "b", "b", "", {"CPU": 2.0}, {"CPU": 2.0})
    rooms.take(HostLook(1.0, (with_gpu, without)), {})
    assert [(host.node, host.size, host.room) for host in rooms.hosts(())] == [
        ("a", 4, 4),
        ("b", 0, 0),
    ]
    assert rooms.sentence().startswith("each needs 0.5 CPU and a host with 0.5 GPU; a has ")
