from dataclasses import replace

import numpy as np

from gdpo_bench import RewardSpec
from gdpo_bench.core.measurements import RewardVectors
from gdpo_bench.core.scoring import Scores
from gdpo_bench.leaderboard import Curve
from gdpo_bench.leaderboard.files.sidecar import Sidecar, SidecarRun
from gdpo_bench.leaderboard.files.store import Measured
from gdpo_bench.leaderboard.show.sentences import never_varied, outcome_sentences, silent_everywhere

FORMAT = [RewardSpec("format", 0, 1, "binary")]


def from_the_start(entry):
    """The same finals, reached before training."""
    results = [
        one.model_copy(update={"rewards": {n: Curve.of([c.curve[-1]] * len(c.curve)) for n, c in one.rewards.items()}})
        for one in entry.results
    ]
    return entry.model_copy(update={"results": results})


def test_a_reward_that_one_learned_and_the_other_did_not_is_said_in_a_sentence(entry):
    entries = [entry("gdpo", (0.95, 0.9, 0.92), specs=FORMAT), entry("grpo", (0.02, 0.01, 0.03), specs=FORMAT)]
    assert outcome_sentences(entries) == [
        "gdpo/TestMini-v0: gdpo learned format, grpo did not: +0.90, three of three seeds, too few to be sure."
    ]
    swapped = [entry("grpo", (0.95, 0.9, 0.92), specs=FORMAT), entry("gdpo", (0.02, 0.01, 0.03), specs=FORMAT)]
    assert "grpo learned format, gdpo did not: -0.90" in outcome_sentences(swapped)[0]


def test_what_both_learned_or_neither_is_only_higher_or_lower(entry):
    both = [entry("gdpo", (0.95, 0.9, 0.92), specs=FORMAT), entry("grpo", (0.52, 0.51, 0.53), specs=FORMAT)]
    assert "gdpo ended higher than grpo in format: +0.40" in outcome_sentences(both)[0]
    neither = [from_the_start(one) for one in both]
    assert "gdpo ended higher than grpo in format: +0.40" in outcome_sentences(neither)[0]


def test_with_enough_runs_a_sentence_is_sure_and_one_that_disagrees_does_not_silence_it(entry):
    finals = [0.95, 0.9, 0.92, 0.93, 0.91, 0.94, 0.95, 0.02]
    (said,) = outcome_sentences([entry("gdpo", finals, specs=FORMAT), entry("grpo", [0.02] * 8, specs=FORMAT)])
    assert said == "gdpo/TestMini-v0: gdpo learned format, grpo did not: +0.80, seven of eight seeds."


def test_noise_gives_no_sentence(entry):
    entries = [entry("gdpo", (0.4, 0.3, 0.5), specs=FORMAT), entry("grpo", (0.3, 0.4, 0.5), specs=FORMAT)]
    assert outcome_sentences(entries) == []


def test_a_difference_that_rounds_to_nothing_gives_no_sentence(entry):
    entries = [entry("gdpo", (0.901, 0.902, 0.903), specs=FORMAT), entry("grpo", (0.9, 0.9, 0.901), specs=FORMAT)]
    assert outcome_sentences(entries) == []


def vectors(step, values, applicable=None):
    values = np.array(values, np.float64)
    mask = np.ones(values.shape, bool) if applicable is None else np.array(applicable)
    scores = Scores(values, values, mask, np.zeros(values.shape, bool))
    return RewardVectors(step, scores, np.array(["a"] * len(values)), np.zeros(len(values), np.int64))


def test_a_reward_never_varied_if_it_was_one_number_in_all_evaluations_where_it_applied(entry):
    runs = [
        SidecarRun(
            None,
            [vectors(0, [[0, 0, 0], [0, 1, 9]], [[True, True, True], [True, True, False]]), vectors(5, [[0, 0, 0]])],
        ),
        SidecarRun(None, [vectors(0, [[0, 0, 0]])]),
    ]
    measured = Measured(entry(), Sidecar(["always", "sometimes", "elsewhere"], runs))
    assert never_varied(measured) == ["always", "elsewhere"]
    assert never_varied(replace(measured, sidecar=None)) == []


def test_a_reward_is_silent_everywhere_if_no_normalizer_saw_it_vary(entry):
    """What GRPO alone gives up is a finding; what nobody saw vary compares nothing."""
    assert silent_everywhere([(entry("grpo"), ["format", "length"]), (entry("gdpo"), ["length"])]) == [
        f"{entry().environment.id}:rare=True: length"
    ]
    assert silent_everywhere([(entry("grpo"), ["format"]), (entry("gdpo"), [])]) == []
    assert silent_everywhere([]) == []
