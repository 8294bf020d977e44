import json
from collections.abc import Sequence
from itertools import islice
from random import Random
from typing import Any

import pytest
from gdpo_envs.tool_dialog.errands import CALLS_A_TURN, TURNS, ToolDialog
from gdpo_envs.tool_dialog.shop import ROWS_SHOWN, Shop, ToolError
from gdpo_envs.tool_dialog.tasks import Errand
from gdpo_envs.tool_dialog.tools import TOOLS, calculate, execute, signatures
from hypothesis import given, settings
from hypothesis import strategies as st

from gdpo_bench.core.scoring import EpisodeBatch, Scores

ENV = ToolDialog()
TASKS = [*ENV.tasks("train"), *ENV.tasks("eval")]
NAMES = [spec.name for spec in ENV.reward_specs]
DONE = "<think></think><response>done</response>"


def world() -> Shop:
    return Shop.of(TASKS[0].world)


def play(tasks: Sequence[Errand], scripts: Sequence[Sequence[str]]) -> tuple[dict[str, list[float]], EpisodeBatch]:
    """Rewards of whole episodes by name, and the episodes."""
    batch = EpisodeBatch(ENV, "gdpo/ToolDialog-v0", tasks)
    scores = Scores.empty(len(tasks), len(NAMES))
    for turn in range(TURNS):
        scores += batch.play([script[turn] if turn < len(script) else DONE for script in scripts])
    assert scores.failures == []
    return {name: scores.values[:, k].tolist() for k, name in enumerate(NAMES)}, batch


def errand(prefix: str) -> Errand:
    return next(task for task in TASKS if task.prompt.startswith(prefix))


def calls(*named: tuple[str, dict[str, Any]]) -> str:
    lines = "\n".join(json.dumps({"name": name, "parameters": parameters}) for name, parameters in named)
    return f"<think>so</think><tool_call>\n{lines}\n</tool_call>"


def test_there_are_hundreds_of_errands_and_no_two_alike() -> None:
    assert len(TASKS) == len({task.id for task in TASKS}) >= 500


def test_reference_dialogues_earn_full_marks() -> None:
    rewards, batch = play(TASKS, [ENV.reference(task) for task in TASKS])
    assert set(map(tuple, zip(*rewards.values(), strict=True))) == {(1.0, 1.0, 1.0, 1.0)}
    assert batch.terminated.all()


def test_an_errand_left_undone_is_no_success() -> None:
    rewards, _ = play(TASKS, [[DONE]] * len(TASKS))
    assert not any(rewards["success"])
    assert not any(rewards["calls"])
    assert all(rewards["format"])


def test_leaving_out_any_needed_change_loses_success() -> None:
    changing = ("write_file", "add_event", "remove_event")
    cases = [(task, i) for task in TASKS for i, call in enumerate(task.calls) if call["name"] in changing]
    scripts = [[reply for j, reply in enumerate(ENV.reference(task)) if j != i] for task, i in cases]
    assert len(cases) > 200
    assert not any(play([task for task, _ in cases], scripts)[0]["success"])


def test_a_change_that_nobody_asked_for_loses_success() -> None:
    task = errand("How many")
    harm = calls(("sql", {"statement": "DELETE FROM orders"}))
    rewards, _ = play([task, task], [[harm, *ENV.reference(task)], ENV.reference(task)])
    assert rewards["success"] == [0, 1]


def test_several_calls_in_one_reply_are_run_in_order_and_each_is_answered() -> None:
    task = next(task for task in TASKS if task.prompt.startswith("Write the titles"))
    both = calls(*((call["name"], call["parameters"]) for call in task.calls))
    rewards, batch = play([task], [[both, DONE]])
    assert rewards == {"success": [1], "format": [1], "calls": [1], "no_errors": [1]}
    answers = batch.messages()[0][-2]
    assert answers["role"] == "tool"
    assert len(answers["content"].splitlines()) == 2


def test_needless_and_failing_calls_cost_what_they_should() -> None:
    task = errand("How many")
    needless = calls(("list_events", {"day": "mon"}))
    wrong = calls(("sql", {"statement": "SELECT 1 FROM nowhere"}))
    rewards, batch = play([task] * 2, [[needless, *ENV.reference(task)], [wrong, *ENV.reference(task)]])
    assert rewards["calls"] == [1 / 2, 1 / 2]
    assert rewards["no_errors"] == [1, 1 / 2]
    assert "error: SQL: no such table: nowhere" in batch.messages()[1][3]["content"]


@pytest.mark.parametrize("answer", ["41.999", "1 or 42", "", "none", "4 2"])
def test_a_response_must_say_the_number_and_no_other(answer: str) -> None:
    task = errand("How many")
    told = dict(zip(("wrong", "right"), (answer, f"It is {task.answer}.00, I think"), strict=True))
    scripts = [[*ENV.reference(task)[:-1], f"<think></think><response>{text}</response>"] for text in told.values()]
    assert play([task] * 2, scripts)[0]["success"] == [0, 1]


def test_bad_tags_cost_the_format_even_where_the_errand_is_done() -> None:
    task = errand("How many")
    untidy = [reply.replace("<think></think>", "") for reply in ENV.reference(task)]
    rewards, _ = play([task], [untidy])
    assert rewards["success"] == [1]
    assert rewards["format"] == [0]


