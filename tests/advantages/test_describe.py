"""`gdpo-bench normalizers` lists all and explains one."""

from pathlib import Path

import pytest

from gdpo_bench.advantages import list_normalizers
from gdpo_bench.cli.main import main


def test_the_list_names_every_normalizer_and_what_its_name_presets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["normalizers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in list_normalizers():
        assert any(line.split()[:1] == [name] for line in lines), name
    assert any("gdpo_no_bn" in line and "batch_norm=False" in line for line in lines)


def test_one_is_explained_with_source_and_every_option_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["normalizers", "gdpo_no_bn"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "arXiv 2601.05242" in shown
    assert "batch_norm False (elsewhere True) Whiten" in shown
    assert "eps 1e-06 " in shown
    assert "preset=paper" in shown


def test_ones_own_is_explained_and_an_unknown_one_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_own_rule.py").write_text('def rule(batch):\n    """Nothing but noise."""\n    return batch\n')
    assert main(["normalizers", "my_own_rule:rule"]) == 0
    assert "Nothing but noise." in capsys.readouterr().out
    assert main(["normalizers", "gdop"]) == 2
    assert "Did you mean 'gdpo'" in capsys.readouterr().err
