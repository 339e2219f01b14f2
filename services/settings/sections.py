"""The sections of ``flywheel.yaml``: each key with its type, range, default and meaning.

In a name, ``_seconds``, ``_minutes``, ``_hours`` are the unit; ``_share`` is between 0 and 1; other whole numbers are counts. Secrets
are read from files: ``token_file``, ``key_file``. The comment beside a key is its meaning on the page that operators read.
A key that fills a field of a policy takes the policy's default; ``policies`` builds the policies.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from flywheel.alerts.lifecycle import AlertPolicy
from flywheel.comparison import EXACT, LENIENT, ComparisonPolicy
from flywheel.corrections.acceptance import AcceptancePolicy
from flywheel.drift.alarm_budget import BudgetPolicy
from flywheel.drift.late_data import ReevaluationPolicy
from flywheel.drift.thresholds import DriftPolicy
from flywheel.gate.axis_order import GatePolicy
from flywheel.gate.exact_not_worse import LEAST_MARGIN, NUISANCE_CHANCE
from flywheel.retention import RetentionPolicy
from flywheel.retraining.plan import TrainingPolicy
from flywheel.retraining.trigger import TriggerPolicy
from flywheel.rollout.guards import LEAST_ALPHA, GuardAlphas, GuardPolicy
from flywheel.rollout.next_action import RolloutPolicy
from flywheel.traffic.subject import SESSION
from flywheel.windows.pane import WindowPolicy
from flywheel.windows.slices import SlicePolicy

METRICS_PORTS = 10  # consecutive ports from http.metrics_port on; one for each of services.process.process_names.PROCESSES
PASSED_ON = (
    *("audio", "chat", "classify", "completions", "detokenize", "embeddings", "images", "messages", "moderations", "pooling", "rerank"),
    *("responses", "score", "systemone", "tokenize"),
)
"""What model servers serve under /v1 beside the list of models and their administration."""
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
Scope = Literal["infer", "submit", "review", "operate", "override", "admin"]
SessionSource = Literal["header", "user", "safety_identifier", "prompt_cache_key", "metadata.session_id"]
Port = Annotated[int, Field(ge=1, le=65_535)]
Count = Annotated[int, Field(ge=1, le=10**9)]
CountOrZero = Annotated[int, Field(ge=0, le=10**9)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]  # 30 years: added to a time of today, the sum is still a date
SecondsAboveZero = Annotated[float, Field(ge=0.001, le=1e9)]
Minutes = Annotated[float, Field(ge=0, le=1e6)]
Hours = Annotated[float, Field(ge=0, le=87_600)]  # ten years
HoursAboveZero = Annotated[float, Field(ge=0.001, le=87_600)]
Days = Annotated[float, Field(ge=1, le=36_500)]  # a century
Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
ShareOfSessions = Annotated[float, Field(gt=0, lt=1)]  # of a canary: at 1 there is no control
Probability = Annotated[float, Field(gt=0, lt=1)]
Alpha = Annotated[float, Field(gt=0, lt=0.5)]  # one-sided
NonInferiorityAlpha = Annotated[float, Field(gt=NUISANCE_CHANCE, lt=0.5)]
Argument = Annotated[str, Field(coerce_numbers_to_str=True)]  # of a command line
GuardAlpha = Annotated[float, Field(ge=LEAST_ALPHA, lt=1)]


class Section(BaseModel):
    """Every section refuses unknown keys, infinite numbers and NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Limits(Section):
    """What one token, or one workload, may use; unset: without a limit. Over it the answer is 429 with Retry-After."""

    requests_per_minute: Count | None = None  # a minute's worth may come at once; of the gateway, and for a token of the api too
    tokens_per_minute: Count | None = None  # prompt and answer, of the gateway; where the model server tells none, one for four bytes sent
    in_flight: Count | None = None  # requests under way at once


class Token(Section):
    """A static token: who it is, what it may do. The secret is in a file, or its SHA-256 is given."""

    name: str  # of the person or program; the journal shows it
    scopes: tuple[Scope, ...]  # what the token may do
    workloads: tuple[str, ...] = ("*",)  # names under ``workloads``; "*": all
    sha256: str | None = None  # 64 hex digits
    token_file: Path | None = None  # text file with the token on its first line
    limits: Limits = Limits()


