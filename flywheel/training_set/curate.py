"""Makes the training set of the next adapter.

In: accepted corrections, general instruction rows, the protected cases, the policy, the cut-off time. Out: a snapshot with its leakage
report, or the reason why there is none. A row that touches a held-out or golden case is dropped. Writing the file is not done here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from flywheel.comparison import ComparisonPolicy, compare
from flywheel.corrections.acceptance import AcceptancePolicy
from flywheel.corrections.correction import CorrectionKind, CorrectionState, JoinedCorrection
from flywheel.corrections.duplicates import context_key, prompt_key
from flywheel.corrections.near_duplicates import NearPrompts
from flywheel.ids import WorkloadId, unit_interval
from flywheel.regression_suite.case import Case
from flywheel.training_set import leakage
from flywheel.training_set.example import CORRECTION, GENERAL, Example, example_id
from flywheel.training_set.leakage import LeakageReport, Touch
from flywheel.training_set.snapshot import Snapshot, id_of
from flywheel.training_set.surrogates import prompt_with_surrogates

ENOUGH_EXAMPLES = 500
MANY_DUPLICATES = 0.30


class DecidedCorrection(Protocol):
    """The fields of a stored correction that are read here."""

    @property
    def joined(self) -> JoinedCorrection: ...
    @property
    def state(self) -> CorrectionState: ...
    @property
    def decided_at(self) -> datetime: ...
    @property
    def entity(self) -> str: ...
    @property
    def held_out(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class CurationPolicy:
    """``general_share`` of all rows are general instruction rows, so that the adapter does not forget them."""

    general_share: float = 0.15
    near_duplicate: float = AcceptancePolicy.near_duplicate
    minimum: int = 1  # rows from corrections, below which there is no snapshot


@dataclass(frozen=True, kw_only=True)
class CurationResult:
    """``snapshot`` is None when curation refused; ``dropped`` counts rows by reason."""

    snapshot: Snapshot | None
    leakage: LeakageReport
    reason: str
    dropped: Mapping[str, int] = field(default_factory=dict)


def curate(
    *,
    workload: WorkloadId,
    corrections: Sequence[DecidedCorrection],
    general: Sequence[Example],
    protected_cases: Sequence[Case],
    policy: CurationPolicy,
    comparison: ComparisonPolicy,
    cut_off: datetime,
) -> CurationResult:
    """The same inputs give the same snapshot id. The leakage report is made last, on the final rows."""
    dropped: Counter[str] = Counter()
    candidates = _trainable(workload, corrections, cut_off, dropped)
    unprotected = _without_leaks(candidates, corrections, protected_cases, policy, dropped)
    taught = _without_repeats(_without_contradictions(unprotected, comparison, dropped), policy, comparison, dropped)
    mixed = _general(general, taught, protected_cases, policy, dropped)
    rows = tuple(sorted((*taught, *mixed), key=lambda row: (unit_interval("order", row.id), row.id)))

    report = leakage.find(examples=rows, cases=protected_cases, near_duplicate=policy.near_duplicate)
    if not report.clean:
        first = report.leaks[0]
        reason = f"{len(report.leaks)} rows leak from protected cases (first: {first.example}, {first.touch}, {first.case})"
        return CurationResult(snapshot=None, leakage=report, reason=reason, dropped=dict(dropped))
    if len(taught) < policy.minimum:
        reason = f"{len(taught)} rows from corrections remain, at least {policy.minimum} are needed"
        return CurationResult(snapshot=None, leakage=report, reason=reason, dropped=dict(dropped))
    snapshot = Snapshot(
        id=id_of(workload=workload, examples=rows),
        workload=workload,
        cut_off=cut_off,
        examples=rows,
        counts={CORRECTION: len(taught), GENERAL: len(mixed), **dict(sorted(dropped.items()))},
        warnings=_warnings(len(rows), len(candidates), len(mixed), dropped, policy),
    )
    return CurationResult(
        snapshot=snapshot, leakage=report, reason=f"{len(taught)} corrections and {len(mixed)} general rows", dropped=dict(dropped)
    )


def _trainable(workload: WorkloadId, corrections: Sequence[DecidedCorrection], cut_off: datetime, dropped: Counter[str]) -> list[Example]:
    """Accepted edits of this workload that are not held out and were decided before the cut-off; the oldest first."""
    rows = []
    for kept in sorted(corrections, key=lambda one: (one.decided_at, one.joined.correction.id)):
        correction = kept.joined.correction
        if correction.workload != workload or kept.state is not CorrectionState.ACCEPTED or kept.held_out:
            continue
        if correction.kind is not CorrectionKind.EDIT or correction.corrected is None or not kept.joined.messages:
            dropped["without_answer_dropped"] += 1
            continue
        if kept.decided_at > cut_off:
            dropped["after_cut_off"] += 1
            continue
        rows.append(_example(kept, correction.corrected))
    return rows


def _example(kept: DecidedCorrection, corrected: str) -> Example:
    correction = kept.joined.correction
    identity = example_id(correction.workload, correction.id)
    texts = [corrected, kept.joined.original or ""]
    prompt, (completion, rejected) = prompt_with_surrogates(kept.joined.prompt, texts, seed=identity)
    return Example(
        id=identity,
        messages=prompt.messages,
        completion=completion,
        entity=kept.entity,
        source=CORRECTION,
        correction=correction.id,
        rejected=rejected if kept.joined.original is not None else None,
        tools=prompt.tools,
        settings=prompt.settings,
    )


def _without_leaks(
    rows: list[Example],
    corrections: Sequence[DecidedCorrection],
    cases: Sequence[Case],
    policy: CurationPolicy,
    dropped: Counter[str],
) -> list[Example]:
    """Held-out entities are protected even when their corrections have no case yet."""
    held_out = {kept.entity for kept in corrections if kept.held_out and kept.state is CorrectionState.ACCEPTED}
    report = leakage.find(examples=rows, cases=cases, near_duplicate=policy.near_duplicate)
    leaking = {leak.example: leak.touch for leak in report.leaks}
    kept_rows = []
    for row in rows:
        touch = leaking.get(row.id) or (Touch.ENTITY if row.entity in held_out else None)
        if touch is None:
            kept_rows.append(row)
        else:
            dropped[f"protected_{touch}_dropped"] += 1
    return kept_rows


def _without_contradictions(rows: list[Example], comparison: ComparisonPolicy, dropped: Counter[str]) -> list[Example]:
    """Drops all rows of a prompt that has several answers."""
    first: dict[str, Example] = {}
    several = {prompt for row in rows if not _same_answer(row, first.setdefault(prompt := _prompt(row, comparison), row), comparison)}
    kept_rows = [row for row in rows if _prompt(row, comparison) not in several]
    if len(kept_rows) < len(rows):
        dropped["contradictory_dropped"] += len(rows) - len(kept_rows)
    return kept_rows


def _without_repeats(rows: list[Example], policy: CurationPolicy, comparison: ComparisonPolicy, dropped: Counter[str]) -> list[Example]:
    """Keeps the first row of each prompt, and of each cluster of near-duplicates within an entity.

    The same words for another entity are another task; with another system text and another answer they are another lesson.
    """
    seen: set[str] = set()
    by_entity: dict[str, NearPrompts] = {}
    kept_rows: dict[str, Example] = {}
    for row in rows:
        prompts, prompt = by_entity.setdefault(row.entity, NearPrompts(threshold=policy.near_duplicate)), _prompt(row, comparison)
        if prompt in seen:
            dropped["duplicates_dropped"] += 1
        elif any(_same_lesson(row, kept_rows[key], comparison) for key in prompts.near(row.messages)):
            dropped["near_duplicates_dropped"] += 1
        else:
            kept_rows[row.id] = row
            prompts.add(row.id, row.messages)
        seen.add(prompt)
    return list(kept_rows.values())


def _same_lesson(row: Example, near: Example, comparison: ComparisonPolicy) -> bool:
    context = context_key(row.prompt, comparison=comparison)
    return context == context_key(near.prompt, comparison=comparison) or _same_answer(row, near, comparison)


def _same_answer(one: Example, other: Example, comparison: ComparisonPolicy) -> bool:
    return compare(one.completion, other.completion, comparison.of_fixes).same


def _general(
    general: Sequence[Example], taught: list[Example], cases: Sequence[Case], policy: CurationPolicy, dropped: Counter[str]
) -> list[Example]:
    """As many as the share requires, chosen by the hash of their ids, none that touches a protected case."""
    wanted = round(len(taught) * policy.general_share / (1 - policy.general_share)) if policy.general_share < 1 else 0
    unique = list({row.id: row for row in general}.values())
    leaking = {leak.example for leak in leakage.find(examples=unique, cases=cases, near_duplicate=policy.near_duplicate).leaks}
    if leaking:
        dropped["general_protected_dropped"] += len(leaking)
    free = sorted((row for row in unique if row.id not in leaking), key=lambda row: (unit_interval("general", row.id), row.id))
    return free[:wanted]


def _warnings(rows: int, candidates: int, mixed: int, dropped: Mapping[str, int], policy: CurationPolicy) -> tuple[str, ...]:
    warnings = ["the audit of 50 random rows is not signed"]
    if rows < ENOUGH_EXAMPLES:
        warnings.append(f"{rows} examples: under {ENOUGH_EXAMPLES} a fine-tune often does not beat a good prompt")
    repeats = dropped.get("duplicates_dropped", 0) + dropped.get("near_duplicates_dropped", 0)
    if candidates and repeats / candidates > MANY_DUPLICATES:
        warnings.append(f"{repeats} of {candidates} rows repeat another one: over {MANY_DUPLICATES:.0%} points at a faulty source")
    if mixed < 0.10 * rows and policy.general_share > 0:
        warnings.append(f"{mixed} of {rows} rows are general: under 10 % forgetting is likely")
    return tuple(warnings)


def _prompt(row: Example, comparison: ComparisonPolicy) -> str:
    return prompt_key(row.prompt, declared_entity=row.entity, comparison=comparison)
