"""Fast Downward as a planner: its translator and its search, each a process that can be killed.

    planner = FastDownwardPlanner(get_domain("blocks"), "fd-optimal")

Needs the extra `fast-downward` (`up-fast-downward`, GPLv3, which is why it is one). `fd-optimal`
is A* with the landmark-cut heuristic, and blind where that knows no axioms or conditional effects;
`fd-satisficing` is the first iteration of LAMA (Richter and Westphal 2010), as the driver's alias
`lama-first` has it. Every action costs one. Nothing breaks ties by the text: plans are not
canonical.

Translator and search run one after the other in the caller's process group, so that who kills
the group (as `learner.teacher` does with a teacher process that is over its time) kills them
too. A process that is over the deadline is killed; limits on its address space and on its
processor time hold even if the caller is gone.
"""

from __future__ import annotations

import importlib.util
import resource
import signal
import subprocess
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Literal

from learner.errors import LearnerError
from learner.planners import ObjectOrder, PlanLimits, PlanOutcome, PlanStatus
from learner.planning_domain import planning_text
from tasks.errors import TaskError
from tasks.pddl_domain import PddlDomain
from tasks.task import Action, Task

FastDownwardName = Literal["fd-optimal", "fd-satisficing"]

_BLIND = "astar(blind())"
_SEARCH: dict[FastDownwardName, str] = {
    "fd-optimal": "astar(lmcut())",
    "fd-satisficing": (
        "let(hlm,landmark_sum(lm_factory=lm_reasonable_orders_hps(lm_rhw()),"
        "transform=adapt_costs(one),pref=false),let(hff,ff(transform=adapt_costs(one)),"
        "lazy_greedy([hff,hlm],preferred=[hff,hlm],cost_type=one,reopen_closed=false)))"
    ),
}
_EXHAUSTED = 12
_UNSUPPORTED = 34
_BEYOND_STRIPS = frozenset({"when", "forall", "exists", "imply", "or"})
_STATUS: dict[int, PlanStatus] = {
    10: "unsolvable",
    11: "unsolvable",
    20: "out_of_memory",
    21: "timeout",
    22: "out_of_memory",
    23: "timeout",
    24: "timeout",
    -signal.SIGXCPU: "timeout",
}
"""By exit code of translator or search, https://www.fast-downward.org/ExitCodes."""


class _Ended(Exception):  # noqa: N818 - not an error: how a call of the planner ends without a plan
    """The call is over without a plan."""

    def __init__(self, status: PlanStatus, reason: str = "") -> None:
        self.status = status
        self.reason = reason


@lru_cache(maxsize=1)
def programs() -> Path:
    """The folder with `downward` and `translate`; LearnerError says how to install them."""
    found = importlib.util.find_spec("up_fast_downward")
    if found is None or not found.submodule_search_locations:
        raise LearnerError(
            "Fast Downward is not installed, which teacher.planner = fd-optimal and fd-satisficing "
            "need: run pip install '.[fast-downward]' in this project's folder, or take mimir-astar"
        )
    folder = Path(next(iter(found.submodule_search_locations))) / "downward/builds/release/bin"
    if not (folder / "downward").is_file():
        raise LearnerError(
            f"there is no {folder / 'downward'}: this version of up-fast-downward keeps it "
            "elsewhere; install version 0.5.2"
        )
    return folder


