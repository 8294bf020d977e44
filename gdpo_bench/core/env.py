"""What the author of an environment writes: tasks, rewards, and for dialogues the answers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ClassVar, Generic, TypeVar

from gdpo_bench.core.errors import DeclarationError, UnknownNameError
from gdpo_bench.core.foreign import check_signature, defined_at, named
from gdpo_bench.core.rewards import RewardFunction, RewardSpec, check_methods, check_specs, declared_rewards
from gdpo_bench.core.task import Message, Task, TaskT

StateT = TypeVar("StateT")

_PLAIN_TYPES: dict[Any, tuple[type, ...]] = {
    annotation: types
    for name, types in {"int": (int,), "float": (float, int), "bool": (bool,), "str": (str,)}.items()
    for annotation in (name, types[0])  # as text under `from __future__ import annotations`
}
"""Annotations of options that are checked, and what they accept."""
_OF_EVERY_ENV = ("reward_workers", "reward_timeout")
"""Options that no constructor needs to name."""
_AUTHORED = ("tasks", "messages", "reference", "demonstrations", "begin", "respond", "scored")
"""Methods that authors write and others call, with the arguments that they have in `TextEnv`."""


Script = str | Sequence[str]
"""The replies of one whole episode, in order; a text stands for one reply."""


def script_replies(script: Script) -> Sequence[str]:
    """The replies of a script, one a turn."""
    return [script] if isinstance(script, str) else script


@dataclass(frozen=True)
class Turn(Generic[StateT]):
    """One reply of a dialogue, as the rewards see it."""

    reply: str
    index: int
    """0 for the first reply."""
    last: bool
    """Whether the episode ends with this reply."""
    state: StateT
    """What `DialogEnv.begin` made, after `respond` has seen the reply."""
    transcript: tuple[Message, ...]
    """All messages before the reply."""


class TextEnv(Generic[TaskT]):
    """A multi-reward environment of one turn: a prompt, a reply, a vector of rewards.

    Derive, return tasks, and declare rewards with `@reward`:

        class Echo(TextEnv[Task]):
            def tasks(self, split):
                return split_by_content((Task(f"Say {n}") for n in range(100)), split)

            @reward(low=0, high=1, kind="binary")
            def correct(self, task, reply):
                return task.prompt == f"Say {reply}"

            @reward(low=0, high=1, gate=Gate(on="correct", at_least=1))
            def short(self, task, reply):
                return 1 / max(1, len(reply))

    Reward methods must be pure: the same task and reply give the same value in any process.
    Constructor arguments are the environment's options: they must be JSON-able, and they reach
    `make_vec`, `gymnasium.make` and job files by name.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "eval")
    max_turns: int = 1
    """Replies after which an episode is cut off."""
    grader_revision: ClassVar[int] = 1
    """Raised when a reward function gives another number for some reply while the id stays. Entries record it, and
    those of two revisions are not compared."""
    data_licence: ClassVar[str | None] = None
    """Licence of the data behind the tasks, as SPDX names it; None for procedural ones."""
    scored_elsewhere: ClassVar[bool] = False
    """Whether reward functions mostly wait for other processes or machines. They are then called in other threads,
    `reward_workers` at once, and training computes log-probabilities meanwhile; they must not need the main thread, as
    signal handlers do."""
    reward_workers: int = 64
    """Calls of reward functions that wait at the same time, at most: of those `scored_elsewhere`, and of coroutine
    functions. 1 for an environment that is not safe for threads: its rollouts then take turns, whoever asks for them.
    An option of every environment."""
    reward_timeout: float | None = None
    """Seconds after which a call of a reward function has failed; None for no limit. A coroutine is cancelled; another
    function goes on in its thread until it returns. An option of every environment."""
    warm_starts_alone: ClassVar[bool] = False
    """Whether the embedded policy imitates this environment only before it is trained on it, and not the Mini ones too;
    then its options may decide what the policy can do at the start."""
    reward_functions: tuple[RewardFunction, ...] = ()
    """The methods marked with `@reward`, as they were marked; `reward_functions_of` has an instance's. An instance
    whose rewards follow from its options alone sets its own, and has their methods as attributes."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.reward_functions = declared_rewards(cls)
        for function in cls.reward_functions:
            if function.method in vars(TextEnv):
                raise DeclarationError(
                    f"{cls.__name__}: every environment has a {function.method!r} of its own, which trainers use; give "
                    "the reward another name."
                ).at(defined_at(getattr(cls, function.method), "def"))
        check_methods(cls, cls.reward_functions)
        for method in _AUTHORED:
            wanted = list(inspect.signature(vars(TextEnv)[method]).parameters)
            check_signature(cls, method, f"{cls.__name__}.{method}", wanted)
        check_specs(
            [function.spec for function in cls.reward_functions], lambda name: defined_at(getattr(cls, name, None))
        )
        revision: object = cls.grader_revision
        if not isinstance(revision, int) or isinstance(revision, bool) or revision < 1:
            raise DeclarationError(
                f"{cls.__name__}: grader_revision must be a whole number from 1 on; got {revision!r}."
            )

    @property
    def reward_specs(self) -> tuple[RewardSpec, ...]:
        """The K declarations, in the order of the reward vector.

        Override it where they depend on options: change a range, a gate or a weight (`dataclasses.replace`), leave
        rewards out, or put them in another order. What an instance declares here counts everywhere. Each name
        is that of a method marked with `@reward`.
        """
        return tuple(function.spec for function in self.reward_functions)

    def tasks(self, split: str) -> Sequence[TaskT]:
        """All tasks of a split, in a fixed order; splits must not share a task."""
        raise NotImplementedError(f"{type(self).__name__} must define tasks(split).")

    def messages(self, task: TaskT) -> list[Message]:
        """The task as chat messages; a system prompt or few-shot examples go here."""
        return [{"role": "user", "content": task.prompt}]

    def reference(self, task: TaskT) -> Script | None:
        """Replies of an episode that earns full marks, where they are known. `--policy oracle` gives them."""
        return None

    def demonstrations(self, rng: Random) -> Iterator[tuple[TaskT, Script]]:
        """An endless stream of training tasks with the replies of imperfect episodes.

        The embedded policy is warm-started on them. An environment without demonstrations
        yields nothing, which is the default.
        """
        return iter(())

    def data_revision(self) -> str | None:
        """Where the tasks come from and which version, or None for procedural ones."""
        return None

    def gameable(self) -> Mapping[str, str]:
        """Rewards that replies which ignore their task can have by design, and why; nothing by default.

        `gdpo-bench check ID --gaming` finds such replies. Where the reward behind `accuracy`, or `all right`, every
        reward at once, is within their reach, it fails unless that is said here: name → a sentence.
        """
        return {}

    def unavailable(self) -> str | None:
        """Why replies cannot be scored on this machine and what to do about it, or None where they can.

        An environment that needs more than Python and its data, such as a running service, says so
        here, before a job starts.
        """
        return None

    def runs_programs_with(self) -> dict[str, str] | None:
        """Versions of the Python that runs programs from replies, as `python`, and of packages that they may import.

        Leaderboard entries record them. None, the default, where no programs are run.
        """
        return None

    # What the engine calls; authors of dialogues derive from DialogEnv instead.

    def begin(self, task: TaskT) -> Any:
        """Fresh state of one episode."""
        return None

    def respond(self, task: TaskT, state: Any, reply: str) -> Message | None:
        """The message that answers a reply, or None when the episode ends."""
        return None

    def scored(self, turn: Turn[Any]) -> Any:
        """What reward methods get of a turn."""
        return turn.reply


class DialogEnv(TextEnv[TaskT], Generic[TaskT, StateT]):
    """A multi-reward environment of several turns.

    Beside tasks, define `begin` and `respond`, and set `max_turns`. Reward methods take a `Turn`
    in place of the reply, are called after every turn, and their values are summed over the
    episode: a reward that is due at the end returns 0 (or None) until `turn.last`. Both each
    turn's value and the sum must stay within the declared range.
    """

    max_turns: int = 8

    def begin(self, task: TaskT) -> StateT:
        """Fresh state of one episode, such as a database that the tools work on."""
        raise NotImplementedError(f"{type(self).__name__} must define begin(task).")

    def respond(self, task: TaskT, state: StateT, reply: str) -> Message | None:
        """Act on the reply (the state may change) and answer it, or return None to end."""
        raise NotImplementedError(f"{type(self).__name__} must define respond(task, state, reply).")

    def scored(self, turn: Turn[StateT]) -> Turn[StateT]:
        """All of it."""
        return turn


def reward_functions_of(env: TextEnv[Any]) -> tuple[RewardFunction, ...]:
    """The K rewards of an instance: its declarations, each with the method of that name.

    Raises:
        UnknownNameError: A declaration or a gate names a reward that is not there.
        DeclarationError: `reward_specs` gives something else than declarations, none, or one twice.
    """
    name = type(env).__name__
    declared: Any = env.reward_specs
    if not isinstance(declared, Sequence) or not all(isinstance(spec, RewardSpec) for spec in declared):
        raise DeclarationError(f"{name}.reward_specs must be a tuple of RewardSpec; got {declared!r:.200}.")
    if not declared:
        raise DeclarationError(f"{name}.reward_specs declares no reward with these options; at least one must stay.")
    check_specs(declared)
    marked = {function.spec.name: function for function in env.reward_functions}
    for spec in declared:
        if spec.name not in marked:
            raise UnknownNameError(
                f"reward in {name}.reward_specs", spec.name, marked, "Mark a method of that name with @reward."
            )
    return tuple(replace(marked[spec.name], spec=spec) for spec in declared)


def build_env(cls: type[TextEnv[Any]], env_id: str, options: dict[str, Any]) -> TextEnv[Any]:
    """An instance of an environment class with the given options.

    Raises:
        UnknownNameError: An option that the class does not have.
        DeclarationError: The class declares no reward, a required option is missing, or one is not
            of its declared type (checked for int, float, bool and str); or what the instance declares
            contradicts itself.
    """
    parameters = inspect.signature(cls).parameters
    own = {name: value for name, value in options.items() if name in parameters or name not in _OF_EVERY_ENV}
    of_every = {name: value for name, value in options.items() if name not in own}
    options = own
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for name in options:
            if name not in parameters:
                raise UnknownNameError(f"option of {env_id}", name, [*parameters, *_OF_EVERY_ENV])
    for name, value in options.items():
        expected = _PLAIN_TYPES.get(getattr(parameters.get(name), "annotation", None))
        stray_bool = isinstance(value, bool) and expected != (bool,)  # Python counts True as an int
        if expected is not None and (stray_bool or not isinstance(value, expected)):
            raise DeclarationError(f"{env_id}: option {name} must be {expected[0].__name__}; got {value!r}.")
    missing = [
        name
        for name, one in parameters.items()
        if one.default is one.empty
        and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        and name not in options
    ]
    if missing:
        raise DeclarationError(
            f"{env_id}: option {missing[0]} has no default; give it one, or a value: {env_id}:{missing[0]}=…"
        ).at(defined_at(cls.__init__, "def"))
    try:
        inspect.signature(cls).bind(**options)
    except TypeError as error:  # as where one goes by position alone
        raise DeclarationError(f"{env_id}: {error}.").at(defined_at(cls.__init__, "def")) from error
    env = cls(**options)
    if not env.reward_functions:
        raise DeclarationError(f"{env_id}: {cls.__name__} declares no reward; mark a method with @reward.").at(
            defined_at(cls, "class")
        )
    for name, value in of_every.items():
        setattr(env, name, value)
    _check_calls(env, env_id)
    reward_functions_of(env)
    return env


def _check_calls(env: TextEnv[Any], env_id: str) -> None:
    """Refuse numbers of workers and seconds that make no sense."""
    workers: Any = env.reward_workers
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise DeclarationError(f"{env_id}: reward_workers must be a whole number from 1 on; got {workers!r}.")
    seconds: Any = env.reward_timeout
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise DeclarationError(f"{env_id}: reward_timeout must be a number of seconds above 0; got {seconds!r}.")


def messages_of(env: TextEnv[TaskT], task: TaskT) -> list[Message]:
    """The chat messages that show a task, checked; the caller's to change.

    Raises:
        DeclarationError: The author's method returned something else.
    """
    found: Any = env.messages(task)
    if not isinstance(found, list | tuple) or not found:
        raise DeclarationError(
            f"messages(task) of {type(env).__name__} returned {named(found)}, for task {task.id}; return a list of "
            "messages, [{'role': 'user', 'content': …}]."
        ).at(defined_at(type(env).messages, "def"))
    return [copied_message(env, "messages", message, task) for message in found]


def copied_message(env: TextEnv[Any], method: str, message: Any, task: Task) -> Message:
    """A message of the author's that nobody else holds.

    Args:
        env: The environment.
        method: The method that gave it.
        message: What it gave.
        task: The task that it was for.

    Raises:
        DeclarationError: That is no message.
    """
    if isinstance(message, Mapping):
        role, content = message.get("role"), message.get("content")
        if isinstance(role, str) and isinstance(content, str):
            return {"role": role, "content": content}
    raise DeclarationError(
        f"{method}() of {type(env).__name__} gave {message!r:.100} for task {task.id}; a message is a dict with the "
        "texts 'role' and 'content'."
    ).at(defined_at(getattr(type(env), method), "def"))
