"""The closing account of a run's banks, compared with the book that is published."""

from __future__ import annotations

from dataclasses import replace

import redis

from configs.errors import NesyprError
from model.saving import births_in
from shared_memory.bank_generations import PublishedBook
from shared_memory.bank_verification import BankVerification, verify
from shared_memory.weights import PublishedWeights


def verify_with_book(client: redis.Redis, run: str, domains: tuple[str, ...]) -> BankVerification:
    """Re-read the banks of these domains; where weights are published, compare them with these.

    Weights that cannot be read are a problem among the others.
    """
    try:
        book = published_book(client, run)
    except NesyprError as error:
        found = verify(client, run, domains)
        words = f"the entries could not be compared with the published book: {error}"
        return replace(found, problems=(*found.problems, words))
    return verify(client, run, domains, book)


def published_book(client: redis.Redis, run: str) -> PublishedBook | None:
    """The latest published version's book; none where none is published.

    Raises SharedMemoryError or ModelError where it is damaged.
    """
    weights = PublishedWeights(client, run)
    if weights.latest_version() is None:
        return None
    version, payload = weights.fetch()
    return PublishedBook(version, births_in(payload).numpy())
