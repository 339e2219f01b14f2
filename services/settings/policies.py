"""The policies of a workload, from its section in ``flywheel.yaml``.

``load`` builds them to find what does not fit together, and each process builds them again to run: what is checked is what runs.
"""

from dataclasses import dataclass
from datetime import timedelta

from flywheel.alerts.lifecycle import AlertPolicy
from flywheel.comparison import ComparisonPolicy, TextRule
from flywheel.corrections.acceptance import AcceptancePolicy
from flywheel.drift.alarm_budget import BudgetPolicy
from flywheel.drift.late_data import ReevaluationPolicy
from flywheel.drift.pinning import PinningPolicy
from flywheel.drift.thresholds import DriftPolicy
from flywheel.gate.axis_order import GatePolicy, axes_in_order
from flywheel.retention import RetentionPolicy
from flywheel.retraining.plan import TrainingPolicy
from flywheel.retraining.readiness import ReadinessPolicy
from flywheel.retraining.trigger import TriggerPolicy
from flywheel.rollout.guards import GuardAlphas, GuardPolicy
from flywheel.rollout.next_action import RolloutPolicy
from flywheel.traffic.request_policy import RequestPolicy
from flywheel.training_set.curate import CurationPolicy
from flywheel.windows.pane import WindowPolicy
from flywheel.windows.slices import SlicePolicy
from services.settings.faults import Fault, UnusableSettings, as_fault
from services.settings.sections import AnswerComparison, Requests, Settings, StringDifferences, TextDifferences, Training, Watch, Workload


@dataclass(frozen=True, kw_only=True)
class WorkloadPolicies:
    """One policy for each decision about a workload."""

    windows: WindowPolicy
    slices: SlicePolicy
    drift: DriftPolicy
    budget: BudgetPolicy
    pinning: PinningPolicy
    late_data: ReevaluationPolicy
    alerts: AlertPolicy
    acceptance: AcceptancePolicy
    trigger: TriggerPolicy
    readiness: ReadinessPolicy
    curation: CurationPolicy
    training: TrainingPolicy
    gate: GatePolicy
    rollout: RolloutPolicy


def build_policies(workload: Workload, *, where: str = "") -> WorkloadPolicies:
    """Raises UnusableSettings with every fault of values that do not fit together; ``where`` is the workload's path."""
    path = f"{where}." if where else ""
    faults: list[Fault] = []
    windows = _windows(workload.watch, faults, f"{path}watch")
    rollout = _rollout(workload, faults, f"{path}release")
    gate = _gate(workload, faults, path)
    if windows is None or rollout is None or faults:
        raise UnusableSettings(faults)
    watch, corrections, trigger = workload.watch, workload.corrections, workload.trigger
    return WorkloadPolicies(
        windows=windows,
        slices=SlicePolicy(dimensions=workload.slices.dimensions, protected=workload.slices.protected, top=workload.slices.top),
        drift=_drift(workload),
        budget=BudgetPolicy(alarms_a_day=watch.alarms_a_day),
        pinning=PinningPolicy(whole_day=timedelta(seconds=watch.learning_seconds), watch=timedelta(seconds=watch.after_promotion_seconds)),
        late_data=ReevaluationPolicy(look_back=timedelta(hours=watch.late_data_hours), debounce=windows.pane),
        alerts=AlertPolicy(
            hold=timedelta(seconds=workload.alerts.hold_seconds),
            resolve_after=timedelta(seconds=workload.alerts.resolve_after_seconds),
            acknowledgement=timedelta(hours=workload.alerts.acknowledgement_hours),
        ),
        acceptance=AcceptancePolicy(
            trusted_sources=frozenset(corrections.trusted_sources),
            held_out_share=corrections.held_out_share,
            near_duplicate=corrections.near_duplicate,
            comparison=_comparison(workload.comparison),
        ),
        trigger=TriggerPolicy(
            enough_corrections=trigger.enough_corrections,
            enough_with_drift=trigger.enough_with_drift,
            cool_down=timedelta(hours=trigger.cool_down_hours),
        ),
        readiness=ReadinessPolicy(),
        curation=CurationPolicy(general_share=workload.training.general_share, near_duplicate=corrections.near_duplicate),
        training=_training(workload.training),
        gate=gate,
        rollout=rollout,
    )


def retention_policy(settings: Settings, workload: str = "") -> RetentionPolicy:
    """Of one workload; of the daemon without one."""
    days = settings.retention.model_dump()
    if workload in settings.workloads:
        days |= settings.workloads[workload].retention.model_dump(exclude_none=True)
    return RetentionPolicy(**{name.removesuffix("_days"): value for name, value in days.items()})


