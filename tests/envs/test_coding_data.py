"""Published problems: what is read of the real data, and of fixtures with the schema of what is not on disk."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from gdpo_envs.coding.apps import APPS
from gdpo_envs.coding.code_contests import CodeContests
from gdpo_envs.coding.eurus2 import Eurus2Code
from gdpo_envs.coding.humaneval import HumanEval
from gdpo_envs.coding.io_tests import cases_from, stated_precision, text_cases
from gdpo_envs.coding.mbpp import MBPP
from gdpo_envs.coding.problem import CodeTask, call_case, literal, passes
from gdpo_envs.coding.published import PublishedCoding
from gdpo_envs.loading import UnusableRowError

from gdpo_bench.core import DataError
from gdpo_bench.core.scoring import score


def full_marks(env: PublishedCoding, tasks: list[CodeTask]) -> list[bool]:
    scores = score(env, "test", tasks, [env.reference(task) or "" for task in tasks])
    assert not scores.failed.any(), scores.failures
    return [bool(row) for row in (scores.values == 1).all(1)]


def test_humaneval_is_read_whole(data_dir: Path) -> None:
    tasks = HumanEval(str(data_dir)).tasks("eval")
    assert len(tasks) == 164
    assert all(task.tests for task in tasks)
    by_entry = {task.entry: task for task in tasks}
    assert len(by_entry["sort_third"].tests) == 4  # the other three compare the function with itself
    assert len(by_entry["find_zero"].tests) == 99  # two of the hundred that are drawn are equal
    assert "def encode_cyclic" in by_entry["decode_cyclic"].preamble
    assert "decode_cyclic" not in by_entry["decode_cyclic"].preamble
    assert literal(by_entry["same_chars"].tests[0]["input"]) == ("eabcdzzzz", "dddzzzzzzzddeddabc")


def test_mbpp_is_read_whole_but_for_the_task_that_measures_memory(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env = MBPP(str(data_dir))
    train, evaluation = env.tasks("train"), env.tasks("eval")
    assert (len(train), len(evaluation)) == (159, 239)
    assert all(len(task.tests) >= 3 for task in (*train, *evaluation))
    assert not {task.prompt for task in train} & {task.prompt for task in evaluation}


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(("env", "split"), [(HumanEval, "eval"), (MBPP, "train"), (MBPP, "eval")])
def test_reference_solutions_earn_full_marks(env: type[PublishedCoding], split: str, data_dir: Path) -> None:
    made = env(str(data_dir))
    tasks = list(made.tasks(split))
    marks = full_marks(made, tasks)
    assert all(marks), [task.entry for task, right in zip(tasks, marks, strict=True) if not right]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(("env", "at_least"), [(HumanEval, 0.75), (MBPP, 0.75)])
def test_most_solutions_with_one_character_changed_fail(
    env: type[PublishedCoding], at_least: float, data_dir: Path
) -> None:
    made = env(str(data_dir))
    rng = random.Random(0)
    tasks = rng.sample(list(made.tasks("eval")), 60)
    replies = [f"```python\n{changed(task, rng)}\n```" for task in tasks]
    rates = made.pass_rate(tasks, replies)
    assert sum(rate != 1 for rate in rates) / len(rates) >= at_least


def changed(task: CodeTask, rng: random.Random) -> str:
    """The solution with a letter, digit or operator of its code replaced by another of the same kind."""
    solution = task.solution or ""
    begin = max(solution.rfind('"""'), solution.rfind("'''"), solution.find(f"def {task.entry}")) + 3
    kinds = ("0123456789", "+-*/%", "<>", "abijnxy")
    places = [(i, kind) for i in range(begin, len(solution)) for kind in kinds if solution[i] in kind]
    place, kind = rng.choice(places)
    return solution[:place] + rng.choice([c for c in kind if c != solution[place]]) + solution[place + 1 :]


def test_code_contests_are_read_with_the_precision_they_state(data_dir: Path) -> None:
    tasks = CodeContests(str(data_dir)).tasks("eval")
    assert len(tasks) == 165
    assert sum(len(task.tests) for task in tasks) == 1805  # all of them but repetitions, not the first ten
    assert {case["rule"] for task in tasks for case in task.tests} == (
        {"tokens", "tokens:1e-06", "tokens:0.0001", "tokens_any_case"}
    )
    assert all(task.mode == "stdio" for task in tasks)


