from pathlib import Path
from typing import Any

import pytest
import torch

from gdpo_bench.advantages import StateError, make_normalizer
from gdpo_bench.agent.options import PretrainedConfig, TrainingOptions
from gdpo_bench.agent.policies.pretrained import DeviceError
from gdpo_bench.core import UnknownNameError, make_env, yaml
from gdpo_bench.core.choices import ChoiceError, parse_assignments, parse_choice
from gdpo_bench.jobs import policy as policy_module
from gdpo_bench.jobs.entries import said_options
from gdpo_bench.jobs.job import Job, JobError, SeedPair, check, presets
from gdpo_bench.jobs.plan import WARM_START_ENVS, plan
from gdpo_bench.jobs.policy import parse_policy, parse_rollout

ENV = "gdpo/MathMini-v1"


def complaint(text: str) -> str:
    with pytest.raises(JobError) as caught:
        Job.parse(text, "my.yaml")
    return str(caught.value)


PAPER = [name for name in presets() if name.startswith(("paper-", "authors-"))]
REAL = [name for name in presets() if name.startswith("real-")]


@pytest.mark.parametrize("name", REAL)
def test_presets_of_a_real_model_can_be_planned(name: str, smollm2: Path, data_dir: Path) -> None:
    job = Job.load(name)
    found = plan(job)
    assert found.left_out == ()
    assert len(found.pairs) == len(job.normalizers)
    assert found.policy.imitates
    assert all(seed.warm_start == seed.rl for seed in job.seeds)  # a warm start each


@pytest.mark.parametrize("name", sorted(set(presets()) - {*PAPER, *REAL}))
def test_every_preset_can_be_planned(name: str) -> None:
    job = Job.load(name)
    assert job.name == name
    found = plan(job)
    runs = [(env.label, normalizer.choice.label) for env, normalizer in found.pairs]
    missing = {text.split()[0] for text in found.left_out}
    assert missing <= {"maxrl", "gdpo/CodingMini-v1"}  # negative sums; no engine
    assert runs == [
        (env.label, trial.label)
        for env in job.envs
        for normalizer in job.normalizers
        for trial in job.trials(normalizer)
        if env.id not in missing and not (normalizer.normalizer == "maxrl" and "ToolCalling" in env.id)
    ]


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_presets_name_what_there_is_and_ask_for_a_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job.load(name)
    monkeypatch.setattr(policy_module, "find_spec", lambda module: object())
    assert isinstance(parse_policy(job.policy).config, PretrainedConfig)
    assert parse_rollout(job.rollout) is not None
    for choice in (*job.envs, *job.suites):
        assert make_env(choice.id, **choice.options).reward_specs
    for choice in job.normalizers:
        make_normalizer(choice.normalizer, **choice.options)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="torch finds no GPU here"):
        plan(job)


def test_kl_in_the_reward_excludes_dynamic_sampling() -> None:
    with pytest.raises(JobError, match="kl_reward_coefficient and dynamic_sampling exclude each other"):
        check({"envs": [ENV], "training": {"kl_reward_coefficient": 0.1, "dynamic_sampling": True}})


def test_default_preset_is_the_documented_comparison() -> None:
    job = Job.load("default")
    assert [choice.id for choice in job.envs] == ["gdpo/ToolCallingMini-v1", ENV, "gdpo/CodingMini-v1"]
    assert job.optional == ("gdpo/CodingMini-v1",)
    assert [choice.normalizer for choice in job.normalizers] == ["grpo", "gdpo"]
    assert [seed.rl for seed in job.seeds] == [0, 1, 2]
    assert len({seed.warm_start for seed in job.seeds}) == 1


def test_short_and_long_forms_mean_the_same() -> None:
    short = """
        envs: ["gdpo/MathMini-v1:limit=30,format_rate=1e-1"]
        normalizers: [grpo, "gdpo:eps=1e-4,weights.format=2"]
        seeds: [3, 1:0, "0:7"]
    """
    long = """
        name: my
        envs:
          - id: gdpo/MathMini-v1
            options: {limit: 30, format_rate: 0.1}
        normalizers:
          - {normalizer: grpo}
          - normalizer: gdpo
            options: {eps: 1e-4}
            weights: {format: 2}
        seeds: [{rl: 3}, {warm_start: 1, rl: 0}, {rl: 7}]
    """
    assert Job.parse(short, "my.yaml") == Job.parse(long, "other.yaml")


