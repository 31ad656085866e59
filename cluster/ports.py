"""Ports that a run was told to listen on: free, or one sentence before anything is started."""

from __future__ import annotations

import errno
import socket

from configs.errors import NesyprError
from configs.schema import RunConfig


class PortError(NesyprError):
    """A port that the configuration names cannot be used."""


def check_ports_free(config: RunConfig) -> None:
    """Raise PortError where a port that the run will listen on here is taken or forbidden."""
    if config.metrics_port is not None:
        _check_free(config.metrics_port, "metrics_port", "none, and Ray chooses one")


def check_page_port_free(config: RunConfig) -> None:
    """Raise PortError where the port that the run's page is to have is taken or forbidden."""
    if config.monitoring.dashboard and config.monitoring.port is not None:
        _check_free(config.monitoring.port, "monitoring.port", "none, and it chooses one")


def _check_free(port: int, key: str, otherwise: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed ones count as free
        try:
            probe.bind(("", port))  # fails also where only one of the addresses is taken
        except OSError as error:
            what = (
                "is in use by another process"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used ({error.strerror})"
            )
            raise PortError(
                f"port {port} of {key} {what}: choose another with --set {key}=PORT "
                f"({otherwise}), or stop what listens there"
            ) from error
