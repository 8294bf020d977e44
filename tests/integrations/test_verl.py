"""What of the verl integration needs no verl: rewards, data, and errors."""

import asyncio
import json
import math
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pyarrow.parquet as pq
import pytest

from gdpo_bench import make_env, make_vec
from gdpo_bench.core import UnknownNameError
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.verl import (
    compute_score,
    compute_score_async,
    compute_scores,
    write_data,
    write_mixed_data,
)

ENV = "gdpo/ToolCallingMini-v1"


def a_task(env_id, number=0, **options):
    env = make_env(env_id, **options)
    return env, env.tasks("train")[number]


def test_the_score_is_the_weighted_sum_and_every_reward_is_named():
    env, task = a_task(ENV)
    found = compute_score(ENV, env.reference(task), task.id, {"options": "{}"})
    assert found["reward/format"] == 1.0
    assert found["score"] == sum(spec.weight * found[f"reward/{spec.name}"] for spec in env.reward_specs)
    assert {key for key in found if key.count("/") == 1} == {f"reward/{spec.name}" for spec in env.reward_specs}


def test_weights_of_the_score_go_by_name():
    env, task = a_task(ENV)
    plain = compute_score(ENV, env.reference(task), task.id)
    weighted = compute_score(ENV, env.reference(task), task.id, weights={"format": 3.0})
    assert weighted["score"] == plain["score"] + 2 * plain["reward/format"]
    with pytest.raises(UnknownNameError, match="Did you mean 'format'"):
        compute_score(ENV, "", task.id, weights={"formats": 3.0})


def test_every_reply_has_every_key_and_masks_say_what_a_zero_means(moody):
    env = make_env(moody)
    odd = next(task for task in env.tasks("train") if int(task.prompt.split(":")[0]) % 2)
    even = next(task for task in env.tasks("train") if not int(task.prompt.split(":")[0]) % 2)
    absent, broken, whole = compute_scores(
        [moody] * 3, ["aaaaa", "abaaa", "aaaaa"], [odd.id, even.id, even.id], [None] * 3
    )
    assert absent.keys() == broken.keys() == whole.keys()
    assert all(math.isfinite(value) for row in (absent, broken, whole) for value in row.values())
    assert (absent["reward/size"], absent["reward/size/applicable"], absent["reward/size/failed"]) == (0, 0, 0)
    assert (broken["reward/luck"], broken["reward/luck/applicable"], broken["reward/luck/failed"]) == (0, 1, 1)
    assert broken["reward/gated/failed"] == 1  # it hangs on luck
    assert (whole["reward/size"], whole["reward/size/applicable"], whole["reward/size/failed"]) == (5, 1, 0)
    assert broken["score"] == 0.5 * 5
    assert absent["score"] == 5 + 1


