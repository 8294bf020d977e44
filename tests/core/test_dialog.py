from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from gdpo_bench.core import DialogEnv, GroupVectorEnv, Message, RewardError, Task, Turn, make_env, reward

Vec = Callable[..., GroupVectorEnv]


@dataclass(frozen=True)
class CountTask(Task):
    goal: int


@dataclass
class Counter:
    total: int = 0
    seen: list[str] = field(default_factory=list)


class Counting(DialogEnv[CountTask, Counter]):
    """Each reply adds a number; "stop" ends, and so does the fourth reply."""

    max_turns = 4

    def tasks(self, split: str) -> Sequence[CountTask]:
        return [CountTask(f"Count to {goal}", goal) for goal in ((3,) if split == "train" else (4,))]

    def begin(self, task: CountTask) -> Counter:
        return Counter()

    def respond(self, task: CountTask, state: Counter, reply: str) -> Message | None:
        state.seen.append(reply)
        if reply == "stop":
            return None
        state.total += int(reply)
        return {"role": "tool", "content": f"total {state.total}"}

    @reward(low=0, high=1, kind="binary")
    def success(self, task: CountTask, turn: Turn[Counter]) -> float | None:
        return float(turn.state.total == task.goal) if turn.last else None

    @reward(low=-4, high=0, kind="penalty")
    def turns(self, task: CountTask, turn: Turn[Counter]) -> float:
        return -1.0

    @reward(low=0, high=10, batched=True)
    def characters(self, tasks: Sequence[CountTask], turns: Sequence[Turn[Counter]]) -> list[float]:
        return [float(len(turn.reply)) for turn in turns]


def test_each_step_gives_the_turns_rewards_and_finished_rollouts_get_zero_rows(vec: Vec) -> None:
    venv = vec(Counting, num_prompts=1, group_size=3)
    observations, _ = venv.reset(seed=0)
    assert observations == ("Count to 3",) * 3

    observations, rewards, terminated, truncated, info = venv.step(["3", "stop", "1"])
    assert observations == ("total 3", "", "total 1")
    assert rewards.tolist() == [[0, -1, 1], [0, -1, 4], [0, -1, 1]]
    assert terminated.tolist() == [False, True, False]
    assert not truncated.any()
    assert info["applicable"][:, 0].tolist() == [False, True, False]

    observations, rewards, terminated, truncated, info = venv.step(["stop", "ignored", "2"])
    assert rewards.tolist() == [[1, -1, 4], [0, 0, 0], [0, -1, 1]]
    assert terminated.tolist() == [True, True, False]
    assert not info["applicable"][1].any()
    assert info["reward_components"]["characters"].tolist() == [4, 0, 1]

    observations, rewards, terminated, truncated, info = venv.step(["", "", "stop"])
    assert rewards.tolist() == [[0, 0, 0], [0, 0, 0], [1, -1, 4]]
    assert terminated.all()


def test_limit_on_turns_truncates_and_the_last_turn_is_marked(vec: Vec) -> None:
    venv = vec(Counting, num_prompts=1, group_size=2)
    venv.reset(seed=0)
    for turn in range(4):
        _, rewards, terminated, truncated, info = venv.step(["1", "0" if turn < 3 else "3"])
        assert truncated.tolist() == [turn == 3] * 2
        assert not terminated.any()
    assert rewards[:, 0].tolist() == [0, 1]
    assert info["applicable"][:, 0].all()


def test_stopping_in_the_last_turn_terminates_and_does_not_truncate(vec: Vec) -> None:
    venv = vec(Counting, num_prompts=1, group_size=1)
    venv.reset(seed=0)
    for reply in ("1", "1", "1", "stop"):
        _, rewards, terminated, truncated, _ = venv.step([reply])
    assert (terminated.tolist(), truncated.tolist()) == ([True], [False])
    assert rewards[0, 0] == 1


def test_transcript_holds_the_whole_dialogue_and_stops_with_the_episode(vec: Vec) -> None:
    venv = vec(Counting, num_prompts=1, group_size=2)
    venv.reset(seed=0)
    venv.step(["1", "stop"])
    _, _, _, _, info = venv.step(["stop", "ignored"])
    assert info["messages"][0] == [
        {"role": "user", "content": "Count to 3"},
        {"role": "assistant", "content": "1"},
        {"role": "tool", "content": "total 1"},
        {"role": "assistant", "content": "stop"},
    ]
    assert [message["content"] for message in info["messages"][1]] == ["Count to 3", "stop"]


def test_rollouts_of_a_prompt_do_not_share_their_state(vec: Vec) -> None:
    venv = vec(Counting, num_prompts=1, group_size=2)
    venv.reset(seed=0)
    observations, *_ = venv.step(["1", "2"])
    assert observations == ("total 1", "total 2")


def test_reset_in_the_middle_begins_anew(vec: Vec) -> None:
    venv = vec(Counting, num_prompts=1, group_size=1)
    for _ in range(2):
        venv.reset(seed=0)
        venv.step(["3"])
        _, rewards, _, _, _ = venv.step(["stop"])
        assert rewards.tolist() == [[1, -1, 4]]


