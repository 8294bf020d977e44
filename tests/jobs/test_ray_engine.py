"""The engine on Ray: a cluster of several nodes on this machine, whose nodes and processes are killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gdpo_bench.core import yaml
from gdpo_bench.core.processor import arithmetic_pins
from gdpo_bench.jobs.engines import ray as ray_engine
from gdpo_bench.jobs.engines import ray_cluster
from gdpo_bench.jobs.engines.choice import RayOptions
from gdpo_bench.jobs.engines.ray import RayEngine
from gdpo_bench.jobs.engines.ray_cluster import RayEngineError, has_own_code, passed_on
from gdpo_bench.jobs.engines.ray_worker import Parcel, dumps, loads
from gdpo_bench.jobs.start import WarmStarted
from gdpo_bench.jobs.work import Event, Failed, Finished, Progressed
from gdpo_bench.leaderboard.files.store import read_entry

HERE = Path(__file__).parent
if "GDPO_BENCH_NEEDS_RAY" in os.environ:
    import ray
else:
    ray = pytest.importorskip("ray", reason="needs Ray: tox -e ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

MEMORY = 80 * 2**20


@pytest.fixture(scope="module")
def modules() -> Iterator[Any]:
    """The modules of tasks, in a place where workers find them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        import engine_tasks
        import ray_tasks

        yield engine_tasks.Do, ray_tasks.Noted
        for name in ("engine_tasks", "ray_tasks"):
            sys.modules.pop(name)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that runs no tasks, and one node with one core."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False},
        )
        cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without code, so that none is sent to the cluster."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ends(events: list[Event]) -> dict[int, Event]:
    return {event.task: event for event in events if not isinstance(event, Progressed)}


def test_tasks_end_as_on_the_local_engine_with_one_thread_and_the_jobs_variables(
    cluster: Any, modules: Any, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    do, noted = modules
    monkeypatch.setenv("GDPO_BENCH_DATA", "data")
    monkeypatch.setenv("GDPO_SANDBOX_SLOTS", "3")
    names = ("GDPO_BENCH_DATA", "GDPO_SANDBOX_SLOTS", "TOKENIZERS_PARALLELISM")
    whats = ["double", "mistake", "defect", "unpicklable", "unreadable", "arithmetic"]
    with RayEngine(cluster.address) as engine:
        assert list(engine.run([])) == []
        tasks = [*(do(what, "x") for what in whats), noted(str(away), "n", "surroundings", names)]
        events = list(engine.run(tasks))
    found = ends(events)
    assert Progressed(0, 0.5, "[half] way") in events
    assert events.index(Progressed(0, 0.5, "[half] way")) < events.index(Finished(0, "xx"))
    assert found[0] == Finished(0, "xx")
    assert found[1] == Failed(1, "x", expected=True)
    for number, text in (
        (2, "ConnectionResetError: x"),
        (3, "pickle"),
        (4, "ImportError: the worker cannot read this"),
    ):
        failure = found[number]
        assert isinstance(failure, Failed)
        assert not failure.expected
        assert "Traceback" in failure.message
        assert text in failure.message
    pinned = found[5]
    assert isinstance(pinned, Finished)
    threads, _, variables = pinned.result
    assert (threads, variables) == (1, arithmetic_pins())
    assert found[6] == Finished(6, dict(zip(names, (str(away / "data"), "3", "false"), strict=True)))
    assert len(events) == len(found) + 1


def test_lost_processes_begin_again_within_bounds_and_a_tasks_own_error_does_not(
    cluster: Any, modules: Any, away: Path
) -> None:
    _, noted = modules
    twice, always, raises = (
        noted(str(away), "twice", "die", 2),
        noted(str(away), "always", "die", 99),
        noted(str(away), "raises", "defect", "x"),
    )
    with RayEngine(cluster.address, RayOptions(retries=2)) as engine:
        events = list(engine.run([twice, always, raises]))
    found = ends(events)
    assert found[0] == Finished(0, 3)
    failure = found[1]
    assert isinstance(failure, Failed)
    assert failure.expected
    assert failure.message.startswith("its process or node died 3 times, at last: WorkerCrashedError: ")
    assert isinstance(found[2], Failed)
    assert [task.beginnings() for task in (twice, always, raises)] == [3, 3, 1]
    again = [event for event in events if isinstance(event, Progressed)]
    assert [event.task for event in again].count(0) == 2
    assert again[0].text.startswith("begins again: WorkerCrashedError")


def test_killed_node_repeats_only_what_it_had_not_finished(cluster: Any, modules: Any, away: Path) -> None:
    _, noted = modules
    node = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    try:
        finished = [noted(str(away), f"done{n}", "done", n) for n in range(3)]
        waiting = [noted(str(away), f"wait{n}", "wait") for n in range(2)]
        with RayEngine(cluster.address) as engine:
            events: list[Event] = []
            killed = False
            for event in engine.run([*finished, *waiting]):
                events.append(event)
                under_way = {event.task for event in events if isinstance(event, Progressed)}
                if not killed and under_way == {3, 4}:  # one on each node
                    assert set(ends(events)) == {0, 1, 2}
                    cluster.remove_node(node, allow_graceful=False)
                    killed = True
                if isinstance(event, Progressed) and event.text.startswith("begins again"):
                    (away / "go").touch()
        assert ends(events) == {
            **{n: Finished(n, n) for n in range(3)},
            3: Finished(3, "wait0"),
            4: Finished(4, "wait1"),
        }
        assert [task.beginnings() for task in finished] == [1, 1, 1]
        assert sorted(task.beginnings() for task in waiting) == [1, 2]
    finally:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)


