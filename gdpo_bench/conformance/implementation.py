"""What is tested: our normalizers by name, or anybody's function through a thin adapter."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gdpo_bench.advantages import compute_advantages, list_normalizers, make_normalizer
from gdpo_bench.advantages.errors import DomainError, NormalizerOutputError
from gdpo_bench.conformance.cases import Case
from gdpo_bench.core.errors import RegistrationError
from gdpo_bench.core.plugins import import_plugin

ARGUMENTS = ("rewards", "groups", "weights", "lengths", "applicable", "failed", "specs")
"""Parameters that a function of its own may have; those that it has are handed over by name."""
SIGNATURE = (
    "Functions are called with `rewards` (N, K) in floating point and `groups` (N,) int64, and those of `weights` (K,) "
    "in the rewards' dtype, `lengths` (N,) int64, `applicable` and `failed` (N, K) bool or None, and `specs` that they "
    "have as parameters, by name; they return a tensor of N advantages. Normalizers are called with a RewardBatch."
)
_OURS, _LIBRARIES = str(Path(__file__).parents[1]), str(Path(torch.__file__).parents[1])
_MASKS = ("applicable", "failed")
_TRIAL = Case([[0.0, 1.0], [1.0, 0.5], [1.0, 1.0], [0.0, 0.25]], [0, 0, 1, 1], [1.0, 1.0], [10] * 4)


class OutsideDomainError(Exception):
    """A case that the implementation does not claim to handle: it is skipped, and is no failure."""


class CrashError(Exception):
    """The implementation raised something that it does not mean to; the message says what and where."""


class CannotCallError(RegistrationError):
    """An implementation that raises on an ordinary batch, so that there is nothing to test."""


@dataclass(frozen=True)
class Implementation:
    """Something that turns a case into advantages."""

    name: str
    function: Callable[..., Any]
    """Called with the arguments that `accepts` names."""
    accepts: frozenset[str]
    """Which of `ARGUMENTS`; a case that needs another one is outside the domain."""
    named_weights: bool = False
    """Whether weights may be a mapping from reward names."""

    def __call__(self, case: Case) -> Tensor:
        """Advantages (N,) of a case.

        Raises:
            OutsideDomainError: The implementation does not handle such cases.
            NormalizerOutputError: It returned something other than N advantages.
            CrashError: It raised something else.
        """
        if any(one is not None and name not in self.accepts for name, one in vars(case).items() if name in _MASKS):
            raise OutsideDomainError
        if case.by_name and not self.named_weights:
            raise OutsideDomainError
        if "weights" not in self.accepts and any(weight != 1 for weight in case.weights):
            raise OutsideDomainError
        arguments = _arguments(case)
        try:
            found = self.function(**{name: arguments[name] for name in self.accepts})
        except DomainError as error:
            raise OutsideDomainError from error
        except NormalizerOutputError:
            raise
        except Exception as error:  # a stranger's function, which may raise anything
            raise CrashError(f"{type(error).__name__}: {error} ({_place(error)})") from error
        if not isinstance(found, Tensor) or found.shape != (len(case.groups),):
            came = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise NormalizerOutputError(f"expected a tensor of shape ({len(case.groups)},), got {came}")
        return found


def _arguments(case: Case) -> dict[str, Any]:
    """A case as all that a function may be called with."""
    names = [spec.name for spec in case.specs]
    masks = {name: None if (mask := getattr(case, name)) is None else torch.tensor(mask) for name in _MASKS}
    by_name = dict(reversed(list(zip(names, case.weights, strict=True))))
    return {
        "rewards": case.tensor,
        "groups": torch.tensor(case.groups),
        "weights": by_name if case.by_name else torch.tensor(case.weights, dtype=case.dtype),
        "lengths": torch.tensor(case.lengths),
        "specs": case.specs,
        **masks,
    }


def _place(error: Exception) -> str:
    """File and line where a stranger's code raised: its own last one, not that of a library below it."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    own = [frame for frame in frames if not frame.filename.startswith((_OURS, _LIBRARIES))]
    frame = (own or frames)[-1]
    return f"{frame.filename}, line {frame.lineno}"


def implementation(target: str | Callable[..., Any], /, **options: Any) -> Implementation:
    """Make something testable.

    Args:
        target: A registered normalizer; `module:thing` or a callable, where the thing is a
            normalizer (one required parameter, a `RewardBatch`), or a function whose parameters
            are among `rewards` (N, K), `groups` (N,), `weights` (K,), `lengths` (N,), `applicable`
            and `failed` (N, K), `specs`. It returns advantages (N,), and raises `DomainError`
            for batches that it does not claim to handle.
        **options: Options of a normalizer.

    Raises:
        UnknownNameError: No such normalizer.
        RegistrationError: The function has a parameter that is none of these.
        CannotCallError: It raises, or returns something else, on an ordinary batch.
    """
    made = _find(target, options)
    try:
        made(_TRIAL)
    except OutsideDomainError:
        pass
    except (CrashError, NormalizerOutputError) as error:
        raise CannotCallError(f"{made.name} cannot be called: {error}. {SIGNATURE}") from error
    return made


def _find(target: str | Callable[..., Any], options: dict[str, Any]) -> Implementation:
    if isinstance(target, str) and target in list_normalizers():
        make_normalizer(target, **options)  # complains now, not in the middle of a search
        return _of_normalizer(target, lambda: make_normalizer(target, **options))
    function: Any = _load(target, options) if isinstance(target, str) else target
    name = target.rpartition(".")[2] if isinstance(target, str) else getattr(target, "__qualname__", repr(target))
    if dataclasses.is_dataclass(function):
        original: Any = function
        return _of_normalizer(name, lambda: copy.deepcopy(original))
    parameters = inspect.signature(function).parameters.values()
    required = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if len(required) == 1 and required[0] not in ARGUMENTS:
        return _of_normalizer(name, lambda: function)
    strange = set(required) - set(ARGUMENTS)
    if strange or not {"rewards", "groups"} <= {p.name for p in parameters}:
        raise RegistrationError(
            f"{name}: expected a function of a RewardBatch, or of `rewards` and `groups` and any of "
            f"{', '.join(ARGUMENTS[2:])}; got {inspect.signature(function)}."
        )
    return Implementation(name, function, frozenset(p.name for p in parameters if p.name in ARGUMENTS))


def _load(target: str, options: dict[str, Any]) -> Any:
    """What `module:thing` names: a function of any parameters, or a normalizer."""
    module, _, thing = target.partition(":")
    found = getattr(import_plugin(module, target), thing, None) if thing else None
    return found if inspect.isfunction(found) and not options else make_normalizer(target, **options)


def _of_normalizer(name: str, make: Callable[[], Callable[..., Tensor]]) -> Implementation:
    def compute(**arguments: Any) -> Tensor:
        # A fresh one each time: what an estimator remembers must not leak between cases.
        return compute_advantages(make(), **arguments)

    return Implementation(name, compute, frozenset(ARGUMENTS), named_weights=True)
