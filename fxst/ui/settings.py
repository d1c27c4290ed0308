"""What the page asks for: values, bypassed effects, amounts, loudness and ceiling; and what it shows of a table."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from fxst.chains.chain import rounded
from fxst.chains.table import Table
from fxst.configs import ApplyConfig
from fxst.effects import ParametricEQ, StereoWidth
from fxst.errors import SettingsError
from fxst.transfer.finishing import Finish

__all__ = ["Wanted", "described"]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of the page.

    Args:
        values: Values that differ from the model's choice, as `{effect: {parameter: value}}`.
        bypassed: The effects that are bypassed; None for those that the model bypasses.
        amounts: The amount of each effect that differs from 1.
        loudness: As `--loudness` takes it; None to leave it.
        ceiling: As `--ceiling` takes it.
        start: Where the excerpt begins, in seconds; None for the loudest.
        reference: The key of the reference that is played; None for the first.
    """

    values: dict[str, dict[str, float]] = {}
    bypassed: tuple[str, ...] | None = None
    amounts: dict[str, float] = {}
    loudness: str | None = None
    ceiling: str = "-1"
    start: float | None = None
    reference: str | None = None

    def table(self, chosen: Table) -> Table:
        """Return the parameter table of these settings.

        Args:
            chosen: The model's choice.

        Raises:
            SettingsError: There is no such effect or parameter, or a value is out of its range.
        """
        known = {(row.effect, row.parameter) for row in chosen}
        given = {(effect, name): value for effect, values in self.values.items() for name, value in values.items()}
        if unknown := (given.keys() - known) or set(self.bypassed or ()) - set(chosen.chain.labels):
            raise SettingsError(f"The chain has no {min(map(str, unknown))}: reload the page.")
        rows = tuple(
            replace(
                row,
                value=rounded(given.get((row.effect, row.parameter), row.value)),
                bypass=row.bypass if self.bypassed is None else row.effect in self.bypassed,
            )
            for row in chosen
        )
        table = replace(chosen, rows=rows)
        amounts = {label: share for label, share in self.amounts.items() if share != 1}
        return table.at_amount(amounts) if amounts else table

    def finish(self, reference_lufs: float | None) -> tuple[Finish, str | None]:
        """Return what is done after the chain, and the loudness as a word for `--loudness`.

        A table is applied without a reference, so the reference's loudness becomes a number.

        Args:
            reference_lufs: The reference's loudness; None where it is not known.

        Raises:
            SettingsError: The loudness or the ceiling is out of range.
        """
        loudness = self.loudness
        if loudness == "reference":
            if reference_lufs is None:
                raise SettingsError("The reference is too soft to have a loudness: give a number of LUFS.")
            loudness = f"{reference_lufs:.2f}"
        config = ApplyConfig(inputs=(), output=Path("out"), loudness=loudness, ceiling=self.ceiling)
        return Finish.of(config), loudness


def described(table: Table, probabilities: Mapping[str, float], *, channels: int) -> list[dict[str, Any]]:
    """Return what the page shows of a table, effect by effect.

    Args:
        table: The table.
        probabilities: The model's probability that each effect is active.
        channels: Channels of the recording.
    """
    scales = {(label, p.name): p.scale for label, p in table.chain.knobs}
    return [
        {
            "label": stage.label,
            "summary": stage.effect.summary(stage.values) if stage.active else "no change",
            "bypass": stage.bypass,
            "stereo_only": isinstance(stage.effect, StereoWidth) and channels != 2,
            "scalable": bool(stage.effect.transparent()),
            "probability": probabilities.get(stage.label),
            "bands": (
                [
                    {"name": name, "kind": kind}
                    for name, kind in zip(stage.effect.bands, stage.effect.kinds, strict=True)
                ]
                if isinstance(stage.effect, ParametricEQ)
                else []
            ),
            "parameters": [
                {
                    "name": row.parameter,
                    "value": row.value,
                    "unit": row.unit,
                    "minimum": row.minimum,
                    "maximum": row.maximum,
                    "scale": scales.get((row.effect, row.parameter), "constant"),
                }
                for row in table
                if row.effect == stage.label
            ],
        }
        for stage in table.chain.stages(table)
    ]
