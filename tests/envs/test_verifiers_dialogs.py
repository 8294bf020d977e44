"""Modules for verifiers with tools or users: what verifiers' own loop records is what an episode here records."""

import asyncio
import gc
import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import gdpo_bench
from gdpo_bench.core import DeclarationError, make_env
from gdpo_bench.core.scoring import EpisodeBatch, Scores

IN_TOX = "GDPO_BENCH_NEEDS_VERIFIERS" in os.environ  # there a missing package is a failure
needs_package = pytest.mark.skipif(
    not IN_TOX and find_spec("verifiers") is None, reason="verifiers is not installed: tox -e verifiers"
)

SHOP = '''
import asyncio

import verifiers.v1 as vf
from CLOCK import Clock


class Basket(vf.State):
    items: list[str] = []


class ShopData(vf.TaskData):
    wanted: str = ""
    stock: int = 0


class Counter(vf.Toolset[vf.ToolsetConfig, Basket]):
    TOOL_PREFIX = "shop"

    async def setup(self):
        self.prices = {"pen": 3, "cup": 7}
        self._exit_stack.callback(closed.append, "shop")

    async def setup_task(self, task):
        self.left = task.stock

    @vf.tool
    async def price(self, product: str) -> int:
        """What a product costs."""
        await asyncio.sleep(0)
        return self.prices[product]

    @vf.tool
    def buy(self, product: str) -> str:
        """Buy one."""
        if self.left < 1:
            raise RuntimeError("sold out")
        self.left -= 1
        self.state.items.append(product)
        return f"{len(self.state.items)} bought, {self.left} left"

    @vf.tool
    def leave(self) -> str:
        """Leave the shop."""
        raise SystemExit(3)


class ShopTask(vf.Task[ShopData, Basket]):
    @classmethod
    def toolsets(cls, config):
        return [Counter(vf.ToolsetConfig())]

    @vf.stop
    async def has_two(self, trace: vf.Trace) -> bool:
        return len(trace.state.items) >= 2

    @vf.stop
    async def asks_for_gold(self, request: vf.Request) -> bool:
        return request.messages[-1].role == "tool" and "gold" in str(request.messages[-2:])

    @vf.stop
    async def gives_up(self, response: vf.Response) -> bool:
        return "give up" in (response.message.content or "")

    @vf.reward
    async def bought(self, trace) -> bool:
        return self.data.wanted in trace.state.items

    @vf.reward(weight=0.5)
    async def few(self, trace) -> float:
        return 1 / max(1, len(trace.tool_messages))

    @vf.reward
    async def says(self, trace) -> bool:
        if "crash" in trace.last_reply:
            raise ValueError("crashed")
        await asyncio.sleep(SLOW)
        return trace.last_reply == "done"

    @vf.metric
    async def turns(self, trace) -> float:
        return trace.num_turns

    def reference(self):
        call = '<tool_call>{"name": "shop_buy", "parameters": {"product": "%s"}}</tool_call>'
        return ["<think></think>" + call % self.data.wanted, "done"]


class Shop(vf.Taskset[ShopTask, vf.TasksetConfig]):
    ranges = {"few": (0, 1)}

    @classmethod
    def toolsets(cls, config):
        return [Clock(vf.ToolsetConfig())]

    def load(self):
        for n in range(20):
            wanted = "pen" if n % 2 else "cup"
            data = ShopData(prompt=f"Buy a {wanted} ({n}).", system_prompt="Be brief.", wanted=wanted, stock=n + 1)
            yield ShopTask(data, self.config.task)


closed = []
SLOW = 0
__all__ = ["Shop"]
if __name__ == "__main__":
    Counter.run()
'''
CLOCK = '''
import verifiers.v1 as vf


class Clock(vf.Toolset[vf.ToolsetConfig]):
    TOOL_PREFIX = None
    starts = 0

    async def setup(self):
        type(self).starts += 1

    @vf.tool(name="now")
    def hour(self) -> dict:
        """The hour."""
        return {"hour": 8}


if __name__ == "__main__":
    Clock.run()
'''
GUESS = """
import verifiers.v1 as vf


class NumberData(vf.TaskData):
    number: int = 0


class NumberTask(vf.Task[NumberData]):
    @vf.reward
    async def found(self, trace) -> bool:
        return trace.last_reply == str(self.data.number)

    def reference(self):
        return [str(self.data.number)]


class GuessConfig(vf.EnvConfig):
    player: vf.AgentConfig = vf.AgentConfig(max_turns=4)


class Guess(vf.Env[GuessConfig]):
    async def run(self, task, agents):
        guesses = 0
        async with agents.player.interaction(task) as talk:
            said = await talk.turn("Guess a number below 10.")
            while not said.terminated:
                guesses += 1
                guess = int(said.last_reply[:9]) if said.last_reply.isdecimal() else -1
                if guess == task.data.number:
                    break
                said = await talk.turn("higher" if guess < task.data.number else "lower")
        talk.trace.record_reward("quick", 1 / guesses)


class Numbers(vf.Taskset[NumberTask, vf.TasksetConfig]):
    ranges = {"quick": (0, 1)}

    def load(self):
        for n in range(10):
            yield NumberTask(NumberData(system_prompt=f"Game {n}", number=n), self.config.task)


__all__ = ["Numbers", "Guess"]
"""
Write = Callable[..., str]