def test_job_survives_being_written_and_read() -> None:
    job = Job.parse(f"envs: ['{ENV}:limit=30']\nseeds: [1:2]\nnormalizers: ['gdpo:eps=1e-5']", "x.yaml")
    assert Job.parse(yaml.dump(job.model_dump(mode="json")), "y.yaml") == job


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("-2", -2),
        ("0x10", 16),
        (".5e-3", 0.0005),
        ("-.5e1", -5.0),
        ("1_000", 1000),
        ("017", 17),
        ("1:30", "1:30"),
        ("1e5x", "1e5x"),
        ("1.2.3", "1.2.3"),
        ("2020-13-45", "2020-13-45"),
        ("2026-01-31", "2026-01-31"),
        ("none", "none"),
        ("no", False),
        ("On", True),
        ("true", True),
        ("null", None),
    ],
)
def test_values_are_read_as_people_mean_them(text: str, value: Any) -> None:
    job = Job.parse(f"envs: [{{id: {ENV}, options: {{x: {text}}}}}]", "x.yaml")
    (got,) = job.envs[0].options.values()
    assert (got, type(got)) == (value, type(value))
    assert parse_choice(f"name:x={text}") == ("name", {"x": value})


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("gdpo", ("gdpo", {})),
        ("gdpo:eps=1e-4", ("gdpo", {"eps": 1e-4})),
        ("gdpo:eps=1e-4,batch_norm=false", ("gdpo", {"eps": 1e-4, "batch_norm": False})),
        ("my_mod:my_fn", ("my_mod:my_fn", {})),
        ("my_mod:MyClass:a=1,b=x", ("my_mod:MyClass", {"a": 1, "b": "x"})),
        ("mod:ns/Env-v0:path=/a:b", ("mod:ns/Env-v0", {"path": "/a:b"})),
        ("x:a==b", ("x", {"a": "=b"})),
        ("x:a=", ("x", {"a": None})),
    ],
)
def test_choices_are_a_name_and_options(text: str, choice: tuple[str, dict[str, Any]]) -> None:
    assert parse_choice(text) == choice


@pytest.mark.parametrize("text", ["", "gdpo:eps=1,2", "gdpo:eps=[", "gdpo:eps='", "gdpo:eps=!!python/name:os.system"])
def test_choices_that_cannot_be_read_are_named(text: str) -> None:
    with pytest.raises(ChoiceError) as caught:
        parse_choice(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        (
            f"envs: [{ENV}]\nsteps: 3",
            2,
            ["steps: unknown field; known here: name, envs, normalizers", "steps stands under training"],
        ),
        (
            f"envs: [{ENV}]\ntraining:\n  steps: 3\n  stpes: 3",
            4,
            ["training.stpes: unknown field", "group_size", "Did you mean 'steps'"],
        ),
        (f"envs:\n  - id: {ENV}\n    option: {{}}", 3, ["envs.0.option: unknown field; known here: id, options"]),
        (f"envs: [{ENV}]\nnormalizers:\n  - grpo\n  - {{normalizer: gdpo, weight: 1}}", 4, ["known here: normalizer,"]),
        (
            f"envs: [{ENV}]\ntraining:\n\n  steps: many",
            4,
            ["training.steps: Input should be a valid integer", "'many'"],
        ),
        (f"envs: [{ENV}]\ntraining: {{steps: -1}}", 2, ["greater than or equal to 0", "got -1"]),
        (f"envs: [{ENV}]\ntraining: {{learning_rate: .inf}}", 2, ["finite", "got inf"]),
        (f"envs: [{ENV}]\ntraining: {{max_failed_share: 2}}", 2, ["less than or equal to 1"]),
        (f"envs: [{ENV}]\nnormalizers:\n- gdpo:eps=.nan", 3, ["normalizers.0.options: numbers must be finite"]),
        (f"envs: [{ENV}]\nnormalizers: ['gdpo:weights.a=.inf']", 2, ["weights.a", "finite"]),
        (f"envs: [{ENV}]\nnormalizers: ['gdpo:weights.a=b']", 2, ["weights.a", "valid number"]),
        (f"envs: [{ENV}]\nseeds:\n- 0\n- x", 4, ["seeds.1: expected a number, warm_start:rl, or", "'x'"]),
        (f"envs: [{ENV}]\nseeds:\n- 0\n- -1", 4, ["seeds.1.rl", "greater than or equal to 0"]),
        (f"envs: [{ENV}]\nseeds: [99999999999999999999]", 2, ["seeds.0.rl", "less than"]),
        (
            f"envs: [{ENV}]\nseeds:\n- {{rl: 1, wram_start: 0}}",
            3,
            ["wram_start: unknown field; known here: warm_start"],
        ),
        (f"envs: [{ENV}]\nseeds: []", 2, ["seeds: List should have at least 1 item"]),
        (f"envs: [{ENV}, {ENV}]", 1, ["envs: listed twice", ENV]),
        (f"envs: [{ENV}]\nseeds: [0, 0:0]", 2, ["seeds: listed twice: 0:0"]),
        (f"envs: {ENV}", 1, ["envs: Input should be a list"]),
        ("normalizers: [gdpo]", 1, ["envs: Field required"]),
        ("envs: [3]", 1, ["envs.0", "(got 3)"]),
        (f"name: a/b\nenvs: [{ENV}]", 1, ["name", "match pattern"]),
        (f"1: 2\nenvs: [{ENV}]", 1, ["1: Keys should be strings"]),
    ],
)
def test_mistake_in_a_job_file_is_named_with_its_line_and_what_was_expected(
    text: str, line: int, parts: list[str]
) -> None:
    message = complaint(text)
    first, *problems = message.splitlines()
    assert first == "my.yaml is not a job:"
    assert len(problems) == 1
    assert problems[0].startswith(f"  line {line}: ")
    for part in parts:
        assert part in problems[0]


