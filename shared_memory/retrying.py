"""How long a lost connection or a lost reply is tried again.

redis-py wraps retries around retries (a command's around its connection's around its socket's):
N tries become N³ and a time-out of 5 s minutes. Here only the outermost of a thread counts, what
bounds it is time and not a number (a server that restarts takes seconds, however often it is
asked), and a refused password is not tried again at all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    MaxConnectionsError,
    RedisError,
)
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import TimeoutError as NoAnswerError
from redis.retry import Retry

_Result = TypeVar("_Result")
_FINAL = (AuthenticationError, AuthorizationError, MaxConnectionsError)
_LOST: tuple[type[Exception], ...] = (LostConnectionError, NoAnswerError, TimeoutError)
_ENOUGH = 16  # doublings: far past the longest pause
_trying = threading.local()


class OneRetry(Retry):
    """Tries again for `patience_s`, with growing jittered pauses up to 1 s.

    `further`: errors that are worth another try besides lost connections and replies.
    """

    def __init__(self, patience_s: float, further: tuple[type[RedisError], ...] = ()) -> None:
        pauses = ExponentialWithJitterBackoff(base=0.02, cap=1.0)
        super().__init__(pauses, 1, (*_LOST, *further))
        self.patience_s = patience_s
        self._further = further

    def __deepcopy__(self, memo: dict[int, Any]) -> OneRetry:
        return OneRetry(self.patience_s, self._further)

    def call_with_retry(
        self,
        do: Callable[[], _Result],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> _Result:
        """As redis-py's, but once only where this thread is retrying already further out."""
        outermost = not getattr(_trying, "inside", False)
        deadline = time.monotonic() + self.patience_s
        failures = 0
        _trying.inside = True
        try:
            while True:
                try:
                    return do()
                except self._supported_errors as error:
                    final = isinstance(error, _FINAL) or (
                        is_retryable is not None and not is_retryable(error)
                    )
                    if outermost and final:
                        raise
                    failures += 1
                    if with_failure_count:
                        fail(error, failures)
                    else:
                        fail(error)
                    pause = self._backoff.compute(min(failures, _ENOUGH))
                    if not outermost or time.monotonic() + pause > deadline:
                        raise
                    time.sleep(pause)
        finally:
            _trying.inside = not outermost
