"""Warm starts of pretrained policies: a small model in a folder stands for all."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from gdpo_bench.agent.options import EmbeddedConfig, PretrainedConfig
from gdpo_bench.agent.policies import imitation as module
from gdpo_bench.agent.policies.embedded import build_policy
from gdpo_bench.agent.policies.imitation import encoded, imitate, imitated
from gdpo_bench.agent.policies.pretrained import load_pretrained, origin
from gdpo_bench.agent.policies.warm_start import IGNORED
from gdpo_bench.core import Message

SMALL = EmbeddedConfig(hidden_size=16, intermediate_size=32, vocabulary=300)
CHATML = (
    "{% for message in messages %}{{ '[' + message['role'] + ']' + message['content'] + '<eos>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)
TURNS: list[tuple[Sequence[Message], str]] = [
    ([{"role": "user", "content": f"Say {n}!"}], f"it is {n}") for n in range(10)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    policy = build_policy(SMALL, ["Say 1! it is 2", "[user][assistant]"], seed=0)
    policy.tokenizer.chat_template = CHATML
    policy.model.save_pretrained(path)
    policy.tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GDPO_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "warm_start"


def config(folder: Path, **options: Any) -> PretrainedConfig:
    return PretrainedConfig(
        str(folder), dtype="float32", **{"warm_start_steps": 3, "warm_start_batch": 4, "warm_start_lr": 1e-2} | options
    )


def mean_loss(turns: list[tuple[Sequence[Message], str]], policy: Any) -> float:
    ids, labels, _ = encoded(policy, turns)
    with torch.no_grad():
        logits = policy.model(input_ids=ids).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten()).item()


def test_only_the_reply_and_its_end_are_learned_after_the_templates_prompt(folder: Path) -> None:
    policy = load_pretrained(config(folder), "cpu")
    ids, labels, lengths = encoded(policy, TURNS)
    for row, (before, reply) in enumerate(TURNS):
        assert policy.tokenizer.decode(labels[row][labels[row] != IGNORED].tolist()) == f"{reply}<eos>"
        prompt = ids[row][: (labels[row] != IGNORED).nonzero()[0]].tolist()
        assert prompt == policy.encode(before)
        assert lengths[row] == len(prompt) + int((labels[row] != IGNORED).sum())


def test_a_later_turn_of_a_dialogue_follows_the_tokens_that_a_rollout_holds(folder: Path) -> None:
    policy = load_pretrained(config(folder), "cpu")
    before: list[Message] = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "5"}]
    before.append({"role": "tool", "content": "no"})
    ids, labels, _ = encoded(policy, [(before, "4")])
    prompt = ids[0][: (labels[0] != IGNORED).nonzero()[0]].tolist()
    reply = [*policy.chat.tokens("5"), policy.end_token]
    assert prompt == policy.encode(before[:1]) + reply + policy.chat.answer(before, policy.end_token)
    assert policy.tokenizer.decode(prompt) == "[user]2+2?<eos>\n[assistant]5<eos>\n[tool]no<eos>\n[assistant]"


def test_what_the_policy_cannot_read_is_left_out(folder: Path) -> None:
    policy = load_pretrained(config(folder), "cpu")
    long: list[Message] = [{"role": "user", "content": "Say " * 600}]
    ids, _, _ = encoded(policy, [*TURNS, (long, "no")])
    assert len(ids) == len(TURNS)


@pytest.mark.parametrize("tokens", [module._TOKENS, 40])
def test_imitation_fits_the_replies_whatever_fits_into_one_pass(
    folder: Path, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TOKENS", tokens)
    policy = imitate(TURNS, config(folder, warm_start_steps=40), 0, lambda share, text: None)
    before = mean_loss(TURNS, load_pretrained(config(folder), "cpu"))
    assert mean_loss(TURNS, policy) < before / 2


def test_parts_of_a_batch_add_up_to_the_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = imitate(TURNS, config(folder), 0, lambda share, text: None).model.state_dict()
    monkeypatch.setattr(module, "_TOKENS", 1)
    parts = imitate(TURNS, config(folder), 0, lambda share, text: None).model.state_dict()
    for name, weights in whole.items():
        torch.testing.assert_close(parts[name], weights, atol=1e-3, rtol=1e-3)


def test_a_warm_start_is_trained_once_and_every_change_is_another(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = imitated(TURNS, config(folder), 0)
    other = tmp_path / "other"
    load_pretrained(config(folder), "cpu").tokenizer.save_pretrained(other)
    build_policy(SMALL, ["Say 1! it is 2", "[user][assistant]"], seed=1).model.save_pretrained(other)
    folders = {
        started,
        imitated(TURNS, config(folder), 1),
        imitated(TURNS[1:], config(folder), 0),
        imitated(TURNS, config(folder, warm_start_lr=1e-3), 0),
        imitated(TURNS, config(other), 0),
    }
    assert len(folders) == 5
    monkeypatch.setattr(module, "imitate", None)
    assert imitated(TURNS, config(folder), 0) == started
    moved = folder.rename(folder.with_name("moved"))
    assert imitated(TURNS, config(moved), 0) == started  # by content, wherever it lies
    moved.rename(folder)
    assert json.loads((started / "warm_start.json").read_text())["warm_start_steps"] == 3


def test_adapters_are_trained_and_merged_into_whole_weights(folder: Path, cache: Path) -> None:
    lora = config(folder, lora_rank=2)
    started = imitated(TURNS, lora, 0)
    before = load_pretrained(config(folder), "cpu").model.state_dict()
    after = load_pretrained(dataclasses.replace(config(folder), model=str(started)), "cpu").model.state_dict()
    assert set(after) == set(before)
    assert torch.equal(after["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
    assert not torch.equal(
        after["model.layers.0.self_attn.q_proj.weight"], before["model.layers.0.self_attn.q_proj.weight"]
    )


def test_a_folder_is_pinned_by_its_files(folder: Path, tmp_path: Path) -> None:
    (pin,) = origin(config(folder)).items()
    assert pin[0] == "files"
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    assert origin(config(tmp_path)) != origin(config(folder))
