"""How a domain's banks were begun: the first write fixes it, later writers must keep to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import redis

from configs.schema import Retirement
from shared_memory.connection import call
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import DomainKeys
from shared_memory.plain_values import text, whole

_RETIREMENTS: tuple[Retirement, ...] = get_args(Retirement)


@dataclass(frozen=True, slots=True)
class BankPolicy:
    """What goes first where there is too much, and from how many submissions an entry counts."""

    retirement: Retirement
    solid_after: int


def policy_of(counters: Mapping[bytes, bytes], domain: str) -> BankPolicy:
    """The policy among a domain's counters; that of settings by default where there is none.

    Raises SharedMemoryError where it is none that this program knows.
    """
    what = f"the policy of the bank of {domain!r}"
    found = text(counters.get(b"retirement", b"oldest"), what)
    solid_after = whole(counters.get(b"solid_after", b"1"), what)
    for retirement in _RETIREMENTS:
        if retirement == found and solid_after >= 1:
            return BankPolicy(retirement, solid_after)
    raise SharedMemoryError(
        f"{what} is damaged on the server: retirement {found[:40]!r} of entries that count from "
        f"{solid_after} submissions on; start a new run"
    )


def read_policy(client: redis.Redis, keys: DomainKeys) -> BankPolicy | None:
    """The policy of a domain's banks; none where nothing was written yet."""
    names = (b"retirement", b"solid_after")
    values = call(client, "HMGET", keys.counters, *names)
    held = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    return policy_of(held, keys.name) if held else None
