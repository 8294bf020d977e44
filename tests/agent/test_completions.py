import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from gdpo_bench.agent.completions import read_completions
from gdpo_bench.core import DataError, Task, make_env

ONE, TWO = TASKS = [Task("What is 1? "), Task("What is 2?")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "completions.jsonl"


def write(file: Path, *lines: object) -> None:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_replies_belong_to_the_task_with_the_id_or_the_question(file: Path) -> None:
    write(file, {"task_id": TWO.id, "replies": ["2", "3"]}, {"question": " What is 1?\n", "replies": ["1"]})
    found = read_completions(file, TASKS)
    assert [(group.task, group.replies) for group in found.groups] == [(TWO, ["2", "3"]), (ONE, ["1"])]
    assert [group.labels for group in found.groups] == [[None, None], [None]]
    assert found.unmatched == ()


def test_id_decides_where_both_are_given(file: Path) -> None:
    write(file, {"task_id": TWO.id, "question": ONE.prompt, "replies": ["2"]})
    assert read_completions(file, TASKS).groups[0].task is TWO


def test_lines_about_one_task_are_one_group(file: Path) -> None:
    write(
        file,
        {"task_id": ONE.id, "replies": ["a"], "labels": [True]},
        {"task_id": TWO.id, "replies": ["b"]},
        {"question": ONE.prompt, "replies": ["c", "a"]},
    )
    first, second = read_completions(file, TASKS).groups
    assert (first.replies, first.labels) == (["a", "c", "a"], [True, None, None])
    assert (second.replies, second.labels) == (["b"], [None])


def test_lines_about_other_tasks_are_counted(file: Path) -> None:
    write(
        file,
        {"task_id": "0" * 16, "replies": ["a"]},
        {"question": "?", "replies": ["a"]},
        {"question": ONE.prompt, "replies": ["1"]},
    )
    found = read_completions(file, TASKS)
    assert found.unmatched == (f"line 1 (task_id '{'0' * 16}')", "line 2 ('?')")
    told = found.told_unmatched("log.jsonl", "acme/Some-v0")
    assert told == f"2 lines of log.jsonl are about no task of acme/Some-v0: {', '.join(found.unmatched)}."


def test_blank_lines_are_passed_over(file: Path) -> None:
    file.write_text(f'\n{{"task_id": "{ONE.id}", "replies": ["1"]}}\n\n', encoding="utf-8")
    assert len(read_completions(file, TASKS).groups) == 1


def test_replies_may_be_empty_and_hold_any_character(file: Path) -> None:
    replies = ["", "\ud800", "\u2028\x00", "x" * 1_000_000]
    write(file, {"task_id": ONE.id, "replies": replies})
    assert read_completions(file, TASKS).groups[0].replies == replies


def test_published_gsm8k_line_is_a_group_of_one_reply_a_model(file: Path) -> None:
    write(
        file,
        {
            "question": ONE.prompt,
            "ground_truth": "A: 1",
            "6b_finetuning": {"is_correct": False, "solution": "A: 2"},
            "175b_finetuning": {"is_correct": True, "solution": "A: 1"},
        },
    )
    group = read_completions(file, TASKS).groups[0]
    assert (group.replies, group.labels) == (["A: 2", "A: 1"], [False, True])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "expected a JSON object"),
        ("[1]", "expected a JSON object; got list"),
        ("[" * 100_000, "expected a JSON object"),
        ('{"replies": ["a"]}', "needs 'task_id' or 'question'; its keys are replies"),
        ('{"task_id": 7, "replies": ["a"]}', "'task_id' must be a text; got 7"),
        ('{"question": ["?"], "replies": ["a"]}', "'question' must be a text"),
        ('{"question": "?"}', "needs 'replies'"),
        ('{"question": "?", "replies": []}', "needs 'replies'"),
        ('{"question": "?", "replies": "a"}', "needs 'replies'"),
        ('{"question": "?", "replies": ["a", null]}', "needs 'replies'"),
        ('{"question": "?", "6b": {"solution": 5}}', "needs 'replies'"),
        ('{"question": "?", "replies": ["a"], "labels": [1]}', "labels must be true, false or null"),
        ('{"question": "?", "replies": ["a"], "labels": true}', "labels must be true, false or null"),
        ('{"question": "?", "replies": ["a"], "labels": [true, true]}', "has 1 replies but 2 labels"),
    ],
)
def test_malformed_line_is_named_with_file_and_number(file: Path, line: str, message: str) -> None:
    file.write_text(f'{{"task_id": "{ONE.id}", "replies": ["1"]}}\n\n{line}\n', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_completions(file, TASKS)
    assert str(caught.value).startswith(f"{file}, line 3: {message}")


def test_file_that_is_not_text_is_named(file: Path) -> None:
    file.write_bytes(b'{"question": "\xff"}\n')
    with pytest.raises(DataError, match=r"completions\.jsonl.*UTF-8"):
        read_completions(file, TASKS)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(DataError, match="Cannot read"):
            read_completions(path, TASKS)


@pytest.mark.parametrize("lines", [[], [{"question": "?", "replies": ["a"]}]])
def test_file_about_none_of_the_tasks_is_an_error(file: Path, lines: list[object]) -> None:
    write(file, *lines)
    with pytest.raises(DataError, match=f"none of its {len(lines)} lines is about one of the 2 tasks"):
        read_completions(file, TASKS)


def test_question_of_several_tasks_is_ambiguous_and_their_ids_are_not(file: Path) -> None:
    @dataclass(frozen=True)
    class Numbered(Task):
        number: int

    twins = [Numbered("same", 1), Numbered("same", 2)]
    write(file, {"task_id": twins[1].id, "replies": ["a"]})
    assert read_completions(file, twins).groups[0].task is twins[1]
    write(file, {"question": "same", "replies": ["a"]})
    with pytest.raises(DataError, match="line 1: 2 tasks have this question"):
        read_completions(file, twins)


def test_correctness_on_published_gsm8k_completions_agrees_with_all_labels(data_dir: Path) -> None:
    env = make_env("gdpo/GSM8K-v0", data_dir=str(data_dir))
    found = read_completions(data_dir / "gsm8k/example_model_solutions.jsonl", env.tasks("eval"))
    assert (len(found.groups), found.unmatched) == (1319, ())
    correct = next(function.method for function in env.reward_functions if function.spec.metric == "accuracy")
    ours = [[getattr(env, correct)(group.task, reply) for reply in group.replies] for group in found.groups]
    assert ours == [group.labels for group in found.groups]
    assert [round(sum(model) / 1319, 4) for model in zip(*ours, strict=True)] == [0.2168, 0.3904, 0.3472, 0.5625]


def test_a_byte_order_mark_is_passed_over(file: Path) -> None:
    file.write_text("\ufeff" + json.dumps({"task_id": ONE.id, "replies": ["1"]}), encoding="utf-8")
    assert read_completions(file, TASKS).groups[0].replies == ["1"]
