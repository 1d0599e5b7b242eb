"""Sweeps on clusters, for real: a Ray cluster of two nodes, and submitit's preemption."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import kexp
from tests.conftest import read, tiny
from tests.test_docs import skip_without
from tests.test_faults_runs import assert_same
from tests.test_faults_sweeps import command, epochs_logged, runs_of, states, wait_until

LONGER = ("data.train_size=800", "training.epochs=12", "seed=0", "dropout=none,standard")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the sweep that the tests disturb, by worker processes of one thread."""
    folder = tmp_path_factory.mktemp("undisturbed")
    overrides = tiny("mnist_convnet", folder, *LONGER)
    assert not kexp.sweep(*overrides, "hydra.launcher.threads=1", quiet=True).failures
    return folder / "results"


# submitit


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2"])
def test_f69_a_submitit_job_is_preempted_and_queued_again(
    name: str, folder: Path, undisturbed: Path
) -> None:
    """A cluster's warning: the run saves, the job is queued again and goes on at that step."""
    skip_without("submitit")
    results = folder / "results"
    launcher = ["hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=1"]
    words = command(*tiny("mnist_convnet", folder, *LONGER), *launcher)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: epochs_logged(results) >= 3, process=process)
        running = [run for run in runs_of(results).values() if (run / "history.jsonl").exists()]
        warned = running[0]
        os.kill(read(warned, "status.json")["pid"], signal.Signals[name])
        said = process.communicate(timeout=180)[0]
    assert process.returncode == 0, said
    assert "2 of 2 runs finished" in said
    log = (warned / "log.txt").read_text()
    assert f"stopped by {name}" in log and "going on after epoch" in log
    jobs = "".join(path.read_text() for path in results.rglob(".submitit/**/*_log.*"))
    assert "this job is preempted" in jobs and "Requeued job" in jobs
    for run, other in runs_of(undisturbed).items():
        assert_same(runs_of(results)[run], other)


# Ray


@contextlib.contextmanager
def two_nodes() -> Iterator[tuple[str, list]]:
    """A Ray cluster of two nodes with one CPU each, on this machine; its address and nodes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        other = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster.address, [cluster.head_node, other]
    finally:
        cluster.shutdown()


def raylet_of(pid: int) -> int | None:
    """The process id of the Ray node that a run's process belongs to."""
    with contextlib.suppress(psutil.Error):
        for parent in psutil.Process(pid).parents():
            if "raylet" in parent.name():
                return parent.pid
    return None


def raylets_used(results: Path, process: subprocess.Popen) -> set[int]:
    """The nodes on which runs were seen while the sweep lasted."""
    seen: set[int] = set()
    while process.poll() is None:
        for run in runs_of(results).values():
            status = read(run, "status.json")
            node = raylet_of(status["pid"]) if status["state"] == "running" else None
            seen |= {node} if node else set()
        time.sleep(0.1)
    return seen


@pytest.mark.slow
def test_ray_on_two_nodes(folder: Path, undisturbed: Path) -> None:
    """Runs are trained on both nodes, and are the same as without a cluster."""
    skip_without("ray")
    results = folder / "results"
    with two_nodes() as (address, _):
        launcher = ["hydra/launcher=ray", f"hydra.launcher.ray.init.address={address}"]
        words = command(*tiny("mnist_convnet", folder, *LONGER), *launcher)
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            nodes = raylets_used(results, process)
            said = process.communicate(timeout=10)[0]
    assert process.returncode == 0, said
    assert len(nodes) == 2
    for run, other in runs_of(undisturbed).items():
        assert_same(runs_of(results)[run], other)


@pytest.mark.slow
def test_ray_loses_a_node(folder: Path, undisturbed: Path) -> None:
    """The run of a node that dies is tried again on the other one, from its checkpoint."""
    skip_without("ray")
    results = folder / "results"
    with two_nodes() as (address, nodes):
        launcher = [
            "hydra/launcher=ray",
            f"hydra.launcher.ray.init.address={address}",
            "hydra.launcher.ray.remote.max_retries=3",
        ]
        words = command(*tiny("mnist_convnet", folder, *LONGER), *launcher)
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            wait_until(lambda: epochs_logged(results) >= 8, process=process)
            nodes[1].kill_raylet(check_alive=False)
            said = process.communicate(timeout=240)[0]
    assert process.returncode == 0, said
    assert states(results) == {"finished": 2}
    for run, other in runs_of(undisturbed).items():
        assert_same(runs_of(results)[run], other)
