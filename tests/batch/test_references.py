from pathlib import Path

import pytest

from fxst.batch.references import find_references, names_of, references_of
from fxst.configs import ApplyConfig
from fxst.errors import NothingMatchedError, SettingsError


@pytest.fixture(autouse=True)
def tree(tmp_path, monkeypatch):
    """A folder with names only."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav", "odd:2", "book/1.wav", "book/part/2.wav", "book/notes.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")
    Path("empty").mkdir()


def listed(*given):
    return [(str(goal.path), goal.weight) for goal in find_references(given)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a.wav", ("a.wav", 1.0)),
        ("a.wav:2", ("a.wav", 2.0)),
        ("a.wav:0.25", ("a.wav", 0.25)),
        ("odd:2", ("odd:2", 1.0)),
        ("odd:2:3", ("odd:2", 3.0)),
        ("missing.wav:take", ("missing.wav:take", 1.0)),
        ("missing.wav", ("missing.wav", 1.0)),
        (":2", (":2", 1.0)),
    ],
)
def test_a_weight_stands_behind_a_name_unless_a_file_is_called_so(given, expected):
    assert listed(given) == [expected]


@pytest.mark.parametrize("given", ["a.wav:-1", "a.wav:nan", "a.wav:inf"])
def test_a_weight_is_no_less_than_nothing(given):
    with pytest.raises(SettingsError, match="a weight is a number of 0 or more"):
        find_references([given])


def test_a_folders_recordings_share_its_weight():
    assert listed("a.wav", "book:3") == [("a.wav", 1.0), ("book/1.wav", 1.5), ("book/part/2.wav", 1.5)]
    with pytest.raises(NothingMatchedError, match="'empty' holds no sound files"):
        find_references(["empty"])


def test_references_and_styles_count_together():
    config = ApplyConfig((Path("x.wav"),), Path("out"), ("a.wav",), styles=("house.json:0.5",))
    assert [(goal.path.name, goal.weight, goal.is_profile) for goal in references_of(config)] == [
        ("a.wav", 1.0, False),
        ("house.json", 0.5, True),
    ]
    with pytest.raises(SettingsError, match="have the weight 0"):
        references_of(ApplyConfig((Path("x.wav"),), Path("out"), ("a.wav:0",)))


def test_a_table_is_told_what_was_meant():
    def told(*references, styles=()):
        return names_of(references_of(ApplyConfig((), Path("out"), references, styles=styles)))

    assert told("a.wav") == {"reference": "a.wav"}
    assert told("a.wav:5") == {"reference": "a.wav"}
    assert told("a.wav", "b.wav") == {"reference": "a.wav, b.wav"}
    assert told("a.wav:2", "book") == {"reference": "a.wav:2, book:1"}
    assert told("a.wav", styles=("house.json",)) == {"reference": "a.wav", "style": "house.json"}
