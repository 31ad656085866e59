"""How often a lost connection or a lost reply is tried again.

redis-py wraps retries around retries (a command's around its connection's around its socket's):
N tries become N³ and a time-out of 5 s minutes. Here only the outermost of a thread counts, and
a refused password is not tried again at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, MaxConnectionsError
from redis.retry import Retry

_Result = TypeVar("_Result")
_FINAL = (AuthenticationError, AuthorizationError, MaxConnectionsError)
_trying = threading.local()


class OneRetry(Retry):
    """At most `retries` tries more after the first, with growing jittered pauses up to 1 s."""

    def __init__(self, retries: int) -> None:
        super().__init__(ExponentialWithJitterBackoff(base=0.02, cap=1.0), retries)

    def __deepcopy__(self, memo: dict[int, Any]) -> OneRetry:
        return OneRetry(self.get_retries())

    def call_with_retry(
        self,
        do: Callable[[], _Result],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> _Result:
        """As redis-py's, but once only where this thread is retrying already further out."""

        def worth_it(error: Exception) -> bool:
            if isinstance(error, _FINAL):
                return False
            return is_retryable is None or is_retryable(error)

        if getattr(_trying, "inside", False):
            try:
                return do()
            except self._supported_errors as error:
                if with_failure_count:
                    fail(error, 1)
                else:
                    fail(error)
                raise
        _trying.inside = True
        try:
            result: _Result = super().call_with_retry(do, fail, worth_it, with_failure_count)
            return result
        finally:
            _trying.inside = False
