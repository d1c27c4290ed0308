"""Style profiles: what recordings sound like, as numbers, to be used without the recordings.

A profile is what a model heard of them, and what caution compares recordings by: means over whole recordings, and for a
model that pairs moments the levels of a few hundred short ones, in no order of time. It holds no sound. But of a
recording of a few seconds nearly every moment is among them, and many can be put beside their neighbours again, as
alike as those are: of what is secret, save the style of minutes. A profile is good for the model that heard.
"""

import json
import math
import os
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from fxst import staging
from fxst.errors import SettingsError
from fxst.transfer.descriptors import Traits, mixed
from fxst.transfer.level_matching import softness
from fxst.version import __version__

__all__ = [
    "SUFFIX",
    "StyleProfile",
    "check_model",
    "check_statistics",
    "from_json",
    "mean",
    "read",
    "to_json",
    "write",
]

FORMAT: Final = "fxst-style-profile"
FORMAT_VERSION: Final = 2
SUFFIX: Final = ".json"

_LARGEST_BYTES: Final = 1 << 22
_MOST_STATISTICS: Final = 1 << 15
_MOST_FRAMES: Final = 1024
_MOST_BANDS: Final = 1024
_MOST_DB: Final = 600.0
"""Levels beyond, up or down, are no recording's; as a factor on samples they would hardly be a float32 number."""


@dataclass(frozen=True)
class StyleProfile:
    """What some recordings sound like, to a model.

    Args:
        model: The model's name.
        model_sha256: Its fingerprint.
        statistics: What it heard, float32 numbers, the mean over all that counts.
        traits: What caution compares recordings by.
        loudness_lufs: Integrated loudness; None where it is not known.
        recordings: What it was made from, by name.
        frames: Short moments in which something sounds, of each the level in each band, in whole tenths of a dB, so
            that files stay small; empty where the model hears none.
    """

    model: str
    model_sha256: str
    statistics: tuple[float, ...]
    traits: Traits
    loudness_lufs: float | None = None
    recordings: tuple[str, ...] = ()
    frames: tuple[tuple[int, ...], ...] = ()


def mean(profiles: Sequence[StyleProfile], weights: Sequence[float]) -> StyleProfile:
    """Give the weighted mean of profiles: a style between theirs.

    Of frames there is no mean: each profile gives as many of its own as it counts for.

    Args:
        profiles: One or more, all of one model.
        weights: As many, not negative, and not all 0; those with 0 do not count.

    Raises:
        SettingsError: They are of different models, or one is damaged.
    """
    pairs = [pair for pair in zip(profiles, weights, strict=True) if pair[1] > 0]
    profiles, weights = [profile for profile, _ in pairs], [weight for _, weight in pairs]
    first = profiles[0]
    bands = next((len(profile.frames[0]) for profile in profiles if profile.frames), 0)
    for other in profiles[1:]:
        check_model(other, first.model, first.model_sha256)
        check_statistics(other, len(first.statistics), bands)
    if len(profiles) == 1:
        return first
    shares = np.array(weights, np.float64) / max(weights)  # the sum of the largest numbers is none
    shares /= shares.sum()
    statistics = (shares @ np.array([profile.statistics for profile in profiles])).astype(np.float32)
    levels = [profile.loudness_lufs for profile in profiles]
    return replace(
        first,
        statistics=tuple(statistics.tolist()),
        traits=mixed([profile.traits for profile in profiles], shares.tolist()),
        loudness_lufs=None if None in levels else float(shares @ np.array(levels, np.float64)),
        recordings=tuple(name for profile in profiles for name in profile.recordings),
        frames=_shared_out([profile.frames for profile in profiles], shares),
    )


