"""Options with which our normalizers compute what a framework's own code computes.

    make_normalizer("gdpo", preset="verl")

Checked against the installed packages by `tox -e peer-axolotl`, `peer-swift`, `peer-trl` and
`peer-verl`: axolotl 0.19, ms-swift 4.6, TRL 1.16 and verl 0.9.1. Read from their sources of August
2026 and not run (docs/conformance.md says why): NeMo-RL, OpenRLHF and NVlabs/GDPO at their main
branches. `paper` is the published formula in float64. Of a preset, an estimator takes the options that it has.
"""

from __future__ import annotations

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
_NEMO_07 = _NEMO | {"zero_variance": "undivided_at_zero"}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {
        "GRPO": {"zero_variance": "eps"},
        "GDPO": {"zero_variance": "eps"},
    },
    "trl": {"GRPO": _TRL, "GDPO": _TRL},
    "verl": {
        "GRPO": _VERL,
        "GDPO": _VERL | _VERL_WHITENING,
        "OPO": _VERL,
        "ReinforcePlusPlus": _VERL | _VERL_WHITENING,
    },
    "ms-swift": {
        "GRPO": _TRL | _ZERO_FILL | {"singleton": "zero"},
        "GDPO": _FLOAT32 | _SKIP_ALL | {"eps": 1e-8},
    },
    # Whitens without ε, and only centres where there is no spread. Up to 0.7 the deviation of equal fellows divides,
    # where rounding leaves any: the numbers that come of that are the machine's.
    "nemo-rl": {"GRPO": _NEMO, "GDPO": _NEMO | {"whitening_eps": 0.0}},
    "nemo-rl-0.7": {"GRPO": _NEMO_07, "GDPO": _NEMO_07 | {"whitening_eps": 0.0}},
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


def preset_options(preset: str, estimator: str) -> dict[str, Any]:
    """The options that reproduce a framework.

    Args:
        preset: `paper`, `trl`, `verl`, ….
        estimator: The class whose options they are, such as `GDPO`.

    Raises:
        UnknownNameError: No such preset.
        OptionError: The framework has no such estimator.
    """
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    if estimator not in PRESETS[preset]:
        having = [name for name, estimators in PRESETS.items() if estimator in estimators]
        raise OptionError(
            f"There is no preset {preset!r} of {estimator}; "
            + (f"its presets: {', '.join(having)}." if having else "it has no presets.")
        )
    return PRESETS[preset][estimator]
