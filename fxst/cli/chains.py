"""`fxst chains`."""

from fxst.cli.app import app
from fxst.cli.options import command
from fxst.cli.terminal import print_json
from fxst.configs import ChainsConfig


@command(app, ChainsConfig, "chains")
def _chains(config: ChainsConfig) -> None:
    from fxst.chains.named import CHAINS

    if config.format == "json":
        import msgspec

        from fxst.records import ChainsReport

        report = {"format": "fxst-chains", "format_version": 1, "chains": [c.to_spec() for c in CHAINS.values()]}
        msgspec.convert(report, ChainsReport)  # not printed from the record, which does not name an effect's options
        print_json(report)
        return

    from fxst.chains.table import short
    from fxst.cli.grids import Console, Grid

    console = Console()
    for number, chain in enumerate(CHAINS.values()):
        if number:
            console.print()
        title = f"{chain.name}: {', '.join(chain.labels)}; {len(chain.knobs)} knobs"
        console.print(title, style="bold", soft_wrap=True)
        grid = Grid("effect", "parameter")
        grid.add_column("range", justify="right")
        grid.add_column("unit")
        grid.add_column("scale")
        for label, effect in zip(chain.labels, chain.effects, strict=True):
            for index, p in enumerate(effect.parameters):
                span = short(p.minimum) if p.constant else f"{short(p.minimum)} to {short(p.maximum)}"
                grid.add_row("" if index else label, p.name, span, p.unit, "fixed" if p.constant else p.scale)
        console.print(grid)
