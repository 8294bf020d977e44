"""An environment with three rewards, one of which counts only where another does.

python examples/environment.py
cd examples && gdpo-bench check environment:examples/Palindromes-v0
cd examples && python -m gdpo_bench.run --envs environment:examples/Palindromes-v0 --policy demonstrations
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random

from gdpo_bench import Gate, Task, TextEnv, make_vec, register, reward
from gdpo_bench.core import split_by_content


@dataclass(frozen=True)
class Half(Task):
    """The first half of a palindrome."""

    letters: str


@register("examples/Palindromes-v0")
class Palindromes(TextEnv[Half]):
    """Letters, to be continued to a palindrome of twice their number."""

    def tasks(self, split: str) -> Sequence[Half]:
        """All words of three letters out of five."""
        words = map("".join, product("abcde", repeat=3))
        return split_by_content((Half(f"Continue to a palindrome: {word}", word) for word in words), split)

    @reward(low=0, high=1, kind="binary", metric="accuracy")
    def palindrome(self, task: Half, reply: str) -> bool:
        """1 if the reply reads the same from both ends and begins with the letters."""
        return reply == reply[::-1] and reply.startswith(task.letters)

    @reward(low=0, high=1, kind="binary", gate=Gate(on="palindrome", at_least=1))
    def length(self, task: Half, reply: str) -> bool:
        """1 if it has twice as many letters; counts only for palindromes."""
        return len(reply) == 2 * len(task.letters)

    @reward(low=0, high=1)
    def known_letters(self, task: Half, reply: str) -> float | None:
        """Share of the reply's letters that the task has; says nothing of an empty reply."""
        return sum(letter in task.letters for letter in reply) / len(reply) if reply else None

    def reference(self, task: Half) -> str:
        """A reply that earns full marks."""
        return task.letters + task.letters[::-1]

    def demonstrations(self, rng: Random) -> Iterator[tuple[Half, str]]:
        """Imperfect replies without end, which the embedded policy imitates before it is trained."""
        tasks = self.tasks("train")
        while True:
            task = rng.choice(tasks)
            yield task, task.letters + task.letters[rng.randrange(-3, 0) :: -1] + rng.choice(["", "", "x"])


if __name__ == "__main__":
    env = make_vec("examples/Palindromes-v0", num_prompts=1, group_size=4)
    prompts, _ = env.reset(seed=0)
    letters = prompts[0][-3:]
    _, rewards, _, _, info = env.step([letters + letters[::-1], letters + letters[-2::-1], letters, ""])
    print(prompts[0])
    print(rewards)
    print(info["reward_components"])
