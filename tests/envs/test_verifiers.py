"""Modules for verifiers as environments: what verifiers records is what our reward vector holds."""

import asyncio
import io
import os
import pickle
import re
from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from rich.console import Console

import gdpo_bench
from gdpo_bench.authoring.describe import describe
from gdpo_bench.core import DeclarationError, RegistrationError, RewardError, UnknownNameError, make_env, spec
from gdpo_bench.core.scoring import score

IN_TOX = "GDPO_BENCH_NEEDS_VERIFIERS" in os.environ  # there a missing package is a failure
needs_package = pytest.mark.skipif(
    not IN_TOX and find_spec("verifiers") is None, reason="verifiers is not installed: tox -e verifiers"
)

ECHO = '''
import asyncio
from typing import Literal

import verifiers.v1 as vf


class EchoData(vf.TaskData):
    word: str = ""


class EchoTask(vf.Task[EchoData]):
    @vf.reward
    async def correct(self, trace) -> bool:
        """1 if the reply is the word."""
        await asyncio.sleep(0.01)
        return trace.last_reply == self.data.word

    @vf.reward(weight=0.5)
    async def similar(self, task, trace) -> float:
        return len(set(task.word) & set(trace.last_reply)) / len(set(task.word) | set(trace.last_reply))

    @vf.reward(priority=1)
    async def size(self, trace) -> Literal[-1, 0, 1]:
        return (len(trace.last_reply) < 9) - (len(trace.last_reply) > 20)

    @vf.metric
    async def letters(self, trace) -> float:
        return len(trace.last_reply)

    def reference(self):
        return self.data.word


class EchoConfig(vf.TasksetConfig):
    words: int = 40


class EchoTaskset(vf.Taskset[EchoTask, EchoConfig]):
    ranges = {"similar": (0, 1)}

    def load(self):
        for n in range(self.config.words):
            yield EchoTask(EchoData(prompt=f"Say w{n}.", system_prompt="Be brief.", word=f"w{n}"), self.config.task)


__all__ = ["EchoTaskset"]
'''
REPLIES = ["w3", "w", "no", "", "w3 " * 12, "ｗ３ \ud800"]
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Write:
    """Writes a module that can be imported, and gives the id of its environment."""
    monkeypatch.syspath_prepend(tmp_path)
    # A name for each test: what has been imported once is not imported again.
    plain = "".join(c if c.isalnum() else "_" for c in request.node.name)

    def write(text: str, *replacements: tuple[str, str]) -> str:
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        name = f"{plain}_{len(list(tmp_path.glob('*.py')))}"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return f"verifiers:{name}"

    return write


def values(id: str, replies: list[str], index: int = 3) -> list[list[float]]:
    env = make_env(id)
    task = next(task for split in env.splits for task in env.tasks(split) if task.index == index)
    return score(env, id, [task] * len(replies), replies).values.tolist()


@needs_package
def test_the_vector_is_what_verifiers_records(write: Write) -> None:
    import verifiers.v1 as vf
    from gdpo_envs.verifiers.scoring import trace_of
    from gdpo_envs.verifiers.taskset import load_module

    id = write(ECHO)
    names = [spec.name for spec in make_env(id).reward_specs]
    (theirs,) = (task for task in load_module(spec(id).options["module"], {})[0] if task.data.idx == 3)
    recorded = []
    for reply in REPLIES:
        trace = trace_of(theirs, reply)
        asyncio.run(theirs.score(trace))
        assert isinstance(trace, vf.Trace)
        assert trace.last_reply == reply.strip()
        recorded.append([trace.rewards[name].score for name in names])
    assert names == ["size", "correct", "similar"]
    assert values(id, REPLIES) == recorded
    assert recorded[0] == [1, 1, 1]
    assert len({tuple(row) for row in recorded}) > 3


@needs_package
def test_ranges_kinds_and_weights_come_from_the_module(write: Write) -> None:
    size, correct, similar = make_env(write(ECHO)).reward_specs
    assert (size.low, size.high, size.kind, size.weight) == (-1, 1, "graded", 1)
    assert (correct.low, correct.high, correct.kind, correct.weight) == (0, 1, "binary", 1)
    assert (similar.low, similar.high, similar.kind, similar.weight) == (0, 1, "graded", 0.5)


