"""The server of `fxst ui`: what is heard is what is written, and nobody but its own page is answered."""

import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst import audio
from fxst.chains import table_files
from fxst.errors import AudioError
from fxst.exports import FORMATS
from fxst.report import OnDisk
from fxst.ui import server
from fxst.ui.sounds import Sound
from fxst.ui.tabs import Superseded

sys.path.insert(0, str(Path(__file__).parent))
from ui_page import HOST, PORT, TOKEN, Page, wav

ROOT = Path(__file__).parents[2]


def samples(content):
    return soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0].T


@pytest.mark.parametrize("loudness", [None, "-22", "keep", "reference"])
def test_what_is_heard_is_what_apply_writes_of_the_table(page, recordings, fxst, tmp_path, monkeypatch, loudness):
    effects = page.open(*recordings)
    bands = {row["name"]: row["value"] for row in effects[1]["parameters"]}
    wanted = {
        "values": {"parametric_eq": bands | {"peak3_gain_db": 7.1234567891}, "compressor": {"threshold_db": -35.5}},
        "bypassed": ["upward_compressor", "distortion"],
        "amounts": {"compressor": 1.3},
        "loudness": loudness,
        "ceiling": "-3",
    }
    rendered = page.ask("render", **wanted)
    written = page.ask("write", version=rendered["version"])
    content, table = page.get("downloads/wav").content, page.get("downloads/table").content
    np.testing.assert_array_equal(page.heard("output"), samples(content))

    monkeypatch.chdir(tmp_path)
    Path("voice.wav").write_bytes(recordings[0])
    Path("voice-fxst.params.json").write_bytes(table)
    words = shlex.split(rendered["command"])
    assert fxst(*words[1:])[0] == 0
    assert Path("voice-fxst.wav").read_bytes() == content
    # The table is the one on the page: rows, and the note on the loudness.
    rows = {(row.effect, row.parameter): row.value for row in table_files.read(Path("voice-fxst.params.json"))}
    on_page = {(e["label"], p["name"]): p["value"] for e in rendered["effects"] for p in e["parameters"]}
    assert rows == on_page
    assert rows["parametric_eq", "peak3_gain_db"] == 7.123457
    assert ("loudness" in json.loads(table)["made_by"]) == (loudness is not None)
    assert written["figures"]["true_peak"] <= -2.99
    if loudness == "-22":
        assert written["figures"]["loudness"] == pytest.approx(-22, abs=0.1)


def test_the_preview_of_a_short_recording_is_the_whole_one(page, recordings):
    page.open(*recordings)
    version = page.ask("render")["version"]
    preview = page.heard("output")
    page.ask("write", version=version)
    # The file has 16 bits, and no more differs.
    np.testing.assert_allclose(page.heard("output"), preview, atol=2**-15)


def test_a_preview_deep_in_a_long_recording_is_close_to_the_whole_one(page, speech, recordings, null_db):
    x = np.tile(speech(44_100, 2, 2.0), (1, 12))
    page.open(wav(x, 44_100, "FLOAT"), recordings[1])
    rendered = page.ask("render", start=12.0)
    assert rendered["excerpt"] == {"start": 12.0, "seconds": 10.0}
    preview = page.heard("output")
    page.ask("write", version=rendered["version"])
    assert null_db(preview, page.heard("output")) < -60
    np.testing.assert_array_equal(page.heard("input"), x[:, 12 * 44_100 : 22 * 44_100])


