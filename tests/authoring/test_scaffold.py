"""A package made by `gdpo-bench new` reads well, installs, passes its tests and trains."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from gdpo_bench.authoring.scaffold import new_package
from gdpo_bench.cli.main import main
from gdpo_bench.core import RegistrationError
from gdpo_bench.core.files import WriteError

JOB = """
envs: [{}]
normalizers: [gdpo]
seeds: [0]
policy: mini:warm_start_steps=20
training: {{steps: 1, prompts: 2, group_size: 4, eval_prompts: 4}}
"""
OPTIONS = ["--no-deps", "--no-index", "--no-build-isolation", "-q"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(python: Path, *arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [python, "-m", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "tools"),
    [("acme/Sql-v0", False), pytest.param("my-lab/QueryDesk2.1-v3", True, marks=pytest.mark.seldom)],
)
def test_a_new_package_installs_passes_its_tests_and_trains(
    env_id: str, tools: bool, author_python: Path, empty_folder: Path, policy_cache: Path
) -> None:
    assert main(["new", env_id, *(["--tools"] if tools else [])]) == 0
    (package,) = (path for path in empty_folder.iterdir() if path.is_dir())
    run(author_python, "ruff", "check", "--no-cache", folder=package)
    run(author_python, "ruff", "format", "--no-cache", "--check", folder=package)
    run(author_python, "pip", "install", *OPTIONS, "-e", ".", folder=package)
    run(author_python, "mypy", folder=package)
    tested = run(author_python, "pytest", "-q", folder=package)
    assert re.search(r"\b16 passed", tested), tested
    (empty_folder / "job.yaml").write_text(JOB.format(env_id))
    assert env_id in run(author_python, "gdpo_bench.run", "job.yaml", folder=empty_folder)
    assert list(empty_folder.glob("runs/*/entries/*.json"))


@pytest.mark.slow
def test_a_built_wheel_declares_the_environment(author_python: Path, empty_folder: Path) -> None:
    new_package("acme/Sql-v0")
    run(author_python, "pip", "install", *OPTIONS, "./acme-sql", folder=empty_folder)
    (empty_folder / "acme-sql").rename(empty_folder / "gone")
    assert run(author_python, "gdpo_bench", "check", "acme/Sql-v0", "--tasks", "1", folder=empty_folder)


@pytest.mark.parametrize("tools", [False, True])
def test_a_packages_readme_names_the_rewards_that_it_has(tools: bool, empty_folder: Path) -> None:
    package = new_package("acme/Sql-v0", tools=tools)
    code = (package / "acme_sql/env.py").read_text()
    rewards = re.findall(r"@reward\(.*?\)\n    def (\w+)", code, re.DOTALL)
    text = (package / "README.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == rewards
    assert f"{rewards[1]}` | " in text
    assert f"counts only if `{rewards[0]}` is 1" in text
    assert "--policy demonstrations" in text


def test_all_names_follow_the_id(empty_folder: Path) -> None:
    package = new_package("My-Lab/QueryDesk2.1-v3", tools=True)
    assert package == Path("my-lab-query-desk2-1")
    texts = {path: path.read_text() for path in package.rglob("*") if path.is_file()}
    assert not [path for path, text in texts.items() if re.search(r"acme|Sql(Env|Task)", f"{path}{text}")]
    assert '"My-Lab/QueryDesk2.1-v3" = "my_lab_query_desk2_1.env:QueryDesk2_1Env"' in texts[package / "pyproject.toml"]
    assert "class QueryDesk2_1Env(DialogEnv[QueryDesk2_1Task" in texts[package / "my_lab_query_desk2_1/env.py"]


@pytest.mark.parametrize(
    "id",
    ["", "Sql-v0", "acme/Sql", "acme/Sql-v", "acme/x/Sql-v0", "acme/ Sql-v0", "ac=me/Sql-v0", "1a/Sql-v0", "../Sql-v0"],
)
def test_a_malformed_id_is_refused(id: str, empty_folder: Path) -> None:
    with pytest.raises(RegistrationError, match="An environment id is 'namespace/Name-v0'"):
        new_package(id)
    assert not list(empty_folder.iterdir())


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("gdpo/MathMini-v1", "registered already; raise the version"),
        ("gdpo/Envs-v0", "would be 'gdpo_envs', which exists"),
        ("gdpo/Bench-v0", "would be 'gdpo_bench', which exists"),
    ],
)
def test_a_name_that_is_taken_is_refused(id: str, message: str) -> None:
    with pytest.raises(RegistrationError, match=message):
        new_package(id)


@pytest.mark.parametrize("id", ["acme/Text-v0", "acme/Dialog-v0", "acme/task-v0", "acme/class-v0"])
@pytest.mark.parametrize("tools", [False, True])
def test_a_class_never_hides_what_its_file_imports(id: str, tools: bool) -> None:
    source = (new_package(id, tools=tools) / f"{id[:-3].replace('/', '_').lower()}/env.py").read_text()
    compile(source, "env.py", "exec")
    (name,) = re.findall(r"^class (\w+)\((?:TextEnv|DialogEnv)\[", source, re.MULTILINE)
    assert name not in ("TextEnv", "DialogEnv")


def test_nothing_is_overwritten(empty_folder: Path) -> None:
    package = new_package("acme/Sql-v0")
    (package / "README.md").write_text("mine")
    with pytest.raises(WriteError, match="acme-sql is there already; nothing was written"):
        new_package("acme/Sql-v0")
    assert (package / "README.md").read_text() == "mine"
    assert new_package("acme/Sql-v0", Path("else/where")).is_dir()
    assert sorted(path.name for path in empty_folder.iterdir()) == ["acme-sql", "else"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_a_message(empty_folder: Path) -> None:
    empty_folder.chmod(0o500)
    with pytest.raises(WriteError, match="Cannot write acme-sql: Permission denied"):
        new_package("acme/Sql-v0")
    empty_folder.chmod(0o700)


def test_a_file_in_the_way_is_a_message(empty_folder: Path) -> None:
    (empty_folder / "file").touch()
    with pytest.raises(WriteError, match="Cannot write file/acme"):
        new_package("acme/Sql-v0", Path("file/acme"))