class Http(Section):
    """Address and ports on this host; only programs of this host can connect unless ``host`` is set."""

    host: str = "127.0.0.1"  # address or name to listen on; 0.0.0.0: every address of this host
    gateway_port: Port = 8400  # the OpenAI-compatible API that applications call
    api_port: Port = 8401  # corrections, alerts, releases; the command line calls it
    # PEM, the server's own certificate first, then its chain; set: gateway and api speak HTTPS only. A renewed file is in force at once
    certificate_file: Path | None = None
    key_file: Path | None = None  # PEM, the certificate's key, without a password
    idle_seconds: SecondsAboveZero = 75.0  # a connection that has sent no whole head of a request for so long is closed
    body_seconds: SecondsAboveZero = 60.0  # within which the body of a request must arrive; then 408
    # the first of ten consecutive ports, one for each process, in the order of services.process.process_names.PROCESSES; behind them one
    # for each further process of gateway.processes
    metrics_port: int = Field(default=8420, ge=1, le=65_500)

    @property
    def gateway_url(self) -> str:
        return f"{self._scheme}://{self.host}:{self.gateway_port}"

    @property
    def api_url(self) -> str:
        return f"{self._scheme}://{self.host}:{self.api_port}"

    @property
    def _scheme(self) -> str:
        return "https" if self.certificate_file is not None else "http"


class Topics(Section):
    """Names on the broker; their partitions and retention are in deploy/kafka/topics.yaml."""

    traffic: str = "flywheel.traffic.v1"  # requests and answers
    corrections: str = "flywheel.corrections.v1"  # corrections of answers
    drift: str = "flywheel.drift.v1"  # verdicts on windows
    alerts: str = "flywheel.alerts.v1"  # alerts and their states
    releases: str = "flywheel.releases.v1"  # routes: which adapter serves
    knowledge_gaps: str = "flywheel.knowledge-gaps.v1"  # corrections that belong in a source


class Kafka(Section):
    """``bootstrap`` set: that broker is used and nothing is started. Unset: the embedded development broker."""

    bootstrap: str | None = None  # host:port, several with commas
    embedded_port: Port = 8492  # of the embedded broker
    topics: Topics = Topics()
    replication: int = Field(default=1, ge=1, le=9)  # brokers that keep each topic that we create; 3 on a cluster
    security_protocol: str = "PLAINTEXT"  # PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL
    ssl_cafile: Path | None = None  # certificates of the authorities that are trusted
    sasl_mechanism: str | None = None  # PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
    sasl_username: str | None = None  # of the daemon at the broker
    sasl_password_file: Path | None = None  # text file with the password on its first line
    session_timeout_seconds: SecondsAboveZero = 6.0  # of consumers; the embedded broker forms a group after half of it


class TemplateChoice(TypedDict):
    """What the settings say about the chat template, for ``served_template``."""

    chosen: Path | None
    tool_parser: str | None
    variables: dict[str, object]


