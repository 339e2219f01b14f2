"""What can be set, with its unit, and nothing else: sections of plain values with their defaults.

In a name, ``_seconds``, ``_minutes``, ``_hours`` are the unit; ``_share`` is between 0 and 1; other whole numbers are counts. Secrets
may stand in a file: ``token_file``, ``key_file``. The comment beside a key is its meaning on the page that operators read.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

METRICS_PORTS = 10  # the row that begins at http.metrics_port: as long as services.process.names.PROCESSES
Scope = Literal["infer", "submit", "review", "operate", "override", "admin"]
Port = Annotated[int, Field(ge=1, le=65_535)]
Count = Annotated[int, Field(ge=1, le=10**9)]
CountOrNone = Annotated[int, Field(ge=0, le=10**9)]
Length = Annotated[float, Field(ge=0, le=1e9)]  # of time; at 1e9 seconds, thirty years, a sum with now is still a date
SomeTime = Annotated[float, Field(gt=0, le=1e9)]
Wait = Annotated[float, Field(ge=0, le=1e6)]  # minutes or hours, as the name says
Share = Annotated[float, Field(ge=0, le=1)]
Chance = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """Every section refuses unknown keys, and numbers that are none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Token(Section):
    """A static token: who it is, what it may do. The token itself stands in a file or is given by its SHA-256."""

    name: str
    scopes: tuple[Scope, ...]
    workloads: tuple[str, ...] = ("*",)  # names of workloads that are declared; "*": all
    sha256: str | None = None  # 64 hex digits
    token_file: Path | None = None

    @model_validator(mode="after")
    def _one_secret(self) -> "Token":
        if (self.sha256 is None) == (self.token_file is None):
            raise ValueError("give either sha256 or token_file")
        return self


class Http(Section):
    """Ports on the host. Loopback until told otherwise."""

    host: str = "127.0.0.1"
    gateway_port: Port = 8400
    api_port: Port = 8401
    # the first of a row: one per process, in the order of services.process.names.PROCESSES
    metrics_port: int = Field(default=8420, ge=1, le=65_500)


class Topics(Section):
    """Names on the broker; partitions and retention stand in deploy/kafka/topics.yaml."""

    traffic: str = "flywheel.traffic.v1"
    corrections: str = "flywheel.corrections.v1"
    drift: str = "flywheel.drift.v1"
    alerts: str = "flywheel.alerts.v1"
    releases: str = "flywheel.releases.v1"
    knowledge_gaps: str = "flywheel.knowledge-gaps.v1"


class Kafka(Section):
    """``bootstrap`` set: that broker is used and nothing is started. Unset: the embedded development broker."""

    bootstrap: str | None = None  # host:port, several with commas
    embedded_port: Port = 8492
    topics: Topics = Topics()
    security_protocol: str = "PLAINTEXT"
    ssl_cafile: Path | None = None
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password_file: Path | None = None
    session_timeout_seconds: SomeTime = 6.0  # also how long the embedded broker takes to form a group (half of it)


class Serving(Section):
    """``url``: attach to a running vLLM. ``python`` and ``model``: start one."""

    url: str | None = None  # http://host:port, without /v1
    python: Path | None = None  # the interpreter of the environment that has vLLM
    model: Path | None = None  # folder of the base model
    port: Port = 8410
    max_loras: int = Field(default=4, ge=3, le=1000)  # adapters held at once: champion, challenger, rollback target, and who is next
    max_lora_rank: Count = 16  # the largest rank of an adapter that can be served
    lora_modules: tuple[str, ...] = ()  # modules that adapters may touch; fewer are served faster; empty: all of the model's
    max_model_len: Count = 1024  # tokens, prompt and answer together
    cpu_cache_gib: CountOrNone = 1  # GiB for keys and values, without a GPU
    cpu_threads_bind: str = "auto"  # VLLM_CPU_OMP_THREADS_BIND
    start_timeout_seconds: SomeTime = 300.0
    key_file: Path | None = None  # vLLM's API key; only gateway and release controller read it
    concurrency: Count = 16  # requests in flight when a gate asks


class Slices(Section):
    """Which values of traffic make a slice."""

    dimensions: tuple[str, ...] = ()  # names of dimensions in the traffic, e.g. "tenant"
    protected: tuple[str, ...] = ()  # e.g. "tenant=globex"; never dropped
    top: CountOrNone = 50  # slices kept beside the protected ones


