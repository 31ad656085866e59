"""Which actors run on which hosts, decided without Ray."""

from __future__ import annotations

import math
from collections import Counter
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.placement import UNLIMITED, Host, Placement, Seat, fits, placement
from shared_memory.fleet_wishes import FleetSize


def carried_out(found: Placement, seats: list[Seat], names: count[int]) -> list[Seat]:
    """The seats once all is done: who shall go is gone, who was started is placed."""
    stay = [seat for seat in seats if seat.actor not in found.leave and not seat.going]
    return stay + [Seat(f"new-{next(names)}", node) for node in found.start]


def on(node: str, number: int, *, placed: bool = True) -> list[Seat]:
    return [Seat(f"{node}-{place}", node, placed) for place in range(number)]


def counts(seats: list[Seat]) -> dict[str, int]:
    return dict(Counter(seat.node for seat in seats))


def test_actors_are_shared_out_by_the_size_of_the_hosts() -> None:
    hosts = [Host("a", 4, 4), Host("b", 12, 12)]
    found = placement(FleetSize(8), hosts, [])
    assert Counter(found.start) == {"a": 2, "b": 6}
    assert (found.leave, found.waiting) == ((), 0)


def test_a_host_that_joins_gets_its_share_and_no_more_is_moved() -> None:
    hosts = [Host("a", 8, 8), Host("b", 8, 8)]
    found = placement(FleetSize(5), hosts, on("a", 5))
    assert found.start == ("b", "b")
    assert found.leave == ("a-4", "a-3")
    settled = on("a", 3) + on("b", 2)
    assert placement(FleetSize(5), hosts, settled) == Placement((), (), 0)


def test_a_host_that_leaves_is_left_and_its_actors_replaced_elsewhere() -> None:
    hosts = [Host("a", 4, 4, leaving=True), Host("b", 4, 4)]
    found = placement(FleetSize(3), hosts, on("a", 2) + on("b", 1))
    assert found == Placement(("b", "b"), ("a-0", "a-1"), 0)


def test_the_only_host_is_left_too_and_all_wait() -> None:
    found = placement(FleetSize(2), [Host("a", 4, 4, leaving=True)], on("a", 2))
    assert found == Placement((), ("a-0", "a-1"), 2)


def test_actors_on_unknown_hosts_stay_and_count() -> None:
    found = placement(FleetSize(2), [Host("a", 4, 4)], on("b", 1))
    assert found == Placement(("a",), (), 0)


def test_what_ray_cannot_place_is_called_back_and_tried_elsewhere() -> None:
    hosts = [Host("a", 4, 1), Host("b", 2, 2)]
    found = placement(FleetSize(3), hosts, on("a", 1) + on("a", 3, placed=False)[1:])
    assert found == Placement(("b", "b"), ("a-2", "a-1"), 0)


def test_actors_that_go_take_up_room_until_they_are_gone() -> None:
    going = [Seat("old", "a", going=True)]
    assert placement(FleetSize(2), [Host("a", 2, 2)], going) == Placement(("a",), (), 1)
    assert placement(FleetSize(2), [Host("a", 2, 2)], on("a", 1)) == Placement(("a",), (), 0)


def test_so_many_on_each_host_and_none_on_hosts_without_resources() -> None:
    hosts = [Host("a", 4, 4), Host("b", 4, 1), Host("c", 0, 0), Host("d", 4, 4, leaving=True)]
    found = placement(FleetSize(2, each_host=True), hosts, on("a", 3) + on("d", 1))
    assert found == Placement(("b",), ("d-0", "a-2"), 1)


def test_a_shunned_host_gets_new_actors_only_where_no_other_has_room() -> None:
    hosts = [Host("bad", 4, 4, shunned=True), Host("good", 4, 2)]
    assert placement(FleetSize(2), hosts, []).start == ("good", "good")
    assert placement(FleetSize(3), hosts, []).start == ("good", "good", "bad")
    assert placement(FleetSize(4), hosts, on("good", 4)) == Placement((), (), 0)
    each = FleetSize(2, each_host=True)
    assert placement(each, hosts, []) == Placement(("good", "good"), (), 2)
    assert placement(each, hosts[:1], []).start == ("bad", "bad")