class Serving(Section):
    """``url``: attach to a running vLLM. ``python`` and ``model``: start one."""

    url: str | None = None  # http://host:port, without /v1
    python: Path | None = None  # the interpreter of the environment that has vLLM
    model: Path | None = None  # folder of the base model
    port: Port = 8410  # of a vLLM that the daemon starts
    max_loras: int = Field(default=4, ge=3, le=1000)  # adapters loaded at once: champion, challenger, rollback target, next challenger
    max_lora_rank: Count = 16  # the largest rank of an adapter that can be served
    lora_modules: tuple[str, ...] = ()  # modules that adapters may touch; fewer are served faster; empty: all of the model's
    max_model_len: Count = 1024  # tokens, prompt and answer together
    cpu_cache_gib: CountOrZero = 1  # GiB of key-value cache, without a GPU
    cpu_threads_bind: str = "auto"  # VLLM_CPU_OMP_THREADS_BIND
    start_timeout_seconds: SecondsAboveZero = 300.0  # until vLLM answers
    key_file: Path | None = None  # vLLM's API key; only gateway and release controller read it
    # a Jinja file, for serving and training; unset: the model's own template, with tools added where it renders none
    chat_template: Path | None = None
    chat_template_kwargs: dict[str, object] = {}  # variables of the template, for serving and training, e.g. {enable_thinking: false}
    tool_parser: str | None = None  # vLLM's name of the parser for tool calls; unset: found by the form in which the template writes calls
    reasoning_parser: str | None = None  # vLLM's name of the parser that keeps reasoning apart from the answer
    extra_args: tuple[Argument, ...] = ()  # further arguments of the vLLM that the daemon starts, e.g. [--tensor-parallel-size, 2]
    concurrency: Count = 16  # requests in flight when a gate asks

    @property
    def template_choice(self) -> TemplateChoice:
        return {"chosen": self.chat_template, "tool_parser": self.tool_parser, "variables": self.chat_template_kwargs}


class GatewaySettings(Section):
    """How many processes it has, what it passes on, which web pages may call it, and how long it waits for the model server."""

    # on one port; with 2 or more the death of one refuses nobody: only what is in flight on it is cut
    processes: int = Field(default=1, ge=1, le=16)

    # origins of web pages whose scripts may call it (CORS), e.g. "https://app.example.org"; "*": every page
    cors_origins: tuple[str, ...] = ()
    # routes under /v1 that are passed on and not recorded, by their first part; no other route of the model server can be reached
    passed_on: tuple[str, ...] = PASSED_ON
    connect_seconds: SecondsAboveZero = 5.0  # until the model server accepts a connection; then 504
    first_byte_seconds: SecondsAboveZero = 600.0  # until its answer begins: of an answer that is not streamed, all of it; then 504
    silence_seconds: SecondsAboveZero = 300.0  # between two pieces of an answer; then an error in the stream
    total_seconds: SecondsAboveZero = 3600.0  # for all of an answer
    drain_seconds: Seconds = 60.0  # at SIGTERM: for answers under way, streams too; then they are cut with an error


class Slices(Section):
    """How traffic is cut into slices: ``all``, and one for each value of a dimension."""

    dimensions: tuple[str, ...] = SlicePolicy.dimensions  # names of dimensions in the traffic, e.g. "tenant"
    protected: tuple[str, ...] = SlicePolicy.protected  # e.g. "tenant=globex"; never dropped
    top: CountOrZero = SlicePolicy.top  # slices kept beside the protected ones


class Watch(Section):
    """Panes, windows, thresholds. ``minimum_rows`` to ``rate_minimum_effect`` apply until a reference has seen a day and is calibrated."""

    pane_seconds: SecondsAboveZero = WindowPolicy.pane.total_seconds()  # counts are kept in panes of this length
    window_panes: Count = WindowPolicy.window_panes  # window length in panes
    slide_panes: Count = WindowPolicy.slide_panes  # panes between the starts of two windows
    # lengths in panes of longer windows, judged beside each window; the default is 2, 4, 6, 12 and 24 hours
    longer_panes: tuple[Count, ...] = WindowPolicy.longer_panes
    alarms_a_day: float = Field(default=BudgetPolicy.alarms_a_day, gt=0, le=1e6)  # false-alarm budget; thresholds are calibrated to it
    lateness_seconds: Seconds = WindowPolicy.lateness.total_seconds()  # a window closes this long after its end
    late_data_hours: Hours = ReevaluationPolicy.look_back / HOUR  # late rows re-evaluate a window for so long after its end; 0: never
    learning_seconds: SecondsAboveZero = 86_400.0  # traffic that the first reference needs, unless a person pins one
    after_promotion_seconds: Seconds = 86_400.0  # the new champion gets a reference of its own after so long
    minimum_rows: Count = DriftPolicy.minimum_rows  # of a window; with fewer it is not judged
    session_rows: float = Field(default=DriftPolicy.session_rows, ge=1, le=1e6)  # rows of a session, assumed until they are measured
    p_below: Probability = DriftPolicy.p_below  # p-value under which a column drifts
    ks_minimum_effect: Share = DriftPolicy.ks_minimum_effect  # largest distance of two distribution functions, 0 to 1
    variation_minimum_effect: Share = DriftPolicy.variation_minimum_effect  # total variation of names, 0 to 1
    rate_minimum_effect: Share = DriftPolicy.rate_minimum_effect  # difference of two shares: 0.03 is 3 points
    sample_rows: CountOrZero = 500  # rows sampled from each slice for Evidently


