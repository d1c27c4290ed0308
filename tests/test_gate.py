"""The shipped models, held to what they reach: the project's own gate, with the command that anybody has."""

import subprocess
import sys

import pytest

# On the four synthetic voices that travel with the project, 12 items of each kind; the figures in the comments were
# printed by these commands.
BOUNDS = {
    "p": (
        "eq.mrstft_ratio<=0.92",  # 0.875
        "eq-comp.mrstft_ratio<=0.87",  # 0.823
        "studio.mrstft_ratio<=0.36",  # 0.285
        "closed-form.mrstft_ratio<=0.53",  # 0.490
        "input.mrstft<=1.2",  # 1.144: the items themselves
        "input.mrstft>=1.1",
    ),
    "chain": (
        "eq-comp.mrstft_ratio<=0.29",  # 0.257
        "eq-comp.settings<=24",  # 21.7
        "closed-form.mrstft_ratio<=0.21",  # 0.192
    ),
}


@pytest.mark.parametrize("protocol", BOUNDS)
def test_the_shipped_models_keep_what_they_promise(protocol, examples):
    models = ("eq", "eq-comp", "studio") if protocol == "p" else ("eq-comp",)
    command = [
        *("eval", "--data", examples / "voices", "--split", "all", "--each-file", "--protocol", protocol, "-n", "12"),
        *("--baseline", "closed-form", "--no-pesq", "--workers", "2"),
        *(part for model in models for part in ("--model", model)),
        *(part for bound in BOUNDS[protocol] for part in ("--require", bound)),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "fxst", *command], capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
