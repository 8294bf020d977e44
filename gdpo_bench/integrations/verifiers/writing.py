"""Write a module for verifiers: a taskset whose tasks have a reward for each of an environment's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gdpo_bench.core.env import TextEnv, reward_functions_of
from gdpo_bench.core.registry import make_env
from gdpo_bench.core.rewards import RewardFunction
from gdpo_bench.integrations.scoring import refuse_names
from gdpo_bench.integrations.written import class_name, module_name, project_name, project_text, write_files

PINNED = "verifiers==0.4.0"
_OF_A_TASK = {"config", "config_type", "data", "data_type", "defer_scoring", "finalize", "hash", "hooks", "key"}
_OF_A_TASK |= {"plugged_judges", "runtime_env", "score", "scoring_deferred", "setup", "stage_verifier", "toolsets"}
_OF_A_TASK |= {"validate", "with_data", "with_system_prompt"}
"""What every task of verifiers has already."""
_MODULE = '''\
"""{env_id} of gdpo-bench for verifiers: a reward for each of its own, with its name and weight.

The held-out tasks: `--env.taskset.split {held_out}`. What is not applicable to a task is left out of its trace.
"""

import verifiers.v1 as vf

from gdpo_bench.integrations.verifiers.taskset import {names}


class {name}Task({task}):
    """It is scored once; each reward reads its own value."""
{rewards}

class {name}(vf.Taskset[{name}Task, EnvConfig]):
    """Tasks of {env_id}."""

    ranges = {{
{ranges}    }}

    def load(self):
        return env_tasks({name}Task, "{env_id}", {options!r}, self.config)

{user}
'''
_USER = '''
class {name}Config(vf.EnvConfig):
    """Replies of an episode."""

    player: vf.AgentConfig = vf.AgentConfig(max_turns={turns})


class {name}Env(Dialog, vf.Env[{name}Config]):
    """The environment is the user of its agent."""


__all__ = ["{name}", "{name}Env"]'''
_REWARD = '''
    @vf.reward(weight={weight!r})
    async def {name}(self, trace: vf.Trace) -> dict[str, float]:
        """{says}"""
        return own_reward(trace, "{name}")
'''


def write_taskset(env_id: str, folder: Path, **options: Any) -> list[Path]:
    """Write a module for verifiers, and what `pip install` needs to know of it.

    Args:
        env_id: A registered id, or `module:namespace/Name-v0`.
        folder: A new folder.
        **options: The environment's own options.

    Returns:
        What was written.

    Raises:
        UnknownNameError: No such id or option.
        IntegrationError: A reward whose name verifiers needs itself, or the folder is not empty.
    """
    env = make_env(env_id, **options)
    functions = reward_functions_of(env)
    refuse_names(env_id, env.reward_specs, _OF_A_TASK, "every task of verifiers has already")
    name, dialog = class_name(env_id), env.max_turns > 1
    task = "DialogTask" if dialog else "EnvTask"
    text = _MODULE.format(
        env_id=env_id,
        name=name,
        task=task,
        names=", ".join(sorted(["EnvConfig", task, *["Dialog"] * dialog])) + ", env_tasks, own_reward",
        user=_USER.format(name=name, turns=env.max_turns) if dialog else f'\n__all__ = ["{name}"]',
        held_out=env.splits[-1],
        options=options,
        rewards="".join(_reward(env, function) for function in functions),
        ranges="".join(f'        "{one.spec.name}": ({one.spec.low!r}, {one.spec.high!r}),\n' for one in functions),
    )
    module = module_name(env_id)
    project = project_text(project_name(env_id), f"{env_id} of gdpo-bench for verifiers", PINNED)
    project += f'\n[tool.hatch.build.targets.wheel]\ninclude = ["{module}.py"]\n'
    return write_files(folder, {f"{module}.py": text, "pyproject.toml": project})


def _reward(env: TextEnv[Any], function: RewardFunction) -> str:
    spec = function.spec
    first = (getattr(env, function.method).__doc__ or "").strip().partition("\n")[0]
    says = f"{first} [{spec.low:g}, {spec.high:g}]".strip().replace("\\", "").replace('"', "'")
    return _REWARD.format(weight=spec.weight, name=spec.name, says=says)