@needs_package
def test_a_range_that_cannot_be_known_is_asked_for(write: Write) -> None:
    id = write(ECHO, ('    ranges = {"similar": (0, 1)}\n', ""))
    with pytest.raises(
        DeclarationError, match=rf"range of 'similar' is not known. Say it, {id}:ranges.similar=LOW..HIGH"
    ):
        make_env(id)
    for env in (make_env(f"{id}:ranges.similar=-1..2.5"), make_env(id, ranges={"similar": [-1, 2.5]})):
        assert (env.reward_specs[2].low, env.reward_specs[2].high) == (-1, 2.5)
    with pytest.raises(DeclarationError, match=r"a range for 'similr', which is no reward; rewards: size, correct"):
        make_env(f"{id}:ranges.similr=0..1")
    with pytest.raises(DeclarationError, match=r"LOW\.\.HIGH, such as ranges\.similar=0\.\.1; got 'wide'"):
        make_env(f"{id}:ranges.similar=wide")
    with pytest.raises(RewardError, match=r"'similar' on task \w+ must lie in \[0\.0, 0\.5\] as declared; got 1"):
        values(f"{id}:ranges.similar=0..0.5", ["w3"])


@needs_package
def test_one_function_that_raises_fails_alone(write: Write) -> None:
    body = "        await asyncio.sleep(0.01)\n"
    for fault in ('raise OSError("out of order")', "raise SystemExit(3)", "self.nothing"):
        id = write(ECHO, (body, f'        if "!" in trace.last_reply: {fault}\n'))
        env = make_env(id)
        (task, *_) = env.tasks("train")
        found = score(env, id, [task] * 2, [f"{task.prompt[-3:-1]}!", "w"])
        assert found.failed.tolist() == [[False, True, False], [False, False, False]]
        assert found.values[0, 0] == 1
        assert 0 < found.values[0, 2] < 1
        assert found.failures[0].reward == "correct"


PAIR = """\
    async def pair(self, task, trace) -> dict[str, float]:
        return {"first": 1, "second": -2} if trace.last_reply else {"first": 0.5}

    async def unused(self, task, trace):
        return """
STRICT = """\
import verifiers.v1 as vf


class Strict(vf.Judge):
    @property
    def reward_name(self):
        return "strict"

    async def score(self, task, trace):
        return len(trace.last_reply) / 10


__all__ = ["Strict"]
"""
TASK_CONFIG = """\
class Config(vf.TaskConfig):
    bonus: float = 0


class EchoConfig(vf.TasksetConfig):
    task: Config = Config()
"""
LOAD = """\
def load_environment(words: int = 7):
    return EchoTaskset(EchoConfig(words=words))


__all__ = ["load_environment"]"""
TOOLS = """\
    @classmethod
    def toolsets(cls, config):
        return [object()]

    @vf.reward
"""
INTERCEPT = """\
    @vf.intercept
    def masked(self, request: vf.Request) -> None: ...

    @vf.reward
"""


def tools(config: str) -> str:
    """A toolset that is configured so."""
    return TOOLS.replace("object()", f"vf.Toolset(vf.ToolsetConfig({config}))")


def own_env(*agents: str, config: str = "") -> str:
    """An Env of agents that are configured so."""
    fields = "".join(f"    {name}: vf.AgentConfig = vf.AgentConfig({config})\n" for name in agents)
    run = "    async def run(self, task, agents): ...\n"
    return f"class Seats(vf.EnvConfig):\n{fields}class Own(vf.Env[Seats]):\n{run}__all__ = ['EchoTaskset', 'Own']"


@needs_package
def test_a_function_with_several_names_is_several_rewards(write: Write) -> None:
    similar = ("    async def similar(self, task, trace) -> float:\n        return ", PAIR)
    id = write(ECHO, similar, ('{"similar": (0, 1)}', '{"first": (0, 1), "second": (-2, 0)}'))
    assert [(spec.name, spec.weight) for spec in make_env(id).reward_specs][2:] == [("first", 0.5), ("second", 0.5)]
    assert [row[2:] for row in values(id, ["w", ""])] == [[1, -2], [0.5, 0]]
    undeclared = make_env(write(ECHO, similar, ('{"similar": (0, 1)}', '{"first": (0, 1)}')))
    (failure, *_) = score(undeclared, "x", undeclared.tasks("train")[:1], ["w"]).failures
    assert "rewards that nothing declares: second. State a range for each, ranges.second=LOW..HIGH" in str(failure)


