import json
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdpo_bench.core import DeclarationError, Task, content_hash, split_by_content
from gdpo_bench.core.task import canonical_json


@dataclass(frozen=True)
class Rich(Task):
    content: Any = None


def test_id_is_sixteen_hexadecimal_digits_of_the_content() -> None:
    task = Task("What?")
    assert task.id == Task("What?").id == content_hash({"prompt": "What?"})
    assert len(task.id) == 16
    assert int(task.id, 16) >= 0
    assert Task("What").id != task.id


def test_every_field_counts() -> None:
    assert Rich("?", 1).id != Rich("?", 2).id
    assert Rich("?", {"a": 1, "b": [2]}).id == Rich("?", {"b": [2], "a": 1}).id
    assert Rich("?", (1, 2)).id == Rich("?", [1, 2]).id


def test_id_does_not_depend_on_the_process() -> None:
    code = "from gdpo_bench.core import Task; print(Task('é \\ud800').id)"
    command = [sys.executable, "-c", code]
    ids = {
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout.strip()
        for seed in ("1", "2")
    }
    assert ids == {Task("é \ud800").id}


@pytest.mark.parametrize("content", [float("nan"), float("inf"), {1, 2}, object(), b"bytes", {"a": [float("nan")]}])
def test_field_that_is_not_json_is_refused(content: object) -> None:
    with pytest.raises(DeclarationError, match="Rich: every field must be JSON-able"):
        _ = Rich("?", content).id


def test_tasks_are_frozen_and_can_be_pickled() -> None:
    task = Rich("?", [1])
    assert pickle.loads(pickle.dumps(task)) == task
    assert pickle.loads(pickle.dumps(task)).id == task.id
    with pytest.raises(FrozenInstanceError):
        task.prompt = "!"  # type: ignore[misc]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(json_values)
def test_canonical_json_is_ascii_and_reads_back(value: Any) -> None:
    text = canonical_json(value)
    assert text.isascii()
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@given(st.lists(st.integers(0, 100), max_size=50), st.lists(st.integers(0, 100), max_size=50), st.floats(0, 1))
def test_splits_share_no_task_however_the_tasks_were_drawn(one: list[int], other: list[int], share: float) -> None:
    train = split_by_content([Task(str(n)) for n in one], "train", share, repeated=True)
    held_out = split_by_content([Task(str(n)) for n in other], "eval", share, repeated=True)
    assert not set(train) & set(held_out)
    rest = split_by_content([Task(str(n)) for n in one], "eval", share, repeated=True)
    assert set(train) | set(rest) == {Task(str(n)) for n in one}
    assert len(train) == len(set(train))


def test_tasks_of_one_content_share_a_split_however_they_are_worded() -> None:
    tasks = [Task(f"{a}+{b}{wording}") for a in range(20) for b in range(20) for wording in ("=?", " makes?")]

    def content(task: Task) -> list[str]:
        return sorted(task.prompt.removesuffix("=?").removesuffix(" makes?").split("+"))

    train, held_out = ([tuple(content(t)) for t in split_by_content(tasks, s, 0.3, content)] for s in ("train", "eval"))
    assert not set(train) & set(held_out)
    assert len(train) + len(held_out) == len(tasks)
    assert 30 < len(set(held_out)) < 90


def test_share_of_held_out_tasks_is_about_what_was_asked() -> None:
    tasks = [Task(str(n)) for n in range(2000)]
    assert 150 < len(split_by_content(tasks, "eval", 0.1)) < 250
    assert split_by_content(tasks, "eval", 0.0) == []
    assert len(split_by_content(tasks, "eval", 1.0)) == 2000
