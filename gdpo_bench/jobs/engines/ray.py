"""Tasks on a Ray cluster, for sweeps larger than a machine.

Differs from the local engine in where tasks run and in nothing that they compute. A task whose process or node
dies is started again; one that raises would raise again, and is not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gdpo_bench.jobs.engines.choice import RayOptions
from gdpo_bench.jobs.engines.ray_cluster import RayEngineError, connect, nodes_resources, own_import_paths
from gdpo_bench.jobs.engines.ray_worker import Answer, Order, Parcel, ProgressBoard, dumps, loads, perform
from gdpo_bench.jobs.start import WarmStarted
from gdpo_bench.jobs.work import Event, Failed, Finished, Progressed, WorkItem
from gdpo_bench.leaderboard.files.provenance import versions

_POLL_S = 0.5


@dataclass(frozen=True)
class _Pending:
    """A task that Ray has."""

    number: int
    attempt: int


class RayEngine:
    """Runs tasks on a Ray cluster, in processes of one thread with the job's environment variables."""

    def __init__(self, address: str | None = None, options: RayOptions = RayOptions()) -> None:  # noqa: B008 (frozen)
        """Connect to a cluster, or start Ray on this machine.

        Args:
            address: `HOST:PORT`, `auto` or `local`; `RAY_ADDRESS`, one started here, or a new one if absent.
            options: What tasks ask for, and how often they are started again.

        Raises:
            RayEngineError: Ray is not installed, or no cluster answers.
        """
        self._own = connect(address)
        import ray  # noqa: PLC0415 (optional)
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

        self._ray = ray
        self._options = options
        # Ray's own retries are off: they do not show here, and those for lack of memory are counted apart.
        demand = {"num_cpus": options.cpus, "num_gpus": options.gpus}
        self._perform = ray.remote(perform).options(**demand, max_retries=0)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._board = ray.remote(ProgressBoard).options(num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote()
        self._parcels: dict[WarmStarted, Any] = {}
        """Policy → reference to its parcel, which this process owns, so that no node's death loses it."""
        self._pending: dict[Any, _Pending] = {}
        """Reference of a future answer → whose it is."""

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop what still runs and leave the cluster; a Ray that was started here ends."""
        for reference in self._pending:
            self._ray.cancel(reference, force=True)
        self._pending = {}
        self._ray.shutdown()

    def run(self, tasks: Sequence[WorkItem]) -> Iterator[Event]:
        """Run tasks, begun in their order, as the cluster has room.

        Args:
            tasks: What to run; events name them by position.

        Yields:
            What happens, as it happens; each task ends with `Finished` or `Failed`.

        Raises:
            RayEngineError: No node has room for a task, and none came in time.
        """
        roomless = _Roomless(self._options, grows=not self._own)
        payloads = [dumps(task) for task in tasks]
        for number in range(len(tasks)):
            self._submit(payloads[number], _Pending(number, 1))
        while self._pending:
            roomless.check(len(self._pending))
            ready, _ = self._ray.wait(list(self._pending), timeout=_POLL_S)
            yield from self._progress()
            for reference in ready:
                ended = self._pending.pop(reference)
                outcome = self._outcome(reference)
                if isinstance(outcome, Answer):
                    yield _event(ended.number, outcome)
                elif ended.attempt <= self._options.retries:
                    self._submit(payloads[ended.number], _Pending(ended.number, ended.attempt + 1))
                    yield Progressed(ended.number, 0.0, f"begins again: {outcome}")
                else:
                    times = f"{ended.attempt} times, at last" if ended.attempt > 1 else "once"
                    yield Failed(ended.number, f"its process or node died {times}: {outcome}", expected=True)

    def _submit(self, packed: tuple[bytes, list[WarmStarted]], pending: _Pending) -> None:
        payload, policies = packed
        order = Order(pending.number, pending.attempt, payload, own_import_paths(), versions(), self._board)
        for policy in policies:
            if policy not in self._parcels:
                self._parcels[policy] = self._ray.put(Parcel.of(policy))
        reference = self._perform.remote(order, *(self._parcels[policy] for policy in policies))
        self._pending[reference] = pending

    def _progress(self) -> Iterator[Progressed]:
        """Reports of tasks that are under way; of earlier attempts nothing is heard any more."""
        try:
            latest = self._ray.get(self._board.take.remote(), timeout=10)
        except self._ray.exceptions.RayError:
            return  # the board starts again by itself; results do not depend on it
        under_way = {(pending.number, pending.attempt) for pending in self._pending.values()}
        for attempt, (share, text) in latest.items():
            if attempt in under_way:
                yield Progressed(attempt[0], share, text)

    def _outcome(self, reference: Any) -> Answer | str:
        """The answer, or of what its process or node died."""
        errors = self._ray.exceptions
        try:
            answer: Answer = self._ray.get(reference)
            return answer
        except (errors.RayTaskError, errors.RuntimeEnvSetupError) as error:  # a task's own error is an answer
            message = f"Ray could not start it on a node; is the same gdpo-bench installed there? {error}"
            return Answer("error", (message, True))
        except errors.RayError as error:
            return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"


def _event(number: int, answer: Answer) -> Finished | Failed:
    if answer.kind == "error":
        return Failed(number, *answer.content)
    return Finished(number, loads(answer.content, [parcel.unpack() for parcel in answer.parcels]))


class _Roomless:
    """Notices when no node could ever run a task, which Ray itself would wait for silently."""

    def __init__(self, options: RayOptions, *, grows: bool) -> None:
        self._options = options
        self._patience_s = options.wait_s if grows else 0.0
        self._had_room = time.monotonic()
        self._next = self._had_room

    def check(self, left: int) -> None:
        """Raise where no node has had room for too long; `left` tasks are to go."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _POLL_S
        nodes = nodes_resources()
        if any(_has_room(resources, self._options) for resources in nodes.values()):
            self._had_room = now
        elif now - self._had_room >= self._patience_s:
            raise RayEngineError(_explain(nodes, self._options, left))


def _has_room(resources: Mapping[str, float], options: RayOptions) -> bool:
    return resources.get("CPU", 0) >= options.cpus and resources.get("GPU", 0) >= options.gpus


def _explain(nodes: Mapping[str, Mapping[str, float]], options: RayOptions, left: int) -> str:
    there = "; ".join(
        f"{name}: {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
        for name, resources in nodes.items()
    )
    return (
        f"Each task asks for {options.cpus:g} CPUs and {options.gpus:g} GPUs on one node, and no node of the Ray "
        f"cluster has them ({there}). Ask for less (--engine ray:cpus=1,gpus=0), add nodes, or wait longer for them "
        f"(wait_s={options.wait_s:g}). {left} tasks are to go; what is finished is kept: start again with --resume."
    )
