"""What an entry of a stranger may make a machine import, read, fetch and compute."""

import hashlib
import inspect
import sys
from pathlib import Path

import pytest

from gdpo_bench.advantages import make_normalizer
from gdpo_bench.advantages.foreign import check_origin
from gdpo_bench.advantages.registry import normalizer_options
from gdpo_bench.cli.leaderboard import main
from gdpo_bench.core import list_envs, make_env
from gdpo_bench.core.errors import DeclarationError, RegistrationError
from gdpo_bench.jobs.consent import check_consent, check_sizes
from gdpo_bench.jobs.job import EnvChoice, JobError, check
from gdpo_bench.leaderboard import NormalizerConfig, PolicyConfig, make_entry
from gdpo_bench.leaderboard.files.store import Measured, write_measured

MODULE = '''\
"""A module that leaves a trace when it is imported."""

import functools
from pathlib import Path

Path("imported").touch()


def other(batch):
    return batch.rewards.sum(1)


@functools.cache
def decorated(batch):
    return batch.rewards.sum(1) * 3


def mine(batch):
    """Twice the sum."""
    return (
        batch.rewards.sum(1) * 2
    )

class Mine:
    def __call__(self, batch):
        return batch.rewards.sum(1)
'''


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A current folder with a package in it that nobody has imported."""
    (tmp_path / "strange_package").mkdir()
    (tmp_path / "strange_package" / "__init__.py").write_text("from pathlib import Path\nPath('parent').touch()\n")
    (tmp_path / "strange_package" / "norms.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("strange_package")]:
        del sys.modules[name]


def named(measured, name, options, **changes):
    """The same entry by another normalizer, with the id that follows."""
    kept = ("track", "environment", "policy", "training", "results", "sidecar", "provenance")
    fields = {field: getattr(measured.entry, field) for field in kept} | changes
    config = NormalizerConfig(name=name, options=options, weights=measured.entry.normalizer.weights)
    return Measured(make_entry(normalizer=config, **fields), measured.sidecar)


def recorded(thing):
    lines = inspect.getblock([line + "\n" for line in MODULE[MODULE.index(f"def {thing}") :].splitlines()])
    return {
        "implementation": f"strange_package.norms:{thing}",
        "source_sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
    }


def untouched(folder):
    return not (folder / "imported").exists() and not (folder / "parent").exists()


@pytest.mark.parametrize(
    "name", ["strange_package.norms:mine", "this:s", "os:system", "strange_package", "gpdo", "not a name\x1b[31m"]
)
@pytest.mark.parametrize("words", [["recompute", "--root", "board"], ["reproduce"]])
def test_no_command_imports_what_an_entry_names(measured_advantages, checkout, capsys, name, words):
    path = write_measured(named(measured_advantages(), name, recorded("mine")), checkout / "board/advantage")
    sys.modules.pop("this", None)
    assert main([*words, *([str(path)] if words == ["reproduce"] else [])]) == 2
    told = capsys.readouterr().err
    assert "not registered here; nothing was imported" in told
    assert "\x1b" not in told
    assert untouched(checkout)
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "no source_sha256"),
        (recorded("mine") | {"source_sha256": "0" * 64}, "is another one here"),
        (recorded("mine") | {"source_sha256": None}, "no source_sha256"),
        (recorded("mine") | {"implementation": "strange_package.norms:absent"}, "is not here as Python source"),
        (recorded("mine") | {"implementation": "strange_package.absent:mine"}, "is not here as Python source"),
        (recorded("mine") | {"implementation": "json:dumps"}, "in another package"),
    ],
)
def test_code_that_was_asked_for_is_compared_before_it_is_imported(checkout, options, told):
    with pytest.raises(RegistrationError, match=told):
        check_origin("strange_package.norms:mine", options, allow_code=True)
    assert untouched(checkout)


@pytest.mark.parametrize("thing", ["mine", "other", "Mine"])
def test_the_source_is_found_as_an_import_would_find_it(checkout, thing):
    sys.path.insert(0, "")
    from strange_package import norms

    found = getattr(norms, thing)
    recorded = normalizer_options(found() if isinstance(found, type) else found)
    check_origin(f"strange_package.norms:{thing}", recorded, allow_code=True)
    with pytest.raises(RegistrationError, match="not registered"):
        check_origin(f"strange_package.norms:{thing}", recorded, allow_code=False)


@pytest.mark.parametrize("name", ["os:system", "this:s", "builtins:eval", "shutil:rmtree", "posix:system"])
def test_pythons_own_functions_are_no_normalizers(name):
    sys.modules.pop("this", None)
    with pytest.raises(RegistrationError, match="Python's own"):
        make_normalizer(name)
    assert "this" not in sys.modules


def test_a_function_that_cannot_take_a_batch_is_refused_before_it_is_called(checkout):
    text = "from os import system\ndef none(): ...\ndef two(a, b): ...\ndef named(*, a): ...\ndef one(a, b=2): ...\n"
    (checkout / "strange_package" / "norms.py").write_text(text)
    for name in ("none", "two", "named"):
        with pytest.raises(RegistrationError, match="is called with one RewardBatch"):
            make_normalizer(f"strange_package.norms:{name}")
    with pytest.raises(RegistrationError, match="Python's own"):
        make_normalizer("strange_package.norms:system")
    assert callable(make_normalizer("strange_package.norms:one"))


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("oracle", "on the training track: expected mini"),
        ("replay", "on the training track: expected mini"),
        ("replay:/etc/passwd", "expected mini"),
        ("mini:hidden_size=1000000", "expected mini"),
        ("hf:somebody/model", r"--allow hf:somebody/model"),
        ("hf:/home/somebody", r"--allow hf:/home/somebody"),
        ("smollm2", r"--allow smollm2"),
        ("gguf:/home/somebody.gguf", r"--allow gguf:/home/somebody.gguf"),
    ],
)
def test_a_policy_is_one_of_ours_or_named_by_the_reader(entry, policy, told):
    with pytest.raises(JobError, match=told):
        check_consent(entry(policy=PolicyConfig(name=policy, details={})))


def test_what_the_reader_named_is_allowed_and_all_that_is_asked_for_is_listed(entry):
    imitated = [{"id": "gdpo/AIME24-v0", "options": {"data_dir": "/data", "limit": 5, "tokenizer": "Qwen"}}]
    asking = entry(policy=PolicyConfig(name="hf:a/b", details={"warm_start_envs": imitated}))
    with pytest.raises(JobError) as told:
        check_consent(asking)
    assert "--allow hf:a/b /data Qwen\n" in str(told.value)
    assert "warm_start_envs[0].options.data_dir: '/data'" in str(told.value)
    check_consent(asking, allowed=("hf:a/b", "/data", "Qwen"))


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"files": ["local", "/etc/passwd"]}, "environment.options.files.1: '/etc/passwd'"),
        ({"source": {"data_dir": "secrets"}}, "environment.options.source.data_dir: 'secrets'"),
        ({"data_dir": [["secrets"]]}, "environment.options.data_dir.0.0: 'secrets'"),
        ({"name": ".."}, r"environment.options.name: '\.\.'"),
    ],
)
def test_places_are_found_however_deep_they_stand(entry, options, where):
    asking = entry()
    asking = asking.model_copy(update={"environment": asking.environment.model_copy(update={"options": options})})
    with pytest.raises(JobError, match=where):
        check_consent(asking)


def test_another_librarys_environment_is_asked_for_before_its_code_is_imported(entry):
    asking = entry(environment="reasoning_gym:chain_sum")
    with pytest.raises(
        JobError, match=r"add --allow reasoning_gym:chain_sum\n  environment.id: 'reasoning_gym:chain_sum'"
    ):
        check_consent(asking)
    check_consent(asking, allowed=("reasoning_gym:chain_sum",))
    imitated = [{"id": "reasoning_gym:gcd", "options": {}}]
    with pytest.raises(JobError, match=r"policy.details.warm_start_envs\[0\].id: 'reasoning_gym:gcd'"):
        check_consent(entry(policy=PolicyConfig(name="mini", details={"warm_start_envs": imitated})))


def test_an_environment_of_the_warm_start_must_be_registered(entry, checkout):
    imitated = [{"id": "strange_package.norms:acme/Sql-v0", "options": {}}]
    with pytest.raises(JobError, match=r"warm_start_envs\[0\].id is .*not registered"):
        check_consent(entry(policy=PolicyConfig(name="mini", details={"warm_start_envs": imitated})))
    assert untouched(checkout)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"training": {"prompts": 10**6}}, "prompts × group_size"),
        ({"training": {"eval_prompts": 10**9}}, "eval_prompts × eval_group_size × eval_samples"),
        ({"training": {"steps": 10**9}}, "tokens to draw in all"),
        ({"training": {"max_new_tokens": 10**9}}, "tokens to draw in all"),
        ({"training": {"dynamic_sampling": True, "max_draws": 10**9}}, "tokens to draw in all"),
        ({"policy": "mini:hidden_size=4000000"}, "memory"),
        ({"policy": "mini:layers=100000000"}, "memory"),
        ({"policy": "mini:vocabulary=10000000000"}, "memory"),
        ({"policy": "mini:positions=1000000000"}, "tokens of the warm start"),
        ({"policy": "mini:warm_start_steps=1000000000000"}, "tokens of the warm start"),
        ({"policy": "mini:warm_start_examples=1000000000000"}, "memory"),
        ({"envs": ["gdpo/MathMini-v1:max_digit=1000000000"]}, "environment.options.max_digit"),
        ({"policy": "hf:any:warm_start_steps=1000000"}, "demonstrations"),
        ({"envs": ["gdpo/MathMini-v1:limit=1e9"]}, "environment.options.limit"),
        ({"envs": [{"id": "gdpo/MathMini-v1", "options": {"a": [{"b": -(10**9)}]}}]}, "environment.options.a"),
        ({"envs": ["gdpo/ToolDialog-v0:count=1000000"]}, "environment.options.count"),
        ({"rollout": "vllm:max_num_seqs=1000000"}, "vllm's max_num_seqs"),
        ({"rollout": "vllm:max_model_len=100000000"}, "vllm's max_model_len"),
        ({"rollout": "vllm:kv_cache_gib=100000"}, "vllm's kv_cache_gib: .* half of what is here"),
        ({"rollout": "vllm:gpu_memory_utilization=1.0"}, "vllm's gpu_memory_utilization"),
    ],
)
def test_sizes_have_bounds(changed, told):
    check_sizes(check({"envs": ["gdpo/MathMini-v1"]}))
    with pytest.raises(JobError, match=told):
        check_sizes(check({"envs": ["gdpo/MathMini-v1"]} | changed))


def test_what_a_warm_start_imitates_has_the_same_bounds():
    imitated = [EnvChoice(id="gdpo/MathMini-v1"), EnvChoice(id="gdpo/ToolDialog-v0", options={"count": 10**7})]
    with pytest.raises(JobError, match=r"warm_start_envs\[1\]\.options\.count"):
        check_sizes(check({"envs": ["gdpo/MathMini-v1"]}), imitated)


@pytest.mark.parametrize("options", [{"digits": 10**5, "max_addends": 10**5}, {"max_digit": 1, "digits": 10**5}])
def test_options_that_would_take_for_ever_to_count_are_refused_at_once(options):
    with pytest.raises(DeclarationError, match="100 digits"):
        make_env("gdpo/MathMini-v1", **options)


def test_a_file_named_in_an_entrys_command_is_not_opened(measured_advantages, make_provenance, tmp_path, capsys):
    secret = tmp_path / "secret.jsonl"
    secret.write_text("not completions")
    command = make_provenance(command=f"python -m gdpo_bench.run --policy replay:{secret} 'unclosed")
    path = write_measured(measured_advantages(provenance=command), tmp_path)
    assert main(["reproduce", str(path)]) == 0
    printed = capsys.readouterr()
    assert "secret" not in printed.out + printed.err


def test_committed_entries_ask_for_nothing_but_the_model_that_pip_fetches():
    from gdpo_bench.leaderboard.files.store import Board

    for entry in Board.read(Path(__file__).parents[2] / "leaderboards").entries.values():
        if entry.environment.id in list_envs():
            check_consent(entry, allowed=["smollm2"] if entry.policy.name == "smollm2" else [])


def test_options_that_a_normalizer_stumbles_over_are_a_sentence(measured_advantages, tmp_path, capsys):
    options = {"threshold": 1e300}
    path = write_measured(named(measured_advantages(), "constrained_grpo", options), tmp_path / "board/advantage")
    for words in (["recompute", "--root", str(tmp_path / "board")], ["reproduce", str(path)]):
        assert main(words) == 2
        assert "constrained_grpo with its options raised OverflowError" in capsys.readouterr().err
