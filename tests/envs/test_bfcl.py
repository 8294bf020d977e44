import json
import pickle
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gdpo_envs.loading import DATA_VARIABLE
from gdpo_envs.tool_calling import bfcl_summary
from gdpo_envs.tool_calling.bfcl import BFCL3, BFCL3Live, BFCL3Simple, BFCLTask, made_calls
from gdpo_envs.tool_calling.bfcl_summary import ENVIRONMENTS, score_replies, summarize
from gdpo_envs.tool_calling.toolrl import Call

import gdpo_bench
from gdpo_bench.cli.run import main
from gdpo_bench.core import DataError, UnknownNameError

CATEGORIES = [category for cls in ENVIRONMENTS for category in cls.categories]
NOBODY_CAN_ANSWER = {
    "java_36": "an ArrayList of `any`, whose items are read as texts, must hold a number and a boolean",
    "java_65": "the same",
    "live_simple_106-63-0": "a required parameter has no accepted value",
    "live_simple_112-68-0": "the same",
    "live_multiple_862-181-3": "the answer wants a parameter that the tool does not have",
    "live_multiple_964-207-0": "a required parameter is not in the answer",
}
TOOL = {
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {
        "type": "dict",
        "properties": {"city": {"type": "string", "description": "Where."}},
        "required": ["city"],
    },
}


def lines(*rows: Any) -> str:
    return "\n".join(map(json.dumps, rows)) + "\n"


def question(case: str, *messages: tuple[str, str], **tool: Any) -> dict[str, Any]:
    said = [{"role": role, "content": content} for role, content in messages or [("user", f"Question {case}?")]]
    return {"id": case, "question": [said], "function": [TOOL | tool]}


