import pytest

from fxst.batch.spans import Span
from fxst.errors import AudioError, SettingsError


@pytest.mark.parametrize(
    ("given", "begin", "end"),
    [
        ("1:20-2:10", 80, 130),
        ("80-130", 80, 130),
        ("0-0.5", 0, 0.5),
        ("90:00-91:30", 5400, 5490),
        ("1:00:00-1:00:30.25", 3600, 3630.25),
        ("59.999-1:00", 59.999, 60),
        ("1:20-", 80, None),
    ],
)
def test_a_range_is_written_as_a_person_writes_it(given, begin, end):
    span = Span.parse("--input-range", given)
    assert (span.begin, span.end) == (begin, end)
    assert span.frames(48_000) == (begin * 48_000, None if end is None else round((end - begin) * 48_000))


@pytest.mark.parametrize(
    "given",
    ["", "-", "1:20", "-2:10", "1:20-2:70", "1:90:00-2:00:00", "a-b", "1:20-2:10-3:00", "1e3-2e3", "1:20--2:10"],
)
def test_what_is_no_range_is_refused(given):
    with pytest.raises(
        SettingsError, match=r"--ref-range .* is not a range of time: write START-END, such as 1:20-2:10"
    ):
        Span.parse("--ref-range", given)


@pytest.mark.parametrize("given", ["2:10-1:20", "5-5", "0-0", "1:00-60"])
def test_an_empty_range_is_refused(given):
    with pytest.raises(SettingsError, match="is empty"):
        Span.parse("--input-range", given)


def test_a_range_of_which_there_is_nothing_is_refused_and_a_part_of_it_is_told():
    span = Span.parse("--input-range", "1-2")
    assert span.check("'a.wav'", 100, 100) == ()
    assert span.check("'a.wav'", 50, 100) == ("'a.wav' ends at 1.50 s, within --input-range 1-2",)
    with pytest.raises(AudioError, match=r"'a\.wav' ends before --input-range 1-2 begins"):
        span.check("'a.wav'", 0, 100)
