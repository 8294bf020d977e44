import pytest

from gdpo_bench.core.errors import UnknownNameError
from gdpo_bench.jobs.engines.choice import EngineChoice, RayOptions, parse_engine
from gdpo_bench.jobs.job import JobError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local", EngineChoice()),
        ("ray", EngineChoice("ray")),
        ("ray:auto", EngineChoice("ray", "auto")),
        ("ray:10.0.0.1:6379", EngineChoice("ray", "10.0.0.1:6379")),
        ("ray:gpus=0.5,retries=0", EngineChoice("ray", None, RayOptions(gpus=0.5, retries=0))),
        ("ray:head:6379:cpus=2,wait_s=600", EngineChoice("ray", "head:6379", RayOptions(cpus=2, wait_s=600))),
    ],
)
def test_engine_is_named_with_address_and_options(text: str, expected: EngineChoice) -> None:
    assert parse_engine(text) == expected


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("rai", UnknownNameError, r"Unknown engine 'rai'\. Did you mean 'ray'\? Known: local, ray, ray:ADDRESS"),
        ("local:4", UnknownNameError, "Unknown engine 'local:4'"),
        ("ray:gpu=1", UnknownNameError, "Unknown option of engine 'ray' 'gpu'. Did you mean 'gpus'"),
        ("ray:retries=-1", JobError, r"retries: Input should be greater than or equal to 0 \(got -1\)"),
        ("ray:cpus=0", JobError, r"cpus: Input should be greater than 0 \(got 0\)"),
        ("ray:gpus=many", JobError, "gpus: Input should be a valid number.*got 'many'"),
    ],
)
def test_wrong_engine_is_refused_in_a_sentence(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_engine(text)
