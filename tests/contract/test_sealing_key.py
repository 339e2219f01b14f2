"""The key that seals what is recorded: made once, for its user alone, and never replaced while something needs it."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flywheel.errors import CannotRun
from flywheel.ids import WorkloadId
from services.stores.ledger.subject_keys import LedgerSubjectKeys, open_subject_keys
from services.stores.sealing import DataKey, SealBroken, SealingKey
from tests.databases import migrated_ledger

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SUPPORT = WorkloadId("support")


def opened(folder: Path, configured: Path | None = None) -> LedgerSubjectKeys:
    return open_subject_keys(migrated_ledger(folder), data_dir=folder, configured=configured)


def refused(folder: Path, configured: Path | None = None) -> str:
    with pytest.raises(CannotRun) as refusal:
        opened(folder, configured)
    said = str(refusal.value)
    assert "\n" not in said
    return said


def in_use(folder: Path) -> Path:
    """The key's file, after it has sealed a subject's key."""
    keys = opened(folder)
    keys.ensured({keys.digest(SUPPORT, ("session", "s")): SUPPORT}, at=NOW)
    return folder / "keys" / "sealing"


def test_the_key_is_made_at_first_use_for_its_user_alone(tmp_path: Path) -> None:
    file = in_use(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    before = file.read_bytes()
    opened(tmp_path)
    assert file.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = in_use(tmp_path)
    file.chmod(mode)
    assert refused(tmp_path) == f"{file}: the sealing key is open to other users (got '{mode:o}'). Run `chmod 600 {file}`."


def test_a_lost_key_is_not_replaced_while_it_is_needed(tmp_path: Path) -> None:
    file = in_use(tmp_path)
    file.rename(tmp_path / "elsewhere")
    said = refused(tmp_path)
    assert said.startswith(f"{file}: the sealing key is missing; recorded content cannot be read without it. Put the file back")
    assert not file.exists()
    (tmp_path / "elsewhere").rename(file)
    opened(tmp_path)


def test_another_key_than_the_one_in_use_is_refused(tmp_path: Path) -> None:
    file = in_use(tmp_path)
    file.write_text("x" * 64)
    assert refused(tmp_path).startswith(f"{file}: is not the sealing key that the ledger's keys were sealed with. Put back")


def secret(folder: Path, content: str, mode: int = 0o600) -> Path:
    file = folder / "secret"
    file.write_text(content)
    file.chmod(mode)
    return file


def test_a_configured_key_is_used_and_none_is_made(tmp_path: Path) -> None:
    opened(tmp_path, secret(tmp_path, "a" * 32 + "\n"))
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("a" * 31, 0o600, "has under 32 characters. Make one"),
        ("", 0o600, "has under 32 characters. Make one"),
        ("a" * 32, 0o644, "is open to other users (got '644'). Run `chmod 600 "),
    ],
)
def test_a_configured_key_that_cannot_be_used_is_named_with_its_setting(tmp_path: Path, content: str, mode: int, said: str) -> None:
    file = secret(tmp_path, content, mode)
    assert refused(tmp_path, file).startswith(f"sealing_key_file: {file}: the sealing key {said}")


def test_a_configured_key_that_is_missing_is_not_made(tmp_path: Path) -> None:
    said = refused(tmp_path, tmp_path / "absent")
    assert said.startswith(f"sealing_key_file: {tmp_path / 'absent'}: the sealing key is missing. Make one")
    assert not (tmp_path / "absent").exists()


def test_a_folder_in_its_place_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    assert "the sealing key cannot be read: Is a directory" in refused(tmp_path, folder)


def test_what_is_sealed_opens_in_its_place_and_with_its_key_alone() -> None:
    key, other = DataKey(os.urandom(32)), DataKey(os.urandom(32))
    sealed = key.seal(b"hello", bound_to=b"row-1")
    assert key.open(sealed, bound_to=b"row-1") == b"hello"
    assert key.seal(b"hello", bound_to=b"row-1") != sealed, "a nonce is never used twice"
    for opener, held, place in [(other, sealed, b"row-1"), (key, sealed, b"row-2"), (key, sealed[:-1], b"row-1"), (key, b"", b"row-1")]:
        with pytest.raises(SealBroken):
            opener.open(held, bound_to=place)
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(SealBroken):
            key.open(bytes(changed), bound_to=b"row-1")


def test_a_subjects_digest_needs_the_key_and_keeps_its_parts_apart(tmp_path: Path) -> None:
    one, other = (SealingKey(secret * 32, file=tmp_path) for secret in (b"a", b"b"))
    assert one.digest("support", "session", "s") == one.digest("support", "session", "s")
    digests = {
        one.digest("support", "session", "s"),
        other.digest("support", "session", "s"),
        one.digest("supports", "ession", "s"),
        one.digest("support", "client", "s"),
        one.digest("support", "session", "\ud800"),
    }
    assert [len(digest) for digest in digests] == [16] * 5
