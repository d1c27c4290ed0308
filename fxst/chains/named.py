"""The chains of fxst, and those that users declare: `CHAINS`, by name."""

from fxst.chains.chain import Chain, rounded
from fxst.effects import Compressor, Distortion, Effect, ParametricEQ, Reverb, StereoWidth, UpwardCompressor
from fxst.effects.parametric_eq import Kind

__all__ = ["CHAINS"]


def _six_band_eq() -> Effect:
    """Return six bands at fixed, log-spaced frequencies from 20 to 1200 Hz; only their gains are free."""
    eq = ParametricEQ()
    fixed: dict[str, float | tuple[float, float]] = {}
    for index, band in enumerate(eq.bands):
        fixed[f"{band}_gain_db"] = (-20.0, 20.0)
        fixed[f"{band}_f0_hz"] = rounded(20.0 * (1200.0 / 20.0) ** (index / 5))
        fixed[f"{band}_q"] = 0.7071068
    return eq.restrict(**fixed)


def _fixed_compressor() -> Effect:
    return Compressor().restrict(
        threshold_db=(-20.0, 20.0), ratio=(2.0, 6.0), attack_ms=1.0, release_ms=100.0, makeup_db=0.0
    )


def _fixed_reverb() -> Effect:
    return Reverb().restrict(room_size=(0.1, 1.0), wet_level=(0.1, 0.8), dry_level=(0.5, 1.0), damping=0.5, width=1.0)


STUDIO_BANDS: tuple[tuple[Kind, float, float], ...] = (
    ("low_shelf", 25.0, 300.0),
    ("peak", 80.0, 350.0),
    ("peak", 180.0, 800.0),
    ("peak", 400.0, 1600.0),
    ("peak", 800.0, 2800.0),
    ("peak", 1500.0, 4500.0),
    ("peak", 2500.0, 7000.0),
    ("peak", 4000.0, 10_800.0),
    ("peak", 7000.0, 18_000.0),
    ("high_shelf", 3500.0, 16_000.0),
)
"""Kind of each band, and its frequency range in Hz: near enough to each other that some bands reach any curve, and each
in its own part of the spectrum, so that a model has one way to express a curve, and the user finds it."""


def _studio_upward_compressor() -> Effect:
    # No knob bypasses it: a model activates it only for expanded recordings.
    return UpwardCompressor().restrict(
        threshold_db=(-50.0, 0.0), ratio=(1.1, 5.0), attack_ms=(0.5, 400.0), release_ms=(5.0, 2000.0)
    )


def _studio_eq() -> Effect:
    eq = ParametricEQ(kinds=tuple(kind for kind, _, _ in STUDIO_BANDS))
    ranges: dict[str, float | tuple[float, float]] = {}
    for band, (kind, lowest_hz, highest_hz) in zip(eq.bands, STUDIO_BANDS, strict=True):
        ranges[f"{band}_f0_hz"] = (lowest_hz, highest_hz)
        # A narrow band at low frequencies would ring for seconds.
        ranges[f"{band}_q"] = (0.3, 8.0) if kind == "peak" else (0.3, 1.2)
    return eq.restrict(**ranges)


def _studio_compressor() -> Effect:
    return Compressor().restrict(
        threshold_db=(-60.0, 0.0),
        ratio=(1.0, 20.0),
        attack_ms=(0.5, 200.0),
        release_ms=(5.0, 2000.0),
        makeup_db=(-24.0, 24.0),
    )


def _studio_reverb() -> Effect:
    return Reverb().restrict(room_size=(0.1, 1.0), wet_level=(0.05, 0.5), dry_level=(0.25, 0.75), width=1.0)


CHAINS: dict[str, Chain] = {
    chain.name: chain
    for chain in (
        Chain("eq", (_six_band_eq(),)),
        Chain("eq-comp", (_six_band_eq(), _fixed_compressor())),
        Chain(
            "fx",
            (
                _six_band_eq(),
                _fixed_compressor(),
                Distortion().restrict(drive_db=(0.0, 30.0), mix=1.0),
                _fixed_reverb(),
            ),
        ),
        Chain(
            "studio",
            (
                _studio_upward_compressor(),
                _studio_eq(),
                _studio_compressor(),
                Distortion().restrict(drive_db=(6.0, 36.0), mix=(0.25, 1.0)),
                _studio_reverb(),
                StereoWidth().restrict(width=(0.25, 2.0)),
            ),
        ),
    )
}
"""The named chains, as `fxst chains` lists them."""
