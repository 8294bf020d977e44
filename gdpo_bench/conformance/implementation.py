"""What is tested: our normalizers by name, or anybody's function through a thin adapter."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gdpo_bench.advantages import compute_advantages, list_normalizers, make_normalizer
from gdpo_bench.advantages.errors import DomainError
from gdpo_bench.conformance.cases import Case
from gdpo_bench.core.errors import RegistrationError

ARGUMENTS = ("rewards", "groups", "weights", "lengths", "applicable", "failed", "specs")
"""Parameters that a function of its own may have; those that it has are handed over by name."""


class OutsideDomainError(Exception):
    """A case that the implementation does not claim to handle: it is skipped, and is no failure."""


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
        """
        absent = {"applicable": case.applicable, "failed": case.failed}
        if any(value is not None and name not in self.accepts for name, value in absent.items()):
            raise OutsideDomainError
        if case.by_name and not self.named_weights:
            raise OutsideDomainError
        if "weights" not in self.accepts and any(weight != 1 for weight in case.weights):
            raise OutsideDomainError
        names = [spec.name for spec in case.specs]
        everything = {
            "rewards": case.tensor,
            "groups": case.groups,
            "weights": dict(reversed(list(zip(names, case.weights, strict=True)))) if case.by_name else case.weights,
            "lengths": case.lengths,
            "specs": case.specs,
            **absent,
        }
        try:
            return self.function(**{name: everything[name] for name in self.accepts})  # type: ignore[no-any-return]
        except DomainError as error:
            raise OutsideDomainError from error


def implementation(target: str | Callable[..., Any], **options: Any) -> Implementation:
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
    """
    if isinstance(target, str) and target in list_normalizers():
        make_normalizer(target, **options)  # complains now, not in the middle of a search
        return _of_normalizer(target, lambda: make_normalizer(target, **options))
    function: Any = make_normalizer(target, **options) if isinstance(target, str) else target
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


def _of_normalizer(name: str, make: Callable[[], Callable[..., Tensor]]) -> Implementation:
    def compute(**arguments: Any) -> Tensor:
        # A fresh one each time: what an estimator remembers must not leak between cases.
        return compute_advantages(make(), **arguments)

    return Implementation(name, compute, frozenset(ARGUMENTS), named_weights=True)
