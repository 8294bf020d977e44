"""Errands in a small shop, made from a seed: what is asked, in which world, and calls that do it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from gdpo_bench.core import Task
from gdpo_envs.tool_calling.toolrl import Call
from gdpo_envs.tool_dialog.shop import Shop
from gdpo_envs.tool_dialog.tools import DAYS, execute

PRODUCTS = ("pen", "cup", "lamp", "rope", "kite", "drum", "saw", "bell")
CUSTOMERS = ("Ada", "Bo", "Cy", "Di")
TITLES = ("audit", "lunch", "sale", "call", "tour", "yoga")
FILES = ("a.txt", "b.txt", "log.txt")
DISTANCES = ("km", "mi", "m", "ft")


@dataclass(frozen=True)
class Errand(Task):
    """Something to do or to find out."""

    world: dict[str, Any]
    """The contents of the world at the beginning."""
    calls: list[Call]
    """Calls that do it, in order."""
    answer: float | None
    """What the response must say, if anything is asked."""


def errands(count: int) -> Iterator[Errand]:
    """Errands 0 to `count` − 1, the kinds in turn; each follows from its number alone."""
    for number in range(count):
        yield _KINDS[number % len(_KINDS)](Random(f"errand {number}"), _world(Random(f"world {number}")))


def _world(rng: Random) -> dict[str, Any]:
    products = [[name, rng.randint(2, 30), rng.randint(5, 60)] for name in rng.sample(PRODUCTS, 4)]
    orders = [[rng.choice(CUSTOMERS), rng.choice(products)[0], rng.randint(1, 9)] for _ in range(4)]
    events = [
        {"title": title, "day": rng.choice(DAYS), "hour": hour}
        for title, hour in zip(rng.sample(TITLES, 3), rng.sample(range(8, 18), 3), strict=True)
    ]
    return {"tables": {"products": products, "orders": orders}, "events": events, "files": {}}


def _call(tool: str, /, **parameters: Any) -> Call:
    return {"name": tool, "parameters": parameters}


def _ask(rng: Random, *wordings: str) -> str:
    return rng.choice(wordings) + "\n"


def _result(world: dict[str, Any], *calls: Call) -> Any:
    """What the last of these calls answers."""
    state = Shop.of(world)
    return [execute(state, call["name"], call["parameters"]) for call in calls][-1]


def _stock(rng: Random, world: dict[str, Any]) -> Errand:
    product, _, stock = rng.choice(world["tables"]["products"])
    call = _call("sql", statement=f"SELECT stock FROM products WHERE name='{product}'")
    prompt = _ask(rng, f"How many {product}s are in stock?", f"stock of {product}?")
    return Errand(prompt, world, [call], stock)


def _worth(rng: Random, world: dict[str, Any]) -> Errand:
    product, price, stock = rng.choice(world["tables"]["products"])
    calls = [
        _call("sql", statement=f"SELECT price, stock FROM products WHERE name='{product}'"),
        _call("calculate", expression=f"{price}*{stock}"),
    ]
    prompt = _ask(rng, f"What is our stock of {product}s worth?", f"value of all {product}s in stock?")
    return Errand(prompt, world, calls, price * stock)


def _ordered(rng: Random, world: dict[str, Any]) -> Errand:
    customer = rng.choice(world["tables"]["orders"])[0]
    call = _call("sql", statement=f"SELECT sum(quantity) FROM orders WHERE customer='{customer}'")
    prompt = _ask(rng, f"How many pieces has {customer} ordered?", f"pieces ordered by {customer}?")
    return Errand(prompt, world, [call], _result(world, call)[0][0])


def _reprice(rng: Random, world: dict[str, Any]) -> Errand:
    product, price, _ = rng.choice(world["tables"]["products"])
    new = price + rng.randint(1, 9)
    call = _call("sql", statement=f"UPDATE products SET price={new} WHERE name='{product}'")
    return Errand(
        _ask(rng, f"Set the price of {product} to {new}.", f"{product} now costs {new}."), world, [call], None
    )


def _sell(rng: Random, world: dict[str, Any]) -> Errand:
    product, _, stock = rng.choice(world["tables"]["products"])
    sold, file = rng.randint(1, 5), rng.choice(FILES)
    calls = [
        _call("sql", statement=f"UPDATE products SET stock=stock-{sold} WHERE name='{product}'"),
        _call("sql", statement=f"SELECT stock FROM products WHERE name='{product}'"),
        _call("write_file", name=file, text=str(stock - sold)),
    ]
    prompt = _ask(rng, f"{sold} {product}s were sold. Take them off, and write what is left into {file}.")
    return Errand(prompt, world, calls, None)


def _book(rng: Random, world: dict[str, Any]) -> Errand:
    taken = {(event["day"], event["hour"]) for event in world["events"]}
    day, hour = rng.choice([(day, hour) for day in DAYS for hour in range(8, 18) if (day, hour) not in taken])
    title = rng.choice([title for title in TITLES if title not in {event["title"] for event in world["events"]}])
    prompt = _ask(rng, f"Put {title} on {day} at {hour}.", f"book {title}, {day} {hour}")
    return Errand(prompt, world, [_call("add_event", title=title, day=day, hour=hour)], None)


def _move(rng: Random, world: dict[str, Any]) -> Errand:
    event = rng.choice(world["events"])
    day = rng.choice([day for day in DAYS if day not in {event["day"] for event in world["events"]}])
    calls = [
        _call("list_events", day=event["day"]),
        _call("remove_event", title=event["title"]),
        _call("add_event", title=event["title"], day=day, hour=event["hour"]),
    ]
    prompt = _ask(rng, f"Move {event['title']} from {event['day']} to {day}, same hour.")
    return Errand(prompt, world, calls, None)


def _convert(rng: Random, world: dict[str, Any]) -> Errand:
    file, value = rng.choice(FILES), rng.randint(2, 99)
    source, target = rng.sample(DISTANCES, 2)
    world = world | {"files": {file: str(value)}}
    calls = [_call("read_file", name=file), _call("convert", value=value, source=source, target=target)]
    prompt = _ask(rng, f"{file} holds {source}. How many {target} is that?", f"{file} from {source} to {target}?")
    return Errand(prompt, world, calls, _result(world, *calls))


def _note(rng: Random, world: dict[str, Any]) -> Errand:
    value, file = rng.randint(2, 99), rng.choice(FILES)
    source, target = rng.choice((("kg", "lb"), ("lb", "kg")))
    call = _call("convert", value=value, source=source, target=target)
    calls = [call, _call("write_file", name=file, text=str(_result(world, call)))]
    return Errand(_ask(rng, f"Write {value} {source} in {target} into {file}."), world, calls, None)


def _agenda(rng: Random, world: dict[str, Any]) -> Errand:
    day, file = rng.choice(world["events"])["day"], rng.choice(FILES)
    call = _call("list_events", day=day)
    titles = " ".join(title for _, title in _result(world, call))
    calls = [call, _call("write_file", name=file, text=titles)]
    return Errand(_ask(rng, f"Write the titles of {day}'s events into {file}, by hour."), world, calls, None)


_KINDS: tuple[Callable[[Random, dict[str, Any]], Errand], ...] = (
    *(_stock, _worth, _ordered, _reprice, _sell),
    *(_book, _move, _convert, _note, _agenda),
)