@needs_package
def test_judges_are_rewards(write: Write, tmp_path: Path) -> None:
    (tmp_path / "strict_judge.py").write_text(STRICT)
    judges = "    task: vf.TaskConfig = vf.TaskConfig(judges=[{'id': 'strict_judge', 'weight': 3}])\n    words"
    id = write(ECHO, ("    words", judges), ("(0, 1)}", "(0, 1), 'strict': (0, 1)}"))
    assert (make_env(id).reward_specs[3].name, make_env(id).reward_specs[3].weight) == ("strict", 3)
    assert [row[3] for row in values(id, ["w3", "w3w3"])] == [0.2, 0.4]


@needs_package
def test_options_are_those_of_the_taskset_and_of_its_tasks(write: Write) -> None:
    bonus = ("return trace.last_reply ==", "return bool(self.config.bonus) or trace.last_reply ==")
    id = write(ECHO, ("class EchoConfig(vf.TasksetConfig):\n", TASK_CONFIG), bonus)
    env = make_env(f"{id}:words=12,task.bonus=1")
    assert len(env.tasks("train")) + len(env.tasks("eval")) == 12
    assert values(f"{id}:words=12,task.bonus=1", ["x"]) != values(id, ["x"])
    assert len(make_env(f"{id}:size=5").tasks("train")) <= 5
    with pytest.raises(UnknownNameError, match="Did you mean 'words'"):
        make_env(f"{id}:wrds=3")
    with pytest.raises(DeclarationError, match=r"does not take .*: words: Input should be a valid integer"):
        make_env(f"{id}:words=many")


@needs_package
def test_load_environment_may_make_the_taskset(write: Write) -> None:
    id = write(ECHO, ('__all__ = ["EchoTaskset"]', LOAD))
    assert sum(len(make_env(id).tasks(split)) for split in ("train", "eval")) == 7
    assert sum(len(make_env(f"{id}:words=9").tasks(split)) for split in ("train", "eval")) == 9
    with pytest.raises(UnknownNameError, match="Did you mean 'words'"):
        make_env(f"{id}:word=9")
    old = write(ECHO, ('__all__ = ["EchoTaskset"]', LOAD.replace("EchoTaskset(EchoConfig(words=words))", "{}")))
    with pytest.raises(
        DeclarationError, match=r"load_environment\(\) returned builtins.dict, and verifiers 0.4 has taskset"
    ):
        make_env(old)


_TASK, _ALL = "class EchoTask(vf.Task[EchoData]):\n", '__all__ = ["EchoTaskset"]'
REFUSED = {
    "runs in a container": (_TASK, f"{_TASK}    NEEDS_CONTAINER = True\n"),
    "asks for a runtime, a machine of its own, in correct": ("correct(self, trace)", "correct(self, trace, runtime)"),
    "object is no verifiers.v1.Toolset, whose methods": ("    @vf.reward\n", TOOLS),
    "is a server elsewhere, http://x/mcp, and an": ("    @vf.reward\n", tools("url='http://x/mcp'")),
    "runs in a container (docker), and here": ("    @vf.reward\n", tools("runtime={'type': 'docker', 'image': 'x'}")),
    "runs on the agent's machine (colocated)": ("    @vf.reward\n", tools("colocated=True")),
    "rewrites what is said, by @vf.intercept in masked": ("    @vf.reward\n", INTERCEPT),
    "has no prompt": ('prompt=f"Say w{n}.", ', ""),
    "never runs out of tasks; say how many": ("    ranges =", "    INFINITE = True\n    ranges ="),
    "no reward. Mark a method": ("@vf.reward", "# @vf.reward"),
    "has no tasks": ("range(self.config.words)", "()"),
    "found none": (_ALL, "__all__ = []"),
    "found One, Two": (_ALL, "class One(EchoTaskset): ...\nclass Two(EchoTaskset): ...\n__all__ = ['One', 'Two']"),
    "has a Harness, Own, the program that asks": (_ALL, "class Own(vf.Harness): ...\n__all__ = ['EchoTaskset', 'Own']"),
    "has 2 agents (solver, judge), and there is one policy": (_ALL, own_env("solver", "judge")),
    "has its agent solver run by the harness 'bash'": (_ALL, own_env("solver", config="harness={'id': 'bash'}")),
    "OSError: no disk": ("        for n in", "        raise OSError('no disk')\n        for n in"),
}


@needs_package
@pytest.mark.parametrize("says", REFUSED)
def test_what_cannot_be_played_is_a_sentence(says: str, write: Write) -> None:
    dropped = ('{"similar": (0, 1)}', "{}") if "#" in REFUSED[says][1] else ("", "")
    with pytest.raises(DeclarationError) as refused:
        make_env(write(ECHO, REFUSED[says], dropped))
    assert says in str(refused.value)


