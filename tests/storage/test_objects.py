"""A store of S3 over HTTP: the laws of every store, faults that pass, and sentences on those that do not."""

import os
import pickle
import re
import socket
import threading

import pytest

from fxst.errors import AudioError, FxstError, OutputError, SettingsError
from fxst.storage import objects
from fxst.storage.objects import CloudStore
from fxst.storage.urls import ObjectUrl

SECRETS = ("AKIATHISISNOTAKEYOFANY", "wJalrXUtnFEMI", "thisIsNotASecret")


@pytest.fixture
def store(s3):
    return CloudStore(ObjectUrl("s3", s3.bucket, "some/folder"))


@pytest.fixture
def download(tmp_path):
    """Give `download(store, name)`: the object, and what the store said of it."""

    def run(store, name, *, most_bytes=1 << 30):
        with open(tmp_path / "copy", "w+b") as file:
            found = store.download(name, file.fileno(), most_bytes=most_bytes)
            file.seek(0)
            return file.read(), found

    return run


def test_a_blob_is_written_once_and_never_replaced(store, s3):
    assert store.write_new("a/1.jsonl", b"first")
    assert not store.write_new("a/1.jsonl", b"second")
    assert store.read("a/1.jsonl") == s3.get("some/folder/a/1.jsonl") == b"first"
    store.write("a/1.jsonl", b"third")
    assert pickle.loads(pickle.dumps(store)).read("a/1.jsonl") == b"third"


def test_names_are_those_below_the_url(store, s3):
    for name in ("plan.json", "parts/00.jsonl", "parts/01.jsonl", "parts/10.jsonl", "parts.txt"):
        store.write_new(name, b"")
    s3.put("some/folder2/x", b"")
    assert sorted(store.names()) == ["parts.txt", "parts/00.jsonl", "parts/01.jsonl", "parts/10.jsonl", "plan.json"]
    assert sorted(store.names("parts/0")) == ["parts/00.jsonl", "parts/01.jsonl"]
    store.delete("parts/00.jsonl")
    store.delete("parts/00.jsonl")
    assert list(store.names("parts/0")) == ["parts/01.jsonl"]
    with pytest.raises(FileNotFoundError):
        store.read("parts/00.jsonl")


def test_the_whole_bucket_is_a_store(store, s3):
    store.write_new("a.wav", b"1")
    assert list(CloudStore(ObjectUrl("s3", s3.bucket)).names()) == ["some/folder/a.wav"]


