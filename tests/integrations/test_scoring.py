"""Replies scored by task id."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gdpo_bench import Gate, Task, TextEnv, make_vec, register, reward
from gdpo_bench.core import UnavailableError, UnknownNameError
from gdpo_bench.integrations.errors import IntegrationError
from gdpo_bench.integrations.scoring import beside, scorer


@register("scoring-test/Judged-v0")
class Judged(TextEnv[Task]):
    """A reward that is always there, one that sometimes is not, one that breaks, and one behind a gate."""

    def tasks(self, split):
        return [Task(f"{split} {n}") for n in range(3)]

    @reward(low=0, high=1)
    def filled(self, task, reply):
        return bool(reply)

    @reward(low=-1, high=1)
    def sometimes(self, task, reply):
        return None if "none" in reply else -0.5

    @reward(low=0, high=1)
    def breaks(self, task, reply):
        return 1 / ("zero" not in reply)

    @reward(low=0, high=1, gate=Gate(on="filled", at_least=1))
    def gated(self, task, reply):
        return 1


@register("scoring-test/Elsewhere-v0")
class Elsewhere(Judged):
    def unavailable(self):
        return "no service answers; start one."


@register("scoring-test/Waits-v0")
class Waits(TextEnv[Task]):
    """Its reward waits for others to ask."""

    barrier: threading.Barrier

    def tasks(self, split):
        return [Task(split)]

    @reward(low=0, high=100)
    def waited(self, task, reply):
        self.barrier.wait(20)
        return int(reply)


@register("scoring-test/WaitsElsewhere-v0")
class WaitsElsewhere(Waits):
    scored_elsewhere = True


@register("scoring-test/Unsafe-v0")
class Unsafe(TextEnv[Task]):
    """Its second reward reads what the first one has left."""

    reward_workers = 1
    scored_elsewhere = True

    def tasks(self, split):
        return [Task(split)]

    @reward(low=0, high=100)
    def first(self, task, reply):
        self.last = int(reply)
        time.sleep(0.001)
        return self.last

    @reward(low=0, high=100)
    def second(self, task, reply):
        time.sleep(0.001)
        return self.last


def test_rewards_equal_those_of_the_vector_environment():
    ours = make_vec("gdpo/MathMini-v1", num_prompts=3, group_size=2)
    tasks = ours.tasks[:3]
    ours.reset(options={"task_ids": [task.id for task in tasks]})
    replies = [text for task in tasks for text in (ours.text_env.reference(task), "<answer>1</answer>")]
    expected = ours.step(replies)[1]
    found = scorer("gdpo/MathMini-v1")([task.id for task in tasks for _ in range(2)], replies)
    assert (found.values == expected).all()
    assert len(set(map(tuple, expected))) > 1


def test_tasks_of_every_split_are_found():
    judged = scorer("scoring-test/Judged-v0")
    assert judged.task(Task("eval 2").id).prompt == "eval 2"
    assert judged.task(Task("train 0").id).prompt == "train 0"


def test_all_rewards_are_named_and_masks_say_which_count():
    named = scorer("scoring-test/Judged-v0").named(Task("train 0").id, "none zero")
    assert named.values == {"filled": 1.0, "sometimes": 0.0, "breaks": 0.0, "gated": 1.0}
    assert named.applicable == {"filled": True, "sometimes": False, "breaks": True, "gated": True}
    assert named.failed == {"filled": False, "sometimes": False, "breaks": True, "gated": False}


def test_a_scorer_is_made_once_for_each_choice_of_options():
    one = scorer("gdpo/ToolCallingMini-v1", {"format_rate": 0.04})
    assert scorer("gdpo/ToolCallingMini-v1", '{"format_rate": 0.04}') is one
    assert scorer("gdpo/ToolCallingMini-v1") is not one


def test_threads_that_ask_at_once_get_the_same_rewards():
    judged, found = scorer("scoring-test/Judged-v0"), {}

    def ask(n):
        found[n] = judged.named(Task(f"eval {n % 3}").id, "x" * (n % 2)).values["filled"]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: float(n % 2) for n in range(12)}


@pytest.mark.parametrize("env_id", ["scoring-test/Waits-v0", "scoring-test/WaitsElsewhere-v0"])
def test_calls_from_many_threads_are_inside_at_once(env_id):
    waits = scorer(env_id)
    waits.env.barrier = threading.Barrier(16)  # which lets nobody through before all are there
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda n: waits.named(Task("eval").id, str(n)).values["waited"], range(16)))
    assert found == list(range(16))


def test_an_event_loop_has_more_calls_inside_than_it_has_threads():
    waits = scorer("scoring-test/Waits-v0")
    waits.env.barrier = threading.Barrier(48)

    async def ask():
        return await asyncio.gather(*[beside(waits.named, Task("eval").id, str(n)) for n in range(48)])

    assert [one.values["waited"] for one in asyncio.run(ask())] == list(range(48))


def test_an_environment_that_is_not_safe_for_threads_is_asked_in_turn():
    unsafe = scorer("scoring-test/Unsafe-v0")
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: unsafe.named(Task("eval").id, str(n)).values, range(40)))
    assert found == [{"first": n, "second": n} for n in range(40)]


def test_a_prompt_of_another_data_set_is_no_task():
    with pytest.raises(IntegrationError, match="scoring-test/Judged-v0 finds a task by its id, a text, and None came"):
        scorer("scoring-test/Judged-v0")([None], ["reply"])


def test_an_unknown_task_is_named():
    with pytest.raises(UnknownNameError, match=r"task id of scoring-test/Judged-v0 'nothing'.*6 tasks in all"):
        scorer("scoring-test/Judged-v0")(["nothing"], ["reply"])


def test_an_environment_of_several_turns_is_refused():
    with pytest.raises(IntegrationError, match="Choose an environment of one turn"):
        scorer("gdpo/ToolDialog-v0")
    playable = scorer("gdpo/ToolDialog-v0", several_turns=True)
    assert playable.env.max_turns > 1
    with pytest.raises(IntegrationError, match="single replies"):
        scorer("gdpo/ToolDialog-v0")


@pytest.mark.parametrize("options", ["{", "[1]", "nothing"])
def test_options_that_are_no_object_are_refused(options):
    with pytest.raises(IntegrationError, match="must be a JSON object"):
        scorer("gdpo/MathMini-v1", options)


def test_an_environment_that_cannot_score_here_says_why():
    with pytest.raises(UnavailableError, match="no service answers"):
        scorer("scoring-test/Elsewhere-v0")