def test_one_by_one_and_at_once_give_the_same_in_the_order_of_the_replies():
    tasks = {source: make_env(source).tasks("eval")[:3] for source in (ENV, "gdpo/MathMini-v1")}
    sources = [ENV, "gdpo/MathMini-v1"] * 3
    truths = [tasks[source][i // 2] for i, source in enumerate(sources)]
    replies = [make_env(source).reference(task) for source, task in zip(sources, truths, strict=True)]
    replies[3] = ""
    ids = [task.id for task in truths]
    at_once = compute_scores(sources, replies, ids, [{}] * 6)
    assert at_once == [compute_score(*row) for row in zip(sources, replies, ids, [{}] * 6, strict=True)]
    assert at_once[3]["score"] < at_once[1]["score"]


def test_written_tasks_are_those_of_the_environment_and_lead_back_to_it(tmp_path):
    files = write_data("gdpo/MathMini-v1", tmp_path / "new", max_addends=3)
    assert [file.name for file in files] == ["train.parquet", "eval.parquet"]
    env = make_env("gdpo/MathMini-v1", max_addends=3)
    for file, split in zip(files, env.splits, strict=True):
        rows = pq.read_table(file).to_pylist()
        assert [row["prompt"] for row in rows] == [env.messages(task) for task in env.tasks(split)]
        row, task = rows[-1], env.tasks(split)[-1]
        assert row["reward_model"] == {"style": "rule", "ground_truth": task.id}
        assert row["extra_info"] == {"split": split, "index": len(rows) - 1, "options": '{"max_addends":3}'}
        assert compute_score(row["data_source"], env.reference(task), task.id, row["extra_info"])["reward/correct"] == 1


def test_only_the_splits_that_are_named_are_written(tmp_path):
    assert write_data("gdpo/MathMini-v1", tmp_path, ["eval"]) == [tmp_path / "eval.parquet"]
    with pytest.raises(UnknownNameError, match="split"):
        write_data("gdpo/MathMini-v1", tmp_path, ["test"])


def test_in_a_mixture_every_reply_has_all_keys_and_those_of_others_do_not_apply(tmp_path):
    choices = [ENV, "gdpo/MathMini-v1:max_addends=3", "gdpo/MathMini-v1"]
    (file,) = write_mixed_data(choices, tmp_path, ["eval"])
    rows = pq.read_table(file).to_pylist()
    firsts = [next(row for row in rows if row["data_source"] == ENV)]
    firsts += [
        next(row for row in rows if row["extra_info"]["options"] == options and row["data_source"] != ENV)
        for options in ('{"max_addends":3}', "{}")
    ]
    replies = [make_env(choice).reference(make_env(choice).tasks("eval")[0]) for choice in choices]
    found = compute_scores(
        [row["data_source"] for row in firsts],
        replies,
        [row["reward_model"]["ground_truth"] for row in firsts],
        [row["extra_info"] for row in firsts],
        weights={"ToolCallingMini_v1_format": 3.0},
    )
    names = ["ToolCallingMini_v1", "MathMini_v1_1", "MathMini_v1_2"]
    for n, (row, choice) in enumerate(zip(found, choices, strict=True)):
        assert row.keys() == found[0].keys()
        (alone,) = compute_scores(
            [firsts[n]["data_source"]],
            [replies[n]],
            [firsts[n]["reward_model"]["ground_truth"]],
            [{"options": firsts[n]["extra_info"]["options"]}],
            weights={"format": 3.0} if n == 0 else None,
        )
        assert row["score"] == alone["score"] > 0, choice
        for spec in make_env(choice).reward_specs:
            for suffix in ("", "/applicable", "/failed"):
                assert row[f"reward/{names[n]}_{spec.name}{suffix}"] == alone[f"reward/{spec.name}{suffix}"]
        others = [key for key in row if "/" in key and not key.startswith(f"reward/{names[n]}_")]
        assert others
        assert all(row[key] == 0 for key in others)


def test_a_mixture_of_one_environment_twice_is_refused(tmp_path):
    with pytest.raises(IntegrationError, match="of different environments"):
        write_mixed_data([ENV, ENV], tmp_path)


def test_a_reply_to_no_task_is_a_clear_error():
    with pytest.raises(IntegrationError, match="finds a task by its id, a text, and None came"):
        compute_score(ENV, "a reply", None)


def test_awaited_scores_are_those_that_are_called():
    env, task = a_task(ENV)
    found = asyncio.run(compute_score_async(ENV, env.reference(task), task.id, {"options": "{}"}, {"format": 3.0}))
    assert found == compute_score(ENV, env.reference(task), task.id, {"options": "{}"}, {"format": 3.0})


def test_a_dialogue_is_refused(tmp_path):
    with pytest.raises(IntegrationError, match="Choose an environment of one turn"):
        write_data("gdpo/ToolDialog-v0", tmp_path)


def test_rewards_equal_those_of_step():
    vec = make_vec(ENV, num_prompts=4, group_size=2)
    tasks = vec.tasks[:4]
    vec.reset(options={"task_ids": [task.id for task in tasks]})
    replies = [text for task in tasks for text in (vec.text_env.reference(task), "<tool_call>")]
    expected = vec.step(replies)[1]
    found = compute_scores([ENV] * 8, replies, [task.id for task in tasks for _ in range(2)], [None] * 8)
    names = [spec.name for spec in vec.reward_specs]
    assert np.array_equal([[row[f"reward/{name}"] for name in names] for row in found], expected)


def test_the_command_writes_data_and_names_the_configuration(tmp_path):
    command = [sys.executable, "-m", "gdpo_bench.integrations.verl"]
    done = subprocess.run(
        [*command, f"{ENV}:format_rate=0.04", "--out", str(tmp_path), "--splits", "eval"],
        check=True,
        capture_output=True,
    )
    assert done.stdout.decode().split() == [str(tmp_path / "eval.parquet")]
    options = pq.read_table(tmp_path / "eval.parquet").to_pylist()[0]["extra_info"]["options"]
    assert json.loads(options) == {"format_rate": 0.04}
    wrong = subprocess.run([*command, "gdpo/Nothing-v0"], check=False, capture_output=True)
    assert wrong.returncode == 2
    assert b"Unknown environment" in wrong.stderr


@pytest.mark.skipif(find_spec("verl") is not None, reason="verl is installed")
def test_without_verl_the_estimators_say_what_to_install():
    code = "import gdpo_bench.integrations.verl.estimators"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "MissingExtraError: This needs verl and what its trainers import: pip install" in done.stderr