class Webhook(Section):
    """A signed notification to a URL (Standard Webhooks)."""

    url: str  # http:// or https://
    secret_file: Path | None = None  # the key of the signature


class Alerts(Section):
    """How long drift must hold, how long an acknowledgement lasts, who is notified."""

    hold_seconds: Seconds = AlertPolicy.hold.total_seconds()  # an alert fires after drift has held for so long
    resolve_after_seconds: Seconds = AlertPolicy.resolve_after.total_seconds()  # an alert is resolved after so long without drift
    acknowledgement_hours: HoursAboveZero = AlertPolicy.acknowledgement / HOUR  # default; an acknowledgement may give its own
    webhooks: tuple[Webhook, ...] = ()


class TextDifferences(Section):
    """What makes no difference between two free texts, for graders of text."""

    ignore_case: bool = LENIENT.ignore_case  # capitals and small letters
    ignore_white_space: bool = LENIENT.ignore_white_space  # a run of it is one space: line breaks and indentation make no difference
    ignore_quotes: bool = LENIENT.ignore_quotes  # “ and « are ", ’ and ` are '
    unicode: Literal["NFC", "NFKC"] = LENIENT.unicode  # NFKC: full-width letters, ligatures and ² are the plain characters too


class StringDifferences(Section):
    """What makes no difference between two strings in JSON answers and in arguments of tool calls, and in fenced code."""

    ignore_case: bool = EXACT.ignore_case  # as under ``text``
    ignore_white_space: bool = EXACT.ignore_white_space  # as under ``text``
    ignore_quotes: bool = EXACT.ignore_quotes  # as under ``text``
    unicode: Literal["NFC", "NFKC"] = EXACT.unicode  # as under ``text``


class AnswerComparison(Section):
    """When two answers are the same: for graders, for a correction against the model's answer, for repeats and contradictions."""

    text: TextDifferences = TextDifferences()
    strings: StringDifferences = StringDifferences()
    # relative; two whole numbers are compared exactly, because they may be ids
    number_tolerance: ShareBelowOne = ComparisonPolicy.number_tolerance
    # two ISO 8601 times in JSON are the same when they name one instant; a time without a zone never equals one with a zone
    times_by_instant: bool = ComparisonPolicy.times_by_instant
    calls_in_order: bool = ComparisonPolicy.calls_in_order  # several tool calls are the same in the same order only
    # a correction of nothing but capitals, line breaks or quotes is one, and its case is graded exactly; false: it is rejected as no change
    exact_fixes: bool = ComparisonPolicy.exact_fixes


class Corrections(Section):
    """Whose corrections are accepted without review, and how corrections are split."""

    trusted_sources: tuple[str, ...] = ()  # names of sources, as corrections give them
    entity_keys: tuple[str, ...] = ()  # e.g. "dim:function"; the first that is present; else the near-duplicate cluster
    held_out_share: ShareBelowOne = AcceptancePolicy.held_out_share  # of the entities, for gates; never trained on
    near_duplicate: float = Field(default=AcceptancePolicy.near_duplicate, gt=0, le=1)  # from this similarity on two prompts are one


