from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from gdpo_bench.agent.backends.protocol import Completion, Sampling
from gdpo_bench.agent.backends.transformers import TransformersBackend
from gdpo_bench.agent.errors import ScorerFailuresError
from gdpo_bench.agent.policy import Policy, log_probs_of
from gdpo_bench.agent.rollouts import Rollouts, check_failures, draw
from gdpo_bench.core import DialogEnv, GroupVectorEnv, Message, Task, TextEnv, Turn, reward

from .chat_templates import SHUTS, make_tokenizer

Vec = Callable[..., GroupVectorEnv]


class Echo(DialogEnv[Task, list[str]]):
    """Answers each reply; "bye" ends the episode, the third reply ends it anyway."""

    max_turns = 3

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task("short"), Task("a rather longer prompt")]

    def begin(self, task: Task) -> list[str]:
        return []

    def respond(self, task: Task, state: list[str], reply: str) -> Message | None:
        state.append(reply)
        return None if reply == "bye" else {"role": "user", "content": f"again {len(state)}?"}

    @reward(low=0, high=3)
    def turns(self, task: Task, turn: Turn[list[str]]) -> float:
        return 1.0

    @reward(low=0, high=1)
    def polite(self, task: Task, turn: Turn[list[str]]) -> float | None:
        return float(turn.reply == "bye") if turn.last else None


class Scripted:
    """A backend that says given texts, turn by turn, and notes what it was asked."""

    def __init__(self, policy: Policy, turns: list[list[str]]) -> None:
        self.policy, self.turns, self.asked = policy, turns, list[tuple[list[list[int]], int]]()

    def generate(
        self, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, rng: torch.Generator
    ) -> list[Completion]:
        texts = self.turns[len(self.asked)]
        self.asked.append(([list(prompt) for prompt in prompts], n))
        assert len(texts) == len(prompts) * n
        completions = []
        for i, text in enumerate(texts):
            ids = [*self.policy.tokenizer(text)["input_ids"], self.policy.end_token]
            completions.append(Completion(ids, [-1.0 - i] * len(ids), "stop"))
        return completions


def play(env: GroupVectorEnv, policy: Policy, backend: Any, tokens: int = 6) -> Rollouts:
    rng = torch.Generator().manual_seed(0)
    replies, score = draw(env, policy, backend, sampling=Sampling(tokens), rng=rng, seed=0)
    return replies.scored(score())


def test_turns_follow_each_other_and_only_the_policys_tokens_carry_loss(small_policy: Policy, vec: Vec) -> None:
    env = vec(Echo, num_prompts=2, group_size=2)
    backend = Scripted(small_policy, [["bye", "one", "yes", "bye"], ["two", "bye"], ["three"]])
    rollouts = play(env, small_policy, backend)
    _, info = env.reset(seed=0)
    prompts = [messages[0]["content"] for messages in info["messages"]]

    # The prompts once for a whole group at first; then whoever goes on, each with all that was said.
    assert [(len(asked), n) for asked, n in backend.asked] == [(2, 2), (2, 1), (1, 1)]
    end = "<eos>"
    own, theirs = True, False
    said = [
        [(prompts[0], theirs), (f"bye{end}", own)],
        [
            *[(prompts[0], theirs), (f"one{end}", own), ("again 1?", theirs), (f"two{end}", own)],
            *[("again 2?", theirs), (f"three{end}", own)],
        ],
        [(prompts[2], theirs), (f"yes{end}", own), ("again 1?", theirs), (f"bye{end}", own)],
        [(prompts[2], theirs), (f"bye{end}", own)],
    ]
    for i, parts in enumerate(said):
        ids: list[int] = []
        drawn: list[bool] = []
        for text, whose in parts:
            new = small_policy.tokenizer(text)["input_ids"]
            ids += new
            drawn += [whose] * len(new)
        padding = rollouts.token_ids.shape[1] - len(ids)
        assert rollouts.token_ids[i].tolist() == ids + [0] * padding
        assert rollouts.completion_mask[i].tolist() == drawn + [False] * padding
        assert (rollouts.log_probs[i] < 0).tolist() == rollouts.completion_mask[i].tolist()
    assert rollouts.lengths.tolist() == rollouts.completion_mask.sum(1).tolist()


@pytest.mark.parametrize("finished", [True, False])
def test_a_dialogue_holds_what_the_chat_template_writes_between_what_was_drawn(
    small_policy: Policy, vec: Vec, finished: bool
) -> None:
    tokenizer = make_tokenizer(SHUTS.template, SHUTS.eos)
    policy = Policy(small_policy.model, tokenizer)

    class Speaks(Scripted):
        def generate(self, *arguments: Any) -> list[Completion]:
            drawn = super().generate(*arguments)
            cut = [Completion(one.token_ids[:-1], one.log_probs[:-1], "length") for one in drawn]
            return drawn if finished else cut

    env = vec(Echo, num_prompts=1, group_size=2)
    thought = "<think>so</think> one"  # the template would drop the thought and the space
    rollouts = play(env, policy, Speaks(policy, [[thought, "bye"], ["two"], ["three"]]))
    _, info = env.reset(seed=0)
    end = "<|end|>"
    whole = SHUTS.begin(info["messages"][0][0]["content"]) + thought + end + SHUTS.follows("user", "again 1?")
    whole += f"two{end}" + SHUTS.follows("user", "again 2?") + "three" + (end if finished else "")
    length = len(policy.chat.tokens(whole))
    assert tokenizer.decode(rollouts.token_ids[0, :length]) == whole
    assert not rollouts.completion_mask[0, length:].any()
    own = [thought, "two", "three"]
    said = "".join(text + (end if finished else "") for text in own)
    assert tokenizer.decode(rollouts.token_ids[0][rollouts.completion_mask[0]]) == said
    assert rollouts.truncated.tolist() == [not finished] * 2
    assert rollouts.scores.values[1].tolist() == [1, 1]  # "bye" was scored without its end


