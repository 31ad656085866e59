"""Ray for one run: join a cluster, use the one at hand, or start a small quiet one here."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import ray

from cluster.ray_token import MODE, REMEDY, asks_for_token, opted_out, take_on_token_mode
from configs.errors import NesyprError

OBJECT_STORE_BYTES = 150 * 2**20
"""Requests and reports are small; weights go through shared memory."""


class RayStartError(NesyprError):
    """Ray could not be started or joined."""


def house() -> Path:
    """The folder that holds the house's packages."""
    return Path(__file__).resolve().parent.parent


def worker_environment() -> dict[str, str]:
    """Environment of every worker process: one thread each, and the house on its path."""
    paths = [str(house()), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
    }


def _names_head(address: str) -> bool:
    """Whether an address is HOST:PORT; of `auto` and the like Ray itself finds token and head."""
    return "://" not in address and ":" in address


class RaySession:
    """A context manager around Ray. Shuts down only what it started.

    A cluster of several hosts that asks for no token is refused, unless RAY_AUTH_MODE=disabled
    says that this is meant.

    `cpus`: what the run's processes ask for in all; a Ray started here has at least as many.
    `metrics_port`: where a Ray started here serves its Prometheus metrics; none lets it choose.
    """

    def __init__(self, address: str | None, cpus: float, metrics_port: int | None = None) -> None:
        self.address = address
        self.cpus = cpus
        self.metrics_port = metrics_port
        self.started = False
        self._environment: dict[str, str | None] = {}

    def __enter__(self) -> RaySession:
        if ray.is_initialized():
            if self.metrics_port is not None:
                raise RayStartError(
                    f"metrics_port = {self.metrics_port} cannot be set, as Ray runs already in "
                    "this process: leave it out, and give the port to whatever starts Ray"
                )
            return self
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "5")  # Ray's 15 starves workers elsewhere
        logging.getLogger("ray").setLevel(logging.ERROR)  # the run has its own words
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        settings: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "configure_logging": False,
        }
        if self.address is None:
            self._environment = {key: os.environ.get(key) for key in worker_environment()}
            os.environ.update(worker_environment())  # inherited by all of Ray's processes
            settings |= {
                "address": "local",  # else Ray joins whatever `ray start` left on this machine
                "num_cpus": max(os.cpu_count() or 1, int(self.cpus + 0.999)),
                "object_store_memory": OBJECT_STORE_BYTES,
                "include_dashboard": False,
                "_metrics_export_port": self.metrics_port,
                "_node_ip_address": "127.0.0.1",
            }
        else:
            if _names_head(self.address) and asks_for_token(self.address):
                take_on_token_mode()
            settings |= {
                "address": self.address,
                "runtime_env": {"env_vars": worker_environment()},
            }
        try:
            ray.init(**settings)
        except Exception as error:  # a node that starts too slowly raises a bare one
            where, remedy = "here", "`nesypr doctor` checks what it needs"
            if self.address is not None:
                where = f"at {self.address}"
                remedy = (
                    "check that `ray start --head` runs there, and that RAY_AUTH_MODE and the "
                    "token in ~/.ray/auth_token are the same here as there"
                )
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise RayStartError(
                f"Ray could not be started or joined {where}: {reason}; {remedy}"
            ) from error
        self.started = True
        if self.address is not None:
            self._refuse_open_hosts()
        return self

    def _refuse_open_hosts(self) -> None:
        """Raise RayStartError where several hosts go without a token; warn where one does."""
        head: str = ray.get_runtime_context().gcs_address
        if asks_for_token(head):
            return
        hosts = {str(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]}
        open_ = f"Ray at {head} asks for no token: whoever reaches its ports can run code there"
        if opted_out() or len(hosts) == 1:
            sys.stderr.write(f"nesypr: warning: {open_}; {REMEDY}\n")
            return
        self.__exit__(None, None, None)
        raise RayStartError(
            f"{open_}; {REMEDY}; where nobody else can, {MODE}=disabled lets the run start"
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.started and ray.is_initialized():
            ray.shutdown()
        self.started = False
        for key, value in self._environment.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        self._environment = {}
