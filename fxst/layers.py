"""The layers of fxst, lowest first: a part imports from its own layer and those below, and never in a circle."""

from typing import Final

__all__ = ["LAYERS"]

LAYERS: Final = (
    ("errors", "configs", "records", "version", "untrusted"),
    (
        "authorship",
        "data_parallel",
        "documents",
        "extras",
        "interrupts",
        "isolation",
        "memory",
        "places",
        "shortage",
        "staging",
        "storage",
        "threads",
    ),
    ("dsp",),
    ("audio", "effects", "models"),
    ("chains", "coordination", "workers"),
    ("data", "checkpoints", "report", "exports"),
    ("gradients", "transfer", "doctor"),
    ("training", "batch"),
    ("evaluation",),
    ("ui",),
    ("cli",),
)