class FastDownwardPlanner:
    """Fast Downward in processes of its own, which end with each call.

    Raises LearnerError at construction where Fast Downward is not installed.
    """

    def __init__(
        self, domain: PddlDomain, planner: FastDownwardName, memory_limit_mb: int = 2048
    ) -> None:
        self._of = domain
        self._planner = planner
        self._memory_limit = memory_limit_mb * 2**20
        self._programs = programs()
        self._text = planning_text(domain.definition)
        definition = domain.definition
        is_strips = not definition.derived and not definition.features & _BEYOND_STRIPS
        # Only there are the states that LAMA's heuristics take for dead ends surely dead ends.
        self._exhausted_proves = planner == "fd-optimal" or is_strips

    @property
    def name(self) -> str:
        """The planner's name as configured."""
        return self._planner

    def plan(self, task: Task, limits: PlanLimits, order: ObjectOrder | None = None) -> PlanOutcome:
        """Plan in at most `limits.seconds`; `order` is not asked. Never raises for the task."""
        began = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix="nesypr-plan-") as folder:
                plan = self._search(task, Path(folder), began + limits.seconds)
        except _Ended as end:
            seconds = time.monotonic() - began
            return PlanOutcome(end.status, seconds=seconds, reason=end.reason)
        except TaskError as error:
            reason = f"Fast Downward's plan for task {task.digest} cannot be read: {error}"
            return PlanOutcome("error", seconds=time.monotonic() - began, reason=reason)
        optimal = self._planner == "fd-optimal"
        return PlanOutcome("solved", plan, optimal, time.monotonic() - began)

    def _search(self, task: Task, folder: Path, deadline: float) -> tuple[Action, ...]:
        (folder / "domain.pddl").write_text(self._text, encoding="utf-8")
        (folder / "problem.pddl").write_text(task.problem, encoding="utf-8")
        translate = [sys.executable, "-m", "translate", "domain.pddl", "problem.pddl"]
        self._run(task, [*translate, "--sas-file", "task.sas"], folder, deadline)
        if not self._find(task, _SEARCH[self._planner], folder, deadline):
            self._find(task, _BLIND, folder, deadline)
        lines = (folder / "plan").read_text(encoding="utf-8").splitlines()
        steps = [line.strip("() \n").split() for line in lines if line.startswith("(")]
        return tuple(self._of.action_of(name, objects) for name, *objects in steps)

    def _find(self, task: Task, search: str, folder: Path, deadline: float) -> bool:
        """Search; False if this search does not know what the task needs."""
        downward = str(self._programs / "downward")
        command = [downward, "--search", search, "--internal-plan-file", "plan"]
        return self._run(task, command, folder, deadline, "task.sas") == 0

    def _run(
        self, task: Task, command: list[str], folder: Path, deadline: float, read: str = ""
    ) -> int:
        """Run to the end; 0 or "unsupported", which only a search can be. Raises _Ended."""
        complaints = folder / "complaints"
        with (
            (folder / read).open("rb") if read else Path("/dev/null").open("rb") as given,
            complaints.open("wb") as told,
            subprocess.Popen(
                command,
                cwd=folder,
                stdin=given,
                stdout=told,
                stderr=told,
                env={"PYTHONPATH": str(self._programs), "OMP_NUM_THREADS": "1"},
            ) as process,
        ):
            try:
                left = deadline - time.monotonic()
                self._limit(process.pid, max(left, 0.0))
                code = process.wait(max(left, 0.0))
            except subprocess.TimeoutExpired:
                raise _Ended("timeout") from None
            finally:
                process.kill()  # harmless where it has ended
        if code in (0, _UNSUPPORTED):
            return code
        status = _STATUS.get(code)
        if status is not None:
            raise _Ended(status)
        if code == _EXHAUSTED and self._exhausted_proves:
            raise _Ended("unsolvable")
        lines = complaints.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if any("MemoryError" in line or "bad_alloc" in line for line in lines):
            raise _Ended("out_of_memory")
        said = lines[-1].strip()[:300] if lines else "it said nothing"
        part = "search" if read else "translator"
        raise _Ended(
            "error",
            f"Fast Downward's {part} ended with status {code} for task {task.digest} "
            f"({task.domain}): {said}",
        )

    def _limit(self, process: int, seconds: float) -> None:
        """Limit the address space and the processor time of a process that has just started."""
        wanted = {
            resource.RLIMIT_AS: self._memory_limit,
            resource.RLIMIT_CPU: int(seconds) + 2,
            resource.RLIMIT_CORE: 0,
        }
        try:
            for kind, limit in wanted.items():
                _, most = resource.prlimit(process, kind)
                if most != resource.RLIM_INFINITY:
                    limit = min(limit, most)
                resource.prlimit(process, kind, (limit, limit))
        except ProcessLookupError:
            pass  # it has ended already
