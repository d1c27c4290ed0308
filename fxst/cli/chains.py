"""`fxst chains`."""

from fxst.cli.app import app


@app.command("chains")
def chains() -> None:
    """List the named chains: their effects, and every parameter with its range."""
    from rich.console import Console
    from rich.table import Table

    from fxst.chain import CHAINS

    console = Console(markup=False, highlight=False)
    for number, chain in enumerate(CHAINS.values()):
        if number:
            console.print()
        console.print(f"{chain.name}: {', '.join(chain.labels)}; {len(chain.knobs)} knobs", style="bold")
        grid = Table("effect", "parameter", box=None, pad_edge=False)
        grid.add_column("range", justify="right")
        grid.add_column("unit")
        grid.add_column("scale")
        for label, effect in zip(chain.labels, chain.effects, strict=True):
            for index, p in enumerate(effect.parameters):
                span = f"{p.minimum:.4g}" if p.constant else f"{p.minimum:.4g} to {p.maximum:.4g}"
                grid.add_row("" if index else label, p.name, span, p.unit, "fixed" if p.constant else p.scale)
        console.print(grid)