@needs_package
@pytest.mark.parametrize(
    "fault", ["raise OSError('out of order')", "import sys; sys.exit(3)", "import nowhere", "def ("]
)
def test_a_module_that_cannot_be_imported_is_a_sentence(fault: str, write: Write) -> None:
    with pytest.raises(RegistrationError, match=r"^verifiers:\w+: importing '\w+' failed: "):
        make_env(write(fault))


@needs_package
def test_an_absent_module_is_a_sentence() -> None:
    with pytest.raises(RegistrationError, match="No module named 'nowhere_at_all', neither here in"):
        make_env("verifiers:nowhere-at-all")


@needs_package
def test_it_can_be_sent_to_another_process_and_says_where_it_comes_from(write: Write) -> None:
    env: Any = make_env(f"{write(ECHO)}:words=30")
    copy = pickle.loads(pickle.dumps(env))
    assert copy.tasks("train") == env.tasks("train")
    assert copy.reward_specs == env.reward_specs
    assert env.data_revision().startswith(f"verifiers 0.4.0, {env._module} ")
    assert make_env(write(ECHO + "\n")).data_revision()[-12:] != env.data_revision()[-12:]


@needs_package
def test_prompts_are_the_modules_and_held_out(write: Write) -> None:
    env: Any = make_env(write(ECHO))
    train, held_out = ({task.prompt for task in env.tasks(split)} for split in env.splits)
    assert not train & held_out
    assert len(train) > len(held_out) > 2
    (task, *_) = env.tasks("train")
    said = {"role": "user", "content": f"Say w{task.index}."}
    assert env.messages(task) == [{"role": "system", "content": "Be brief."}, said]


@needs_package
def test_references_and_demonstrations_come_from_the_task_class(write: Write) -> None:
    env: Any = make_env(write(ECHO))
    pairs = list(islice(env.demonstrations(Random(0)), 300))
    right = sum(env.reference(task) == reply for task, reply in pairs)
    assert 150 < right < 270
    assert {task.id for task, _ in pairs} <= {task.id for task in env.tasks("train")}
    without: Any = make_env(write(ECHO, ("def reference", "def referenced")))
    assert without.reference(without.tasks("train")[0]) is None
    assert list(without.demonstrations(Random(0))) == []


@needs_package
def test_a_split_without_tasks_is_a_sentence_that_says_what_to_do(write: Write) -> None:
    id = write(ECHO)
    assert len(make_env(id, words=1, eval_share=1).tasks("eval")) == 1
    with pytest.raises(DeclarationError, match=r"none of its 1 tasks is in the split 'train'.*eval_share=1"):
        make_env(id, words=1, eval_share=1).tasks("train")


@needs_package
def test_its_page_names_the_command_that_measures_gaming_with_the_options_that_were_given(write: Write) -> None:
    id = write(ECHO)
    console = Console(width=1000, record=True, file=io.StringIO())
    console.print(describe(id, words=9))
    assert f"gdpo-bench check {id}:words=9 --gaming measures" in console.export_text()


@needs_package
def test_it_passes_the_checker(write: Write) -> None:
    results = gdpo_bench.check_env(write(ECHO), tasks=3)
    # Another process finds the module where Python starts, and not where a test put it.
    assert {result.check for result in results if result.status != "passed"} <= {"pickle", "hash-seed"}


def test_a_missing_package_is_a_sentence_that_says_how_to_install_it(
    refused_without: Callable[[str, str], str],
) -> None:
    printed = refused_without("verifiers", "verifiers:anything")
    assert printed == "verifiers:… needs a package: pip install verifiers==0.4.0\n"


@needs_package
@pytest.mark.slow
def test_blocks_of_the_page_run_as_they_are_printed(tmp_path: Path, typed: Callable[[str], str]) -> None:
    text = (Path(__file__).parents[2] / "docs/from-verifiers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(python|bash)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "bash"] * 2
    (tmp_path / "capitals.py").write_text(blocks[0][1], encoding="utf-8")
    assert "1 for an empty reply, and less the longer it is." in typed(blocks[1][1])
    (tmp_path / "till.py").write_text(blocks[2][1], encoding="utf-8")
    printed = typed(blocks[3][1])
    assert "16 checks: 0 failed" in printed
    assert "right 1.00" in printed
    assert list((tmp_path / "runs").iterdir())