def call(name: str, **parameters: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'parameters': parameters})}\n</tool_call>"


PEN = call("shop_buy", product="pen")
SCRIPTS = {
    "the reference": [f"<think>Why {PEN}?</think>{PEN}", "done"],
    "every error that a tool can give": [
        f"Well. {call('shop_price', product='x')} {call('nothing')}{call('now')}",
        call("shop_buy"),
        call("shop_buy", product="cup", colour="red"),
        "no",
    ],
    "sold out, and stopped by the state": [PEN * 3, "done"],
    "stopped by a request": [call("shop_price", product="gold"), "done"],
    "stopped by a reply": [f"I give up {PEN}", "done"],
    "calls that cannot be read": [f"<tool_call>{PEN}", "done"],
    "strange text": [call("shop_price", product="ｐ\u2028\x00") + " ", "ｄ\u2028 "],
}
TURNS = 3
GUESSES = {"in two": ["9", " 7\n"], "never": ["1", "2", "3", "", "7"]}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Write:
    """Writes modules that can be imported, and gives the name of the first."""
    monkeypatch.syspath_prepend(tmp_path)
    paths = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", paths)  # verifiers serves tools from other processes
    plain = "".join(c if c.isalnum() else "_" for c in request.node.name.lower())

    def write(text: str, *replacements: tuple[str, str]) -> str:
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        name = f"{plain}_{len(list(tmp_path.glob('*.py')))}"
        (tmp_path / f"{name}_clock.py").write_text(CLOCK, encoding="utf-8")
        (tmp_path / f"{name}.py").write_text(text.replace("CLOCK", f"{name}_clock"), encoding="utf-8")
        return name

    return write


def task_of(env: Any, index: int) -> Any:
    return next(task for split in env.splits for task in env.tasks(split) if task.index == index)


