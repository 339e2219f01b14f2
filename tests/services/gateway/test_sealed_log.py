"""Sealed exchanges on disk: what an ended process leaves behind, what it may not leave behind, and what a disk may refuse."""

import os
from pathlib import Path
from typing import Any

import pytest
from gateway_parts import sealed_log

from services.stores import sealed_log as module
from services.stores.sealed_log import SealedLog
from services.stores.sealing import SealBroken, SealingKey
from services.stores.spooled_event import SpoolUnwritable

SECRET = b"a user's secret"


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sealed"))


def test_contents_are_sealed_and_read_again_by_a_later_run(tmp_path: Path) -> None:
    first = sealed_log(tmp_path)
    places = [*first.append([SECRET, b"two"]), *first.append([b""])]
    assert [first.read(place) for place in places] == [SECRET, b"two", b""]
    assert all(SECRET not in file.read_bytes() and file.stat().st_mode & 0o077 == 0 for file in files(tmp_path))
    again = sealed_log(tmp_path)
    assert [again.read(place) for place in again.left_over()] == [SECRET, b"two", b""]
    again.done(again.left_over()[:0])
    assert again.append([b"new"])[0].segment > places[0].segment


def test_a_segment_is_deleted_when_all_of_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = sealed_log(tmp_path)
    places = log.append([b"1", b"2", b"3"])
    log.done(places[:2])
    log.tidy()
    assert len(files(tmp_path)) == 1
    monkeypatch.setattr(module, "SEGMENT_SECONDS", 0.0)  # it is old enough
    log.done(places[2:])
    assert (files(tmp_path), log.waiting()) == ([], 0)
    older = log.append([b"4"])
    log.append([b"5"])
    log.done(older)
    assert len(files(tmp_path)) == 1


