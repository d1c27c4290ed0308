"""Style profiles: the analysis of reference recordings as numbers, for use without the recordings.

A profile holds a model's statistics and the descriptors, which are means over whole recordings, and for a model that
pairs frames the levels of a few hundred of them, not in order of time. It holds no sound. But from a recording of a few
seconds it holds nearly every frame, and neighbours can be found again by their likeness: save the style of confidential
recordings from minutes of sound. A profile is valid for the model that made it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np

from fxst import staging, untrusted
from fxst.documents import DocumentKind
from fxst.errors import SettingsError
from fxst.transfer.descriptors import Descriptors, Level, mean_descriptors
from fxst.transfer.level_matching import loudness_key
from fxst.untrusted import brief, quoted
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
FORMAT_VERSION: Final = 4
SUFFIX: Final = ".json"

_KIND: Final = DocumentKind(
    "style profile",
    FORMAT,
    FORMAT_VERSION,
    largest_bytes=1 << 22,
    writer="fxst style save",
    remedy="save the style again",
    instead="a parameter table with --params",
)

_Tenths = Annotated[int, msgspec.Meta(ge=-6000, le=6000, description="A level in tenths of a dB.")]
_Frame = Annotated[tuple[_Tenths, ...], msgspec.Meta(min_length=1, max_length=1024)]


class StyleProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The analysis of reference recordings by a model.

    Attributes:
        model: The model's name.
        model_sha256: The model's hash.
        statistics: The model's statistics, float32 numbers, the mean over all windows that count.
        descriptors: What level matching and the safety check compare recordings by.
        loudness_lufs: Integrated loudness; None where it is not known.
        recordings: The names of the recordings.
        frames: The levels of active short-time frames by band, in whole tenths of a dB, so that files stay small; empty
            for a model that uses none.
    """

    model: str
    model_sha256: str
    statistics: Annotated[tuple[float, ...], msgspec.Meta(min_length=1, max_length=1 << 15)]
    descriptors: Descriptors
    loudness_lufs: Level | None
    recordings: tuple[str, ...]
    frames: Annotated[tuple[_Frame, ...], msgspec.Meta(max_length=1024)]


def mean(profiles: Sequence[StyleProfile], weights: Sequence[float]) -> StyleProfile:
    """Return the weighted mean of profiles: a style between theirs.

    Frames have no mean: each profile contributes frames in proportion to its weight.

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
    return msgspec.structs.replace(
        first,
        statistics=tuple(statistics.tolist()),
        descriptors=mean_descriptors([profile.descriptors for profile in profiles], shares.tolist()),
        loudness_lufs=None if None in levels else float(shares @ np.array(levels, np.float64)),
        recordings=tuple(name for profile in profiles for name in profile.recordings),
        frames=_shared_out([profile.frames for profile in profiles], shares),
    )


def _shared_out(
    several: Sequence[tuple[tuple[int, ...], ...]], shares: "np.typing.NDArray[np.float64]"
) -> tuple[tuple[int, ...], ...]:
    """Take frames of each in proportion to its share, evenly spread over all levels.

    There are as many as in the longest profile, so that the mean of a profile and itself is that profile.
    """
    weights = [
        np.full(len(frames), share / len(frames)) for frames, share in zip(several, shares, strict=True) if frames
    ]
    if not weights:
        return ()
    frames = [frame for of_one in several for frame in of_one]
    order = np.array(sorted(range(len(frames)), key=lambda index: loudness_key(frames[index])))
    total = max(len(of_one) for of_one in several)
    reached = np.cumsum(np.concatenate(weights)[order])
    places = np.searchsorted(reached, reached[-1] * (np.arange(total) + 0.5) / total)
    return tuple(frames[index] for index in order[places])


def check_model(profile: StyleProfile, name: str, sha256: str) -> None:
    """Check that a model made a profile.

    Args:
        profile: The profile.
        name: The model's name.
        sha256: Its hash.

    Raises:
        SettingsError: Another model made it.
    """
    if profile.model_sha256 == sha256:
        return
    if profile.model == name:
        raise SettingsError(f"saved by another version of the model {name!r}: save it again with `fxst style save`.")
    raise SettingsError(
        f"saved by the model {brief(profile.model)}, and this is {name!r}: name that one with --model, or save the "
        "style again."
    )


def check_statistics(profile: StyleProfile, count: int, bands: int) -> None:
    """Check that a profile has the sizes of its model.

    Args:
        profile: The profile.
        count: The number of the model's statistics.
        bands: The number of bands of its frames; 0 for a model that uses none.

    Raises:
        SettingsError: It has other sizes.
    """
    if len(profile.statistics) != count:
        raise SettingsError(
            f"The style profile holds {len(profile.statistics):,} statistics, and its model {brief(profile.model)} "
            f"has {count:,}: it is damaged, so save the style again."
        )
    if profile.frames and len(profile.frames[0]) != bands:
        raise SettingsError(
            f"The style profile holds frames of {len(profile.frames[0]):,} bands, and its model "
            f"{brief(profile.model)} has {bands:,}: it is damaged, so save the style again."
        )


def to_json(profile: StyleProfile) -> str:
    """Return a profile as the text of a file."""
    # The shortest decimals that read back as the same float32 numbers.
    statistics = [float(str(np.float32(number))) for number in profile.statistics]
    document = {"format": FORMAT, "version": FORMAT_VERSION, "made_by": {"fxst": __version__}}
    document |= msgspec.to_builtins(profile, str_keys=True) | {"statistics": statistics}
    return "{\n" + ",\n".join(f' "{key}": {untrusted.to_json(value)}' for key, value in document.items()) + "\n}\n"


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
        raise SettingsError(f"{quoted(path)} has no profile extension: use {SUFFIX}.")
    staging.write(path, to_json(profile).encode())


def read(path: Path) -> StyleProfile:
    """Read a profile.

    Args:
        path: The file.

    Raises:
        SettingsError: It is missing, damaged, no profile, or of an unknown version.
    """
    text = _KIND.read(path)
    try:
        return from_json(text)
    except SettingsError as error:
        raise SettingsError(f"{quoted(path)}: {error}") from error


def from_json(text: str) -> StyleProfile:
    """Read a profile from the text of a file.

    Raises:
        SettingsError: It is damaged, no profile, or of an unknown version.
    """
    document = _KIND.parse(text)
    head = ("format", "version", "made_by")
    try:
        profile = msgspec.convert(
            {key: value for key, value in document.items() if key not in head}, StyleProfile, str_keys=True
        )
    except (msgspec.ValidationError, OverflowError) as error:
        raise SettingsError(f"damaged style profile ({str(error)[:120]}); save the style again.") from error
    with np.errstate(over="ignore"):
        statistics = np.array(profile.statistics, np.float64).astype(np.float32)
    if not np.isfinite(statistics).all():
        raise SettingsError("damaged style profile (a statistic is too large); save the style again.")
    if len({len(frame) for frame in profile.frames}) > 1:
        raise SettingsError("damaged style profile (frames of different lengths); save the style again.")
    if min(profile.descriptors.spectrum_db) <= 0:
        raise SettingsError("damaged style profile (a frequency is not above 0); save the style again.")
    return msgspec.structs.replace(profile, statistics=tuple(statistics.tolist()))
