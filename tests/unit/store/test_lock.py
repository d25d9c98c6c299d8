"""One writer at a time, in one process and among several, and no lock that outlives its holder."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mmrerank.errors import InputError
from mmrerank.store.lock import if_free, writing

HOLD = "import sys, time; from pathlib import Path; from mmrerank.store.lock import writing\n"
HOLD += "with writing(Path(sys.argv[1])): print('held', flush=True); time.sleep(20)"
# How versions before `filelock` took the lock, in their own calls.
AS_0_2_0 = """
import fcntl, sys
with open(f"{sys.argv[1]}/.lock", "ab") as file:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("locked", flush=True)
    sys.stdin.readline()
    fcntl.flock(file, fcntl.LOCK_UN)
    print("released", flush=True)
    sys.stdin.readline()
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("refused", flush=True)
"""
FORK = """
import os, sys
from pathlib import Path
from mmrerank.store.lock import if_free, writing
folder = Path(sys.argv[1])
child = 0
with writing(folder):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        with if_free(folder) as mine:
            print(mine)
if child:
    with if_free(folder) as mine:
        print(mine)
"""


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
        with if_free(tmp_path) as mine:
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
    with if_free(tmp_path) as mine:
        assert mine is True


def test_where_nothing_can_be_written_the_collection_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"), writing(tmp_path / "nothing"):
        pass


def refused(_descriptor: int, _operation: int) -> None:
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


def test_a_file_system_without_locks_is_named_and_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fcntl, "flock", refused)
    with writing(tmp_path), if_free(tmp_path) as mine:
        assert mine is True
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / '.lock'} cannot be locked, so two writers at once could damage the collection: Operation not supported"
    ] * 2


def test_the_file_of_the_lock_stays_as_it_is(tmp_path: Path) -> None:
    """Whoever waits has it open: another file of that name would be another lock."""
    with writing(tmp_path):
        place = (tmp_path / ".lock").stat().st_ino
    with writing(tmp_path):
        pass
    assert (tmp_path / ".lock").stat().st_ino == place
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]


def test_a_process_of_0_2_0_and_this_one_keep_each_other_out(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", AS_0_2_0, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with if_free(tmp_path) as mine:
            assert mine is False
        other.stdin.write("release\n")
        other.stdin.flush()
        assert other.stdout.readline() == "released\n"
        with writing(tmp_path):
            other.stdin.write("again\n")
            other.stdin.flush()
            assert other.stdout.readline() == "refused\n"


def test_a_forked_child_does_not_release_what_its_parent_has(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FORK, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\nTrue\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_only_be_read_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="cannot be written: Permission denied"), writing(tmp_path):
            pass
    finally:
        tmp_path.chmod(0o700)
