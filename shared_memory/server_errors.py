"""What redis-py raises, as sentences that say what was wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
import redis.exceptions

from shared_memory.errors import ServerFullError, SharedMemoryError, TooFewCopiesError
from shared_memory.server_clients import ServerClient


def where(client: redis.Redis) -> str:
    """The server's address, for messages."""
    if isinstance(client, ServerClient) and client.words:
        return client.words
    settings = client.connection_pool.connection_kwargs
    if "path" in settings:
        return f"unix://{settings['path']}"
    return f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"


@contextmanager
def explained(client: redis.Redis) -> Iterator[None]:
    """Turn what the client raises inside into a SharedMemoryError that says what to do."""
    errors = redis.exceptions
    try:
        yield
    except errors.OutOfMemoryError as error:
        raise ServerFullError(
            f"the server at {where(client)} is at its memory limit: raise its maxmemory, or lower "
            "shared_memory.bank.max_entries"
        ) from error
    except (errors.AuthenticationError, errors.AuthenticationWrongNumberOfArgsError) as error:
        if "required" in str(error).lower():
            raise SharedMemoryError(
                f"the server at {where(client)} wants a password: set NESYPR_SERVER_PASSWORD, or "
                "put it into shared_memory.url, as redis://USER:PASSWORD@HOST:PORT"
            ) from error
        raise SharedMemoryError(
            f"the server at {where(client)} refuses the user or password of "
            f"shared_memory.url: {error}"
        ) from error
    except (errors.NoPermissionError, errors.AuthorizationError) as error:
        raise SharedMemoryError(
            f"the server at {where(client)} does not permit this to its user: {error}"
        ) from error
    except errors.BusyLoadingError as error:
        raise SharedMemoryError(
            f"the server at {where(client)} is still loading its files; try again in a moment"
        ) from error
    except errors.ReadOnlyError as error:
        raise SharedMemoryError(
            f"the server at {where(client)} is a read-only replica: "
            "shared_memory.url must name the primary"
        ) from error
    except (errors.ClusterDownError, errors.TryAgainError, errors.AskError) as error:
        raise SharedMemoryError(
            f"the Cluster at {where(client)} does not serve this now ({error}): look at its nodes "
            "with CLUSTER NODES"
        ) from error
    except errors.TimeoutError as error:
        raise SharedMemoryError(
            f"the server at {where(client)} did not answer within shared_memory.timeout_s: {error}"
        ) from error
    except errors.ConnectionError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise SharedMemoryError(
                f"the certificate of the server at {where(client)} cannot be verified ({error}): "
                "name its authority's file in the URL, as ?ca=FILE, and the host as in the "
                "certificate"
            ) from error
        raise SharedMemoryError(
            f"no server answers at {where(client)} ({error}): start it or correct "
            "shared_memory.url; without a URL the run starts its own server"
        ) from error
    except errors.ResponseError as error:
        if str(error).startswith("NOREPLICAS"):
            raise TooFewCopiesError(
                f"the server at {where(client)} has too few replicas to write (its "
                "min-replicas-to-write)"
            ) from error
        if str(error).startswith("MISCONF"):
            raise SharedMemoryError(
                f"the server at {where(client)} cannot write its files (is the disk full?): {error}"
            ) from error
        raise SharedMemoryError(f"the server at {where(client)} refused: {error}") from error
    except errors.InvalidResponse as error:
        raise SharedMemoryError(
            f"what answers at {where(client)} is no Redis server ({error}): correct "
            "shared_memory.url"
        ) from error
    except errors.RedisError as error:
        raise SharedMemoryError(f"shared memory at {where(client)} failed: {error}") from error