def _shared_out(
    several: Sequence[tuple[tuple[int, ...], ...]], shares: "np.typing.NDArray[np.float64]"
) -> tuple[tuple[int, ...], ...]:
    """Take frames of each in proportion to its share, evenly spread over all levels.

    As many as the longest profile has: so a profile and itself are itself, and not a coarser one.
    """
    weights = [
        np.full(len(frames), share / len(frames)) for frames, share in zip(several, shares, strict=True) if frames
    ]
    if not weights:
        return ()
    frames = [frame for of_one in several for frame in of_one]
    order = np.array(sorted(range(len(frames)), key=lambda index: softness(frames[index])))
    total = max(len(of_one) for of_one in several)
    reached = np.cumsum(np.concatenate(weights)[order])
    places = np.searchsorted(reached, reached[-1] * (np.arange(total) + 0.5) / total)
    return tuple(frames[index] for index in order[places])


def check_model(profile: StyleProfile, name: str, sha256: str) -> None:
    """See that a profile is of a model.

    Args:
        profile: The profile.
        name: The model's name.
        sha256: Its fingerprint.

    Raises:
        SettingsError: It is of another one.
    """
    if profile.model_sha256 == sha256:
        return
    if profile.model == name:
        raise SettingsError(f"saved by another version of the model {name!r}: save it again with `fxst style save`.")
    raise SettingsError(
        f"saved by the model {_cell(profile.model)}, and this is {name!r}: name that one with --model, or save the "
        "style again."
    )


def check_statistics(profile: StyleProfile, count: int, bands: int) -> None:
    """See that a profile says as much as its model hears.

    Args:
        profile: The profile.
        count: How many statistics those are.
        bands: In how many bands it hears a moment; 0 where it hears none.

    Raises:
        SettingsError: It says more or less.
    """
    if len(profile.statistics) != count:
        raise SettingsError(
            f"The style profile holds {len(profile.statistics):,} statistics, and its model {_cell(profile.model)} "
            f"hears {count:,}: it is damaged, so save the style again."
        )
    if profile.frames and len(profile.frames[0]) != bands:
        raise SettingsError(
            f"The style profile holds frames of {len(profile.frames[0]):,} bands, and its model "
            f"{_cell(profile.model)} hears {bands:,}: it is damaged, so save the style again."
        )


def to_json(profile: StyleProfile) -> str:
    """Write a profile as the text of a file."""
    head = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "made_by": {"fxst": __version__},
        "model": profile.model,
        "model_sha256": profile.model_sha256,
        "recordings": list(profile.recordings),
        "loudness_lufs": profile.loudness_lufs,
        "traits": asdict(profile.traits),
        # The shortest decimals that read back as the same float32 numbers.
        "statistics": [float(str(np.float32(number))) for number in profile.statistics],
        "frames": profile.frames,
    }
    return "{\n" + ",\n".join(f' "{key}": {json.dumps(value)}' for key, value in head.items()) + "\n}\n"


def write(profile: StyleProfile, path: Path) -> None:
    """Write a profile; the file appears under its name only when it is whole.

    Args:
        profile: What to write.
        path: Where it goes.

    Raises:
        OutputError: It cannot be written.
        SettingsError: Its name has another ending than .json.
    """
    if path.suffix.lower() != SUFFIX:
        raise SettingsError(f"{_name(path)} has no profile extension: use {SUFFIX}.")
    staging.write(path, to_json(profile).encode())