class Watch(Section):
    """Panes, windows, thresholds. ``minimum_rows`` to ``rate_floor`` hold until a reference has seen enough for the alarm budget."""

    pane_seconds: SomeTime = 300.0
    window_panes: Count = 12  # window length in panes
    slide_panes: Count = 12  # a window begins every so many panes
    longer_panes: tuple[int, ...] = (24, 48, 72, 144, 288)  # lengths in panes: windows of 2, 4, 6, 12 and 24 hours, judged beside each hour
    pages_a_day: float = Field(default=0.1, gt=0)  # alarm budget that thresholds are calibrated to, once the reference has seen a day
    lateness_seconds: Length = 60.0  # a window closes this long after its end
    retest_hours: Wait = 24.0  # so long after its end a window is judged again when rows come late; 0: never
    learning_seconds: Length = 86_400.0  # below this a reference is "learning" unless a person pins it
    watch_seconds: Length = 86_400.0  # after a promotion
    minimum_rows: Count = 50  # in a window; below it nothing is judged
    session_rows: float = Field(default=8.0, ge=1, le=1e6)  # rows of a session: how far slices' shares wander, until it is measured
    p_below: Chance = 1e-4  # a p-value
    ks_floor: Share = 0.10  # largest distance of two distribution functions, 0 to 1
    variation_floor: Share = 0.10  # total variation of names, 0 to 1
    rate_floor: Share = 0.03  # difference of two shares: 0.03 is 3 points
    sample_rows: CountOrNone = 500  # bounded sample per slice for Evidently


class Webhook(Section):
    """A signed notice to a URL (Standard Webhooks)."""

    url: str  # http:// or https://
    secret_file: Path | None = None


class Alerts(Section):
    """How long facts must hold, how long an acknowledgement lasts, who is told."""

    hold_seconds: Length = 0.0  # so long must a fact hold before it is an alert
    resolve_after_seconds: Length = 21_600.0  # nothing has moved for so long: the incident is over
    acknowledgement_hours: Wait = 8.0  # unless the person says how long
    webhooks: tuple[Webhook, ...] = ()


class Corrections(Section):
    """Whose fixes are taken without review, and how they are split."""

    trusted_sources: tuple[str, ...] = ()  # names of sources, as corrections give them
    entity_keys: tuple[str, ...] = ()  # e.g. "dim:function"; the first that is present; else the near-duplicate cluster
    held_out_share: float = Field(default=0.2, ge=0, lt=1)  # of the entities, for gates; never trained on
    near_duplicate: float = Field(default=0.7, gt=0, le=1)  # MinHash similarity on user turns, 0 to 1


class Training(Section):
    """The plan's knobs; see flywheel.retraining.plan.TrainingPolicy for units."""

    rank: Count = 16  # of the adapter's matrices; at most serving.max_lora_rank
    alpha: Count = 32  # the adapter counts alpha / rank times
    dropout: float = Field(default=0.0, ge=0, lt=1)  # share of the adapter's inputs
    target_modules: tuple[str, ...] = ("all-linear",)  # names of the base model's modules
    learning_rate: float = Field(default=2e-4, gt=0, le=1)  # the highest, after the warm-up
    steps: Count = 60  # of the optimiser
    batch: Count = 4  # examples per step
    warmup_steps: CountOrNone = 5
    max_length: Count = 512  # tokens of an example
    seed: int = Field(default=7, ge=0, lt=2**32)
    threads: Count = 2  # of the processor
    general_share: float = Field(default=0.15, ge=0, lt=1)  # of the examples: general instructions against forgetting
    quantization: Literal["nf4", "none"] = "nf4"  # of the base while training
    probe_items: CountOrNone = 8  # examples replayed at the end of training, three tokens each
    general_file: Path | None = None  # NDJSON rows {"messages", "completion"}: general instructions against forgetting


class Trigger(Section):
    """When a run is asked for."""

    enough_corrections: CountOrNone = 200  # new corrections since the last run
    enough_with_drift: CountOrNone = 50  # the same, while an alert is open
    cool_down_hours: Wait = 6.0  # at least, between two runs
    check_seconds: SomeTime = 60.0  # how often this is looked at
    calendar: str | None = None  # a crontab line in UTC for a run by the calendar: minute hour day month weekday


