"""Everything that a run starts: shared memory's server, Ray, the learner, the actors."""

from __future__ import annotations

from collections.abc import Callable

import ray
import redis

from actors.records import ActorSetting
from cluster.cast import Cast
from cluster.fleet import Fleet
from cluster.fleet_events import FleetError
from cluster.hosts import HostWatch, TrialHosts
from cluster.inference_servers import InferenceServers
from cluster.learner_link import LearnerLink, learner_setting
from cluster.ports import check_ports_free
from cluster.ray_session import RaySession
from cluster.run_folder import RunFolder
from cluster.steering import configured_size
from cluster.supervisor import Supervisor
from configs.schema import RunConfig
from shared_memory.connection import connect
from shared_memory.fleet_wishes import FleetWishes
from shared_memory.outcomes import OutcomeLog
from shared_memory.server import EmbeddedServer
from tasks.stream import TaskStream

LEARNER_CPUS = 1.0
TEACHER_CPUS = 1.0
_OWN_SERVER_PATIENCE_S = 2.0
"""The driver itself starts a dead embedded server again, so it must soon hear of its death."""


class Processes:
    """Starts all of it at once made; `stop` ends all of it, whatever state it is in.

    What was started is stopped again if something later cannot be. Raises NesyprError.
    """

    client: redis.Redis
    outcomes: OutcomeLog
    learner: LearnerLink
    fleet: Fleet
    wishes: FleetWishes

    def __init__(
        self,
        config: RunConfig,
        run: str,
        stream: TaskStream,
        folder: RunFolder,
        supervisor: Supervisor,
        cast: Cast,
    ) -> None:
        self.server: EmbeddedServer | None = None
        self._undo: list[Callable[[], object]] = []
        try:
            self._start(config, run, stream, folder, supervisor, cast)
        except BaseException:
            self.stop()
            raise

    def _start(
        self,
        config: RunConfig,
        run: str,
        stream: TaskStream,
        folder: RunFolder,
        supervisor: Supervisor,
        cast: Cast,
    ) -> None:
        check_ports_free(config)
        domains = tuple(domain.name for domain in stream.domains)
        acting, memory = config.acting, config.shared_memory
        url = memory.url
        if url is None:
            self.server = EmbeddedServer(folder.shared_memory, fsync=memory.fsync)
            self._undo.append(self.server.stop)
            self.server.start()
            url = self.server.url
            folder.write(folder.server_address, url)
        patience_s = None if self.server is None else _OWN_SERVER_PATIENCE_S
        self.client = connect(memory, url, patience_s=patience_s)
        self._undo.append(self.client.close)
        self.outcomes = OutcomeLog(self.client, run, domains)
        self.wishes = FleetWishes(self.client, run)
        size = self.wishes.read().size or configured_size(acting)
        learning = config.distillation
        several = learning.learners > 1  # theirs is the work of the learner, which hands it out
        learners_cpus = learning.learners * learning.learner_cpus if several else LEARNER_CPUS
        cpus = learners_cpus + TEACHER_CPUS + size.number * acting.cpus
        session = RaySession(config.address, cpus, config.metrics_port)
        self._undo.append(lambda: session.__exit__(None, None, None))
        session.__enter__()
        learner = self.learner = LearnerLink(
            learner_setting(config, run, url, stream, folder),
            learning.request_deadline_s,
            supervisor,
            0.0 if several else LEARNER_CPUS,
            0 if several else learning.learner_gpus,
        )
        self._undo.append(lambda: learner.stop(deadline_s=2.0))
        setting = ActorSetting(
            run=run,
            seed=config.seed,
            url=url,
            domains=domains,
            simulator=config.stream.simulator,
            step_limit=config.stream.step_limit,
            rendering=config.rendering,
            acting=acting,
            shared_memory=memory,
            episodes_every=config.monitoring.episodes_every,
            reproducible=config.reproducible,
            max_staleness=config.distillation.max_staleness,
        )
        hosts = TrialHosts() if ray.util.get_current_placement_group() else HostWatch()
        self._undo.append(hosts.stop)
        alone = config.address is None and session.started  # nobody to share the CPUs with
        if alone and acting.gpus and not ray.cluster_resources().get("GPU"):
            raise FleetError(
                f"acting.gpus = {acting.gpus:g}, but Ray finds no GPU on this machine: set "
                "acting.gpus=0, or give the address of a cluster that has some"
            )
        need = {"CPU": 0.0 if alone else acting.cpus, "GPU": acting.gpus}
        host_need: dict[str, float] = {}
        inference: InferenceServers | None = None
        if acting.inference == "shared":
            inference = InferenceServers(setting, supervisor, cast)
            host_need = {"GPU": acting.gpus * acting.inference_actors}
            need["GPU"] = 0.0
        self.fleet = Fleet(
            setting,
            size,
            need,
            acting.request_deadline_s,
            supervisor,
            hosts,
            cast,
            inference,
            host_need,
        )
        self._undo.append(self.fleet.stop)

    def revive_server(self) -> bool:
        """Start the embedded server again if it died; whether it had."""
        if self.server is None or self.server.alive:
            return False
        self.server.start()
        return True

    def stop(self) -> None:
        """Stop everything, last started first; the first error is raised once all is done."""
        errors: list[Exception] = []
        while self._undo:
            try:
                self._undo.pop()()
            except Exception as error:  # noqa: BLE001 - raised below, once all are stopped
                errors.append(error)
        if errors:
            raise errors[0]