def play(env: Any, task: Any, scripts: Sequence[Sequence[str]]) -> tuple[Scores, EpisodeBatch]:
    batch = EpisodeBatch(env, "x", [task] * len(scripts))
    total = batch.play([script[0] for script in scripts])
    for turn in range(1, env.max_turns):
        total = total + batch.play([script[turn] if turn < len(script) else "" for script in scripts])
    assert all(episode.over for episode in batch.episodes)
    return total, batch


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Those that our episodes end with, once they are scored."""
    from gdpo_envs.verifiers import policy

    found: list[Any] = []
    scored = policy.scored

    async def seen(task: Any, trace: Any) -> Any:
        outcome = await scored(task, trace)
        found.append(trace)
        return outcome

    monkeypatch.setattr(policy, "scored", seen)
    return found


async def theirs(module: str, index: int, scripts: Sequence[Sequence[str]]) -> list[Any]:
    """Traces of verifiers' own loop: its interception server, tool servers and chat program; replies are replayed."""
    import verifiers.v1 as vf
    from gdpo_envs.verifiers.calls import assistant_message
    from verifiers.v1.clients import EvalClientConfig, ModelContext
    from verifiers.v1.clients.client import Client, RelayReply
    from verifiers.v1.configs.agent import agent_config_fields
    from verifiers.v1.dialects.chat import message_to_wire
    from verifiers.v1.interception.server import InterceptionServer
    from verifiers.v1.runtimes.subprocess import SubprocessRuntime
    from verifiers.v1.utils.loaders import env_config_type, environment_class

    class Replayed(Client):
        """Stands where a model server would be asked."""

        def __init__(self) -> None:
            self.scripts: dict[str, Iterator[tuple[int, str]]] = {}

        async def relay(self, dialect: Any, body: Any, session_id: Any = None, headers: Any = None) -> RelayReply:
            turn, text = next(self.scripts[session_id])
            message = assistant_message(text, turn)
            reason = "tool_calls" if message.tool_calls else "stop"
            choice = {"index": 0, "message": message_to_wire(message), "finish_reason": reason}
            events = dialect.stream_events({"id": "x", "created": 0, "model": "policy", "choices": [choice]})

            async def chunks() -> Any:
                for event in events:
                    yield event

            return RelayReply("text/event-stream", chunks(), close=client.close)

        async def get_response(self, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError

    async def prepared(self: Any, script: str, *args: Any, **kwargs: Any) -> list[str]:
        path = Path(self.workdir) / "program.py"  # uv would make an environment for it, which this one is
        path.write_text(script, encoding="utf-8")
        return [sys.executable, str(path)]

    client = Replayed()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(InterceptionServer, "_client", lambda self, config: client)
        patched.setattr(SubprocessRuntime, "prepare_uv_script", prepared)
        config_type = env_config_type(module)
        ((seat, agent),) = agent_config_fields(config_type()).items()
        pinned = {"harness": {"id": "null"}, "runtime": {"type": "subprocess"}, "max_turns": agent.max_turns or TURNS}
        config = {"taskset": {"id": module}, seat: pinned, "interception": {"type": "server"}}
        env = environment_class(module)(config_type.model_validate(config))
        task = next(task for task in env.taskset if task.data.idx == index)
        context = ModelContext(model="policy", client=EvalClientConfig())

        async def one(script: Sequence[str]) -> Any:
            def minted(trace: Any) -> None:
                client.scripts[trace.id] = iter(enumerate(script))

            episode = await env.run_episode(task, context, on_trace=minted)
            assert not episode.errors
            assert isinstance(episode.traces[0], vf.Trace)
            return episode.traces[0]

        async with env.serving():
            return await asyncio.gather(*map(one, scripts))


def told(trace: Any) -> dict[str, Any]:
    """What a reward can read of a trace."""
    return {
        "nodes": [(node.parent, node.sampled, node.message) for node in trace.nodes],
        "tools": trace.tools,
        "state": trace.state,
        "stop": trace.stop_condition,
        "ok": trace.ok,
        "rewards": trace.rewards,
        "metrics": trace.metrics,
        "finish reasons": [(one.node, one.finish_reason) for one in trace.calls],
        "task": (trace.task.type, trace.task.data, trace.task.key, trace.task.hash),
    }


def assert_same(module: str, index: int, scripts: dict[str, list[str]], traces: list[Any], **options: Any) -> Any:
    env = make_env(f"verifiers:{module}", **options)
    total, batch = play(env, task_of(env, index), list(scripts.values()))
    names = [spec.name for spec in env.reward_specs]
    recorded = asyncio.run(theirs(module, index, list(scripts.values())))
    by_text = {str(told(trace)["nodes"]): trace for trace in traces}
    assert len(by_text) == len(scripts)
    for row, (name, trace) in enumerate(zip(scripts, recorded, strict=True)):
        ours = by_text.get(str(told(trace)["nodes"]))
        assert ours is not None, f"{name}: {trace.nodes}"
        assert told(ours) == told(trace), name
        assert total.values[row].tolist() == [trace.rewards[one].score for one in names], name
        assert [spec.weight for spec in env.reward_specs] == [trace.rewards[one].weight for one in names]
    return recorded, batch


@needs_package
@pytest.mark.slow
def test_a_trace_with_tools_is_the_one_that_verifiers_own_loop_records(write: Write, traces: list[Any]) -> None:
    recorded, batch = assert_same(write(SHOP), 1, SCRIPTS, traces, max_turns=TURNS)
    stops = dict(zip(SCRIPTS, (trace.stop_condition for trace in recorded), strict=True))
    assert stops["sold out, and stopped by the state"] == "has_two"
    assert stops["stopped by a request"] == "asks_for_gold"
    assert stops["stopped by a reply"] == "gives_up"
    cut_off = [name for name, cut in zip(SCRIPTS, batch.truncated, strict=True) if cut]
    assert cut_off == [name for name, stop in stops.items() if stop == "max_turns"]
    assert cut_off == ["every error that a tool can give"]


@needs_package
@pytest.mark.slow
def test_a_trace_with_a_user_is_the_one_that_verifiers_own_loop_records(write: Write, traces: list[Any]) -> None:
    recorded, batch = assert_same(write(GUESS), 7, GUESSES, traces)
    assert [trace.num_turns for trace in recorded] == [2, 4]
    assert batch.truncated.tolist() == [False, True]


@needs_package
def test_tools_stand_in_the_prompt_and_their_results_in_the_next_turn(write: Write) -> None:
    env = make_env(f"verifiers:{write(SHOP)}")
    task = task_of(env, 1)
    system, user = env.messages(task)
    assert system["content"].startswith(
        'Be brief.\n\nYou have these tools:\n{"name": "now", "description": "The hour."'
    )
    assert '{"name": "shop_price", "description": "What a product costs.", "parameters": ' in system["content"]
    assert user == {"role": "user", "content": "Buy a pen (1)."}
    assert task.prompt == "Be brief.\n\nBuy a pen (1)."
    _, batch = play(env, task, [[call("shop_price", product="pen") + call("nothing"), "done"]])
    assert batch.messages()[0][3] == {"role": "tool", "content": "3\nerror: unknown tool 'nothing'"}


@needs_package
def test_rewards_come_once_with_the_last_turn(write: Write) -> None:
    env = make_env(f"verifiers:{write(SHOP)}", max_turns=2)
    assert env.max_turns == 2
    batch = EpisodeBatch(env, "x", [task_of(env, 1)] * 3)
    first = batch.play([PEN, "done", call("now")])
    assert first.applicable.tolist() == [[False] * 3, [True] * 3, [False] * 3]
    assert first.values.tolist() == [[0, 0, 0], [0, 1, 1], [0, 0, 0]]
    last = batch.play(["done", "", PEN])
    assert last.values.tolist() == [[1, 1, 1], [0, 0, 0], [1, 1, 0]]
    assert batch.terminated.tolist() == [True, True, False]
    assert batch.truncated.tolist() == [False, False, True]


@needs_package
def test_a_toolset_is_one_episodes_own_or_the_whole_tasksets(write: Write) -> None:
    module = write(SHOP)
    env = make_env(f"verifiers:{module}")
    _, batch = play(env, task_of(env, 0), [[PEN, "done"], [PEN, "done"]])
    assert [messages[3]["content"] for messages in batch.messages()] == ["1 bought, 0 left"] * 2
    assert sys.modules[f"{module}_clock"].Clock.starts == 1
    own = sys.modules[module].closed
    assert own == ["shop"] * 3, "of the look at the tools, and of each episode"


@needs_package
def test_an_episode_that_is_left_is_cleaned_up(write: Write) -> None:
    module = write(SHOP)
    env = make_env(f"verifiers:{module}")
    env.messages(task_of(env, 0))
    batch = EpisodeBatch(env, "x", [task_of(env, 0)])
    batch.play([call("now")])
    closed = sys.modules[module].closed
    until(lambda: len(closed) == 1)
    del batch
    gc.collect()
    until(lambda: len(closed) == 2)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@needs_package
def test_what_raises_fails_alone(write: Write) -> None:
    env = make_env(f"verifiers:{write(SHOP)}")
    total, _ = play(env, task_of(env, 1), [[PEN, "crash"], [call("shop_leave")], [PEN, "done"]])
    assert total.failed.tolist() == [[False, False, True], [True] * 3, [False] * 3]
    assert total.values.tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1]]
    assert [failure.reward for failure in total.failures] == ["bought", "few", "says", "says"]
    assert "exits the process (3)" in str(total.failures[0])
    assert "ValueError: crashed" in str(total.failures[3])