class Margin(Section):
    """A margin other than the standard 5 points, and why."""

    margin: Chance  # share of the axis' items: 0.05 is 5 points
    reason: str


class Gate(Section):
    """Axes and their margins; the alphas are the standard ones unless set."""

    margins: dict[str, Margin] = {}  # by axis: format, golden, golden[<protected slice>], recurrence, held_out, general, safety
    superiority_alpha: Chance = 0.025  # one-sided chance that a challenger which is no better passes "golden"
    non_inferiority_alpha: Chance = 0.01  # the same of every other axis, for one that is worse by the margin
    recurrence_at_most: CountOrNone = 200  # cases asked
    held_out_at_most: CountOrNone = 200  # cases asked
    few_shot: CountOrNone = 3  # examples in the prompted baseline
    planned_challengers: Count = 1  # against one champion; the superiority alpha is divided over them


class GuardAlphas(Section):
    """The parts of the guards' budget; each is the chance that this guard ever aborts a canary that is no worse."""

    format: Chance = 0.005
    errors: Chance = 0.0025
    refusal: Chance = 0.0025
    latency: Chance = 0.0025
    protected: Chance = 0.005  # all protected slices together
    informative: Chance = 0.0025  # all signals together


class Release(Section):
    """Shadow, canary, and the watch period after a promotion."""

    shadow_requests: Count = 200  # answered by the challenger too before its canary
    canary_shares: tuple[float, ...] = (0.05, 0.25, 0.5)  # of the sessions, step by step: each above the one before, all below 1
    canary_sessions: Count = 400  # of the challenger, per step
    minimum_sessions: Count = 20  # in each arm, before a guard may speak
    step_minutes: Wait = 30.0  # at least, per step
    guard_budget: Chance = 0.02  # the share of good canaries that may be aborted
    guard_alphas: GuardAlphas = GuardAlphas()
    slower_by_at_most: float = Field(default=2.0, gt=0)  # times the champion's latency, before the latency guard speaks
    informative: tuple[str, ...] = ()  # quality columns whose guards may abort but never hold up
    hold_back_share: float = Field(default=0.05, ge=0, lt=1)  # of the sessions, on the old champion after a promotion
    hold_back_hours: Wait = 24.0  # after a promotion
    probe_items: CountOrNone = 24  # tokens asked of base and adapter before it counts as applied


class Sampling(Section):
    """What every arm is asked with."""

    max_tokens: Count = 512  # of an answer
    temperature: float = Field(default=0.0, ge=0, le=2)  # 0: the likeliest token each time


class Format(Section):
    """What a valid answer is: JSON fitting a schema, or any text."""

    json_schema: dict[str, object] | None = None


class Workload(Section):
    """One stable task under one public model name."""

    alias: str  # the model name that clients ask for
    mode: Literal["observe", "propose", "auto"] = "propose"
    system_prompt: str = ""
    sampling: Sampling = Sampling()
    format: Format = Format()
    slices: Slices = Slices()
    watch: Watch = Watch()
    alerts: Alerts = Alerts()
    corrections: Corrections = Corrections()
    training: Training = Training()
    trigger: Trigger = Trigger()
    gate: Gate = Gate()
    release: Release = Release()


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(extra="forbid", env_prefix="FLYWHEEL__", env_nested_delimiter="__", frozen=True, allow_inf_nan=False)

    data_dir: Path = Path("var")  # databases, adapters, logs, keys; relative to the working directory
    http: Http = Http()
    kafka: Kafka = Kafka()
    serving: Serving = Serving()
    tokens: tuple[Token, ...] = ()
    workloads: dict[str, Workload] = {}
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    redaction_key_file: Path | None = None  # keyed pseudonyms; made at first start when unset

    @property
    def ledger_url(self) -> str:
        return f"sqlite:///{self.data_dir / 'ledger.db'}"

    @property
    def traffic_url(self) -> str:
        return f"sqlite:///{self.data_dir / 'traffic.db'}"

    @property
    def bootstrap(self) -> str:
        return self.kafka.bootstrap or f"127.0.0.1:{self.kafka.embedded_port}"

    @property
    def gateway_url(self) -> str:
        return f"http://{self.http.host}:{self.http.gateway_port}"

    @property
    def serving_url(self) -> str:
        return self.serving.url or f"http://127.0.0.1:{self.serving.port}"
