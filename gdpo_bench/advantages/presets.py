"""Options with which our normalizers compute what a framework's own code computes.

    make_normalizer("gdpo", preset="verl")
    make_normalizer("gdpo", preset="trl@1.16")  # what that release computes
    make_normalizer("gdpo", preset="nemo-rl@main")

A framework's name is its newest computation, a release stands for the one that it has (`RELEASES`): a framework that
changes a number gets a new preset, one that does not gets none. Checked against the installed packages by
`tox -e peer-axolotl`, `peer-swift`, `peer-trl` and `peer-verl`: axolotl 0.19, ms-swift 4.6, TRL 1.16 and verl 0.9.1;
and against the newest by `tox -e drift`. Read from their sources of August and September 2026 and not run
(docs/conformance.md says why): NeMo-RL, OpenRLHF, tunix, NVlabs/GDPO, and older releases. `paper` is the published
formula in float64. Of a preset, an estimator takes the options that it has.
"""

from __future__ import annotations

import re
from typing import Any

from gdpo_bench.advantages.errors import OptionError
from gdpo_bench.core.errors import UnknownNameError

_FLOAT32 = {"statistics": "float32", "zero_variance": "eps"}
_TRL = _FLOAT32 | {"eps": 1e-4, "missing": "add_nothing", "failed": "add_nothing"}
_VERL = _FLOAT32 | {"eps": 1e-6, "singleton": "raw", "missing": "error", "failed": "error"}
_VERL_WHITENING = {"scope": "token", "whitening_eps": 1e-8, "eps_in_root": True}
_ZERO_FILL = {"missing": "zero", "failed": "zero"}
_SKIP_ALL = {"missing": "skip", "failed": "skip", "whiten_absent": True}
_NEMO = _ZERO_FILL | {
    "statistics": "float32",
    "eps": 1e-6,
    "zero_variance": "undivided",
    "baseline": "leave_one_out",
}
# Sums of nothing counted as 0 in TRL up to 1.5.
_TRL_SUMS = _TRL | {"missing": "zero", "failed": "zero"}
_NEMO_07 = _NEMO | {"zero_variance": "undivided_at_zero"}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {
        "GRPO": {"zero_variance": "eps"},
        "GDPO": {"zero_variance": "eps"},
    },
    "trl": {"GRPO": _TRL, "GDPO": _TRL},
    "trl@0.27": {"GRPO": _TRL_SUMS, "GDPO": _TRL | {"whiten_absent": True}},
    "trl@0.26": {"GRPO": _TRL_SUMS},
    "verl": {
        "GRPO": _VERL,
        "GDPO": _VERL | _VERL_WHITENING,
        "OPO": _VERL,
        "ReinforcePlusPlus": _VERL | _VERL_WHITENING,
    },
    "verl@0.4": {"GRPO": _VERL, "OPO": _VERL, "ReinforcePlusPlus": _VERL | _VERL_WHITENING},
    "ms-swift": {
        "GRPO": _TRL | _ZERO_FILL | {"singleton": "zero"},
        "GDPO": _FLOAT32 | _SKIP_ALL | {"eps": 1e-8},
    },
    # Whitens without ε, and only centres where there is no spread. Up to 0.7 the deviation of equal fellows divides,
    # where rounding leaves any: the numbers that come of that are the machine's.
    "nemo-rl": {"GRPO": _NEMO, "GDPO": _NEMO | {"whitening_eps": 0.0}},
    "nemo-rl-0.7": {"GRPO": _NEMO_07, "GDPO": _NEMO_07 | {"whitening_eps": 0.0}},
    "nemo-rl@0.4": {"GRPO": _NEMO_07},
    "nemo-rl@0.2": {"GRPO": _NEMO_07 | {"ddof": 0, "eps": 0.0}},
    # Adds rewards without weights: leave weights at 1.
    "tunix": {"GDPO": _FLOAT32 | _ZERO_FILL | {"eps": 1e-4, "ddof": 0}},
    "nvlabs-trl": {
        "GRPO": _TRL | _ZERO_FILL | {"singleton": "error"},
        "GDPO": _TRL | _ZERO_FILL | {"singleton": "error", "grpo_if_single": True},
    },
    # Their code adds exactly two rewards with weights of one; the arithmetic is the same for any.
    "nvlabs-verl": {"GRPO": _VERL, "GDPO": _VERL | _VERL_WHITENING},
    "openrlhf": {"GRPO": _FLOAT32 | {"eps": 1e-9, "singleton": "error", "missing": "error", "failed": "error"}},
    "axolotl-streaming": {
        "GRPO": _TRL | _ZERO_FILL,
        "GDPO": _TRL | _SKIP_ALL | {"scope": "group", "singleton": "error"},
    },
}


RELEASES: dict[str, tuple[tuple[str, str], ...]] = {
    "trl": (("0.15", "trl@0.26"), ("0.27", "trl@0.27"), ("1.6", "trl")),
    "verl": (("0.4", "verl@0.4"), ("0.7.1", "verl")),
    "ms-swift": (("4.0", "ms-swift"),),
    "nemo-rl": (("0.2", "nemo-rl@0.2"), ("0.4", "nemo-rl@0.4"), ("0.6", "nemo-rl-0.7"), ("0.8", "nemo-rl")),
    "tunix": (("0", "tunix"),),
    "openrlhf": (("0", "openrlhf"),),
}
"""Framework → the release from which on it computes what a preset does, oldest first. NeMo-RL's last change is on its
main branch, and not verified to be in 0.8."""


def preset_options(preset: str, estimator: str) -> dict[str, Any]:
    """The options that reproduce a framework.

    Args:
        preset: `paper`, `trl`, `verl`, …, or a release such as `trl@1.16` or `nemo-rl@main`.
        estimator: The class whose options they are, such as `GDPO`.

    Raises:
        UnknownNameError: No such preset.
        OptionError: The framework has no such estimator, or a release is none that is known.
    """
    preset = _of_release(preset)
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    if estimator not in PRESETS[preset]:
        having = [name for name, estimators in PRESETS.items() if estimator in estimators and "@" not in name]
        raise OptionError(
            f"There is no preset {preset!r} of {estimator}; "
            + (f"its presets: {', '.join(having)}." if having else "it has no presets.")
        )
    return PRESETS[preset][estimator]


def _of_release(preset: str) -> str:
    """The preset of a framework's release; other names as they are."""
    framework, at, release = preset.partition("@")
    if not at or preset in PRESETS or framework not in RELEASES:
        return preset
    known = RELEASES[framework]
    if release == "main":
        return known[-1][1]
    if not re.fullmatch(r"\d+(\.\d+)*", release):
        raise OptionError(f"Expected {framework}@main or a release such as {framework}@{known[-1][0]}; got {preset!r}.")
    found = [name for since, name in known if _numbers(since) <= _numbers(release)]
    if not found:
        raise OptionError(f"Nothing is known of {preset}; the oldest release that is known is {known[0][0]}.")
    return found[-1]


def _numbers(release: str) -> tuple[int, ...]:
    """A release as numbers, without zeros at its end."""
    return tuple(map(int, re.sub(r"(\.0+)+$", "", release).split(".")))
