"""A transfer in a notebook: players, the equaliser's curve and the table, without scripts or style sheets."""

import base64
from collections.abc import Sequence
from typing import Final

from fxst.report import media
from fxst.report.content import ReportEntry, Track
from fxst.report.media import Quality
from fxst.report.page import templates
from fxst.report.parameters import comparisons
from fxst.report.plot import equaliser_svg

__all__ = ["notebook_html"]

_QUALITY: Final = Quality(30, 128, 160)


def notebook_html(tracks: Sequence[Track]) -> str:
    """Return what a notebook shows of a transfer.

    The players have the loudest 30 s at the levels that they are, or all softer by the same where one is over full
    scale.

    Args:
        tracks: Its recordings, of which the output has settings.
    """
    entry = ReportEntry("", tuple(tracks))
    sounds, lowered_db = media.sounds(entry, _QUALITY)
    output = next(track for track in tracks if track.settings is not None)
    assert output.settings is not None, "as was asked for"
    curve = equaliser_svg(output.settings, sample_rate=output.recording.sample_rate)
    return (
        templates()
        .get_template("notebook.html")
        .render(
            players=list(zip(tracks, sounds, strict=True)),
            lowered_db=lowered_db,
            curve=base64.b64encode(curve).decode("ascii"),
            comparisons=comparisons(tracks),
        )
    )
