"""Gate decisions as JSON documents, for the ledger, the journal and reports.

The document of an axis is flat, and its keys are those of the first release; a document of an older release holds fewer of them.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flywheel.gate.axes import (
    AxisTest,
    AxisVerdict,
    Clustering,
    GateDecision,
    GateVerdict,
    IncorrectAnswer,
    PairedCounts,
    RequiredItems,
    Role,
)


def decision_document(decision: GateDecision) -> dict[str, object]:
    """Of a whole gate."""
    return {
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "axes": [axis_document(axis) for axis in decision.axes],
        "not_judged": list(decision.not_judged),
        "unanswerable": list(decision.unanswerable),
        "incorrect": [asdict(answer) for answer in decision.incorrect],
    }


def axis_document(axis: AxisVerdict) -> dict[str, object]:
    """Every field of the verdict: what a reader needs to compute it again."""
    test, required, clusters = axis.test, axis.required, axis.clusters
    return {
        "name": axis.name,
        "role": axis.role.value,
        "n": axis.n,
        "baseline_arm": axis.baseline_arm,
        "baseline": axis.baseline,
        "challenger": axis.challenger,
        "wins": axis.wins,
        "losses": axis.losses,
        "p": test.p,
        "low": test.low,
        "high": test.high,
        "margin": test.margin,
        "standard_margin": test.standard_margin,
        "alpha": test.alpha,
        "verdict": axis.verdict.value,
        "reason": axis.reason,
        "needs_n": required.at_these_shares,
        "divided_by": test.divided_by,
        "entities": clusters.entities if clusters else None,
        "likeness": clusters.icc if clusters else None,
        "likeness_is": clusters.icc_is if clusters else "",
        "effective_n": clusters.effective_n if clusters else None,
        "effective_wins": clusters.effective_wins if clusters else None,
        "effective_losses": clusters.effective_losses if clusters else None,
        "margin_reason": test.margin_reason,
        "p_is": test.p_is,
        "smallest_n": required.smallest,
        "least_wins": required.least_wins,
        "entity_size": clusters.entity_size if clusters else None,
        "design_effect": clusters.design_effect if clusters else None,
        "others": {arm: asdict(counts) for arm, counts in axis.others.items()},
    }


def decision_of(document: Mapping[str, Any]) -> GateDecision:
    """The decision that ``decision_document`` wrote, in this release or an older one."""
    return GateDecision(
        verdict=GateVerdict(document["verdict"]),
        reason=document["reason"],
        axes=tuple(_axis_of(axis) for axis in document["axes"]),
        not_judged=tuple(document.get("not_judged", ())),
        unanswerable=tuple(document.get("unanswerable", ())),
        incorrect=tuple(IncorrectAnswer(**answer) for answer in document.get("incorrect", ())),
    )


def _axis_of(document: Mapping[str, Any]) -> AxisVerdict:
    return AxisVerdict(
        name=document["name"],
        role=Role(document["role"]),
        verdict=GateVerdict(document["verdict"]),
        reason=document["reason"],
        n=document["n"],
        baseline_arm=document["baseline_arm"],
        baseline=document["baseline"],
        challenger=document["challenger"],
        wins=document["wins"],
        losses=document["losses"],
        test=AxisTest(
            alpha=document["alpha"],
            margin=document["margin"],
            standard_margin=document["standard_margin"],
            divided_by=document.get("divided_by", 1),
            margin_reason=document.get("margin_reason", ""),
            p=document["p"],
            p_is=document.get("p_is", ""),
            low=document["low"],
            high=document["high"],
        ),
        required=RequiredItems(
            at_these_shares=document.get("needs_n"), smallest=document.get("smallest_n"), least_wins=document.get("least_wins")
        ),
        clusters=_clusters_of(document),
        others={arm: PairedCounts(**counts) for arm, counts in document.get("others", {}).items()},
    )


def _clusters_of(document: Mapping[str, Any]) -> Clustering | None:
    if document.get("entities") is None:
        return None
    return Clustering(
        entities=document["entities"],
        icc=document.get("likeness"),
        icc_is=document.get("likeness_is", ""),
        entity_size=document.get("entity_size"),
        design_effect=document.get("design_effect"),
        effective_n=document.get("effective_n"),
        effective_wins=document.get("effective_wins"),
        effective_losses=document.get("effective_losses"),
    )
