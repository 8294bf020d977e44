"""Several turns in TRL.

tox -e trl
"""

import copy
import os
import re
from random import Random

import numpy as np
import pytest
import torch

from gdpo_bench import DialogEnv, Task, make_env, make_vec, register, reward
from gdpo_bench.agent.options import EmbeddedConfig
from gdpo_bench.agent.policies.warm_start import build_corpus, train
from gdpo_bench.agent.policy import Policy
from gdpo_bench.core import split_by_content
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.trl import TRLEnvironment, TRLMixture

if not os.environ.get("GDPO_BENCH_NEEDS_TRL"):  # in its tox environment a missing TRL is a failure
    pytest.importorskip("trl", reason="TRL is not installed: tox -e trl")

from trl import GRPOTrainer

from gdpo_bench.integrations.trl import NormalizerGRPOTrainer

TALK, TOOLS, SUMS = "trl-test/Talk-v0", "gdpo/ToolDialog-v0", "gdpo/MathMini-v1"
GROUP, BATCH = 4, 8


@register(TALK)
class Talk(DialogEnv[Task, list[str]]):
    """Goes on for two to four turns, whatever is said; some rewards fail and some do not apply."""

    max_turns = 4

    def tasks(self, split):
        return split_by_content((Task(f"{n}: talk\n") for n in range(60)), split)

    def begin(self, task):
        return []

    def respond(self, task, state, reply):
        state.append(reply)
        turns = 2 + int(task.prompt.split(":")[0]) % 4  # 5 never come: the episode is cut off
        return {"role": "tool", "content": f"{len(state)} of {turns}: {reply[:3]!r}\n"} if len(state) < turns else None

    @reward(low=0, high=400)
    def letters(self, task, turn):
        return sum(character.isalpha() for character in turn.reply)

    @reward(low=0, high=4)
    def even(self, task, turn):
        if "7" in turn.reply:
            raise ValueError("seven")
        return len(turn.reply) % 2 == 0

    @reward(low=0, high=1)
    def ended(self, task, turn):
        return turn.index < 3 if turn.last else None

    def demonstrations(self, rng: Random):
        while True:
            yield rng.choice(self.tasks("train")), ["abc def 7"] * 4


@pytest.fixture(scope="module")
def talker() -> Policy:
    """A policy that has hardly learned anything, and so draws anything."""
    envs = {env_id: make_env(env_id) for env_id in (TALK, f"{TOOLS}:signatures=false", SUMS)}
    return train(
        build_corpus(envs, 60, seed=0), EmbeddedConfig(warm_start_steps=2, positions=1024), 0, lambda share, text: None
    )


class Recorder:
    """Notes what a trainer drew."""

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        note = {key: output[key].clone() for key in ("completion_ids", "completion_mask", "tool_mask", "advantages")}
        note["tasks"] = [(row["env"], row["task_id"]) for row in inputs]
        note["rewards"] = {name: list(log)[-len(inputs) :] for name, log in self._logs["rewards"].items()}
        note["lengths"] = getattr(self, "_gathered", None) and self._gathered.lengths
        self.notes.append(note)
        return output


class Ours(Recorder, NormalizerGRPOTrainer):
    pass


class Theirs(Recorder, GRPOTrainer):
    pass


class Scripted(Ours):
    """Draws what a script says, in place of what the model would."""

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        tokenizer = self.processing_class
        drawn = [
            tokenizer(self.script(tokenizer.decode(ids)), add_special_tokens=False)["input_ids"]
            + [tokenizer.eos_token_id]
            for ids in prompt_ids
        ]
        return drawn, None


@pytest.fixture
def trained(talker, run_settings):
    def run(cls, env, script=None, data=None, **settings):
        policy = Policy(copy.deepcopy(talker.model), talker.tokenizer)
        own = {name: settings.pop(name) for name in ("normalizer",) if name in settings}
        sizes = {"num_generations": GROUP, "per_device_train_batch_size": BATCH, "max_steps": 2}
        trainer = cls(
            policy.model,
            env.reward_funcs,
            args=env.config(**(run_settings | sizes | {"max_completion_length": 8} | settings)),
            train_dataset=data or env.dataset("train"),
            processing_class=policy.tokenizer,
            rollout_func=env.rollout_func,
            **own,
        )
        trainer.notes, trainer.script = [], script
        trainer.train()
        return trainer

    return run


def replies_of(note, policy):
    """The replies of each rollout: what was drawn, answer by answer."""
    found = []
    for row, there, mask in zip(note["completion_ids"], note["completion_mask"].bool(), note["tool_mask"], strict=True):
        ids, drawn = row[there].tolist(), mask[there].tolist()
        spans = [match.span() for match in re.finditer("1+", "".join(map(str, drawn)))]
        found.append(policy.decode([ids[start:end] for start, end in spans]))
    return found


def scored_by_us(env_id, task_ids, episodes):
    """Rewards (N, K) of whole episodes by our own vector environment, and where each is applicable and did not fail."""
    env = make_vec(env_id, num_prompts=len(task_ids), group_size=1)
    env.reset(options={"task_ids": task_ids})
    total, turns = None, max(map(len, episodes))
    for turn in range(turns):
        scores = env.score([replies[turn] if turn < len(replies) else "" for replies in episodes])
        total = scores if total is None else total + scores
    assert env.over.all(), "TRL's episodes are as long as ours"
    return np.where(total.applicable & ~total.failed, total.values, np.nan)


