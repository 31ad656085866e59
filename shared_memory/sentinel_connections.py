"""Connections to the primary that Sentinels name, which ask them each time they connect.

redis-py's ask when a connection is made, but connect again to the former primary when a command
is repeated (redis/redis-py issue 3874, open at 8.1.0), so that a failover was never noticed
before the patience ran out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
from redis.connection import Connection, SSLConnection
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection


class PrimaryConnection(SentinelManagedConnection):
    """A connection to whichever server is the primary now."""

    def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        """Connect; where nobody has asked the Sentinels for the address just now, ask them."""
        if not self._sock and retry_socket_connect:
            self.host, self.port = self.connection_pool.get_master_address()
        super().connect_check_health(check_health, retry_socket_connect=False)


class PrimarySSLConnection(PrimaryConnection, SSLConnection):
    """The same over TLS."""


def primary_pool(
    sentinel: Sentinel, service: str, kind: type[Connection], settings: dict[str, Any]
) -> redis.ConnectionPool:
    """Connections to the primary of a service; `kind` is that of connections without Sentinels."""
    mine = PrimarySSLConnection if kind is SSLConnection else PrimaryConnection
    make: Callable[..., redis.ConnectionPool] = SentinelConnectionPool
    return make(service, sentinel, connection_class=mine, **settings)