def test_turn_knows_its_place_and_what_came_before(vec: Vec) -> None:
    seen: list[Turn[None]] = []

    class Watching(DialogEnv[Task, None]):
        max_turns = 2

        def tasks(self, split: str) -> Sequence[Task]:
            return [Task(split)]

        def begin(self, task: Task) -> None:
            return None

        def respond(self, task: Task, state: None, reply: str) -> Message:
            return {"role": "user", "content": "and?"}

        @reward(low=0, high=1)
        def watch(self, task: Task, turn: Turn[None]) -> float:
            seen.append(turn)
            return 0

    venv = vec(Watching, 1, 1)
    venv.reset(seed=0)
    venv.step(["a"])
    venv.step(["b"])
    assert [(turn.reply, turn.index, turn.last) for turn in seen] == [("a", 0, False), ("b", 1, True)]
    assert [[message["content"] for message in turn.transcript] for turn in seen] == [
        ["train"],
        ["train", "a", "and?"],
    ]


def test_environment_that_cannot_answer_fails_on_that_rollout_alone(vec: Vec) -> None:
    venv = vec(Counting, num_prompts=1, group_size=2)
    venv.reset(seed=0)
    _, rewards, terminated, _, info = venv.step(["no number", "3"])
    assert terminated.tolist() == [True, False]
    assert info["failed"].tolist() == [[True] * 3, [False] * 3]
    assert info["applicable"].tolist() == [[True] * 3, [False, True, True]]
    assert rewards.tolist() == [[0, 0, 0], [0, -1, 1]]
    assert "respond raised ValueError" in str(info["failures"][0])
    assert {failure.reward for failure in info["failures"]} == {"success", "turns", "characters"}
    _, rewards, _, _, info = venv.step(["ignored", "stop"])
    assert rewards.tolist() == [[0, 0, 0], [1, -1, 4]]
    assert not info["failed"].any()


def test_sum_over_the_episode_must_stay_in_the_range(vec: Vec) -> None:
    venv = vec(Counting, num_prompts=1, group_size=1)
    venv.reset(seed=0)
    venv.step(["00000001"])
    expected = rf"'characters' on task {venv.tasks[0].id} adds up to 11.* outside \[0, 10\]"
    with pytest.raises(RewardError, match=expected):
        venv.step(["001"])


def test_sum_of_penalties_must_stay_in_the_range(vec: Vec) -> None:
    class Strict(Counting):
        @reward(low=-1, high=0, kind="penalty")
        def turns(self, task: CountTask, turn: Turn[Counter]) -> float:
            return -1.0

    venv = vec(Strict, num_prompts=1, group_size=1)
    venv.reset(seed=0)
    venv.step(["1"])
    with pytest.raises(RewardError, match=r"'turns' .* adds up to -2.* outside \[-1, 0\]"):
        venv.step(["1"])


def test_sum_within_the_range_up_to_rounding_is_accepted(vec: Vec) -> None:
    class Tenths(Counting):
        max_turns = 10

        @reward(low=-4, high=0)
        def turns(self, task: CountTask, turn: Turn[Counter]) -> float:
            return -0.4

        @reward(low=0, high=1)
        def characters(self, task: CountTask, turn: Turn[Counter]) -> float:
            return 0.1

    venv = vec(Tenths, 1, 1)
    venv.reset(seed=0)
    total = sum(venv.step(["0"])[1] for _ in range(10))
    np.testing.assert_allclose(total, [[0, -4, 1]], atol=1e-12)


@pytest.mark.parametrize("method", ["begin", "respond"])
def test_dialogue_without_its_methods_says_which_is_missing(method: str) -> None:
    class Bare(DialogEnv[Task, None]):
        pass

    arguments = (Task("?"),) if method == "begin" else (Task("?"), None, "reply")
    with pytest.raises(NotImplementedError, match=f"Bare must define {method}"):
        getattr(Bare(), method)(*arguments)


def test_single_environment_plays_the_same_dialogue(vec: Vec) -> None:
    import gymnasium as gym

    vec(Counting)
    env = gym.make("test/Env-v0")
    observation, info = env.reset(seed=0)
    assert observation == "Count to 3"
    observation, rewards, terminated, truncated, info = env.step("3")
    assert (observation, rewards.tolist(), terminated, truncated) == ("total 3", [0, -1, 1], False, False)
    assert info["applicable"].tolist() == [False, True, True]
    observation, rewards, terminated, truncated, info = env.step("stop")
    assert (rewards.tolist(), terminated, truncated) == ([1, -1, 4], True, False)
    assert make_env("test/Env-v0").max_turns == 4


def test_an_answer_that_is_no_message_fails_with_the_line_of_the_method_that_gave_it(vec: Vec) -> None:
    class Talking(Counting):
        def respond(self, task: CountTask, state: Counter, reply: str) -> Message | None:
            return "well done"  # type: ignore[return-value]

    venv = vec(Talking, num_prompts=1, group_size=1)
    venv.reset(seed=0)
    *_, info = venv.step(["3"])
    said = str(info["failures"][0])
    assert "respond() of Talking gave 'well done'" in said
    assert f"{__file__}, line " in said