@pytest.mark.usefixtures("engine")
def test_of_35_published_programs_32_pass(data_dir: Path) -> None:
    env = APPS(str(data_dir))
    passed: dict[str, list[bool]] = {"stdio": [], "call": []}
    for task, folder in zip(env.tasks("eval"), sorted((data_dir / "apps_sample").glob("*/")), strict=True):
        solutions = json.loads((folder / "solutions.json").read_text())
        rates = env.pass_rate([task] * len(solutions), [f"```python\n{code}\n```" for code in solutions])
        passed[task.mode] += [rate == 1 for rate in rates]
    assert (sum(passed["stdio"]), len(passed["stdio"])) == (32, 35)
    assert (sum(passed["call"]), len(passed["call"])) == (66, 66)


PROBLEM = "Print the sum of two numbers."
TESTS = {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}
FUNCTION = {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, 7]}


def eurus_row(statement: str, tests: Any, **fields: Any) -> dict[str, Any]:
    """A row with the columns of PRIME-RL/Eurus-2-RL-Data."""
    return {
        "data_source": "taco",
        "prompt": [{"content": "Use [ASSESS].", "role": "system"}, {"content": statement, "role": "user"}],
        "ability": "code",
        "reward_model": {"ground_truth": tests if isinstance(tests, str) else json.dumps(tests), "style": "rule"},
        "extra_info": {"index": 0, "split": "dummy"},
    } | fields


def write_eurus(folder: Path, train: list[dict[str, Any]], validation: list[dict[str, Any]]) -> None:
    (folder / "eurus2").mkdir()
    for name, rows in (("train", train), ("validation", validation)):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"eurus2/{name}.parquet")


def test_eurus_is_streamed_filtered_and_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    maths = eurus_row("What is 1 + 1?", "2", ability="math", data_source="numina_olympiads")
    write_eurus(
        tmp_path,
        [
            maths,
            eurus_row(PROBLEM, TESTS),
            eurus_row("Write a function.", FUNCTION),
            eurus_row("In  EVALUATION too.", TESTS),
            eurus_row("No tests.", {"inputs": [], "outputs": []}),
            eurus_row("No outputs.", {"inputs": ["1"], "outputs": []}),
            eurus_row("No JSON.", "{"),
            eurus_row("Null.", "null"),
        ],
        [maths, eurus_row("In evaluation too.", TESTS)],
    )
    env = Eurus2Code(str(tmp_path))
    train, evaluation = env.tasks("train"), env.tasks("eval")
    assert [task.prompt for task in train] == [PROBLEM, "Write a function."]
    assert [task.prompt for task in evaluation] == ["In evaluation too."]
    assert "4 of 8 rows cannot be used: row 5: there are no tests" in caplog.text
    assert "train: left out 1 problems that" in caplog.text
    program, function = train
    assert (program.mode, program.entry, program.preamble) == ("stdio", None, "")
    assert (function.mode, function.entry) == ("call", "add")
    assert [passes(case, "stdio", "3 \n") for case in program.tests] == [True, False]
    assert [passes(case, "call", 3) for case in function.tests] == [True, False]
    assert [message["role"] for message in env.messages(program)] == ["system", "user"]
    assert "ASSESS" not in str(env.messages(program))
    assert [task.prompt for task in Eurus2Code(str(tmp_path), max_tasks=1).tasks("train")] == [PROBLEM]


def test_first_layout_of_eurus_is_read(tmp_path: Path) -> None:
    rows = [
        {"source": "codecontests", "task": PROBLEM, "reference": json.dumps(TESTS)},
        {"source": "numina_olympiads", "task": "What is 1 + 1?", "reference": "2"},
    ]
    write_eurus(tmp_path, rows, [{"source": "apps", "task": "Other.", "reference": json.dumps(TESTS)}])
    env = Eurus2Code(str(tmp_path))
    assert [task.prompt for task in env.tasks("train")] == [PROBLEM]
    assert [task.prompt for task in env.tasks("eval")] == ["Other."]


