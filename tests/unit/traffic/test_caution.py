"""After a death of the recorder: what is recorded one by one, and which event is given up."""

from dataclasses import replace

from flywheel.traffic.caution import Caution, NotedWork, caution_after

BATCH = NotedWork(topic_id="a", process="first", first=10, until=60)
ALONE = NotedWork(topic_id="a", process="second", first=33, until=60, alone=True)


def after(noted: NotedWork | None, *, offset: int, topic_id: str = "a", process: str = "next") -> Caution:
    return caution_after(noted, topic_id=topic_id, offset=offset, process=process)


def test_after_a_death_the_noted_batch_is_recorded_one_by_one() -> None:
    assert after(BATCH, offset=10) == Caution(until=60, deaths=0)
    assert after(BATCH, offset=40) == Caution(until=60, deaths=0)


def test_work_that_was_recorded_or_is_of_another_topic_asks_for_no_caution() -> None:
    assert after(BATCH, offset=60) == after(BATCH, offset=10, topic_id="b") == after(None, offset=10) == Caution()


def test_deaths_at_one_event_alone_add_up() -> None:
    assert after(ALONE, offset=33) == Caution(until=60, deaths=1)
    assert after(replace(ALONE, deaths=1), offset=33) == Caution(until=60, deaths=2)


def test_an_event_that_was_recorded_before_the_death_caused_none() -> None:
    assert after(replace(ALONE, deaths=1), offset=34) == Caution(until=60, deaths=0)


def test_a_note_of_the_same_process_tells_of_no_death() -> None:
    assert after(BATCH, offset=10, process="first") == Caution()
    assert after(ALONE, offset=33, process="second") == Caution(until=60, deaths=0)
