"""Imports cases and freezes the golden set, in a person's name.

In: a person, an NDJSON file of cases, the time. Out: what was imported or frozen, saved with its journal line.
"""

from dataclasses import dataclass
from datetime import datetime

from flywheel.errors import InvalidInput
from flywheel.ids import Person, derive
from flywheel.journal import JournalEntry, JournalKind
from flywheel.regression_suite.case import Case, Tier
from flywheel.regression_suite.golden import GoldenSet, case_of_row
from flywheel.regression_suite.golden import freeze as make_golden
from services.api.requests import uploaded_objects
from services.api.wiring import ApiParts, WorkloadRules


@dataclass(frozen=True, kw_only=True)
class ImportedCases:
    """How many cases of each tier the file contained, and how many of all were new."""

    tiers: dict[str, int]
    new: int


def import_cases(parts: ApiParts, workload: WorkloadRules, raw: bytes, *, by: Person, now: datetime) -> ImportedCases:
    """All lines or none. The same line again is the same case."""
    cases: dict[str, Case] = {}
    for row in uploaded_objects(raw):
        case = case_of_row(row.checked(), workload=workload.id, where=f"line {row.number}", now=now, by=by)
        cases.setdefault(case.id, case)
    if not cases:
        raise InvalidInput("contains no case", where="body", remedy="Send one JSON object a line; see deploy/docs.")
    known = {case.id for case in parts.ledger.suite.cases(workload.id)}
    new = [case for case in cases.values() if case.id not in known]
    tiers = {tier.value: sum(case.tier is tier for case in cases.values()) for tier in (Tier.GOLDEN, Tier.GENERAL, Tier.SAFETY)}
    if new:
        entry = JournalEntry(
            at=now,
            workload=workload.id,
            kind=JournalKind.GOLDEN,
            subject=derive("import", workload.id, *sorted(cases)),
            state="imported",
            reason="cases imported by a person",
            actor=by,
            evidence={"tiers": tiers, "new": len(new)},
        )
        parts.ledger.suite.add_cases(new, entry)
    return ImportedCases(tiers=tiers, new=len(new))


def freeze(parts: ApiParts, workload: WorkloadRules, *, by: Person, now: datetime) -> tuple[GoldenSet, bool]:
    """The imported golden cases as the next version, and whether it is new: the same cases as in the newest version stay that version."""
    cases = parts.ledger.suite.cases(workload.id, tier=Tier.GOLDEN)
    newest = parts.ledger.suite.golden(workload.id)
    golden = make_golden(cases=cases, workload=workload.id, version=newest.version + 1 if newest else 1, by=by, now=now)
    if newest is not None and newest.id == golden.id:
        return newest, False
    parts.ledger.suite.freeze_golden(
        golden,
        JournalEntry(
            at=now,
            workload=workload.id,
            kind=JournalKind.GOLDEN,
            subject=golden.id,
            state="frozen",
            reason=f"version {golden.version} frozen by a person",
            actor=by,
            evidence={"version": golden.version, "items": len(golden.cases)},
        ),
    )
    return golden, True
