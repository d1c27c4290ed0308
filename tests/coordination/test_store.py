"""The laws of a store, which every kind of store has to keep."""

import multiprocessing
import os

import pytest

from fxst.coordination.store import LocalStore
from fxst.errors import OutputError


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "parts")


def test_a_blob_is_written_once_and_never_replaced(store):
    assert store.write_new("a/1.jsonl", b"first")
    assert not store.write_new("a/1.jsonl", b"second")
    assert store.read("a/1.jsonl") == b"first"
    store.write("a/1.jsonl", b"third")
    assert store.read("a/1.jsonl") == b"third"


def test_names_are_those_of_complete_blobs(store):
    assert list(store.names()) == []
    for name in ("plan.json", "parts/00.jsonl", "parts/01.jsonl", "parts/10.jsonl"):
        store.write_new(name, b"")
    (store.folder / "parts/.fxst-0123456789abcdef.tmp").write_bytes(b"half")
    assert sorted(store.names()) == ["parts/00.jsonl", "parts/01.jsonl", "parts/10.jsonl", "plan.json"]
    assert sorted(store.names("parts/0")) == ["parts/00.jsonl", "parts/01.jsonl"]
    store.delete("parts/00.jsonl")
    store.delete("parts/00.jsonl")
    assert list(store.names("parts/0")) == ["parts/01.jsonl"]
    with pytest.raises(FileNotFoundError):
        store.read("parts/00.jsonl")


def test_nothing_is_left_of_a_refused_write(store):
    store.write_new("x", b"1")
    store.write_new("x", b"2")
    assert [path.name for path in store.folder.iterdir()] == ["x"]


def test_a_store_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "parts").write_text("a file")
    with pytest.raises(OutputError):
        LocalStore(tmp_path / "parts").write_new("x", b"")


@pytest.mark.parametrize("links", [True, False])
def test_a_file_system_without_links_has_a_store_too(store, monkeypatch, links):
    def link(*_):
        raise PermissionError(1, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", link)
    assert store.write_new("x", b"1")
    assert not store.write_new("x", b"2")
    assert store.read("x") == b"1"
    assert [path.name for path in store.folder.iterdir()] == ["x"]


def race(folder, number, start, won):
    start.wait(60)
    for name in range(20):
        if LocalStore(folder).write_new(str(name), bytes([number])):
            won.put((name, number))
    won.put(None)


def test_of_several_writers_exactly_one_succeeds(tmp_path):
    context = multiprocessing.get_context("spawn")
    start, won = context.Event(), context.Queue()
    writers = [context.Process(target=race, args=(tmp_path, number, start, won)) for number in range(3)]
    for writer in writers:
        writer.start()
    start.set()
    ended, winners = 0, []
    while ended < 3:
        item = won.get(timeout=60)
        ended += item is None
        winners += [] if item is None else [item]
    for writer in writers:
        writer.join()
    assert sorted(name for name, _ in winners) == list(range(20))
    assert all(LocalStore(tmp_path).read(str(name)) == bytes([number]) for name, number in winners)
