"""Write api.md, the list of all that is public, from the packages' `__all__` and docstrings. Nothing is imported.

python docs/make_api.py
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
API = ROOT / "docs" / "api.md"
PACKAGES = {
    "gdpo_bench": "Environments by id, and what authors of environments write",
    "gdpo_bench.core": "The same, with errors and helpers",
    "gdpo_bench.advantages": "Normalizers",
    "gdpo_bench.advice": "What recorded rollouts let one expect",
    "gdpo_bench.agent": "Policies and their training",
    "gdpo_bench.conformance": "Properties of advantage estimators",
    "gdpo_bench.authoring": "Checks of an environment",
    "gdpo_bench.leaderboard": "Entries in and out",
    "gdpo_bench.integrations.trl": "TRL",
    "gdpo_bench.integrations.verl": "verl",
    "gdpo_bench.integrations.nemo_gym": "NeMo Gym",
    "gdpo_bench.integrations.verifiers": "verifiers",
    "gdpo_bench.integrations.openenv": "OpenEnv",
    "gdpo_sandbox": "Programs in Docker",
}
_HEAD = """# What is public

Made by `python docs/make_api.py` from each package's `__all__`; a test holds this page to it. All else may change
without notice; [CONTRIBUTING.md](../CONTRIBUTING.md#versions) says how public things change. Signatures and docstrings:
[reference](reference.md).
"""


def source(module: str) -> Path:
    """The file of a module or package."""
    base = ROOT / {"gdpo_sandbox": "sandbox", "gdpo_envs": "envs"}.get(module.partition(".")[0], "")
    path = base.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


_NAMED = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public_names(module: str) -> list[str]:
    """The names in a package's `__all__`, in its order."""
    for node in _nodes(module):
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            names: list[str] = ast.literal_eval(node.value)
            return names
    raise SystemExit(f"{source(module)} has no __all__.")


def summary(module: str, name: str) -> str:
    """The first line of a name's docstring, found through the imports that lead to it."""
    nodes = list(_nodes(module))
    for i, node in enumerate(nodes):
        if isinstance(node, _NAMED) and node.name == name and (text := ast.get_docstring(node)):
            return text.partition("\n")[0]
        if _assigns(node, name):
            after = nodes[i + 1] if i + 1 < len(nodes) else None
            told = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            return str(told).partition("\n")[0]
        if isinstance(node, ast.ImportFrom) and node.module and any(a.name == name for a in node.names):
            return summary(node.module, name)
    raise SystemExit(f"{name} of {module} is in __all__ and nowhere else.")


def _assigns(node: ast.stmt, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _nodes(module: str) -> Iterator[ast.stmt]:
    for node in ast.parse(source(module).read_text(encoding="utf-8")).body:
        yield node
        if isinstance(node, ast.If):  # TYPE_CHECKING: what is imported when it is asked for
            yield from node.body


def render() -> str:
    """The page."""
    parts = [_HEAD]
    for module, what in PACKAGES.items():
        rows = [f"| `{name}` | {summary(module, name).replace('|', '/')} |" for name in public_names(module)]
        parts.append("\n".join([f"## `{module}`", "", f"{what}.", "", "| name | |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    API.write_text(render(), encoding="utf-8")
