import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from gdpo_envs.loading import DATA_VARIABLE
from gdpo_envs.math import competition
from gdpo_envs.math.competition import AIME24, AMC, INSTRUCTION, CompetitionMath, Math, Minerva, OlympiadBench
from gdpo_envs.math.length import token_count
from gdpo_envs.math.pool import WorkerError
from gdpo_envs.math.sources import SETS, MathTask, content_key

import gdpo_bench
from gdpo_bench.core import DataError, DeclarationError, Gate, UnknownNameError

TASK = MathTask("What is half of one?", r"\frac{1}{2}", "It is 1/2.")
RIGHT = r"<think>half of one</think>The answer is $\boxed{0.5}$."

# The columns of each source as published, in their order; the problems are made up.
DEEPSCALER = {"problem": "Add $1$ and $1$.", "answer": "2", "solution": "$1+1=2$"}
MATH = {"problem": "Add 2 and 2.", "answer": "4", "difficulty": 1.0, "type": "Algebra"}
MATH500 = {
    "problem": "Halve one.",
    "solution": r"It is $\boxed{\frac{1}{2}}$.",
    "answer": r"\frac{1}{2}",
    "subject": "Prealgebra",
    "level": 1,
    "unique_id": "test/prealgebra/1.json",
}
AIME = {"id": 60, "problem": "Find $n$.", "solution": "It is 25.", "answer": "025", "url": "https://…", "year": "2024"}
AMC_ROW = {"id": 0, "problem": "Find $m$.", "answer": 142.0, "url": "https://…"}
MINERVA = {"question": "Find the wavelength in m.", "answer": "6.6e-34"}
OLYMPIAD = {
    "id": 1606,
    "question": "Find all $x$.",
    "solution": ["They are 1 and 2.", "Another way."],
    "final_answer": ["$1$", "$2$"],
    "context": None,
    "image_1": None,
    "modality": "Text-only",
    "difficulty": "Competition",
    "is_multiple_answer": True,
    "unit": None,
    "answer_type": "Numerical",
    "error": None,
    "question_type": "Open-ended",
    "subfield": "Algebra",
    "subject": "Math",
    "language": "English",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A row of each source, in the formats in which they are published."""
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    write(tmp_path / "deepscaler/deepscaler.json", DEEPSCALER)
    write(tmp_path / "math_train/train_math.json", MATH)
    write(tmp_path / "math500/test.jsonl", MATH500)
    write(tmp_path / "aime_2024/train-00000-of-00001.parquet", AIME)
    write(tmp_path / "aimo-validation-amc/train-00000-of-00001.parquet", AMC_ROW)
    write(tmp_path / "minervamath/test.jsonl", MINERVA)
    write(tmp_path / "OlympiadBench/OE_TO_maths_en_COMP.parquet", OLYMPIAD)
    return tmp_path


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize(
    ("env", "split", "task"),
    [
        (Math, "train", MathTask("Add $1$ and $1$.", "2", "$1+1=2$")),
        (Math, "eval", MathTask("Halve one.", r"\frac{1}{2}", r"It is $\boxed{\frac{1}{2}}$.")),
        (AIME24, "eval", MathTask("Find $n$.", "025", "It is 25.")),
        (AMC, "eval", MathTask("Find $m$.", "142", "")),
        (Minerva, "eval", MathTask("Find the wavelength in m.", "6.6e-34", "")),
        (OlympiadBench, "eval", MathTask("Find all $x$.", "1, 2", "They are 1 and 2.")),
    ],
)
def test_each_source_is_read_as_it_is_published(
    folder: Path, env: type[CompetitionMath], split: str, task: MathTask
) -> None:
    made = env(data_dir=str(folder))
    assert list(made.tasks(split)) == [task]
    reply = made.reference(task)
    assert made.correct([task], [reply]) == [True]
    assert made.length(task, reply)
    assert made.format(task, reply)
    assert made.data_revision().startswith("local:")


def test_math_is_a_training_set_too(folder: Path) -> None:
    assert [task.prompt for task in Math(training="math", data_dir=str(folder)).tasks("train")] == ["Add 2 and 2."]
    with pytest.raises(UnknownNameError, match="deepscaler"):
        Math(training="deepscale")


@pytest.mark.parametrize("evaluated", [MATH500, AIME, AMC_ROW, MINERVA, OLYMPIAD])
def test_training_problems_that_occur_in_evaluation_are_left_out_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture, evaluated: dict[str, Any]
) -> None:
    problem = evaluated.get("problem") or evaluated["question"]
    disguised = DEEPSCALER | {"problem": f" {problem.upper().replace(' ', '  ')}$$"}
    write(folder / "deepscaler/deepscaler.json", DEEPSCALER, disguised)
    assert [task.prompt for task in Math(data_dir=str(folder)).tasks("train")] == [DEEPSCALER["problem"]]
    assert "left out 1 problems that occur twice or in evaluation" in caplog.text


def test_evaluation_sets_that_cannot_be_compared_are_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "minervamath/test.jsonl").unlink()
    Math(data_dir=str(folder)).tasks("train")
    assert "deepscaler: not compared with minerva, which are not in the data folder" in caplog.text


def test_rows_without_an_answer_are_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        DEEPSCALER | {"problem": f"Problem {n}", "answer": answer} for n, answer in enumerate(["", "$ $", None, "1"])
    ]
    write(folder / "deepscaler/deepscaler.json", *rows)
    assert [task.prompt for task in Math(data_dir=str(folder)).tasks("train")] == ["Problem 3"]
    assert "3 of 4 rows cannot be used" in caplog.text


def test_missing_data_and_other_columns_are_errors_of_ours(folder: Path) -> None:
    write(folder / "math500/test.jsonl", {"question": "?", "answer": "1"})
    with pytest.raises(DataError, match="has no column 'problem'"):
        Math(data_dir=str(folder)).tasks("eval")
    (folder / "math500/test.jsonl").unlink()
    with pytest.raises(DataError, match=r"has no math500/math500\.jsonl or math500/test\.jsonl"):
        Math(data_dir=str(folder)).tasks("eval")


def test_sources_are_pinned_to_commits() -> None:
    assert all(len(chosen.source.revision) == 40 for chosen in SETS.values())


def test_problems_that_are_only_set_differently_are_the_same() -> None:
    assert content_key(MathTask(r"Find  $\dfrac12 \left( x\right)$", "", "")) == content_key(
        MathTask(r"find \frac12(x)", "", "")
    )
    assert content_key(MathTask("Find $x+1$", "", "")) != content_key(MathTask("Find $x-1$", "", ""))


@pytest.mark.parametrize(
    ("reply", "correct", "format"),
    [
        (RIGHT, 1, 1),
        (r"half of one</think>\boxed{1/2}", 1, 1),
        (r"<think>a</think>\boxed{1}", 0, 1),
        (r"\boxed{.5}", 1, 0),
        ("<answer>0.5</answer>", 1, 0),
        (r"<think>a</think><think>b</think>\boxed{0.5}", 1, 0),
        (r"<think>\boxed{0.5}</think>", 0, 0),
        (r"<think>\boxed{0.5}", 0, 0),
        (r"a<think>b</think>\boxed{0.5}", 1, 0),
        ("0.5", 0, 0),
        ("", 0, 0),
        ("\ud800" * 10, 0, 0),
    ],
)
def test_rewards_are_independent_of_each_other(reply: str, correct: int, format: int) -> None:
    env = Math()
    assert env.correct([TASK], [reply]) == [correct]
    assert env.format(TASK, reply) == format
    assert env.length(TASK, reply)


def test_metrics_are_those_of_the_paper_and_only_its_two_rewards_are_trained_on() -> None:
    assert [(spec.name, spec.metric, spec.weight) for spec in Math().reward_specs] == [
        ("correct", "accuracy", 1.0),
        ("length", "exceed_ratio", 1.0),
        ("format", "format_rate", 0),
    ]


def test_length_can_be_conditioned_on_correctness(folder: Path) -> None:
    assert [spec.gate for spec in Math(conditioned=True).reward_specs] == [None, Gate("correct", 1), None]
    replies = [r"\boxed{1/2}", r"\boxed{1}"]
    for conditioned, rewards in ((False, [[1, 1, 0], [0, 1, 0]]), (True, [[1, 1, 0], [0, 0, 0]])):
        venv = gdpo_bench.make_vec(
            "gdpo/Math-v0", num_prompts=1, group_size=2, split="eval", conditioned=conditioned, data_dir=str(folder)
        )
        venv.reset(seed=0)
        assert venv.step(replies)[1].tolist() == rewards


def test_limit_is_in_tokens() -> None:
    assert Math(limit=3).length(TASK, "one two three")
    assert not Math(limit=3).length(TASK, "one two three four")
    with pytest.raises(DeclarationError, match="limit must be at least 1"):
        Math(limit=0)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("the answer", 2),
        ("2024", 4),
        (r"\frac{1}{2}", 6),  # \frac { 1 }{ 2 }
        ("so, x = 1.\n\n", 7),
        ("a" * 1200, 100),
        ("\n" * 50, 1),
        (" " * 1200, 100),
        ("é中文字", 3),  # é 中文 字
        ("\ud800", 1),
    ],
)
def test_tokens_are_counted_without_a_tokenizer(text: str, tokens: int) -> None:
    assert token_count(text) == tokens


def test_tokens_of_a_tokenizer_are_counted_exactly(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {letter: i for i, letter in enumerate("abc?")}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert token_count("a b c \ud800", str(tmp_path)) == 4
    assert Math(limit=3, tokenizer=str(tmp_path)).length(TASK, "a longword c")


def test_answer_that_could_not_be_scored_goes_to_the_failed_mask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(competition, "judge", lambda questions: [WorkerError("broke") for _ in questions])
    venv = gdpo_bench.make_vec("gdpo/Math-v0", num_prompts=1, group_size=2, split="eval", data_dir=str(folder))
    venv.reset(seed=0)
    _, _, _, _, info = venv.step([r"\boxed{1/2}", "nothing"])
    assert info["failed"][:, 0].tolist() == [True, False]


def test_policy_is_asked_the_problem_and_told_where_the_answer_goes() -> None:
    assert Math().messages(TASK) == [{"role": "user", "content": f"{TASK.prompt} {INSTRUCTION}"}]


def test_environment_can_be_sent_to_another_process(folder: Path) -> None:
    env = pickle.loads(pickle.dumps(Math(conditioned=True, data_dir=str(folder))))
    assert env.correct([TASK], [RIGHT]) == [True]
    assert env.reward_specs == Math(conditioned=True).reward_specs


@pytest.mark.slow
def test_real_solutions_are_right_and_those_of_other_problems_wrong(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    env = Math(training="math", data_dir=str(data_dir))
    train, evaluation = env.tasks("train"), env.tasks("eval")
    assert (len(train), len(evaluation)) == (7467, 500)
    assert "4 of 7474 rows cannot be used" in caplog.text
    assert all(env.correct(evaluation, [task.solution for task in evaluation]))
    for tasks in (train, evaluation):
        assert all(env.correct(tasks, [env.reference(task) for task in tasks]))
    others = [*evaluation[1:], evaluation[0]]
    verdicts = env.correct(evaluation, [other.solution for other in others])
    answers = zip(evaluation, others, verdicts, strict=True)
    accepted = {(task.answer, other.answer) for task, other, verdict in answers if verdict is not False}
    assert {(truth, answer) for truth, answer in accepted if truth != answer} == {("5", "x=5")}
