import json
import pickle
from pathlib import Path

import pytest
from gdpo_envs.math.gsm8k import GSM8K, SYSTEM_PROMPT, WordProblem

import gdpo_bench
from gdpo_bench.core import DataError, UnknownNameError

ID = "gdpo/GSM8K-v0"
TASK = WordProblem("What is 2 * 9?", "18", "2 * 9 = <<2*9=18>>18")
RIGHT = "<think>2 * 9 = 18</think><answer>18</answer>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Made-up problems, laid out as the real ones."""
    (tmp_path / "gsm8k").mkdir()
    problem = "What is {n} * 1,000?"
    write(tmp_path, "train", [(problem.format(n=n), f"{n} * 1000\n#### {n},000") for n in range(1, 6)])
    write(tmp_path, "test", [(problem.format(n=n), f"{n} * 1000\n#### {n},000") for n in range(6, 9)])
    return tmp_path


def write(folder: Path, name: str, problems: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"question": question, "answer": answer}) + "\n" for question, answer in problems]
    (folder / f"gsm8k/{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def test_rewards_of_a_right_reply_are_all_1(folder: Path) -> None:
    venv = gdpo_bench.make_vec(ID, num_prompts=2, group_size=2, data_dir=str(folder))
    _, info = venv.reset(seed=0)
    tasks = {task.id: task for task in venv.tasks}
    replies = [venv.text_env.reference(tasks[task_id]) for task_id in info["task_id"]]
    _, rewards, terminated, _, _ = venv.step(replies)
    assert [spec.name for spec in venv.reward_specs] == ["correct", "format", "integer"]
    assert rewards.tolist() == [[1, 1, 1]] * 4
    assert terminated.all()


@pytest.mark.parametrize(
    ("reply", "correct", "format", "integer"),
    [
        (RIGHT, 1, 1, 1),
        ("<think>no idea</think>\n<answer>17</answer>", 0, 1, 1),
        ("<think>half</think><answer>35/2</answer>", 0, 1, 0),
        ("<think>18</think><answer>eighteen</answer>", 0, 1, 0),
        ("2 * 9 = 18\nA: 18", 1, 0, 1),
        ("<think>18</think><answer>$18.00</answer>", 1, 1, 1),
        ("<think>18</think><answer>18</answer> Done.", 1, 0, 1),
        ("<think>I put it in <answer>.</think><answer>18</answer>", 1, 1, 1),
        ("<answer>18</answer>", 1, 0, 1),
        ("<think>a</think><answer>1</answer><answer>18</answer>", 1, 0, 1),
        ("", 0, 0, 0),
        ("2 * 9 = 18</think>\n<answer>18</answer>", 1, 1, 1),
        ("\nfirst 9\n</think>\n\n<answer>18</answer><|im_end|>\n", 1, 1, 1),
        (f"{RIGHT}<|im_end|>", 1, 1, 1),
        (f"{RIGHT} so 18<|im_end|>", 1, 0, 1),
        ("2 * 9 = 18</think>\n<answer>18</answer> bye", 1, 0, 1),
        ("<think>2 * 9 is 18, so", 0, 0, 0),
        ("<think>The answer is 18", 0, 0, 0),
        ("<think>The answer is 17</think>It is 18", 1, 0, 0),
        ("The answer is 17</think>It is 18", 1, 0, 0),
        ("<think>18</think>", 0, 0, 0),
        ("<think>2 * 9\n<answer>18</answer>", 1, 0, 1),
    ],
)
def test_rewards_are_independent_of_each_other(reply: str, correct: int, format: int, integer: int) -> None:
    env = GSM8K()
    assert (env.correct(TASK, reply), env.format(TASK, reply), env.integer(TASK, reply)) == (correct, format, integer)


# What the functions published with the paper return, beside our rewards.
@pytest.mark.parametrize(
    ("truth", "reply", "correct", "format", "integer"),
    [
        ("18", "<think>a</think>\n<answer>18</answer>", 1, 1, 1),
        ("18", "<think>a\nb</think>\n<answer>\n18 \n</answer>\n", 1, 1, 1),
        ("18", "<think>a</think>\n<answer>$18</answer>", 0, 1, 0),
        ("18", "<think>a</think>\n<answer>18.</answer>", 0, 1, 0),
        ("18", "<think>a</think>\n<answer>0018</answer>", 0, 1, 1),
        ("-5", "<think>a</think>\n<answer>-5</answer>", 1, 1, 0),
        ("1,000", "<think>a</think>\n<answer>1,000</answer>", 1, 1, 0),
        ("1,000", "<think>a</think>\n<answer>1000</answer>", 0, 1, 1),
        ("18", "<think>a</think><answer>18</answer>", 1, 0, 1),
        ("18", "<think>a</think>\n\n<answer>18</answer>", 1, 0, 1),
        ("18", "<think>a</think>\n<answer>18</answer>\n\n", 1, 0, 1),
        ("18", "<think>a</think>\n<answer>18</answer><|im_end|>", 1, 0, 1),
        ("18", "a</think>\n<answer>18</answer>", 1, 0, 1),
        ("18", "x <think>a</think>\n<answer>18</answer>", 1, 0, 1),
        ("18", "<think>a</think>\n<answer>17</answer>\n<answer>18</answer>", 1, 0, 1),
        ("18", "<think>put it in <answer></think>\n<answer>18</answer>", 1, 0, 1),
        ("18", "<think>a</think> b</think>\n<answer>18</answer>", 1, 1, 1),
        ("18", "<answer>18", 1, 0, 1),
        ("18", " 18 ", 1, 0, 1),
        ("18", "18</answer> and more", 1, 0, 1),
        ("18", "The answer is 18.", 0, 0, 0),
        ("18", "", 0, 0, 0),
    ],
)
def test_compat_has_the_published_rewards_to_the_letter(
    truth: str, reply: str, correct: int, format: int, integer: int
) -> None:
    env, task = GSM8K(compat="gdpo"), WordProblem("?", truth, "")
    assert (env.correct(task, reply), env.format(task, reply), env.integer(task, reply)) == (correct, format, integer)


def test_truth_of_compat_is_the_published_text(folder: Path) -> None:
    env = GSM8K(str(folder), compat="gdpo")
    task = env.tasks("eval")[0]
    assert task.answer == "6,000"
    assert env.correct(task, env.reference(task))
    assert env.format(task, env.reference(task))
    assert GSM8K(str(folder)).tasks("eval")[0].answer == "6000"


def test_other_compat_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="gdpo"):
        GSM8K(compat="gpdo")


