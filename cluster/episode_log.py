"""`episodes.jsonl`: some episodes of a run word for word, to be looked at step by step.

One line an episode: what `metrics.jsonl` says of it, and for every decision what the policy read,
answered and used. The episode of every `monitoring.episodes_every`-th task is kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cluster.run_folder import RunFolder, writing
from configs.schema import RunConfig
from shared_memory.records import Decision, Episode
from tasks.rendering import Rendering
from tasks.stream import TaskStream

BEGIN = "<domain>"
"""The word with which a text begins; what stands before it was forgotten."""

LONGEST_TEXT = 4000
"""Characters of a decision's text that are kept: its end, where what matters stands."""


class EpisodeLog:
    """Appends lines to the file. Raises RunFolderError where it cannot.

    `vocabulary`: the words that a model which learns from nothing numbers in this order; None
    where texts cannot be told from tokens here, and are left out.
    """

    def __init__(self, folder: RunFolder, every: int, vocabulary: Sequence[str] | None) -> None:
        self.path = folder.episodes_file
        self._every = every
        self._vocabulary = vocabulary

    @classmethod
    def of(cls, config: RunConfig, stream: TaskStream, folder: RunFolder) -> EpisodeLog | None:
        """The log of a run; None where its configuration wants none.

        Only a pretrained model's own tokenizer knows its words, and the driver does not load it.
        """
        if not config.monitoring.episodes_every:
            return None
        vocabulary = None
        if config.model.pretrained is None:
            vocabulary = Rendering(stream.domains, config.rendering).vocabulary
        return cls(folder, config.monitoring.episodes_every, vocabulary)

    def take(self, episode: Episode) -> None:
        """Keep the episode if its number says so."""
        if episode.task_index % self._every:
            return
        values = {
            "episode": episode.episode,
            "task_index": episode.task_index,
            "domain": episode.domain,
            "phase": episode.phase,
            "version": episode.book_version,
            "success": episode.success,
            "conditions_met": episode.conditions_met,
            "conditions": episode.conditions,
            "actor": episode.actor,
            "seconds": episode.seconds,
            "hits_success": episode.hits_success,
            "hits_failure": episode.hits_failure,
            "fault": episode.fault,
            "decisions": [
                {**self._decision(one), **self._banks(episode, place)}
                for place, one in enumerate(episode.decisions)
            ],
        }
        line = json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n"
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(line)

    def _decision(self, decision: Decision) -> dict[str, Any]:
        return {
            "text": None if self._vocabulary is None else self._text(self._vocabulary, decision),
            "action": decision.action,
            "accepted": decision.accepted,
            "codes": decision.codes.tolist(),
        }

    @staticmethod
    def _banks(episode: Episode, place: int) -> dict[str, Any]:
        """Which banks had something near the decision, and what it would be without them."""
        if place >= len(episode.near):
            return {}
        return {"near": episode.near[place], "alone": episode.alone[place] or None}

    @staticmethod
    def _text(vocabulary: Sequence[str], decision: Decision) -> str:
        """What the decision was read from, after the last place where the text begins anew."""
        text = " ".join(vocabulary[token] for token in decision.prompt_tokens)
        return text[max(0, text.rfind(BEGIN)) :][-LONGEST_TEXT:]
