"""One writer at a time, in one process and among several, and no lock that outlives its holder."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mmrerank.errors import InputError
from mmrerank.store import lock
from mmrerank.store.lock import unless_held, writing

HOLD = "import sys, time; from pathlib import Path; from mmrerank.store.lock import writing\n"
HOLD += "with writing(Path(sys.argv[1])): print('held', flush=True); time.sleep(20)"


def test_threads_write_one_after_the_other(tmp_path: Path) -> None:
    inside, most = 0, 0

    def write() -> None:
        nonlocal inside, most
        with writing(tmp_path):
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)


def test_a_killed_process_leaves_no_lock_and_who_waited_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with unless_held(tmp_path) as mine:
            assert mine is False
        threading.Timer(0.3, holder.send_signal, [signal.SIGKILL]).start()
        with caplog.at_level(logging.WARNING), writing(tmp_path):
            assert holder.wait() == -signal.SIGKILL
    assert [record.message for record in caplog.records] == [
        f"another process or thread writes to the collection {tmp_path}; waiting until it is done"
    ]


def test_an_error_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), writing(tmp_path):
        raise RuntimeError
    with unless_held(tmp_path) as mine:
        assert mine is True


def test_where_nothing_can_be_written_the_collection_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"), writing(tmp_path / "nothing"):
        pass


def test_a_file_system_without_locks_is_named_and_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none_here(_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock, "_lock", none_here)
    monkeypatch.setattr(lock, "_unlock", none_here)
    with writing(tmp_path):
        assert "cannot be locked" in caplog.text
