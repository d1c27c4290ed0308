"""`fxst chains`."""

import json

import typer

from fxst.cli.app import app
from fxst.cli.options import command
from fxst.configs import ChainsConfig


@command(app, ChainsConfig, "chains")
def _chains(config: ChainsConfig) -> None:
    from fxst.chains.named import CHAINS

    if config.format == "json":
        listed = {"format": "fxst-chains", "format_version": 1, "chains": [c.to_spec() for c in CHAINS.values()]}
        typer.echo(json.dumps(listed, indent=1))
        return

    from rich.console import Console
    from rich.table import Table

    from fxst.chains.table import short

    console = Console(markup=False, highlight=False)
    for number, chain in enumerate(CHAINS.values()):
        if number:
            console.print()
        title = f"{chain.name}: {', '.join(chain.labels)}; {len(chain.knobs)} knobs"
        console.print(title, style="bold", soft_wrap=True)
        grid = Table("effect", "parameter", box=None, pad_edge=False)
        grid.add_column("range", justify="right")
        grid.add_column("unit")
        grid.add_column("scale")
        for label, effect in zip(chain.labels, chain.effects, strict=True):
            for index, p in enumerate(effect.parameters):
                span = short(p.minimum) if p.constant else f"{short(p.minimum)} to {short(p.maximum)}"
                grid.add_row("" if index else label, p.name, span, p.unit, "fixed" if p.constant else p.scale)
        console.print(grid)