def read(path: Path) -> StyleProfile:
    """Read a profile.

    Args:
        path: The file.

    Raises:
        SettingsError: It is missing, damaged, no profile, or of an unknown version.
    """
    name = _name(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingsError(f"{name} is a folder, a pipe or a device: name a style profile.")
        with open(path, "rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except FileNotFoundError as error:
        raise SettingsError(f"{name} does not exist: check the name of the style profile.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
        raise SettingsError(f"{name} cannot be read ({reason}): check its permissions.") from error
    if len(data) > _LARGEST_BYTES:
        raise SettingsError(f"{name} is larger than any style profile: name one that `fxst style save` wrote.")
    try:
        return from_json(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name} is not a text file: name a style profile.") from error
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from error


def from_json(text: str) -> StyleProfile:
    """Read a profile from the text of a file.

    Raises:
        SettingsError: It is damaged, no profile, or of an unknown version.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"not valid JSON ({error}); save the style again.") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else None
        raise SettingsError(
            f"not a style profile: its format is {_cell(found)}, not {FORMAT!r}; name one that `fxst style save` "
            "wrote, or a parameter table with --params."
        )
    if document.get("version") in range(1, FORMAT_VERSION):
        raise SettingsError(
            f"version {_cell(document['version'])} of the profile's format, and this fxst reads {FORMAT_VERSION}: save "
            "the style again with `fxst style save`."
        )
    if document.get("version") != FORMAT_VERSION:
        raise SettingsError(
            f"version {_cell(document.get('version'))} of the profile's format, and this fxst reads {FORMAT_VERSION}; "
            "update fxst."
        )
    try:
        statistics = _numbers(document["statistics"])
        if not 0 < len(statistics) <= _MOST_STATISTICS:
            raise ValueError(f"{len(statistics):,} statistics")
        told = dict(document["traits"])
        colour_db = {_number(float(hz)): _level(db) for hz, db in dict(told.pop("colour_db")).items()}
        if not colour_db or min(colour_db) <= 0:
            raise ValueError("no spectrum")
        traits = Traits(colour_db=colour_db, **{str(key): _level(value) for key, value in told.items()})
        loudness = document["loudness_lufs"]
        recordings = document["recordings"]
        if not isinstance(recordings, list):
            raise TypeError("no list of recordings")
        return StyleProfile(
            model=_text(document["model"]),
            model_sha256=_text(document["model_sha256"]),
            statistics=statistics,
            traits=traits,
            loudness_lufs=None if loudness is None else _level(loudness),
            recordings=tuple(_text(name) for name in recordings),
            frames=_frames(document["frames"]),
        )
    except KeyError as error:
        raise SettingsError(f"{error} is missing in this style profile; save the style again.") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(f"damaged style profile ({str(error)[:80]}); save the style again.") from error


def _numbers(given: Any) -> tuple[float, ...]:
    if not isinstance(given, list):
        raise TypeError("no list of statistics")
    with np.errstate(over="ignore"):
        numbers = np.array([_number(value) for value in given], np.float64).astype(np.float32)
    if not np.isfinite(numbers).all():
        raise ValueError("a statistic is too large")
    return tuple(numbers.tolist())


def _frames(given: Any) -> tuple[tuple[int, ...], ...]:
    if not isinstance(given, list) or not all(isinstance(frame, list) for frame in given):
        raise TypeError("no list of frames")
    if len(given) > _MOST_FRAMES:
        raise ValueError(f"{len(given):,} frames")
    bands = {len(frame) for frame in given}
    if len(bands) > 1:
        raise ValueError("frames of different lengths")
    if not bands <= set(range(1, _MOST_BANDS + 1)):
        raise ValueError(f"frames of {bands.pop():,} bands")
    return tuple(tuple(_tenths(level) for level in frame) for frame in given)


def _tenths(given: Any) -> int:
    _level(_number(given) / 10)
    if given != int(given):
        raise ValueError(f"{_cell(given)} is no whole number")
    return int(given)


def _number(given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise ValueError(f"{_cell(given)} is no finite number")
    return float(given)


def _level(given: Any) -> float:
    number = _number(given)
    if abs(number) > _MOST_DB:
        raise ValueError(f"{number:g} dB is no recording's level")
    return number


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError(f"{_cell(given)} is no text")
    return given


def _cell(given: Any) -> str:
    """Quote what a file says, in one short line whatever it is."""
    quoted = repr(given)
    return quoted if len(quoted) <= 60 else f"{quoted[:57]}..."


def _name(path: Path) -> str:
    # repr keeps the message to one line whatever the name holds.
    return repr(os.fspath(path))
