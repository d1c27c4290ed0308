"""The report page of `fxst apply`: the results of one or more files, with players and charts."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from fxst import audio, authorship
from fxst.chains.table import AMOUNT, LOUDNESS, Table
from fxst.errors import AudioError
from fxst.report import FigureTable, OnDisk, Page, Recording, ReportEntry, Track, write_report
from fxst.report.stereo import StereoImage
from fxst.storage import copies

if TYPE_CHECKING:
    from fxst.batch.results import FileResult

__all__ = ["TransferReport"]

MOST_ROWS: Final = 1000
"""Files that a table lists, so that the page stays small."""

MOST_REFERENCES: Final = 3
"""References that are played and drawn; more curves could not be distinguished."""

_LONGEST_CELL: Final = 300
_UNKNOWN: Final = "\u2013"


@dataclass(frozen=True)
class _Rendered:
    """A file that can be played: its settings, and its recordings on disk."""

    name: str
    before: OnDisk
    after: OnDisk
    settings: Table | None
    notes: tuple[str, ...]


class TransferReport:
    """Collects the results of files one by one, and writes a page of them.

    Files are measured on disk, in blocks. Of each only a row of a table is kept, and of a few, evenly spread, the
    paths. So memory grows neither with their length nor with their number.

    Args:
        path: The page.
        references: The recordings among the references.
        items: Number of files that can be played.
        names: Names of temporary files in the page, such as standard input.
    """

    def __init__(
        self, path: Path, *, references: Sequence[Path], items: int, names: Mapping[Path, str] | None = None
    ) -> None:
        self.path = path
        self._references = tuple(references)
        self._items = items
        self._names = dict(names or {})
        self._rows: list[tuple[str, ...]] = []
        self._failures: list[tuple[str, str]] = []
        self._rendered = 0
        self._failed = 0
        self._made_by = ""
        self._kept: list[_Rendered] = []
        self._every = 1  # one of this many rendered files is kept

    def add(self, result: "FileResult") -> None:
        """Add the result of a file, and measure its input and output."""
        name = self._names.get(result.input) or copies.shown(str(result.input))
        if result.error:
            self._failed += 1
            if self._failed <= MOST_ROWS:
                self._failures.append((_shortened(name), _shortened(self._renamed(result.error))))
            return
        settings = result.table
        remarks = (*(("made by an earlier run",) if result.was_finished else ()), *map(self._renamed, result.warnings))
        effects = _UNKNOWN
        if settings is not None:
            self._made_by = self._made_by or _made_by(settings)
            used = [label for label in settings.chain.labels if label not in settings.bypassed]
            effects = ", ".join(used) or "none"
        levels: tuple[str, ...] = (_UNKNOWN,) * 4
        try:
            before, after = OnDisk(result.input), OnDisk(result.output)
            pair = (before.survey, after.survey)
            levels = (*(_db(of.lufs) for of in pair), *(_db(of.true_peak_dbtp) for of in pair))
            if self._rendered % self._every == 0:
                self._keep(_Rendered(name, before, after, settings, tuple(self._notes(result, remarks))))
        except AudioError as error:
            remarks = (*remarks, f"not measured: {self._renamed(str(error))}")
        self._rendered += 1
        if self._rendered <= MOST_ROWS:
            self._rows.append((_shortened(name), *levels, effects, _shortened("; ".join(remarks))))

    def write(self) -> None:
        """Write the page, which appears under its name only when it is complete.

        Raises:
            FxstError: It cannot be written.
        """
        references, lost = self._reference_tracks()
        places = np.linspace(0, len(self._kept) - 1, min(self._items, len(self._kept))).round().astype(int)
        chosen = [self._kept[place] for place in places if _is_there(self._kept[place])]
        # Worker processes do not finish in the order of the files.
        entries = tuple(_entry(rendered, references) for rendered in sorted(chosen, key=lambda one: one.name))
        alone = self._rendered == 1 and not self._failed
        title = f"fxst apply: {self._rows[0][0]}" if alone else "fxst apply"
        lead = (*self._lead(len(entries), alone=alone), *lost)
        grids = () if alone and entries else tuple(self._grids(references))
        with authorship.noted():
            write_report(self.path, Page(title, lead, grids, entries))

    def _keep(self, rendered: _Rendered) -> None:
        self._kept.append(rendered)
        if len(self._kept) > 2 * self._items:  # from now on half as many
            del self._kept[1::2]
            self._every *= 2

    def _renamed(self, message: str) -> str:
        """Replace the names of temporary files in a message."""
        for path, name in self._names.items():
            message = message.replace(repr(str(path)), name)
        return copies.shown(message)

    def _notes(self, result: "FileResult", remarks: Iterable[str]) -> Iterator[str]:
        table = f", settings in {str(result.table_path)!r}" if result.table_path is not None else ""
        yield self._renamed(f"Written to {str(result.output)!r}{table}.")
        if result.exports:
            yield copies.shown(f"For other programs: {', '.join(repr(str(path)) for path in result.exports)}.")
        if result.table is not None and AMOUNT in result.table.provenance:
            yield f"Amount of the style: {result.table.provenance[AMOUNT]}."
        if result.table is not None and LOUDNESS in result.table.provenance:
            yield f"Gain after the effects: {result.table.provenance[LOUDNESS]}."
        yield from (f"Note: {remark}." for remark in remarks)

    def _reference_tracks(self) -> tuple[tuple[Track, ...], tuple[str, ...]]:
        """Return the tracks of the references, and a sentence on each that cannot be read."""
        tracks: list[Track] = []
        lost: list[str] = []
        shown = self._references[:MOST_REFERENCES]
        for path in shown:
            try:
                recording = OnDisk(path)
                _ = recording.survey
            except AudioError as error:
                lost.append(f"Not shown: {error}")
                continue
            label = "reference" if len(shown) == 1 else f"reference {path.name}"
            tracks.append(Track(label, "reference", recording))
        return tuple(tracks), tuple(lost)

    def _lead(self, playable: int, *, alone: bool) -> Iterator[str]:
        if not alone:
            failed = f", {self._failed:,} failed" if self._failed else ""
            yield f"{_count(self._rendered, 'file')} rendered{failed}."
        if self._made_by:
            yield self._made_by
        if self._rendered:
            yield (
                "Loudness (ITU-R BS.1770-4), true peaks and spectra are measured over the whole of each file. Bypassed "
                "effects pass the signal unchanged."
            )
        if self._rendered > playable > 0:
            yield f"{playable:,} of them can be played here, evenly spread; --report-items changes the number."
        if len(self._references) > MOST_REFERENCES and playable:
            yield f"The page plays the first {MOST_REFERENCES} of {len(self._references):,} references."
        if max(self._rendered, self._failed) > MOST_ROWS:
            yield f"Each table lists the first {MOST_ROWS:,} files."

    def _grids(self, references: Sequence[Track]) -> Iterator[FigureTable]:
        if self._failures:
            yield FigureTable("Files that failed", ("File", "Why"), tuple(sorted(self._failures)))
        if self._rows:
            levels = ("Loudness before (LUFS)", "after", "True peak before (dBTP)", "after")
            columns = 7 if any(row[-1] for row in self._rows) else 6
            header = ("File", *levels, "Effects in use", "Remarks")[:columns]
            yield FigureTable("Rendered files", header, tuple(row[:columns] for row in sorted(self._rows)))
            if references:
                yield _levels("References", references)


def _entry(rendered: _Rendered, references: Sequence[Track]) -> ReportEntry:
    tracks = (
        Track("input", "input", rendered.before),
        Track("output", "output", rendered.after, rendered.settings),
        *references,
    )
    return ReportEntry(rendered.name, tracks, _levels("Loudness and peaks", tracks), rendered.notes)


def _levels(caption: str, tracks: Sequence[Track]) -> FigureTable:
    header: tuple[str, ...] = ("", "Loudness (LUFS)", "Loudness range (LU)", "True peak (dBTP)", "Length (s)")
    rows: list[tuple[str, ...]] = [(track.label, *_measures(track.recording)) for track in tracks]
    images = [track.recording.survey.stereo for track in tracks]
    if any(images):
        header += ("Correlation", "Side to mid (dB)")
        rows = [(*row, *_width(image)) for row, image in zip(rows, images, strict=True)]
    return FigureTable(caption, header, tuple(rows))


def _width(image: StereoImage | None) -> tuple[str, str]:
    """Return the correlation of the channels and the width of a recording, as text; dashes for one that has none."""
    if image is None:
        return _UNKNOWN, _UNKNOWN
    correlation = _UNKNOWN if math.isnan(image.correlation) else f"{round(image.correlation, 2) + 0.0:.2f}"
    return correlation.replace("-", "\u2212"), _db(image.side_db)


def _measures(recording: Recording) -> Iterator[str]:
    survey = recording.survey
    yield from (_db(survey.lufs), _db(survey.loudness_range_lu), _db(survey.true_peak_dbtp), f"{survey.seconds:.2f}")


def _made_by(settings: Table) -> str:
    """Return a sentence on a table's references and model; empty for a table that was written by hand."""
    known = settings.provenance
    style = f"the style {known['style']}" if "style" in known else None
    references = " and ".join(filter(None, (known.get("reference"), style)))
    for key, what in (("reference_eq", "equaliser"), ("reference_dynamics", "dynamics")):
        references += f", with the {what} of {known[key]}" if references and key in known else ""
    model = f", by the model {known['model']}" if "model" in known else ""
    return f"Made to sound like {_shortened(references)}{model}." if references else ""


def _is_there(rendered: _Rendered) -> bool:
    """Return whether a file can still be opened: a batch may take hours."""
    try:
        for recording in (rendered.before, rendered.after):
            audio.probe(recording.path)
    except AudioError:
        return False
    return True


def _db(value: float) -> str:
    """Format a level to a tenth of a decibel; silence is minus infinity, and NaN is a dash."""
    if math.isnan(value):
        return _UNKNOWN
    number = "∞" if math.isinf(value) else f"{abs(round(value, 1)):.1f}"
    return f"\u2212{number}" if round(value, 1) < 0 else number


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"
