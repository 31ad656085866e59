"""An actor's side of a shared inference actor: called like a policy, it asks there.

Text is gathered and sent with the next round of decisions, so that a round is one question.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.errors import ActingError
from actors.policy import Choice
from actors.records import Shuffle
from actors.rounds import Inference, Round, Tokens
from configs.schema import ActingConfig


class SharedPolicy:
    """A session with an inference actor: all decisions are made with its `version`.

    What asks raises InferenceLostError where no answer comes; the session is lost then, too.
    """

    def __init__(self, actor: str, config: ActingConfig, inference: Inference) -> None:
        self.config = config
        self._inference = inference
        opened = inference.open(actor)
        self._session = opened.session
        self.version = opened.version
        self.watermark = opened.watermark
        """How far the banks had been followed for the last answer."""
        self.max_tokens = opened.max_tokens
        self._texts: list[tuple[int, bool, Tokens]] = []

    def enter(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """See `Policy.enter`."""
        self._note(slots, prompts, True)

    def feed(self, slots: Sequence[int], tokens: Sequence[Sequence[int]]) -> None:
        """See `Policy.feed`."""
        self._note(slots, tokens, False)

    def decide(
        self,
        slots: Sequence[int],
        domains: Sequence[str],
        allowed: Sequence[Sequence[Sequence[int]]] | None = None,
        shuffle: Shuffle = "none",
        banks: bool = True,
        watched: Sequence[int] = (),
    ) -> list[Choice]:
        """See `Policy.decide`. Raises ActingError for an answer of another version."""
        texts, self._texts = tuple(self._texts), []
        answered = self._inference.decide(
            Round(
                self._session,
                texts,
                tuple(slots),
                tuple(domains),
                None
                if allowed is None
                else tuple(tuple(tuple(answer) for answer in each) for each in allowed),
                shuffle,
                banks,
                tuple(watched),
            )
        )
        if answered.version != self.version:
            raise ActingError(
                f"{self._inference.name} answered with version {answered.version} in a session "
                f"of version {self.version}: its books are wrong"
            )
        self.watermark = answered.watermark
        return list(answered.choices)

    def close(self) -> None:
        """End the session."""
        self._inference.close(self._session)

    def _note(self, slots: Sequence[int], texts: Sequence[Sequence[int]], anew: bool) -> None:
        self._texts += [
            (slot, anew, tuple(tokens)) for slot, tokens in zip(slots, texts, strict=True)
        ]