def test_of_several_writers_exactly_one_succeeds(store):
    start, won = threading.Barrier(4), []

    def race(number):
        start.wait()
        won.extend((name, number) for name in range(8) if store.write_new(str(name), bytes([number])))

    writers = [threading.Thread(target=race, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(name for name, _ in won) == list(range(8))
    assert all(store.read(str(name)) == bytes([number]) for name, number in won)


def test_a_store_that_ignores_conditions_is_refused(store, s3):
    def ignore(method, path, headers, count):
        for name in [name for name in headers if name.lower() == "if-none-match"]:
            del headers[name]

    s3.proxy.spoil = ignore
    with pytest.raises(OutputError, match="conditional writes"):
        store.write_new("part", b"1")
    s3.proxy.spoil = lambda method, path, headers, count: 501 if method == "PUT" else None
    with pytest.raises(OutputError, match="conditional writes"):
        store.write_new("another", b"1")


def test_faults_that_pass_are_waited_for(store, s3, download):
    seen = set()

    def once(method, path, headers, count):
        first = (method, path) not in seen
        seen.add((method, path))
        return (503, 500, 0)[len(seen) % 3] if first else None

    s3.put("some/folder/in", b"sound" * 100)
    s3.proxy.spoil = once
    assert store.write_new("x", b"1")
    store.write("y", b"2")
    assert (store.read("x"), sorted(store.names())) == (b"1", ["in", "x", "y"])
    assert store.find("x").size == 1
    assert download(store, "in")[0] == b"sound" * 100
    assert {method for method, _, status in s3.proxy.requests if status in (500, 503)} >= {"GET", "PUT"}


def test_who_created_a_blob_knows_it_though_the_answer_is_lost(store, s3):
    """The request is repeated, and the store then answers that the blob exists."""
    lost = []

    def lose(method, path, headers, count):
        if method == "PUT" and not lost:
            lost.append(path)
            return 0
        return None

    s3.proxy.spoil = lose
    assert store.write_new("part", b"same")
    assert lost
    assert not store.write_new("part", b"same")
    assert (s3.proxy.paths("PUT"), len(s3.proxy.paths("PUT", 412))) == (lost, 3)


def test_a_large_object_is_read_in_ranges_and_a_change_in_between_is_told(store, s3, download, monkeypatch):
    monkeypatch.setattr(objects, "_RANGE_BYTES", 1000)
    data = os.urandom(4500)
    s3.put("some/folder/in", data)
    found, about = download(store, "in")
    assert (found, about.size) == (data, 4500)
    assert about == store.find("in")
    assert about.mtime_ns == next(iter(store.objects())).mtime_ns
    begun = len(s3.proxy.requests)

    def change(method, path, headers, count):
        if method == "GET" and len(s3.proxy.requests) == begun + 3:
            s3.proxy.spoil = None
            s3.put("some/folder/in", data[::-1])

    s3.proxy.spoil = change
    with pytest.raises(AudioError, match="changed while it was read"):
        download(store, "in")


@pytest.mark.parametrize("size", [0, 1, 1000, 1001])
def test_objects_of_any_size_come_back(store, s3, download, tmp_path, monkeypatch, size):
    monkeypatch.setattr(objects, "_RANGE_BYTES", 1000)
    path = tmp_path / "out.wav"
    path.write_bytes(os.urandom(size))
    store.upload(path, "out.wav")
    assert download(store, "out.wav")[0] == path.read_bytes() == s3.get("some/folder/out.wav")


def test_a_large_file_is_uploaded_in_parts_and_none_of_them_is_visible(store, s3, tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "_LARGEST_PUT_BYTES", 1 << 20)
    monkeypatch.setattr(objects, "_RANGE_BYTES", 5 << 20)
    path = tmp_path / "out.wav"
    path.write_bytes(os.urandom(12 << 20))
    s3.proxy.spoil = lambda method, path, headers, count: 403 if "partNumber=3" in path else None
    with pytest.raises(OutputError, match="may not be written"):
        store.upload(path, "out.wav")
    assert list(store.names()) == []
    s3.proxy.spoil = None
    store.upload(path, "out.wav")
    assert s3.get("some/folder/out.wav") == path.read_bytes()
    assert any("partNumber=3" in path for _, path, status in s3.proxy.requests if status == 200)
    assert store.is_replaceable("out.wav")


def test_only_what_fxst_made_may_be_replaced(store, s3, tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    store.upload(tmp_path / "a", "a")
    assert store.is_replaceable("a")
    assert store.is_replaceable("nothing")
    s3.put("some/folder/a", b"edited")
    assert not store.is_replaceable("a")


def test_what_is_too_large_is_not_read(store, s3, download):
    s3.put("some/folder/in", b"0" * 2000)
    with pytest.raises(AudioError, match="GB"):
        download(store, "in", most_bytes=1999)


def test_a_listing_takes_the_memory_of_a_page(store, s3):
    pages = 60

    def answer(method, path, headers, count):
        page = int(re.search("continuation-token=([0-9]+)|$", path)[1] or 0)
        keys = "".join(
            f"<Contents><Key>some/folder/{page:05}/{number:05}.wav</Key><Size>1</Size><ETag>e</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for number in range(1000)
        )
        more = f"<NextContinuationToken>{page + 1}</NextContinuationToken>" if page + 1 < pages else ""
        return (
            f"<ListBucketResult><IsTruncated>{'true' if more else 'false'}</IsTruncated>{keys}{more}</ListBucketResult>"
        )

    s3.proxy.spoil = answer
    names = store.names()
    assert next(names) == "00000/00000.wav"
    assert len(s3.proxy.requests) < 5  # the other pages are asked for when these are used up
    before = resident()
    assert sum(1 for _ in names) == 1000 * pages - 1
    assert len(s3.proxy.requests) == pages
    assert resident() - before < 12 << 20  # a name takes 300 bytes at least


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize(
    ("status", "words"),
    [(403, "may not be written"), (401, "credentials"), (400, "cannot be written"), (301, "set AWS_REGION")],
)
def test_a_refusal_is_one_sentence_without_a_retry(store, s3, status, words):
    s3.proxy.spoil = lambda method, path, headers, count: status
    with pytest.raises(FxstError, match=words) as told:
        store.write("x", b"1")
    check_sentence(str(told.value))
    assert len(s3.proxy.requests) == 1


def check_sentence(text):
    """Check that a message names the object and the remedy, and nothing of the store's answer."""
    assert re.fullmatch(r"'s3://[^\n]*\.", text), text
    assert len(text) < 400
    assert not any(secret in text for secret in SECRETS)
    for word in ("http", "Debug", "RetryError", "xml", "status code"):
        assert word not in text.lower()


def test_what_is_not_there_is_told(s3, download):
    missing = CloudStore(ObjectUrl("s3", f"no{s3.bucket}", "folder"))
    for act in (
        lambda: download(missing, "x"),
        lambda: list(missing.names()),
        lambda: missing.write_new("x", b""),
        lambda: missing.write("x", b""),
        lambda: missing.read("x"),
    ):
        with pytest.raises(SettingsError, match="there is no bucket") as told:
            act()
        check_sentence(str(told.value))
    with pytest.raises(AudioError, match="does not exist") as told:
        download(CloudStore(ObjectUrl("s3", s3.bucket)), "x.wav")
    check_sentence(str(told.value))


def test_a_key_that_is_no_path_is_named(store, s3):
    s3.put("some/folder/a//b.wav", b"")
    with pytest.raises(OutputError, match=re.escape("'some/folder/a//b.wav' is no path")) as told:
        list(store.names())
    check_sentence(str(told.value))


def test_a_store_that_does_not_answer_is_told(s3, monkeypatch):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{one.getsockname()[1]}")
    monkeypatch.setattr(objects, "_RETRIES", 1)
    objects._client.cache_clear()
    with pytest.raises(OutputError, match="does not answer") as told:
        CloudStore(ObjectUrl("s3", "bucket")).write("x", b"")
    check_sentence(str(told.value))


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_missing_credentials_are_told(s3, monkeypatch, scheme):
    """The metadata services of this machine are closed ports."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        nowhere = f"127.0.0.1:{one.getsockname()[1]}"
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://{nowhere}")
    monkeypatch.setenv("GCE_METADATA_HOST", nowhere)
    monkeypatch.setattr(objects, "_RETRIES", 1)
    objects._client.cache_clear()
    if scheme == "gs":
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    with pytest.raises(SettingsError, match="there are no credentials in the environment") as told:
        CloudStore(ObjectUrl(scheme, "bucket")).read("x")
    assert len(str(told.value)) < 300
