"""Names that are not there."""

from gdpo_bench.core.errors import UnknownNameError


def test_a_long_list_of_names_does_not_bury_the_guess() -> None:
    message = str(UnknownNameError("attack", "escape/ptrase", [f"family/{i}" for i in range(200)] + ["escape/ptrace"]))
    assert "Did you mean 'escape/ptrace'" in message
    assert message.endswith(" and 151 more.")
    assert len(message) < 1_000


def test_capitals_do_not_hide_what_was_meant() -> None:
    assert "Did you mean 'gdpo'" in str(UnknownNameError("normalizer", "GDPO", ["gdpo", "rloo"]))
    assert "Did you mean 'gdpo/MathMini-v1'" in str(UnknownNameError("environment", "MATHMINI", ["gdpo/MathMini-v1"]))


def test_a_short_list_is_whole() -> None:
    assert str(UnknownNameError("word", "x", ["b", "a"])) == "Unknown word 'x'. Known: a, b."