def test_what_no_node_has_is_an_error_that_says_what_is_asked_and_what_there_is(
    cluster: Any, modules: Any, away: Path
) -> None:
    do, _ = modules
    started = time.monotonic()
    with (
        RayEngine(cluster.address, RayOptions(cpus=64, gpus=1, wait_s=2)) as engine,
        pytest.raises(RayEngineError, match=r"asks for 64 CPUs and 1 GPUs.*1 CPUs, 0 GPUs.*2 tasks.*--resume"),
    ):
        list(engine.run([do("double", 1), do("double", 2)]))
    assert time.monotonic() - started < 60


def test_users_own_modules_travel_to_a_cluster(
    cluster: Any, modules: Any, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(HERE / "ray_tasks.py", away / "mine.py")
    (away / ".venv").mkdir()
    (away / "tasks.txt").write_text("one")
    monkeypatch.syspath_prepend(str(away))
    monkeypatch.setattr(ray_engine, "own_import_paths", tuple)  # on another machine they name nothing
    import mine  # type: ignore[import-not-found]

    with RayEngine(cluster.address) as engine:
        assert ends(list(engine.run([mine.Noted(str(away), "x", "done", 7)])))[0] == Finished(0, 7)
        assert not engine._own
    sys.modules.pop("mine")


def test_missing_ray_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RayEngineError, match=r"needs Ray: pip install 'gdpo-bench\[ray\]'"):
        RayEngine()


def test_address_that_does_not_answer_is_an_error_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "_ANSWER_S", 3)
    started = time.monotonic()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(RayEngineError, match=f"No Ray cluster answers at {address}.*ray status.*refused"):
            RayEngine(address)
        free.listen()  # it accepts, and is no Ray
        with pytest.raises(RayEngineError, match=f"No Ray cluster answers at {address}"):
            RayEngine(address)
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:10001")
    with pytest.raises(RayEngineError, match=r"Expected HOST:PORT, auto or local.*got 'ray://127.0.0.1:10001'"):
        RayEngine()
    assert time.monotonic() - started < 30


def test_without_an_address_the_cluster_that_was_started_here_is_taken_unless_it_is_dead(
    cluster: Any, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(away))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert ray_cluster._started_here() is None
    (away / "ray").mkdir()
    note = away / "ray" / "ray_current_cluster"
    note.write_text("127.0.0.1:1\n")
    assert ray_cluster._started_here() is None
    note.write_text(cluster.address + "\n")
    assert ray_cluster._started_here() == cluster.address