def test_what_a_read_only_disk_cannot_delete_is_deleted_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever says that a content is done goes on."""
    monkeypatch.setattr(module, "SEGMENT_SECONDS", 0.0)
    log = sealed_log(tmp_path)
    first, second = log.append([b"1"])[0], log.append([b"2"])[0]

    def refused(self: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system", str(self))

    with monkeypatch.context() as read_only:
        read_only.setattr(Path, "unlink", refused)
        log.done([first])
        log.done([second])
        log.tidy()
    assert (len(files(tmp_path)), log.waiting()) == (2, 0)
    log.tidy()
    assert files(tmp_path) == []


@pytest.mark.parametrize("cut", [1, 3, 10, 20])
def test_a_half_of_a_content_at_the_end_is_passed_over(tmp_path: Path, cut: int) -> None:
    sealed_log(tmp_path).append([b"whole", b"half"])
    (file,) = files(tmp_path)
    os.truncate(file, file.stat().st_size - cut)
    again = sealed_log(tmp_path)
    assert [again.read(place) for place in again.left_over()] == [b"whole"]


@pytest.mark.parametrize("length", [0, 2, 30])
def test_a_segment_that_was_just_begun_is_deleted(tmp_path: Path, length: int) -> None:
    sealed_log(tmp_path).append([b"x"])
    (file,) = files(tmp_path)
    os.truncate(file, length)
    assert (sealed_log(tmp_path).left_over(), files(tmp_path)) == ([], [])


def test_what_another_key_sealed_is_kept_and_told(tmp_path: Path) -> None:
    sealed_log(tmp_path).append([SECRET])
    other = SealedLog(tmp_path, key=SealingKey(b"another key" * 4, file=tmp_path / "key"))
    assert other.left_over() == []
    assert len(list(tmp_path.glob("*.unreadable"))) == 1
    assert other.read(other.append([b"new"])[0]) == b"new"


@pytest.mark.parametrize("name", ["abc", "0000000001 (copy)", "1", "00000000011", "\u0661" * 10, "-000000001"])
def test_a_file_of_another_name_is_passed_over(tmp_path: Path, name: str) -> None:
    first = sealed_log(tmp_path)
    first.append([SECRET])
    first.close()
    (tmp_path / f"{name}.sealed").write_bytes(b"")
    (tmp_path / "0000000007.sealed").symlink_to("/dev/zero")
    again = sealed_log(tmp_path)
    assert [again.read(place) for place in again.left_over()] == [SECRET]
    assert len(again.append([b"new"])) == 1
    assert (tmp_path / f"{name}.sealed").exists()


def test_a_content_cannot_be_read_in_the_place_of_another(tmp_path: Path) -> None:
    log = sealed_log(tmp_path)
    first, second = log.append([b"first one", b"other one"])
    (file,) = files(tmp_path)
    raw = bytearray(file.read_bytes())
    raw[second.offset : second.offset + second.length] = raw[first.offset : first.offset + first.length]
    file.write_bytes(raw)
    assert log.read(first) == b"first one"
    with pytest.raises(SealBroken):
        log.read(second)


@pytest.mark.parametrize("taken", [0, 5, 100])
def test_a_disk_that_fills_up_leaves_no_half_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    log = sealed_log(tmp_path)
    (before,) = log.append([b"before"])
    write = os.write

    def full(file: int, content: Any) -> int:
        if taken and len(content) > taken:
            return write(file, content[:taken])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(SpoolUnwritable, match="No space left"):
        log.append([b"x" * 200])
    monkeypatch.undo()
    (after,) = log.append([b"after"])
    assert [log.read(before), log.read(after)] == [b"before", b"after"]
    again = sealed_log(tmp_path)
    assert [again.read(place) for place in again.left_over()] == [b"before", b"after"]


def test_over_its_limit_it_takes_no_more(tmp_path: Path) -> None:
    log = SealedLog(tmp_path, key=SealingKey(b"of a test" * 4, file=tmp_path / "key"), limit_bytes=1_000)
    places = log.append([b"x" * 700])
    with pytest.raises(SpoolUnwritable, match="over 1000 bytes"):
        log.append([b"x" * 700])
    assert log.read(places[0]) == b"x" * 700


@pytest.mark.parametrize(("fsync", "calls"), [(True, 2), (False, 0)])
def test_with_fsync_each_write_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: bool, calls: int) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    log = sealed_log(tmp_path)
    log.append([b"1"], fsync=fsync)
    log.append([b"2", b"3"], fsync=fsync)
    assert len(synced) == calls


class Platter:
    """What a power cut leaves of a folder: each file as it was when it was synced last, where its name was synced too."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._synced: dict[str, bytes] = {}
        self._names: set[str] = set()
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._sync)

    def _sync(self, file: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{file}"))
        if path.is_dir():
            self._names = set(os.listdir(path))
        else:
            self._synced[path.name] = path.read_bytes()

    def cut(self, *, torn: int = 0) -> list[bytes]:
        """What a later run finds. ``torn``: so many bytes more of each file had reached the disk, as zeros."""
        for file in files(self._folder):
            file.unlink()
        for name in self._names & self._synced.keys():
            (self._folder / name).write_bytes(self._synced[name] + bytes(torn))
        log = sealed_log(self._folder)
        return [log.read(place) for place in log.left_over()]


@pytest.mark.parametrize("torn", [0, 1, 3, 4, 50])
def test_a_power_cut_leaves_what_was_written_with_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: int) -> None:
    """Also in a segment that was begun without."""
    platter, log = Platter(tmp_path, monkeypatch), sealed_log(tmp_path)
    log.append([b"1"])
    log.append([b"2"], fsync=True)
    log.append([b"3"])
    assert platter.cut(torn=torn) == [b"1", b"2"]


@pytest.mark.parametrize("synced", [True, False])
def test_a_power_cut_leaves_what_was_synced_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: bool) -> None:
    """Also in segments that had ended by then."""
    monkeypatch.setattr(module, "SEGMENT_SECONDS", 0.0)
    platter, log = Platter(tmp_path, monkeypatch), sealed_log(tmp_path)
    places = [place for content in (b"1", b"2", b"3") for place in log.append([content])]
    assert len({place.segment for place in places}) == 3
    log.done(places[:1])
    if synced:
        log.fsync()
    log.append([b"4"])
    assert platter.cut() == ([b"2", b"3"] if synced else [])
