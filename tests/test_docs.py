"""Code in the documentation runs as it is printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"# (\w+\.py)\n")


@pytest.mark.slow
@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "README.md"])
def test_python_blocks_run_one_after_the_other(document: str, tmp_path: Path) -> None:
    """A block that begins with a comment such as `# my_envs.py` is a file that later blocks may import."""
    blocks = _BLOCK.findall((ROOT / document).read_text(encoding="utf-8"))
    assert blocks
    for i, code in enumerate(blocks):
        name = _FILE_NAME.match(code)
        script = tmp_path / (name[1] if name else f"block_{i}.py")
        script.write_text(code, encoding="utf-8")
        done = subprocess.run([sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{document}, Python block {i + 1}:\n{code}\n{done.stderr}"