def test_all_mistakes_are_named_at_once() -> None:
    message = complaint("envs: [3]\nseeds: [x]\ntraining: {steps: a, clip: b}")
    assert [text.split(":")[0].strip() for text in message.splitlines()[1:]] == ["line 1", "line 2", "line 3", "line 3"]


@pytest.mark.parametrize("text", ["", "# nothing", "- a", "text", "3"])
def test_file_without_fields_says_what_is_missing(text: str) -> None:
    assert "my.yaml: expected a mapping with at least `envs`; got" in complaint(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("envs: [a\nseeds: 1", 2),
        ("envs:\n\t- a", 2),
        ("envs: [a]\nenvs: [b]", 2),
        ("a: b: c", 1),
        ("---\na\n---\nb", 3),
    ],
)
def test_file_that_is_not_yaml_is_named_with_the_line(text: str, line: int) -> None:
    message = complaint(text)
    assert message.startswith("my.yaml is not YAML: ")
    assert f"line {line}," in message


NESTED = "[" * 3_000


def test_what_is_nested_too_deeply_is_refused_in_a_sentence() -> None:
    assert complaint(f"envs: {NESTED}{NESTED.replace('[', ']')}") == "my.yaml is not YAML: it is nested too deeply."
    assert "not YAML: it is nested too deeply" in complaint("\n".join(" " * i + "a:" for i in range(3_000)))
    with pytest.raises(ChoiceError, match=r"value of eps, '\[+: it is nested too deeply\.$") as caught:
        parse_choice(f"gdpo:eps={NESTED}")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["!!bool maybe", "!!python/name:os.system", "!mine 3", "!!binary 'é'"])
def test_values_that_belie_their_tags_are_refused_in_a_sentence(text: str) -> None:
    assert "my.yaml is not YAML: " in complaint(f"envs: [{text}]")


def test_field_set_twice_is_named_with_its_line() -> None:
    message = complaint(f"envs: [{ENV}]\ntraining:\n  steps: 1\n  steps: 2")
    assert "line 4, column 3" in message
    assert 'duplicate key "steps"' in message


def test_file_with_a_nul_or_that_is_not_text_is_named(tmp_path: Path) -> None:
    assert "my.yaml is not YAML" in complaint("envs: [\0]")
    (tmp_path / "x.yaml").write_bytes(b"envs: [\xff]")
    with pytest.raises(JobError, match=r"Cannot read the job file .*x\.yaml"):
        Job.load(str(tmp_path / "x.yaml"))