def test_code_contests_as_published_are_read(tmp_path: Path) -> None:
    def tests(*pairs: tuple[str, str]) -> dict[str, list[str]]:
        return {"input": [given for given, _ in pairs], "output": [expected for _, expected in pairs]}

    row = {
        "name": "1_A. Sum",
        "description": PROBLEM,
        "public_tests": tests(("1 2\n", "3\n")),
        "private_tests": tests(("3 4\n", "7\n")),
        "generated_tests": tests(("5 6\n", "11\n"), ("7 8\n", "15\n")),
        "source": 2,
        "difficulty": 7,
        "solutions": {"language": [2, 3], "solution": ["int main() {}", "print(sum(map(int, input().split())))"]},
        "time_limit": {"seconds": 2, "nanos": 0},
    }
    (tmp_path / "code_contests").mkdir()
    bare = row | {
        "description": "Empty.",
        "public_tests": tests(),
        "private_tests": tests(),
        "generated_tests": tests(),
    }
    file = tmp_path / "code_contests/test-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row, bare]), file)
    (task,) = CodeContests(str(tmp_path)).tasks("eval")
    assert [case["output"] for case in task.tests] == ["3\n", "7\n", "11\n", "15\n"]
    assert task.solution == "print(sum(map(int, input().split())))"


