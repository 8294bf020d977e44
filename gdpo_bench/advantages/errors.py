"""What can be wrong with a call for advantages."""

from gdpo_bench.core.errors import GdpoBenchError


class BatchError(GdpoBenchError, ValueError):
    """Rewards, group ids, weights or masks that do not fit together, or are not finite."""


class DomainError(GdpoBenchError, ValueError):
    """A batch outside what a normalizer is defined for, such as a negative reward or no lengths."""


class OptionError(GdpoBenchError, ValueError):
    """An option of a normalizer with a value that it cannot take."""


class NormalizerOutputError(GdpoBenchError, ValueError):
    """A normalizer returned something other than N finite advantages."""


class StateError(GdpoBenchError, ValueError):
    """A normalizer's state that cannot be kept."""