class Training(Section):
    """How an adapter is trained; its name is a hash of these values, the snapshot and the code's version."""

    rank: Count = TrainingPolicy.rank  # of the adapter's matrices; at most serving.max_lora_rank
    alpha: Count = TrainingPolicy.alpha  # the adapter's output is scaled by alpha / rank
    dropout: ShareBelowOne = TrainingPolicy.dropout  # share of the adapter's inputs
    target_modules: tuple[str, ...] = TrainingPolicy.target_modules  # names of the base model's modules
    learning_rate: float = Field(default=TrainingPolicy.learning_rate, gt=0, le=1)  # the highest, after the warm-up
    steps: Count = TrainingPolicy.steps  # of the optimiser
    batch: Count = TrainingPolicy.batch  # examples in a step
    warmup_steps: CountOrZero = TrainingPolicy.warmup_steps  # in which the learning rate rises
    max_length: Count = TrainingPolicy.max_length  # tokens of an example
    seed: int = Field(default=TrainingPolicy.seed, ge=0, lt=2**32)  # of the order of examples and the adapter's first weights
    threads: Count = TrainingPolicy.threads  # of the processor
    general_share: ShareBelowOne = TrainingPolicy.general_share  # of the examples: general instructions against forgetting
    quantization: Literal["nf4", "none"] = TrainingPolicy.quantization  # of the base model during training
    probe_items: CountOrZero = 8  # examples replayed at the end of training, three tokens each
    general_file: Path | None = None  # NDJSON rows {"messages", "completion"}: general instructions against forgetting


class Trigger(Section):
    """When a training run is requested."""

    enough_corrections: CountOrZero = TriggerPolicy.enough_corrections  # new corrections since the last run
    enough_with_drift: CountOrZero = TriggerPolicy.enough_with_drift  # the same, while an alert is open
    cool_down_hours: Hours = TriggerPolicy.cool_down / HOUR  # at least, between two runs
    check_seconds: SecondsAboveZero = 60.0  # how often this is checked
    # a crontab line in UTC for a run by the calendar: minute hour day month weekday; 1 is Monday, 0 and 7 are Sunday
    calendar: str | None = None


class Margin(Section):
    """A margin other than the standard 5 points, and why."""

    margin: float = Field(ge=LEAST_MARGIN, lt=1)  # share of the axis' items: 0.05 is 5 points
    reason: str  # shown in every gate's evidence; required above the standard


class Gate(Section):
    """Alphas, margins and sizes of a gate."""

    margins: dict[str, Margin] = {}  # by axis: format, golden, golden[<protected slice>], recurrence, held_out, general, safety
    superiority_alpha: Alpha = GatePolicy.superiority_alpha  # probability that a challenger which is no better passes "golden"
    # probability that a challenger which is worse by the margin passes one of the other axes
    non_inferiority_alpha: NonInferiorityAlpha = GatePolicy.non_inferiority_alpha
    recurrence_at_most: CountOrZero = GatePolicy.recurrence_at_most  # recurrence cases that a gate asks
    held_out_at_most: CountOrZero = GatePolicy.held_out_at_most  # held-out cases that a gate asks
    few_shot: CountOrZero = GatePolicy.few_shot  # examples in the prompted baseline
    planned_challengers: Count = GatePolicy.planned_challengers  # against one champion; the superiority alpha is divided by it


class GuardAlphaSettings(Section):
    """How ``guard_budget`` is divided: the probability that each guard aborts a canary that is no worse."""

    format: GuardAlpha = GuardAlphas.format  # sessions with an answer in an invalid format
    errors: GuardAlpha = GuardAlphas.errors  # sessions with a failed request
    refusal: GuardAlpha = GuardAlphas.refusal  # sessions with a refusal
    latency: GuardAlpha = GuardAlphas.latency  # slow sessions
    protected: GuardAlpha = GuardAlphas.protected  # all protected slices together
    informative: GuardAlpha = GuardAlphas.informative  # all signals together


