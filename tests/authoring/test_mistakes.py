"""What an author gets wrong in the first hour is said with file, line and remedy, before anything is trained."""

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from gdpo_bench import check_env
from gdpo_bench.authoring import CheckResult
from gdpo_bench.core import GdpoBenchError, registry
from gdpo_bench.jobs.job import check
from gdpo_bench.jobs.plan import plan

_ENVIRONMENT = {
    "top": "",
    "tasks": """
        def tasks(self, split):
            return split_by_content([Task(f"Say {n}") for n in range(100)], split)
    """,
    "right": """
        @reward(low=0, high=1)
        def right(self, task, reply):
            return task.prompt == f"Say {reply}"
    """,
    "short": """
        @reward(low=0, high=1)
        def short(self, task, reply):
            return 3 / max(3, len(reply))
    """,
    "more": """
        def reference(self, task):
            return task.prompt.removeprefix("Say ")
    """,
}
_NUMBER = count()

Write = Callable[..., str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module that registers an environment, with some parts replaced; returns the id to check it by."""
    monkeypatch.syspath_prepend(tmp_path)
    before = dict(registry._registry)

    def write(**parts: str) -> str:
        name = f"mistaken_{next(_NUMBER)}"
        source = {key: textwrap.dedent(text) for key, text in (_ENVIRONMENT | parts).items()}
        top = source.pop("top")
        body = textwrap.indent("\n".join(source.values()), "    ")
        head = "from dataclasses import dataclass\nfrom gdpo_bench import Gate, Task, TextEnv, register, reward\n"
        head += "from gdpo_bench.core import split_by_content\n"
        text = f"{head}{top}\n@register('acme/{name}-v0')\nclass Say(TextEnv[Task]):\n{body}\n"
        (tmp_path / f"{name}.py").write_text(text)
        return f"{name}:acme/{name}-v0"

    yield write
    registry._registry.clear()
    registry._registry.update(before)


def line_of(id: str, folder: Path) -> str:
    """The file and the line that ends in `# here`, as a pattern."""
    file = folder / f"{id.partition(':')[0]}.py"
    number = next(i for i, line in enumerate(file.read_text().splitlines(), 1) if line.endswith("# here"))
    return re.escape(f"{file}, line {number})")


def tasks(returned: str) -> dict[str, str]:
    return {"tasks": f"def tasks(self, split):  # here\n    return {returned}"}


MISTAKES = {
    "generator": (tasks("(Task(f'Say {n}') for n in range(9))"), "returned a generator; return a sequence.* list"),
    "set": (tasks("{Task('Say 1')}"), "returned a set; return a sequence"),
    "mapping": (tasks("{'train': [Task('Say 1')]}"), "returned a dict; return a sequence"),
    "text": (tasks("'Say 1'"), "returned a str; return a sequence"),
    "nothing": (tasks("[Task('a')] if split == 'train' else None"), "'eval'.* returned None; .* 'train' and 'eval'"),
    "no tasks": (tasks("[Task('a')] if split == 'train' else []"), "'eval'.* has no tasks; .* 'train' and 'eval'"),
    "no split": (
        {"tasks": "def tasks(self, split):\n    return {'train': [Task('a')]}[split]  # here"},
        "KeyError: 'eval'",
    ),
    "texts": (tasks("[Task('a'), 'Say 2']"), r"holds 'Say 2', a str; wrap each prompt: Task\(prompt\)"),
    "rows": (tasks("[{'prompt': 'a'}]"), r"holds a dict; make a Task of it: Task\(prompt=…\)"),
    "numbers as prompts": (tasks("[Task(7)]"), "prompt is 7, no text"),
    "bare reward": (
        {"short": "@reward  # here\ndef short(self, task, reply):\n    return 0"},
        r"@reward of 'short' needs its range, by name: @reward\(low=0, high=1\)",
    ),
    "unnamed range": (
        {"short": "@reward(0, 1)  # here\ndef short(self, task, reply):\n    return 0"},
        r"needs its range, by name: @reward\(low=0, high=1\)",
    ),
    "no range": ({"short": "@reward(low=0)  # here\ndef short(self, task, reply):\n    return 0"}, "needs its range"),
    "range the other way round": (
        {"short": "@reward(low=1, high=0)  # here\ndef short(self, task, reply):\n    return 0"},
        "low must be below high",
    ),
    "one argument too few": (
        {"short": "@reward(low=0, high=1)\ndef short(self, reply):  # here\n    return 0"},
        r"'short' must take \(self, task, reply\); it takes \(self, reply\)",
    ),
    "one argument too many": (
        {"short": "@reward(low=0, high=1)\ndef short(self, task, reply, more):  # here\n    return 0"},
        r"must take \(self, task, reply\); it takes \(self, task, reply, more\)",
    ),
    "asynchronous generator": (
        {"short": "@reward(low=0, high=1)\nasync def short(self, task, reply):  # here\n    yield 0"},
        r"'short' is an asynchronous generator.* `return` it",
    ),
    "name that is taken": (
        {"short": "@reward(low=0, high=1)\ndef messages(self, task, reply):  # here\n    return 0"},
        r"every environment has a 'messages' of its own.* another name",
    ),
    "gates in a circle": (
        {
            "right": "@reward(low=0, high=1, gate=Gate('short', 1))  # here\ndef right(self, t, r):\n    return 0",
            "short": "@reward(low=0, high=1, gate=Gate('right', 1))\ndef short(self, t, r):\n    return 0",
        },
        "gates of 'right' and 'short' wait for each other; remove one",
    ),
    "gate on nothing": (
        {"short": "@reward(low=0, high=1, gate=Gate('rihgt', 1))  # here\ndef short(self, t, r):\n    return 0"},
        "Did you mean 'right'",
    ),
    "task without dataclass": (
        {
            "top": "class Word(Task):  # here\n    letters: int",
            "tasks": "def tasks(self, split):\n    return split_by_content([Word('Say 1', 1)], split)",
        },
        r"Word has fields and is no dataclass: write @dataclass\(frozen=True\) above it",
    ),
    "tasks without split": (
        {"tasks": "def tasks(split):  # here\n    return [Task('a')]"},
        r"Say.tasks must take \(self, split\); it takes \(split\)",
    ),
    "reference without task": (
        {"more": "def reference(self):  # here\n    return ''"},
        r"Say.reference must take \(self, task\); it takes \(self\)",
    ),
    "demonstrations without rng": (
        {"more": "def demonstrations(self):  # here\n    yield Task('a'), 'a'"},
        r"Say.demonstrations must take \(self, rng\)",
    ),
    "generator as reward": (
        {"short": "@reward(low=0, high=1)\ndef short(self, task, reply):  # here\n    yield 0"},
        "'short' is a generator.* `return` it",
    ),
    "range in texts": (
        {"short": "@reward(low='0', high=1)  # here\ndef short(self, task, reply):\n    return 0"},
        "Reward 'short': low must be a number; got '0'",
    ),
    "weight in texts": (
        {"short": "@reward(low=0, high=1, weight='1')  # here\ndef short(self, task, reply):\n    return 0"},
        "Reward 'short': weight must be a number; got '1'",
    ),
    "one metric twice": (
        {
            "right": "@reward(low=0, high=1, metric='accuracy')\ndef right(self, task, reply):\n    return 0",
            "short": "@reward(low=0, high=1, metric='accuracy')  # here\ndef short(self, task, reply):\n    return 0",
        },
        "'right' and 'short' both feed the metric 'accuracy'",
    ),
    "option without default": (
        {"more": "def __init__(self, path):  # here\n    self.path = path"},
        "option path has no default; give it one, or a value: acme/.*:path=…",
    ),
    "bare register": (
        {"top": "@register  # here\nclass Other(TextEnv[Task]):\n    pass"},
        "@register of Other needs the id",
    ),
    "error at the top": ({"top": "letters = {}['a']  # here"}, "importing .* failed: KeyError: 'a'"),
    "syntax": ({"top": "def f(:  # here"}, "importing .* failed: SyntaxError"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_the_author_names_file_line_and_remedy(name: str, written: Write, tmp_path: Path) -> None:
    parts, says = MISTAKES[name]
    id = written(**parts)
    with pytest.raises(GdpoBenchError) as raised:
        check_env(id)
    assert re.search(says, str(raised.value)), raised.value
    assert re.search(line_of(id, tmp_path), str(raised.value)), raised.value
    assert str(raised.value).count(", line ") == 1


CLASSES = {
    "no tasks": ({"tasks": ""}, r"must define tasks\(self, split\)"),
    "tasks as a list": (
        {"tasks": "tasks = [Task('a')]"},
        r"Say.tasks must be a method, def tasks\(self, split\); it is",
    ),
    "no reward": ({"right": "", "short": ""}, "declares no reward; mark a method with @reward"),
}


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_wrong_with_a_class_as_a_whole_names_its_line(name: str, written: Write, tmp_path: Path) -> None:
    parts, says = CLASSES[name]
    id = written(top="# a comment", **parts)
    with pytest.raises(GdpoBenchError, match=says) as raised:
        check_env(id)
    file = tmp_path / f"{id.partition(':')[0]}.py"
    number = next(i for i, line in enumerate(file.read_text().splitlines(), 1) if line.startswith("class "))
    assert str(raised.value).endswith(f"({file}, line {number})")


@pytest.mark.parametrize("value", ["'1'", "float('nan')", "7", "[0.5]"])
def test_a_value_that_is_not_allowed_names_the_reward_s_line_in_check_and_in_a_job(
    value: str, written: Write, tmp_path: Path
) -> None:
    id = written(short=f"@reward(low=0, high=1)\ndef short(self, task, reply):  # here\n    return {value}")
    assert re.search(line_of(id, tmp_path), failed(check_env(id))["values"])
    with pytest.raises(GdpoBenchError, match=line_of(id, tmp_path)):
        plan(check({"envs": [id]}))


REFERENCES = {
    "a number": (
        "def reference(self, task):  # here\n    return 7",
        "returned 7, an int on task .*; return the reply, a text",
    ),
    "texts and none": (
        "def reference(self, task):  # here\n    return ['a', None]",
        "a list on task .*; return the reply",
    ),
    "raises": ("def reference(self, task):\n    return task.answer  # here", "raised AttributeError"),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_that_is_none_is_said_once_in_check_and_before_a_job(
    name: str, written: Write, tmp_path: Path
) -> None:
    source, says = REFERENCES[name]
    id = written(more=source)
    found = failed(check_env(id))
    assert list(found) == ["reference"]
    assert re.search(rf"reference\(\) of acme/.* {says}.*{line_of(id, tmp_path)}", found["reference"])
    with pytest.raises(GdpoBenchError, match=line_of(id, tmp_path)):
        plan(check({"envs": [id]}))


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("None", "returned None, for task"),
        ("task.prompt", "returned 'Say .*, a str, for task .*; return a list of messages"),
        ("[]", "returned .*, a list, for task"),
        ("[{'role': 'user'}]", "gave {'role': 'user'} for task .*; a message is a dict with the texts"),
        ("[{'role': 'user', 'content': 7}]", "gave .* for task .*; a message is a dict with the texts"),
    ],
)
def test_messages_that_are_none_are_said_once_in_check_and_before_a_job(
    returned: str, says: str, written: Write, tmp_path: Path
) -> None:
    id = written(more=f"def messages(self, task):  # here\n    return {returned}")
    found = failed(check_env(id))
    assert list(found) == ["json"]
    assert re.search(f"{says}.*{line_of(id, tmp_path)}", found["json"])
    with pytest.raises(GdpoBenchError, match=line_of(id, tmp_path)):
        plan(check({"envs": [id]}))


def test_a_module_that_does_not_register_what_is_asked_of_it_is_told_of(written: Write) -> None:
    module, _, id = written().partition(":")
    with pytest.raises(GdpoBenchError, match=f"Importing '{module}' registered {id}"):
        check_env(f"{module}:acme/Other-v0")
    with pytest.raises(GdpoBenchError, match=r"Importing '\w+' registered no such id. Write @register\(\"acme/Other"):
        check_env(f"{module}:acme/Other-v0")


def failed(results: list[CheckResult]) -> dict[str, str]:
    return {result.check: result.detail for result in results if result.status == "failed"}


def test_a_reward_that_raises_on_the_reference_is_said_once_and_never_to_be_caught(
    written: Write, tmp_path: Path
) -> None:
    id = written(short="@reward(low=0, high=1)\ndef short(self, task, reply):\n    return len(task.answer)  # here")
    found = failed(check_env(id))
    assert list(found) == ["reference"]
    assert re.search("'short' raised AttributeError: .*" + line_of(id, tmp_path), found["reference"])
    assert "on the reference itself" in found["reference"]
    assert "lowest value" not in found["reference"]


def test_a_reward_that_always_raises_is_a_fault_of_its_own_without_a_reference_too(
    written: Write, tmp_path: Path
) -> None:
    source = "@reward(low=0, high=1)\ndef short(self, task, reply):\n    return len(task.answer)  # here"
    id = written(short=source, more="")
    found = failed(check_env(id))
    assert list(found) == ["any-text"]
    assert re.search("'short' raised AttributeError: .*" + line_of(id, tmp_path), found["any-text"])
    assert "a fault of the reward" in found["any-text"]
    assert "lowest value" not in found["any-text"]


DEMONSTRATIONS = {
    "raises": ("raise OSError('words.txt')  # here", "raised OSError: words.txt"),
    "raises later": (
        "for i in range(300):\n        if i == 30:\n            raise OSError('words.txt')  # here\n"
        "        yield self.tasks('train')[0], 'a'",
        "raised OSError: words.txt",
    ),
    "returns nothing": ("return None", "returned None; `yield` a task and its reply"),
}


@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_demonstrations_that_raise_are_found_once_by_the_check_and_before_a_job_starts(
    name: str, written: Write
) -> None:
    body, says = DEMONSTRATIONS[name]
    id = written(more=f"{textwrap.dedent(_ENVIRONMENT['more'])}\ndef demonstrations(self, rng):\n    {body}")
    found = failed(check_env(id))
    assert [text for text in found.values() if says in text] == [found["demonstrations"]]
    with pytest.raises(GdpoBenchError, match=f"demonstrations\\(\\) of acme/.* {says}"):
        plan(check({"envs": [id]}))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("yield self.tasks('train')[0], 'a'", "ended after 1; they must be endless"),
        ("yield from ['a reply'] * 999", "gave 'a reply'; yield a Task"),
        ("yield from [(self.tasks('train')[0], 7)] * 999", "yield a Task"),
    ],
)
def test_demonstrations_that_end_or_are_none_are_refused_before_a_job_starts(
    body: str, says: str, written: Write
) -> None:
    id = written(more=f"def demonstrations(self, rng):\n    {body}")
    with pytest.raises(GdpoBenchError, match=says):
        plan(check({"envs": [id]}))


def test_tasks_dropped_as_copies_are_told_of_once(written: Write) -> None:
    listed = "[Task(f'Say {n % 90}') for n in range(99)]"
    id = written(tasks=f"def tasks(self, split):\n    return split_by_content({listed}, split)")
    with pytest.warns(UserWarning, match="dropped 9 of 99 tasks as copies") as warned:
        check_env(id)
    copies = [one for one in warned if "copies" in str(one.message)]
    assert [Path(one.filename).stem for one in copies] == [id.partition(":")[0]]


def test_what_an_environment_prints_does_not_bury_the_results(written: Write, tmp_path: Path) -> None:
    source = "@reward(low=0, high=1)\ndef short(self, task, reply):\n    print(task)\n    return 3 / max(3, len(reply))"
    command = [sys.executable, "-m", "gdpo_bench", "check", written(short=source)]
    said = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert said.returncode == 0, said.stdout
    assert len(said.stdout) < 5000
    assert "lines meanwhile, which are not shown" in said.stdout
