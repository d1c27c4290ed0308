"""Text and tables as HTML."""

import re
from collections.abc import Sequence
from html import escape
from typing import Final

from fxst.chains.table import Table, short
from fxst.effects.parameters import Setting
from fxst.report.content import Grid, Track

__all__ = ["grid", "parameters", "text"]

# HTML has no place for these, in whatever form they are written, and some turn the direction of what follows; a file's
# name may hold them.
_UNPRINTABLE: Final = re.compile(
    r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_FIGURE: Final = re.compile(r"[-+\u2212±<>≤≥]?\s*[\d.∞]|[-\u2013\u2014]?$|n/a$")
_AWAY: Final = "out of the way"


def text(words: str) -> str:
    """Make text safe anywhere in a page, between tags and in quotes."""
    return escape(_UNPRINTABLE.sub("\ufffd", words))


def grid(table: Grid) -> str:
    """Write a grid as a table in a box of its own, which scrolls where the screen is narrower."""
    columns = list(zip(*table.rows, strict=True)) if table.rows else [()] * len(table.header)
    classes = [
        ' class="figure"' if number and all(_FIGURE.match(cell.strip()) for cell in column) else ""
        for number, column in enumerate(columns)
    ]
    head = "".join(f'<th scope="col"{c}>{text(cell)}</th>' for cell, c in zip(table.header, classes, strict=True))
    rows = "".join(
        f'<tr><th scope="row">{text(row[0])}</th>'
        + "".join(f"<td{c}>{text(cell)}</td>" for cell, c in zip(row[1:], classes[1:], strict=True))
        + "</tr>"
        for row in table.rows
    )
    return _scrolling(table.caption, f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>", style="grid-table")


def parameters(tracks: Sequence[Track]) -> str:
    """Write the parameter tables of all tracks that have one: what one chain made, side by side.

    Constants, which nobody turned, are folded away, and what is out of the way is said to be so. Where a model told
    how sure it was of each effect, that stands below.
    """
    chains: dict[str, list[tuple[Track, Table]]] = {}
    for track in tracks:
        if track.settings is not None:
            chains.setdefault(repr(track.settings.chain), []).append((track, track.settings))
    return "".join(_of_chain(made) for made in chains.values())


def _of_chain(made: Sequence[tuple[Track, Table]]) -> str:
    tables = [table for _, table in made]
    chain = tables[0].chain
    labels = [track.label for track, _ in made]
    unused = set(chain.labels).intersection(*(table.bypassed for table in tables))
    rows = [[table[index] for table in tables] for index in range(len(tables[0]))]
    turned = [row for row in rows if row[0].minimum != row[0].maximum and row[0].effect not in unused]
    constant = [row for row in rows if row[0].minimum == row[0].maximum and row[0].effect not in unused]
    parts = []
    if turned or unused:
        body = [_effect(label, made, [row for row in turned if row[0].effect == label]) for label in chain.labels]
        content = _head(labels, ranges=True) + f"<tbody>{''.join(body)}</tbody>"
        parts.append(_scrolling(f"Parameters of the chain {chain.name}", content, style="parameters"))
    parts += [_confidence(track, table, alone=len(made) == 1) for track, table in made if table.probabilities]
    if constant:
        count = "1 constant" if len(constant) == 1 else f"{len(constant)} constants"
        body = [f"<tr>{_names(row)}{_cells(row)}</tr>" for row in constant]
        content = _head(labels, ranges=False) + f"<tbody>{''.join(body)}</tbody>"
        inner = _scrolling(f"Constants of the chain {chain.name}", content, style="parameters")
        parts.append(f'<details class="constants"><summary>{count}</summary>{inner}</details>')
    return "".join(parts)


def _head(labels: Sequence[str], *, ranges: bool) -> str:
    columns = "".join(f'<th scope="col" class="figure">{text(label)}</th>' for label in labels)
    columns += '<th scope="col">Unit</th>' + ('<th scope="col" class="figure">Range</th>' if ranges else "")
    return f'<thead><tr><th scope="col">Effect</th><th scope="col">Parameter</th>{columns}</tr></thead>'


def _effect(label: str, made: Sequence[tuple[Track, Table]], rows: Sequence[Sequence[Setting]]) -> str:
    """Write what can be turned of an effect; a table that has it out of the way has one cell, which says so."""
    away = [label in table.bypassed for _, table in made]
    if all(away):
        name = f'<th scope="row">{text(label)}</th>'
        return f'<tr>{name}<td colspan="{len(made) + 3}" class="range">{_AWAY}</td></tr>'
    body = []
    for number, row in enumerate(rows):
        cells = []
        for setting, unused in zip(row, away, strict=True):
            if not unused:
                cells.append(f'<td class="figure">{_number(setting.value)}</td>')
            elif not number:
                cells.append(f'<td rowspan="{len(rows)}" class="figure range">{_AWAY}</td>')
        first = row[0]
        cells.append(f"<td>{text(first.unit)}</td>")
        cells.append(f'<td class="figure range">{_number(first.minimum)} … {_number(first.maximum)}</td>')
        body.append(f"<tr>{_names(row)}{''.join(cells)}</tr>")
    return "".join(body)


def _names(row: Sequence[Setting]) -> str:
    return f'<td>{text(row[0].effect)}</td><th scope="row">{text(row[0].parameter)}</th>'


def _cells(row: Sequence[Setting]) -> str:
    values = "".join(f'<td class="figure">{_number(setting.value)}</td>' for setting in row)
    return f"{values}<td>{text(row[0].unit)}</td>"


def _confidence(track: Track, table: Table, *, alone: bool) -> str:
    shares = ", ".join(f"{label} {share:.0%}" for label, share in table.probabilities.items())
    whose = "Effect probability" if alone else f"{track.label}: effect probability"
    return f'<p class="note">{text(f"{whose}: {shares}")}</p>'


def _scrolling(caption: str, content: str, *, style: str) -> str:
    # Focusable, so that it can be scrolled without a mouse.
    return (
        f'<div class="scroll" role="group" aria-label="{text(caption)}" tabindex="0">'
        f'<table class="{style}"><caption>{text(caption)}</caption>{content}</table></div>'
    )


def _number(value: float) -> str:
    return short(value).replace("-", "\u2212")
