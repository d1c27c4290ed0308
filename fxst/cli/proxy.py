"""`fxst proxy train`."""

from typing import TYPE_CHECKING, Any

from fxst.cli.app import app
from fxst.cli.commands import command_group
from fxst.cli.training import training_command
from fxst.configs import ProxyConfig

if TYPE_CHECKING:
    from fxst.training.progress import Report
    from fxst.training.runs import Run

__all__: list[str] = []

proxy_app = command_group("Networks that imitate an effect, for their gradients.")
app.add_typer(proxy_app, name="proxy")


@training_command(proxy_app, {"proxy": ProxyConfig})
def _train(config: ProxyConfig, resume: bool, report: "Report") -> tuple["Run[Any]", str]:
    """Train a network to imitate one effect at every setting, so that gradients can pass where the effect has none."""
    from fxst.training.proxy import train

    run, fidelity = train(config, resume=resume, report=report)
    findings = f". On held-out speakers its error is at {fidelity.error_db:.1f} dB of what the effect changes"
    if fidelity.gradient_examples:
        findings += (
            f", and the cosine of its gradient with autodiff's is {fidelity.gradient_cosine:.3f} (median of "
            f"{fidelity.gradient_examples}; above 0.8 in {100 * fidelity.gradient_agreement:.0f} %)"
        )
    return run, f"{findings}."
