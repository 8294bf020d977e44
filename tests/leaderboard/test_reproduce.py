import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gdpo_bench.advantages import GDPO
from gdpo_bench.cli.leaderboard import main
from gdpo_bench.jobs.from_entry import job_of, rebuild
from gdpo_bench.jobs.job import JobError, check
from gdpo_bench.jobs.plan import plan
from gdpo_bench.jobs.policy import parse_policy
from gdpo_bench.jobs.work import Finished
from gdpo_bench.leaderboard import Cost, EntryError, Hardware, PolicyConfig, make_entry
from gdpo_bench.leaderboard.compare.reproduction import (
    compare_runs,
    differing_arithmetic,
    differing_conditions,
    differing_policies,
    same_kind,
)
from gdpo_bench.leaderboard.files.attestation import Attestation, attestation_problems, status, write_attestation
from gdpo_bench.leaderboard.files.recompute import moved_rows
from gdpo_bench.leaderboard.files.schema import RolloutEngine
from gdpo_bench.leaderboard.files.sidecar import Sidecar, SidecarRun
from gdpo_bench.leaderboard.files.store import Board, Measured, write_measured

CPU_ENGINE = RolloutEngine(name="transformers", version="5", device="cpu")
OTHER = Hardware(cpu="Another CPU", cores=2, memory_gb=8.0, gpu=None, platform="test")


class InThisProcess:
    """Stands in for the engine: importing torch anew takes seconds."""

    def __init__(self, *_arguments, **_options):
        torch.set_num_threads(1)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def run(self, tasks):
        for number, task in enumerate(tasks):
            yield Finished(number, task(lambda share, text: None))


def shifted(measured, amount, seeds=None):
    """The same run, whose rewards came out a little different."""
    fields = [result.model_dump(mode="json") for result in measured.entry.results[:seeds]]
    for one in fields:
        for curve in one["rewards"].values():
            curve["curve"][-1] = curve["final"] = curve["final"] + amount
    kept = ("track", "environment", "normalizer", "policy", "training", "provenance", "sidecar")
    results = [type(measured.entry.results[0]).model_validate(one) for one in fields]
    entry = make_entry(**{name: getattr(measured.entry, name) for name in kept}, results=results)
    return Measured(entry, measured.sidecar)


def pinned(measured):
    """The same entry, made where arithmetic was pinned, on a CPU of another name."""
    changed = {"arithmetic": {"ATEN_CPU_CAPABILITY": "avx2"}, "hardware": OTHER, "engine": CPU_ENGINE}
    provenance = measured.entry.provenance.model_copy(update=changed)
    return Measured(measured.entry.model_copy(update={"provenance": provenance}), measured.sidecar)


def elsewhere(measured):
    changed = measured.entry.provenance.model_copy(update={"hardware": OTHER})
    return Measured(measured.entry.model_copy(update={"provenance": changed}), measured.sidecar)


def test_the_same_numbers_reproduce_an_entry_anywhere(measured):
    one = measured(runs=3)
    for again in (one, elsewhere(one)):
        found = compare_runs(one, again)
        assert (found.reached, found.succeeded, len(found.seeds)) == ("equal", True, 3)


def test_where_arithmetic_is_pinned_alike_the_last_bit_counts(measured):
    one = pinned(measured(runs=3))
    found = compare_runs(one, shifted(one, 1e-13))
    assert (found.required, found.succeeded) == ("equal", False)
    assert not any(row.holds for row in found.rows)


def test_elsewhere_training_must_end_within_the_interval(measured):
    one = measured(runs=9)
    near, far = (compare_runs(one, elsewhere(shifted(one, amount))) for amount in (-1e-4, -0.3))
    assert (near.required, near.reached) == ("within the interval", "within the interval")
    assert not far.succeeded
    part = compare_runs(one, elsewhere(shifted(one, -1e-4, seeds=1)))
    assert len(part.seeds) == 1
    assert part.rows[0].allowed == pytest.approx(near.rows[0].allowed * 3)


