"""Dead letters in traffic.db: why each failed, what became of it, and its bytes, sealed with the daemon's key.

In: letters and raw bytes. Out: letters; a content only on request. Contents are bounded in number and bytes; a letter outlives its content.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from flywheel.traffic.dead_letter import KEPT_BYTES, WITH_CONTENT, LetterCause, LetterState, given_up, letter_id
from services.ports.dead_letters import DeadLetter, LetterClosed
from services.stores.database import in_parts, reading, to_moment, to_text, writing
from services.stores.sealing import SealBroken, SealingKey
from services.stores.traffic.tables import HAS_CONTENT, IS_RETRIED, dead_letters

log = structlog.get_logger()


class DeadLetterStore:
    """The DeadLetters on the traffic database."""

    def __init__(self, engine: Engine, *, key: SealingKey) -> None:
        self._engine, self._key = engine, key

    def keep(self, letter: DeadLetter, raw: bytes) -> None:
        with writing(self._engine) as connection:
            insert_dead_letters(connection, [(letter, raw)], key=self._key)

    def dead_letters(
        self, *, workloads: Collection[str] | None = None, cause: LetterCause | None = None, limit: int = 100
    ) -> Sequence[DeadLetter]:
        query = select(*_SHOWN).order_by(dead_letters.c.at.desc(), dead_letters.c.id).limit(limit)
        if workloads is not None:
            query = query.where(dead_letters.c.workload.in_(workloads))
        if cause is not None:
            query = query.where(dead_letters.c.cause == cause.value)
        with reading(self._engine) as connection:
            return [_letter(row) for row in connection.execute(query)]

    def dead_letter(self, id: str) -> DeadLetter | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(*_SHOWN).where(dead_letters.c.id == id)).first()
        return _letter(row) if row is not None else None

    def content(self, id: str) -> bytes | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(dead_letters.c.sealed, dead_letters.c.raw).where(dead_letters.c.id == id)).first()
        if row is None:
            return None
        if row.sealed is None:
            return row.raw or None  # written by an older version, and not sealed yet
        try:
            return self._key.open(row.sealed, bound_to=_place(id))
        except SealBroken as error:
            raise LetterClosed("the content cannot be opened with the sealing key, or was changed") from error

    def retried(self) -> frozenset[str]:
        return retried_ids(self._engine)

    def move(self, id: str, state: LetterState, *, expected: LetterState | None = None) -> bool:
        with writing(self._engine) as connection:
            return move_letters(connection, [id], state, expected=expected) == 1

    def seal_older(self) -> int:
        """Seals what older versions kept unsealed, under the id of today. Returns how many. An id that is there keeps its letter."""
        older = select(dead_letters).where(dead_letters.c.sealed.is_(None), dead_letters.c.state.in_(_OPEN)).limit(1)
        number = 0
        while True:
            with writing(self._engine) as connection:
                row = connection.execute(older).first()
                if row is None:
                    return number
                id = letter_id(row.topic, row.raw)
                values = {"id": id, "sealed": self._key.seal(row.raw, bound_to=_place(id)), "raw": b""}
                there = connection.execute(select(dead_letters.c.id).where(dead_letters.c.id == id, dead_letters.c.id != row.id)).first()
                known = dead_letters.c.id == row.id
                connection.execute(dead_letters.delete().where(known) if there else update(dead_letters).where(known).values(**values))
            number += 1


def insert_dead_letters(connection: Connection, letters: Iterable[tuple[DeadLetter, bytes]], *, key: SealingKey) -> list[DeadLetter]:
    """Keeps each letter with its raw bytes; returns those that are new. Deletes the oldest contents beyond the bounds."""
    kept = list(letters)
    known = {
        id
        for part in in_parts([letter.id for letter, _ in kept])
        for id in connection.execute(select(dead_letters.c.id).where(dead_letters.c.id.in_(part))).scalars()
    }
    for letter, raw in kept:
        latest = {
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            "at": to_text(letter.at),
            "cause": letter.cause.value,
            "reason": letter.reason,
            "path": letter.path,
            "workload": letter.workload,
            "state": letter.state.value,
            "sealed": key.seal(raw[:KEPT_BYTES], bound_to=_place(letter.id)),
            "raw": b"",
        }
        fixed = {"id": letter.id, "event_id": letter.event_id, "size": letter.size, "attempts": letter.attempts}
        was = dead_letters.c
        connection.execute(
            insert(dead_letters)
            .values(**latest, **fixed)
            .on_conflict_do_update(
                index_elements=["id"],
                set_={**latest, "attempts": was.attempts + letter.attempts},
                where=or_(was.partition != letter.partition, was.offset != letter.offset),
            )
        )
    if kept:
        _give_up_the_oldest(connection)
    new = {letter.id: letter for letter, _ in kept if letter.id not in known}
    return list(new.values())


def retried_ids(engine: Engine) -> frozenset[str]:
    """Of the letters whose bytes were sent again. Asked for each batch of traffic, so it is answered by an index."""
    with reading(engine) as connection:
        return frozenset(connection.execute(select(dead_letters.c.id).where(IS_RETRIED)).scalars())


def move_letters(connection: Connection, ids: Sequence[str], state: LetterState, *, expected: LetterState | None = None) -> int:
    """Those of the ids that are there, and in the expected state; returns how many. A state without content deletes the content."""
    values: dict[str, object] = {"state": state.value}
    if state not in WITH_CONTENT:
        values |= {"sealed": None, "raw": b""}
    moved = 0
    for part in in_parts(ids):
        statement = update(dead_letters).where(dead_letters.c.id.in_(part)).values(**values)
        if expected is not None:
            statement = statement.where(dead_letters.c.state == expected.value)
        moved += connection.execute(statement).rowcount
    return moved


def _give_up_the_oldest(connection: Connection) -> None:
    held = select(dead_letters.c.id, dead_letters.c.size).where(HAS_CONTENT).order_by(dead_letters.c.at.desc())
    over = given_up((row.id, min(row.size, KEPT_BYTES)) for row in connection.execute(held))
    if over:
        log.warning("The oldest dead letters lose their content", action="letters_expired", letters=len(over))
        move_letters(connection, over, LetterState.EXPIRED)


def _place(id: str) -> bytes:
    """What a content is bound to: it cannot be moved to another letter."""
    return f"dead letter {id}".encode()


def _letter(row: Any) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        at=to_moment(row.at),
        cause=LetterCause(row.cause),
        reason=row.reason,
        path=row.path,
        size=row.size,
        event_id=row.event_id,
        workload=row.workload,
        attempts=row.attempts,
        state=LetterState(row.state),
    )


_SHOWN = [column for column in dead_letters.columns if column.name not in ("raw", "sealed")]
_OPEN = [state.value for state in WITH_CONTENT]
