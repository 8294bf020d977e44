"""Code in the documentation runs as it is printed."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gdpo_bench.agent.options import EMBEDDED_CONFIGS, EmbeddedConfig, PretrainedConfig, TrainingOptions
from gdpo_bench.core.models import option_sentences
from gdpo_bench.jobs.job import RuntimeOptions

ROOT = Path(__file__).parents[1]
make_api = SimpleNamespace(**runpy.run_path(str(ROOT / "docs/make_api.py")))
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(python|bash|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_IMPORT = re.compile(r"^from ((?:gdpo_bench|gdpo_sandbox)[\w.]*) import ([\w, ]+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#\s]+)")
_SECTION = re.compile(r"^## .*$", re.MULTILINE)
_FILE_NAME = re.compile(r"# (\w+\.py)\n")

# The commands of the fresh environment, without a network.
_PRELUDE = """
set -euo pipefail
gdpo-bench() { python -m gdpo_bench "$@"; }
pip() { python -m pip "$1" --no-deps --no-index --no-build-isolation --quiet "${@:2}"; }
pytest() { python -m pytest -q -p no:cacheprovider "$@"; }
"""


@pytest.mark.slow
def test_python_blocks_of_the_readme_run_one_after_the_other(tmp_path: Path) -> None:
    """A block that begins with a comment such as `# my_envs.py` is a file that later blocks may import."""
    blocks = _PYTHON.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert blocks
    for i, code in enumerate(blocks):
        run_block(f"README.md, block {i + 1}", [sys.executable, write_block(code, i, tmp_path)], code, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("document", ["docs/new-environment.md", "docs/new-normalizer.md"])
def test_a_walk_through_runs_from_an_empty_folder(
    document: str, author_python: Path, tmp_path: Path, policy_cache: Path
) -> None:
    """Python blocks and commands, in the order in which they stand there, print the text that follows them."""
    blocks = _BLOCK.findall((ROOT / document).read_text(encoding="utf-8"))
    assert {language for language, _ in blocks} == {"python", "bash", "text"}
    printed = ""
    for i, (language, code) in enumerate(blocks):
        if language == "text":
            assert [line for line in squeezed(code) if line not in squeezed(printed)] == []
            continue
        command = ["bash", "-c", _PRELUDE + code]
        if language == "python":
            command = [str(author_python), write_block(code, i, tmp_path)]
        printed = run_block(f"{document}, block {i + 1}", command, code, tmp_path, path=author_python.parent)


OPTION_TABLES: dict[str, tuple[Any, ...]] = {
    "POLICY": (PretrainedConfig,),
    "TRAINING": (TrainingOptions,),
    "RUNTIME": (RuntimeOptions,),
}


def options_table(cls: Any) -> str:
    """Every option with its default and the sentence under it."""
    rows = ["| option | default | |", "|---|---|---|"]
    for name, (default, sentence) in option_sentences(cls).items():
        rows.append(f"| `{name}` | {default} | {sentence.replace('|', '/')} |")
    return "\n".join(rows)


def test_options_of_the_embedded_policies_are_those_of_the_code() -> None:
    rows = [f"| option | {' | '.join(f'`{name}`' for name in EMBEDDED_CONFIGS)} | |", "|---" * 5 + "|"]
    for option, (_, sentence) in option_sentences(EmbeddedConfig).items():
        values = (f"{getattr(config, option):g}" for config in EMBEDDED_CONFIGS.values())
        rows.append(f"| `{option}` | {' | '.join(values)} | {sentence} |")
    text = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    printed = text.partition("<!-- begin embedded -->\n")[2].partition("\n<!-- end embedded -->")[0]
    assert printed == "\n".join(rows)


@pytest.mark.parametrize("name", OPTION_TABLES)
def test_tables_of_options_say_what_the_code_says(name: str) -> None:
    text = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    printed = text.partition(f"<!-- begin {name.lower()} -->\n")[2].partition(f"\n<!-- end {name.lower()} -->")[0]
    assert printed == options_table(*OPTION_TABLES[name])


def test_the_list_of_what_is_public_says_what_the_packages_say() -> None:
    assert (ROOT / "docs/api.md").read_text(encoding="utf-8") == make_api.render(), "run: python docs/make_api.py"


def test_what_docs_and_templates_import_is_public() -> None:
    public = {(module, name) for module in make_api.PACKAGES for name in make_api.public_names(module)}
    modules = set(make_api.PACKAGES)
    pages = [
        ROOT / "README.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "gdpo_bench/authoring/templates").rglob("*.py"),
    ]
    imported = {
        (page.name, module, name)
        for page in pages
        for module, names in _IMPORT.findall(page.read_text(encoding="utf-8"))
        for name in names.split(", ")
        if f"{module}.{name}" not in modules
    }
    assert len(imported) > 10
    assert [one for one in sorted(imported) if one[1:] not in public] == []


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda page: page.name)
def test_a_page_has_each_section_once(page: Path) -> None:
    """A merge of two wordings leaves both."""
    headings = _SECTION.findall(page.read_text(encoding="utf-8"))
    assert [heading for heading in set(headings) if headings.count(heading) > 1] == []


def write_block(code: str, number: int, folder: Path) -> str:
    name = _FILE_NAME.match(code)
    script = folder / (name[1] if name else f"block_{number}.py")
    script.write_text(code, encoding="utf-8")
    return script.name


def squeezed(text: str) -> list[str]:
    """The lines, spaces that lay them out aside."""
    return [" ".join(line.split()) for line in text.splitlines()]


def run_block(what: str, command: list[str], code: str, folder: Path, path: Path | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | ({"PATH": f"{path}{os.pathsep}{os.environ['PATH']}"} if path else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{what}:\n{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout
