"""A batch on a real Ray cluster on this machine, whose nodes and workers are killed while it runs."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("ray")

MARK = "FXST_TEST_CLUSTER"
FILES = 300
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


@pytest.fixture
def cluster(tmp_path_factory, monkeypatch):
    """A cluster of three nodes with a processor each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # at Ray's 15, a busy machine gives its workers no time
    monkeypatch.setenv(MARK, str(tmp_path_factory.getbasetemp()))
    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        made.add_node(**NODE)
        made.add_node(**NODE)
        made.wait_for_nodes()
        yield made
    finally:
        made.shutdown()


def actors():
    """The processes of our cluster that run a chunk."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cmdline").read_bytes().startswith(b"ray::_Actor.run") and mark in (
                path / "environ"
            ).read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


def on(cluster, output, *arguments):
    return "apply", "in", "-p", "house.json", "-o", output, "--engine", "ray", "--address", cluster.address, *arguments


def count(folder):
    return len(list(Path(folder).rglob("*.wav")))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="/proc tells which processes are whose")
def test_a_node_and_a_worker_that_die_cost_only_time(batch, cluster):
    shutil.rmtree("in")
    batch.recordings(FILES, seconds=0.5)
    assert batch.run("apply", "in", "-p", "house.json", "-o", "whole", "--jobs", 1)[0] == 0
    with batch.start(*on(cluster, "out")) as process:
        reach(process, FILES // 3)
        os.kill(actors()[0], signal.SIGKILL)
        reach(process, FILES // 2)
        cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    told = [line for line in out.splitlines() if line.startswith("wrote")]
    finished = re.search(r"(\d+) already finished", err)  # whose actor died before it could tell
    assert len(set(told)) == len(told) == FILES - (int(finished[1]) if finished else 0)
    assert batch.tree() == batch.tree("whole")
    assert Path("out/fxst-manifest.jsonl").read_bytes() == Path("whole/fxst-manifest.jsonl").read_bytes()
    # It has stopped only what it began.
    assert len([node for node in cluster.list_all_nodes() if node.live_processes()]) == 2
    assert not actors()
    crashes(batch, cluster)


def reach(process, files):
    deadline = time.monotonic() + 200
    while count("out") < files or not actors():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def crashes(batch, cluster):
    """A file that ends its process each time is a row, and the rest goes on."""
    batch.faults("bad", 8000, 8001, 8003)
    code, out, err = batch.run(
        *("--effects", "faulty.py", "apply", "bad", "-p", "faulty.csv", "-o", "out2", "--format", "jsonl"),
        *("--engine", "ray", "--address", cluster.address),
    )
    assert code == 1, err
    rows = {Path(row["input"]).name: (row["status"], row["error"] or "") for row in map(json.loads, out.splitlines())}
    assert rows.keys() == {"8000.wav", "8001.wav", "8003.wav"}
    assert rows["8000.wav"] == ("written", "")
    assert all("3 times" in rows[name][1] for name in ("8001.wav", "8003.wav"))
