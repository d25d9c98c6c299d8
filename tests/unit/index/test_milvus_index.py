"""Milvus as an index of a collection, against Milvus Lite: found, filtered, followed, and nothing left behind on the server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from makers import ColourEncoder, picture, write_pictures

from mmrerank.collection import Collection
from mmrerank.errors import BackendError, InputError
from mmrerank.index import milvus_index
from mmrerank.parts import make
from mmrerank.testing.samples import plainly, shuffled_ids, structured

pytest.importorskip("milvus_lite", reason="milvus_lite is not installed: pip install 'mmrerank[milvus]'")
IDS, ROWS = shuffled_ids(60, seed=1), structured(60, 8, seed=1)


def test_a_collection_is_searched_through_it_as_through_the_exact_index(tmp_path: Path, colour: ColourEncoder) -> None:
    write_pictures(tmp_path / "photos", range(12))
    collection = Collection.create(tmp_path / "c", encoders=[colour], index=f"milvus_index/{tmp_path / 'm.db'}(kind=FLAT)")
    collection.add([tmp_path / "photos"])
    exact = Collection.create(tmp_path / "e", encoders=[colour])
    exact.add([tmp_path / "photos"])
    for filter in (None, "item_id < '006.png'"):
        through, plain = (one.search(image=picture(3), filter=filter, k=5).hits for one in (collection, exact))
        assert [hit.item.item_id for hit in through] == [hit.item.item_id for hit in plain]
    write_pictures(tmp_path / "photos", range(12, 15))
    (tmp_path / "photos/003.png").unlink()
    collection.add([tmp_path / "photos"])
    ids = [hit.item.item_id for hit in collection.search(image=picture(13), k=20).hits]
    assert (ids[0], len(ids), "003.png" in ids) == ("013.png", 14, False)


def test_a_filter_of_more_keys_than_go_at_once_is_asked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    index = milvus_index.tiny()
    index.add(IDS, ROWS)
    monkeypatch.setattr(milvus_index, "KEYS_AT_ONCE", 7)
    for query in ROWS[:3]:
        assert index.search(query[None], 5, allowed=IDS[:30])[0].ids.tolist() == plainly(IDS, ROWS, query, 5, IDS[:30])
    with pytest.raises(InputError, match="at most 16384"):
        index.search(ROWS[:1], 20_000)


def test_what_was_searched_before_stays_until_the_next_is_saved(tmp_path: Path) -> None:
    """As a reader of the former version needs it."""
    name = f"milvus_index/{tmp_path / 'm.db'}"
    indexes = [make(name, station="index", dimension=8) for _ in range(3)]
    for n, index in enumerate(indexes):
        index.add(IDS, ROWS)
        index.save(tmp_path / f"data-{n}")
        (tmp_path / f"data-{n - 1}").unlink(missing_ok=True)  # as whoever keeps the notes does
    client = indexes[0]._client
    names = [index._collection for index in indexes]
    assert [client.has_collection(one) for one in names] == [False, True, True]
    later = make(name, station="index", dimension=8)
    later.load(tmp_path / "data-2")
    assert np.array_equal(later.ids, np.sort(IDS))


def test_a_server_that_is_not_there_is_an_error_of_the_server() -> None:
    index = make("milvus_index/http://127.0.0.1:9", station="index", dimension=8)
    with pytest.raises(BackendError, match=r"http://127\.0\.0\.1:9 does not answer"):
        index.add(IDS, ROWS)
