"""The journal's files: bounds, torn lines, and who may take what."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.storage.usage_journal import JournalError, UsageJournal

MIB = 1024 * 1024


def rows(journal: UsageJournal) -> list[bytes]:
    """All that waits, which then waits no more."""
    found: list[bytes] = []
    while (batch := journal.read()) is not None:
        found += batch.lines
        journal.done(batch)
    return found


def left(directory: Path, *lines: bytes) -> Path:
    """A file of an instance that is gone."""
    journal = UsageJournal(directory, "gone", MIB)
    for line in lines:
        assert journal.append(line) is None
    (path,) = directory.glob("gone.*")
    journal.close()
    return path


def test_what_is_not_done_is_read_again(tmp_path: Path) -> None:
    journal = UsageJournal(tmp_path, "a", MIB)
    assert journal.read() is None
    journal.append(b"1")
    journal.append(b"2")
    first = journal.read()
    assert first is not None
    assert first == journal.read()
    journal.append(b"3")
    journal.done(first)
    assert rows(journal) == [b"3"]
    assert journal.waiting_bytes == 0
    assert next(tmp_path.iterdir()).stat().st_size == 0
    assert journal.close() == 0
    assert list(tmp_path.iterdir()) == []


def test_much_is_read_in_pieces_and_given_back_in_pieces(tmp_path: Path) -> None:
    journal = UsageJournal(tmp_path, "a", 2 * MIB)
    lines = [b"%d " % n + b"x" * 500 for n in range(2000)]
    assert [journal.append(line) for line in lines] == [None] * 2000
    before = len(list(tmp_path.iterdir()))
    assert before > 10
    batch = journal.read()
    assert batch is not None
    assert 100 < len(batch.lines) < 300
    journal.done(batch)
    assert len(list(tmp_path.iterdir())) < before
    assert [*batch.lines, *rows(journal)] == lines
    assert len(list(tmp_path.iterdir())) == 1


def test_the_bound_is_of_all_files_together_and_ends_with_what_is_stored(tmp_path: Path) -> None:
    left(tmp_path, b"x" * 600)
    journal = UsageJournal(tmp_path, "a", 1000)
    assert journal.adopt() == 1
    assert journal.append(b"y" * 300) is None
    assert journal.append(b"z" * 300) == "full"
    batch = journal.read()
    assert batch is not None
    journal.done(batch)
    assert journal.append(b"z" * 300) is None
    assert rows(journal) == [b"y" * 300, b"z" * 300]


@pytest.mark.parametrize("cut", range(1, 15))
def test_a_torn_end_loses_the_last_line_only(tmp_path: Path, cut: int) -> None:
    path = left(tmp_path, b"one", b"two", b"3")
    path.write_bytes(path.read_bytes()[:-cut])
    journal = UsageJournal(tmp_path, "a", MIB)
    assert journal.adopt() == 1
    batch = journal.read()
    found: list[bytes] = []
    torn = 0
    while batch is not None:
        found += batch.lines
        torn += batch.unreadable
        journal.done(batch)
        batch = journal.read()
    assert found == ([b"one", b"two"] if cut <= 11 else [b"one"])
    assert torn == (0 if cut == 11 else 1)
    assert not path.exists()


@given(st.binary(max_size=400))
def test_no_file_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    directory = tmp_path_factory.mktemp("journal")
    (directory / "odd.1.journal").write_bytes(data)
    journal = UsageJournal(directory, "a", MIB)
    journal.adopt()
    journal.append(b"good")
    assert rows(journal) == [b"good"]
    assert journal.close() == 0
    assert list(directory.iterdir()) == []


def test_a_file_cut_by_somebody_else_is_left_behind(tmp_path: Path) -> None:
    path = left(tmp_path, b"one", b"two")
    journal = UsageJournal(tmp_path, "a", MIB)
    journal.adopt()
    path.write_bytes(b"")
    assert rows(journal) == []
    assert journal.waiting_bytes == 0


def test_a_file_in_use_is_not_taken(tmp_path: Path) -> None:
    other = UsageJournal(tmp_path, "b", MIB)
    other.append(b"theirs")
    journal = UsageJournal(tmp_path, "a", MIB)
    assert journal.adopt() == 0
    third = UsageJournal(tmp_path, "a", MIB)
    other.close()
    assert (journal.adopt(), third.adopt()) == (1, 0)
    assert rows(journal) == [b"theirs"]


def test_empty_files_of_those_that_are_gone_are_removed(tmp_path: Path) -> None:
    (tmp_path / "gone.x.000001.journal").touch()
    assert UsageJournal(tmp_path, "a", MIB).adopt() == 0
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_put_aside_stays(tmp_path: Path) -> None:
    journal = UsageJournal(tmp_path, "a", MIB)
    journal.put_aside(b"{}")
    journal.put_aside(b"[]")
    journal.close()
    assert (tmp_path / "refused.jsonl").read_bytes() == b"{}\n[]\n"


def test_a_full_disk_is_told_and_leaves_no_half_line(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    journal = UsageJournal(tmp_path, "a", MIB)
    journal.append(b"before")
    file = journal._active
    with full.open("wb", buffering=0) as sink:
        whole, file.fd = file.fd, sink.fileno()
        assert journal.append(b"lost") == "disk"
    file.fd = whole
    journal.append(b"after")
    assert rows(journal) == [b"before", b"after"]


async def test_syncing_what_waits(tmp_path: Path) -> None:
    journal = UsageJournal(tmp_path, "a", MIB)
    await journal.sync()
    journal.append(b"1")
    await journal.sync()
    assert rows(journal) == [b"1"]


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match=r"USAGE_JOURNAL_DIR: .*file.x cannot be used: Not a"):
        UsageJournal(tmp_path / "file" / "x", "a", MIB)


def test_the_directory_is_its_owners(tmp_path: Path) -> None:
    UsageJournal(tmp_path / "usage" / "id", "a", MIB)
    assert (tmp_path / "usage" / "id").stat().st_mode & 0o777 == 0o700
