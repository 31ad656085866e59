"""The one schema of a run's configuration.

A run is described by one YAML file; `nesypr run FILE --set section.key=value` changes single
values. Every part of the system receives only its own section. Symbols are those of the method
(NeSyPr): K codes of width d in the procedure-book, N slots of width D_m in working memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from configs.acting import ActingConfig as ActingConfig
from configs.addresses import without_password
from configs.section import Positive as Positive
from configs.section import Seconds
from configs.section import Section as Section


class DomainShare(Section):
    """One domain inside a phase: where its problems come from and how large they are."""

    name: str = Field(description="A name of `nesypr tasks list`, or a folder with domain.pddl.")
    source: Literal["generator", "files"] = "generator"
    size: dict[str, tuple[int, int]] = Field(
        default_factory=dict,
        description="Ranges (least, most) of the generator's parameters, e.g. {blocks: [2, 4]}.",
    )
    drift_to: dict[str, tuple[int, int]] = Field(
        default_factory=dict,
        description="Ranges at the phase's end, to which those of `size` move step by step.",
    )
    weight: Annotated[float, Field(gt=0.0)] = 1.0

    @model_validator(mode="after")
    def _drifts_from_somewhere(self) -> DomainShare:
        unknown = sorted(set(self.drift_to) - set(self.size))
        if unknown:
            raise ValueError(
                f"drift_to moves {', '.join(unknown)} of domain '{self.name}', but size does not "
                "say from where: give both"
            )
        return self


class PhaseConfig(Section):
    """A stretch of the stream in which tasks come from the same mixture of domains."""

    name: str
    tasks: Positive
    domains: Annotated[tuple[DomainShare, ...], Field(min_length=1)]
    mixing: Literal["random", "turns"] = Field(
        "random", description="The next task's domain: drawn by weight, or in turn by weight."
    )


class StreamConfig(Section):
    """The continual stream of tasks and the held-out probe of each phase."""

    phases: Annotated[tuple[PhaseConfig, ...], Field(min_length=1)]
    repeat: Positive = Field(
        1, description="How often the phases come, one after the other, each with its own probe."
    )
    distinct: bool = Field(
        False,
        description="No task comes twice in the stream, not under other names either; where a "
        "domain has no more, the phase's others take its place.",
    )
    probe_tasks: Positive = Field(
        32,
        description="Held-out tasks a phase, by weight (from its other domains once one runs out): "
        "as rendered, none is in the stream or in another phase's probe.",
    )
    step_limit: Positive = Field(32, description="Actions an episode may take.")
    simulator: Literal["auto", "pddlgym", "mimir"] = "auto"

    @model_validator(mode="after")
    def _phase_names_differ(self) -> StreamConfig:
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError(f"phases must have different names, but got {names}")
        return self


class RenderingConfig(Section):
    """How a task becomes text for the small LM."""

    observation: Literal["none", "changes", "state", "prompt"] = Field(
        "none",
        description="What follows an action: nothing, the changed atoms, the state, or the prompt "
        "anew with the present state, all before it forgotten.",
    )
    static_atoms: bool = Field(False, description="Also show atoms that no action can change.")
    random_names: bool = Field(True, description="Draw objects' names anew for every task.")
    objects_per_type: Positive = Field(8, description="Names in the pool of each type.")


class MemoryConfig(Section):
    """Working memory M: N slots of width D_m, written at some layers and read above the last."""

    use: Literal["procedure", "none"] = Field(
        "procedure",
        description="What answers know of the task: its procedure, or (none: an ablation) all of "
        "the text, read by a plain LM without memory and book.",
    )
    slots: Positive = Field(8, description="N")
    width: Positive = Field(64, description="D_m")
    layer: Positive = Field(2, description="Layers below the memory.")
    also_written_at: tuple[int, ...] = Field(
        (),
        description="Numbers of layers below `layer`, rising: M is written after those first, and "
        "each further write goes on from the last one's M.",
        exclude_if=lambda layers: not layers,  # results kept from before are of this configuration
    )
    heads: Positive = 4

    @property
    def written_at(self) -> tuple[int, ...]:
        """After how many layers memory is written, each time."""
        return (*self.also_written_at, self.layer)

    @model_validator(mode="after")
    def _written_from_below(self) -> MemoryConfig:
        written = self.written_at
        if written[0] < 1 or list(written) != sorted(set(written)):
            raise ValueError(
                f"also_written_at = {list(self.also_written_at)} must be numbers of layers from 1 "
                f"on, rising, and below layer = {self.layer}, where memory is written last"
            )
        return self


class BookConfig(Section):
    """Procedure-book C: K codes of width d, moved by exponential moving averages."""

    quantised: bool = Field(True, description="false: continuous memory (an ablation).")
    codes: Annotated[int, Field(ge=2, le=65536)] = Field(256, description="K")
    width: Positive = Field(32, description="d")
    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.99
    commitment: Annotated[float, Field(ge=0.0)] = Field(4.0, description="β")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        0, description="Continuous steps before the first quantisation (k-means start)."
    )
    revival: Literal["off", "batch", "reservoir"] = "reservoir"
    dead_after: Positive = Field(100, description="Steps without use after which a code is dead.")


class ModelConfig(Section):
    """The small LM: a `transformers` decoder with working memory and procedure-book.

    With `pretrained`, layers, width, heads and feed_forward are the pretrained model's own.
    """

    pretrained: str | None = Field(
        None,
        description="Name (Qwen/Qwen2.5-0.5B) or folder of a causal LM; none learns from nothing.",
    )
    tuning: Literal["frozen", "lora", "full"] = Field(
        "lora", description="How a pretrained model learns; memory and book always do."
    )
    lora_rank: Positive = 16
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of a pretrained model's weights; all others are float32."
    )
    architecture: Literal["llama", "qwen2"] = "llama"
    layers: Annotated[int, Field(ge=2)] = 4
    width: Positive = 128
    heads: Positive = 4
    feed_forward: Positive = 384
    max_tokens: Positive = Field(256, description="Longest sequence, prompt included.")
    positions: Literal["words", "atoms"] = Field(
        "words", description="What stands at a position below the memory: a word, or an atom."
    )
    memory: MemoryConfig = MemoryConfig()
    book: BookConfig = BookConfig()

    @field_validator("pretrained")
    @classmethod
    def _folder_from_anywhere(cls, name: str | None) -> str | None:
        """A folder by its absolute path: actors and learner run in other folders."""
        if name is None or not (name.startswith(("/", ".", "~")) or Path(name).is_dir()):
            return name
        return str(Path(name).expanduser().resolve())

    @model_validator(mode="after")
    def _shapes_fit(self) -> ModelConfig:
        if self.memory.slots * self.memory.width % self.book.width:
            raise ValueError(
                f"memory.slots x memory.width = {self.memory.slots * self.memory.width} must be a "
                f"multiple of book.width = {self.book.width}: memory is cut into chunks of it"
            )
        if self.memory.width % self.memory.heads:
            raise ValueError("memory.width must be a multiple of memory.heads")
        if self.pretrained is not None:
            if self.positions == "atoms":
                raise ValueError(
                    "positions = atoms is for models that learn from nothing: a pretrained one "
                    "reads words (leave positions out)"
                )
            return self  # its own shapes are known once it is read
        if self.dtype != "float32":
            raise ValueError(
                f"dtype = {self.dtype} is for a pretrained model: learning from nothing needs "
                "float32 weights"
            )
        if self.memory.layer >= self.layers:
            raise ValueError(
                f"memory.layer = {self.memory.layer} leaves no layer above the memory: "
                f"it must be less than layers = {self.layers}"
            )
        if self.width % self.heads:
            raise ValueError(f"width = {self.width} must be a multiple of heads = {self.heads}")
        return self


Retirement = Literal["oldest", "reservoir", "least_used", "worst_outcome"]


class BankConfig(Section):
    """The shared banks of procedures of successes (M+) and failures (M-)."""

    max_entries: Positive = Field(100_000, description="Entries a bank (domain and sign) keeps.")
    max_bytes: Positive = Field(
        2**30,
        description="Bytes of records and procedures that a bank keeps; the server takes about "
        "twice as much for them.",
    )
    retirement: Retirement = Field(
        "oldest",
        description="What makes room in a full bank: what was not seen for longest, all but an "
        "even sample, what was submitted least, or what led to the other outcome most.",
    )
    solid_after: Positive = Field(
        1,
        description="Submissions from which on an entry counts in look-ups: 1 is at once; with "
        "more, entries are tentative until their outcome was seen so often. The first write "
        "fixes it.",
    )
    max_version_lag: Positive = Field(
        8, description="Entries not seen for so many book versions are retired."
    )
    on_new_version: Literal["keep", "retire", "reencode"] = Field(
        "retire",
        description="keep: entries stay whatever their version; retire: by max_version_lag; "
        "reencode: besides, the learner encodes their prompts again with each new version. Entries "
        "with a code that has been revived since are passed over in any case.",
    )
    reencode_s: Seconds = Field(
        1.0, description="How long the learner may encode entries again, between two versions."
    )
    lookup: Literal["numpy", "faiss"] = Field(
        "numpy",
        description="What sums over all procedures where the threshold excludes few; same answers.",
    )

    @property
    def version_lag(self) -> int:
        """How many versions an entry may lag behind; more than there are where all are kept."""
        return 2**31 if self.on_new_version == "keep" else self.max_version_lag


class SharedMemoryConfig(Section):
    """Where shared memory lives, and its banks."""

    url: str | None = Field(
        None,
        repr=False,
        description="redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// URL "
        "(docs/servers.md); none starts an embedded server. Saved without its password.",
    )
    fsync: Literal["everysec", "always", "no"] = "everysec"
    timeout_s: Seconds = Field(5.0, description="How long an answer may take.")
    patience_s: Seconds = Field(
        45.0,
        description="How long commands are tried again while a server of its own (at a URL) is "
        "away: it restarts, or a replica takes over.",
    )
    copies: Annotated[int, Field(ge=0, le=8)] = Field(
        0,
        description="Replicas that must have what was written before it counts as done: what "
        "survives the loss of the primary.",
    )
    replica: Literal["node", "process"] = Field(
        "node",
        description="Where actors keep their copy of the banks: once a node, in memory that they "
        "share (where it has room for files in memory), or each on its own.",
    )
    bank: BankConfig = BankConfig()

    @field_serializer("url", when_used="json")
    def _without_password(self, url: str | None) -> str | None:
        return None if url is None else without_password(url)


class TeacherConfig(Section):
    """The symbolic planners that supply traces."""

    planner: Literal["mimir-astar", "mimir-gbfs", "fd-optimal", "fd-satisficing"] = Field(
        "mimir-astar",
        description="Of domains in PDDL: Mimir (optimal where states are few, or greedy) or Fast "
        "Downward (optimal, or the first plan of LAMA). Other worlds have a teacher of their own.",
    )
    processes: Positive = 1
    time_limit_s: Seconds = 10.0
    memory_limit_mb: Positive = 2048
    max_backlog: Positive = Field(
        4096, description="Plans of acted tasks that may be wanting; past it, acting waits."
    )
    canonical: bool = Field(
        True, description="Among optimal plans choose the same one always, where that is cheap."
    )
    noise: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0,
        description="Share of a plan's actions that are replaced by random applicable ones, after "
        "each of which the teacher plans anew; all of it is distilled.",
    )
    distil: Literal["failures", "all"] = "failures"


class DistillationConfig(Section):
    """How the learner turns traces into the next book version."""

    optimiser: Literal["adamw", "muon"] = "adamw"
    batch_traces: Positive = 64
    decisions: Annotated[int, Field(ge=0)] = Field(
        0, description="Decisions of a trace, drawn at random, that a step learns; 0: all."
    )
    replay: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.5,
        description="Share of a batch drawn from the reservoir; below 1, or nothing is learned.",
    )
    reservoir: Positive = Field(
        50_000,
        description="Traces kept for replay (single decisions where they are drawn one by one).",
    )
    learning_rate: Annotated[float, Field(gt=0.0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    total_steps: Positive = Field(1000, description="Length of the learning-rate schedule.")
    averaging: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.98, description="Decay of the averaged weights that are published; 0: the last ones."
    )
    steps_per_version: Positive = 25
    min_new_traces: Annotated[int, Field(ge=0)] = 32
    max_wait_s: Seconds = Field(10.0, description="Distil at the latest after so many seconds.")
    rename: bool = Field(True, description="Permute interchangeable names in every batch.")
    request_deadline_s: Seconds = 120.0
    max_staleness: Annotated[int, Field(ge=0)] = Field(
        2, description="Versions that an episode may lag behind the learner."
    )
    tasks_per_version: Positive = Field(64, description="Tasks acted for each version.")
    learners: Positive = Field(
        1,
        description="Processes that share out each batch, through RLlib's LearnerGroup; 1: the "
        "learner itself.",
    )
    learner_cpus: Annotated[float, Field(gt=0.0)] = Field(
        1.0, description="Of a host, for each of several learners; whole ones are its threads."
    )
    learner_gpus: Annotated[int, Field(ge=0)] = Field(
        0, description="Of a host, for each learner: whole ones, as NCCL needs."
    )

    @model_validator(mode="after")
    def _a_trace_for_each_learner(self) -> DistillationConfig:
        if self.learners > self.batch_traces:
            raise ValueError(
                f"distillation.learners = {self.learners} is more than distillation.batch_traces "
                f"= {self.batch_traces}: each learner needs at least one trace of a batch"
            )
        return self


class MonitoringConfig(Section):
    """What is there to see of a run while it goes on."""

    dashboard: bool = Field(
        True, description="A live page at an address of this machine, which the run prints."
    )
    port: Annotated[int, Field(ge=1024, le=65535)] | None = Field(
        None, description="The page's port; none takes 7717, or any where that is taken."
    )
    episodes_every: Annotated[int, Field(ge=0)] = Field(
        32, description="Every so many episodes one is kept word for word; 0: none."
    )


class RunConfig(Section):
    """One run: stream, model, acting, shared memory, teacher, distillation."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "run"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    folder: str = Field("runs", description="Runs are kept in FOLDER/NAME.")
    address: str | None = Field(None, description="A Ray cluster's address; none starts one here.")
    metrics_port: Annotated[int, Field(ge=1024, le=65535)] | None = Field(
        None,
        description="Port for Ray's Prometheus metrics on this machine; none lets Ray choose.",
    )
    reproducible: bool = Field(
        False,
        description="With one actor: acting and learning take turns by the stream's order, not by "
        "the clock, so that every decision and weight follows from configuration and seed, also "
        "over a stop and a resume.",
    )
    stream: StreamConfig
    rendering: RenderingConfig = RenderingConfig()
    model: ModelConfig = ModelConfig()
    acting: ActingConfig = ActingConfig()
    shared_memory: SharedMemoryConfig = SharedMemoryConfig()
    teacher: TeacherConfig = TeacherConfig()
    distillation: DistillationConfig = DistillationConfig()
    monitoring: MonitoringConfig = MonitoringConfig()

    @model_validator(mode="after")
    def _own_ray_has_metrics_port(self) -> RunConfig:
        if self.metrics_port is not None and self.address is not None:
            raise ValueError(
                f"metrics_port = {self.metrics_port} is for a Ray that is started here, but "
                f"address = {self.address!r} names one that runs already: leave one of them out, "
                "and give the port to `ray start --metrics-export-port` there"
            )
        return self

    @model_validator(mode="after")
    def _can_be_reproduced(self) -> RunConfig:
        if self.reproducible and self.acting.actors_per_host is not None:
            raise ValueError(
                "reproducible = true needs acting.actors = 1, not a number for each host: what "
                "several actors find in the banks depends on who was first"
            )
        if self.reproducible and self.acting.actors > 1:
            raise ValueError(
                f"reproducible = true needs acting.actors = 1, not {self.acting.actors}: what "
                "several actors find in the banks depends on who was first"
            )
        if self.reproducible and self.acting.inference == "shared":
            raise ValueError(
                "reproducible = true needs acting.inference = own: what stands in a batch of the "
                "shared inference actor depends on the clock"
            )
        if self.reproducible and self.shared_memory.bank.on_new_version == "reencode":
            raise ValueError(
                "reproducible = true does not go with shared_memory.bank.on_new_version = "
                "reencode: how many entries are encoded again depends on the clock"
            )
        return self

    @model_validator(mode="after")
    def _cannot_starve(self) -> RunConfig:
        if self.distillation.tasks_per_version < self.acting.request_tasks:
            raise ValueError(
                f"distillation.tasks_per_version = {self.distillation.tasks_per_version} is less "
                f"than acting.request_tasks = {self.acting.request_tasks}: no request could ever "
                "be admitted"
            )
        return self