@needs_package
def test_rewards_of_a_batch_are_awaited_side_by_side(write: Write) -> None:
    env = make_env(f"verifiers:{write(SHOP, ('SLOW = 0', 'SLOW = 0.3'))}")
    task = task_of(env, 1)
    env.messages(task)
    start = time.monotonic()
    total, _ = play(env, task, [["done"]] * 20)
    assert total.values[:, 2].all()
    assert time.monotonic() - start < 3


@needs_package
def test_a_user_begins_and_answers(write: Write) -> None:
    env = make_env(f"verifiers:{write(GUESS)}")
    assert env.max_turns == 4, "as the Env says of its agent"
    assert [(spec.name, spec.low, spec.high) for spec in env.reward_specs] == [("found", 0, 1), ("quick", 0, 1)]
    task = task_of(env, 7)
    opened = [{"role": "system", "content": "Game 7"}, {"role": "user", "content": "Guess a number below 10."}]
    assert env.messages(task) == opened
    total, batch = play(env, task, [["1", "7"], ["7"]])
    assert batch.messages()[0][2:4] == [
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "higher"},
    ]
    assert total.values.tolist() == [[1, 0.5], [1, 1]]


@needs_package
@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("1 / guesses)", "1 / guesses, weight=2)", "recorded 'quick' with weight 2; here it weighs 1"),
        ('"quick", 1', '"fast", 1', "rewards that nothing declares: fast"),
        ("talk.trace", "(await agents.player.run(task.with_data(prompt='?')))", "for one after the end"),
    ],
)
def test_an_env_records_what_is_declared_of_one_play(old: str, new: str, says: str, write: Write) -> None:
    env = make_env(f"verifiers:{write(GUESS, (old, new))}")
    total, _ = play(env, task_of(env, 7), [["7"]])
    assert total.failed.any()
    assert says in str(total.failures[0])