def test_elsewhere_the_advantage_track_must_agree_to_1e_9(measured_advantages):
    one = measured_advantages()
    close, off = (compare_runs(one, elsewhere(shifted(one, amount))) for amount in (1e-12, 1e-6))
    assert (close.required, close.reached) == ("1e-9", "1e-9")
    assert not off.succeeded
    (run,) = one.sidecar.runs
    moved = replace(run.evaluations[0], advantages=run.evaluations[0].advantages + 1e-5)
    again = elsewhere(Measured(one.entry, Sidecar.of(one.sidecar.rewards, [SidecarRun(None, [moved])])))
    assert not compare_runs(one, again).succeeded


def test_an_entry_is_run_again_with_what_it_does_not_name_as_it_was(entry):
    old = entry()
    training = job_of(old).training
    assert (training.adam_beta1, training.adam_beta2, training.adam_epsilon) == (0.9, 0.95, 1e-8)
    named = old.model_copy(update={"training": old.training | {"adam_beta2": 0.999}})
    assert job_of(named).training.adam_beta2 == 0.999


def test_options_of_a_chat_template_come_back_from_an_entry(entry):
    config = {"model": "x", "lora_rank": 2, "chat_template_kwargs": {"enable_thinking": False, "date_string": "26 Jul"}}
    old = entry(policy=PolicyConfig(name="hf:x", details={"config": config}))
    found = parse_policy(job_of(old).policy).config
    assert (found.lora_rank, found.chat_template_kwargs) == (2, config["chat_template_kwargs"])


def test_what_differs_is_told_first(make_provenance):
    then = make_provenance(versions={"torch": "2.13.0", "python": "3.11.7"}, git_sha="a" * 40)
    here = make_provenance(versions={"torch": "2.14.0", "python": "3.11.7"}, hardware=OTHER)
    assert differing_conditions(then, then) == []
    told = "\n".join(differing_conditions(then, here))
    assert "torch: 2.13.0 then, 2.14.0 here" in told
    assert "CPU: Test CPU then, Another CPU here" in told
    assert "commit: aaaa" in told


def test_what_one_name_of_a_cpu_hides_is_told(make_provenance):
    def made(**processor):
        return make_provenance(hardware=OTHER.model_copy(update={"processor": processor}))

    then = made(machine="x86_64", model="1", flags="sse2 avx2 fma")
    assert differing_conditions(then, made(machine="x86_64", model="1", flags="sse2 fma avx2 rdpid")) == []
    assert differing_conditions(then, made(machine="x86_64", model="17", flags="avx512f avx2")) == [
        "CPU model: 1 then, 17 here",
        "instructions then and not here: fma",
        "instructions here and not then: avx512f",
    ]
    assert differing_conditions(then, made(machine="aarch64")) == ["architecture: x86_64 then, aarch64 here"]


def test_pins_that_did_not_stand_the_same_are_told(make_provenance):
    pins = {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "1"}
    then, here = make_provenance(arithmetic=pins), make_provenance(arithmetic={"OMP_NUM_THREADS": "1"})
    assert differing_arithmetic(then, then) == differing_arithmetic(then, make_provenance()) == []
    (told,) = differing_arithmetic(then, here)
    assert told.startswith("ATEN_CPU_CAPABILITY: avx2 then, not pinned here")


def test_pinned_arithmetic_decides_and_not_the_name_of_the_cpu(make_provenance):
    pins = {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "1"}
    then = make_provenance(arithmetic=pins, engine=CPU_ENGINE)
    assert same_kind(then, make_provenance(arithmetic=pins, engine=CPU_ENGINE, hardware=OTHER))
    others = {"arithmetic": pins | {"OMP_NUM_THREADS": "2"}}, {"versions": {"torch": "2.14.0"}}, {"arithmetic": None}
    for other in others:
        assert not same_kind(then, make_provenance(**{"arithmetic": pins, "engine": CPU_ENGINE} | other))
    unpinned = {"arithmetic": {"OMP_NUM_THREADS": "1"}, "engine": CPU_ENGINE}
    assert same_kind(make_provenance(**unpinned), make_provenance(**unpinned))
    other = OTHER.model_copy(update={"processor": {"flags": "avx2"}})
    assert not same_kind(make_provenance(**unpinned), make_provenance(**unpinned, hardware=other))
    unsaid = make_provenance(engine=CPU_ENGINE)
    assert not same_kind(unsaid, unsaid)
    assert "does not say which kernels" in "\n".join(differing_conditions(unsaid, unsaid))


