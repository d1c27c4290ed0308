"""Text and tables as HTML."""

import re
from collections.abc import Sequence
from html import escape
from typing import Final

from fxst.parameters import Setting
from fxst.report.content import Grid, Track
from fxst.tables import Table, short

__all__ = ["grid", "parameters", "text"]

# HTML has no place for these, in whatever form they are written; a file's name may hold them.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_FIGURE: Final = re.compile(r"[-+\N{MINUS SIGN}±<>≤≥]?\s*[\d.]|[-\N{EN DASH}\N{EM DASH}]?$|n/a$")


def text(words: str) -> str:
    """Make text safe anywhere in a page, between tags and in quotes."""
    return escape(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", words))


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

    Constants, which nobody turned, are folded away.
    """
    chains: dict[str, list[tuple[Track, Table]]] = {}
    for track in tracks:
        if track.settings is not None:
            chains.setdefault(repr(track.settings.chain), []).append((track, track.settings))
    return "".join(_of_chain(made) for made in chains.values())


def _of_chain(made: Sequence[tuple[Track, Table]]) -> str:
    tables = [table for _, table in made]
    chain = tables[0].chain
    rows = [[table[index] for table in tables] for index in range(len(tables[0]))]
    turned = [row for row in rows if row[0].minimum != row[0].maximum]
    constant = [row for row in rows if row[0].minimum == row[0].maximum]
    caption = f"Parameters of the chain {chain.name}"
    labels = [track.label for track, _ in made]
    parts = []
    if turned:
        parts.append(_scrolling(caption, _settings(labels, turned, ranges=True), style="parameters"))
    if constant:
        count = "1 constant" if len(constant) == 1 else f"{len(constant)} constants"
        caption = f"Constants of the chain {chain.name}"
        inner = _scrolling(caption, _settings(labels, constant, ranges=False), style="parameters")
        parts.append(f'<details class="constants"><summary>{count}</summary>{inner}</details>')
    return "".join(parts)


def _settings(labels: Sequence[str], rows: Sequence[Sequence[Setting]], *, ranges: bool) -> str:
    columns = "".join(f'<th scope="col" class="figure">{text(label)}</th>' for label in labels)
    columns += '<th scope="col">Unit</th>' + ('<th scope="col" class="figure">Range</th>' if ranges else "")
    body = []
    for row in rows:
        first = row[0]
        cells = "".join(f'<td class="figure">{_number(setting.value)}</td>' for setting in row)
        cells += f"<td>{text(first.unit)}</td>"
        if ranges:
            cells += f'<td class="figure range">{_number(first.minimum)} … {_number(first.maximum)}</td>'
        name = f'<td>{text(first.effect)}</td><th scope="row">{text(first.parameter)}</th>'
        body.append(f"<tr>{name}{cells}</tr>")
    head = f'<tr><th scope="col">Effect</th><th scope="col">Parameter</th>{columns}</tr>'
    return f"<thead>{head}</thead><tbody>{''.join(body)}</tbody>"


def _scrolling(caption: str, content: str, *, style: str) -> str:
    # Focusable, so that it can be scrolled without a mouse.
    return (
        f'<div class="scroll" role="group" aria-label="{text(caption)}" tabindex="0">'
        f'<table class="{style}"><caption>{text(caption)}</caption>{content}</table></div>'
    )


def _number(value: float) -> str:
    return short(value).replace("-", "\N{MINUS SIGN}")
