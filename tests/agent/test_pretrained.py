"""Hugging Face models as policies: a small one in a folder stands for all."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from gdpo_bench.agent.backends.protocol import Sampling
from gdpo_bench.agent.backends.transformers import TransformersBackend
from gdpo_bench.agent.backends.weight_sync import whole_weights
from gdpo_bench.agent.errors import ContextError, OutOfMemoryError
from gdpo_bench.agent.options import PretrainedConfig
from gdpo_bench.agent.policies import pretrained
from gdpo_bench.agent.policies.embedded import build_policy
from gdpo_bench.agent.policies.pretrained import DeviceError, check_pretrained, choose_device, load_pretrained, pinned
from gdpo_bench.agent.policy import Policy
from gdpo_bench.agent.rollouts import check_room
from gdpo_bench.core import DataError, Message, UnknownNameError

from .chat_templates import ALTERNATES, SHUTS, THINKS, Sample, make_tokenizer
from .conftest import SMALL, TEXTS

CHATML = (
    "{% if messages[0]['role'] != 'system' %}{{ '[system]You are helpful.<eos>\n' }}{% endif %}"
    "{% for message in messages %}{{ '[' + message['role'] + ']' + message['content'] + '<eos>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a chat template like those of instruction-tuned models."""
    path = tmp_path_factory.mktemp("model")
    policy = build_policy(SMALL, TEXTS, seed=0)
    policy.tokenizer.chat_template = CHATML
    policy.model.save_pretrained(path)
    policy.tokenizer.save_pretrained(path)
    return path


def load(folder: Path, **options: Any) -> Policy:
    return load_pretrained(PretrainedConfig(str(folder), **{"dtype": "float32"} | options), "cpu")


def test_prompt_is_what_the_chat_template_makes_of_it(folder: Path) -> None:
    policy = load(folder)
    prompt = policy.tokenizer.decode(policy.encode([{"role": "user", "content": "2+2?"}]))
    assert prompt == "[system]You are helpful.<eos>\n[user]2+2?<eos>\n[assistant]"


@pytest.mark.parametrize("finished", [True, False])
def test_what_the_environment_answers_continues_the_conversation_as_the_template_writes_it(
    folder: Path, finished: bool
) -> None:
    policy = load(folder)
    begin: list[Message] = [{"role": "user", "content": "2+2?"}]
    dialogue: list[Message] = [*begin, {"role": "assistant", "content": "4"}, {"role": "tool", "content": "no"}]
    drawn = policy.tokenizer("4" + ("<eos>" if finished else ""), add_special_tokens=False)["input_ids"]
    tokens = policy.encode(begin) + drawn + policy.chat.answer(dialogue, drawn[-1] if finished else None)
    whole = policy.tokenizer.apply_chat_template(dialogue, tokenize=False, add_generation_prompt=True)
    assert policy.tokenizer.decode(tokens) == whole


def save(folder: Path, sample: Sample, ends: int | list[int] | None = None) -> Policy:
    """A model with a tokenizer and template of turn marks, written to a folder and read from there."""
    tokenizer = make_tokenizer(sample.template, sample.eos)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config.eos_token_id = ends
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load(folder)


@pytest.mark.parametrize(("ends", "further"), [(None, ()), (7, (7,)), ([8, 7], (8, 7))])
def test_ends_come_from_template_tokenizer_and_generation_config_and_the_entry_names_them(
    tmp_path: Path, ends: int | list[int] | None, further: tuple[int, ...]
) -> None:
    policy = save(tmp_path, SHUTS, ends)
    written, own = policy.tokenizer.convert_tokens_to_ids(["<|end|>", "<|endoftext|>"])
    assert policy.end_tokens == (written, own, *further)
    assert policy.end_token == written
    assert pinned(policy)["end_tokens"] == policy.tokenizer.convert_ids_to_tokens(list(policy.end_tokens))


def test_text_that_is_judged_holds_no_end_and_no_turn_marks_but_tags(tmp_path: Path) -> None:
    policy = save(tmp_path, SHUTS, ends=[40])
    said = policy.tokenizer("<think>a<|user|>b", add_special_tokens=False)["input_ids"]
    ends = [[end] for end in policy.end_tokens] + [[]]
    assert policy.decode([said + end for end in ends]) == ["<think>ab"] * 4
    assert policy.decode([[], [40], [40, 41]]) == ["", "", policy.tokenizer.decode([40, 41])]


def test_a_template_without_a_system_role_is_said_in_the_entry(tmp_path: Path) -> None:
    assert pinned(save(tmp_path / "a", ALTERNATES))["system_message"] == "first user turn"
    assert pinned(save(tmp_path / "b", SHUTS))["system_message"] == "own turn"


def test_options_of_the_template_are_the_policys(tmp_path: Path) -> None:
    save(tmp_path, THINKS)
    question: list[Message] = [{"role": "user", "content": "a"}]
    prompts = [
        policy.tokenizer.decode(policy.to("cpu").encode(question))
        for policy in (load(tmp_path), load(tmp_path, chat_template_kwargs={"enable_thinking": False}))
    ]
    assert [prompt.endswith("</think>\n\n") for prompt in prompts] == [False, True]
    with pytest.raises(
        UnknownNameError, match=r"option of policy 'hf:.*' 'enable_thinkin'. Did you mean 'enable_think"
    ):
        check_pretrained(PretrainedConfig(str(tmp_path), chat_template_kwargs={"enable_thinkin": False}))
    check_pretrained(PretrainedConfig(str(tmp_path), chat_template_kwargs={"enable_thinking": False}))


