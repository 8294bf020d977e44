import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest
import torch

from gdpo_bench.agent.options import EmbeddedConfig
from gdpo_bench.agent.policies import cache as kept
from gdpo_bench.agent.policies import warm_start as module
from gdpo_bench.agent.policies.embedded import build_policy, build_tokenizer, conversation_text
from gdpo_bench.agent.policies.warm_start import build_corpus, warm_start
from gdpo_bench.agent.policy import Policy
from gdpo_bench.core import DeclarationError, DialogEnv, Message, Task, TextEnv, Turn, make_env, reward
from gdpo_bench.core.files import WriteError
from gdpo_bench.core.sealed import part_name

CONFIG = EmbeddedConfig(hidden_size=16, intermediate_size=32, vocabulary=300, warm_start_steps=30, warm_start_batch=4)
CORPUS = [(f"Say {n}: ", f"it is {n}") for n in range(10)]


class Silent(TextEnv[Task]):
    def tasks(self, split: str) -> Sequence[Task]:
        return [Task("?")]

    @reward(low=0, high=1)
    def any(self, task: Task, reply: str) -> float:
        return 1.0


class Speaking(Silent):
    def demonstrations(self, rng: Random) -> Iterator[tuple[Task, str]]:
        while True:
            yield Task(f"{rng.random()}"), "!"


class Ending(Silent):
    def demonstrations(self, rng: Random) -> Iterator[tuple[Task, str]]:
        return iter([(Task("?"), "!")] * 3)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GDPO_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "warm_start"


def test_warm_start_is_trained_once_and_then_read_from_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    folder = warm_start(CORPUS, CONFIG, 0, lambda share, text: shares.append(share))
    assert shares == sorted(shares)
    assert len(shares) > 1
    monkeypatch.setattr(module, "train", None)
    assert warm_start(CORPUS, CONFIG, 0) == folder
    assert [path.name for path in cache.iterdir()] == [folder.name]
    assert json.loads((folder / "warm_start.json").read_text())["warm_start_steps"] == 30


def test_loaded_policy_is_the_trained_one(cache: Path) -> None:
    loaded = Policy.load(warm_start(CORPUS, CONFIG, 0))
    trained = module.train(CORPUS, CONFIG, 0, lambda share, text: None)
    weights = loaded.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in trained.model.state_dict().items())
    message = [{"role": "user", "content": "Say 17: <think>äß</think>"}]
    assert loaded.encode(message) == trained.encode(message)  # type: ignore[arg-type]
    assert loaded.decode([loaded.encode(message)]) == [message[0]["content"]]  # type: ignore[arg-type]


def test_every_change_of_seed_config_or_corpus_is_another_warm_start(cache: Path) -> None:
    quick = dataclasses.replace(CONFIG, warm_start_steps=1)
    folders = {
        warm_start(CORPUS, quick, 0),
        warm_start(CORPUS, quick, 1),
        warm_start(CORPUS, dataclasses.replace(quick, warm_start_lr=1e-3), 0),
        warm_start([*CORPUS[:-1], ("Say 9: ", "it is ten")], quick, 0),
    }
    assert len(folders) == 4


def test_training_fits_the_replies(cache: Path) -> None:
    policies = [module.train(CORPUS, dataclasses.replace(CONFIG, warm_start_steps=n), 0, print) for n in (1, 60)]
    losses = []
    for policy in policies:
        ids, labels, _ = module._encode(policy, CORPUS)
        with torch.no_grad():
            logits = policy.model(input_ids=ids).logits[:, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten()).item())
    assert losses[1] < losses[0] / 2


def test_only_replies_and_their_end_are_imitated() -> None:
    policy = build_policy(CONFIG, [text for pair in CORPUS for text in pair], 0)
    ids, labels, lengths = module._encode(policy, [("Say 1: ", "one"), ("Say something long: ", "")])
    for row, (prompt, reply) in enumerate([("Say 1: ", "one"), ("Say something long: ", "")]):
        learned = labels[row][labels[row] != -100].tolist()
        assert policy.tokenizer.decode(learned) == f"{reply}<eos>"
        assert policy.tokenizer.decode(ids[row][: lengths[row]].tolist()) == f"{prompt}{reply}<eos>"


