"""Beginnings in a folder: read by another process, checked when read, bounded, and never of other weights."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from prefix_prompts import CHOICES, EQUAL, PICTURES, QUERIES, gap, opened_backend, prompts_for, single, store_of, user
from tiny_models import NAMES, TEXT_NAMES, saved

from mmrerank.backends import mini
from mmrerank.backends._prefix_folder import PrefixFolder, fingerprint
from mmrerank.backends._prefix_store import Beginning, PrefixStore
from mmrerank.handles import LazyPicture

DEVICE = torch.device("cpu")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module", params=[*NAMES, *TEXT_NAMES, "mini"])
def model(request: pytest.FixtureRequest, models: Path) -> Path:
    return mini.FOLDER if request.param == "mini" else saved(models, request.param)


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def damage_end(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 255
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def test_scores_from_disk_are_those_without_and_damaged_files_too(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, plain = opened_backend(model, prefix_folder=str(tmp_path)), opened_backend(model, prefix_bytes=0)
    first.choice_logprobs(prompts_for(first, QUERIES[0]), CHOICES)
    assert len(files_of(tmp_path)) == len(store_of(first))
    prompts = prompts_for(first, QUERIES[1])
    expected = single(plain, prompts)
    second = opened_backend(model, prefix_folder=str(tmp_path))
    warm = second.choice_logprobs(prompts, CHOICES)
    assert warm.cost.reused_tokens > 0.4 * warm.cost.prompt_tokens
    assert gap(warm.logprobs, expected) < EQUAL
    for file, harm in zip(files_of(tmp_path), (damage_end, cut_short, empty) * 9, strict=False):
        harm(file)
    third = opened_backend(model, prefix_folder=str(tmp_path))
    with caplog.at_level(logging.WARNING):
        again = third.choice_logprobs(prompts, CHOICES)
    assert again.cost.reused_tokens == 0
    assert "cannot be read" in caplog.text
    assert gap(again.logprobs, expected) < EQUAL
    fourth = opened_backend(model, prefix_folder=str(tmp_path))
    assert fourth.choice_logprobs(prompts, CHOICES).cost.reused_tokens, "what was damaged is written anew"


def test_pictures_stay_closed_where_the_disk_knows_them(models: Path, tmp_path: Path) -> None:
    qwen = saved(models, "qwen2_5_vl")

    def never() -> None:
        raise AssertionError("it was opened")

    opened_backend(qwen, prefix_folder=str(tmp_path)).choice_logprobs(
        [user(LazyPicture("a", lambda: PICTURES[0]), QUERIES[0])] * 2, CHOICES
    )
    other = opened_backend(qwen, prefix_folder=str(tmp_path))
    scores = other.choice_logprobs([user(LazyPicture("a", never), QUERIES[1])], CHOICES)  # type: ignore[arg-type]
    assert scores.cost.reused_tokens


def test_another_process_reads_what_this_one_wrote(models: Path, tmp_path: Path) -> None:
    qwen = saved(models, "qwen2_5_vl")
    opened_backend(qwen, prefix_folder=str(tmp_path)).choice_logprobs([user("one and the same beginning of a prompt", "x")], CHOICES)
    code = (
        "import sys; from mmrerank.backends.local import Options, build; from mmrerank.types import Message\n"
        "backend = build(Options(model=sys.argv[1], device='cpu', precision='fp32', prefix_folder=sys.argv[2]))\n"
        "prompt = (Message(role='user', parts=('one and the same beginning of a prompt', 'y')),)\n"
        "print(backend.choice_logprobs([prompt], ['Yes']).cost.reused_tokens)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(qwen), str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 10


# ----------------------------------------------------------------------


def beginning(*symbols: int, fill: float = 1.0) -> Beginning:
    states = torch.full((2, 1, 1, len(symbols), 256), fill)
    return Beginning(symbols=symbols, head=len(symbols), floor=0, length=len(symbols), image_tokens=0, position=len(symbols), states=states)


def folder_in(path: Path, *, key: str = "k", most_bytes: int = 1 << 20) -> PrefixFolder:
    folder = PrefixFolder(path, key, most_bytes, DEVICE)
    folder.refresh()
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_written_is_read(tmp_path: Path, dtype: torch.dtype) -> None:
    states = torch.randn(2, 3, 2, 4, 8).to(dtype)
    one = Beginning(symbols=(5, -(1 << 127), 7), head=1, floor=2, length=4, image_tokens=2, position=3, states=states)
    folder_in(tmp_path).write(one)
    folder = folder_in(tmp_path)
    assert folder.nearest((5, -(1 << 127), 7, 9)) == (one.symbols, 3)
    again = folder.read(one.symbols)
    assert again is not None
    assert again.states.dtype == dtype
    assert torch.equal(again.states, states)
    assert (again.head, again.floor, again.length, again.image_tokens, again.position) == (1, 2, 4, 2, 3)


def test_other_settings_are_another_folder(tmp_path: Path) -> None:
    assert len({fingerprint(weights=w, precision=p) for w in "ab" for p in ("fp32", "bf16")}) == 4
    folder_in(tmp_path, key="one").write(beginning(1, 2, 3))
    assert folder_in(tmp_path, key="two").nearest((1, 2, 3)) == ((), 0)


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    folder = folder_in(tmp_path, most_bytes=3 * 9000)
    for n in range(3):
        folder.write(beginning(n, 1, 2, 3))
    for age, file in enumerate(sorted(files_of(tmp_path), key=lambda file: file.stat().st_mtime_ns)):
        os.utime(file, (1000 + age, 1000 + age))
    folder.refresh()
    assert folder.read((0, 1, 2, 3)) is not None, "which makes it the youngest"
    folder.write(beginning(9, 1, 2, 3))
    assert sum(file.stat().st_size for file in files_of(tmp_path)) <= 3 * 9000
    assert [folder.nearest((n, 1, 2, 3))[1] for n in (0, 1, 2, 9)] == [4, 0, 4, 4]


def test_a_file_that_another_process_removed_is_a_miss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer, reader = folder_in(tmp_path), folder_in(tmp_path)
    writer.write(beginning(1, 2, 3))
    reader.refresh()
    files_of(tmp_path)[0].unlink()
    assert reader.read((1, 2, 3)) is None
    assert not caplog.records, "nothing is wrong with that"
    assert reader.nearest((1, 2, 3)) == ((), 0)


def test_a_file_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    folder.write(beginning(1, 2, 3))
    folder.write(beginning(4, 5, 6, fill=2.0))
    one, other = (tmp_path / "k" / folder._names[symbols] for symbols in ((1, 2, 3), (4, 5, 6)))
    other.replace(one)
    assert folder.read((1, 2, 3)) is None


def test_a_folder_that_cannot_be_used_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    folder = folder_in(tmp_path / "file")
    folder.write(beginning(1, 2, 3))
    assert folder.nearest((1, 2, 3)) == ((), 0)
    assert "cannot be used" in caplog.text


def test_half_written_files_are_no_beginnings_and_old_ones_go(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    old, new = tmp_path / "k" / "old.tmp", tmp_path / "k" / "new.tmp"
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (1000, 1000))
    assert folder_in(tmp_path).nearest((1,)) == ((), 0)
    assert [old.exists(), new.exists()] == [False, True]


def test_a_store_takes_from_the_folder_what_it_has_room_for(tmp_path: Path) -> None:
    size = beginning(1, 2, 3, 4).n_bytes
    folder_in(tmp_path).write(beginning(1, 2, 3, 4))
    small, large = (PrefixStore(most, folder_in(tmp_path)) for most in (size - 1, 2 * size))
    for store, symbols in ((small, None), (large, 3)):
        with store.call() as call:
            reuse = call.find((1, 2, 3, 9), 4, 0)
            assert (reuse and reuse.symbols) == symbols
            assert store.n_bytes <= store.most_bytes


def _make(one: Beginning) -> Callable[[], Beginning]:
    return lambda: one


def test_what_a_call_uses_is_not_taken_away_under_it() -> None:
    rows = [beginning(n, 1, 2, 3) for n in range(4)]
    store = PrefixStore(2 * rows[0].n_bytes)
    with store.call() as call:
        assert [call.put(one.symbols, one.n_bytes, _make(one)) for one in rows] == [True, True, False, False]
    with store.call() as call:
        assert call.find((0, 1, 2, 9), 4, 0) is not None, "used now, so the other one goes"
        assert call.put(rows[3].symbols, rows[3].n_bytes, _make(rows[3]))
        assert call.find((1, 1, 2, 9), 4, 0) is None
        assert call.find((0, 1, 2, 9), 4, 0) is not None