class ReleaseSettings(Section):
    """Shadow, canary, and the watch period after a promotion."""

    shadow_requests: Count = RolloutPolicy.shadow_requests  # answered by the challenger too before its canary
    # of the sessions, step by step: each above the one before, all below 1
    canary_shares: tuple[ShareOfSessions, ...] = RolloutPolicy.canary_shares
    canary_sessions: Count = RolloutPolicy.canary_sessions  # of the challenger, in each step
    minimum_sessions: Count = GuardPolicy.minimum_sessions  # in each arm, before a guard decides
    step_minutes: Minutes = RolloutPolicy.step_time / MINUTE  # a step takes at least so long
    guard_budget: Probability = GuardPolicy.budget  # the share of good canaries that may be aborted
    guard_alphas: GuardAlphaSettings = GuardAlphaSettings()
    slower_by_at_most: float = Field(default=GuardPolicy.slower_by_at_most, gt=0, le=1e9)  # factor over the champion's latency
    informative: tuple[str, ...] = GuardPolicy.informative  # quality columns whose guards may abort but never delay a step
    holdout_share: ShareBelowOne = RolloutPolicy.holdout_share  # of the sessions, on the old champion after a promotion
    holdout_hours: Hours = RolloutPolicy.holdout_time / HOUR  # length of the watch period; 0: none
    probe_items: CountOrZero = 24  # tokens asked of base and adapter to check that the adapter's weights are served


class Sampling(Section):
    """How every arm of a gate is asked; the temperature is 0, so that answers can be compared."""

    max_tokens: Count = 512  # of an answer


class SamplingDefaults(Section):
    """Sampling for clients that send none; unset: the model server's own default."""

    temperature: float | None = Field(default=None, ge=0, le=2)  # 0: the likeliest token each time
    top_p: float | None = Field(default=None, gt=0, le=1)  # share of the probability that tokens are drawn from
    top_k: Count | None = None  # tokens that are drawn from
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)  # of tokens that the text has already
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)  # of tokens, for each time that the text has them
    seed: int | None = Field(default=None, ge=0, lt=2**63)  # of the draws
    stop: tuple[str, ...] | None = None  # texts at which an answer ends
    max_tokens: Count | None = None  # of an answer; also for clients of max_completion_tokens


class SamplingCaps(Section):
    """The highest values; a client's higher one is lowered. They hold on every route."""

    temperature: float | None = Field(default=None, ge=0, le=2)  # where a client sends none, the server's own default stays
    max_tokens: Count | None = None  # of an answer, under each of its names; put in where a client sends none
    n: Count | None = None  # answers to one request


class Requests(Section):
    """How the gateway treats clients' requests. What it adds to one is marked in the record."""

    system_prompt: str | None = None  # for conversations without a system or developer message
    # where a request's session is looked for, in this order; "header" is X-Flywheel-Session, the others are fields of the body
    session_from: tuple[SessionSource, ...] = ("header", "user", "safety_identifier", "prompt_cache_key", "metadata.session_id")
    # while the champion is not loaded, as after a restart of the model server; refuse: 503 with Retry-After, base: the base model answers
    without_champion: Literal["refuse", "base"] = "refuse"
    defaults: SamplingDefaults = SamplingDefaults()
    caps: SamplingCaps = SamplingCaps()


class Format(Section):
    """What a valid answer is: JSON fitting a schema, or any text."""

    json_schema: dict[str, object] | None = None  # JSON Schema, draft 2020-12; without it, any text is valid


class RecordingSettings(Section):
    """How recorded content is kept."""

    # whose data key seals a request and its answer: session, client, or dim:<name> of a dimension; requests without it: the session
    subject: str = SESSION


class CaptureSettings(Section):
    """When an exchange that was answered cannot be lost any more."""

    # answered: before the last bytes of the answer leave (survives kill -9 of the gateway); batched: at most 0.05 s and one write later
    durability: Literal["answered", "batched"] = "answered"
    # the last two make the gateway's spool and the recorder wait for the disk too, for all workloads
    # what a power cut may take: never: what the disk has not got yet; every_second: 1 s; every_answer: nothing, with durability answered
    fsync: Literal["never", "every_second", "every_answer"] = "never"


