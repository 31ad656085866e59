"""The configuration's section of acting: how many actors, where, and how they decide."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.section import Positive, Seconds, Section, Share


class ActingConfig(Section):
    """How actors act: lock-step episodes, contrastive reconstruction and decoding."""

    actors: Positive = Field(
        1, description="Shared out among the cluster's hosts; `nesypr scale` changes it."
    )
    actors_per_host: Positive | None = Field(
        None,
        description="So many on each host instead, as hosts come and go (actors does not count).",
    )
    episodes: Positive = Field(32, description="Episodes in lock-step in each actor.")
    request_tasks: Positive = Field(32, description="Tasks in one request to an actor.")
    request_deadline_s: Seconds = 60.0
    cpus: Annotated[float, Field(ge=0.0)] = Field(0.5, description="Of a host, for each actor.")
    gpus: Share = Field(
        0.0,
        description="Of one GPU of the host, for each actor (where inference is shared: for each "
        "inference actor); the model runs there. 0: on processors.",
    )
    inference: Literal["own", "shared"] = Field(
        "own",
        description="Who runs the model: each actor on its own, or one inference actor for all "
        "actors of a host, in batches.",
    )
    inference_actors: Positive = Field(
        1, description="Shared: inference actors a host, among which its actors are shared out."
    )
    inference_batch: Positive = Field(256, description="Shared: decisions in a batch, at most.")
    inference_wait_ms: Annotated[float, Field(ge=0.0, le=1000.0)] = Field(
        5.0, description="Shared: how long a decision waits for others to share its batch, at most."
    )
    banks: Literal["both", "success", "failure", "none"] = "both"
    nearest: Positive = Field(4, description="k: procedures taken from a bank.")
    threshold: Annotated[float, Field(ge=-1.0, le=1.0)] = Field(0.95, description="υ")
    search: Literal["domain", "all"] = Field(
        "domain", description="Procedures near a decision: of its own domain, or of all domains."
    )
    temperature: Annotated[float, Field(gt=0.0)] = Field(0.1, description="τ of the mixture.")
    contrast: Annotated[float, Field(ge=0.0)] = Field(0.5, description="α")
    plausibility: Share = Field(0.1, description="γ")
    contrast_by: Literal["procedures", "outcomes"] = Field(
        "procedures",
        description="procedures: mix near ones into R⁺ and R⁻. outcomes: blame actions that failed "
        "with the very same procedure.",
    )
    outcome_weight: Annotated[float, Field(ge=0.0)] = Field(
        3.0, description="Of log(1 + failures) against an action's log-probability."
    )
    alternatives: Positive = Field(
        6, description="Answers that are weighed where one failed (width of the beam)."
    )
    remember_episode: bool = Field(
        False,
        description="By outcomes: what led back to the same procedure in a running episode counts "
        "as failed, and a refused action does not end it.",
    )
    restrict: bool = Field(False, description="Only actions that the simulator accepts.")
    answer_temperature: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="Of the answer's tokens, probes included; 0: the most likely (greedy)."
    )
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="Draw from the fewest tokens with so much probability together."
    )

    @model_validator(mode="after")
    def _rounds_fit_in_batches(self) -> ActingConfig:
        if self.inference == "shared" and self.inference_batch < self.episodes:
            raise ValueError(
                f"inference_batch = {self.inference_batch} is less than episodes = "
                f"{self.episodes}: one actor's decisions would not fit in a batch"
            )
        return self

    @model_validator(mode="after")
    def _outcomes_are_of_a_domain(self) -> ActingConfig:
        if self.search == "all" and self.contrast_by == "outcomes":
            raise ValueError(
                "search = all needs contrast_by = procedures: outcomes are counted in each domain "
                "on its own"
            )
        return self

    @model_validator(mode="after")
    def _remembering_is_by_outcomes(self) -> ActingConfig:
        if self.remember_episode and self.contrast_by != "outcomes":
            raise ValueError(
                "remember_episode needs contrast_by = outcomes: the contrast of procedures cannot "
                "blame an action"
            )
        return self
