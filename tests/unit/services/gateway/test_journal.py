"""The journal: what was appended is there after whatever comes, and nothing else is."""

import asyncio
import errno
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.gateway import journal as module
from services.gateway.journal import Damaged, Journal, JournalError, read

Record = tuple[str, str, bytes]


def numbered(number: int, size: int = 200) -> Record:
    return "weir.events", f"question.wechat.message.text{number % 3}", f'{{"n":{number}}}'.encode().ljust(size)


def readable(path: Path) -> tuple[list[Record], bool]:
    """The records up to the first that cannot be read, and whether there was one."""
    records: list[Record] = []
    try:
        records.extend(read(path))  # keeps what came before the damage
    except Damaged:
        return records, True
    return records, False


def everything(directory: Path) -> list[Record]:
    return [record for path in sorted(directory.glob("*.journal")) for record in readable(path)[0]]


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    made = Journal(tmp_path / "journal", 10_000)
    made.open()
    yield made
    await made.close()


async def test_what_is_appended_is_read_in_order(journal: Journal, tmp_path: Path) -> None:
    records = [numbered(n) for n in range(50)]
    for record in records:
        await journal.append(*record)
    assert everything(tmp_path / "journal") == records


async def test_a_group_is_synced_at_once(journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = 0
    real = os.fdatasync

    def counted(file: int) -> None:
        nonlocal syncs
        syncs += 1
        real(file)

    monkeypatch.setattr(os, "fdatasync", counted)
    await asyncio.gather(*(journal.append(*numbered(n)) for n in range(500)))
    assert len(everything(tmp_path / "journal")) == 500
    assert syncs <= 5


async def test_an_append_returns_only_when_it_is_synced(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (real(file), done.append("synced")))
    await journal.append(*numbered(1))
    assert done == ["synced"]


async def test_its_size_is_known_and_raises_the_alarm(journal: Journal, tmp_path: Path) -> None:
    assert journal.empty
    assert not journal.alarm
    for number in range(100):
        await journal.append(*numbered(number))
    assert not journal.empty
    assert journal.alarm
    assert journal.size == sum(path.stat().st_size for path in journal.segments())
    for path in await journal.rotate():
        journal.forget(path)
    assert journal.empty
    assert not journal.alarm
    assert journal.segments() == []


async def test_segments_are_bounded_and_in_order(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1000)
    records = [numbered(n) for n in range(40)]
    for record in records:
        await journal.append(*record)
    assert len(journal.segments()) >= 8
    assert everything(tmp_path / "journal") == records


async def test_rotation_closes_what_is_written_and_new_records_go_elsewhere(journal: Journal, tmp_path: Path) -> None:
    await journal.append(*numbered(1))
    closed = await journal.rotate()
    await journal.append(*numbered(2))
    assert [record for path in closed for record in readable(path)[0]] == [numbered(1)]
    for path in closed:
        journal.forget(path)
    assert everything(tmp_path / "journal") == [numbered(2)]
    assert await Journal(tmp_path / "none", 1).rotate() == []


async def test_rotating_while_others_append_loses_nothing(journal: Journal) -> None:
    found: list[Record] = []

    async def append() -> None:
        for number in range(300):
            await journal.append(*numbered(number))

    appending = asyncio.create_task(append())
    while not appending.done():
        for path in await journal.rotate():
            records, damaged = readable(path)
            assert not damaged
            found += records
            journal.forget(path)
        await asyncio.sleep(0)
    await appending
    for path in await journal.rotate():
        found += readable(path)[0]
    assert found == [numbered(number) for number in range(300)]


async def test_a_new_process_finds_what_the_old_one_left(tmp_path: Path) -> None:
    for number in range(3):
        journal = Journal(tmp_path, 10_000)
        journal.open()
        assert journal.size == sum(path.stat().st_size for path in journal.segments())
        await journal.append(*numbered(number))
        await journal.close()
    assert everything(tmp_path) == [numbered(0), numbered(1), numbered(2)]


def _segment(records: list[Record]) -> tuple[bytes, list[int]]:
    """The bytes of a segment, and where each record ends in it."""
    data, ends = b"", []
    for exchange, key, event in records:
        address = f"{exchange}\n{key}".encode()
        payload = struct.pack("<H", len(address)) + address + event
        data += struct.pack("<II", len(payload), zlib.crc32(payload)) + payload
        ends.append(len(data))
    return data, ends


def test_a_tail_torn_at_any_byte_loses_only_the_torn_record(tmp_path: Path) -> None:
    records = [numbered(n, size=20) for n in range(4)]
    data, ends = _segment(records)
    path = tmp_path / "000000000001.journal"
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends)
        assert readable(path) == (records[:whole], cut not in (0, *ends))


@pytest.mark.parametrize("zeros", [1, 7, 8, 9, 100, 4096])
def test_zeros_where_the_last_write_did_not_arrive_are_no_records(tmp_path: Path, zeros: int) -> None:
    records = [numbered(1), numbered(2)]
    path = tmp_path / "000000000001.journal"
    path.write_bytes(_segment(records)[0] + b"\0" * zeros)
    assert readable(path) == (records, True)


def test_a_flipped_bit_anywhere_is_found(tmp_path: Path) -> None:
    records = [numbered(n, size=20) for n in range(3)]
    data, ends = _segment(records)
    path = tmp_path / "000000000001.journal"
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= 1 << position % 8
        path.write_bytes(broken)
        assert readable(path) == (records[: sum(end <= position for end in ends)], True)


