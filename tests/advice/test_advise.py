"""What recorded rollouts let one expect, and the command that says it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gdpo_bench
from gdpo_bench.advice import RecordedRewards, advise
from gdpo_bench.cli.main import main
from gdpo_bench.core.errors import GdpoBenchError, UnknownNameError
from gdpo_bench.leaderboard.files.store import entry_files

BOARD = Path(__file__).parents[2] / "leaderboards"


def rare_format(seed: int = 0, groups: int = 100) -> RecordedRewards:
    """A large reward that every third rollout earns, and a small one that one in twelve of the others earns."""
    rng = np.random.default_rng(seed)
    values = rng.random((groups * 8, 2)) < [0.33, 0.08]
    values[:, 1] &= ~values[:, 0]
    return RecordedRewards(("correct", "format"), values * [12.0, 1.0], np.repeat(np.arange(groups), 8))


def test_grpo_silences_a_small_rare_reward_and_gdpo_does_not() -> None:
    format = advise(rare_format(), ["gdpo", "grpo_scaled"]).rewards["format"]
    grpo, gdpo, scaled = (format.outlooks[name] for name in ("grpo", "gdpo", "grpo_scaled"))
    assert grpo.verdict == "silenced"
    assert gdpo.verdict == "learned"
    assert grpo.rho < scaled.rho < gdpo.rho
    assert format.sentences[0].startswith("grpo would silence format: 0.")
    assert any(text.startswith(("Normalizer: gdpo (", "Gate: let the others")) for text in format.sentences)
    assert any(text.startswith("Weight: ") for text in format.sentences)
    assert any(text.startswith("More rollouts: ") for text in format.sentences)


def test_a_reward_that_has_the_advantages_to_itself_is_learned() -> None:
    correct = advise(rare_format(), ["gdpo"]).rewards["correct"]
    assert correct.outlooks["grpo"].verdict == correct.outlooks["gdpo"].verdict == "learned"
    assert len(correct.sentences) == 1


def test_more_rollouts_make_surer() -> None:
    few, many = (advise(rare_format(groups=n), ["gdpo"]).rewards["format"].outlooks["gdpo"] for n in (15, 400))
    assert many.high - many.low < (few.high - few.low) / 2
    assert few.low <= few.learned <= few.high


def test_units_of_rewards_do_not_matter_where_the_normalizer_takes_them_away() -> None:
    recorded = rare_format()
    larger = RecordedRewards(recorded.names, recorded.values * [100, 0.01], recorded.groups)
    for name in recorded.names:
        before, after = (advise(one, ["gdpo:eps=0"]).rewards[name].outlooks["gdpo:eps=0"] for one in (recorded, larger))
        assert after.learned == pytest.approx(before.learned, abs=1e-9)


def test_weights_count() -> None:
    heavy = advise(rare_format(), [], weights=[1, 16]).rewards["format"].outlooks["grpo"]
    named = advise(rare_format(), ["grpo:weights.format=16"]).rewards["format"].outlooks["grpo:weights.format=16"]
    assert heavy == named
    assert heavy.learned > 0.5
    with pytest.raises(UnknownNameError, match="formt"):
        advise(rare_format(), ["grpo:weights.formt=16"])


def test_what_is_had_already_and_what_never_varies_need_no_number() -> None:
    values = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.99, 0.0]])
    recorded = RecordedRewards(("a", "b"), values, np.zeros(4, dtype=np.int64), ((0, 1), (0, 1)))
    had, never = advise(recorded, []).rewards.values()
    assert had.had
    assert set(had.outlooks) == {"grpo"}
    assert "had already" in had.sentences[0]
    assert "varies in no group" in never.sentences[0]
    assert never.outlooks["grpo"].rho == 0


def test_absent_rewards_count_for_nothing() -> None:
    recorded = rare_format()
    values = recorded.values.copy()
    values[160:, 1] = np.nan
    half = advise(RecordedRewards(recorded.names, values, recorded.groups, ((0, 12), (0, 1))), ["gdpo"])
    assert half.rewards["format"].mean == pytest.approx(np.mean(recorded.values[:160, 1]))


def test_normalizers_that_cannot_take_such_rewards_are_left_out_by_name() -> None:
    recorded = rare_format()
    negative = RecordedRewards(recorded.names, recorded.values - 3, recorded.groups)
    advice = advise(negative, ["maxrl", "gdpo"])
    assert list(advice.left_out) == ["maxrl"]
    with pytest.raises(GdpoBenchError, match="maxrl cannot take these rewards"):
        advise(negative, [], using="maxrl")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    recorded = rare_format()
    path = tmp_path / "log.jsonl"
    with path.open("w") as file:
        for group, values in zip(recorded.groups.tolist(), recorded.values.tolist(), strict=True):
            file.write(json.dumps({"group": group, "rewards": dict(zip(recorded.names, values, strict=True))}) + "\n")
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["advise", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_command_prints_a_table_sentences_and_a_picture(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", str(log)]) == 0
    output = capsys.readouterr().out
    assert "800 rollouts in 100 groups" in output
    assert "grpo would silence format" in output
    assert (log.parent / "advice.png").read_bytes().startswith(b"\x89PNG")


def test_names_of_rewards_are_text_and_nothing_else(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.write_text(log.read_text().replace('"format"', '"[red]$x_{"'))
    assert main(["advise", str(log), "--normalizers", "gdpo"]) == 0
    assert "[red]$x_{" in capsys.readouterr().out


def test_json_has_every_normalizer_that_is_asked_for(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewards = printed(capsys, str(log), "--normalizers", "grpo", "gdpo")["rewards"]
    assert set(rewards) == {"correct", "format"}
    assert set(rewards["format"]) == {"grpo", "gdpo"}
    assert set(rewards["format"]["gdpo"]) == {"rho", "learned", "low", "high"}
    assert not (log.parent / "advice.png").exists()
    scaled = printed(capsys, str(log), "--normalizers", "grpo", "--weights", "format=16")["rewards"]
    assert scaled["format"]["grpo"]["learned"] > rewards["format"]["grpo"]["learned"]
    assert set(printed(capsys, str(log), "--rewards", "format")["rewards"]) == {"format"}


def test_replies_are_scored_by_the_environment_that_is_named(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = gdpo_bench.make_env("gdpo/MathMini-v1")
    tasks = env.tasks("eval")[:3]
    records = [{"task_id": task.id, "replies": [env.reference(task), "no answer"]} for task in tasks]
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    rewards = printed(capsys, str(log), "--env", "gdpo/MathMini-v1", "--normalizers", "gdpo")["rewards"]
    assert set(rewards) == {spec.name for spec in env.reward_specs}
    assert main(["advise", str(log)]) == 2
    assert "--env ID" in capsys.readouterr().err


def test_chats_are_scored_and_those_about_no_task_are_named(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = gdpo_bench.make_env("gdpo/MathMini-v1")
    records = [
        {"messages": [*env.messages(task), {"role": "assistant", "content": reply}]}
        for task in env.tasks("eval")[:3]
        for reply in (env.reference(task), "no answer")
    ]
    records.append({"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I"}]})
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main(["advise", str(log), "--env", "gdpo/MathMini-v1", "--normalizers", "gdpo", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["rewards"].keys() == {spec.name for spec in env.reward_specs}
    told = " ".join(shown.err.split())
    assert f"1 line of {log} is about no task of gdpo/MathMini-v1: line 7 ('Who?')." in told


def test_an_entry_tells_what_its_policy_earned_before_training(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path, *_) = entry_files(BOARD / "training" / "gdpo" / "ToolCallingMini-v1")
    rewards = printed(capsys, str(path), "--normalizers", "grpo", "gdpo")["rewards"]
    assert set(rewards) == {"format", "correctness"}
    later = printed(capsys, str(path), "--normalizers", "grpo", "gdpo", "--step", "10")["rewards"]
    assert later != rewards


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["log.jsonl", "--rewards", "formt"], "No reward 'formt' is recorded"),
        (["log.jsonl", "--weights", "formt=2"], "Unknown reward 'formt'"),
        (["log.jsonl", "--ranges", "format=1"], "--ranges: expected format=LOWEST,HIGHEST"),
        (["log.jsonl", "--ranges", "format=1,0"], "must be below"),
        (["log.jsonl", "--ranges", "correct=0,1"], "has values from 0 to 12, outside [0, 1]"),
        (["log.jsonl", "--normalizers", "gpdo"], "Unknown normalizer 'gpdo'"),
        (["none.jsonl"], "No such file"),
    ],
)
def test_mistakes_get_one_sentence(
    log: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["advise", *arguments]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert message in error
    assert "Traceback" not in error
