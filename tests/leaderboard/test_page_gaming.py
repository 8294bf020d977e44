"""The page shows what gaming earns in an environment, where it was measured on the tasks and rewards of entries."""

import json

import pytest

from gdpo_bench.cli.leaderboard import main
from gdpo_bench.core import gaming
from gdpo_bench.core.gaming import ALL_RIGHT, GamingCertificate
from gdpo_bench.leaderboard.files.store import write_entry
from gdpo_bench.leaderboard.show.page import render_page


def certificate(entry, **changes):
    environment = entry.environment
    fields = {
        "environment": environment.id,
        "options": {},
        "grader_revision": 1,
        "data_revision": None,
        "split": "eval",
        "task_ids_hash": environment.task_ids_hash,
        "tasks": 3,
        "seed": 0,
        "seen": "4 demonstrations",
        "rewards": {
            "format": {"low": 0, "high": 1, "correctness": False},
            "correct": {"low": -3, "high": 3, "correctness": True},
        },
        "oracle": {"format": 1, "correct": 3, ALL_RIGHT: 1},
        "policies": {
            "empty": {"format": 0, "correct": -3, ALL_RIGHT: 0},
            "<b>bold</b>": {"format": 1, "correct": -2.25, ALL_RIGHT: 0.25},
        },
        "allowed": {},
    }
    return GamingCertificate.model_validate(fields | changes)


def test_what_gaming_reaches_stands_in_the_environments_group(entry):
    one = entry()
    text = render_page([one], certificates={one.environment.id: certificate(one)})
    assert "replies that ignore their task reach 12% of correct and 25% of all right" in text
    cells = '</td><td class="number">'.join(["−3.00", "3.00", "−2.25"])
    assert f'<th scope="row">correct</th><td class="number">{cells}</td>' in text
    assert "&lt;b&gt;bold&lt;/b&gt;</td><td>correct 5.25, all right 0.75</td>" in text
    assert "<b>bold</b>" not in text


@pytest.mark.parametrize(
    "changes",
    [
        {"grader_revision": 2},
        {"task_ids_hash": "0" * 16},
        {"rewards": {"format": {"low": 0, "high": 1, "correctness": False}}},
    ],
)
def test_what_was_measured_on_other_tasks_or_by_another_grader_is_not_shown(entry, changes):
    one = entry()
    assert render_page([one], certificates={one.environment.id: certificate(one, **changes)}) == render_page([one])


def test_the_command_finds_what_lies_beside_environments(tmp_path, monkeypatch, entry):
    one = entry()
    file = tmp_path / "gaming" / "some.json"
    file.parent.mkdir()
    file.write_text(certificate(one).model_dump_json())
    monkeypatch.setattr(gaming, "certificate_path", lambda id: file if id == one.environment.id else None)
    write_entry(one, tmp_path / "leaderboards/training" / one.environment.id)
    assert main(["html", "--out", str(tmp_path / "page.html"), "--root", str(tmp_path / "leaderboards")]) == 0
    assert "reach 12% of correct" in (tmp_path / "page.html").read_text(encoding="utf-8")
    file.write_text(json.dumps({}))
    assert main(["html", "--out", str(tmp_path / "page.html"), "--root", str(tmp_path / "leaderboards")]) != 0