def test_only_variables_of_tasks_are_passed_on_and_paths_are_absolute() -> None:
    found = passed_on(
        {"GDPO_BENCH_DATA": "data", "DOCKER_HOST": "unix:///x", "HF_TOKEN": "secret", "OMP_NUM_THREADS": "8"}
    )
    assert found["GDPO_BENCH_DATA"] == str(Path.cwd() / "data")
    assert found["DOCKER_HOST"] == "unix:///x"
    assert found["OMP_NUM_THREADS"] == "1"
    assert "HF_TOKEN" not in found


def test_own_code_is_what_lies_in_the_folder_and_is_not_installed(tmp_path: Path) -> None:
    assert has_own_code(tmp_path, [str(tmp_path / "mine.py")])
    assert not has_own_code(tmp_path, [str(tmp_path / ".venv/lib/site-packages/theirs.py"), "/elsewhere/x.py"])


def test_policy_travels_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "model.safetensors").write_bytes(b"weights")
    policy = WarmStarted(tmp_path / "policy", "corpus")
    payload, policies = dumps({"task": [policy, policy, 1]})
    assert policies == [policy]
    assert str(tmp_path).encode() not in payload
    parcel = Parcel.of(policy)
    shutil.rmtree(tmp_path / "policy")
    monkeypatch.setenv("GDPO_BENCH_CACHE", str(tmp_path / "elsewhere"))
    arrived = [parcel.unpack()]
    assert parcel.unpack() == arrived[0]
    assert loads(payload, arrived) == {"task": [arrived[0], arrived[0], 1]}
    assert (arrived[0].folder / "model.safetensors").read_bytes() == b"weights"
    assert arrived[0].corpus == "corpus"
    assert Parcel("corpus", {"model.safetensors": b"others"}).unpack().folder != arrived[0].folder


JOB = {
    "envs": ["gdpo/MathMini-v1"],
    "normalizers": ["grpo", "my_mod:first_reward"],
    "seeds": [0, 1],
    "policy": "mini:warm_start_steps=20,warm_start_examples=200,warm_start_batch=4",
    "training": {"steps": 2, "prompts": 2, "group_size": 4, "eval_every": 2, "eval_prompts": 4, "max_new_tokens": 12},
}
NORMALIZER = """
    def first_reward(batch):
        return batch.rewards[:, 0] - batch.rewards[:, 0].mean()
"""


def start(folder: Path, cache: str, *arguments: str) -> "subprocess.Popen[str]":
    """The installed command, in a process group of its own."""
    return subprocess.Popen(
        [Path(sys.executable).with_name("gdpo-bench"), "run", "job.yaml", *arguments],
        env=os.environ | {"GDPO_BENCH_CACHE": cache, "OMP_NUM_THREADS": "1"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def ids(out: Path) -> list[str]:
    return sorted(read_entry(path).id for path in out.glob("*/entries/*.json"))


def test_job_on_ray_interrupted_and_resumed_has_the_entries_of_the_local_engine(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(yaml.dump(JOB))
    (tmp_path / "my_mod.py").write_text(textwrap.dedent(NORMALIZER))
    out = tmp_path / "runs"

    interrupted = start(tmp_path, "cache", "--engine", "ray:local")
    wait_for(lambda: bool(list(out.glob("*/results/*.json"))), interrupted)
    processes = psutil.Process(interrupted.pid).children(recursive=True)
    os.killpg(interrupted.pid, signal.SIGINT)
    _, error = interrupted.communicate(timeout=60)
    assert error.endswith("The same command with --resume goes on.\nInterrupted.\n")
    assert interrupted.returncode == 130
    assert psutil.wait_procs(processes, timeout=30)[1] == []
    kept = {path: path.read_bytes() for path in out.glob("*/results/*.json")}
    assert 1 <= len(kept) < 4

    resumed = start(tmp_path, "cache", "--engine", "ray:local", "--resume")
    output, error = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, error
    assert f"{len(kept)} of 4 runs are finished already." in output
    assert "training 1/" in output
    assert error == ""
    assert {path: path.read_bytes() for path in kept} == kept

    local = start(tmp_path, "other_cache", "--out", "local")
    _, error = local.communicate(timeout=300)
    assert local.returncode == 0, error
    assert ids(out) == ids(tmp_path / "local")
    assert len(ids(out)) == 2