def answer(case: str, *cities: str) -> dict[str, Any]:
    return {"id": case, "ground_truth": [{"weather": {"city": [city]}} for city in cities]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two questions of each category, laid out as published."""
    (tmp_path / "bfcl_v3/possible_answer").mkdir(parents=True)
    for category in CATEGORIES:
        cases = [f"{category}_0", f"{category}_1"]
        kind = "String" if category.startswith("java") else "string"
        tool = {"parameters": {"properties": {"city": {"type": kind, "description": "Where."}}, "required": ["city"]}}
        write(tmp_path, category, *[question(case, **tool) for case in cases])
        if not category.endswith("relevance"):
            cities = ("Oslo", "Rome") if "parallel" in category else ("Oslo",)
            write(tmp_path, f"possible_answer/{category}", *[answer(case, *cities) for case in cases])
    return tmp_path


def write(folder: Path, name: str, *rows: Any) -> None:
    head, _, category = name.rpartition("/")
    (folder / "bfcl_v3" / head / f"BFCL_v3_{category}.json").write_text(lines(*rows), encoding="utf-8")


def reply_of(*calls: Call) -> str:
    return "<think>so</think>\n<tool_call>\n" + "\n".join(map(json.dumps, calls)) + "\n</tool_call>"


def call(name: str = "weather", **parameters: object) -> Call:
    return {"name": name, "parameters": parameters}


OSLO = reply_of(call(city="Oslo"))
REFUSAL = "<think>so</think>\n<response>No tool fits.</response>"


def first(folder: Path, category: str) -> tuple[BFCL3, BFCLTask]:
    env = next(cls(category, str(folder)) for cls in ENVIRONMENTS if category in cls.categories)
    return env, env.tasks("eval")[0]


@pytest.mark.parametrize(
    ("category", "reply", "correct"),
    [
        ("simple", OSLO, True),
        ("simple", reply_of(call(city="oslo.")), True),
        ("simple", reply_of(call(city="Rome")), False),
        ("simple", reply_of(call(city="Oslo"), call(city="Oslo")), False),
        ("simple", REFUSAL, False),
        ("simple", f"<think>or <tool_call>?</think>{OSLO.partition('</think>')[2]}", True),
        ("simple", OSLO.replace("}\n", "\n"), False),
        ("parallel", OSLO, False),
        ("parallel", reply_of(call(city="Rome"), call(city="Oslo")), True),
        ("java", OSLO, True),
        ("irrelevance", REFUSAL, True),
        ("irrelevance", "", True),
        ("irrelevance", OSLO, False),
        ("irrelevance", reply_of(call("None")), True),
        ("irrelevance", "<tool_call>no call that can be read</tool_call>", True),
        ("live_irrelevance", OSLO, False),
        ("live_irrelevance", REFUSAL, True),
        ("live_relevance", OSLO, True),
        ("live_relevance", reply_of(call("whatever")), True),
        ("live_relevance", reply_of(call("none")), False),
        ("live_relevance", REFUSAL, False),
    ],
)
def test_calls_decide_and_for_irrelevance_that_there_is_none(
    folder: Path, category: str, reply: str, correct: bool
) -> None:
    env, task = first(folder, category)
    assert env.correct(task, reply) is correct


@pytest.mark.parametrize(
    ("reply", "format"),
    [
        (OSLO, 1),
        (REFUSAL, 1),
        (OSLO + "\n<response>done</response>", 1),
        ("<response>a</response>" + OSLO, 0),
        (OSLO + OSLO, 0),
        ("<think>so</think>", 0),
        (OSLO + " done", 0),
        ("No tool fits.", 0),
        ("", 0),
    ],
)
def test_format_is_a_thought_with_calls_or_a_response_or_both(folder: Path, reply: str, format: int) -> None:
    for category in ("simple", "live_irrelevance"):
        env, task = first(folder, category)
        assert env.format(task, reply) == format


def test_prompt_shows_the_tools_as_toolrl_does(folder: Path) -> None:
    env, task = first(folder, "simple")
    system, user = env.messages(task)
    assert (
        "**Available Tools**\nIn your response, you can use the following tools:\n"
        "1. Name: weather\nDescription: Tells the weather. Note that the provided function is in Python 3 syntax.\n"
        'Parameters: {"city": {"type": "string", "description": "Where."}}\n\n**Steps for Each Turn**'
        in system["content"]
    )
    assert user["content"].startswith(
        "**Dialogue Records History**\n<user> Question simple_0?\nIf there's no appropriate"
    )


def test_values_of_java_are_to_be_written_as_literals(folder: Path) -> None:
    env, task = first(folder, "java")
    assert (
        '{"type": "string", "description": "Where. This is Java String type parameter in string representation."}'
        in (env.messages(task)[0]["content"])
    )


def test_dialogues_and_system_messages_are_kept(folder: Path) -> None:
    said = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Where?"), ("user", "Oslo")]
    write(folder, "live_relevance", question("live_relevance_0", *said))
    _, task = first(folder, "live_relevance")
    assert task.system.endswith("(if exists).\n\nBe brief.")
    assert task.prompt.startswith("**Dialogue Records History**\n<user> Hi\nIf there's no")
    assert " in this turn. </user>\n\nWhere?\n<user> Oslo\nIf there's no" in task.prompt


def test_one_category_can_be_chosen(folder: Path) -> None:
    tasks = BFCL3Live(data_dir=str(folder)).tasks("eval")
    assert [task.category for task in tasks] == [name for name in BFCL3Live.categories for _ in range(2)]
    assert {task.category for task in BFCL3Live("live_simple", str(folder)).tasks("eval")} == {"live_simple"}
    assert BFCL3Live("live_simple", str(folder)).data_revision() == BFCL3Live(data_dir=str(folder)).data_revision()
    with pytest.raises(UnknownNameError, match="Unknown category of BFCL3Simple 'live_simple'"):
        BFCL3Simple("live_simple")


def test_it_is_for_evaluation_and_a_job_that_would_train_on_it_says_so(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(folder))
    env = gdpo_bench.make_vec("gdpo/BFCL3Simple-v0", data_dir=str(folder))
    assert (env.split, len(env.tasks)) == ("eval", 6)
    with pytest.raises(UnknownNameError, match=r"Unknown split of gdpo/BFCL3Simple-v0 'train'\. Known: eval"):
        gdpo_bench.make_vec("gdpo/BFCL3Simple-v0", split="train", data_dir=str(folder))
    assert main(["--envs", "gdpo/BFCL3Simple-v0", "--steps", "1"]) == 2
    assert "is for evaluation only: it has no split 'train'" in capsys.readouterr().err


def test_row_that_cannot_be_used_is_counted_and_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    two_turns = question("multiple_1") | {"question": [[{"role": "user", "content": "a"}]] * 2}
    write(folder, "multiple", question("multiple_0"), two_turns, question("multiple_2"))
    path = folder / "bfcl_v3/BFCL_v3_multiple.json"
    path.write_text(path.read_text() + "{\n")
    assert [task.case for task in first(folder, "multiple")[0].tasks("eval")] == ["multiple_0"]
    assert "3 of 4 rows cannot be used: row 2: multiple_1 has 2 turns" in caplog.text
    assert "row 3: there is no answer to multiple_2" in caplog.text
    assert "row 4: not JSON" in caplog.text


def test_other_fields_or_missing_files_are_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "multiple", {"id": "multiple_0", "prompt": "a"})
    with pytest.raises(DataError, match="needs id, question, function; this one has id, prompt"):
        first(folder, "multiple")
    (folder / "bfcl_v3/possible_answer/BFCL_v3_parallel.json").unlink()
    with pytest.raises(DataError, match=r"has no bfcl_v3/possible_answer/BFCL_v3_parallel\.json"):
        first(folder, "parallel")
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    assert BFCL3Simple().data_revision() == "ShishirPatil/gorilla@cd9429ccf3d4d04156affe883c495b3b047e6b64"


def test_environment_can_be_sent_to_another_process(folder: Path) -> None:
    env = pickle.loads(pickle.dumps(BFCL3Simple(data_dir=str(folder))))
    assert len(env.tasks("eval")) == 6


# The leaderboard's figures


def test_non_live_figures_are_means_of_categories_and_live_ones_of_questions() -> None:
    right = {
        "simple": [1, 1, 1, 0],
        "java": [0, 1],
        "javascript": [0.25],
        "multiple": [1],
        "parallel": [0],
        "parallel_multiple": [1, 0],
        "irrelevance": [1],
        "live_simple": [1, 0],
        "live_multiple": [1, 1, 1, 1],
        "live_parallel": [0],
        "live_parallel_multiple": [0],
        "live_irrelevance": [1, 0, 0, 0],
        "live_relevance": [1],
    }
    figures = summarize(right)
    expected = {
        "simple": 0.75,
        "Non-Live Simple AST": 0.5,
        "Non-Live AST Acc": (0.5 + 1 + 0 + 0.5) / 4,
        "Non-Live Overall Acc": (0.5 + 1 + 0 + 0.5 + 1) / 5,
        "Live AST Summary": 5 / 8,
        "Live Acc": 7 / 13,
        "Relevance Detection": 1,
        "Irrelevance Detection": (1 + 0.25) / 2,
    }
    assert {name: figures[name] for name in expected} == pytest.approx(expected)
    assert not any("Overall" in name and "Non-Live" not in name for name in figures)


def test_figure_without_all_of_its_categories_is_left_out() -> None:
    assert set(summarize({"simple": [1], "multiple": [1]})) == {"simple", "multiple", "Non-Live Multiple AST"}


def test_replies_are_found_by_either_id_and_averaged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = BFCL3Simple(data_dir=str(folder))
    replies = {task.case if i % 2 else task.id: [OSLO, ""] for i, task in enumerate(env.tasks("eval"))}
    replies["multiple_0"] = [OSLO]
    assert score_replies(replies, str(folder)) == {name: [0.5, 0.5] for name in BFCL3Simple.categories}
    assert "Left out multiple: 1 of its questions have no reply." in capsys.readouterr().err


def test_command_prints_the_figures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "replies.jsonl"
    file.write_text(lines(*({"case": f"{name}_{n}", "replies": [OSLO]} for name in CATEGORIES for n in (0, 1))))
    assert bfcl_summary.main([str(file), "--data-dir", str(folder)]) == 0
    printed = {line[:32].strip(): line[32:].split()[0] for line in capsys.readouterr().out.splitlines()}
    assert printed["simple"] == "100.00%"
    assert (printed["Non-Live AST Acc"], printed["Irrelevance Detection"]) == ("50.00%", "0.00%")


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"task_id": "a"}', '{"task_id": 1, "replies": []}', '{"task_id": "a", "replies": "b"}']
)
def test_command_says_which_line_it_cannot_read(folder: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    file = folder / "replies.jsonl"
    file.write_text(f"\n{line}\n")
    assert bfcl_summary.main([str(file), "--data-dir", str(folder)]) == 1
    assert "line 2: expected a JSON object" in capsys.readouterr().err


# Real questions


@pytest.fixture(scope="module")
def questions(data_dir: Path) -> list[tuple[BFCL3, BFCLTask]]:
    return [(env, task) for cls in ENVIRONMENTS for env in [cls(data_dir=str(data_dir))] for task in env.tasks("eval")]


def test_real_questions_are_all_there(questions: list[tuple[BFCL3, BFCLTask]]) -> None:
    counts = dict.fromkeys(("multiple", "parallel", "parallel_multiple"), 200) | {
        "simple": 400,
        "java": 100,
        "javascript": 50,
        "irrelevance": 240,
        "live_simple": 258,
        "live_multiple": 1053,
        "live_parallel": 16,
        "live_parallel_multiple": 24,
        "live_irrelevance": 882,
        "live_relevance": 18,
    }
    assert Counter(task.category for _, task in questions) == counts
    assert len({task.id for _, task in questions}) == sum(counts.values())


def test_reference_replies_to_real_questions_are_right_but_for_six(questions: list[tuple[BFCL3, BFCLTask]]) -> None:
    unanswered = set()
    for env, task in questions:
        reply = env.reference(task)
        if reply is None:
            unanswered.add(task.case)
        else:
            assert env.correct(task, reply), task.case
            assert env.format(task, reply), task.case
            assert bool(made_calls(reply)) is (not task.category.endswith("irrelevance"))
    assert unanswered == set(NOBODY_CAN_ANSWER)


def corrupted(calls: list[Call], rng: random.Random) -> Iterator[tuple[str, list[Call]]]:
    i = rng.randrange(len(calls))
    others, name, parameters = calls[:i] + calls[i + 1 :], calls[i]["name"], calls[i]["parameters"]
    yield "name", [*others, Call(name=name + "x", parameters=parameters)]
    yield "extra call", [*calls, calls[i]]
    yield "missing call", others
    yield "extra key", [*others, Call(name=name, parameters=parameters | {"made up": 1})]
    if parameters:
        key = rng.choice(list(parameters))
        rest = {other: value for other, value in parameters.items() if other != key}
        yield "key", [*others, Call(name=name, parameters=rest | {"made up": parameters[key]})]
        yield "value", [*others, Call(name=name, parameters=parameters | {key: "made up"})]


def test_any_corruption_of_a_reference_reply_is_wrong_and_the_order_does_not_matter(
    questions: list[tuple[BFCL3, BFCLTask]],
) -> None:
    rng, seen = random.Random(0), Counter[str]()
    for env, task in questions:
        reply = env.reference(task)
        if not task.answers or reply is None:
            continue
        calls = made_calls(reply)
        if task.case != "parallel_178":  # a loose answer stands before a tight one there, see `right_calls`
            assert env.correct(task, reply_of(*rng.sample(calls, len(calls)))), task.case
        for name, broken in corrupted(calls, rng):
            assert not env.correct(task, reply_of(*broken)), (name, task.case, broken)
            seen[name] += 1
    assert min(seen.values()) > 2000, seen


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "hostile",
    [
        lambda reply: reply + reply.partition("</think>")[2] * 5000,
        lambda reply: "<tool_call>" * 100_000,
        lambda reply: reply.replace('"parameters": {', '"parameters": {"deep": ' + "[" * 500_000, 1),
        lambda reply: reply_of(*[call(city="Oslo")] * 20_000),
        lambda reply: reply_of(call(city="Oslo" * 250_000)),
        lambda reply: reply_of({"name": "weather", "parameters": {str(n): n for n in range(60_000)}}),
        lambda reply: reply.replace("Oslo", "\\ud800\ud800\x00" * 100_000),
        lambda reply: reply.replace('"Oslo"', "NaN"),
        lambda reply: reply.replace('"Oslo"', "9" * 1_000_000),
        lambda reply: reply.replace('"Oslo"', "1e999"),
    ],
)
def test_hostile_reply_is_wrong_and_is_scored_at_once(folder: Path, hostile: Callable[[str], str]) -> None:
    reply = hostile(OSLO)
    for category in ("simple", "parallel", "java", "irrelevance", "live_relevance"):
        env, task = first(folder, category)
        if task.answers:
            assert env.correct(task, reply) is False
        assert env.correct(task, reply) in (True, False)
        assert env.format(task, reply) in (True, False)
