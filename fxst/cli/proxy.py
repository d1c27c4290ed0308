"""`fxst proxy train`."""

import typer

from fxst.cli.app import app
from fxst.cli.options import command
from fxst.cli.training import tell_result
from fxst.configs import ProxyConfig

__all__: list[str] = []

proxy_app = typer.Typer(no_args_is_help=True, help="Networks that imitate an effect, for their gradients.")
app.add_typer(proxy_app, name="proxy")


@command(proxy_app, ProxyConfig, "train")
def _train(config: ProxyConfig) -> None:
    from fxst.training.proxy import train

    result = train(config)
    fidelity = result.fidelity
    findings = (
        f"Best at step {result.best_step}: validation loss {result.val_loss:.4f}. On held-out speakers its error is at "
        f"{fidelity.error_db:.1f} dB of what the effect changes"
    )
    if fidelity.gradient_examples:
        findings += (
            f", and the cosine of its gradient with autodiff's is {fidelity.gradient_cosine:.3f} (median of "
            f"{fidelity.gradient_examples}; above 0.8 in {100 * fidelity.gradient_agreement:.0f} %)"
        )
    tell_result(result, f"{findings}.")
