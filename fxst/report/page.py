"""The report page: one small HTML file, written completely or not at all."""

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fxst import staging
from fxst.chains.table import short
from fxst.report import charts, media
from fxst.report.charts import Chart
from fxst.report.content import Page, ReportEntry
from fxst.report.curves import charts_of, styles
from fxst.report.media import QUALITIES, EncodedSound, LoudExcerpt, Quality, encoded_bytes, excerpts, main_track
from fxst.report.parameters import comparisons
from fxst.report.recordings import InMemory
from fxst.version import __version__

__all__ = ["LARGEST_BYTES", "drawings", "script", "style_sheet", "templates", "write_report"]

LARGEST_BYTES: Final = 5_000_000
"""Largest size of a page: small enough for a mail, and quick to open."""

# Characters that HTML forbids in any form; a file name may contain them.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def write_report(path: Path, page: Page) -> None:
    """Write a report page: one HTML file that works offline, of 5 MB at most.

    The file appears under its name only when it is complete.

    Args:
        path: The file.
        page: Its content. If there is too much audio, the excerpts become shorter, and then the last entries are left
            out, with a note on the page.

    Raises:
        OutputError: The file cannot be written.
        AudioError: A recording can no longer be read.
    """
    staging.write(path, _html(page).encode("utf-8"))


@dataclass(frozen=True)
class _Part:
    """An entry with its HTML `body`, which is everything but the player."""

    entry: ReportEntry
    key: str
    body: Markup

    @property
    def main(self) -> int:
        """Number of the track that the player starts with."""
        return self.entry.tracks.index(main_track(self.entry))

    @property
    def bytes(self) -> int:
        """Largest size without audio: no character takes more than six bytes."""
        names = (self.entry.title, *(track.label for track in self.entry.tracks))
        return 4000 + 6 * sum(map(len, names)) + len(self.body.encode())

    def sounds(self, quality: Quality) -> tuple[list[tuple[Any, str, EncodedSound]], float]:
        """Return its tracks, each with its style and encoded audio, and their common attenuation in dB."""
        encoded, lowered_db = media.sounds(self.entry, quality)
        tracks = self.entry.tracks
        return list(zip(tracks, styles(tracks), encoded, strict=True)), lowered_db


def _html(page: Page) -> str:
    files = {"style": style_sheet(), "script": script() + _file("page.js")}

    def render(parts: Sequence[_Part], quality: Quality) -> str:
        left_out = len(page.entries) - len(parts)
        shown = {"page": page, "parts": parts, "quality": quality, "left_out": left_out, "version": __version__}
        return templates().get_template("page.html").render(**shown, **files)

    fixed = len(render((), QUALITIES[0]).encode()) + 10_000
    return render(*_fitted(page.entries, LARGEST_BYTES - fixed))


def _fitted(entries: Sequence[ReportEntry], room: int) -> tuple[list[_Part], Quality]:
    """Return the entries that fit, and the best quality at which they do."""
    parts = [_part(entry, f"entry-{number}", QUALITIES[0]) for number, entry in enumerate(entries, 1)]
    for quality in QUALITIES:
        sizes = [part.bytes + encoded_bytes(part.entry, quality) for part in parts]
        if sum(sizes) <= room:
            break
    fitting = int(np.searchsorted(np.cumsum(sizes), room, side="right"))
    if quality.seconds != QUALITIES[0].seconds:
        # A shorter excerpt changes notes and time axes, but not the number of points.
        parts = [_part(part.entry, part.key, quality) for part in parts[:fitting]]
    return parts[:fitting], quality


def _part(entry: ReportEntry, key: str, quality: Quality) -> _Part:
    played = excerpts(entry, seconds=quality.seconds)
    body = (
        templates()
        .get_template("entry.html")
        .render(
            entry=entry,
            key=key,
            notes=(*entry.notes, *_not_finite_note(entry), *_excerpt_notes(entry, played)),
            charts=list(charts_of(entry, played[entry.tracks.index(main_track(entry))])),
            comparisons=comparisons(entry.tracks),
        )
    )
    return _Part(entry, key, Markup(body))


def _not_finite_note(entry: ReportEntry) -> Iterator[str]:
    mended = [track.label for track in entry.tracks if isinstance(track.recording, InMemory) and track.recording.mended]
    if mended:
        yield f"{', '.join(mended)}: samples that are not finite are played as silence."


def _excerpt_notes(entry: ReportEntry, played: Sequence[LoudExcerpt]) -> Iterator[str]:
    main = main_track(entry)
    for track, excerpt in zip(entry.tracks, played, strict=True):
        length = track.recording.survey.seconds
        if excerpt.seconds < length - 0.01 and (track is main or track.role == "reference"):
            yield (
                f"The player has the loudest {excerpt.seconds:.0f} s of {track.label} ({_clock(length)} long), "
                f"starting at {_clock(excerpt.start)}. Spectra and figures cover the whole recording."
            )


@cache
def templates(package: str | None = None) -> Environment:
    """Return the page's templates, which escape all inserted text.

    Args:
        package: A package with more templates.
    """
    packages = ("fxst.report",) if package is None else ("fxst.report", package)
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in packages]),
        autoescape=True,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_printable,
    )
    environment.filters |= {"clock": _clock, "number": _number, "sha256": _sha256}
    environment.globals |= {"width": charts.WIDTH, "left": charts.LEFT, "right": charts.WIDTH - charts.RIGHT}
    return environment


def _printable(value: Any) -> Any:
    """Format numbers to six digits, and replace characters that HTML forbids."""
    if isinstance(value, float):
        return f"{value:g}"
    return _UNPRINTABLE.sub("\ufffd", value) if type(value) is str else value


def style_sheet() -> Markup:
    """Return the style sheet of pages."""
    return _file("page.css")


def script() -> Markup:
    """Return the script of the player."""
    return _file("player.js")


def drawings(charts: Sequence[Chart], *, key: str) -> str:
    """Return charts as HTML.

    Args:
        charts: The charts.
        key: Begins the identifiers of their elements, so that no two on a page are the same.
    """
    return templates().get_template("drawings.html").render(charts=charts, key=key)


def _file(name: str) -> Markup:
    return Markup(resources.files("fxst.report").joinpath(name).read_text(encoding="utf-8"))


def _sha256(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _number(value: float) -> str:
    return short(value).replace("-", "\u2212")


def _clock(seconds: float) -> str:
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 // 10:02d}.{tenths % 10}"
