"""Gradients through proxies: networks trained to imitate the effects."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fxst.chains.chain import Chain
from fxst.checkpoints import proxy_file
from fxst.checkpoints.proxy_file import Proxy
from fxst.effects import Effect
from fxst.errors import ModelError, SettingsError
from fxst.gradients.base import Renderer
from fxst.models.proxy import ProxyModel
from fxst.untrusted import shell_word

__all__ = ["ProxyRenderer"]


class ProxyRenderer(Renderer):
    """Renders a chain through proxies, one an effect, each with its own knobs; the gradient is theirs.

    The proxies' weights are frozen. An effect without knobs needs no proxy: its autodiff form takes its place.

    Args:
        chain: The effects to imitate.
        proxies: A proxy of each effect with knobs, in the chain's order.

    Raises:
        ModelError: A proxy differs from its effect in kind or ranges, or from the first proxy in sample rate.
        SettingsError: The chain has no knobs, or an effect without knobs has no autodiff form.
    """

    def __init__(self, chain: Chain, proxies: Sequence[Proxy]) -> None:
        super().__init__(chain)
        count = len(_with_knobs(chain))
        if not count:
            raise SettingsError(f"Chain {chain.name} has no knobs for a gradient to reach.")
        if len(proxies) != count:
            raise ModelError(
                f"Chain {chain.name} needs {count} proxies, one for each effect with knobs: {len(proxies)} given."
            )
        self.sample_rate = proxies[0].sample_rate
        self.proxies = nn.ModuleList()
        left = iter(proxies)
        for label, effect in zip(chain.labels, chain.effects, strict=True):
            if label in _with_knobs(chain):
                proxy = next(left)
                proxy.check(effect, sample_rate=self.sample_rate)
                self.proxies.append(proxy.model)
            elif effect.differentiable:
                self.proxies.append(_Fixed(effect, sample_rate=self.sample_rate))
            else:
                raise SettingsError(
                    f"The {label} of chain {chain.name} has neither a knob, for a proxy to learn, nor a torch form: "
                    "leave one free, or train with --gradient spsa."
                )
        self.sizes = [sum(not p.constant for p in effect.parameters) for effect in chain.effects]
        self.requires_grad_(False)

    @staticmethod
    def load(chain: Chain, folders: Sequence[str | Path] = (), *, sample_rate: int) -> "ProxyRenderer":
        """Load a proxy for every effect of a chain: the first suitable given one, else the shipped one.

        Args:
            chain: The effects to imitate.
            folders: Folders of proxies.
            sample_rate: Sample rate of the renders in Hz.

        Raises:
            ModelError: A folder holds no proxy, or one that the chain does not need, or an effect has no suitable
                proxy.
            SettingsError: The chain has no knobs, or an effect without knobs has no autodiff form.
        """
        given = [proxy_file.load(folder) for folder in folders]
        chosen = []
        for label, effect in _with_knobs(chain).items():
            shipped = proxy_file.load_shipped(effect.name)
            known = [proxy for proxy in (*given, shipped) if proxy is not None and proxy.effect.name == effect.name]
            misfits = [proxy.misfits(effect, sample_rate=sample_rate) for proxy in known]
            if () not in misfits:
                raise ModelError(_no_proxy(chain, label, known, misfits))
            chosen.append(known[misfits.index(())])
        for proxy in given:
            if not any(proxy is one for one in chosen):
                raise ModelError(
                    f"Chain {chain.name} has no use for {proxy.called} of a {proxy.effect.name}: leave it out."
                )
        return ProxyRenderer(chain, chosen)

    def forward(self, x: Tensor, knobs: Tensor, *, sample_rate: int) -> Tensor:
        if sample_rate != self.sample_rate:
            raise ModelError(f"These proxies are for {self.sample_rate} Hz, not {sample_rate} Hz.")
        self._check_echoes(x.shape[-1])
        for proxy, of_effect in zip(self.proxies, torch.split(knobs, self.sizes, 1), strict=True):
            x = proxy(x, of_effect)
        return x

    def _check_echoes(self, time: int) -> None:
        """Check that audio is no longer than a proxy's echoes, which end with the clips that it was trained on."""
        for label, proxy in zip(self.chain.labels, self.proxies, strict=True):
            if isinstance(proxy, ProxyModel) and proxy.echoes and time > proxy.config.echo_samples:
                raise ModelError(
                    f"The proxy of the {label} models echoes of up to {proxy.config.echo_samples} samples, the length "
                    "of "
                    f"its training clips, and cannot render {time}: train one on longer clips, or use shorter ones."
                )


class _Fixed(nn.Module):
    """The autodiff form of an effect without knobs."""

    def __init__(self, effect: Effect, *, sample_rate: int) -> None:
        super().__init__()
        self.effect, self.sample_rate = effect, sample_rate

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        values = {p.name: x.new_full((x.shape[0],), p.minimum) for p in self.effect.parameters}
        return self.effect.autodiff(x, values, sample_rate=self.sample_rate)


def _with_knobs(chain: Chain) -> dict[str, Effect]:
    """Return the effects with knobs, by label."""
    labelled = zip(chain.labels, chain.effects, strict=True)
    return {label: effect for label, effect in labelled if not all(p.constant for p in effect.parameters)}


def _no_proxy(chain: Chain, label: str, known: Sequence[Proxy], misfits: Sequence[tuple[str, ...]]) -> str:
    """Return why no proxy suits an effect, for the closest one, and the remedy."""
    remedy = (
        f"train one with `fxst proxy train DIR --chain {shell_word(chain.name)} --effect {shell_word(label)}` and name "
        "its folder with --proxy, or use --gradient spsa."
    )
    if not known:
        return f"There is no proxy of the {label}: {remedy}"
    proxy, misfit = min(zip(known, misfits, strict=True), key=lambda pair: len(pair[1]))
    return f"The {label} of chain {chain.name} cannot be imitated by {proxy.called}, which {misfit[0]}: {remedy}"