@pytest.mark.parametrize("flagged", [True, False])
def test_precision_follows_the_device_unless_it_is_named(
    folder: Path, flagged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "multiplies_bfloat16", lambda: flagged)
    assert load(folder, dtype="auto").mixed_precision is flagged
    assert pinned(load(folder, dtype="auto"))["dtype"] == ("mixed" if flagged else "float32")
    assert load(folder, dtype="auto").model.dtype == torch.float32
    assert not load(folder).mixed_precision
    assert load(folder, dtype="bfloat16").model.dtype == torch.bfloat16


def test_mixed_precision_trains_float32_weights_by_products_in_bfloat16(folder: Path) -> None:
    mixed, single = load(folder, dtype="mixed"), load(folder)
    assert mixed.model.dtype == torch.float32
    assert pinned(mixed)["dtype"] == "mixed"
    rng = torch.Generator().manual_seed(0)
    prompts = [[5, 6, 7, 8], [9]]
    (drawn, *_), (exact, *_) = (
        TransformersBackend(policy).generate(prompts, 1, Sampling(3, temperature=0), rng) for policy in (mixed, single)
    )
    assert drawn.log_probs != exact.log_probs
    assert drawn.log_probs == pytest.approx(exact.log_probs, abs=0.05)


def test_with_lora_only_adapters_are_trained_and_merged_weights_draw_the_same(folder: Path) -> None:
    policy = load(folder, lora_rank=2)
    trained = [name for name, weights in policy.model.named_parameters() if weights.requires_grad]
    assert trained
    assert all("lora" in name for name in trained)
    with torch.no_grad():
        for name, weights in policy.model.named_parameters():
            if "lora_B" in name:
                weights.normal_()
    merged = load(folder)
    assert {name for name, _ in whole_weights(policy)} == set(merged.model.state_dict())
    merged.model.load_state_dict({name: value.clone() for name, value in whole_weights(policy)})
    ids = torch.randint(2, 200, (2, 7))
    with torch.no_grad():
        torch.testing.assert_close(merged.model(ids).logits, policy.model(ids).logits, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(load(folder).model(ids).logits, merged.model(ids).logits, atol=1e-2)


def test_gradient_checkpointing_gives_the_same_gradients(folder: Path) -> None:
    def gradient(**options: Any) -> torch.Tensor:
        policy = load(folder, **options)
        policy.model.train()
        policy.model(torch.arange(2, 12)[None], use_cache=False).logits.sum().backward()
        return policy.model.get_input_embeddings().weight.grad

    torch.testing.assert_close(gradient(gradient_checkpointing=True), gradient())


def test_entry_pins_the_template_and_what_is_trained(folder: Path) -> None:
    whole, adapters = pinned(load(folder)), pinned(load(folder, lora_rank=2))
    assert whole["parameters"] == whole["trainable"] > 0
    assert 0 < adapters["trainable"] < adapters["parameters"]
    assert whole["chat_template"] == adapters["chat_template"]
    assert (whole["dtype"], whole["device"]) == ("float32", "cpu")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"], "has no tokenizer"),
        (["chat_template.jinja"], "has no chat template.*choose an instruction-tuned model"),
        (["config.json"], "Cannot load the model"),
    ],
)
def test_a_folder_that_lacks_something_is_refused_before_anything_runs(
    folder: Path, tmp_path: Path, missing: list[str], message: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    for name in missing:
        (broken / name).unlink()
    with pytest.raises(DataError, match=message):
        check_pretrained(PretrainedConfig(str(broken)))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no folder .*nowhere with a model"):
        check_pretrained(PretrainedConfig(str(tmp_path / "nowhere")))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_models_own_code_is_neither_run_nor_asked_for(
    folder: Path, tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = tmp_path / "strange"
    shutil.copytree(folder, strange)
    (strange / "strange.py").write_text("from pathlib import Path\nPath('imported').touch()\nclass Strange: ...\n")
    fields = json.loads((strange / file).read_text())
    changed: dict[str, Any] = {
        "config.json": {"model_type": "strange", "auto_map": {"AutoConfig": "strange.Strange"}},
        "tokenizer_config.json": {"tokenizer_class": "Strange", "auto_map": {"AutoTokenizer": ["strange.Strange"] * 2}},
    }
    (strange / file).write_text(json.dumps(fields | changed[file]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    if file == "config.json":
        with pytest.raises(DataError, match="code of its own, which is never run"):
            check_pretrained(PretrainedConfig(str(strange)))
    else:  # transformers knows a tokenizer for this kind of model
        check_pretrained(PretrainedConfig(str(strange)))
    assert not Path("imported").exists()


def test_damaged_weights_are_an_error_of_ours(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"half")
    with pytest.raises(DataError, match="Cannot load the model"):
        load(broken)


def test_a_gpu_that_is_not_there_is_an_error_and_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(DeviceError, match="torch finds no GPU here; choose device=cpu or auto"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cuda"


def test_a_prompt_that_leaves_no_room_is_an_error_that_says_what_to_do(folder: Path) -> None:
    policy = load(folder)
    check_room(policy.context, 500, 12, "abc")
    with pytest.raises(ContextError, match=r"task abc has 500 tokens.*13 may be added.*reads 512 at most"):
        check_room(policy.context, 500, 13, "abc")


def test_half_precision_draws_and_tells_log_probabilities_in_single(folder: Path) -> None:
    policy = load(folder, dtype="bfloat16")
    rng = torch.Generator().manual_seed(0)
    drawn = TransformersBackend(policy).generate([[5, 6, 7], [8]], 2, Sampling(4), rng)
    assert len(drawn) == 4
    assert all(log_prob <= 0 for completion in drawn for log_prob in completion.log_probs)


def test_a_gpu_that_is_too_small_for_the_policy_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: torch.nn.Module, device: str) -> torch.nn.Module:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(OutOfMemoryError, match=r"policy hf:.*model\d+ does not fit into the memory.*lora_rank=16"):
        load(folder)
