"""The procedure-book C: K codes of width d that procedures are composed of.

Vector quantisation with exponential moving averages (VQ-VAE, arXiv:1711.00937, appendix A.1), as
NeSyPr uses it. A code that no chunk has chosen for long is revived; revival resets its count and
sum as well as its vector, or the averages would pull it back in the same pass. Processes that
distil together (model.peers) keep one book: they sum counts and vectors before each move, and draw
from the chunks of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from configs.schema import BookConfig
from model.peers import PeerRows, from_first_peer, sum_over_peers

RESERVOIR = 4096
"""Chunks kept, uniformly over all that were ever seen, to revive dead codes from."""

KMEANS_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class BookStatistics:
    """How the book was used over a window of training decisions (metrics of the method, §4)."""

    decisions: int
    used: int  # codes chosen at least once
    dead: int  # codes never chosen: used + dead = K
    perplexity: float  # exp(-Σ p log p) of the codes chosen
    quantisation_error: float  # Σ‖M_j - R_j‖² / Σ‖M_j‖²
    revived: int
    quantisation_error_new: float | None = None  # over the newest phase's decisions; None: no such
    quantisation_error_old: float | None = None  # over those of phases before it


@dataclass(frozen=True, slots=True)
class Quantised:
    """A batch of memories, chunk by chunk, and the codes they were given."""

    procedure: Tensor  # (S, n, d) with a straight-through gradient
    codes: Tensor  # (S, n) int64
    commitment: Tensor  # () mean ‖M - sg(R)‖²


class ProcedureBook(nn.Module):
    """K codes and their moving averages. `version` is the book version being trained.

    Until `ready` (k-means start after the warm-up) memories pass through unquantised, and so they
    always do with `quantised: false` (an ablation).
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor
    idle: Tensor
    born: Tensor
    mean: Tensor
    ready: Tensor
    steps: Tensor
    reservoir: Tensor
    reservoir_seen: Tensor

    def __init__(self, config: BookConfig, chunks: int) -> None:
        super().__init__()
        K, d = config.codes, config.width
        self.config = config
        self.version = 0
        self.generator = torch.Generator().manual_seed(0)
        self.register_buffer("codes", torch.zeros(K, d))
        self.register_buffer("counts", torch.zeros(K))
        self.register_buffer("sums", torch.zeros(K, d))
        self.register_buffer("idle", torch.zeros(K, dtype=torch.int64))  # steps without use
        self.register_buffer("born", torch.zeros(K, dtype=torch.int64))  # version of last revival
        self.register_buffer("mean", torch.zeros(chunks, d))  # running mean of procedures
        self.register_buffer("ready", torch.zeros(1, dtype=torch.bool))
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("reservoir", torch.zeros(RESERVOIR, d))
        self.register_buffer("reservoir_seen", torch.zeros(1, dtype=torch.int64))
        self.old: Tensor | None = None
        """(S,) bool: the next batch's decisions that are of an old phase; None: not known."""
        self.start_window()

    def start_window(self) -> None:
        """Begin a new window of usage statistics."""
        self._usage = torch.zeros(self.config.codes, dtype=torch.int64)
        self._error = self._energy = self._old_error = self._old_energy = 0.0
        self._decisions = self._revived = 0

    def statistics(self) -> BookStatistics:
        """Usage since `start_window`, over all processes that distil together."""
        numbers = (self._error, self._energy, self._old_error, self._old_energy, self._decisions)
        local = (self._usage, torch.tensor(numbers).double())
        usage, sums = (tensor.double() for tensor in sum_over_peers(*local))
        error, energy, old_error, old_energy, decisions = sums.tolist()
        used = int((usage > 0).sum())
        share = usage[usage > 0] / usage.sum().clamp(min=1)
        perplexity = float(torch.exp(-(share * share.log()).sum())) if used else 0.0
        return BookStatistics(
            int(decisions),
            used,
            self.config.codes - used,
            perplexity,
            error / energy if energy else 0.0,
            self._revived,
            (error - old_error) / (energy - old_energy) if energy > old_energy else None,
            old_error / old_energy if old_energy else None,
        )

    @property
    def active(self) -> bool:
        """Whether memories are quantised now."""
        return self.config.quantised and bool(self.ready)

    def nearest(self, chunks: Tensor) -> Tensor:
        """argmin_k ‖M_j - C_k‖²: (…, d) → (…) int64."""
        flat = chunks.reshape(-1, self.config.width)  # (S·n, d)
        norms = (self.codes * self.codes).sum(1)  # (K,)
        distance = torch.addmm(norms, flat, self.codes.T, alpha=-2)  # (S·n, K)
        return distance.argmin(-1).view(chunks.shape[:-1])

    def forward(self, memory: Tensor) -> Quantised:
        """Quantise (S, n, d); in training mode also move the codes."""
        chunks = memory.detach()
        if self.training:
            rows = PeerRows(chunks.reshape(-1, self.config.width))
            self._keep(rows)
            self._start_if_due(rows)
        codes = self.nearest(chunks)  # (S, n)
        if not self.active:
            if self.training:
                self._follow_mean(chunks)
            return Quantised(memory, codes, memory.new_zeros(()))
        vectors = self.codes[codes]  # (S, n, d)
        commitment = (memory - vectors).square().mean()
        if self.training:
            self._follow_mean(vectors)
            self._count(chunks, vectors, codes)
            self._move(chunks.reshape(-1, self.config.width), codes.reshape(-1), rows)
        return Quantised(memory + (vectors - chunks), codes, commitment)

    @torch.no_grad()
    def _start_if_due(self, chunks: PeerRows) -> None:
        """Count a step; after the warm-up place the codes by k-means on the batch's chunks.

        Not on the reservoir: most of that is from before the memory had learned anything.
        """
        self.steps += 1
        due = int(self.steps) > self.config.warmup_steps
        if self.active or not self.config.quantised or not due:
            return
        data, K = chunks[torch.arange(len(chunks))], self.config.codes
        if len(data) < K:
            data = torch.cat([data, self._draw(K - len(data), data)])
        filled = len(data)
        codes = data[torch.randperm(filled, generator=self.generator)[:K]].clone()
        for _ in range(KMEANS_ROUNDS):
            chosen = torch.cdist(data, codes).argmin(1)
            count = torch.bincount(chosen, minlength=K)
            total = torch.zeros_like(codes).index_add_(0, chosen, data)
            empty = count == 0
            codes = total / count.clamp(min=1)[:, None]
            codes[empty] = self._draw(int(empty.sum()), data)
        codes = from_first_peer(codes)
        self.codes.copy_(codes)
        self.counts.fill_(1.0)
        self.sums.copy_(codes)
        self.born.fill_(self.version)
        self.ready.fill_(True)

    @torch.no_grad()
    def _follow_mean(self, procedures: Tensor) -> None:
        total, seen = sum_over_peers(procedures.sum(0), torch.tensor(len(procedures)))
        self.mean.lerp_(total / seen, 1 - self.config.decay)

    @torch.no_grad()
    def _count(self, chunks: Tensor, vectors: Tensor, codes: Tensor) -> None:
        self._usage += torch.bincount(codes.reshape(-1), minlength=self.config.codes).cpu()
        error = (chunks - vectors).square().sum((1, 2))  # (S,)
        energy = chunks.square().sum((1, 2))  # (S,)
        self._error += float(error.sum())
        self._energy += float(energy.sum())
        if self.old is not None and len(self.old) == len(error):
            self._old_error += float(error[self.old].sum())
            self._old_energy += float(energy[self.old].sum())
        self._decisions += len(chunks)

    @torch.no_grad()
    def _move(self, chunks: Tensor, chosen: Tensor, rows: PeerRows) -> None:
        """Moving averages of counts and sums, then revival of dead codes."""
        step = 1 - self.config.decay
        count = torch.bincount(chosen, minlength=self.config.codes)
        total = torch.zeros_like(self.sums).index_add_(0, chosen, chunks)
        count, total = sum_over_peers(count, total)
        self.counts.mul_(self.config.decay).add_(count, alpha=step)
        self.sums.mul_(self.config.decay).add_(total, alpha=step)
        alive = self.counts > 1e-5
        self.codes[alive] = self.sums[alive] / self.counts[alive, None]
        self.idle.add_(1)
        self.idle[count > 0] = 0
        if self.config.revival == "off":
            return
        dead = self.idle > self.config.dead_after
        number = int(dead.sum())
        if number == 0:
            return
        filled = min(int(self.reservoir_seen), RESERVOIR)
        source = rows if self.config.revival == "batch" else self.reservoir[:filled]
        fresh = from_first_peer(self._draw(number, source))
        self.codes[dead], self.sums[dead], self.counts[dead] = fresh, fresh, 1.0
        self.idle[dead] = 0
        self.born[dead] = self.version
        self._revived += number

    def _draw(self, number: int, source: Tensor | PeerRows) -> Tensor:
        """`number` random rows of `source`."""
        return source[torch.randint(len(source), (number,), generator=self.generator)]

    @torch.no_grad()
    def _keep(self, chunks: PeerRows) -> None:
        """Reservoir sampling of a few chunks of every batch (Vitter's algorithm R)."""
        few = chunks[torch.randint(len(chunks), (64,), generator=self.generator)]
        seen = int(self.reservoir_seen)
        order = seen + torch.arange(len(few))
        place = (torch.rand(len(few), generator=self.generator) * (order + 1)).long()
        place = torch.where(order < RESERVOIR, order, place)
        kept = place < RESERVOIR
        self.reservoir[place[kept]] = few[kept]
        self.reservoir_seen += len(few)
