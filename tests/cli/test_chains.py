import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
from typer.testing import CliRunner

import fxst.cli.chains  # noqa: F401  (registers the command)
from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.chains.table import short
from fxst.cli.app import app


def test_every_chain_is_listed_with_every_parameter():
    done = CliRunner().invoke(app, ["chains"], env={"COLUMNS": "80"})
    assert done.exit_code == 0
    blocks = done.stdout.split("\n\n")
    assert len(blocks) == len(CHAINS)
    for block, chain in zip(blocks, CHAINS.values(), strict=True):
        title, _, *rows = block.strip().splitlines()
        assert title == f"{chain.name}: {', '.join(chain.labels)}; {len(chain.knobs)} knobs"
        parameters = [parameter for effect in chain.effects for parameter in effect.parameters]
        assert len(rows) == len(parameters)
        for row, parameter in zip(rows, parameters, strict=True):
            assert parameter.name in row
            assert row.split()[-1] == ("fixed" if parameter.constant else parameter.scale)
            ends = [parameter.minimum] if parameter.constant else [parameter.minimum, "to", parameter.maximum]
            assert " ".join(end if end == "to" else short(end) for end in ends) in row
            assert "e+" not in row


def test_programs_read_the_chains_back_as_they_are():
    done = CliRunner().invoke(app, ["chains", "--format", "json"])
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    jsonschema.validate(told, json.loads((Path(__file__).parents[2] / "docs/chains.schema.json").read_text()))
    assert [Chain.from_spec(spec) for spec in told["chains"]] == list(CHAINS.values())


def test_listing_chains_loads_no_torch():
    program = (
        "import sys; from fxst.cli import main; sys.argv = ['fxst', 'chains']\n"
        "try: main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
