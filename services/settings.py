"""``flywheel.yaml`` and ``FLYWHEEL__A__B``: what can be set, with its unit, and nothing else.

Loaded in a process's ``__main__`` only. Unknown keys are errors. Secrets may stand in a file: ``token_file``, ``key_file``.
"""

import os
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from flywheel.errors import InvalidSettings

DEFAULT_CONFIG = Path("flywheel.yaml")
Scope = Literal["infer", "submit", "review", "operate", "override", "admin"]


class Section(BaseModel):
    """Every section refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Token(Section):
    """A static token: who it is, what it may do. The token itself stands in a file or is given by its SHA-256."""

    name: str
    scopes: tuple[Scope, ...]
    workloads: tuple[str, ...] = ("*",)
    sha256: str | None = None
    token_file: Path | None = None

    @model_validator(mode="after")
    def _one_secret(self) -> "Token":
        if (self.sha256 is None) == (self.token_file is None):
            raise ValueError("give either sha256 or token_file")
        return self


class Http(Section):
    """Ports on the host. Loopback until told otherwise."""

    host: str = "127.0.0.1"
    gateway_port: int = Field(default=8400, ge=1, le=65_535)
    api_port: int = Field(default=8401, ge=1, le=65_535)
    metrics_port: int = Field(
        default=8420, ge=1, le=65_500
    )  # the first of a row: one per process, in the order of services.wiring.PROCESSES


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

    bootstrap: str | None = None
    embedded_port: int = Field(default=8492, ge=1, le=65_535)
    topics: Topics = Topics()
    security_protocol: str = "PLAINTEXT"
    ssl_cafile: Path | None = None
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password_file: Path | None = None
    session_timeout_seconds: float = 6.0  # also how long the embedded broker takes to form a group (half of it)


class Serving(Section):
    """``url``: attach to a running vLLM. ``python`` and ``model``: start one."""

    url: str | None = None
    python: Path | None = None
    model: Path | None = None
    port: int = 8410
    max_loras: int = 4
    max_lora_rank: int = 16
    lora_modules: tuple[str, ...] = ()  # modules that adapters may touch; fewer are served faster; empty: all of the model's
    max_model_len: int = 1024
    cpu_cache_gib: int = 1
    cpu_threads_bind: str = "auto"  # VLLM_CPU_OMP_THREADS_BIND
    start_timeout_seconds: float = 300.0
    key_file: Path | None = None  # vLLM's API key; only gateway and release controller read it
    concurrency: int = 16  # requests in flight when a gate asks


class Slices(Section):
    """Which values of traffic make a slice."""

    dimensions: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()  # e.g. "tenant=globex"; never dropped
    top: int = 50  # slices kept beside the protected ones


class Watch(Section):
    """Panes, windows, thresholds."""

    pane_seconds: float = 300.0
    window_panes: int = 12  # window length in panes
    slide_panes: int = 12
    longer_panes: tuple[int, ...] = (24, 48, 72, 144, 288)  # windows of 2, 4, 6, 12 and 24 hours, judged beside each hour
    pages_a_day: float = Field(default=0.1, gt=0)  # alarm budget that thresholds are calibrated to, once the reference has seen a week
    lateness_seconds: float = 60.0  # a window closes this long after its end
    learning_seconds: float = 86_400.0  # below this a reference is "learning" unless a person pins it
    watch_seconds: float = 86_400.0  # after a promotion
    minimum_rows: int = 50
    p_below: float = 1e-4  # these five stand until a reference is long enough to calibrate the alarm budget on
    ks_floor: float = 0.10
    variation_floor: float = 0.10  # total variation of names
    rate_floor: float = 0.03
    sample_rows: int = 500  # bounded sample per slice for Evidently


class Webhook(Section):
    """A signed notice to a URL (Standard Webhooks)."""

    url: str
    secret_file: Path | None = None


class Alerts(Section):
    """How long facts must hold, how long an acknowledgement lasts, who is told."""

    hold_seconds: float = 0.0
    resolve_after_seconds: float = 21_600.0  # nothing has moved for so long: the incident is over
    acknowledgement_hours: float = 8.0
    webhooks: tuple[Webhook, ...] = ()


class Corrections(Section):
    """Whose fixes are taken without review, and how they are split."""

    trusted_sources: tuple[str, ...] = ()
    entity_keys: tuple[str, ...] = ()  # e.g. "dim:function"; the first that is present; else the near-duplicate cluster
    held_out_share: float = Field(default=0.2, ge=0, lt=1)
    near_duplicate: float = Field(default=0.7, gt=0, le=1)  # MinHash similarity on user turns


class Training(Section):
    """The plan's knobs; see flywheel.retraining.plan.TrainingPolicy for units."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ("all-linear",)
    learning_rate: float = 2e-4
    steps: int = 60
    batch: int = 4
    warmup_steps: int = 5
    max_length: int = 512
    seed: int = 7
    threads: int = 2
    general_share: float = 0.15
    quantization: Literal["nf4", "none"] = "nf4"
    probe_items: int = 8  # examples replayed at the end of training, three tokens each
    general_file: Path | None = None  # NDJSON rows {"messages", "completion"}: general instructions against forgetting


