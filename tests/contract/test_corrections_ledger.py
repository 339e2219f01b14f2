"""What every CorrectionLedger must do: the one on SQL and the one that tests use."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from flywheel.comparison import ComparisonPolicy
from flywheel.corrections.correction import CorrectionState, InlineRequest, qualified_id
from flywheel.errors import CannotRun, Conflict
from flywheel.ids import CorrectionId, Person, SnapshotId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.regression_suite.case import Tier
from flywheel.regression_suite.golden import freeze
from flywheel.traffic.message import Message, OtherPart, TextPart, ToolCall
from flywheel.training_set.curate import CurationPolicy, curate
from flywheel.training_set.snapshot import Snapshot
from services.ports.corrections import CorrectionLedger, Submission
from services.ports.outbox import OutboxMessage
from services.stores.database import metadata, open_database, reading
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.outbox import outbox_table
from services.stores.snapshot_files import write_snapshot
from tests.fakes.learn_ledger import FakeLearnLedger
from tests.learning import NOON, ROUTER, case, correction, general, kept
from tests.ledgers import CorrectionAndTrainingLedger


@dataclass
class Opened:
    ledger: CorrectionLedger
    journal: Callable[[], list[JournalEntry]]
    outbox: Callable[[], list[str]]


@pytest.fixture(params=["sqlite", "fake"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    if request.param == "fake":
        fake = FakeLearnLedger()
        yield Opened(fake, lambda: list(fake.journal.values()), lambda: list(fake.outbox))
        return
    engine = open_database(f"sqlite:///{tmp_path}/ledger.db")
    metadata.create_all(engine)

    def outbox() -> list[str]:
        with reading(engine) as connection:
            return list(connection.execute(select(outbox_table.c.id)).scalars())

    yield Opened(CorrectionAndTrainingLedger(engine), lambda: list(LedgerJournal(engine).entries()), outbox)


def entry(subject: str, state: str = "accepted") -> JournalEntry:
    return JournalEntry(at=NOON, workload=ROUTER, kind="correction", subject=subject, state=state, reason="because")


def message(name: str) -> OutboxMessage:
    return OutboxMessage(id=name, topic="t", key="k", value=b"{}", created_at=NOON)


def submission(name: str = "c1", digest: str = "d", source: str = "support-desk", workload: WorkloadId = ROUTER) -> Submission:
    identity = qualified_id(workload, source, name)
    return Submission(id=identity, given_id=name, workload=workload, source=source, submitted_by="ada", body_digest=digest, at=NOON)


def snapshot_of(count: int = 3) -> Snapshot:
    made = curate(
        workload=ROUTER,
        corrections=[kept(f"c{number}", f"{number * 7919} quite another {number}", entity=f"e{number}") for number in range(count)],
        general=[general(1)],
        protected_cases=[],
        policy=CurationPolicy(),
        comparison=ComparisonPolicy(),
        cut_off=NOON,
    ).snapshot
    assert made is not None
    return made


def test_a_submission_is_accepted_once_and_its_event_stands_in_the_outbox_once(opened: Opened) -> None:
    assert opened.ledger.submit(submission(), message("m1")) == "accepted"
    assert opened.ledger.submit(submission(), message("m1")) == "duplicate"
    assert opened.outbox() == ["m1"]


def test_the_same_id_with_another_body_is_a_conflict_and_sends_nothing(opened: Opened) -> None:
    opened.ledger.submit(submission(), message("m1"))
    with pytest.raises(Conflict):
        opened.ledger.submit(submission(digest="other"), message("m2"))
    assert opened.outbox() == ["m1"]


def test_a_correction_of_a_conversation_reads_back_whole(opened: Opened) -> None:
    call = ToolCall(id="call_1", name="find", arguments='{"mail": "x"')
    messages = (
        Message(role="developer", content="Be brief"),
        Message(role="user", name="customer", content=(TextPart(text="What?", more={"x": True}), OtherPart(value={"type": "image_url"}))),
        Message(role="assistant", tool_calls=(call,), more={"function_call": None, "audio": {"id": "a"}}),
        Message(role="assistant", content="I cannot", refusal="I will not"),
        Message(role="tool", tool_call_id="call_1", content="{}"),
    )  # fmt: skip
    inline = InlineRequest(messages=messages, tools=({"type": "function"},), dimensions={"tenant": "acme"}, left_out=("messages[1]",))
    one = kept("c1")
    given = replace(one.joined.correction, inline=inline, request_id=None)
    joined = replace(one.joined, correction=given, messages=messages, tools=inline.tools, dimensions=inline.dimensions)
    assert opened.ledger.keep(replace(one, joined=joined), None, entry("c1"))
    assert opened.ledger.correction(CorrectionId("c1")) == replace(one, joined=joined)


def test_two_sources_may_give_the_same_id(opened: Opened) -> None:
    assert opened.ledger.submit(submission("1"), message("m1")) == "accepted"
    assert opened.ledger.submit(submission("1", digest="other", source="labels"), message("m2")) == "accepted"
    assert opened.ledger.submit(submission("1"), message("m1")) == "duplicate"
    assert opened.outbox() == ["m1", "m2"]
    with pytest.raises(Conflict) as caught:
        opened.ledger.submit(submission("1", digest="third", source="labels"), message("m3"))
    assert (caught.value.value, "ada used the id" in caught.value.reason) == ("1", True)


def test_two_workloads_may_use_the_same_source_and_id(opened: Opened) -> None:
    other = WorkloadId("second")
    assert opened.ledger.submit(submission("1"), message("m1")) == "accepted"
    assert opened.ledger.submit(submission("1", digest="other", workload=other), message("m2")) == "accepted"
    assert opened.ledger.submit(submission("1", digest="other", workload=other), message("m2")) == "duplicate"
    for workload in (ROUTER, other):
        text = f"{workload} asks for something of its own"
        one = kept("1", text)
        mine = correction("1", id=qualified_id(workload, "support-desk", "1"), workload=workload)
        assert opened.ledger.keep(replace(one, joined=replace(one.joined, correction=mine)), None, entry(mine.id))
        assert [found.joined.correction.id for found in opened.ledger.by_given_id("1", workload=workload)] == [mine.id]
    assert len(opened.ledger.by_given_id("1")) == 2


def test_a_correction_is_found_by_the_id_that_its_source_gave(opened: Opened) -> None:
    for source in ("support-desk", "labels", "crm:eu", "crm%3Aeu"):
        one = kept("1", f"{source} asks for something of its own")
        one = replace(one, joined=replace(one.joined, correction=correction("1", id=qualified_id(ROUTER, source, "1"), source=source)))
        assert opened.ledger.keep(one, None, entry(one.joined.correction.id))
    found = opened.ledger.by_given_id("1")
    assert [one.joined.correction.source for one in found] == ["crm%3Aeu", "crm:eu", "labels", "support-desk"]
    assert len({one.joined.correction.id for one in found}) == 4
    assert [one.joined.correction.id for one in opened.ledger.by_given_id("1", source="crm:eu")] == ["router/crm%3Aeu:1"]
    assert opened.ledger.by_given_id("2") == []
    assert opened.ledger.correction(qualified_id(ROUTER, "labels", "1")) == found[2]


def test_submissions_are_counted(opened: Opened) -> None:
    opened.ledger.submit(submission("a"), message("a"))
    opened.ledger.submit(submission("b"), message("b"))
    opened.ledger.submit(submission("b"), message("b"))
    for kind in ("rejected", "rejected", "forged"):
        opened.ledger.rejected_submission(reason="lacks kind", source="support-desk", at=NOON, kind=kind)
    assert opened.ledger.submission_counts(ROUTER) == {"submitted": 3, "duplicates": 1, "rejected": 2, "forged": 1}


def test_a_kept_correction_reads_back_whole_with_case_journal_line_and_event(opened: Opened) -> None:
    one, its_case = kept(), case("from-c1", "where is my parcel", tier=Tier.RECURRENCE)
    assert opened.ledger.keep(one, its_case, entry("c1"), [message("gap")])
    assert opened.ledger.correction(CorrectionId("c1")) == one
    assert list(opened.ledger.cases(ROUTER, tier=Tier.RECURRENCE)) == [its_case]
    assert [line.subject for line in opened.journal()] == ["c1"]
    assert opened.outbox() == ["gap"]


def test_a_decided_correction_stays_as_it_was_decided(opened: Opened) -> None:
    opened.ledger.keep(kept(), None, entry("c1"))
    assert not opened.ledger.keep(replace(kept(), state=CorrectionState.REJECTED), None, entry("c1", "rejected"), [message("late")])
    found = opened.ledger.correction(CorrectionId("c1"))
    assert found is not None
    assert found.state is CorrectionState.ACCEPTED
    assert len(opened.journal()) == 1
    assert opened.outbox() == []


def test_a_waiting_correction_gives_way_to_its_decision_and_to_nothing_else(opened: Opened) -> None:
    waiting = replace(kept(), state=CorrectionState.SUBMITTED, prompt_key="")
    assert opened.ledger.keep(waiting, None, entry("c1", "submitted"))
    assert not opened.ledger.keep(replace(waiting, reason="again"), None, entry("c1", "submitted"))
    assert opened.ledger.keep(kept(), None, entry("c1"))
    assert [one.state for one in opened.ledger.corrections(ROUTER)] == [CorrectionState.ACCEPTED]


def test_one_prompt_is_accepted_once_whoever_comes_second(opened: Opened) -> None:
    opened.ledger.keep(kept("c1"), None, entry("c1"))
    with pytest.raises(Conflict):
        opened.ledger.keep(kept("c2"), case("from-c2", "x"), entry("c2"))
    assert opened.ledger.correction(CorrectionId("c2")) is None
    assert opened.ledger.cases(ROUTER) == []
    assert len(opened.journal()) == 1


def test_corrections_come_oldest_first_and_by_state(opened: Opened) -> None:
    opened.ledger.keep(kept("late", "p1", after=timedelta(minutes=1)), None, entry("late"))
    opened.ledger.keep(kept("early", "p2"), None, entry("early"))
    opened.ledger.keep(kept("gap", "p3", state=CorrectionState.KNOWLEDGE_GAP, after=timedelta(hours=1)), None, entry("gap"))
    assert [one.joined.correction.id for one in opened.ledger.corrections(ROUTER)] == ["early", "late", "gap"]
    assert [one.joined.correction.id for one in opened.ledger.corrections(ROUTER, state=CorrectionState.KNOWLEDGE_GAP)] == ["gap"]
    assert len(opened.ledger.corrections(ROUTER, limit=1)) == 1


def test_corrections_are_counted_and_the_newest_come_first(opened: Opened) -> None:
    for number in range(3):
        one = kept(f"c{number}", f"{number * 7919} quite another", after=timedelta(minutes=number))
        opened.ledger.keep(replace(one, held_out=number == 1), None, entry(f"c{number}"))
    opened.ledger.keep(kept("gap", "p3", state=CorrectionState.KNOWLEDGE_GAP, after=timedelta(hours=1)), None, entry("gap"))
    assert opened.ledger.state_counts(ROUTER) == {CorrectionState.ACCEPTED: 3, CorrectionState.KNOWLEDGE_GAP: 1}
    assert opened.ledger.state_counts(WorkloadId("second")) == {}
    newest = opened.ledger.newest(ROUTER, limit=3)
    assert [one.joined.correction.id for one in newest] == ["gap", "c2", "c1"]
    accepted = opened.ledger.newest(ROUTER, state=CorrectionState.ACCEPTED, limit=2)
    assert [one.joined.correction.id for one in accepted] == ["c2", "c1"]
    assert opened.ledger.trainable(ROUTER) == 2
    since = opened.ledger.newest(ROUTER, limit=4)[-1].decided_at
    assert opened.ledger.trainable(ROUTER, since=since) == 1
    assert opened.ledger.trainable(WorkloadId("second")) == 0


def test_imported_cases_and_general_rows_are_kept_once(opened: Opened) -> None:
    cases = [case("a", "one", tier=Tier.GENERAL), case("b", "two", tier=Tier.SAFETY)]
    rows = sorted([general(1), general(2)], key=lambda row: row.id)
    for _ in range(2):
        opened.ledger.add_cases(cases, entry("import", "imported"))
        opened.ledger.add_general_examples(ROUTER, rows, entry("general", "imported"))
    assert list(opened.ledger.cases(ROUTER)) == cases
    assert list(opened.ledger.cases(ROUTER, tier=Tier.SAFETY)) == cases[1:]
    assert list(opened.ledger.general_examples(ROUTER)) == rows


def test_tools_calls_and_parts_of_cases_and_corrections_are_kept(opened: Opened) -> None:
    """And plain ones stay as earlier versions wrote them: pairs of role and text."""
    call = ToolCall(id="c1", name="add", arguments='{"a": 1')
    messages = (
        Message(
            role="user", content=(TextPart(text="one"), OtherPart(value={"type": "image_url", "image_url": {"url": "data:;sha256=0"}}))
        ),
        Message(role="assistant", content=None, tool_calls=(call,)),
        Message(role="tool", content="2", tool_call_id="c1", more={"cache": True}),
        Message(role="user", content=""),
    )
    asked = {"tools": ({"type": "function", "function": {"name": "add"}},), "settings": {"tool_choice": "required"}}
    rich = replace(case("rich", "x"), messages=messages, **asked)  # type: ignore[arg-type]
    corrected = kept("c1")
    corrected = replace(corrected, joined=replace(corrected.joined, messages=messages, **asked))  # type: ignore[arg-type]
    opened.ledger.keep(corrected, rich, entry("c1"))
    assert opened.ledger.cases(ROUTER) == [rich]
    assert opened.ledger.correction(CorrectionId("c1")) == corrected
    assert opened.ledger.cases(ROUTER)[0].prompt.to_wire()["tool_choice"] == "required"


def test_golden_versions_stay_and_the_newest_is_the_one_asked_for(opened: Opened) -> None:
    first = freeze(cases=[case("a", "one")], workload=ROUTER, version=1, by=Person("ada"), now=NOON)
    second = freeze(cases=[case("a", "one"), case("b", "two")], workload=ROUTER, version=2, by=Person("ada"), now=NOON)
    assert opened.ledger.golden(ROUTER) is None
    for golden in (first, second, second):
        opened.ledger.freeze_golden(golden, entry(golden.id, "frozen"))
    assert opened.ledger.golden(ROUTER) == second
    assert opened.ledger.golden(ROUTER, version=1) == first
    assert len(opened.journal()) == 2
    with pytest.raises(Conflict):
        opened.ledger.freeze_golden(replace(second, version=1), entry("x", "frozen"))


def test_a_snapshot_reads_back_with_its_examples_and_is_kept_once(opened: Opened, tmp_path: Path) -> None:
    snapshot = snapshot_of()
    path = str(write_snapshot(snapshot, folder=tmp_path / "snapshots"))
    opened.ledger.keep_snapshot(snapshot, path=path, entry=entry(snapshot.id, "built"))
    later = replace(snapshot, cut_off=NOON + timedelta(days=1))
    opened.ledger.keep_snapshot(later, path=path, entry=replace(entry(snapshot.id, "built"), at=NOON + timedelta(days=1)))
    assert opened.ledger.snapshot(snapshot.id) == (snapshot, path)
    assert list(opened.ledger.snapshots(ROUTER)) == [replace(snapshot, examples=())]
    assert len(opened.journal()) == 1
    assert opened.ledger.snapshot(SnapshotId("snapshot-none")) is None


def test_a_snapshots_file_that_was_changed_or_removed_is_never_trained_on(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/ledger.db")
    metadata.create_all(engine)
    ledger, snapshot = CorrectionAndTrainingLedger(engine), snapshot_of()
    path = write_snapshot(snapshot, folder=tmp_path / "snapshots")
    assert write_snapshot(snapshot, folder=tmp_path / "snapshots") == path
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    ledger.keep_snapshot(snapshot, path=str(path), entry=entry(snapshot.id, "built"))
    path.write_text(path.read_text().replace("the right answer", "another answer", 1))
    with pytest.raises(CannotRun, match="not those of"):
        ledger.snapshot(snapshot.id)
    path.write_text("half a li")
    with pytest.raises(CannotRun, match="not those of"):
        ledger.snapshot(snapshot.id)
    path.unlink()
    with pytest.raises(CannotRun, match="cannot be read"):
        ledger.snapshot(snapshot.id)