class Retention(Section):
    """For how many days what is recorded is kept. What an open alert, a reference, a release or a run needs stays until they end."""

    rows_days: Days = RetentionPolicy.rows  # a row for each attempt: ids, column values, tokens, times
    contents_days: Days = RetentionPolicy.contents  # requests and answers; they go with their row at the latest
    # that an event was recorded; an event that is delivered again later than that is recorded again
    ids_days: float = Field(default=RetentionPolicy.ids, ge=8, le=36_500)
    panes_days: Days = RetentionPolicy.panes  # counts, from which windows and references are made; references look back 84 days
    evidence_days: Days = RetentionPolicy.evidence  # judged windows with their verdicts; the newest of each workload stays
    work_days: Days = RetentionPolicy.work  # items of work that are done or failed
    dead_letters_days: Days = RetentionPolicy.dead_letters  # events that could not be recorded or decided; messages the broker refused
    logs_days: Days = RetentionPolicy.logs  # lines of log files
    reports_days: Days = RetentionPolicy.reports  # pages that Evidently wrote


class WorkloadRetention(Section):
    """Days for one workload; unset: those under ``retention``. Ids and logs belong to all workloads together."""

    rows_days: Days | None = None  # as under ``retention``
    contents_days: Days | None = None  # as under ``retention``
    panes_days: Days | None = None  # as under ``retention``
    evidence_days: Days | None = None  # as under ``retention``
    work_days: Days | None = None  # as under ``retention``
    dead_letters_days: Days | None = None  # as under ``retention``
    reports_days: Days | None = None  # as under ``retention``


class Workload(Section):
    """One stable task under one public model name."""

    alias: str  # the model name that clients ask for
    # observe: measure only; propose: train and gate, then wait for a person; auto: release too
    mode: Literal["observe", "propose", "auto"] = "propose"
    requests: Requests = Requests()
    limits: Limits = Limits()
    sampling: Sampling = Sampling()
    format: Format = Format()
    capture: CaptureSettings = CaptureSettings()
    recording: RecordingSettings = RecordingSettings()
    retention: WorkloadRetention = WorkloadRetention()
    slices: Slices = Slices()
    watch: Watch = Watch()
    alerts: Alerts = Alerts()
    comparison: AnswerComparison = AnswerComparison()
    corrections: Corrections = Corrections()
    training: Training = Training()
    trigger: Trigger = Trigger()
    gate: Gate = Gate()
    release: ReleaseSettings = ReleaseSettings()


class Redaction(Section):
    """What is replaced beside patterns of personal data and secrets: names of people. See redaction.md."""

    # off: none; known: those that the exchange itself, a correction and known_names give; model: also those that the engine finds
    names: Literal["off", "known", "model"] = "known"
    known_names: tuple[str, ...] = ()  # of people, as they are written, e.g. of the staff
    # for model: package.module:function, which returns a Presidio AnalyzerEngine
    engine: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


class Settings(Section):
    """The whole configuration."""

    data_dir: Path = Path("var")  # databases, adapters, logs, keys; relative to the working directory
    http: Http = Http()
    kafka: Kafka = Kafka()
    serving: Serving = Serving()
    gateway: GatewaySettings = GatewaySettings()
    tokens: tuple[Token, ...] = ()
    workloads: dict[str, Workload] = {}
    retention: Retention = Retention()
    log_level: Literal["debug", "info", "warning", "error"] = "info"  # of all processes
    redaction: Redaction = Redaction()
    redaction_key_file: Path | None = None  # the key of the pseudonyms for personal data; made at the first start when unset
    # the key that seals recorded content: a file of mode 600 with at least 32 characters; made under data_dir/keys at first use when unset
    sealing_key_file: Path | None = None

    @property
    def ledger_url(self) -> str:
        return f"sqlite:///{self.data_dir / 'ledger.db'}"

    @property
    def traffic_url(self) -> str:
        return f"sqlite:///{self.data_dir / 'traffic.db'}"

    @property
    def records_survive_power_cuts(self) -> bool:
        """Whether a workload asks for it by capture.fsync. Then spool and recorder wait for the disk, for all workloads."""
        return any(workload.capture.fsync != "never" for workload in self.workloads.values())

    @property
    def bootstrap(self) -> str:
        return self.kafka.bootstrap or f"127.0.0.1:{self.kafka.embedded_port}"

    @property
    def serving_url(self) -> str:
        return self.serving.url or f"http://127.0.0.1:{self.serving.port}"