def test_missing_file_lists_the_presets(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown job file or preset 'nope.yaml'. Known: answers, "):
        Job.load("nope.yaml")
    with pytest.raises(JobError, match="Cannot read the job file"):
        Job.load(str(tmp_path))


def test_folder_named_like_a_preset_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert Job.load("tiny").training.steps == 2


def test_any_file_name_makes_a_job_name(tmp_path: Path) -> None:
    (tmp_path / "my job (1).yaml").write_text(f"envs: [{ENV}]")
    assert Job.load(str(tmp_path / "my job (1).yaml")).name == "my-job-1-"


def test_key_depends_on_what_determines_the_numbers_and_on_nothing_else() -> None:
    base = {"envs": [ENV]}
    assert check(base).key == check(base | {"name": "x", "data_dir": "/d", "seeds": ["0", "0:1", 2]}).key
    others = [
        {"envs": [f"{ENV}:limit=3"]},
        {"seeds": [1]},
        {"normalizers": ["gdpo"]},
        {"policy": "oracle"},
        {"training": {"steps": 3}},
    ]
    assert len({check(base | other).key for other in others} | {check(base).key}) == 6


def test_options_of_the_policy_are_checked() -> None:
    chosen = parse_policy("mini:warm_start_steps=20,warm_start_lr=1e-3").config
    assert chosen is not None
    assert (chosen.warm_start_steps, chosen.warm_start_lr, chosen.layers) == (20, 1e-3, 2)
    assert parse_policy("replay:a:b=c.jsonl").file == "a:b=c.jsonl"
    for text in ("smollm2", "hf:a/b", "gguf:a/b.gguf"):
        real = parse_policy(f"{text}:lora_rank=2")
        assert isinstance(real.config, PretrainedConfig)
        assert (real.name, real.config.name, real.config.lora_rank) == (text, text, 2)
    for text, message in [
        ("mini:layers=x", r"Policy 'mini': layers: Input should be a valid integer.*'x'"),
        ("mini:layers=0", r"layers: .*greater than 0"),
        ("mini:heads=3", "hidden_size must be a multiple"),
        ("mini:warm_start_lr=.inf", "finite"),
        ("oracle:x=1", "'oracle' has no options"),
    ]:
        with pytest.raises(JobError, match=message):
            parse_policy(text)
    for text, message in [
        (
            "minni",
            r"Unknown policy 'minni'. Did you mean 'mini'\? Known: base, demonstrations, gguf:FILE, hf:MODEL, mini,",
        ),
        ("mini:warm_start_step=3", "Did you mean 'warm_start_steps'"),
    ]:
        with pytest.raises(UnknownNameError, match=message):
            parse_policy(text)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"envs": ["gdpo/MathMin-v0"]}, r"Unknown environment 'gdpo/MathMin-v0'. Did you mean 'gdpo/MathMini-v1'"),
        ({"envs": [f"{ENV}:limti=3"]}, r"Did you mean 'limit'\? Known: .*format_rate"),
        ({"normalizers": ["gpdo"]}, r"Unknown normalizer 'gpdo'. Did you mean .*'gdpo'"),
        ({"normalizers": ["gdpo:epps=1"]}, r"option of normalizer 'gdpo' 'epps'. Did you mean 'eps'"),
        ({"normalizers": ["gdpo:weights.formt=1"]}, r"reward in the weights of 'gdpo' 'formt'. Did you mean 'format'"),
        ({"rollout": "transformer"}, r"rollout backend 'transformer'. Did you mean 'transformers'"),
    ],
)
def test_unknown_names_are_found_before_anything_runs_and_near_ones_are_listed(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnknownNameError, match=message):
        plan(check({"envs": [ENV]} | changed))


def test_weights_left_out_are_the_declared_ones() -> None:
    planned = plan(check({"envs": [ENV], "normalizers": ["gdpo:weights.format=2.5", "grpo"]}))
    specs = planned.envs[0].specs
    assert planned.normalizers[0].weights(specs) == {spec.name: spec.weight for spec in specs} | {"format": 2.5}
    assert planned.normalizers[1].describe(specs).weights == {spec.name: spec.weight for spec in specs}


def test_only_default_training_is_the_closed_division() -> None:
    def divisions(job: dict[str, Any]) -> list[str]:
        planned = plan(check(job))
        return [planned.division(env, planned.normalizers[0]) for env in planned.envs]

    assert divisions({"envs": [ENV], "normalizers": ["gdpo:eps=1e-3"], "seeds": [5]}) == ["closed"]
    assert divisions({"envs": [ENV], "training": {"steps": 61}}) == ["open"]
    assert divisions({"envs": [ENV], "policy": "mini:layers=3"}) == ["open"]
    assert divisions({"envs": [ENV, {"id": ENV, "training": {"steps": 61}}]}) == ["closed", "open"]