def test_apps_as_published_on_the_hub_is_read(tmp_path: Path) -> None:
    row = {
        "id": 0,
        "question": "Sum.",
        "solutions": json.dumps(["def add(a, b): return a + b"]),
        "input_output": json.dumps(FUNCTION),
        "difficulty": "interview",
        "url": "",
        "starter_code": "def add(a, b):\n    ",
    }
    (tmp_path / "apps").mkdir()
    empty = row | {"question": "?", "input_output": "", "solutions": ""}
    (tmp_path / "apps/test.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(empty) + "\n")
    (task,) = APPS(str(tmp_path)).tasks("eval")
    assert (task.mode, task.entry, task.solution) == ("call", "add", "def add(a, b): return a + b")
    assert "def add(a, b):" in task.prompt
    assert "from typing import *" in task.preamble


@pytest.mark.parametrize(
    "odd",
    [
        {"public_tests": {"input": None, "output": None}},
        {"public_tests": {"input": ["1", "2"], "output": ["2"]}},
        {"public_tests": {"inputs": ["1"], "outputs": ["2"]}},
        {"solutions": {"language": None, "solution": None}},
    ],
)
def test_a_problem_of_another_shape_is_left_out(tmp_path: Path, odd: dict[str, Any]) -> None:
    tests = {"input": ["1\n"], "output": ["2\n"]}
    row = {"description": "A", "public_tests": tests, "private_tests": tests, "generated_tests": tests}
    (tmp_path / "code_contests").mkdir()
    lines = [json.dumps(one) + "\n" for one in (row | odd, row | {"description": "B"})]
    (tmp_path / "code_contests/test.jsonl").write_text("".join(lines))
    (task,) = CodeContests(str(tmp_path)).tasks("eval")
    assert task.prompt == "B"


@pytest.mark.parametrize("solutions", ["[5]", "[null]", "{}", "", "null"])
def test_what_is_no_program_is_no_solution(tmp_path: Path, solutions: str) -> None:
    (tmp_path / "apps").mkdir()
    row = {"question": "A", "input_output": "\ufeff" + json.dumps(TESTS), "solutions": solutions}
    (tmp_path / "apps/test.jsonl").write_text(json.dumps(row) + "\n")
    (task,) = APPS(str(tmp_path)).tasks("eval")
    assert task.solution is None


def test_split_that_is_not_there_says_so(data_dir: Path) -> None:
    with pytest.raises(DataError, match=r"has no apps/train\.jsonl or apps/train/\*/"):
        APPS(str(data_dir)).tasks("train")


@pytest.mark.parametrize(
    ("tests", "rule", "right", "wrong"),
    [
        ({"fn_name": "f", "inputs": [[1]], "outputs": [2]}, "json", [2], [2.0, [2]]),
        ({"fn_name": "f", "inputs": [[1]], "outputs": [[2]]}, "json_only", [2, [2], (2,)], [2.0, [[2]]]),
        ({"fn_name": "f", "inputs": [[1], [2]], "outputs": [[2], [2, 3]]}, "json", [[2], (2,)], [2]),
        ({"fn_name": "f", "inputs": ["1\n[2]"], "outputs": ["3"]}, "json", [3], ["3"]),
        ({"fn_name": "f", "inputs": [["a"]], "outputs": ["3"]}, "json", ["3"], [3]),
        ({"fn_name": "f", "inputs": [[]], "outputs": [None]}, "json", [None], [0]),
    ],
)
def test_call_based_tests(tests: Any, rule: str, right: list[Any], wrong: list[Any]) -> None:
    cases, function = cases_from(tests, "")
    assert function == "f"
    assert {case["rule"] for case in cases} == {rule}
    assert all(passes(cases[0], "call", answer) for answer in right)
    assert not any(passes(cases[0], "call", answer) for answer in wrong)


def test_arguments_are_what_json_says_but_for_keys_that_were_numbers() -> None:
    cases, _ = cases_from({"fn_name": "f", "inputs": [[{"1": "a", "-2": 3}, {"x": 1}]], "outputs": [0]}, "")
    assert literal(cases[0]["input"]) == ({1: "a", -2: 3}, {"x": 1})


def test_lines_may_be_a_list() -> None:
    cases, function = cases_from({"inputs": [["1", "2"]], "outputs": [["3", "4"]]}, "")
    assert function is None
    assert cases == [{"input": "1\n2", "output": "3\n4", "rule": "tokens"}]


@pytest.mark.parametrize(
    "tests",
    [
        None,
        [],
        {},
        {"inputs": [], "outputs": []},
        {"inputs": ["1"], "outputs": []},
        {"inputs": "1", "outputs": "1"},
        {"fn_name": "f", "inputs": [3], "outputs": [3]},
        {"fn_name": "f", "inputs": ["no json"], "outputs": ["3"]},
        {"fn_name": "f", "inputs": [[1]], "outputs": [float("inf")]},
    ],
)
def test_problem_without_usable_tests_is_refused(tests: Any) -> None:
    with pytest.raises(UnusableRowError):
        cases_from(tests, "")


@pytest.mark.parametrize(
    ("statement", "precision"),
    [
        ("Your answer is considered correct if its absolute or relative error does not exceed 10^{-4}.", 1e-4),
        ("Absolute or relative error should not exceed 10^-9.", 1e-9),
        ("with absolute or relative error not exceeding 10 - 6 .", 1e-6),
        ("The relative or absolute error must be at most 1e-7", 1e-7),
        ("an absolute error of at most 0.001 is fine", 1e-3),
        ("The absolute difference between your solution and the main solution shouldn't exceed 10^-6;", 1e-6),
        ("Print the absolute value of the difference. -10^9 ≤ a ≤ 10^9", None),
        ("Numbers are at most 10^-6 in absolute value.", None),
        ("Print an integer.", None),
        ("His relative made an error.", None),
    ],
)
def test_precision_is_read_from_the_problem(statement: str, precision: float | None) -> None:
    assert stated_precision(statement) == (None if precision is None else pytest.approx(precision))


def test_tests_are_written_alike_whatever_the_order_of_sets() -> None:
    value = ({"b", "a", "c"}, {1: {"y", "x"}}, [set()], ({3},))
    case = call_case(value, {"q", "p"}, "equal")
    assert case["input"] == "({'a', 'b', 'c'}, {1: {'x', 'y'}}, [set()], ({3},))"
    assert case["output"] == "{'p', 'q'}"
    assert literal(case["input"]) == value


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("You can print each letter in any case (upper or lower).", "tokens_any_case"),
        ("You may print every letter in any case you want (so, for example, yEs and YES are fine).", "tokens_any_case"),
        ("Print the answer in any case (upper or lower).", "tokens_any_case"),
        ("You may output the letters in any register.", "tokens_any_case"),
        ("You can print each character in either case (upper or lower).", "tokens_any_case"),
        ("The checker is case-insensitive.", "tokens_any_case"),
        ("First print either YES or NO (in any case), whether there is one.", "tokens_any_case"),
        ("Print each letter in any case. The relative error must not exceed 1e-6.", "tokens_any_case:1e-06"),
        ("In any case, print the answer.", "tokens"),
        ("It can be shown that an answer exists in any case.", "tokens"),
        ("Sort the words; the order is case-insensitive.", "tokens"),
        ("Print YES or NO.", "tokens"),
    ],
)
def test_leave_to_write_letters_in_any_case_is_read_from_the_problem(statement: str, rule: str) -> None:
    assert text_cases(["1"], ["YES"], statement)[0]["rule"] == rule


def test_input_that_is_null_is_empty_and_line_ends_are_those_of_unix() -> None:
    cases = text_cases([None, "a\r\nb\r\n", ["a", None]], ["", "c", "d"], "")
    assert [case["input"] for case in cases] == ["", "a\nb\n", "a\n"]