def test_what_fits() -> None:
    assert fits({"CPU": 0.5, "GPU": 0.0}, {"CPU": 2.0}) == 4
    assert fits({"CPU": 0.1}, {"CPU": 0.3}) == 3
    assert fits({"CPU": 0.5, "GPU": 0.25}, {"CPU": 8.0, "GPU": 1.0}) == 4
    assert fits({"CPU": 0.5, "GPU": 0.25}, {"CPU": 8.0}) == 0
    assert fits({"CPU": 0.0}, {}) == UNLIMITED


@st.composite
def clusters(draw: st.DrawFn) -> tuple[FleetSize, list[Host], list[Seat]]:
    """Any hosts with any actors, as resources allow: those that are there have their room."""
    hosts, seats = [], []
    for number in range(draw(st.integers(1, 5))):
        node, size = f"host-{number}", draw(st.integers(0, 9))
        placed, going = draw(st.integers(0, size)), draw(st.integers(0, size))
        going = min(going, size - placed)
        late = draw(st.integers(0, 3))
        room = draw(st.integers(placed + going, size))
        shunned = draw(st.integers(0, 4)) == 0
        hosts.append(Host(node, size, room, draw(st.booleans()), shunned))
        for place in range(placed + going):
            seats.append(Seat(f"{node}-{place}", node, going=place >= placed))
        seats += [Seat(f"{node}-late-{place}", node, placed=False) for place in range(late)]
    seats = draw(st.permutations(seats))
    return FleetSize(draw(st.integers(1, 20)), draw(st.booleans())), hosts, list(seats)


@settings(deadline=None)
@given(clusters())
def test_the_right_number_in_the_right_places_and_then_it_rests(
    cluster: tuple[FleetSize, list[Host], list[Seat]],
) -> None:
    size, hosts, seats = cluster
    names = count()
    for _ in range(4):  # room that is taken up by those that go is free the next time
        found = placement(size, hosts, seats)
        check(found, size, hosts, seats)
        if found == Placement((), (), found.waiting) and not any(seat.going for seat in seats):
            break
        seats = carried_out(found, seats, names)
    else:
        found = placement(size, hosts, seats)
        assert not found.start, "it does not come to rest"
        assert not found.leave, "it does not come to rest"
    check_settled(size, hosts, seats, found.waiting)


def check(found: Placement, size: FleetSize, hosts: list[Host], seats: list[Seat]) -> None:
    by_name = {seat.actor: seat for seat in seats}
    rooms = {host.node: 0 if host.leaving else host.room for host in hosts}
    assert len(set(found.leave)) == len(found.leave)
    assert not any(by_name[actor].going for actor in found.leave)
    never_there = {actor for actor in found.leave if not by_name[actor].placed}
    after = counts([seat for seat in seats if seat.actor not in never_there])
    for node in found.start:
        after[node] = after.get(node, 0) + 1
        assert after[node] <= rooms[node]  # also while those that go are still there


def check_settled(size: FleetSize, hosts: list[Host], seats: list[Seat], waiting: int) -> None:
    there = counts(seats)
    open_hosts = [host for host in hosts if not host.leaving and host.size > 0]
    assert set(there) <= {host.node for host in open_hosts}
    if size.each_host:
        trusted = [host for host in open_hosts if not host.shunned] or open_hosts
        for host in trusted:
            assert there.get(host.node, 0) == min(size.number, host.room)
        return
    assert len(seats) == min(size.number, sum(host.room for host in open_hosts))
    assert waiting == size.number - len(seats)
    fullness = [there.get(host.node, 0) / host.size for host in open_hosts]
    for host in open_hosts:
        mine = there.get(host.node, 0)
        if (
            mine < host.room and not host.shunned
        ):  # one more here would be no better than where it comes from
            assert (mine + 1) / host.size >= max(fullness, default=math.inf) - 1e-9
