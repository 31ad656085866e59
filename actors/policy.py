"""The acting policy: small LM, procedure-book and banks, for a batch of decisions at once.

One decision (NeSyPr, inference phase): compute the procedure R, look up its nearest procedures in
the banks of successes and failures, mix them into R+ and R-, and decode the action by contrast.
No planner runs here. Without banks, or where nothing passes the threshold, the answer is that of
the LM alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from actors.contrastive import NeighboursLike, reconstruct
from actors.errors import ActingError
from actors.mending import CountsLike, Past, best_answer
from actors.records import Shuffle
from configs.schema import ActingConfig
from model.choosing import Sampling
from model.decoding import DecodingEngine
from model.making import make_engine
from model.small_lm import SmallLM
from shared_memory.records import SIGNS, Codes, Sign


class Replica(Protocol):
    """The look-up that a policy needs of a bank's replica (`shared_memory.replica`)."""

    def lookup_batch(
        self,
        domains: Sequence[str],
        signs: Sequence[Sign],
        codes: npt.NDArray[np.uint16],
        code_vectors: npt.NDArray[np.float32],
        mean: npt.NDArray[np.float32],
        code_born: npt.NDArray[np.int64],
        min_version: int,
        nearest: int,
        threshold: float,
        scope: Literal["domain", "all"] = "domain",
    ) -> Mapping[Sign, Sequence[NeighboursLike]]:
        """Of each sign's banks, the nearest valid procedures of each of the B given ones."""

    def tried(
        self,
        domain: str,
        sign: Sign,
        codes: npt.NDArray[np.uint16],
        code_born: npt.NDArray[np.int64],
        min_version: int,
    ) -> Sequence[Mapping[str, CountsLike]]:
        """What was tried with just the B given procedures, by action."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the policy chose for one decision."""

    codes: Codes  # (n,) the decision's own procedure; (0,) while the book is not in use
    action_tokens: tuple[int, ...]  # without "<end>"
    hit_success: bool  # something in M+ passed the threshold
    hit_failure: bool
    alone: tuple[int, ...] | None = None  # the answer without the banks; None: not known


