"""A broken procedure-book is seen: versions of it go in, and a sentence comes out where it is bad.

A book has collapsed where nearly all memories get the same few codes: procedures then tell tasks
apart no longer, whatever the loss says. No I/O; whoever watches says what comes out.
"""

from __future__ import annotations

from typing import Protocol

from configs.schema import BookConfig

WINDOW = 4
"""Versions in a row that must be bad before it is said: one bad window can be chance."""

COLLAPSED_BELOW = 0.05
"""Perplexity, as a share of K, under which a book has collapsed."""

ONE_CODE = 1.1
"""Perplexity under which a book has collapsed whatever its K: one code takes nearly all."""

USELESS_ABOVE = 1.0
"""Quantisation error above which R is further from M than no code at all (R = 0) would be."""


class Usage(Protocol):
    """How a book was used over a version's decisions."""

    @property
    def codes_used(self) -> int:
        """Codes chosen at least once; 0 where nothing was quantised."""

    @property
    def perplexity(self) -> float:
        """Of the codes chosen."""

    @property
    def quantisation_error(self) -> float:
        """Mean |M-R|^2 / mean |M|^2."""


class BookWatch:
    """Says once that a book is broken, and again only after it was whole in between."""

    def __init__(self, book: BookConfig, learning_rate: float) -> None:
        self._book = book
        self._rate = learning_rate
        self._bad: list[int] = []  # versions in a row, up to the last
        self._said = False

    def take(self, version: int, usage: Usage) -> str | None:
        """How the book was used for a version; the warning, where it is due.

        A version in which nothing was quantised (the warm-up, continuous memory) says nothing.
        """
        if usage.codes_used == 0:
            return None
        K, perplexity, error = self._book.codes, usage.perplexity, usage.quantisation_error
        collapsed = perplexity < max(COLLAPSED_BELOW * K, ONE_CODE)
        if not collapsed and error <= USELESS_ABOVE:
            self._bad, self._said = [], False
            return None
        self._bad.append(version)
        if self._said or len(self._bad) < WINDOW:
            return None
        self._said = True
        what = "has collapsed" if collapsed else "does not follow the memory"
        return (
            f"the procedure-book {what}: since version {self._bad[0]} "
            f"(now {version}: perplexity {perplexity:.1f} of K = {K}, "
            f"{1 - usage.codes_used / K:.0%} of the codes dead, quantisation error "
            f"{error:.2f}); {self._remedies()}"
        )

    def _remedies(self) -> str:
        book = self._book
        remedies = [f"raise model.book.warmup_steps (it is {book.warmup_steps})"]
        if book.revival == "off":
            remedies.append("set model.book.revival to batch or reservoir (it is off)")
        else:
            remedies.append(f"lower model.book.dead_after (it is {book.dead_after})")
        remedies.append(f"raise model.book.commitment (it is {book.commitment:g})")
        remedies.append(f"lower distillation.learning_rate (it is {self._rate:g})")
        return "remedies: " + ", ".join(remedies)
