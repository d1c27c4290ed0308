"""URLs and paths, which are never taken for each other."""

import os
import pickle
from pathlib import Path

import pytest

from fxst.errors import SettingsError
from fxst.storage.urls import ObjectUrl, UrlPath, located, redacted, url_of


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket/folder/voice.wav", ObjectUrl("s3", "bucket", "folder/voice.wav")),
        ("gs://my.bucket/take [1]*.wav", ObjectUrl("gs", "my.bucket", "take [1]*.wav")),
        ("az://container", ObjectUrl("az", "container")),
        ("S3://bucket/a b%20ü?.wav", ObjectUrl("s3", "bucket", "a b%20ü?.wav")),
        ("s3://bucket/me@home.wav", ObjectUrl("s3", "bucket", "me@home.wav")),
    ],
)
def test_a_url_is_one_whatever_files_there_are(tmp_path, monkeypatch, text, url):
    monkeypatch.chdir(tmp_path)
    Path(text).parent.mkdir(parents=True)
    Path(text).write_text("a file of that name")
    found = located(text)
    assert isinstance(found, UrlPath)
    assert (found.url, url_of(text)) == (url, url)
    again = pickle.loads(pickle.dumps(found))
    assert (again.url, str(again)) == (url, str(found))


@pytest.mark.parametrize(
    "text",
    ["s3:/bucket/a.wav", "./s3://bucket/a.wav", "s3", "s3:", "a//b.wav", "voice: take 2.wav", "://", "-", "ü://x"],
)
def test_any_other_name_is_a_path(text):
    assert (located(text), url_of(text)) == (Path(text), None)
    assert not isinstance(located(text), UrlPath)


def test_a_file_url_is_a_path(tmp_path):
    path = tmp_path / "my voice #1 ü.wav"
    assert located(path.as_uri()) == path
    assert located(f"file://localhost{tmp_path}/%ff.wav") == tmp_path / os.fsdecode(b"\xff.wav")
    for text in ("file://elsewhere/a.wav", "file://", "file:///a%00b"):
        with pytest.raises(SettingsError):
            located(text)


def test_a_file_whose_name_looks_like_another_url_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="download the file first"):
        located("https://host/a.wav")
    Path("https://host").mkdir(parents=True)
    Path("https://host/a.wav").touch()
    assert located("https://host/a.wav") == Path("https://host/a.wav")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3://", "names no bucket"),
        ("az:///a.wav", "names no container"),
        ("s3://b\n/a.wav", "names no bucket"),
        ("s3://bucket/a//b.wav", "two slashes"),
        ("s3://bucket/../b.wav", "is . or .."),
        ("s3://bucket/a\x1b.wav", "control character"),
        ("s3a://bucket/a.wav", "write s3:// instead"),
        ("gcs://bucket/a.wav", "write gs:// instead"),
        ("sftp://host/a.wav", "download the file first"),
    ],
)
def test_a_wrong_url_is_refused_in_a_sentence(text, words):
    with pytest.raises(SettingsError, match=words):
        located(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://KEY:SECRET@bucket/a.wav",
        "s3://KEY:SEC/RET@bucket/a.wav",
        "s3://KEY:SECRET/a.wav",
        "s3://SECRET@bucket/a.wav",
        "s3://bucket/a.wav?X-Amz-Credential=KEY&X-Amz-Signature=SECRET",
        "az://container/a.wav?sv=2024&sig=SECRET",
        "https://KEY:SEC/RET@host/a.wav",
        "https://host/a.wav?token=SECRET#SECRET",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(text):
    with pytest.raises(SettingsError) as refused:
        located(text)
    for secret in ("KEY", "SECRET", "SEC/", "RET"):
        assert secret not in str(refused.value)
        assert secret not in redacted(text)