def test_an_environment_may_have_training_options_of_its_own() -> None:
    job = check({"envs": [ENV, {"id": ENV, "training": {"group_size": 2}}], "training": {"steps": 3}})
    plain, changed = (env.training for env in plan(job).envs)
    assert (plain.steps, plain.group_size) == (3, 8)
    assert changed == plain.model_copy(update={"group_size": 2})
    assert [env.label for env in plan(job).envs] == [ENV, f"{ENV}:group_size=2"]
    text = "envs:\n  - id: gdpo/MathMini-v1\n    training:\n      {}"
    unknown = "line 3: envs.0.training: Unknown option of training 'groupsize'. Did you mean 'group_size'"
    assert unknown in complaint(text.format("groupsize: 2"))
    bad = "line 3: envs.0.training: Training: group_size: Input should be greater than 0 (got 0)"
    assert bad in complaint(text.format("group_size: 0"))
    assert "trained in the same way as another" in complaint(f"envs: [{ENV}, {{id: {ENV}, training: {{steps: 40}}}}]")


def test_a_normalizer_takes_no_part_where_rewards_are_outside_its_domain() -> None:
    planned = plan(check({"envs": [ENV, "gdpo/ToolCallingMini-v1"], "normalizers": ["maxrl", "gdpo"]}))
    runs = [(env.choice.id, normalizer.choice.label) for env, normalizer in planned.pairs]
    assert runs == [(ENV, "maxrl"), (ENV, "gdpo"), ("gdpo/ToolCallingMini-v1", "gdpo")]
    (text,) = planned.left_out
    assert text.startswith("maxrl takes no part on gdpo/ToolCallingMini-v1: maxrl needs sums of rewards")
    with pytest.raises(JobError, match=r"can take its rewards\. maxrl:weights.format=-1 takes"):
        plan(check({"envs": [ENV], "normalizers": ["maxrl:weights.format=-1"]}))


def test_warm_start_is_shared_by_jobs_and_knows_the_variant_that_is_trained_on() -> None:
    alone = plan(check({"envs": [ENV]}))
    both = plan(check({"envs": ["gdpo/ToolCallingMini-v1", ENV]}))
    assert alone.warm_start_envs(alone.envs[0]) == both.warm_start_envs(both.envs[0])
    variants = plan(check({"envs": [ENV, f"{ENV}:format_rate=0.1"]}))
    for env in variants.envs:
        assert env.choice in variants.warm_start_envs(env)
        assert len(variants.warm_start_envs(env)) == len(WARM_START_ENVS)


def test_seeds_have_three_forms() -> None:
    seeds = check({"envs": [ENV], "seeds": ["4", "1:4", 5, {"warm_start": 2, "rl": 3}, SeedPair(rl=9)]}).seeds
    assert [(seed.warm_start, seed.rl) for seed in seeds] == [(0, 4), (1, 4), (0, 5), (2, 3), (0, 9)]


