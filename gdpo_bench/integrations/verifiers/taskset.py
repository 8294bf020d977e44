"""What a module that we wrote for verifiers imports: our tasks as its tasks, our reward vector in its trace.

- verifiers has a reward or has it not: one that is not applicable is left out, and one whose scorer failed raises,
  which for verifiers is a failed trace. `trace.info["gdpo_bench"]` has the whole vector with its masks in any case.
- In a dialogue the environment is the user: what it answers, the result of a tool too, is a user's turn.
- `Trace.last_reply` is stripped, and our rewards judge every character: so the message itself is read, after what the
  model thought, where the model server took that out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

import verifiers.v1 as vf

from gdpo_bench.core.authored import tasks_of
from gdpo_bench.core.registry import make_env
from gdpo_bench.core.scoring import Scores
from gdpo_bench.core.task import Message
from gdpo_bench.integrations.scoring import NamedRewards, beside, scorer

INFO = "gdpo_bench"
"""Where in `trace.info` the vector stands."""


class EnvData(vf.TaskData):  # type: ignore[misc, unused-ignore]
    """A task by which it can be found again, in any process; `id` is ours."""

    env: str
    options: dict[str, Any]


class EnvTask(vf.Task[EnvData]):  # type: ignore[misc, unused-ignore]
    """Scored once, in a thread; `own_reward` then reads one value."""

    async def score(self, trace: vf.Trace, runtime: vf.Runtime | None = None) -> None:
        """Put the vector into the trace, and have the rewards read it."""
        if not self.scoring_deferred:
            trace.info[INFO] = await beside(_vector, self.data, reply_of(trace))
        await super().score(trace, runtime)


class DialogTask(vf.Task[EnvData]):  # type: ignore[misc, unused-ignore]
    """Scored by the Env that plays it, turn by turn; `own_reward` then reads one value."""


class Dialog:
    """An Env in which ours is the user of an agent, `player`: it answers each reply until the episode is over."""

    async def run(self, task: vf.Task, agents: vf.Agents) -> None:
        """Play an episode, and leave its vector in the trace, which is scored when the talk ends."""
        data, beside = task.data, asyncio.get_running_loop().run_in_executor
        # One thread for all turns: what an episode holds, such as a database, may belong to the thread that made it.
        with ThreadPoolExecutor(1) as thread:
            episode = await beside(thread, _Played, data.env, data.options, data.id)
            async with agents.player.interaction(task) as talk:
                said = await talk.turn()
                while not said.terminated:
                    answer = await beside(thread, episode.reply, reply_of(talk.trace))
                    talk.trace.info[INFO] = episode.vector()
                    if answer is None:
                        break
                    said = await talk.turn(answer)


class _Played:
    """An episode of ours."""

    def __init__(self, env_id: str, options: Mapping[str, Any], task_id: str) -> None:
        self._scorer = scorer(env_id, options, several_turns=True)
        self._batch = self._scorer.begin([task_id])
        self._total = Scores.empty(1, len(self._scorer.reward_specs))

    def reply(self, text: str) -> str | None:
        """What a reply is answered; None where the episode is over."""
        with self._scorer.turn:
            self._total = self._total + self._batch.play([text])
        return None if self._batch.episodes[0].over else self._batch.observations[0]

    def vector(self) -> dict[str, Any]:
        """The rewards so far."""
        return _named(NamedRewards.of(self._total, self._scorer.reward_specs))


class EnvConfig(vf.TasksetConfig):  # type: ignore[misc, unused-ignore]
    """Options of the taskset."""

    split: str = "train"
    """Which of the environment's tasks: "train" or "eval", mostly."""


TaskT = TypeVar("TaskT", EnvTask, DialogTask)


def env_tasks(task_class: type[TaskT], env_id: str, options: dict[str, Any], config: EnvConfig) -> Iterator[TaskT]:
    """The tasks of a split.

    Raises:
        UnknownNameError: No such environment, option or split.
    """
    env = make_env(env_id, **options)
    for task in tasks_of(env, config.split, env_id):
        data = EnvData(id=task.id, env=env_id, options=options, **_shown(env.messages(task)))
        yield task_class(data, config.task)


def own_reward(trace: vf.Trace, name: str) -> dict[str, float]:
    """One reward of a scored trace by its name; nothing where it is not applicable.

    Raises:
        RuntimeError: Its scorer failed.
    """
    vector = trace.info[INFO]
    if vector["failed"][name]:
        raise RuntimeError("; ".join(vector["failures"]))
    return {name: vector["rewards"][name]} if vector["applicable"][name] else {}


def reply_of(trace: vf.Trace) -> str:
    """The whole reply, thoughts included."""
    message = trace.assistant_messages[-1]
    thought = f"<think>{message.reasoning_content}</think>" if message.reasoning_content else ""
    return thought + (message.content or "")


def _vector(data: EnvData, reply: str) -> dict[str, Any]:
    return _named(scorer(data.env, data.options).named(data.id, reply))


def _named(rewards: NamedRewards) -> dict[str, Any]:
    found = asdict(rewards)
    return {"rewards": found.pop("values"), **found}


def _shown(messages: Sequence[Message]) -> dict[str, Any]:
    """The messages as verifiers keeps them: a system prompt, and a text or messages."""
    (first, *rest) = messages
    system = {"system_prompt": first["content"]} if first["role"] == "system" and rest else {}
    others = rest if system else list(messages)
    (only, *more) = others
    plain = not more and only["role"] == "user"
    return {**system, "prompt": only["content"] if plain else [dict(message) for message in others]}