async def test_a_damaged_segment_is_set_aside_not_deleted(journal: Journal, tmp_path: Path) -> None:
    await journal.append(*numbered(1))
    (path,) = await journal.rotate()
    content = path.read_bytes()
    journal.forget(path, damaged=True)
    assert journal.segments() == []
    assert journal.empty
    (aside,) = (tmp_path / "journal").glob("*.damaged")
    assert aside.read_bytes() == content


async def test_foreign_files_are_left_alone(journal: Journal, tmp_path: Path) -> None:
    for name in ("notes.journal", "backup.txt", "1.journal"):
        (tmp_path / "journal" / name).write_text("not ours")
    await journal.append(*numbered(1))
    assert len(journal.segments()) == 1


async def test_two_processes_cannot_have_one_journal(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="WEIR_JOURNAL_DIR"):
        Journal(tmp_path / "journal", 1).open()


SMALL = 256 * 1024


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that takes 256 KiB: a file system of its own where we may mount one, else writes that are counted."""
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(small)]
    if os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0:
        yield small
        subprocess.run(["umount", "--lazy", str(small)], check=True)
        return
    real = os.write

    def counted(file: int, data: memoryview) -> int:
        room = SMALL - sum(path.stat().st_size for path in small.rglob("*.journal"))
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[:room])

    monkeypatch.setattr(os, "write", counted)
    yield small


async def _fill(journal: Journal) -> list[int]:
    """Append until it fails, a few more times; the numbers that were kept."""
    kept, failures = [], 0
    for number in range(2000):
        try:
            await journal.append(*numbered(number, size=1000))
            kept.append(number)
        except JournalError:
            failures += 1
            if failures == 30:
                return kept
    pytest.fail("the disk did not fill up")


async def test_a_write_cut_short_leaves_no_half_record(tmp_path: Path) -> None:
    """RLIMIT_FSIZE lets a write get through in part, as a disk that fills up does."""
    journal = Journal(tmp_path, 10_000_000)
    journal.open()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_500, before[1]))
    try:
        kept: list[int] = []
        failed = 0
        for number in range(300):
            try:
                await journal.append(*numbered(number, size=1000))
                kept.append(number)
            except JournalError:
                failed += 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert failed
    assert everything(tmp_path) == [numbered(number, size=1000) for number in kept]
    assert all(not readable(path)[1] for path in journal.segments())
    await journal.close()


async def test_a_full_disk_recovers_and_leaves_no_litter(small_disk: Path) -> None:
    directory = small_disk / "journal"
    journal = Journal(directory, 10_000_000)
    journal.open()
    kept = await _fill(journal)
    assert kept
    assert everything(directory) == [numbered(number, size=1000) for number in kept]
    assert len(list(directory.iterdir())) <= 3  # the lock, and a segment or two
    for path in await journal.rotate():
        journal.forget(path)
    await journal.append(*numbered(7))
    assert everything(directory) == [numbered(7)]
    await journal.close()


async def test_a_disk_that_is_gone_fails_and_comes_back(journal: Journal, tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    await journal.append(*numbered(1))
    await journal.rotate()
    shutil.move(directory, tmp_path / "elsewhere")
    with pytest.raises(JournalError):
        await journal.append(*numbered(2))
    shutil.move(tmp_path / "elsewhere", directory)
    await journal.append(*numbered(3))
    assert everything(directory) == [numbered(1), numbered(3)]


async def test_one_that_gives_up_blocks_nobody(journal: Journal, tmp_path: Path) -> None:
    tasks = [asyncio.create_task(journal.append(*numbered(n))) for n in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.wait_for(journal.append(*numbered(10)), 5)
    assert numbered(10) in everything(tmp_path / "journal")


async def test_after_closing_an_append_fails_instead_of_hanging(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 1000)
    journal.open()
    await journal.close()
    with pytest.raises(JournalError):
        await asyncio.wait_for(journal.append(*numbered(1)), 5)


async def test_a_record_too_large_to_be_read_back_is_refused(journal: Journal) -> None:
    with pytest.raises(JournalError, match="no callback"):
        await journal.append("weir.events", "k", b"x" * (module.MAX_RECORD + 1))
    await journal.append("weir.events", "k", b"x" * (module.MAX_RECORD - 100))
    (path,) = await journal.rotate()
    assert not readable(path)[1]


def test_what_was_answered_survives_sigkill(tmp_path: Path) -> None:
    """A process appends and says so after each; killed at any moment, all that it said is on the disk."""
    program = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from services.gateway.journal import Journal

        async def main():
            journal = Journal(Path(sys.argv[1]), 10_000_000)
            journal.open()
            async def one(n):
                await journal.append("weir.events", "k", str(n).encode())
                print(n, flush=True)
            n = 0
            while True:
                await asyncio.gather(*(one(n + i) for i in range(7)))
                n += 7
        asyncio.run(main())
        """
    )
    said: list[int] = []
    for round_ in range(3):
        directory = tmp_path / str(round_)
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(directory)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[4]
        )
        assert process.stdout is not None
        try:
            said = [int(process.stdout.readline()) for _ in range(150 + 13 * round_)]
        finally:
            process.kill()
            rest = process.stdout.read()
            process.wait()
        said += [int(line) for line in rest.split(b"\n")[:-1] if line]
        kept = {int(event) for _, _, event in everything(directory)}
        assert set(said) <= kept
        assert len(kept) - len(set(said)) <= 7