class Trigger(Section):
    """When a run is asked for."""

    enough_corrections: int = 200
    enough_with_drift: int = 50
    cool_down_hours: float = 6.0
    check_seconds: float = 60.0
    calendar: str | None = None  # a crontab line for a run by the calendar


class Margin(Section):
    """A margin other than the standard 5 points, and why."""

    margin: float = Field(gt=0, lt=1)
    reason: str


class Gate(Section):
    """Axes and their margins; the alphas are the standard ones unless set."""

    margins: dict[str, Margin] = {}
    superiority_alpha: float = 0.025
    non_inferiority_alpha: float = 0.01
    recurrence_at_most: int = 200  # cases asked
    held_out_at_most: int = 200
    few_shot: int = 3  # examples in the prompted baseline
    planned_challengers: int = Field(default=1, ge=1)  # against one champion; the superiority alpha is divided over them


class GuardAlphas(Section):
    """The parts of the guards' budget; each is the chance that this guard ever aborts a canary that is no worse."""

    format: float = 0.005
    errors: float = 0.0025
    refusal: float = 0.0025
    latency: float = 0.0025
    protected: float = 0.005  # all protected slices together
    informative: float = 0.0025  # all signals together


class Release(Section):
    """Shadow, canary, and the watch period after a promotion."""

    shadow_requests: int = 200
    canary_shares: tuple[float, ...] = (0.05, 0.25, 0.5)
    canary_sessions: int = 400  # of the challenger, per step
    minimum_sessions: int = 20  # before a guard may speak
    step_minutes: float = 30.0  # at least, per step
    guard_budget: float = 0.02  # the share of good canaries that may be aborted
    guard_alphas: GuardAlphas = GuardAlphas()
    slower_by_at_most: float = 2.0  # times the champion's latency, before the latency guard speaks
    informative: tuple[str, ...] = ()  # quality columns whose guards may abort but never hold up
    hold_back_share: float = 0.05  # of the sessions, on the old champion after a promotion
    hold_back_hours: float = 24.0
    probe_items: int = 24  # tokens asked of base and adapter before it counts as applied


class Sampling(Section):
    """What every arm is asked with."""

    max_tokens: int = 512
    temperature: float = 0.0


class Format(Section):
    """What a valid answer is: JSON fitting a schema, or any text."""

    json_schema: dict[str, object] | None = None


class Workload(Section):
    """One stable task under one public model name."""

    alias: str
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

    model_config = SettingsConfigDict(extra="forbid", env_prefix="FLYWHEEL__", env_nested_delimiter="__", frozen=True)

    data_dir: Path = Path("var")
    http: Http = Http()
    kafka: Kafka = Kafka()
    serving: Serving = Serving()
    tokens: tuple[Token, ...] = ()
    workloads: dict[str, Workload] = {}
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    redaction_key_file: Path | None = None  # keyed pseudonyms; made at first start when unset

    @field_validator("workloads")
    @classmethod
    def _names(cls, value: dict[str, Workload]) -> dict[str, Workload]:
        for name in value:
            if not name.replace("-", "").isalnum() or name == "base" or len(name) > 40:
                raise ValueError(f"workload name {name!r}: letters, digits and dashes, at most 40, not 'base'")
        aliases = [workload.alias for workload in value.values()]
        if len(set(aliases)) != len(aliases):
            raise ValueError("two workloads share an alias")
        return value

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
    def serving_url(self) -> str:
        return self.serving.url or f"http://127.0.0.1:{self.serving.port}"


def load(path: Path | None = None) -> Settings:
    """Reads ``path`` (or $FLYWHEEL_CONFIG, or ./flywheel.yaml when it exists) and the environment, which wins."""
    file = path or (Path(os.environ["FLYWHEEL_CONFIG"]) if "FLYWHEEL_CONFIG" in os.environ else DEFAULT_CONFIG)
    if not file.exists():
        if path is not None or "FLYWHEEL_CONFIG" in os.environ:
            raise InvalidSettings("there is no such file", where=str(file), remedy="Name an existing file with --config.")
    else:
        try:
            content = yaml.safe_load(file.read_text()) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InvalidSettings(
                f"is not valid YAML: {error}".replace("\n", " "), where=str(file), remedy="Mend the line named."
            ) from error
        if not isinstance(content, dict):
            raise InvalidSettings(
                "must be a mapping", where=str(file), value=type(content).__name__, remedy="Start with a key such as workloads:"
            )

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (the library's signature)
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=file))

    try:
        return FromFile()
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{file}: " + ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise InvalidSettings(
                "unknown key",
                where=where,
                value=_shown(first["input"]),
                remedy="Remove it or correct its spelling; `flywheel check-config --json` prints the known keys.",
            ) from None
        raise InvalidSettings(
            first["msg"],
            where=where,
            value=_shown(first["input"]),
            remedy="Give a value of the right type; see deploy/docs/configuration.md.",
        ) from None


def _shown(value: object) -> object:
    """Never a whole section, never a secret."""
    if isinstance(value, SecretStr | dict | list):
        return type(value).__name__
    return value if not isinstance(value, str) or len(value) < 80 else value[:80] + "…"
