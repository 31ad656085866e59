"""Processes that follow a node's replica, until they are told to stop or end in mid-write."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory import node_replica, replica_feed
from shared_memory.codec import pack_codes
from shared_memory.connection import connect
from shared_memory.node_replica import NodeReplica
from shared_memory.records import SIGNS, Sign
from shared_memory.replica import Replica
from shared_memory.replica_bank import FORGOTTEN

DOMAINS = ("blocks", "ferry")
CHUNKS, CODES, WIDTH = 6, 5, 4
_random = np.random.default_rng(0)
VECTORS = _random.normal(size=(CODES, WIDTH)).astype(np.float32)
MEAN = (0.2 * _random.normal(size=(CHUNKS, WIDTH))).astype(np.float32)
QUERIES = _random.integers(0, CODES, (5, CHUNKS)).astype(np.uint16)


def held(replica: Replica, domain: str, sign: Sign) -> dict[bytes, int]:
    """Codes → last version of one bank."""
    bank = replica.banks()[domain][sign]
    found = {
        pack_codes(codes.astype(np.uint16)): int(version)
        for codes, version in zip(bank.rows, bank.versions)
        if version != FORGOTTEN
    }
    assert len(found) == len(bank)
    return found


def answers(replica: Replica, min_version: int, born: Any, scope: Any = "domain") -> list[Any]:
    """Similarities of what is near `QUERIES`."""
    found = replica.lookup_batch(
        *(["blocks", "ferry", "blocks", "ferry", "ferry"], SIGNS, QUERIES, VECTORS, MEAN, born),
        *(min_version, 3, -0.2, scope),
    )
    return [[each.similarities.tolist() for each in found[sign]] for sign in SIGNS]


def follow(url: str, base: str, seed: int, stop: Any, told: Any) -> None:
    """Refresh and look up without rest; tell of torn rows, and in the end what the banks hold.

    Every row of the test's episodes ends with the sum of its other codes.
    """
    chance = random.Random(seed)
    born = np.zeros(CODES, dtype=np.int64)
    replica = _opened(url, base)
    try:
        while not stop.is_set():
            replica.refresh()
            for sign in SIGNS:
                rows = np.array(replica.banks()["blocks"][sign].rows, dtype=np.int64)
                if len(rows) and (rows[:, :-1].sum(axis=1) % CODES != rows[:, -1]).any():
                    told.send(f"torn rows: {rows.tolist()}")
                    return
            answers(replica, chance.randrange(3), born)
            time.sleep(0.002 * chance.random())
        replica.refresh()
        told.send([sorted(held(replica, "blocks", sign).items()) for sign in SIGNS])
    except Exception as error:
        told.send(f"{type(error).__name__}: {error}")
        raise
    finally:
        replica.close()


def die(url: str, base: str, moment: str) -> None:
    """Refresh, but end as by kill -9 at a moment of the first feeding."""
    write, apply, move = node_replica.write_head, replica_feed._apply, node_replica.NodeBank._move

    def kill(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write_or_die(path: Path, head: Any) -> None:
        if head.busy or moment != "before publishing":
            write(path, head)
        if not head.busy or moment == "after announcing":
            kill()

    def apply_half(banks: Any, fields: Any) -> None:
        apply(banks, {**fields, b"r": b""})
        kill()

    def move_half(bank: Any, places: Any, rows: int, dtype: Any) -> None:
        move(bank, places[: len(places) // 2], rows, dtype)
        kill()

    replica = _opened(url, base)
    if moment == "amid a batch":
        replica_feed._apply = apply_half
    elif moment == "amid a move":
        node_replica.NodeBank._move = move_half  # type: ignore[method-assign]
    else:
        node_replica.write_head = write_or_die
    replica.refresh()


def _opened(url: str, base: str) -> NodeReplica:
    client = connect(SharedMemoryConfig(), url)
    return NodeReplica(client, "run", DOMAINS, BankConfig(), base=Path(base))