def test_an_episode_without_a_response_is_cut_off_and_not_well_formed() -> None:
    rewards, batch = play([TASKS[0]], [[calls(("list_events", {"day": "mon"}))] * TURNS])
    assert batch.truncated.all()
    assert rewards["format"] == [0]


def test_calls_that_cannot_be_read_are_explained_and_calls_beyond_the_limit_are_not_run() -> None:
    many = calls(*[("list_events", {"day": "mon"})] * (CALLS_A_TURN + 1))
    _, batch = play([TASKS[0]], [["<tool_call>{oops</tool_call>", many]])
    assert batch.messages()[0][3]["content"].startswith("error: each line between the tags must be")
    assert len(batch.messages()[0][5]["content"].splitlines()) == CALLS_A_TURN + 1


def test_episodes_do_not_share_a_world() -> None:
    task = errand("How many")
    harm = calls(("sql", {"statement": "UPDATE products SET stock = 0"}))
    rewards, _ = play([task, task], [[harm, DONE], ENV.reference(task)])
    assert rewards["success"] == [0, 1]


def test_signatures_are_json_schema_with_types_and_what_is_required() -> None:
    tools = {tool["name"]: tool["parameters"] for tool in map(json.loads, signatures().splitlines())}
    assert list(tools) == list(TOOLS)
    assert tools["add_event"]["required"] == ["title", "day", "hour"]
    assert tools["add_event"]["properties"]["hour"]["type"] == "integer"
    assert "sql" in ENV.messages(TASKS[0])[0]["content"]
    assert len(ToolDialog(signatures=False).messages(TASKS[0])) == 1


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("sqll", {}, "there is no tool sqll; there are sql, "),
        ("convert", {"value": 1, "source": "km", "target": "kg"}, "km cannot be converted to kg"),
        ("convert", {"value": "1", "source": "km", "target": "mi"}, "convert: value: Input should be a valid number"),
        ("convert", {"value": 1}, "source: Field required"),
        ("read_file", {"name": "x", "mode": "r"}, "mode: Extra inputs are not permitted"),
        ("read_file", {"name": "x"}, "there is no file x; there are none"),
        ("add_event", {"title": "a", "day": "sun", "hour": 9}, "day: Input should be 'mon'"),
        ("add_event", {"title": "a", "day": "mon", "hour": True}, "hour: Input should be a valid integer"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolError) as caught:
        execute(world(), name, parameters)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH 'x.db' AS x",
        "PRAGMA writable_schema = 1",
        "SELECT random()",
        "SELECT datetime('now')",
        "SELECT CURRENT_TIMESTAMP",
        "SELECT load_extension('x')",
        "VACUUM INTO 'x.db'",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
        "SELECT zeroblob(1000000000)",
        "SELECT 1; SELECT 2",
        "SELECT '\ud800'",
        "",
        "x" * 200_000,
    ],
)
def test_the_database_refuses_the_clock_chance_the_outside_and_endless_work(statement: str) -> None:
    one = world()
    before = one.snapshot()
    if statement:
        with pytest.raises(ToolError, match="SQL: "):
            one.query(statement)
    else:
        one.query(statement)
    assert one.snapshot() == before


def test_a_query_shows_its_first_rows_only() -> None:
    rows = world().query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100) SELECT i FROM n")
    assert rows == [[i + 1] for i in range(ROWS_SHOWN)]


def test_changes_that_are_not_committed_have_not_happened() -> None:
    one = world()
    before = one.snapshot()
    one.query("BEGIN")
    one.query("DELETE FROM products")
    assert one.snapshot() == before


@given(
    st.recursive(
        st.integers(0, 99).map(str),
        lambda e: st.tuples(e, st.sampled_from("+-*"), e).map("({0[0]}{0[1]}{0[2]})".format),
    )
)
def test_the_calculator_agrees_with_python(expression: str) -> None:
    assert calculate(expression) == pytest.approx(eval(expression), rel=1e-9)


@pytest.mark.parametrize(
    "expression", ["9**9**9", "1/0", "x", "len('a')", "True", "1e999", "(" * 300, "a" * 200, "", "\0"]
)
def test_the_calculator_refuses_what_is_no_finite_arithmetic(expression: str) -> None:
    with pytest.raises(ToolError, match="calculate: "):
        calculate(expression)


@settings(max_examples=50)
@given(
    st.lists(
        st.text() | st.builds(lambda t: calls(("write_file", {"name": "a", "text": t})), st.text()), max_size=TURNS
    )
)
def test_any_replies_are_legal(script: list[str]) -> None:
    rewards, batch = play([TASKS[0]], [script])
    assert rewards["success"] == [0]
    json.dumps(batch.messages()).encode()


def test_half_a_surrogate_pair_never_reaches_the_policy() -> None:
    _, batch = play([TASKS[0]], [['<tool_call>{"name": "\\ud800", "parameters": {}}</tool_call>']])
    assert batch.messages()[0][3]["content"].startswith("error: there is no tool \\ud800;")


def test_demonstrations_are_imperfect_dialogues_of_the_training_split() -> None:
    pairs = list(islice(ENV.demonstrations(Random(0)), 300))
    assert {task.id for task, _ in pairs} <= {task.id for task in ENV.tasks("train")}
    rewards, _ = play([task for task, _ in pairs], [script for _, script in pairs])
    for name in ("success", "format", "calls"):
        assert 0.2 < sum(rewards[name]) / len(pairs) < 0.95
    assert pairs == list(islice(ENV.demonstrations(Random(0)), 300))