def test_another_warm_start_is_told():
    then = PolicyConfig(name="mini", details={"warm_start_corpus": {"0": "abc", "1": "def"}, "rollout": "x"})
    here = PolicyConfig(name="mini", details={"warm_start_corpus": {"0": "xyz"}, "rollout": "x", "chat_template": "y"})
    assert differing_policies(then, then) == []
    assert differing_policies(then, here) == ["policy.warm_start_corpus.0: abc then, xyz here"]


@pytest.mark.parametrize("name", ["grpo", "gdpo", "gdpo_no_bn", "grpo_no_std", "gd2po"])
def test_advantages_follow_again_from_an_entry_and_its_sidecar(measured_advantages, name):
    assert moved_rows(measured_advantages(name)) == []


def test_a_normalizer_whose_numbers_changed_is_found_with_the_rows(measured_advantages, monkeypatch, tmp_path, capsys):
    one = measured_advantages()
    write_measured(one, tmp_path / "board" / "advantage")
    assert main(["recompute", "--root", str(tmp_path / "board")]) == 0
    published = GDPO.__call__
    monkeypatch.setattr(GDPO, "__call__", lambda self, batch: published(self, batch) * (1 + 1e-6))
    rows = moved_rows(one)
    assert rows
    assert all(row.found == pytest.approx(row.was * (1 + 1e-6)) for row in rows)
    assert {row.row for row in rows} == set(np.flatnonzero(one.sidecar.runs[0].evaluations[0].advantages).tolist())
    assert main(["recompute", "--root", str(tmp_path / "board")]) == 1
    printed = capsys.readouterr()
    assert "gdpo moved: rollout" in printed.err
    assert "1 of 1 entries computed again, 1 moved." in printed.out


def test_every_committed_advantage_follows_from_its_reward_vectors(capsys):
    assert main(["recompute", "--root", str(Path(__file__).parents[2] / "leaderboards")]) == 0


