"""What all machines of a run share through Redis: banks, queues, weights, outcomes."""

from shared_memory.bank import Bank, PushResult
from shared_memory.bank_statistics import BankStatistics
from shared_memory.bank_verification import BankVerification
from shared_memory.connection import connect
from shared_memory.errors import ServerFullError, SharedMemoryError
from shared_memory.heartbeat import Heartbeat, Heartbeats
from shared_memory.lookup import Neighbours
from shared_memory.outcomes import EpisodeEvent, OutcomeLog, PlanEvent
from shared_memory.queues import PlanQueue, Ticket, TraceQueue
from shared_memory.records import (
    BankEntry,
    Decision,
    Episode,
    PlanOutcomeRecord,
    PlanRequest,
    Trace,
)
from shared_memory.replica import BankReplica
from shared_memory.server import EmbeddedServer
from shared_memory.weights import PublishedWeights

__all__ = [
    "Bank",
    "BankEntry",
    "BankReplica",
    "BankStatistics",
    "BankVerification",
    "Decision",
    "EmbeddedServer",
    "Episode",
    "EpisodeEvent",
    "Heartbeat",
    "Heartbeats",
    "Neighbours",
    "OutcomeLog",
    "PlanEvent",
    "PlanOutcomeRecord",
    "PlanQueue",
    "PlanRequest",
    "PublishedWeights",
    "PushResult",
    "ServerFullError",
    "SharedMemoryError",
    "Ticket",
    "Trace",
    "TraceQueue",
    "connect",
]