def test_any_of_several_references_is_heard_and_drawn(page, recordings, speech):
    x = speech(24_000, 1, 1.0)
    found = [page.upload(*given).json() for given in (("input", recordings[0]), ("reference", recordings[1]))]
    other = page.upload("reference", wav(x, 24_000, "FLOAT"), "other.wav").json()
    for given, sent in ((found[1], samples(recordings[1])), (other, x)):
        assert np.max(given["waveform"]) == pytest.approx(sent.max(), abs=1e-3)
    effects = page.ask("choose")["effects"]
    drawn, meters = {}, {}
    for key, sent in ((None, samples(recordings[1])), (other["key"], x), (found[1]["key"], samples(recordings[1]))):
        rendered = page.ask("render", reference=key)
        assert rendered["effects"] == effects  # which one is heard changes no setting
        heard = page.heard("reference")
        length = min(heard.shape[1], sent.shape[1])
        np.testing.assert_array_equal(heard[:, :length], sent[:, :length])
        meters[key] = page.get("figures").json()
        assert meters[key]["reference"]["loudness"] == pytest.approx(audio.loudness(sent, sample_rate=24_000), abs=0.01)
        drawn[key] = page.get("charts/spectra").json()["html"]
    assert meters[None] == meters[found[1]["key"]]
    assert drawn[None] == drawn[found[1]["key"]] != drawn[other["key"]]
    page.ask("remove", key=other["key"])
    page.ask("choose")
    page.ask("render", reference=other["key"])
    assert page.get("figures").json() == meters[None]


def test_the_recording_that_was_chosen_last_is_taken(tabs, recordings):
    tab = tabs[tabs.open()]
    paths = {name: tab.new_path(name) for name in ("first.wav", "last.wav", "damaged.wav")}
    for path in paths.values():
        path.write_bytes(recordings[0])
    paths["damaged.wav"].write_bytes(b"no sound")
    with pytest.raises(AudioError):
        tab.set_input(paths["damaged.wav"], "damaged.wav")
    tab.set_input(paths["last.wav"], "last.wav")
    with pytest.raises(Superseded):  # it took longer to analyse
        tab.set_input(paths["first.wav"], "first.wav")
    assert tab.name("wav") == "last-fxst.wav"


def test_an_upload_is_measured_as_a_report_measures_it(page, tabs, speech, recordings):
    x = np.repeat(speech(16_000, 2, 1.0)[:, None], 22, axis=1) * np.repeat([0.1, 1], 11).astype(np.float32)[:, None]
    x = x.reshape(2, -1)
    page.open(wav(x, 16_000, "FLOAT"), recordings[1])
    assert page.ask("render")["excerpt"]["start"] >= 11.0
    (path,) = [path for path in tabs.folder.rglob("*.wav") if soundfile.info(path).channels == 2]
    report, sound = OnDisk(path), Sound(path, "", lambda: None)
    sound.look()
    assert sound.outline.seconds == report.outline.seconds == 22.0
    np.testing.assert_array_equal(sound.outline.step_powers, report.survey.step_powers)
    assert page.get("figures").json()["input"] == sound.figures()
    assert sound.figures()["true_peak"] == pytest.approx(report.survey.true_peak_dbtp, abs=0.01)


def test_newer_settings_stop_the_rendering_of_older_ones(page, recordings):
    page.open(*recordings)
    old = page.ask("render", ceiling="-1")["version"]
    page.ask("render", ceiling="-2")
    assert page.ask("write", version=old) == {"superseded": True}
    answer = page.client.get(f"{page.base}/downloads/wav")
    assert answer.status_code == 422
    assert answer.json()["error"] == "The whole recording is not rendered yet: wait a moment."


def test_everything_can_be_kept(page, recordings, tmp_path):
    page.open(*recordings)
    page.ask("render", bypassed=[])
    for name, form in FORMATS.items():
        answer = page.get(f"downloads/{name}")
        assert f'filename="voice-fxst{form.suffix}"' in answer.headers["content-disposition"]
        assert answer.content
    profile = page.get("downloads/style")
    # The profile takes the place of the reference.
    other = Page(page.client)
    assert other.upload("input", recordings[0], "voice.wav").status_code == 200
    assert other.upload("reference", profile.content, "style.json").status_code == 200
    assert other.ask("choose")["effects"] == page.ask("choose")["effects"]
    assert set(other.ask("render")["levels"]) == {"input", "output"}
    page.ask("render", bypassed=["reverb"])
    answer = page.client.get(f"{page.base}/downloads/ir")
    assert answer.json() == {"error": "No reverb is in use, so there is no impulse response."}