def test_a_normalizer_that_hides_its_state_is_refused_before_a_job_with_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "remembering.py").write_text(
        "from dataclasses import dataclass, field\n\n"
        "@dataclass\nclass Mean:\n"
        "    mean: list = field(default_factory=list, init=False)\n"
        "    def __call__(self, batch):\n"
        "        return batch.rewards.sum(1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    fields = {"envs": [ENV], "normalizers": ["remembering:Mean"]}
    assert plan(check(fields))
    with pytest.raises(StateError, match="The normalizer Mean keeps mean from batch to batch"):
        plan(check(fields | {"runtime": {"checkpoint_every": 5}}))


def test_optional_environments_are_among_the_jobs_own() -> None:
    with pytest.raises(JobError, match=r"optional: 'gdpo/CodngMini-v1' is none of this job's environments"):
        check({"envs": ["gdpo/CodingMini-v1"], "optional": ["gdpo/CodngMini-v1"]})


def test_weights_that_are_all_zero_are_refused_before_anything_starts() -> None:
    rewards = ("correct", "length", "format", "integer")
    weights = ",".join(f"weights.{name}=0" for name in rewards)
    with pytest.raises(JobError, match="all weights of gdpo/MathMini-v1 are 0"):
        plan(check({"envs": ["gdpo/MathMini-v1"], "normalizers": [f"gdpo:{weights}"], "policy": "oracle"}))


@pytest.mark.parametrize("words", [["steps=3", "steps=4"], ["eps=1", "ddof=0", "eps=1"]])
def test_an_option_that_stands_twice_is_refused(words: list[str]) -> None:
    with pytest.raises(ChoiceError, match=f"{words[0].partition('=')[0]} is set twice"):
        parse_assignments(words)
    with pytest.raises(ChoiceError, match="is set twice"):
        parse_choice(f"gdpo:{','.join(words)}")


def test_a_preset_that_is_misspelt_is_guessed() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'default'"):
        Job.load("defualt")


def test_rates_that_overflow_are_refused() -> None:
    for name in ("learning_rate", "weight_decay", "kl_coefficient"):
        with pytest.raises(JobError, match=name):
            check({"envs": ["gdpo/MathMini-v1"], "training": {name: 1e38}})


def test_seeds_are_compared_in_time_linear_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def count(one: SeedPair, other: object) -> bool:
        nonlocal compared
        compared += 1
        return isinstance(other, SeedPair) and one.label == other.label

    monkeypatch.setattr(SeedPair, "__eq__", count)
    assert len(check({"envs": ["gdpo/MathMini-v1"], "seeds": list(range(2000))}).seeds) == 2000
    assert compared < 10_000
    with pytest.raises(JobError, match="listed twice"):
        check({"envs": ["gdpo/MathMini-v1"], "seeds": [*range(2000), 7]})


def test_an_environment_that_holds_nothing_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = type(make_env("gdpo/MathMini-v1"))
    published = cls.tasks
    monkeypatch.setattr(cls, "tasks", lambda self, split: published(self, "eval"))
    with pytest.raises(JobError, match="nothing is held out"):
        plan(check({"envs": ["gdpo/MathMini-v1"]}))
    plan(check({"envs": ["gdpo/MathMini-v1"], "policy": "oracle"}))


def test_an_entry_names_no_option_that_older_ones_could_not_unless_it_departs() -> None:
    plain, said = said_options(TrainingOptions()), TrainingOptions().model_dump(mode="json")
    younger = {"max_prompt_tokens": None, "kl_reward_coefficient": 0.0, "entropy_coefficient": 0.0}
    assert said == plain | {"eval_samples": 1} | younger
    assert not younger.keys() & plain.keys()
    assert plain["eval_temperature"] is None  # what is absent is still named
    assert said_options(TrainingOptions(eval_samples=2))["eval_samples"] == 2


@pytest.mark.parametrize("name", [name for name in presets() if name.startswith("sweep-")])
def test_a_sweep_remakes_its_whole_table_from_the_same_warm_starts(name: str) -> None:
    seeds = [seed.label for seed in Job.load(name).seeds]
    assert seeds == [seed.label for seed in Job.load("normalizers").seeds]
    assert len(seeds) == 10


def test_the_sweep_over_group_sizes_holds_the_main_job_s_own() -> None:
    job = Job.load("sweep-group-size")
    for id in ("gdpo/MathMini-v1", "gdpo/ToolCallingMini-v1"):
        assert [job.training_on(env).group_size for env in job.envs if env.id == id] == [2, 4, 8, 16, 32]


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"prompts": 10**12}, "training.prompts.*1000000000"),
        ({"prompts": 10**6, "group_size": 10**3}, "prompts × group_size is 1,000,000,000 rollouts a step"),
        ({"epochs": 10**12}, "training.epochs"),
        ({"max_draws": 10**12}, "training.max_draws"),
        ({"micro_batch": 10**21}, "training.micro_batch"),
        ({"clip_high": 1e300}, "training.clip_high"),
        ({"adam_epsilon": 1e308}, "training.adam_epsilon"),
        ({"eval_temperature": 1e300}, "training.eval_temperature"),
    ],
)
def test_training_options_are_bounded(training: dict[str, float], told: str) -> None:
    with pytest.raises(JobError, match=told):
        check({"envs": ["gdpo/MathMini-v1"], "training": training})


@pytest.mark.parametrize("policy", ["mini:warm_start_lr=1e38", "hf:x:warm_start_lr=1e38", "hf:x:lora_alpha=1e300"])
def test_factors_of_a_policy_are_bounded(policy: str) -> None:
    with pytest.raises(JobError, match="less than or equal to"):
        parse_policy(policy)