class Policy:
    """One set of weights with its decoding engine and, where banks are used, their replica.

    It decides on the device that the model is on; banks are looked up on the host. Not
    thread-safe: slots hold the key/value caches of running episodes. Where answers are drawn
    (`acting.answer_temperature` above 0), they are drawn with `generator`, of that device.
    There are `slots` of them (`acting.episodes` where it is not said).
    """

    def __init__(
        self,
        model: SmallLM,
        version: int,
        config: ActingConfig,
        replica: Replica | None,
        max_version_lag: int = 8,
        generator: torch.Generator | None = None,
        slots: int | None = None,
    ) -> None:
        self.model = model
        self.version = version
        self.config = config
        with torch.inference_mode():
            slots = slots or config.episodes
            self.engine = make_engine(model, slots, model.config.max_tokens)
        self._has_codes = model.book.active  # else there is nothing to look up or to keep
        self.replica = replica if config.banks != "none" and self._has_codes else None
        self._min_version = version - max_version_lag
        book = model.book
        self._device = book.codes.device
        if generator is None and config.answer_temperature > 0.0:
            generator = torch.Generator(self._device).manual_seed(0)
        self._sampling = Sampling(config.answer_temperature, config.top_p, generator)
        self._vectors = book.codes.detach().to(torch.float32).clone()  # (K, d)
        self._vectors_numpy = self._vectors.cpu().numpy()
        self._done: list[dict[bytes, Counter[str]]] = [{} for _ in range(slots)]
        self._mean = book.mean.detach().to("cpu", torch.float32).numpy().copy()  # (n, d)
        self._born = book.born.detach().cpu().numpy().astype(np.int64)  # (K,)

    @property
    def max_tokens(self) -> int:
        """How long an episode's text may become."""
        return self.model.config.max_tokens

    def enter(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Begin episodes in these slots; prompts end before the first `<act>`."""
        for slot in slots:
            self._done[slot] = {}
        with torch.inference_mode():
            self.engine.enter(list(slots), prompts)

    def feed(self, slots: Sequence[int], tokens: Sequence[Sequence[int]]) -> None:
        """Append to each slot what came after `<act>`: action, `<end>`, observation."""
        with torch.inference_mode():
            self.engine.feed(list(slots), tokens)

    def decide(
        self,
        slots: Sequence[int],
        domains: Sequence[str],
        allowed: Sequence[Sequence[Sequence[int]]] | None = None,
        shuffle: Shuffle = "none",
        banks: bool = True,
        watched: Sequence[int] = (),
    ) -> list[Choice]:
        """Choose the next action of the episodes in `slots` (B of them, with their domains).

        `allowed`: for each, the only action token sequences that may be answered. `shuffle` puts
        another task's procedure in place of each one's own (memory reliance; ours): of the same
        domain, or of any; an episode that is alone keeps its own. Without `banks` none is asked.
        Of the rows `watched` the answer without the banks is told, too, where they had something
        near and answers are not drawn.
        """
        with torch.inference_mode():
            reading = self.engine.read(list(slots))
            codes, own = reading.codes, reading.memory  # (B, n), (B, n, d)
            if shuffle != "none":
                if not self.model.chunks:
                    raise ActingError("a plain LM has no procedures that could be exchanged")
                order = _derangement(domains if shuffle == "domain" else [""] * len(domains))
                codes, own = codes[order], own[torch.from_numpy(order).to(self._device)]
            if self.config.contrast_by == "outcomes" and isinstance(self.engine, DecodingEngine):
                return self._decide_by_outcomes(
                    self.engine, list(slots), domains, codes, own, allowed, banks
                )
            near = self._near(domains, codes) if banks else {}
            helpful, hit_success = self._reconstruct(near.get("success"), own)
            harmful, hit_failure = self._reconstruct(near.get("failure"), own)
            hits = hit_success | hit_failure
            greedy = self.config.answer_temperature == 0.0
            again = [row for row in watched if greedy and bool(hits[row])]
            answers = self.engine.decode(
                [*slots, *(slots[row] for row in again)],
                torch.cat([helpful, own[again]]) if again else helpful,
                harmful if bool(hit_failure.any()) else None,
                torch.cat([hit_failure, hit_failure.new_zeros(len(again))]),
                self.config.contrast,
                self.config.plausibility,
                allowed and [*allowed, *(allowed[row] for row in again)],
                self._sampling,
            )
        alone = dict(zip(again, answers[len(slots) :], strict=True))
        answers = answers[: len(slots)]
        return self._choices(codes, answers, hit_success.tolist(), hit_failure.tolist(), alone)

    def _choices(
        self,
        codes: npt.NDArray[np.uint16],
        answers: Sequence[Sequence[int]],
        hit_success: Sequence[bool],
        hit_failure: Sequence[bool],
        alone: Mapping[int, Sequence[int]],
    ) -> list[Choice]:
        width = codes.shape[1] if self._has_codes else 0
        return [
            Choice(
                codes[row, :width].copy(),
                tuple(answer),
                hit_success[row],
                hit_failure[row],
                tuple(alone[row]) if row in alone else None,
            )
            for row, answer in enumerate(answers)
        ]

    def _decide_by_outcomes(
        self,
        engine: DecodingEngine,
        slots: list[int],
        domains: Sequence[str],
        codes: npt.NDArray[np.uint16],
        own: torch.Tensor,
        allowed: Sequence[Sequence[Sequence[int]]] | None,
        banks: bool,
    ) -> list[Choice]:
        """As without banks, but for answers that failed with their procedure: see `mending`."""
        pasts = self._pasts(slots, domains, codes, banks)
        answers = engine.decode(slots, own, allowed=allowed, sampling=self._sampling)
        alone = dict(enumerate(answers))
        decode = self.model.tokenizer.decode
        rows = [row for row, past in enumerate(pasts) if past.failures(decode(answers[row]))]
        if rows:
            candidates = engine.likely(
                own[rows],
                self.config.alternatives,
                None if allowed is None else [allowed[row] for row in rows],
            )
            for row, likely in zip(rows, candidates, strict=True):
                texts = [decode(list(answer.tokens)) for answer in likely]
                best = best_answer(likely, texts, pasts[row], self.config.outcome_weight)
                answers[row] = list(best.tokens)
        if self.config.remember_episode:
            for slot, procedure, answer in zip(slots, codes, answers, strict=True):
                done = self._done[slot].setdefault(procedure.tobytes(), Counter())
                done[decode(answer)] += 1
        return self._choices(
            codes,
            answers,
            [bool(past.succeeded) for past in pasts],
            [bool(past.failed) for past in pasts],
            alone,
        )

    def _pasts(
        self,
        slots: Sequence[int],
        domains: Sequence[str],
        codes: npt.NDArray[np.uint16],
        banks: bool,
    ) -> list[Past]:
        """What each decision's own procedure has led to, in the banks and in its episode."""
        tried: dict[Sign, list[Mapping[str, CountsLike]]] = {
            sign: [{} for _ in slots] for sign in SIGNS
        }
        for sign in SIGNS:
            if not banks or self.replica is None or self.config.banks not in ("both", sign):
                continue
            for domain in sorted(set(domains)):
                rows = [row for row, name in enumerate(domains) if name == domain]
                found = self.replica.tried(domain, sign, codes[rows], self._born, self._min_version)
                for row, actions in zip(rows, found, strict=True):
                    tried[sign][row] = actions
        return [
            Past(
                tried["success"][row],
                tried["failure"][row],
                self._done[slot].get(codes[row].tobytes(), {}) if self._has_codes else {},
            )
            for row, slot in enumerate(slots)
        ]

    def _near(
        self, domains: Sequence[str], codes: npt.NDArray[np.uint16]
    ) -> Mapping[Sign, Sequence[NeighboursLike]]:
        """What each bank in use has near each decision: all of them in one look-up."""
        signs = [sign for sign in SIGNS if self.config.banks in ("both", sign)]
        if self.replica is None or not signs:
            return {}
        return self.replica.lookup_batch(
            domains,
            signs,
            codes,
            self._vectors_numpy,
            self._mean,
            self._born,
            self._min_version,
            self.config.nearest,
            self.config.threshold,
            self.config.search,
        )

    def _reconstruct(
        self, near: Sequence[NeighboursLike] | None, own: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """R^B of each decision from the banks of one sign, and where they had something to say."""
        if near is None:
            return own, torch.zeros(own.shape[0], dtype=torch.bool, device=own.device)
        return reconstruct(own, near, self._vectors, self.config.temperature)


def _derangement(groups: Sequence[str]) -> npt.NDArray[np.int64]:
    """For each row the next row of its group, cyclically: nobody's own where others are there."""
    order = np.arange(len(groups), dtype=np.int64)
    for group in sorted(set(groups)):
        rows = [row for row, name in enumerate(groups) if name == group]
        order[rows] = rows[1:] + rows[:1]
    return order
