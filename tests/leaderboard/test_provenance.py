import subprocess

import pytest

from gdpo_bench.leaderboard import Provenance, collect_provenance
from gdpo_bench.leaderboard.files import provenance
from gdpo_bench.leaderboard.files.provenance import git_state, lock_hash, rollout_engine


@pytest.fixture
def checkout(tmp_path):
    """A committed package in a checkout of its own."""
    package = tmp_path / "gdpo_bench"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "all"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    return package


def test_what_is_collected_is_complete_and_survives_json():
    found = collect_provenance("python -m gdpo_bench.run", wall_s=1.23, tokens=5)
    assert Provenance.model_validate_json(found.model_dump_json()) == found
    assert found.versions.keys() >= {"python", "gdpo_bench", "numpy", "gymnasium"}
    assert found.hardware.cores >= 1
    assert found.hardware.memory_gb > 0
    assert found.status == "self-reported"


def test_the_author_is_given_or_anonymous_and_never_the_account(monkeypatch):
    monkeypatch.delenv("GDPO_BENCH_AUTHOR", raising=False)
    assert collect_provenance("x", wall_s=0).author == "anonymous"
    monkeypatch.setenv("GDPO_BENCH_AUTHOR", "Ada")
    assert collect_provenance("x", wall_s=0).author == "Ada"
    assert collect_provenance("x", wall_s=0, author="Grace").author == "Grace"


def test_a_checkout_has_a_commit_and_is_dirty_only_when_its_code_differs(checkout):
    sha, dirty = git_state(checkout)
    assert (len(sha), dirty) == (40, False)
    (checkout.parent / "notes.txt").write_text("results")
    assert git_state(checkout) == (sha, False)
    (checkout / "__init__.py").write_text("x = 1")
    assert git_state(checkout) == (sha, True)


def test_a_package_installed_inside_somebody_elses_checkout_has_no_commit(checkout):
    installed = checkout.parent / ".venv" / "gdpo_bench"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert git_state(installed) == (None, None)


def test_without_git_there_is_no_commit(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout) == (None, None)


def test_the_lock_hash_is_of_all_installed_packages_whatever_their_order(monkeypatch):
    class Installed:
        def __init__(self, name, version):
            self.metadata, self.version = {"Name": name}, version

    def found(*installed):
        monkeypatch.setattr(provenance.metadata, "distributions", lambda: [Installed(*one) for one in installed])
        return lock_hash()

    one = found(("numpy", "2.0"), ("my_package", "1"))
    assert found(("My-Package", "1"), ("numpy", "2.0")) == one
    assert found(("numpy", "2.1"), ("my_package", "1")) != one
    assert found(("numpy", "2.0")) != one


def test_the_engine_is_named_with_its_version_and_gpus_cost_hours():
    engine = rollout_engine("transformers", "cuda")
    assert (engine.name, engine.device) == ("transformers", "cuda")
    assert engine.version == collect_provenance("x", wall_s=0).versions["transformers"]
    assert rollout_engine("nothing-of-this-name", "cpu").version == "unknown"
    used = collect_provenance("x", wall_s=1800, engine=engine, gpus=4)
    assert (used.engine, used.cost.gpu_hours) == (engine, 2.0)
    assert collect_provenance("x", wall_s=1800).cost.gpu_hours is None
