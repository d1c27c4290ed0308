"""What runs fxst elsewhere: the container, the job array of Slurm, the Indexed Job of Kubernetes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.cli.app import EXIT_CODES
from fxst.coordination.shards import COUNT_VARIABLE, shard_of

ROOT = Path(__file__).parents[1]
SLURM = ROOT / "deploy/slurm/apply.sbatch"
DOCKERFILE = ROOT / "Dockerfile"


@pytest.fixture(scope="module")
def job():
    return yaml.safe_load((ROOT / "deploy/kubernetes/apply-job.yaml").read_text(encoding="utf-8"))


def lint(program, *arguments):
    """Run a linter, which complains of nothing; skips where it is not installed."""
    found = shutil.which(program, path=f"{sys.prefix}/bin") or shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not here")
    done = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_linters_have_nothing_to_say():
    lint("bash", "-n", SLURM)


@pytest.mark.parametrize(("program", "path"), [("hadolint", DOCKERFILE), ("shellcheck", SLURM)])
def test_the_linters_of_the_field_have_nothing_to_say(program, path):
    lint(program, path)


def test_the_job_keeps_to_the_schema_of_kubernetes(job):
    validate = pytest.importorskip("kubernetes_validate")
    validate.validate(job, "1.31", strict=True)


def test_the_image_has_all_that_is_copied_and_no_torch():
    text = DOCKERFILE.read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE) for name in line.split()]
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(let_in)
    assert all((ROOT / name).exists() for name in copied)
    (extras,) = re.findall(r'"\.\[(.*)\]"', text)
    assert "train" not in extras.split(",")
    assert "cloud" in extras.split(",")
    assert re.search(r"^USER [1-9][0-9]*:[1-9][0-9]*$", text, re.MULTILINE), "a user without a name cannot be checked"


def test_every_exit_code_of_fxst_has_one_rule(job):
    rules = [rule for rule in job["spec"]["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    actions = {code: rule["action"] for rule in rules for code in rule["onExitCodes"]["values"]}
    assert sum(len(rule["onExitCodes"]["values"]) for rule in rules) == len(actions)
    assert actions.keys() == EXIT_CODES.keys() - {0}
    assert {actions[code] for code in (130, 143)} == {"Ignore"}  # a preempted pod is no failure
    assert {actions[code] for code in (2, 3, 4)} == {"FailJob"}  # every other pod would end so
    assert {rule["onExitCodes"]["containerName"] for rule in rules} == {"fxst"}


def test_the_pods_are_the_shards_and_may_write_only_to_a_volume(job):
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    environment = {item["name"]: item["value"] for item in container["env"]}
    given = {"JOB_COMPLETION_INDEX": str(spec["completions"] - 1), **environment}
    assert shard_of("auto", given).count == spec["completions"] == int(environment[COUNT_VARIABLE])
    assert (spec["completionMode"], pod["restartPolicy"]) == ("Indexed", "Never")
    security = container["securityContext"] | pod["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert security["runAsNonRoot"]
    assert not security["allowPrivilegeEscalation"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in DOCKERFILE.read_text(encoding="utf-8")
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]


def test_slurm_starts_a_share_for_each_task(tmp_path):
    """The script runs another program of this name, which says how it was called."""
    text = SLURM.read_text(encoding="utf-8")
    (last,) = re.findall(r"^#SBATCH --array=0-([0-9]+)$", text, re.MULTILINE)
    program = tmp_path / "fxst"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$FXST_SHARDS" "$@"\n')
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "4", "SLURM_ARRAY_TASK_ID": "7"}
    given = ("an archive", "--ref", "house.wav", "-o", "out")
    done = subprocess.run(["bash", SLURM, *given], env=environment, capture_output=True, text=True, check=True)
    count, *arguments = done.stdout.splitlines()
    assert int(count) == int(last) + 1
    assert arguments == ["apply", *given, "--shard", "auto", "--jobs", "4", "--format", "jsonl"]
    assert shard_of("auto", environment | {COUNT_VARIABLE: count}).index == 7


def test_a_read_only_root_file_system_is_enough(tmp_path, noise):
    """As in the container: all is read-only but a new /tmp."""
    import soundfile

    new = ["unshare", "--mount", "--propagation", "private"]
    if shutil.which("unshare") is None or subprocess.run([*new, "true"], capture_output=True).returncode:
        pytest.skip("this user may not mount anything")
    soundfile.write(tmp_path / "in.wav", noise(16_000, 1, 0.5).T, 16_000)
    table_files.write(Table(CHAINS["eq"], CHAINS["eq"].defaults()), tmp_path / "table.json")
    script = """
        set -e
        mkdir root
        mount --bind / root
        mount -o remount,ro,bind root
        mount -t tmpfs tmpfs root/tmp
        for name in proc dev; do mount --rbind /$name root/$name; done
        mkdir root/tmp/in
        cp in.wav root/tmp/in
        cp table.json root/tmp
        chroot root sh -c 'cd /tmp && ! touch /written 2>/dev/null && "$@"' sh "$@"
        cp root/tmp/out/in.wav out.wav
    """
    command = [sys.executable, "-m", "fxst", "apply", "in", "-p", "table.json", "-o", "out", "--jobs", "2"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/tmp", "XDG_STATE_HOME": "/tmp/state"}
    if str(ROOT.resolve()).startswith("/tmp/") or str(Path(sys.prefix).resolve()).startswith("/tmp/"):
        pytest.skip("the program itself is below /tmp")
    done = subprocess.run(
        [*new, "sh", "-c", script, "sh", *command], cwd=tmp_path, env=environment, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "out.wav").stat().st_size > 8000