def request_policy(requests: Requests) -> RequestPolicy:
    """What the gateway adds to requests, and what it lowers."""
    defaults, caps = requests.defaults.model_dump(exclude_none=True, mode="json"), requests.caps.model_dump(exclude_none=True)
    return RequestPolicy(system_prompt=requests.system_prompt, defaults=defaults, caps=caps)


def _windows(watch: Watch, faults: list[Fault], where: str) -> WindowPolicy | None:
    """None when a fault was found."""
    lengths = ("pane_seconds", "window_panes", "slide_panes", "longer_panes", "lateness_seconds")
    with as_fault(faults, where, compared_with=[f"{where}.{name}" for name in lengths]):
        return WindowPolicy(
            pane=timedelta(seconds=watch.pane_seconds),
            window_panes=watch.window_panes,
            slide_panes=watch.slide_panes,
            longer_panes=watch.longer_panes,
            lateness=timedelta(seconds=watch.lateness_seconds),
        )
    return None


def _comparison(section: AnswerComparison) -> ComparisonPolicy:
    return ComparisonPolicy(
        text=_text_rule(section.text),
        strings=_text_rule(section.strings),
        number_tolerance=section.number_tolerance,
        times_by_instant=section.times_by_instant,
        calls_in_order=section.calls_in_order,
        exact_fixes=section.exact_fixes,
    )


def _text_rule(section: TextDifferences | StringDifferences) -> TextRule:
    return TextRule(
        ignore_case=section.ignore_case,
        ignore_white_space=section.ignore_white_space,
        ignore_quotes=section.ignore_quotes,
        unicode=section.unicode,
    )


def _drift(workload: Workload) -> DriftPolicy:
    watch = workload.watch
    return DriftPolicy(
        p_below=watch.p_below,
        ks_minimum_effect=watch.ks_minimum_effect,
        variation_minimum_effect=watch.variation_minimum_effect,
        rate_minimum_effect=watch.rate_minimum_effect,
        minimum_rows=watch.minimum_rows,
        session_rows=watch.session_rows,
        protected=workload.slices.protected,
    )


def _training(training: Training) -> TrainingPolicy:
    return TrainingPolicy(
        rank=training.rank,
        alpha=training.alpha,
        dropout=training.dropout,
        target_modules=training.target_modules,
        learning_rate=training.learning_rate,
        steps=training.steps,
        batch=training.batch,
        warmup_steps=training.warmup_steps,
        max_length=training.max_length,
        seed=training.seed,
        threads=training.threads,
        quantization=training.quantization,
        general_share=training.general_share,
    )


def _gate(workload: Workload, faults: list[Fault], path: str) -> GatePolicy:
    """Each margin is checked by itself, so that each wrong one is reported."""
    gate, protected = workload.gate, workload.slices.protected
    margins = {axis: (named.margin, named.reason) for axis, named in gate.margins.items()}
    for axis, margin in margins.items():
        where = f"{path}gate.margins.{axis}"
        with as_fault(faults, where, compared_with=[where, f"{path}slices.protected"]):
            axes_in_order(policy=GatePolicy(margins={axis: margin}), protected=protected)
    return GatePolicy(
        superiority_alpha=gate.superiority_alpha,
        non_inferiority_alpha=gate.non_inferiority_alpha,
        margins=margins,
        recurrence_at_most=gate.recurrence_at_most,
        held_out_at_most=gate.held_out_at_most,
        few_shot=gate.few_shot,
        planned_challengers=gate.planned_challengers,
    )


def _rollout(workload: Workload, faults: list[Fault], where: str) -> RolloutPolicy | None:
    """None when a fault was found."""
    release = workload.release
    guards: GuardPolicy | None = None
    with as_fault(faults, f"{where}.guard_alphas", compared_with=[f"{where}.guard_budget"]):
        guards = GuardPolicy(
            budget=release.guard_budget,
            alphas=GuardAlphas(**release.guard_alphas.model_dump()),
            minimum_sessions=release.minimum_sessions,
            judges_format=workload.format.json_schema is not None,
            slower_by_at_most=release.slower_by_at_most,
            protected=workload.slices.protected,
            informative=release.informative,
        )
    with as_fault(faults, f"{where}.canary_shares"):
        return RolloutPolicy(
            shadow_requests=release.shadow_requests,
            canary_shares=release.canary_shares,
            canary_sessions=release.canary_sessions,
            step_time=timedelta(minutes=release.step_minutes),
            holdout_share=release.holdout_share,
            holdout_time=timedelta(hours=release.holdout_hours),
            guards=guards or GuardPolicy(),
        )
    return None
