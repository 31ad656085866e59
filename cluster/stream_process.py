"""One model that learns a stream, in a process of its own: reads a StreamSetting, prints looks.

Started by `cluster.stream_cell` only: python -m cluster.stream_process SETTING. After each block
the state goes to a file, so that a process that was killed goes on from its last block. Banks are
on a server of the model's own, whose files lie beside the state.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgpack
import torch

from actors.outcomes import bank_episode
from actors.policy import Policy
from actors.records import Assignment, Shuffle
from actors.rollout import FinishedEpisode, Rollout
from cluster.stream_learner import StreamLearner
from cluster.stream_measures import book_figures
from cluster.stream_rows import BankFigures, Look, PhaseProbe, StreamSetting
from configs.errors import ConfigurationError
from learner.curriculum import single_decisions
from learner.replay import named_generator
from learner.student import RoundStatistics
from learner.trace_file import read_traces
from model.procedure_lm import ProcedureLM
from model.saving import from_bytes
from shared_memory.bank import Bank
from shared_memory.connection import connect
from shared_memory.records import SIGNS, Trace
from shared_memory.server import EmbeddedServer
from tasks.rendering import Rendering
from tasks.simulators import make_simulator
from tasks.stream import TaskStream
from tasks.task import Task

STATE_FILE = "state.msgpack"
BANKS = "banks"
EPISODES = 64
LONGEST_STATE = 2**31 - 1
ALIVE_EVERY_S = 10.0


class StreamRun:
    """A model's way through the stream."""

    def __init__(
        self,
        setting: StreamSetting,
        bank: Bank | None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        config = setting.config
        self._setting = setting
        self._stream = TaskStream(config.stream, setting.stream_seed)
        domains = {domain.name: domain for domain in self._stream.domains}
        rendering = Rendering(self._stream.domains, config.rendering)
        self._learner = StreamLearner(setting, rendering, len(self._stream))
        self._traces = {trace.task_index: trace for trace in read_traces(Path(setting.plans))}
        self._rollout = Rollout(
            rendering,
            self._learner.student.model.tokenizer,
            lambda domain: make_simulator(domains[domain]),
            config.stream.step_limit,
            setting.stream_seed,
        )
        self._bank = bank
        self._on_progress = on_progress
        self._told = time.monotonic()
        self.looks: list[Look] = []
        self._learned: RoundStatistics | None = None
        self._began = time.monotonic()
        self._resume()

    def run(self) -> Iterator[Look]:
        """Look, learn a block, and so on; the last look is after the last block."""
        every, last = self._setting.measuring.checkpoint_tasks, len(self._stream)
        for block, start in enumerate([*range(0, last, every), last]):
            if block < len(self.looks):
                continue
            coming = range(start, min(start + every, last))
            look = self._look(block, start, coming)
            self.looks.append(look)
            yield look
            if coming:
                self._learned = self._learner.learn(
                    block, self._of(coming), len(coming), self._alive
                )
                self._save()

    def _look(self, block: int, start: int, coming: range) -> Look:
        """Publish the weights and measure, before the coming tasks are learned."""
        student = self._learner.student
        model, version = from_bytes(student.weights(block))
        if not isinstance(model, ProcedureLM):
            raise ConfigurationError("a study of the book needs one: leave out model.memory.use")
        policy = self._policy(model.eval(), version)
        probes = self._probe(policy, start)
        given = [Assignment(number, self._stream[number]) for number in coming]
        acted = list(self._rollout.run(policy, given, banks=False, on_progress=self._alive))
        bank = None if self._bank is None else self._keep(self._bank, acted, version)
        learned = self._learned
        return Look(
            tasks=start,
            phase=self._stream.phase_of(coming.start if coming else start - 1).number,
            steps=student.distiller.steps,
            quantised=model.book.active,
            loss=None if learned is None else learned.loss,
            revived=0 if learned is None else learned.codes_revived,
            old=book_figures(model, self._sample(range(start), f"old {block}")),
            new=book_figures(model, self._sample(coming, f"new {block}")),
            acted=len(acted),
            acted_solved=sum(each.success for each in acted),
            probes=probes,
            bank=bank,
            parameters=student.parameters,
            seconds=time.monotonic() - self._began,
        )

    def _policy(self, model: ProcedureLM, version: int) -> Policy:
        acting = self._setting.config.acting
        return Policy(
            model, version, acting.model_copy(update={"banks": "none", "episodes": EPISODES}), None
        )

    def _probe(self, policy: Policy, start: int) -> tuple[PhaseProbe, ...]:
        """The phases so far and the next one; before anything is learned all of them."""
        phases = self._stream.phases
        begun = [phase.number for phase in phases if phase.start < start]
        wanted = range(len(phases) if not begun else min(len(phases), len(begun) + 1))
        tasks = [task for number in wanted for task in self._stream.probe(number)]
        own = self._try(policy, tasks, "none")
        known = [task for number in begun for task in self._stream.probe(number)]
        other = self._try(policy, known, "domain")
        return tuple(
            PhaseProbe(
                phase=number,
                tasks=len(own[number]),
                solved=sum(each.success for each in own[number]),
                exchanged=sum(each.success for each in other[number]) if number in other else None,
                emitted=sum(len(each.decisions) for each in own[number]),
                accepted=sum(one.accepted for each in own[number] for one in each.decisions),
            )
            for number in wanted
        )

    def _try(
        self, policy: Policy, tasks: Sequence[Task], shuffle: Shuffle
    ) -> dict[int, list[FinishedEpisode]]:
        """Held-out tasks, by phase."""
        given = [Assignment(-1, task) for task in tasks]
        found: dict[int, list[FinishedEpisode]] = {}
        for each in self._rollout.run(
            policy, given, shuffle=shuffle, banks=False, on_progress=self._alive
        ):
            found.setdefault(each.task.phase, []).append(each)
        return found

    def _keep(self, bank: Bank, acted: Sequence[FinishedEpisode], version: int) -> BankFigures:
        """Give the episodes to the banks, as actors do, and retire what is too old."""
        bank.push([bank_episode(each, version, "study") for each in acted])
        oldest = version - self._setting.config.shared_memory.bank.version_lag
        if oldest > 0:
            bank.retire(oldest)
        statistics = bank.statistics()
        totals = [statistics.total(sign) for sign in SIGNS]
        return BankFigures(
            entries=sum(one.entries for one in totals),
            unique=sum(one.unique for one in totals),
            admitted=sum(one.admitted for one in totals),
            duplicates=sum(one.duplicates for one in totals),
            retired=sum(one.retired for one in totals),
        )

    def _alive(self) -> None:
        """Say that it goes on, now and then."""
        if time.monotonic() - self._told > ALIVE_EVERY_S:
            self._told = time.monotonic()
            self._on_progress()

    def _of(self, tasks: range) -> list[Trace]:
        return [self._traces[i] for i in tasks if i in self._traces]

    def _sample(self, tasks: range, name: str) -> list[Trace]:
        """At most `sample` decisions of these tasks, evenly, always the same ones."""
        parts = [part for trace in self._of(tasks) for part in single_decisions(trace)]
        most = self._setting.measuring.sample
        if len(parts) <= most:
            return parts
        generator = named_generator(self._setting.stream_seed, name)
        chosen = generator.choice(len(parts), size=most, replace=False)
        return [parts[int(place)] for place in sorted(chosen)]

    def _save(self) -> None:
        """The state after a block, beside the old one and then in its place."""
        path = Path(self._setting.folder) / STATE_FILE
        learned = self._learned
        payload = msgpack.packb(
            {
                "looks": [look.model_dump_json() for look in self.looks],
                "learned": [learned.loss, learned.codes_revived] if learned else None,
                "steps": self._learner.student.distiller.steps,
                "learner": self._learner.state(),
            }
        )
        beside = path.with_suffix(".partial")
        beside.write_bytes(payload)
        beside.replace(path)

    def _resume(self) -> None:
        """Go on from the state, if there is one."""
        path = Path(self._setting.folder) / STATE_FILE
        if not path.is_file():
            return
        state = msgpack.unpackb(
            path.read_bytes(), max_bin_len=LONGEST_STATE, max_str_len=LONGEST_STATE
        )
        self._learner.restore(state["learner"])
        self.looks = [Look.model_validate_json(text) for text in state["looks"]]
        loss, revived = state["learned"]
        self._learned = RoundStatistics(steps=state["steps"], loss=loss, codes_revived=revived)
        self._began = time.monotonic() - self.looks[-1].seconds


@contextmanager
def banks_of(setting: StreamSetting) -> Iterator[Bank | None]:
    """The model's banks, where they are on; what they held before is still there."""
    config = setting.config
    if config.acting.banks == "none":
        yield None
        return
    with (
        EmbeddedServer(Path(setting.folder) / BANKS, fsync="always") as server,
        closing(connect(config.shared_memory, server.url)) as client,
    ):
        yield Bank(client, "study", config.shared_memory.bank)


def main(setting: StreamSetting) -> None:
    """Learn the whole stream, or what is left of it."""
    torch.set_num_threads(1)
    with banks_of(setting) as bank:
        run = StreamRun(setting, bank, _say_alive)
        for look in [*run.looks]:
            _say(look)
        for look in run.run():
            _say(look)


def _say(look: Look) -> None:
    sys.stdout.write(look.model_dump_json() + "\n")
    sys.stdout.flush()


def _say_alive() -> None:
    sys.stdout.write("\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(StreamSetting.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8")))
