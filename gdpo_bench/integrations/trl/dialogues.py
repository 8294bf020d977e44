"""Several turns in TRL: its `rollout_func`, in which our environments answer replies.

    NormalizerGRPOTrainer(model, env.reward_funcs, rollout_func=env.rollout_func, …)

TRL's `environment_factory` runs methods as tools: it takes a reply apart by the tokenizer's response template, goes on
as long as it finds calls, and neither shows an environment what was written nor lets it end an episode. Our dialogues
judge whole replies and end by themselves, so turns are played here, and TRL draws each reply by its own means.

Tokens are those of our trainer: a reply stays as it was drawn, and of an answer what the chat template writes after
it; nothing is decoded and encoded again. `env_mask` is 1 on drawn tokens, so only these carry loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.rollouts import check_room
from gdpo_bench.core.scoring import Scores
from gdpo_bench.core.task import Message
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.scoring import Scorer
from gdpo_bench.integrations.trl.rewards import ENV_COLUMN, PLAYED_COLUMN, TASK_COLUMN, Played


def play(scorers: Mapping[str, Scorer], prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
    """Play an episode for each prompt, as TRL's `rollout_func` is called.

    Args:
        scorers: What the data set calls an environment → its scorer.
        prompts: N conversations of their data sets, copies for the rollouts of a group adjacent.
        trainer: TRL's; `max_completion_length` of its settings holds for each reply.

    Returns:
        For each rollout `prompt_ids`; `completion_ids`, replies and answers; `logprobs`, 0 on answers, where TRL has
        them; `env_mask`; and what our reward functions read.

    Raises:
        IntegrationError: Prompts of another data set.
        ContextError: A reply does not fit into the model's context any more.
        ChatTemplateError: The chat template cannot carry the conversation.
    """
    policy = Policy(
        trainer.accelerator.unwrap_model(trainer.model),
        getattr(trainer.processing_class, "tokenizer", trainer.processing_class),
        chat_template_kwargs=trainer.chat_template_kwargs,
    )
    tasks = [_task(prompt, scorers) for prompt in prompts]
    rows: list[_Row | None] = [None] * len(prompts)
    for source in dict.fromkeys(source for source, _ in tasks):  # in the order in which they come
        own = [i for i, task in enumerate(tasks) if task[0] == source]
        begun = [_Row(policy.encode(_plain(prompts[i])) or [policy.end_token]) for i in own]
        played = _play(scorers[source], [tasks[i][1] for i in own], begun, policy, trainer)
        for i, row in zip(own, played, strict=True):
            rows[i] = row
    done = [row for row in rows if row is not None]
    known = all(row.log_probs is not None for row in done)
    return {
        "prompt_ids": [row.prompt for row in done],
        "completion_ids": [row.completion for row in done],
        "logprobs": [row.log_probs for row in done] if known else None,
        "env_mask": [row.mask for row in done],
        PLAYED_COLUMN: [row.played for row in done],
    }


def _plain(prompt: Sequence[Mapping[str, Any]]) -> list[Message]:
    """A prompt without what names its task."""
    return [{"role": message["role"], "content": message["content"]} for message in prompt]


def _play(scorer: Scorer, task_ids: Sequence[str], rows: list[_Row], policy: Policy, trainer: Any) -> list[_Row]:
    """Rollouts of one environment, their turns in step."""
    episodes = scorer.begin(task_ids)
    copies = trainer.num_generations if trainer.model.training else trainer.num_generations_eval
    scores = Scores.empty(len(rows), len(scorer.reward_specs))
    live = list(range(len(rows)))
    while live:
        for i in live:
            check_room(policy.context, len(rows[i].token_ids), trainer.max_completion_length, task_ids[i])
        drawn, log_probs = trainer._generate_single_turn([rows[i].token_ids for i in live], None, {}, copies)
        copies = 1  # from now on each rollout has a past of its own
        texts = [""] * len(rows)
        for n, (i, text) in enumerate(zip(live, policy.decode(drawn), strict=True)):
            rows[i].draw(drawn[n], log_probs and log_probs[n])
            texts[i] = text
        scores += episodes.play(texts)
        live = [i for i, episode in enumerate(episodes.episodes) if not episode.over]
        messages = episodes.messages() if live else []
        for i in live:
            end = rows[i].completion[-1] if rows[i].completion else None
            rows[i].read(policy.chat.answer(messages[i], end if end in policy.end_tokens else None))
    for i, row in enumerate(rows):
        row.played = Played(scores, i, sum(row.mask))
    return rows


def _task(prompt: Any, scorers: Mapping[str, Scorer]) -> tuple[str, str]:
    """What the data set calls the environment, and the task's id."""
    last = prompt[-1] if isinstance(prompt, list) and prompt and isinstance(prompt[-1], dict) else {}
    source, task_id = last.get(ENV_COLUMN), last.get(TASK_COLUMN)
    if not (isinstance(source, str) and source in scorers and isinstance(task_id, str)):
        raise IntegrationError(
            f"A prompt's task is found by {ENV_COLUMN!r} and {TASK_COLUMN!r} in its last message; got {prompt!r:.100}. "
            f"Take the data from dataset(split) of the same environments ({', '.join(scorers)})."
        )
    return source, task_id


class _Row:
    """The tokens of one rollout so far."""

    played: Played

    def __init__(self, prompt: list[int]) -> None:
        self.prompt = prompt
        self.completion: list[int] = []
        self.mask: list[int] = []
        self.log_probs: list[float] | None = []
        """None where the trainer does not know them."""

    @property
    def token_ids(self) -> list[int]:
        return self.prompt + self.completion

    def draw(self, token_ids: list[int], log_probs: list[float] | None) -> None:
        self._add(token_ids, 1, log_probs)

    def read(self, token_ids: list[int]) -> None:
        self._add(token_ids, 0, [0.0] * len(token_ids))

    def _add(self, token_ids: list[int], drawn: int, log_probs: list[float] | None) -> None:
        self.completion += token_ids
        self.mask += [drawn] * len(token_ids)
        self.log_probs = None if self.log_probs is None or log_probs is None else self.log_probs + log_probs