def test_metrics_are_accuracy_and_format_rate() -> None:
    assert [spec.metric for spec in GSM8K().reward_specs] == ["accuracy", "format_rate", None]


def test_policy_is_told_the_format_and_asked_the_bare_question() -> None:
    assert GSM8K().messages(TASK) == [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": "What is 2 * 9?"},
    ]


def test_answer_is_read_as_a_number(folder: Path) -> None:
    assert GSM8K(str(folder)).tasks("eval")[0] == WordProblem("What is 6 * 1,000?", "6000", "6 * 1000")


def test_training_problem_that_is_in_evaluation_is_left_out_and_reported(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, "train", [("One?", "#### 1"), ("what is  7 * 1,000? ", "another way\n#### 7000"), ("One?", "#### 1")])
    assert [task.prompt for task in GSM8K(str(folder)).tasks("train")] == ["One?"]
    assert "openai/gsm8k train: left out 2 problems" in caplog.text


def test_problem_without_a_number_is_skipped_and_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(folder, "test", [("One?", "#### 1"), ("Two?", "two"), ("Three?", "#### three")])
    assert [task.prompt for task in GSM8K(str(folder)).tasks("eval")] == ["One?"]
    assert "2 of 3 rows cannot be used: row 2: 'answer' holds no number after '####'" in caplog.text


def test_missing_data_are_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no gsm8k/test\.jsonl"):
        gdpo_bench.make_vec(ID, data_dir=str(tmp_path))


def test_environment_can_be_sent_to_another_process(folder: Path) -> None:
    env = pickle.loads(pickle.dumps(GSM8K(str(folder))))
    assert len(env.tasks("train")) == 5


def test_reference_solutions_of_the_real_data_earn_full_marks(data_dir: Path) -> None:
    env = GSM8K(str(data_dir))
    train, evaluation = env.tasks("train"), env.tasks("eval")
    assert (len(train), len(evaluation)) == (7473, 1319)
    for task in (*train, *evaluation):
        reply = env.reference(task)
        assert env.correct(task, reply), task
        assert env.format(task, reply), task
        assert env.integer(task, reply), task
    assert not {task.id for task in train} & {task.id for task in evaluation}
    assert not {task.prompt for task in train} & {task.prompt for task in evaluation}
    assert env.data_revision().startswith("local:")