@needs_package
def test_a_task_that_begins_otherwise_each_time_fails(write: Write) -> None:
    asked = ('talk.turn("Guess a number below 10.")', "talk.turn(f'Guess, for the {next(times)}. time')")
    module = write(GUESS, asked, ("class NumberD", "times = iter(range(99))\nclass NumberD"))
    env = make_env(f"verifiers:{module}")
    total, _ = play(env, task_of(env, 7), [["7"]])
    assert total.failed.all()
    assert "began with other messages or tools than before" in str(total.failures[0])


@needs_package
def test_a_task_without_a_prompt_asks_for_an_env(write: Write) -> None:
    module = write(GUESS, ('["Numbers", "Guess"]', '["Numbers"]'), ("    ranges", "    _"))
    with pytest.raises(DeclarationError, match="has no prompt, so that a user would begin; write an Env"):
        make_env(f"verifiers:{module}")


@needs_package
def test_turns_are_counted_where_there_are_tools_or_a_user(write: Write) -> None:
    assert make_env(f"verifiers:{write(GUESS)}", max_turns=2).max_turns == 2
    with pytest.raises(DeclarationError, match="max_turns"):
        make_env(f"verifiers:{write(GUESS)}", max_turns=0)
    bare = ("return [Counter(vf.ToolsetConfig())]", "return []"), ("return [Clock(vf.ToolsetConfig())]", "return []")
    assert make_env(f"verifiers:{write(SHOP, *bare)}").max_turns == 1
    with pytest.raises(DeclarationError, match="max_turns=2 is for tools or a user; here one reply is all"):
        make_env(f"verifiers:{write(SHOP, *bare)}", max_turns=2)


@needs_package
@pytest.mark.parametrize("text", [SHOP, GUESS], ids=["tools", "user"])
def test_it_passes_the_checker(text: str, write: Write) -> None:
    results = gdpo_bench.check_env(f"verifiers:{write(text)}", tasks=3)
    # Another process finds the module where Python starts, and not where a test put it.
    assert {result.check for result in results if result.status != "passed"} <= {"pickle", "hash-seed"}


@needs_package
def test_an_episode_can_be_sent_to_another_process(write: Write) -> None:
    env = make_env(f"verifiers:{write(SHOP)}")
    batch = EpisodeBatch(env, "x", [task_of(env, 1)])
    batch.play([PEN])
    copied = pickle.loads(pickle.dumps(batch))
    assert copied.play(["done"]).values.tolist() == batch.play(["done"]).values.tolist() == [[1, 1, 1]]
