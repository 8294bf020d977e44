"""Write a folder that OpenEnv serves: its manifest, what it requires, and a program of a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gdpo_bench.core.registry import make_env
from gdpo_bench.integrations.written import module_name, project_name, project_text, span, write_files

PINNED = "openenv==0.10.0"
_APP = '''\
"""{env_id} of gdpo-bench as a server of OpenEnv: python -m server.app --port 8000."""

import tyro
import uvicorn

from gdpo_bench.integrations.openenv.server import make_app

WEIGHTS = {{{weights}}}
"""An observation's `reward` is the sum of its rewards times these; `metadata["rewards"]` has them one by one."""

app = make_app("{env_id}", {options!r}, WEIGHTS)


def main(host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve."""
    uvicorn.run(app, host=host, port=port)


if __name__ == "__main__":
    tyro.cli(main)
'''
_MANIFEST = """\
spec_version: 1
name: {module}
version: 0.1.0
type: space
runtime: fastapi
app: server.app:app
port: 8000
validation:
  reward:
    range: [{low!r}, {high!r}]
"""
_PARTS = """
[project.scripts]
server = "server.app:main"

[tool.hatch.build.targets.wheel]
packages = ["server"]
"""


def write_server(env_id: str, folder: Path, **options: Any) -> list[Path]:
    """Write a server of OpenEnv.

    Args:
        env_id: A registered id, or `module:namespace/Name-v0`.
        folder: A new folder.
        **options: The environment's own options.

    Returns:
        What was written.

    Raises:
        UnknownNameError: No such id or option.
        IntegrationError: The folder is not empty.
    """
    specs = make_env(env_id, **options).reward_specs
    low, high = span(specs)
    weights = ", ".join(f'"{spec.name}": {spec.weight!r}' for spec in specs)
    app = _APP.format(env_id=env_id, options=options, weights=weights)
    project = project_text(f"openenv-{project_name(env_id)}", f"{env_id} of gdpo-bench as a server of OpenEnv", PINNED)
    return write_files(
        folder,
        {
            "openenv.yaml": _MANIFEST.format(module=module_name(env_id), low=low, high=high),
            "pyproject.toml": project + _PARTS,
            "server/__init__.py": "",
            "server/app.py": app,
        },
    )
