"""``python -m services.cli.evidence_page > deploy/docs/evidence.md``: every field of every verdict, as ledger, journal and topics hold it.

Tests compare each section with documents that the code writes, and the page with this file.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EvidenceSection:
    """One kind of document: where a reader finds it, and what each key means."""

    title: str
    found_in: str
    fields: Mapping[str, str]


DRIFT_VERDICT = EvidenceSection(
    title="Drift verdict",
    found_in="`flywheel.drift.v1`, `GET /v1/windows`, the report. One per slice and column of a window.",
    fields={
        "kind": "family of the column: input, output, quality or slice",
        "slice": "`all`, or `<dimension>=<value>`",
        "column": "what was compared; `share` is the slice's share of traffic",
        "status": "ok, drifting, learning, insufficient_data, new_slice, vanished_slice or no_data",
        "reason": "one sentence with both numbers and their thresholds",
        "n": "rows of the window that have a value",
        "n_reference": "the same of the reference",
        "method": "binned_ks (number), chi2 (name), mid_p (rate), share_mid_p (share)",
        "score": "dispersion-adjusted p-value; null where nothing was compared",
        "threshold": "the column drifts only when its p-value is below this",
        "effect": "KS distance, total variation, or difference of the rates or shares",
        "effect_floor": "minimum effect size: the column drifts only when its effect reaches this",
        "evidence": "the fields of the next section",
        "window_start": "start of a window that is longer than the shortest one",
    },
)
DRIFT_EVIDENCE = EvidenceSection(
    title="Evidence of a drift verdict",
    found_in="`evidence` of a drift verdict. A field without meaning for the column is left out.",
    fields={
        "rows": "rows of the slice in the window, with and without a value",
        "rate": "rate: share of `yes` among the rows with a value",
        "commonest": "name: the most frequent one",
        "commonest_share": "its share of the rows with a value",
        "median_from": "number: lower edge of the fine bin that holds the median",
        "median_below": "number: upper edge of that bin",
        "without_value": "rows without a value; left out where there are none",
        "share": "share: the slice's part of all rows of the window, 0 to 1",
        "reference_share": "share: the same in the reference",
        "expected_rows": "share: rows that the reference's share makes of the window",
        "rows_in_other": "share: rows of slices that were folded into `(other)`, which may hide this one",
        "reference_rows_in_other": "share: the same in the reference",
        "reference_rate": "as `rate`, of the reference",
        "reference_commonest": "as `commonest`, of the reference",
        "reference_commonest_share": "as `commonest_share`, of the reference",
        "reference_median_from": "as `median_from`, of the reference",
        "reference_median_below": "as `median_below`, of the reference",
        "reference_without_value": "as `without_value`, of the reference",
        "effect_is": "name of the effect that was measured",
        "jensen_shannon": "Jensen-Shannon distance, for reading only",
        "wasserstein": "number: Wasserstein distance as a share of the reference's range of bins, for reading only",
        "p_from": "number: which of its two tests gave the p-value, shape or level",
        "counts_as_worse": "rate: the value tested one-sided; `either` is two-sided",
        "first_of": "the rate of which this column counts the first failure per session and day",
        "largest_changes": "drifting: up to four bins whose shares changed most",
        "pooled_categories": "drifting name: names counted together because they are rare",
        "widest_gap": "drifting number: the edge at which the cumulative shares differ most; that difference is the effect",
        "threshold_source": "fixed thresholds, or calibrated ones with the alarms a day and the days they were calibrated on",
        "family": "the part of the false-alarm budget: general, protected or shares",
        "overdispersion": "standard deviation of the z-scores of windows without drift, where 1 belongs to independent rows",
        "p_if_rows_were_independent": "the p-value before the adjustment for overdispersion",
        "reference": "id of the reference",
        "reference_maturity": "learning, pinned_early, pooled_days or by_hour",
        "reference_age_hours": "hours from pinning to judging",
        "reference_from": "start of its period",
        "reference_to": "end of its period",
        "part_in_reference": "part of the window's time that lies in that period: such rows stand on both sides and hide a change",
        "compared_with": "the whole reference, the same hours of it, or nothing",
    },
)
ALERT = EvidenceSection(
    title="Evidence of an alert",
    found_in="`flywheel alerts show ID`, `flywheel.alerts.v1`.",
    fields={
        "judged": "cells of the newest window that were compared",
        "primary_drivers": "`<column> of <slice>` after which the incident is named",
        "grouping": "why the drifted series are one incident",
        "drifted_series": "up to twenty of them, largest effect first; see the next section",
        "reference_maturity": "maturities of the references they were compared with",
    },
)
DRIFTED_SERIES = EvidenceSection(
    title="One drifted series of an alert",
    found_in="`drifted_series` of an alert.",
    fields={
        "kind": "family of the column",
        "slice": "as in the verdict",
        "column": "as in the verdict",
        "status": "as in the verdict",
        "method": "as in the verdict",
        "score": "as in the verdict",
        "threshold": "as in the verdict",
        "effect": "as in the verdict",
        "minimum_effect": "minimum effect size",
        "threshold_source": "as in the verdict's evidence",
        "n": "rows of the window that have a value",
        "n_reference": "the same of the reference",
        "window_start": "start of the window in which it was found",
        "hours": "length of that window",
        "reason": "the verdict's reason",
    },
)
GATE = EvidenceSection(
    title="Gate",
    found_in="`flywheel gate show --json`; the journal's line of kind `gate`.",
    fields={
        "adapter": "the challenger",
        "champion": "the adapter it was compared with",
        "golden_version": "version of the golden set",
        "attempts": "`challengers` that met this champion; `gates` of this adapter on this golden version; `planned_challengers`",
        "foretold": "predicted power before any arm was asked: `chance`, `reason` and one entry per axis; null where no axis decides",
        "axes": "one verdict per axis; see the next section",
        "not_judged": "axes with items that no arm was asked, since an earlier axis had refused",
        "unanswerable": "cases whose request the server refused from every arm of an axis; they count on no such axis",
        "incorrect": "the challenger's first incorrect answers, at most 20: `case`, `reason`, and `arguments`: the scores of the "
        "worst arguments of its tool calls, 0 to 1",
    },
)
GATE_AXIS = EvidenceSection(
    title="One axis of a gate",
    found_in="`axes` of a gate.",
    fields={
        "name": "format, golden, golden[...], recurrence, held_out, general or safety",
        "role": "superiority (must improve), non_inferiority (must not get worse), reported (decides nothing)",
        "n": "items",
        "baseline_arm": "the arm that the challenger was compared with: the best of those asked",
        "baseline": "share of its correct items",
        "challenger": "share of the challenger's correct items",
        "wins": "items that only the challenger answers correctly",
        "losses": "items that only the baseline arm answers correctly",
        "p": "p-value of the test named in `p_is`",
        "low": "lower end of the interval of challenger minus baseline",
        "high": "upper end of that interval",
        "margin": "by how much the challenger may be worse",
        "standard_margin": "the margin without a named reason: 0.05",
        "alpha": "one-sided level, already divided by `divided_by`",
        "verdict": "pass, refuse or cannot_tell",
        "reason": "one sentence",
        "needs_n": "cannot_tell: required sample size if wins and losses keep their shares",
        "divided_by": "attempts over which the alpha is divided",
        "entities": "different entities among the items; null where no entity repeats, then all fields of clustering are null",
        "likeness": "intraclass correlation of one entity's items, as used (0 to 1)",
        "likeness_is": "measured, and on what, or assumed",
        "effective_n": "effective sample size: items divided by the design effect",
        "effective_wins": "wins divided by the design effect, rounded down",
        "effective_losses": "losses divided by the design effect, rounded up",
        "margin_reason": "why the margin is not the standard one",
        "p_is": "which test gave `p`",
        "smallest_n": "not worse: the fewest items that pass when nothing is lost or won",
        "least_wins": "better: the fewest wins that pass when nothing is lost",
        "entity_size": "items of the entity of an average item",
        "design_effect": "1 + (`entity_size` - 1) x `likeness`",
        "others": "the arms that did worse: both, wins, losses, neither against the challenger",
    },
)
WEIGHT_PARITY = EvidenceSection(
    title="Weight parity check",
    found_in="the journal's lines `probed` and `refused` of kind `release`.",
    fields={
        "verdict": "applied, not_applied or differs",
        "mean_to_base": "mean absolute difference of log probabilities per token, served to base",
        "mean_to_replay": "the same, served to the replay of training",
        "tokens": "tokens compared",
    },
)
SHADOW = EvidenceSection(
    title="Shadow",
    found_in="the journal's line `canary` or `rolled_back` of kind `release`.",
    fields={
        "status": "holds, waits or fails",
        "answered": "mirrored requests that were answered",
        "failed": "mirrored requests that were model errors",
        "wanted": "`release.shadow_requests`",
    },
)
CANARY = EvidenceSection(
    title="Canary",
    found_in="`flywheel release status --json`; the journal's lines `canary`, `live` and `rolled_back` of kind `release`.",
    fields={
        "control": "the champion beside the canary",
        "step": "index of the present step, from 0",
        "steps": "shares of the sessions, `release.canary_shares`",
        "share": "share of the sessions on the canary",
        "step_began": "start of the step",
        "step_sessions": "canary sessions that began in this step",
        "step_sessions_least": "sessions needed before the next step",
        "step_seconds_least": "seconds needed before the next step",
        "guard_sessions_least": "sessions of each arm before a guard speaks",
        "guards": "one verdict per guard; see the next section",
    },
)
GUARD = EvidenceSection(
    title="One guard of a canary",
    found_in="`guards` of a canary.",
    fields={
        "name": "errors, format, refusal, latency, `<guard>[<slice>]`, or a signal",
        "blocking": "true: without data there is no step",
        "status": "holds, breached or no_data",
        "bad": "bad sessions of the canary",
        "sessions": "sessions of the canary",
        "control_bad": "bad sessions of the control",
        "control_sessions": "sessions of the control",
        "p": "1 / e-value, at most 1; valid at any time",
        "alpha": "the guard's part of the budget of 2 %",
        "reason": "one sentence",
        "evidence": "the largest e-value so far; null: too few sessions",
        "needed": "1 / alpha: the e-value of a breach",
        "sets": "full strata",
        "largest_after": "sessions of both arms when the e-value was largest",
        "limit_ms": "latency: the control's limit at the newest stratum; the canary's is `release.slower_by_at_most` times this",
        "set_kinds": "kinds of informative strata: canary sessions, control sessions, bad, bad on the canary, how many up to "
        "`largest_after`, how many after; null: too many kinds to list",
    },
)
SECTIONS = (DRIFT_VERDICT, DRIFT_EVIDENCE, ALERT, DRIFTED_SERIES, GATE, GATE_AXIS, WEIGHT_PARITY, SHADOW, CANARY, GUARD)
HEAD = """# Evidence

Every field of every verdict. How the verdicts are made and read is in [how-we-decide.md](how-we-decide.md). Keys of the first release
keep their names: `effect_floor`, `likeness`, `foretold`, `sets` and `evidence` (of a guard) are explained here by the usual terms.
Documents that older releases wrote hold fewer fields.

This page is generated: `python -m services.cli.evidence_page > deploy/docs/evidence.md`.
"""


def page() -> str:
    """Markdown: one table per section."""
    return HEAD + "".join(_table(section) for section in SECTIONS)


def _table(section: EvidenceSection) -> str:
    rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in section.fields.items())
    return f"\n## {section.title}\n\nFound in: {section.found_in}\n\n| field | meaning |\n| --- | --- |\n{rows}"


if __name__ == "__main__":
    sys.stdout.write(page())