def test_whoever_finishes_second_uses_what_the_first_one_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, folders = module.train, []

    def train_meanwhile(*args: object) -> Policy:
        with monkeypatch.context() as patch:
            patch.setattr(module, "train", train)
            folders.append(warm_start(CORPUS, CONFIG, 5))  # another process does the same and is faster
        return train(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "train", train_meanwhile)
    assert warm_start(CORPUS, CONFIG, 5) == folders[0]
    assert [path.name for path in cache.iterdir()] == [folders[0].name]
    Policy.load(folders[0])


def test_interrupted_warm_start_leaves_nothing_that_looks_finished(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            warm_start(CORPUS, CONFIG, 0)
    assert list(cache.iterdir()) == []
    Policy.load(warm_start(CORPUS, CONFIG, 0))


def test_cache_that_cannot_be_written_is_named_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GDPO_BENCH_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(module, "train", None)
    with pytest.raises(WriteError, match=r"file/warm_start.*GDPO_BENCH_CACHE"):
        warm_start(CORPUS, CONFIG, 0)


def test_full_disk_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(WriteError, match="No space left on device"):
        warm_start(CORPUS, dataclasses.replace(CONFIG, warm_start_steps=1), 0)
    assert list(cache.iterdir()) == []


def test_corpus_takes_turns_and_depends_on_the_seed_alone() -> None:
    envs = {"b/B-v0": Speaking(), "a/A-v0": make_env("gdpo/MathMini-v1"), "c/C-v0": Silent()}
    corpus = build_corpus(envs, 20, seed=3)
    assert len(corpus) == 20
    assert {reply for _, reply in corpus[1::2]} == {"!"}
    assert "!" not in {reply for _, reply in corpus[::2]}
    assert corpus == build_corpus(dict(reversed(envs.items())), 20, seed=3) != build_corpus(envs, 20, seed=4)


def test_each_turn_of_a_dialogue_is_imitated_after_what_stands_before_it() -> None:
    class Asking(DialogEnv[Task, None]):
        max_turns = 2

        def tasks(self, split: str) -> Sequence[Task]:
            return [Task("?")]

        def begin(self, task: Task) -> None:
            return None

        def respond(self, task: Task, state: None, reply: str) -> Message:
            return {"role": "tool", "content": f"[{reply}]"}

        @reward(low=0, high=1)
        def any(self, task: Task, turn: Turn[None]) -> float | None:
            return None

        def demonstrations(self, rng: Random) -> Iterator[tuple[Task, list[str]]]:
            while True:
                yield Task("?"), ["a", "b", "never reached"]

    assert build_corpus({"a/A-v0": Asking()}, 1, seed=0) == [("?", "a"), ("?a<eos>[a]", "b")]


def test_without_any_demonstrations_there_is_nothing_to_imitate() -> None:
    with pytest.raises(DeclarationError, match=r"None of a/A-v0, b/B-v0 offers demonstrations"):
        build_corpus({"b/B-v0": Silent(), "a/A-v0": Silent()}, 20, seed=0)


def test_demonstrations_that_end_are_an_error_with_the_environments_name() -> None:
    with pytest.raises(DeclarationError, match=r"demonstrations\(\) of a/A-v0 ended after 3; they must be endless"):
        build_corpus({"a/A-v0": Ending(), "b/B-v0": Speaking()}, 20, seed=0)


def test_tokenizer_keeps_digits_single_and_every_text_intact() -> None:
    tokenizer = build_tokenizer(["1234 1234 1234", "äöü"], 300)
    assert len(tokenizer("1234", add_special_tokens=False)["input_ids"]) == 4
    for text in ("", " a  b\n", "σ – 🙂 \x00", "<think>1+2</think>"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_same_seed_gives_the_same_fresh_weights_whatever_was_drawn_before() -> None:
    one = build_policy(CONFIG, ["text"], 3).model.state_dict()
    torch.rand(7)
    two = build_policy(CONFIG, ["text"], 3).model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert sum(weights.numel() for weights in build_policy(EmbeddedConfig(), ["text"], 0).model.parameters()) < 5e6


def test_the_corpus_speaks_as_the_chat_template_does():
    conversation = [
        {"role": "user", "content": "1+1=?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "2+2=?"},
    ]
    tokenizer = build_tokenizer(["1+1=?", "2"], 300)
    assert conversation_text(conversation) == tokenizer.apply_chat_template(conversation, tokenize=False)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "file", ["model.safetensors", "chat_template.jinja", "tokenizer.json", "config.json", "sha256.json"]
)
@pytest.mark.parametrize("harm", ["flipped", "cut off", "deleted", "emptied"])
def test_a_damaged_policy_is_made_anew_with_a_word(
    cache: Path, file: str, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = dataclasses.replace(CONFIG, warm_start_steps=2)
    folder = warm_start(CORPUS, quick, 0)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    path = folder / file
    match harm:
        case "flipped":
            flip(path)
        case "cut off":
            path.write_bytes(path.read_bytes()[:-3])
        case "deleted":
            path.unlink()
        case "emptied":
            path.write_bytes(b"")
    assert warm_start(CORPUS, quick, 0) == folder
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "is damaged" in told
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert [path.name for path in cache.iterdir()] == [folder.name]
    assert warm_start(CORPUS, quick, 0) == folder
    assert capsys.readouterr().err == ""


def test_a_file_too_many_is_damage_too(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = dataclasses.replace(CONFIG, warm_start_steps=2)
    folder = warm_start(CORPUS, quick, 0)
    (folder / "generation_config.json.bak").write_text("{}")
    (folder / "adapter_config.json").write_text("{}")
    warm_start(CORPUS, quick, 0)
    assert "adapter_config.json" in capsys.readouterr().err
    assert not (folder / "adapter_config.json").exists()


@pytest.mark.parametrize("harm", ["a file", "a link to nothing", "a link to another", "nested without end"])
def test_what_is_no_folder_of_a_policy_is_made_anew(
    cache: Path, harm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = dataclasses.replace(CONFIG, warm_start_steps=2)
    folder = warm_start(CORPUS, quick, 0)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").touch()
    if harm == "nested without end":
        (folder / "sha256.json").write_text("[" * 100_000)
    else:
        shutil.rmtree(folder)
        match harm:
            case "a file":
                folder.touch()
            case "a link to nothing":
                folder.symlink_to(tmp_path / "absent")
            case "a link to another":
                folder.symlink_to(other)
    assert warm_start(CORPUS, quick, 0) == folder
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "is damaged" in told
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert (other / "kept").exists()


def test_leftovers_of_killed_processes_are_removed_and_those_of_living_ones_stay(cache: Path) -> None:
    quick = dataclasses.replace(CONFIG, warm_start_steps=2)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead = cache / part_name("abc").replace(f"-{os.getpid()}.", f"-{process.pid}.")
    living = cache / part_name("abc").replace(f"-{os.getpid()}.", f"-{os.getppid()}.")
    for folder in (dead, living):
        folder.mkdir(parents=True)
    warm_start(CORPUS, quick, 0)
    assert not dead.exists()
    assert living.exists()


def test_another_version_of_the_code_is_another_warm_start(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = dataclasses.replace(CONFIG, warm_start_steps=2)
    folder = warm_start(CORPUS, quick, 0)
    monkeypatch.setattr(module, "_CODE", 3)
    assert warm_start(CORPUS, quick, 0) != folder


@pytest.mark.parametrize("what", ["pins", "flags"])
def test_another_arithmetic_and_another_processor_are_another_warm_start(
    cache: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    quick = dataclasses.replace(CONFIG, warm_start_steps=2)
    folder = warm_start(CORPUS, quick, 0)
    assert warm_start(CORPUS, quick, 0) == folder
    if what == "pins":
        monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    else:
        monkeypatch.setattr(kept, "cpu_info", lambda: {"flags": "avx512f"})
    assert warm_start(CORPUS, quick, 0) != folder