def test_rewards_add_up_over_the_turns_in_the_order_of_the_rollouts(small_policy: Policy, vec: Vec) -> None:
    env = vec(Echo, num_prompts=2, group_size=2)
    rollouts = play(
        env, small_policy, Scripted(small_policy, [["bye", "one", "yes", "bye"], ["two", "bye"], ["three"]])
    )
    assert rollouts.scores.values.tolist() == [[1, 1], [3, 0], [2, 1], [1, 1]]
    assert rollouts.scores.applicable.all()
    assert not rollouts.scores.failed.any()
    assert rollouts.groups.tolist() == [0, 0, 1, 1]


def test_log_probs_of_all_turns_are_those_of_one_forward_pass(small_policy: Policy, vec: Vec) -> None:
    env = vec(Echo, num_prompts=2, group_size=3)
    rollouts = play(env, small_policy, TransformersBackend(small_policy))
    with torch.no_grad():
        logits = small_policy.model(input_ids=rollouts.token_ids).logits
    again = log_probs_of(rollouts.token_ids[:, 1:], logits[:, :-1])
    drawn = rollouts.completion_mask[:, 1:]
    torch.testing.assert_close(again[drawn], rollouts.log_probs[:, 1:][drawn], atol=1e-4, rtol=0)
    assert int(drawn.sum(1).max()) > 6  # more than one turn was played


class Blank(TextEnv[Task]):
    """Prompts that hold nothing, or nothing that can be read."""

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(""), Task("\x00\x1b[2J\ufffe")]

    @reward(low=0, high=1)
    def any(self, task: Task, reply: str) -> float:
        return 1.0


def test_empty_and_unreadable_prompts_get_replies(small_policy: Policy, vec: Vec) -> None:
    rollouts = play(vec(Blank, num_prompts=2, group_size=2), small_policy, TransformersBackend(small_policy))
    assert rollouts.log_probs.isfinite().all()
    assert (rollouts.lengths > 0).all()


class Noting(Blank):
    """Notes when it is asked for rewards."""

    asked: ClassVar = list[str]()

    @reward(low=0, high=1)
    def any(self, task: Task, reply: str) -> float:
        self.asked.append(reply)
        return len(reply) % 3 / 2


def test_replies_of_one_turn_are_scored_when_the_caller_wants(small_policy: Policy, vec: Vec) -> None:
    Noting.asked.clear()
    env = vec(Noting, num_prompts=2, group_size=2)
    rng = torch.Generator().manual_seed(0)
    replies, score = draw(env, small_policy, TransformersBackend(small_policy), sampling=Sampling(6), rng=rng, seed=0)
    assert len(replies) == 4
    assert Noting.asked == []
    assert score().values[:, 0].tolist() == [len(reply) % 3 / 2 for reply in Noting.asked]
    assert len(Noting.asked) == 4


class Fragile(TextEnv[Task]):
    def tasks(self, split: str) -> Sequence[Task]:
        return [Task("only")]

    @reward(low=0, high=1)
    def solid(self, task: Task, reply: str) -> float:
        return 1.0

    @reward(low=0, high=1)
    def shaky(self, task: Task, reply: str) -> float:
        if reply == "bad":
            raise ZeroDivisionError("oops")
        return 1.0


def test_failures_up_to_the_allowed_share_are_masked_and_beyond_it_stop_the_run(small_policy: Policy, vec: Vec) -> None:
    env = vec(Fragile, num_prompts=1, group_size=4)
    scores = play(env, small_policy, Scripted(small_policy, [["bad", "good", "good", "good"]])).scores
    assert scores.failed.tolist() == [[False, True]] + [[False, False]] * 3
    check_failures(scores, 0.25)
    with pytest.raises(ScorerFailuresError) as caught:
        check_failures(scores, 0.2)
    message = str(caught.value)
    for part in ("25%", "20%", "test/Env-v0", "'shaky'", Task("only").id, "ZeroDivisionError: oops"):
        assert part in message


def test_first_group_is_the_first_prompt(small_policy: Policy, vec: Vec) -> None:
    rollouts = play(vec(Echo, num_prompts=2, group_size=2), small_policy, TransformersBackend(small_policy))
    assert np.array_equal(rollouts.groups, [0, 0, 1, 1])
    assert rollouts.token_ids[0, 0] == rollouts.token_ids[1, 0]
