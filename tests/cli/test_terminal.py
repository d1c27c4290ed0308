"""What a file holds is shown and not obeyed: it moves no cursor, turns no text around, and makes no line of its own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst import doctor
from fxst.chains import table_files
from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.checkpoints.card import pretrained_folder, write_files
from fxst.effects import Distortion

FORGED = "fxst: all went well"
HOSTILE = f"a\x1b[2J\x1b]0;own\x07\n{FORGED}\r\x0b\x9b31m\x85\u2028\u202e\u2066\x7f[red]z"
MARK = r"\x1b[2J"
"""What shows that the hostile text was really there."""


def harmless(*streams):
    """Nothing but printable text and line ends, and no line that a file has made."""
    for text in streams:
        assert text.replace("\n", "").isprintable(), ascii(text)
        assert not [line for line in text.split("\n") if line.lstrip().startswith(FORGED)]
    return True


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, noise):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    soundfile.write("plain.wav", noise(24_000, 1, 2.0).T, 24_000)
    return tmp_path


def written_table(name="fx", **changes):
    """Write a table as JSON, with changes of its text."""
    chain = CHAINS["fx"]
    table_files.write(Table(chain, chain.defaults()), Path("table.json"))
    text = Path("table.json").read_text(encoding="utf-8")
    for old, new in changes.items():
        assert f'"{old}"' in text
        text = text.replace(f'"{old}"', json.dumps(new))
    text = text.replace('"name": "fx"', f'"name": {json.dumps(name)}')
    Path("table.json").write_text(text, encoding="utf-8")
    return "table.json"


def test_a_chains_name(fxst):
    table = written_table(HOSTILE)
    code, out, err = fxst("apply", "plain.wav", "--params", table, "-o", "out.wav", "--export", "apo")
    assert (code, err) == (0, "")
    assert harmless(out, Path("out.ParametricEQ.txt").read_text(encoding="utf-8"))
    document = json.loads(Path(table).read_text(encoding="utf-8"))
    document["settings"].append(document["settings"][0] | {"parameter": "threshold_db"})
    for rows in document["settings"][:-1], document["settings"][1:], document["settings"]:
        Path(table).write_text(json.dumps(document | {"settings": rows}))
        code, out, err = fxst("apply", "plain.wav", "--params", table, "-o", "out.wav")
        assert harmless(out, err)
        assert err.count("\n") == (code != 0)
    Path(table).write_text(json.dumps(document | {"settings": document["settings"][1:-1]}))
    code, out, err = fxst("apply", "plain.wav", "--params", table, "-o", "out.wav")
    assert (code, out) == (2, "")
    assert harmless(err)
    assert MARK in err


TABLES = {
    "a parameter": {"threshold_db": HOSTILE},
    "an effect": {"compressor": HOSTILE},
    "the format": {"fxst-settings": HOSTILE},
    "a scale": {"linear": HOSTILE},
    "a key of a row": {"value": HOSTILE},
    "a key of the chain": {"default": HOSTILE},
    "the key of an option": {"linked": HOSTILE},
    "a unit": {"dB": HOSTILE},
}


@pytest.mark.parametrize("changes", TABLES.values(), ids=TABLES)
def test_what_is_wrong_in_a_table_is_told_in_one_line(fxst, changes):
    code, out, err = fxst("apply", "plain.wav", "--params", written_table(**changes), "-o", "out.wav")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert harmless(err)


@pytest.mark.parametrize("cell", [0, 1, 2, 3, 4, 7])
def test_what_is_wrong_in_a_csv_is_told_in_one_line(fxst, cell):
    chain = CHAINS["fx"]
    table_files.write(Table(chain, chain.defaults()), Path("table.csv"))
    first, second, *lines = Path("table.csv").read_text(encoding="utf-8").splitlines()
    cells = second.split(",")
    cells[cell] = '"' + HOSTILE.replace("\n", "").replace("\r", "").replace("\x85", "").replace("\u2028", "") + '"'
    Path("table.csv").write_text("\n".join([first, ",".join(cells), *lines]), encoding="utf-8")
    code, out, err = fxst("apply", "plain.wav", "--params", "table.csv", "-o", "out.wav")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert harmless(err)


@pytest.mark.parametrize("form", ["table", "json", "jsonl"])
def test_names_of_files(fxst, form):
    folder = Path(f"in{HOSTILE}")
    folder.mkdir()
    shutil.copy("plain.wav", folder / f"{HOSTILE}.wav")
    (folder / f"bad{HOSTILE}.wav").write_bytes(b"RIFF\x1b[2J")
    table = Path(f"{HOSTILE}.json")
    table.write_text(Path(written_table()).read_text())
    how = ("--params", table, "-o", f"out{HOSTILE}", "--format", form, "--export", "all", "--jobs", "1")
    for more in ("--dry-run",), ():
        code, out, err = fxst("apply", folder, *how, *more)
        assert code == (0 if more else 1)
        assert harmless(out, err)
        assert MARK in out.replace(r"\u001b", r"\x1b") + err
    code, out, err = fxst("apply", f"no{HOSTILE}", *how)
    assert code
    assert harmless(out, err)


def test_a_profile(fxst):
    soundfile.write(f"{HOSTILE}.wav", np.zeros(24_000), 24_000)
    for reference in (f"{HOSTILE}.wav", f"none{HOSTILE}", f"{HOSTILE}:-1"):
        code, out, err = fxst("style", "save", reference, "-o", f"{HOSTILE}.json", "-m", "eq")
        assert code
        assert harmless(out, err)
        assert MARK in err
    assert fxst("style", "save", "plain.wav", "-o", f"{HOSTILE}.json", "-m", "eq")[0] == 0
    profile = json.loads(Path(f"{HOSTILE}.json").read_text(encoding="utf-8"))
    wrong = (
        ({"model": HOSTILE, "model_sha256": ""}, MARK),
        ({"format": HOSTILE}, MARK),
        ({"version": HOSTILE}, MARK),
        ({"descriptors": profile["descriptors"] | {HOSTILE: 1}}, MARK),
        ({"loudness_lufs": HOSTILE}, "$.loudness_lufs"),
    )
    for change, words in wrong:
        Path("house.json").write_text(json.dumps(profile | change))
        code, out, err = fxst("apply", "plain.wav", "--style", "house.json", "-m", "eq", "-o", "out.wav")
        assert code == 2
        assert harmless(out, err)
        assert words in err


def test_a_models_card(fxst, monkeypatch):
    shipped = pretrained_folder() / "style/eq"
    card = json.loads((shipped / "card.json").read_text(encoding="utf-8"))
    head = {name: card[name] for name in ("sample_rate", "model")}
    data = card["training"]["data"]
    made_up = {
        "chain": card["chain"] | {"name": HOSTILE},
        "fxst_version": HOSTILE,
        "losses": {HOSTILE: 1.0, "val_stft_ratio": 0.5, "more": HOSTILE},
        "training": {
            "command": HOSTILE,
            "steps": HOSTILE,
            "seconds": HOSTILE,
            "history": [HOSTILE, {HOSTILE: HOSTILE}],
            "data": data | {"note": HOSTILE, "built_with": {"sources": [HOSTILE]}},
        },
        HOSTILE: HOSTILE,
    }
    folder = Path("pretrained/style", HOSTILE)
    write_files(folder, card["format"], head, made_up, (shipped / "model.safetensors").read_bytes())
    monkeypatch.setattr("fxst.checkpoints.card.pretrained_folder", lambda: Path("pretrained"))
    monkeypatch.setattr("fxst.checkpoints.catalogue.pretrained_folder", lambda: Path("pretrained"))
    commands = (("info", folder), ("info", folder, "--format", "json"), ("list",), ("verify", folder))
    for command in (*commands, ("list", "--format", "json"), ("verify",), ("info", f"none{HOSTILE}")):
        code, out, err = fxst("models", *command)
        assert code == (4 if str(command[-1]).startswith("none") else 0), err
        assert harmless(out, err)
        assert MARK in (out + err).replace(r"\u001b", r"\x1b")
    for change in {"format": HOSTILE}, {"format_version": HOSTILE}, {"chain": {HOSTILE: HOSTILE}}, {"model": HOSTILE}:
        (folder / "card.json").write_text(json.dumps(card | change))
        for command in commands:
            code, out, err = fxst("models", *command)
            assert code == 4 or "model" in change
            assert harmless(out, err)


@pytest.mark.parametrize("form", ["table", "json"])
def test_chains(fxst, monkeypatch, form):
    monkeypatch.setitem(CHAINS, HOSTILE, Chain(HOSTILE, (Distortion(),)))
    code, out, err = fxst("chains", "--format", form)
    assert code == 0
    assert harmless(out, err)
    assert MARK in out.replace(r"\u001b", r"\x1b")


def test_an_evaluation(fxst):
    name = HOSTILE.replace("\r", "")  # a line's end in a CSV file
    shutil.copy("plain.wav", f"{name}.wav")
    Path(f"bad{name}.wav").write_bytes(b"RIFF\x1b[2J")

    def listed(*rows):
        lines = [",".join(f'"{cell}"' for cell in row) for row in rows]
        Path("pairs.csv").write_text("input,reference,group,output\n" + "\n".join(lines), encoding="utf-8", newline="")
        return fxst("eval", "--pairs", "pairs.csv", "--output", f"to{HOSTILE}", "--no-pesq")

    code, out, err = listed((f"{name}.wav", "plain.wav", name, f"bad{name}.wav"))
    assert code == 1, err
    assert harmless(out, err)
    assert MARK in out
    assert MARK in err
    for row in ((f"none{name}", "plain.wav", "", ""), ("plain.wav", f"bad{name}.wav", "", "")):
        code, out, err = listed(row)
        assert code
        assert harmless(out, err)
    for options in (
        ("--pairs", f"{HOSTILE}.csv"),
        ("--data", f"none{HOSTILE}"),
        ("--data", ".", "--require", HOSTILE),
        ("--data", ".", "--chain", HOSTILE),
        ("--data", ".", "--baseline", HOSTILE),
        ("--data", ".", "-m", HOSTILE),
    ):
        code, out, err = fxst("eval", *options)
        assert code
        assert harmless(out, err)


def test_a_dataset(fxst):
    speaker = Path("in", HOSTILE)
    speaker.mkdir(parents=True)
    for number in range(3):
        shutil.copy("plain.wav", speaker / f"{HOSTILE}{number}.wav")
    (speaker / f"bad{HOSTILE}.wav").write_bytes(b"RIFF\x1b[2J")
    folder = Path(f"data{HOSTILE}")
    how = ("dataset", "build", "in", "-o", folder, "-n", "3", "--workers", "1")
    code, out, err = fxst(*how)
    assert code == 1
    assert harmless(out, err)
    assert MARK in out
    assert MARK in err
    card = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    counted = {"clips": {HOSTILE: 3}, "speakers": {HOSTILE: 1}, "notes": [HOSTILE], "damaged_files": 0}
    (folder / "dataset.json").write_text(json.dumps(card | counted))
    code, out, err = fxst(*how)
    assert code == 0
    assert harmless(out, err)
    assert MARK in out
    assert MARK in err
    for change in {"clips": HOSTILE}, {"notes": HOSTILE}, {"speakers": {HOSTILE: HOSTILE}}, {"settings": {HOSTILE: 1}}:
        (folder / "dataset.json").write_text(json.dumps(card | change))
        code, out, err = fxst(*how)
        assert code in (1, 2)
        assert harmless(out, err)
    code, out, err = fxst("dataset", "build", f"none{HOSTILE}", "-o", "new")
    assert code
    assert harmless(out, err)


@pytest.mark.parametrize("form", ["table", "json"])
def test_doctor(fxst, monkeypatch, form):
    checks = (
        doctor.Check(HOSTILE, "model", "failed", HOSTILE, True, HOSTILE, HOSTILE),
        doctor.Check("ffmpeg", "optional program", "ok", HOSTILE, False),
    )
    monkeypatch.setattr("fxst.doctor.examine", lambda: iter(checks))
    code, out, err = fxst("doctor", "--format", form)
    assert code == 1
    assert harmless(out, err)
    assert MARK in err
    assert MARK in out.replace(r"\u001b", r"\x1b")


@pytest.mark.parametrize(
    "arguments",
    [
        ("apply", f"--{HOSTILE}"),
        ("apply", "plain.wav", "--jobs", HOSTILE),
        ("apply", "plain.wav", "--format", HOSTILE),
        ("apply", "plain.wav", "--loudness", HOSTILE, "--params", "table.json", "-o", "o.wav"),
        ("apply", "plain.wav", "--export", HOSTILE, "--params", "t.json", "-o", "o.wav"),
        ("apply", "plain.wav", "--params", "t.json", "-o", "o", "--name", "{" + HOSTILE + "}"),
        ("apply", f"*{HOSTILE}", "--params", "t.json", "-o", "o"),
        (HOSTILE,),
        ("--effects", HOSTILE, "chains"),
        (f"--{HOSTILE}", "chains"),
        ("models", HOSTILE),
    ],
    ids=lambda words: ascii(" ".join(words))[:40],
)
def test_usage(fxst, arguments):
    written_table()
    code, out, err = fxst(*arguments)
    assert code
    assert harmless(out, err)
    assert MARK in err
