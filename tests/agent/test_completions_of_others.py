"""Replies in the logs of others are read, and belong to the tasks that their prompts are about."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from gdpo_bench.agent.completions import Completions, check_completions, read_completions
from gdpo_bench.core import DataError, GdpoBenchError, Message, Task, UnknownNameError
from gdpo_bench.jobs.policy import parse_policy

SUMS = [Task(f"{a}+{b}=?\n") for a in range(1, 12) for b in (1, 2)]
SYSTEM: Message = {"role": "system", "content": "You add."}


def asked(task: Task) -> list[Message]:
    return [SYSTEM, {"role": "user", "content": task.prompt}]


def reply(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def read(path: Path, *lines: object, mapping: dict[str, str] | None = None) -> Completions[Task]:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return read_completions(path, SUMS, asked, mapping)


def replies(found: Completions[Task]) -> list[tuple[str, list[Any]]]:
    return [(group.task.prompt.strip(), group.replies) for group in found.groups]


def test_a_chats_replies_follow_the_tasks_messages(tmp_path: Path) -> None:
    found = read(
        tmp_path / "chat.jsonl",
        {"messages": [*asked(SUMS[0]), reply("2")]},
        {"messages": [*asked(SUMS[1]), reply([{"type": "text", "text": "th"}, {"type": "text", "text": "ree"}])]},
        {"messages": [*asked(SUMS[0]), reply("two"), {"role": "user", "content": "Sure?"}, reply("yes")]},
        {"messages": asked(SUMS[0]), "choices": [{"message": reply("a")}, {"text": "b"}]},
        {"messages": asked(SUMS[0]), "replies": ["c"]},
    )
    assert replies(found) == [("1+1=?", ["2", ["two", "yes"], "a", "b", "c"]), ("1+2=?", ["three"])]


def test_a_chat_with_another_system_prompt_is_about_its_last_question(tmp_path: Path) -> None:
    examples = [{"role": "user", "content": "7+1=?"}, reply("8")]
    found = read(
        tmp_path / "chat.jsonl",
        {"messages": [{"role": "system", "content": "Be brief."}, asked(SUMS[0])[1], reply("2")]},
        {"messages": [*examples, asked(SUMS[1])[1], reply("3")]},
        {"messages": [{"role": "user", "content": "Who are you?"}, reply("me")]},
        {"messages": [reply("hello")]},
    )
    assert replies(found) == [("1+1=?", ["2"]), ("1+2=?", ["3"])]
    assert found.unmatched == ("line 3 ('Who are you?')", "line 4 ('hello')")


def test_what_trl_logs_is_read(tmp_path: Path) -> None:
    rows = {
        "step": [1, 1],
        "prompt": [asked(SUMS[0]), asked(SUMS[0])],
        "completion": [[reply("2")], [reply("3")]],
        "correct": [1.0, 0.0],
    }
    path = tmp_path / "completions_00001.parquet"
    pyarrow.parquet.write_table(pyarrow.table(rows), path)
    assert replies(read_completions(path, SUMS, asked)) == [("1+1=?", ["2", "3"])]
    plain = rows | {"prompt": [SUMS[2].prompt, "?"], "completion": ["2", "3"]}
    pyarrow.parquet.write_table(pyarrow.table(plain), path)
    found = read_completions(path, SUMS, asked)
    assert (replies(found), found.unmatched) == ([("2+1=?", ["2"])], ("row 2 ('?')",))


LAYOUTS = [
    "<|im_start|>system\n{0}<|im_end|>\n<|im_start|>user\n{1}<|im_end|>\n<|im_start|>assistant\n",
    "system\n{0}\nuser\n{1}\nassistant\n",
    "{0} [INST] {1} [/INST]",
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_prompts_that_a_chat_template_laid_out_are_recognized(tmp_path: Path, layout: str) -> None:
    """As verl dumps them. `1+1` also stands in `11+1`, and in `11+1` of another layout or in no task at all."""
    dumped = [
        {"input": layout.format("You add.", task.prompt.strip()), "output": f"reply {n}", "score": 1.0, "step": 1}
        for n, task in enumerate(SUMS)
    ]
    strays = [layout.format("You add.", "91+1=?"), layout.format("You multiply.", "1+1=?"), "1+1=? and more"]
    found = read(
        tmp_path / "1.jsonl", *dumped[::-1], *({"input": stray, "output": "?", "score": 0.0} for stray in strays)
    )
    assert replies(found) == [(task.prompt.strip(), [f"reply {n}"]) for n, task in enumerate(SUMS)][::-1]
    assert len(found.unmatched) == len(strays)


def test_other_lines_are_read_by_a_mapping(tmp_path: Path) -> None:
    line = {"data": {"q": SUMS[0].prompt}, "out": "2", "id": SUMS[1].id}
    path = tmp_path / "log.jsonl"
    assert replies(read(path, line, mapping={"question": "data.q", "reply": "out"})) == [("1+1=?", ["2"])]
    assert replies(read(path, line, mapping={"task_id": "id", "reply": "out"})) == [("1+2=?", ["2"])]
    with pytest.raises(DataError, match="line 1: no 'answer', which is to be reply; its keys are data, out, id"):
        read(path, line, mapping={"question": "data.q", "reply": "answer"})
    with pytest.raises(UnknownNameError, match="part of a line of completions 'qestion'"):
        read(path, line, mapping={"qestion": "data.q", "reply": "out"})


def test_files_may_be_compressed_and_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl.gz"
    line = json.dumps({"messages": [*asked(SUMS[0]), reply("2")]})
    path.write_bytes(gzip.compress(f"\ufeff{line}\n".encode()))
    assert replies(read_completions(path, SUMS, asked)) == [("1+1=?", ["2"])]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"messages": "hello"}, "line 1: expected messages, a list"),
        ({"messages": []}, "line 1: expected messages, a list"),
        ({"messages": [{"content": "hello"}]}, "line 1: a message needs the text 'role'"),
        (
            {"messages": [reply(None) | {"tool_calls": [{}]}]},
            "line 1: a message needs the text 'content'; got None; it only",
        ),
        ({"messages": [reply([{"type": "image_url"}])]}, "line 1: a message needs the text 'content'"),
        ({"messages": asked(SUMS[0])}, "line 1: nothing is replied behind the prompt"),
        ({"messages": asked(SUMS[0]), "choices": ["a"]}, "line 1: expected choices"),
        ({"group": 1, "rewards": {"a": 1}}, "line 1: needs 'task_id' or 'question'; its keys are group, rewards"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, line: object, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / "log.jsonl", line)
    assert message in str(caught.value)


def test_a_file_about_other_tasks_names_its_first_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of its 1 lines .* The first is line 1 \('Hello\?'\)"):
        read(tmp_path / "log.jsonl", {"messages": [{"role": "user", "content": "Hello?"}, reply("x")]})


@pytest.mark.parametrize(
    ("text", "file", "mapping"),
    [
        ("replay:a.jsonl", "a.jsonl", None),
        ("replay:a.jsonl:question=data.q,reply=out", "a.jsonl", {"question": "data.q", "reply": "out"}),
        ("replay:runs/lr=1,b:2/a.jsonl", "runs/lr=1,b:2/a.jsonl", None),
        ("replay:C:\\logs\\a.jsonl:task_id=id", "C:\\logs\\a.jsonl", {"task_id": "id"}),
    ],
)
def test_the_policy_takes_a_mapping_behind_the_files_name(text: str, file: str, mapping: dict[str, str] | None) -> None:
    policy = parse_policy(text)
    assert (policy.kind, policy.file, policy.mapping) == ("replay", file, mapping)


def test_a_mapping_is_checked_before_the_job_starts(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"q": "?", "out": "2"}))
    check_completions(path, {"question": "q", "reply": "out"})
    with pytest.raises(GdpoBenchError, match="no 'a', which is to be reply"):
        check_completions(path, {"question": "q", "reply": "a"})


@dataclass(frozen=True)
class Numbered(Task):
    number: int


def test_a_chat_that_several_tasks_ask_is_ambiguous(tmp_path: Path) -> None:
    twins = [Numbered("same", 1), Numbered("same", 2)]
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"messages": [*asked(twins[0]), reply("x")]}))
    with pytest.raises(DataError, match="line 1: 2 tasks have this question"):
        read_completions(path, twins, asked)