def test_charts_are_drawn_of_what_there_is(page, recordings):
    page.open(*recordings)
    assert page.get("charts/spectra").json()["html"].count("<li>") == 2
    version = page.ask("render")["version"]
    assert set(page.get("figures").json()) == {"input", "reference"}
    assert "gain (dB)" in page.get("charts/reduction").json()["html"]
    page.ask("write", version=version)
    assert page.get("charts/spectra").json()["html"].count("<li>") == 3


@pytest.mark.parametrize(
    ("headers", "path", "code"),
    [
        ({}, "/tabs", 404),
        ({}, "/wrong/tabs", 404),
        ({}, f"/{TOKEN}x/tabs", 404),
        ({}, f"//{TOKEN}/tabs", 404),
        ({"host": "fxst.example"}, f"/{TOKEN}/tabs", 421),
        ({"host": f"fxst.example:{PORT}"}, f"/{TOKEN}/tabs", 421),
        ({"host": "127.0.0.1"}, f"/{TOKEN}/tabs", 421),
        ({"origin": "http://fxst.example"}, f"/{TOKEN}/tabs", 403),
        ({"origin": "null"}, f"/{TOKEN}/tabs", 403),
        ({"origin": f"https://{HOST}"}, f"/{TOKEN}/tabs", 403),
        ({"origin": ""}, f"/{TOKEN}/tabs", 403),
        ({"sec-fetch-site": "cross-site"}, f"/{TOKEN}/tabs", 403),
        ({"sec-fetch-site": "same-site"}, f"/{TOKEN}/tabs", 403),
    ],
)
def test_what_is_not_from_the_page_is_refused(client, tabs, headers, path, code):
    answer = client.post(path, headers=headers)
    assert answer.status_code == code
    assert TOKEN not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert client.get(path, headers={"sec-fetch-site": "none"} | headers).status_code in (code, 405)
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get(f"/{TOKEN}/", headers=link).status_code == 200
    del client.headers["origin"]
    assert client.post(f"/{TOKEN}/tabs").status_code == 403
    assert client.get(f"/{TOKEN}/").status_code == 200
    assert list(tabs.folder.iterdir()) == []


