"""`fxst style train`."""

import typer

from fxst.cli.app import app
from fxst.cli.options import command
from fxst.configs import StyleConfig

__all__: list[str] = []

style_app = typer.Typer(no_args_is_help=True, help="Models that find a chain's settings by listening.")
app.add_typer(style_app, name="style")


@command(style_app, StyleConfig, "train")
def _train(config: StyleConfig) -> None:
    from rich.console import Console

    from fxst.training.style import train

    result = train(config)
    console = Console(stderr=True, soft_wrap=True)
    state = "interrupted" if result.interrupted else "finished"
    console.print(
        f"Training {state} after {result.steps} steps. Best at step {result.best_step}: validation loss "
        f"{result.val_loss:.4f}, MR-STFT {result.val_stft_ratio:.3f} of the unprocessed input's."
    )
    if result.interrupted:
        console.print("Continue it with the same command and --resume.")
    typer.echo(result.folder)
    if result.interrupted:
        raise typer.Exit(130)
