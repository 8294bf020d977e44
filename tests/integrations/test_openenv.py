"""Our environments as servers of OpenEnv, played over loopback: rewards are those that they have here."""

import os
import re
import runpy
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gdpo_bench.cli.main import main
from gdpo_bench.core import make_env
from gdpo_bench.core.env import script_replies
from gdpo_bench.core.scoring import EpisodeBatch
from gdpo_bench.integrations.openenv import write_server

IN_TOX = "GDPO_BENCH_NEEDS_OPENENV" in os.environ  # there a missing package is a failure
needs_package = pytest.mark.skipif(
    not IN_TOX and find_spec("openenv") is None, reason="openenv is not installed: tox -e openenv"
)
Serve = Callable[..., str]
PATIENCE = 600
"""Seconds that a process may take to start on a machine that is busy."""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Writes a server, runs its program in a thread and gives its address."""
    started: list[tuple[Any, threading.Thread]] = []

    def serve(env_id: str, **options: Any) -> str:
        import uvicorn

        write_server(env_id, tmp_path / "served", **options)
        app = runpy.run_path(str(tmp_path / "served/server/app.py"))["app"]
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        started.append((server, thread))
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.05)
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield serve
    for server, thread in started:
        server.should_exit = True
        thread.join(30)


def play_here(env_id: str, task: Any, replies: list[str]) -> list[tuple[dict[str, float], bool]]:
    """What each reply of an episode earns, and whether it ends it."""
    env = make_env(env_id)
    batch = EpisodeBatch(env, env_id, [task])
    names = [spec.name for spec in env.reward_specs]
    played = []
    for reply in replies:
        scores = batch.play([reply])
        there = scores.applicable[0] & ~scores.failed[0]
        values = [value if counts else None for value, counts in zip(scores.values[0].tolist(), there, strict=True)]
        played.append((dict(zip(names, values, strict=True)), batch.episodes[0].over))
        if batch.episodes[0].over:
            break
    return played


@needs_package
@pytest.mark.parametrize("env_id", ["gdpo/ToolDialog-v0", "gdpo/MathMini-v1"])
def test_an_episode_over_loopback_earns_what_it_earns_here(env_id: str, serve: Serve) -> None:
    from openenv import GenericEnvClient

    env = make_env(env_id)
    weights = {spec.name: spec.weight for spec in env.reward_specs}
    tasks = list(env.tasks("eval"))[:4]
    scripts = [list(script_replies(env.reference(task) or "")) for task in tasks]
    scripts[-1] = ["no idea", *scripts[-1]]
    url = serve(env_id)
    sums = set()
    with GenericEnvClient(base_url=url).sync() as client:
        for index, (task, replies) in enumerate(zip(tasks, scripts, strict=True)):
            begun = client.reset(split="eval", index=index)
            assert not begun.done
            assert begun.observation["messages"] == env.messages(task)
            for reply, (rewards, over) in zip(replies, play_here(env_id, task, replies), strict=False):
                result = client.step({"reply": reply})
                assert result.observation["metadata"]["rewards"] == rewards
                assert result.observation["metadata"]["task_id"] == task.id
                assert result.reward == pytest.approx(sum(weights[k] * v for k, v in rewards.items() if v is not None))
                assert result.done == over
                sums.add(result.reward)
            assert result.done
        state = client.state()
        assert (state["task_id"], state["step_count"]) == (task.id, len(play_here(env_id, task, replies)))
        first, second = (client.reset(seed=5).observation["metadata"]["task_id"] for _ in range(2))
        assert first == second == env.tasks("train")[Random(5).randrange(len(env.tasks("train")))].id
    assert len(sums) > 1


@needs_package
def test_sessions_have_episodes_of_their_own_and_mistakes_are_sentences(serve: Serve) -> None:
    from openenv import GenericEnvClient

    url = serve("gdpo/MathMini-v1")
    env = make_env("gdpo/MathMini-v1")
    one, two = (GenericEnvClient(base_url=url).sync() for _ in range(2))
    with one, two:
        one.reset(split="eval", index=0)
        two.reset(split="eval", index=1)
        for client, task in ((two, env.tasks("eval")[1]), (one, env.tasks("eval")[0])):
            result = client.step({"reply": str(env.reference(task))})
            assert result.observation["metadata"]["rewards"]["correct"] == 1
        with pytest.raises(Exception, match=r"call reset\(\) first"):
            one.step({"reply": "again"})
    with GenericEnvClient(base_url=url).sync() as client, pytest.raises(Exception, match="Known: eval, train"):
        client.reset(split="evil")
    schema = urllib.request.urlopen(f"{url}/schema").read().decode()
    assert '"reply"' in schema


@needs_package
@pytest.mark.slow
def test_blocks_of_the_page_run_as_they_are_printed(tmp_path: Path, typed: Callable[[str], str]) -> None:
    text = (Path(__file__).parents[2] / "docs/to-openenv.md").read_text(encoding="utf-8")
    bash, python = re.findall(r"^```(?:bash|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "play.py").write_text(python, encoding="utf-8")
    wait = f"for i in $(seq {PATIENCE}); do curl -sf http://127.0.0.1:8123/health && break; sleep 1; done\n"
    printed = typed('trap "kill %1" EXIT\n' + bash + wait + "python ../play.py\n")
    assert re.search(r"^-?[\d.]+ (True|False) \{'", printed, re.MULTILINE)


def test_what_is_written_is_small_and_declares_the_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "gdpo/ToolCallingMini-v1:format_rate=0.3", "--to", "openenv", str(tmp_path / "tools")]) == 0
    files = [path for path in (tmp_path / "tools").rglob("*") if path.is_file()]
    texts = {str(path.relative_to(tmp_path / "tools")): path.read_text() for path in files}
    assert sorted(texts) == ["openenv.yaml", "pyproject.toml", "server/__init__.py", "server/app.py"]
    specs = make_env("gdpo/ToolCallingMini-v1").reward_specs
    low, high = sum(spec.weight * spec.low for spec in specs), sum(spec.weight * spec.high for spec in specs)
    assert f"range: [{low}, {high}]" in texts["openenv.yaml"]
    assert all(f'"{spec.name}": {spec.weight}' in texts["server/app.py"] for spec in specs)
    assert "{'format_rate': 0.3}" in texts["server/app.py"]
    assert texts["server/app.py"].count("\n") < 30
    compile(texts["server/app.py"], "app", "exec")
    assert "python -m server.app" in capsys.readouterr().out