def test_an_attestation_stands_beside_its_entry_is_shown_and_checked(tmp_path, measured, make_provenance, capsys):
    one = measured()
    board = Board(tmp_path)
    path = board.file(one.entry, one.sidecar)
    attestation = Attestation(
        entry=one.entry.id,
        seeds=[result.seed for result in one.entry.results],
        criterion="equal",
        largest_difference={"format": 0.0, "correct": 0.0},
        provenance=make_provenance(author="another", status="reproduced", cost=Cost(wall_s=1, tokens=None)),
    )
    assert status([one.entry], {one.entry.id: [attestation]}) == "reproduced"
    mine = attestation.model_copy(update={"provenance": one.entry.provenance})
    assert status([one.entry], {one.entry.id: [mine]}) == "self-reported"
    file = write_attestation(attestation, path.parent)
    assert attestation_problems(tmp_path) == []
    assert Board.read(tmp_path).entries.keys() == {one.entry.id}
    assert Board.read(tmp_path).problems == []
    assert main(["table", "--root", str(tmp_path)]) == 0
    assert "| reproduced |" in (tmp_path / "README.md").read_text()
    assert main(["html", "--root", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert f"python -m gdpo_bench.leaderboard reproduce {one.entry.id}" in page
    assert "2 of 2 runs: the same numbers, bit for bit." in page
    text = file.read_text()
    file.write_text(text.replace('"equal"', '"1e-9"'))
    another = measured(luck=1)
    write_measured(another, tmp_path / "run/entries")
    assert main(["submit", str(tmp_path / "run"), "--root", str(tmp_path)]) == 2
    assert len(Board.read(tmp_path).entries) == 1
    assert main(["html", "--root", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 2
    assert "Its name does not follow from its content" in capsys.readouterr().err
    assert "Its name does not follow from its content" in attestation_problems(tmp_path)[0]
    file.write_text("{")
    assert "Not an attestation" in attestation_problems(tmp_path)[0]
    file.write_text(text)
    path.unlink()
    assert "which is not in the same folder" in attestation_problems(tmp_path)[0]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    from gdpo_bench.jobs import training

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "LocalEngine", InThisProcess)
    return tmp_path


@pytest.mark.slow
def test_an_entry_is_reproduced_from_its_file_alone(folder, policy_cache, capsys):
    training = ["prompts=2", "group_size=4", "eval_every=2", "eval_prompts=4", "max_new_tokens=12"]
    from gdpo_bench.cli.run import main as run

    words = [
        "--envs",
        "gdpo/MathMini-v1:limit=30",
        "--normalizers",
        "gdpo:eps=1e-4,weights.correct=2",
        "--seeds",
        "0:0",
    ]
    policy = "mini:warm_start_steps=20,warm_start_examples=200,warm_start_batch=4"
    assert run([*words, "1:4", "--steps", "2", "--policy", policy, "--training", *training]) == 0
    (path,) = folder.glob("runs/*/entries/*.json")
    assert main(["reproduce", str(path), "--out", "again", "--attest"]) == 0
    printed = capsys.readouterr().out
    assert "Reproduced. 2 of 2 seeds: the same numbers, bit for bit." in printed
    assert attestation_problems(folder) == []
    assert len(list(path.parent.glob("*.attested-*.json"))) == 1
    assert main(["reproduce", str(path), "--out", "part", "--seeds", "1"]) == 0
    assert "1 of 2 seeds: the same numbers" in capsys.readouterr().out


@pytest.mark.slow
def test_an_entry_on_given_replies_needs_them_or_its_reward_vectors(folder, capsys):
    from gdpo_bench.cli.run import main as run
    from gdpo_bench.core import make_env

    tasks = list(make_env("gdpo/MathMini-v1").tasks("eval"))[:4]
    lines = [json.dumps({"task_id": task.id, "replies": ["", "<answer>1</answer>"]}) for task in tasks]
    Path("replies.jsonl").write_text("\n".join(lines))
    torch.set_num_threads(2)
    assert run(["--envs", "gdpo/MathMini-v1", "--normalizers", "gdpo", "--policy", "replay:replies.jsonl"]) == 0
    assert torch.get_num_threads() == 1  # with more, advantages may differ in their last bits
    (path,) = folder.glob("runs/*/entries/*.json")
    assert main(["reproduce", str(path)]) == 0  # the command named is pytest's, not one with the file
    assert "computed from the recorded rewards" in capsys.readouterr().out
    assert main(["reproduce", str(path), "--completions", "replies.jsonl"]) == 0
    assert "Reproduced. The evaluation: the same numbers, bit for bit." in capsys.readouterr().out
    Path("others.jsonl").write_text(lines[0])
    assert main(["reproduce", str(path), "--completions", "others.jsonl"]) == 2
    assert "others.jsonl does not give the replies that entry" in capsys.readouterr().err


def test_an_entry_on_an_environment_that_is_gone_names_the_commit_that_has_it(capsys):
    board = Path(__file__).parents[2] / "leaderboards"
    path = sorted((board / "training" / "gdpo" / "MathMini-v0").glob("*.json"))[0]
    commit = json.loads(path.read_text())["provenance"]["git_sha"]
    assert main(["reproduce", str(path)]) == 2
    told = capsys.readouterr().err
    assert "gdpo/MathMini-v0" in told
    assert f"git checkout {commit}" in told


def test_an_entry_of_another_revision_of_the_grader_is_not_run_again(replay, monkeypatch):
    job = {"envs": ["gdpo/MathMini-v1"], "normalizers": ["gdpo"], "policy": "oracle"}
    planned = plan(check(job))
    (env,), (normalizer,) = planned.envs, planned.normalizers
    entry = replay(policy="oracle").model_copy(
        update={"environment": env.description, "normalizer": normalizer.describe(env.specs)}
    )
    rebuild(entry)
    monkeypatch.setattr(type(env.env), "grader_revision", env.description.grader_revision + 1)
    with pytest.raises(JobError, match=r"grader_revision was 1, is 2\. Install the version that made it"):
        rebuild(entry)


def test_what_cannot_be_reproduced_is_said(folder, measured, capsys):
    path = write_measured(measured(), folder)
    assert main(["reproduce", str(path), "--seeds", "0"]) == 2
    assert "--seeds must be at least 1" in capsys.readouterr().err
    assert main(["reproduce", str(path)]) == 2
    assert "TestMini" in capsys.readouterr().err
    assert main(["reproduce", "nowhere"]) == 2
    with pytest.raises(EntryError, match="sidecar"):
        Board(folder / "b").file(measured().entry)