@pytest.mark.slow
@pytest.mark.parametrize("cls", [Ours, Theirs])
def test_a_dialogue_is_trained_and_its_rewards_are_ours(cls, trained, talker):
    own = {"normalizer": "gdpo"} if cls is Ours else {}
    trainer = trained(cls, TRLEnvironment(TALK), **own)
    assert len(trainer.notes) == 2
    found, turns = [], set()
    for note in trainer.notes:
        episodes = replies_of(note, talker)
        ours = scored_by_us(TALK, [task_id for _, task_id in note["tasks"]], episodes)
        assert list(note["rewards"]) == ["letters", "even", "ended"], "a column for each reward"
        theirs = np.array(list(note["rewards"].values())).T
        assert np.array_equal(theirs, ours.astype(np.float32), equal_nan=True)
        found.append(ours)
        turns |= set(map(len, episodes))
        if cls is Ours:
            assert note["lengths"].tolist() == (note["tool_mask"] * note["completion_mask"]).sum(1).tolist()
    assert len(turns) > 1
    assert np.nanstd(np.concatenate(found), axis=0)[0] > 0, "rewards that never vary would prove nothing"
    before = dict(talker.model.named_parameters())
    assert any(not torch.equal(before[name], one) for name, one in trainer.model.named_parameters())


@pytest.mark.slow
def test_tokens_are_what_was_drawn_and_what_the_template_writes_between(trained, talker):
    note = trained(Ours, TRLEnvironment(TALK), normalizer="gdpo").notes[0]
    env, chat = make_env(TALK), talker.chat
    tasks = {task.id: task for task in env.tasks("train")}
    for n, replies in enumerate(replies_of(note, talker)):
        task, there = tasks[note["tasks"][n][1]], note["completion_mask"][n].bool()
        ids, drawn = note["completion_ids"][n][there].tolist(), note["tool_mask"][n][there].tolist()
        messages, state, at = env.messages(task), env.begin(task), 0
        for reply in replies:
            while at < len(ids) and drawn[at]:
                at += 1
            answer = env.respond(task, state, reply)
            if at == len(ids):
                break
            messages += [{"role": "assistant", "content": reply}, answer]
            end = ids[at - 1] if ids[at - 1] in chat.end_tokens else None
            expected = chat.answer(messages, end)
            assert ids[at : at + len(expected)] == expected
            assert drawn[at : at + len(expected)] == [0] * len(expected)
            at += len(expected)
        assert at == len(ids)


@pytest.mark.slow
def test_tool_dialog_is_trained_for_two_steps(trained, talker):
    """Half of the rollouts follow the reference, the others answer at once."""
    env = TRLEnvironment(TOOLS, signatures=False)
    author, count = env.env, iter(range(10**6))
    by_prompt = {"".join(m["content"] for m in author.messages(task)): task for task in author.tasks("train")}

    def script(text):
        prompt = next(prompt for prompt in by_prompt if text.startswith(prompt))
        reference = author.reference(by_prompt[prompt])
        said = text.count("<tool_call>")
        return reference[said] if said or next(count) % 2 else "<think></think><response>0</response>"

    trainer = trained(Scripted, env, script, normalizer="gdpo", max_completion_length=150)
    values = []
    for note in trainer.notes:
        episodes = replies_of(note, talker)
        ours = scored_by_us(f"{TOOLS}:signatures=false", [task_id for _, task_id in note["tasks"]], episodes)
        theirs = np.array(list(note["rewards"].values())).T
        assert list(note["rewards"]) == [spec.name for spec in author.reward_specs]
        assert np.array_equal(theirs, ours.astype(np.float32), equal_nan=True)
        values.append(theirs)
        assert max(map(len, episodes)) > 1
    assert len(values) == 2
    success = np.concatenate(values)[:, 0]
    assert 0 < success.mean() < 1


@pytest.mark.slow
def test_a_mixture_has_a_column_for_each_reward_and_none_for_prompts_of_others(trained):
    mixture = TRLMixture(TRLEnvironment(SUMS), TRLEnvironment(TALK))
    every = mixture.dataset("train")
    few = every.select([0, 1, 2, len(every) - 3, len(every) - 2, len(every) - 1])  # three of each
    trainer = trained(Ours, mixture, data=few, normalizer="gdpo", max_steps=3)
    seen = set()
    for note in trainer.notes:
        names = list(note["rewards"])
        assert names == ["MathMini_v1_" + spec.name for spec in make_env(SUMS).reward_specs] + [
            f"Talk_v0_{name}" for name in ("letters", "even", "ended")
        ]
        for n, (source, _) in enumerate(note["tasks"]):
            others = "Talk_v0" if source == SUMS else "MathMini_v1"
            assert all(np.isnan(note["rewards"][name][n]) for name in names if name.startswith(others))
            assert any(not np.isnan(note["rewards"][name][n]) for name in names if not name.startswith(others))
            seen.add(source)
    assert seen == {SUMS, TALK}


def test_a_dialogue_that_nobody_plays_is_refused():
    env = TRLEnvironment(TALK)
    task_id = env.env.tasks("train")[0].id
    with pytest.raises(IntegrationError, match=r"dialogue of up to 4 turns.*rollout_func=env.rollout_func"):
        env.reward_funcs[0](["?"], ["hello"], task_id=[task_id])


def test_prompts_of_another_data_set_are_refused():
    env = TRLEnvironment(TALK)
    trainer = type("Trainer", (), {"__getattr__": lambda self, name: self, "__call__": lambda self, *_: self})()
    with pytest.raises(IntegrationError, match=r"Take the data from dataset\(split\) of the same environments"):
        env.rollout_func([[{"role": "user", "content": "hello"}]], trainer)
