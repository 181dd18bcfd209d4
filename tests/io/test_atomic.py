from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from everhart import EverhartError, UsageError
from everhart.io import OutputExistsError, atomic, write
from everhart.io.atomic import atomic_path, check_output, write_bytes, write_text


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_appears_only_when_all_is_written(tmp_path: Path) -> None:
    target = tmp_path / "result.tif"
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".tif"
        temporary.write_bytes(b"half")
        assert not target.exists()
    assert target.read_bytes() == b"half"
    assert names(tmp_path) == ["result.tif"]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")

    def fail_halfway() -> None:
        with atomic_path(target, overwrite=True) as temporary:
            temporary.write_text("half of the new")
            raise error

    with pytest.raises(type(error)):
        fail_halfway()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["result.txt"]


def test_no_overwriting_unasked(tmp_path: Path) -> None:
    target = write_text(tmp_path / "a.txt", "old")
    with pytest.raises(OutputExistsError, match="exists already") as caught:
        write_text(target, "new")
    assert isinstance(caught.value, UsageError)
    assert target.read_text() == "old"
    write_text(target, "new", overwrite=True)
    assert target.read_text() == "new"


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_that_appears_in_the_meantime_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    if not hard_links:

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "no hard links on this disk")

        monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "a.txt"

    def write_too_late() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("ours")
            target.write_text("theirs")

    with pytest.raises(OutputExistsError):
        write_too_late()
    assert target.read_text() == "theirs"
    assert names(tmp_path) == ["a.txt"]


def test_without_hard_links_a_file_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no hard links on this disk")

    monkeypatch.setattr(os, "link", refuse)
    assert write_bytes(tmp_path / "a.bin", b"data").read_bytes() == b"data"
    assert names(tmp_path) == ["a.bin"]


def test_of_many_writers_one_wins(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    barrier = threading.Barrier(8)
    outcomes: list[str] = []

    def write(text: str) -> None:
        try:
            with atomic_path(target) as temporary:
                temporary.write_text(text)
                barrier.wait()
            outcomes.append(text)
        except OutputExistsError:
            outcomes.append("late")

    threads = [threading.Thread(target=write, args=(str(i),)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [outcome for outcome in outcomes if outcome != "late"]
    assert len(winners) == 1
    assert target.read_text() == winners[0]
    assert names(tmp_path) == ["a.txt"]


def test_bad_targets_are_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        check_output(tmp_path / "missing" / "a.tif")
    with pytest.raises(UsageError, match="is a folder"):
        check_output(tmp_path)
    if os.name == "posix":
        with pytest.raises(UsageError, match="device or a pipe"):
            check_output("/dev/null", overwrite=True)
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "permission"), (errno.EROFS, "read-only")],
)
def test_trouble_of_the_disk_is_told(tmp_path: Path, number: int, words: str) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(EverhartError, match=words) as caught, atomic_path(target):
        raise OSError(number, os.strerror(number))
    assert not isinstance(caught.value, UsageError)
    assert str(target) in str(caught.value)
    assert names(tmp_path) == []


def test_trouble_with_another_file_is_not_taken_for_ours(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), atomic_path(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, "denied", "other.txt")


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_permissions_and_links_are_kept(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        fresh = write_text(tmp_path / "new.txt", "x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o644
    fresh.chmod(0o600)
    link = tmp_path / "link.txt"
    link.symlink_to(fresh)
    write_text(link, "y", overwrite=True)
    assert link.is_symlink()
    assert fresh.read_text() == "y"
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_a_broken_link_is_in_the_way(tmp_path: Path) -> None:
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "nowhere.txt")
    with pytest.raises(OutputExistsError):
        write_text(link, "x")


def test_long_names(tmp_path: Path) -> None:
    name = "n" * 240 + ".txt"
    assert write_text(tmp_path / name, "x").name == name
    with pytest.raises(EverhartError, match="too long"):
        write_text(tmp_path / ("n" * 300 + ".txt"), "x")


def test_temporary_names_are_hidden() -> None:
    assert atomic.TEMPORARY_PREFIX.startswith(".")


@pytest.mark.skipif(os.name == "nt", reason="file size limits are of POSIX")
@pytest.mark.parametrize("name", ["image.tif", "image.npy"])
def test_a_disk_that_takes_a_part_only_is_said_to_be_full(tmp_path: Path, name: str) -> None:
    # NumPy answers a full disk, or here a limit on file sizes, with an OSError without number.
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(EverhartError, match=r"^Could not write .*(full|too large).*;"):
            write(np.zeros((400, 400), np.uint8), tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == []
