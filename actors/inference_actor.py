"""The Ray edge of shared inference: the process around an `InferenceService`, and the way to it.

The process's event loop takes what comes and answers `pulse` at any time; one thread beside it
has the model, and does one thing after another: a batch, or a session's begin or end.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import ray

from actors.errors import ActingError
from actors.gauges import InferenceGauges
from actors.process_memory import resident_mb
from actors.records import ActorSetting, Pulse
from configs.errors import NesyprError
from shared_memory.connection import connect

if TYPE_CHECKING:
    from actors.batching import Batcher
    from actors.inference import InferenceService
    from actors.rounds import Answered, Opened, Round
    from model.tokenizer import Tokenizer

_Waits = tuple["Round", "asyncio.Future[Answered]"]
_T = TypeVar("_T")


@ray.remote(max_restarts=0, max_task_retries=0)
class InferenceProcess:
    """An inference actor as others see it. Never restarted by Ray: the fleet replaces it."""

    def __init__(self, name: str, setting: ActorSetting) -> None:
        self._name = name
        self._setting = setting
        self._node = ray.get_runtime_context().get_node_id()
        self._given = ray.get_gpu_ids()  # asked here, as Ray knows its own threads only
        self._thread = ThreadPoolExecutor(1, "model")
        self._service: InferenceService | None = None
        self._batcher: Batcher[_Waits] | None = None
        self._serving: asyncio.Task[None] | None = None
        self._gauges = InferenceGauges(setting.run, name)

    async def start(self) -> Pulse:
        """Load what inference needs; the first request, once."""
        from actors.batching import Batcher

        service = self._service = await self._in_thread(self._load)
        acting = self._setting.acting
        self._batcher = Batcher(
            acting.inference_batch, acting.inference_wait_ms / 1000.0, service.askers
        )
        self._come = asyncio.Event()
        self._serving = asyncio.get_running_loop().create_task(self._serve())
        return await self.pulse()

    def _load(self) -> InferenceService:
        import torch

        from actors.device import acting_device
        from actors.inference import InferenceService

        torch.set_num_threads(1)
        setting = self._setting
        return InferenceService(
            name=self._name,
            run=setting.run,
            seed=setting.seed,
            connection=connect(setting.shared_memory, setting.url, "actor"),
            domains=setting.domains,
            acting=setting.acting,
            shared_memory=setting.shared_memory,
            device=acting_device(setting.acting.gpus, self._given),
        )

    async def open(self, actor: str) -> Opened:
        """See `InferenceService.open`."""
        service = self._ready()
        return await self._in_thread(lambda: service.open(actor))

    async def close(self, session: int) -> None:
        """See `InferenceService.close`; others may then be all that there are."""
        service = self._ready()
        await self._in_thread(lambda: service.close(session))
        self._come.set()

    async def decide(self, asked: Round) -> Answered:
        """Answered with the batch that the round comes into."""
        service = self._ready()
        if self._batcher is None:
            raise ActingError(f"{self._name} was not started")
        answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        kind, size = service.kind(asked), len(asked.slots)
        self._batcher.add(asked.session, kind, size, (asked, answer), time.monotonic())
        self._come.set()
        return await answer

    async def tokenizer(self) -> Tokenizer:
        """See `InferenceService.tokenizer`."""
        return self._ready().tokenizer

    async def pulse(self) -> Pulse:
        """Answered beside a batch; `rounds` are batches."""
        rounds = 0 if self._service is None else self._service.batches
        return Pulse(os.getpid(), rounds, resident_mb(), self._node)

    async def leave(self) -> None:
        """Give up what the node's processes share, before the end."""
        if self._service is not None:
            await self._in_thread(self._service.leave)

    async def _serve(self) -> None:
        """Answer batch after batch. An error that is not of the house fails its batch."""
        service, batcher = self._ready(), self._batcher
        assert batcher is not None
        while True:
            batch = batcher.take(time.monotonic())
            if not batch:
                self._come.clear()
                try:
                    async with asyncio.timeout(batcher.due_in(time.monotonic())):
                        await self._come.wait()
                except TimeoutError:
                    pass  # the oldest has waited long enough
                continue
            began = time.perf_counter()
            rounds = [waiting.item[0] for waiting in batch]
            answers: list[Answered | NesyprError] | None = None
            failure: Exception | None = None
            try:
                answers = await self._in_thread(lambda rounds=rounds: service.decide(rounds))  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001 - told to all who wait for it
                failure = error
            for place, waiting in enumerate(batch):
                told = failure if answers is None else answers[place]
                _, answer = waiting.item
                if answer.done():
                    continue  # nobody waits for it any more
                if isinstance(told, BaseException):
                    answer.set_exception(told)
                elif told is not None:
                    answer.set_result(told)
            decisions = sum(waiting.size for waiting in batch)
            self._gauges.take(decisions, time.perf_counter() - began, len(batch))

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _ready(self) -> InferenceService:
        if self._service is None:
            raise ActingError(f"{self._name} was asked before it was started")
        return self._service


@dataclass(frozen=True, slots=True)
class InferenceWay:
    """An `Inference` over Ray; it is sent to actors with what they are asked.

    `deadline_s` is how long one answer may take.
    """

    name: str
    handle: Any
    deadline_s: float

    def open(self, actor: str) -> Opened:
        """See `Inference`."""
        found: Opened = self._wait(self.handle.open.remote(actor), "to begin a session")
        return found

    def decide(self, asked: Round) -> Answered:
        """See `Inference`."""
        words = f"for {len(asked.slots)} decisions"
        found: Answered = self._wait(self.handle.decide.remote(asked), words)
        return found

    def close(self, session: int) -> None:
        """See `Inference`."""
        self.handle.close.remote(session)

    def tokenizer(self) -> Tokenizer:
        """See `Inference`."""
        found: Tokenizer = self._wait(self.handle.tokenizer.remote(), "for the tokenizer")
        return found

    def _wait(self, reference: Any, what: str) -> Any:
        """The answer. An error of the house is raised as it is, any other as InferenceLostError."""
        from actors.rounds import InferenceLostError

        try:
            return ray.get(reference, timeout=self.deadline_s)
        except ray.exceptions.GetTimeoutError:
            raise InferenceLostError(
                self.name,
                f"{self.name} was waited {what} longer than {self.deadline_s:g} s, half of "
                "acting.request_deadline_s: it is killed and replaced",
                overdue=True,
            ) from None
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, NesyprError):
                raise error.cause from None
            raise InferenceLostError(self.name, f"{self.name} failed: {error.cause!r}") from error
        except ray.exceptions.RayActorError as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InferenceLostError(self.name, f"{self.name} died: {first}") from error