@pytest.mark.parametrize("name", ["../x.wav", "..", ".", "", "a/../../b.wav", "..\\x.wav", "x\0.wav", "x" * 256])
def test_a_name_that_is_no_files_is_refused(page, tabs, recordings, name):
    answer = page.upload("input", recordings[0], name)
    assert answer.status_code == 422
    assert "is not the name of a file" in answer.json()["error"]
    assert [path for path in tabs.folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("stated", [True, False])
def test_too_large_an_upload_is_refused_and_leaves_nothing(page, tabs, recordings, monkeypatch, stated):
    if stated:
        headers, content = {"content-length": str(5 << 30)}, b"RIFF"
    else:  # it comes in pieces, and does not say how long it is
        monkeypatch.setattr(server, "LARGEST_UPLOAD_BYTES", 1000)
        headers, content = {}, (b"x" * 300 for _ in range(10))
    answer = page.client.post(f"{page.base}/files/input?name=x.wav", content=content, headers=headers)
    assert answer.status_code == 413
    assert "GiB at most" in answer.json()["error"]
    assert [path for path in tabs.folder.rglob("*") if path.is_file()] == []


DAMAGED = {
    "noise.wav": bytes(range(256)) * 8,
    "empty.wav": b"",
    "head.wav": wav(np.zeros((1, 100), np.float32), 8000)[:20],
    "silent-length.wav": wav(np.zeros((1, 0), np.float32), 8000),
    "nan.wav": wav(np.full((1, 8000), np.nan, np.float32), 8000, "FLOAT"),
    "table.json": b'{"format": "fxst-settings"}',
    "<b>x.wav": b"<html>",
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("role", ["input", "reference"])
def test_a_damaged_file_is_told_in_a_sentence(page, tabs, role, name):
    answer = page.upload(role, DAMAGED[name], name)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error.endswith(".")
    assert str(tabs.folder) not in error
    assert not re.search(r"[0-9a-f]{16}", error)
    assert name in error or name == "empty.wav"
    assert [path for path in tabs.folder.rglob("*") if path.is_file()] == []
    assert page.client.post(f"{page.base}/choose").json() == {"error": "Choose a recording and a reference first."}


def test_silence_is_an_input_and_no_reference(page, recordings):
    silence = wav(np.zeros((1, 24_000), np.float32), 24_000)
    assert "'sound.wav' is silent, or" in page.upload("reference", silence).json()["error"]
    effects = page.open(silence, recordings[1])
    assert all(effect["bypass"] for effect in effects)
    rendered = page.ask("render", loudness="-16")
    assert rendered["levels"]["output"] is None
    assert set(page.get("figures").json()["input"].values()) == {None}
    written = page.ask("write", version=rendered["version"])
    assert written["figures"]["loudness"] is None
    assert any("silent" in remark for remark in written["remarks"])
    assert not page.heard("output").any()


@pytest.mark.parametrize(
    ("rate", "channels", "seconds"),
    [(8000, 1, 0.3), (44_100, 2, 1.0), (48_000, 6, 0.5), (96_000, 2, 0.5), (192_000, 1, 0.5), (44_100, 40, 0.2)],
)
def test_any_rate_and_number_of_channels_is_heard_and_written(page, speech, recordings, rate, channels, seconds):
    x = speech(rate, channels, seconds)
    page.open(wav(x, rate, "PCM_24"), recordings[1])
    rendered = page.ask("render")
    answer = page.get("sounds/output")
    assert int(answer.headers["x-sample-rate"]) == min(rate, 96_000)
    assert int(answer.headers["x-channels"]) == (channels if channels <= 32 else 1)
    frames = page.heard("input").shape[1]
    assert page.heard("output").shape[1] == page.heard("reference").shape[1] == frames
    page.ask("write", version=rendered["version"])
    assert samples(page.get("downloads/wav").content).shape == x.shape
    assert page.get("charts/spectra").json()["html"]


def test_tabs_do_not_mix(client, tabs, speech, recordings):
    pages = [Page(client), Page(client)]
    sounds = [speech(16_000, 1, 1.0), 0.5 * speech(16_000, 1, 2.0)[:, ::-1]]
    threads = [
        threading.Thread(target=page.open, args=(wav(x, 16_000, "FLOAT"), recordings[1], f"{number}.wav"))
        for number, (page, x) in enumerate(zip(pages, sounds, strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (page, x) in enumerate(zip(pages, sounds, strict=True)):
        assert f"{number}-fxst.wav" in page.ask("render")["command"]
        np.testing.assert_array_equal(page.heard("input"), x)
    folders = len(list(tabs.folder.iterdir()))
    assert client.post(f"{pages[0].base}/close").status_code == 204
    assert len(list(tabs.folder.iterdir())) == folders - 1
    assert "reload the page" in client.post(f"{pages[0].base}/choose").json()["error"]
    assert pages[1].ask("render")["version"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"values": {"reverb": {"size": 1.0}}}, "no "),
        ({"values": {"parametric_eq": {"peak1_gain_db": 1e9}}}, "must lie between"),
        ({"bypassed": ["<b>"]}, "no <b>"),
        ({"amounts": {"compressor": 9}}, "from 0 to 1.5"),
        ({"loudness": "9"}, "--loudness '9' is not valid"),
        ({"ceiling": "loud"}, "--ceiling 'loud' is not valid"),
        ({"values": 3}, "does not understand"),
        ({"other": 3}, "does not understand"),
    ],
)
def test_invalid_settings_are_told_in_a_sentence(page, recordings, body, words):
    page.open(*recordings)
    answer = page.client.post(f"{page.base}/render", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["error"]
    assert page.client.post(f"{page.base}/render", content=b'{"start": NaN}').status_code == 422


@pytest.mark.parametrize("each", [False, True])
def test_the_same_is_done_to_a_folder(page, recordings, tmp_path, each):
    folder, out = tmp_path / "it's in", tmp_path / "out"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        (folder / name).write_bytes(recordings[0])
    (folder / "c.wav").write_bytes(b"no sound")
    page.open(*recordings)
    version = page.ask("render", loudness="-20", amounts={"compressor": 0.5})["version"]
    command = page.ask("run", folder=str(folder), output=str(out), each=each)["command"]
    option = ["--style", "voice-fxst.style.json"] if each else ["--params", "voice-fxst.params.json"]
    more = ["--loudness", "-20", "--ceiling", "-1", *(["--amount", "compressor=50"] if each else [])]
    assert shlex.split(command) == ["fxst", "apply", str(folder), *option, *more, "-o", str(out)]
    assert not out.exists()
    page.ask("run", folder=str(folder), output=str(out), each=each, start=True)
    while (now := page.get("run/progress").json())["state"] == "running":
        time.sleep(0.1)
    assert (now["state"], now["done"], now["total"], now["failed"]) == ("failed", 3, 3, 1)
    assert "c.wav" in now["errors"][0]
    page.ask("write", version=version)
    made, kept = (out / "a.wav").read_bytes(), page.get("downloads/wav").content
    assert made == kept or each
    # The model's last digits depend on how many threads NumPy has, which are not those of a worker here.
    np.testing.assert_allclose(samples(made), samples(kept), atol=1e-3)
    missing = page.client.post(f"{page.base}/run", json={"folder": str(folder / "no"), "output": "x", "start": True})
    assert "There is no folder" in missing.json()["error"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_its_end_removes_what_was_uploaded(tmp_path, recordings, number, code):
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-u", "-m", "fxst", "ui", "--no-browser", "--model", "eq"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **streams) as process:
        address = re.fullmatch(r"fxst ui: (http://127\.0\.0\.1:\d+/[\w-]{32}/)\n", process.stdout.readline())[1]

        def post(path, content=b""):
            origin = {"Origin": address.rpartition("/")[0].rpartition("/")[0]}
            return urllib.request.urlopen(urllib.request.Request(address + path, content, origin)).read()

        tab = json.loads(post("tabs"))["tab"]
        assert b"voice.wav" in post(f"tabs/{tab}/files/input?name=voice.wav", recordings[0])
        (kept,) = [path for path in tmp_path.rglob("*") if path.is_file()]
        # Five gigabytes are refused before they come.
        with socket.create_connection(("127.0.0.1", urllib.parse.urlsplit(address).port)) as connection:
            path = urllib.parse.urlsplit(address).path + f"tabs/{tab}/files/input?name=x.wav"
            host = f"127.0.0.1:{urllib.parse.urlsplit(address).port}"
            head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Length: {5 << 30}\r\n\r\n"
            connection.sendall(head.encode() + b"x" * 1000)
            assert connection.makefile("rb").readline() == b"HTTP/1.1 413 Request Entity Too Large\r\n"
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]
        process.send_signal(number)
        words = process.communicate()[1]
    assert process.returncode == code
    assert words.splitlines()[-1] == "fxst: interrupted"
    assert "Traceback" not in words
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_told(fxst):
    with server._listen(0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        code, _, words = fxst("ui", "--no-browser", "--port", port, "--model", "eq")
    assert code == 2
    assert f"Port {port} cannot be used" in words
