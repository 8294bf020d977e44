import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import gdpo_bench
from gdpo_bench.core import DeclarationError, RegistrationError, Task, TextEnv, UnknownNameError, registry, reward
from gdpo_bench.core.choices import ChoiceError

pytestmark = pytest.mark.usefixtures("clean_registry")


class Tiny(TextEnv[Task]):
    def __init__(self, word: str = "yes") -> None:
        self.word = word

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(f"{split}?")]

    @reward(low=0, high=1)
    def correct(self, task: Task, reply: str) -> float:
        return float(reply == self.word)


# Ids


MALFORMED = "Tiny-v0 a/b/Tiny-v0 test/Tiny test/Tiny-v /Tiny-v0 test/-v0 test:x/Tiny-v0 1test/Tiny-v0 tést/T-v0"


@pytest.mark.parametrize("id", [*MALFORMED.split(), "test/Tiny-v0\n", "test/Ti ny-v0", ""])
def test_malformed_id_is_refused(id: str) -> None:
    with pytest.raises(RegistrationError, match="An environment id is 'namespace/Name-v0'"):
        gdpo_bench.register(id, Tiny)
    assert id not in gdpo_bench.list_envs()


@pytest.mark.parametrize("id", ["test/Tiny-v0", "my-lab/Tiny.Easy_2-v12"])
def test_well_formed_id_is_accepted(id: str) -> None:
    gdpo_bench.register(id, Tiny)
    assert id in gdpo_bench.list_envs()
    assert gdpo_bench.spec(id).id == id


def test_id_can_be_registered_once() -> None:
    gdpo_bench.register("test/Tiny-v0", Tiny)
    with pytest.raises(
        RegistrationError, match=r"'test/Tiny-v0' is already registered by register\(\); raise the version"
    ):
        gdpo_bench.register("test/Tiny-v0", Tiny)


@pytest.mark.parametrize("entry_point", ["no_colon", "module:", ":Class", "a b:C", Task, 5, Tiny("x")])
def test_entry_point_must_be_a_class_or_its_place(entry_point: object) -> None:
    with pytest.raises(RegistrationError, match=r"test/Tiny-v0: .*'module:Class'"):
        gdpo_bench.register("test/Tiny-v0", entry_point)  # type: ignore[call-overload]


def test_decorator_registers_the_class_and_leaves_it_alone() -> None:
    decorated = gdpo_bench.register("test/Tiny-v0")(Tiny)
    assert decorated is Tiny
    assert type(gdpo_bench.make_env("test/Tiny-v0")) is Tiny


def test_id_can_preset_options_and_the_caller_overrides_them() -> None:
    gdpo_bench.register("test/Tiny-v0", Tiny, word="no")
    assert gdpo_bench.make_env("test/Tiny-v0").word == "no"  # type: ignore[attr-defined]
    assert gdpo_bench.make_env("test/Tiny-v0", word="so").word == "so"  # type: ignore[attr-defined]
    assert gdpo_bench.spec("test/Tiny-v0").options == {"word": "no"}


def test_an_id_takes_options_as_command_lines_do() -> None:
    gdpo_bench.register("test/Tiny-v0", Tiny, word="no")
    for made in (gdpo_bench.make_env, lambda *a, **k: gdpo_bench.make_vec(*a, **k).text_env):
        assert made("test/Tiny-v0:word=so").word == "so"
        assert made("test/Tiny-v0:word=so", word="also").word == "also"
    assert gdpo_bench.make_vec("test/Tiny-v0:word=so").env_id == "test/Tiny-v0"
    assert gdpo_bench.spec("test/Tiny-v0:word=so").options == {"word": "so"}
    assert gdpo_bench.spec("test/Tiny-v0").options == {"word": "no"}
    assert gdpo_bench.make_vec("gdpo/MathMini-v1:max_digit=3,conditioned=true").text_env.max_digit == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("id", "error", "message"),
    [
        ("test/Tiny-v0:wrd=so", UnknownNameError, "'wrd'. Did you mean 'word'"),
        ("test/Tiny-v0:word=1", DeclarationError, "option word must be str; got 1"),
        ("test/Tiny-v0:word", RegistrationError, "word"),
        ("test/Tiny-v0:word=so,", ChoiceError, "expected option=value"),
        ("test/Tyni-v0:word=so", UnknownNameError, "'test/Tyni-v0'. Did you mean 'test/Tiny-v0'"),
        (Tiny, DeclarationError, "named by its id.*gdpo_bench.register"),
    ],
)
def test_an_id_that_cannot_be_read_or_made_says_why(id: Any, error: type[Exception], message: str) -> None:
    gdpo_bench.register("test/Tiny-v0", Tiny)
    with pytest.raises(error, match=message):
        gdpo_bench.make_vec(id)


def test_unknown_id_lists_the_near_ones() -> None:
    for call in (gdpo_bench.spec, gdpo_bench.make_env, gdpo_bench.make_vec):
        with pytest.raises(UnknownNameError, match=r"'gdpo/MathMimi-v0'. Did you mean 'gdpo/MathMini-v1'.*module:"):
            call("gdpo/MathMimi-v0")


def test_class_that_cannot_be_found_or_is_no_environment_names_the_id_and_who_registered_it() -> None:
    gdpo_bench.register("test/NoModule-v0", "no_such_module_xyz:Env")
    with pytest.raises(RegistrationError, match=r"test/NoModule-v0 \(register\(\)\): importing 'no_such_module_xyz'"):
        gdpo_bench.make_env("test/NoModule-v0")
    gdpo_bench.register("test/NoClass-v0", "gdpo_bench.core:Nothing")
    with pytest.raises(RegistrationError, match=r"'gdpo_bench.core:Nothing' must name a subclass of TextEnv; got None"):
        gdpo_bench.make_env("test/NoClass-v0")
    gdpo_bench.register("test/NoEnv-v0", "gdpo_bench.core:Task")
    with pytest.raises(RegistrationError, match="must name a subclass of TextEnv; got <class"):
        gdpo_bench.make_env("test/NoEnv-v0")


def test_environment_without_rewards_or_with_missing_options_cannot_be_made() -> None:
    class Pointless(TextEnv[Task]):
        pass

    class Demanding(Tiny):
        def __init__(self, level: int) -> None:
            super().__init__()

    gdpo_bench.register("test/Pointless-v0", Pointless)
    with pytest.raises(DeclarationError, match="test/Pointless-v0: Pointless declares no reward"):
        gdpo_bench.make_env("test/Pointless-v0")
    gdpo_bench.register("test/Demanding-v0", Demanding)
    with pytest.raises(
        DeclarationError,
        match="test/Demanding-v0: option level has no default; give it one, or a value: test/Demanding-v0:level=",
    ):
        gdpo_bench.make_env("test/Demanding-v0")


def test_environment_that_takes_any_option_gets_any() -> None:
    class Open(Tiny):
        def __init__(self, **options: str) -> None:
            super().__init__(**options)

    gdpo_bench.register("test/Open-v0", Open)
    assert gdpo_bench.make_env("test/Open-v0", word="no").word == "no"  # type: ignore[attr-defined]


# Plug-ins

ENV_MODULE = """
    from gdpo_bench import Task, TextEnv, reward

    class Plugged(TextEnv[Task]):
        def tasks(self, split):
            return [Task(split)]

        @reward(low=0, high=1)
        def fine(self, task, reply):
            return 1
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a made-up package into a temporary folder on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = set(sys.modules)

    def install(package: str, entry_points: str, module: str = "") -> None:
        (tmp_path / f"{package}.py").write_text(textwrap.dedent(module), encoding="utf-8")
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(textwrap.dedent(entry_points), encoding="utf-8")

    yield install
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_installed_package_adds_its_environment_without_being_imported(site: Callable[..., None]) -> None:
    site("acme_envs", "[gdpo_bench.envs]\nacme/Plugged-v0 = acme_envs:Plugged\n", ENV_MODULE)
    assert registry.load_plugins() == []
    assert "acme/Plugged-v0" in gdpo_bench.list_envs()
    assert gdpo_bench.spec("acme/Plugged-v0").source == "package acme_envs"
    assert "acme_envs" not in sys.modules
    venv = gdpo_bench.make_vec("acme/Plugged-v0", 1, 2)
    venv.reset(seed=0)
    assert venv.step(["", ""])[1].tolist() == [[1], [1]]


SCHEME_MODULE = """
from gdpo_bench.core import Task, TextEnv, reward

class Named(TextEnv[Task]):
    def __init__(self, name: str, count: int = 2):
        self.name, self.count = name, count

    def tasks(self, split):
        return [Task(f"{split} {self.name} {i}") for i in range(self.count)]

    @reward(low=0, high=1)
    def correct(self, task, reply):
        return self.name in reply
"""


@pytest.fixture
def scheme(site: Callable[..., None]) -> Iterator[str]:
    site("acme_scheme", "[gdpo_bench.env_schemes]\nacme_lib = acme_scheme:Named\n", SCHEME_MODULE)
    assert registry.load_plugins() == registry.load_plugins() == []
    yield "acme_lib"
    del registry._schemes["acme_lib"]


def test_a_scheme_makes_environments_of_another_librarys_names(scheme: str) -> None:
    assert "acme_scheme" not in sys.modules
    assert registry.names_environment("acme_lib:sorting")
    assert not registry.names_environment("acme_lib:")
    assert not any(map(registry.names_environment, ["acme_other:sorting", 3, ["acme_lib:sorting"], None]))
    assert "acme_scheme" not in sys.modules
    venv = gdpo_bench.make_vec("acme_lib:sorting:count=3", 1, 2)
    venv.reset(seed=0)
    assert venv.step(["sorting", ""])[1].tolist() == [[1], [0]]
    found = gdpo_bench.spec("acme_lib:sorting:count=3")
    assert (found.id, found.options, found.source) == (
        "acme_lib:sorting",
        {"name": "sorting", "count": 3},
        "package acme_scheme",
    )
    assert len(gdpo_bench.make_env("acme_lib:sorting:count=3").tasks("train")) == 3


def test_what_the_id_of_a_scheme_states_no_option_contradicts(scheme: str) -> None:
    expected = r"acme_lib:sorting states name='sorting'; it cannot be 'other'"
    with pytest.raises(DeclarationError, match=expected):
        gdpo_bench.make_env("acme_lib:sorting", name="other")
    with pytest.raises(DeclarationError, match=expected):
        gdpo_bench.spec("acme_lib:sorting:name=other")
    assert gdpo_bench.make_env("acme_lib:sorting", name="sorting").tasks("train")


def test_two_packages_cannot_have_one_scheme(scheme: str, site: Callable[..., None]) -> None:
    site("acme_twin", "[gdpo_bench.env_schemes]\nacme_lib = acme_twin:Named\n", SCHEME_MODULE)
    (complaint,) = registry.load_plugins()
    assert "acme_lib" in complaint
    assert "acme_scheme" in complaint
    assert "acme_twin" in complaint


def test_plugins_can_be_loaded_twice(site: Callable[..., None]) -> None:
    site("acme_envs", "[gdpo_bench.envs]\nacme/Plugged-v0 = acme_envs:Plugged\n", ENV_MODULE)
    assert registry.load_plugins() == registry.load_plugins() == []


def test_broken_plugin_fails_alone_and_only_when_it_is_asked_for(site: Callable[..., None]) -> None:
    site("acme_broken", "[gdpo_bench.envs]\nacme/Broken-v0 = acme_broken:Plugged\n", "raise OSError('out of order')")
    site("acme_envs", "[gdpo_bench.envs]\nacme/Plugged-v0 = acme_envs:Plugged\n", ENV_MODULE)
    assert registry.load_plugins() == []
    gdpo_bench.make_env("acme/Plugged-v0")
    expected = r"acme/Broken-v0 \(package acme_broken\): importing 'acme_broken' failed: OSError: out of order"
    with pytest.raises(RegistrationError, match=expected):
        gdpo_bench.make_env("acme/Broken-v0")


def test_plugin_that_exits_on_import_fails_like_any_other(site: Callable[..., None]) -> None:
    site("acme_exits", "[gdpo_bench.envs]\nacme/Exits-v0 = acme_exits:Plugged\n", "import sys\nsys.exit('bye')")
    registry.load_plugins()
    with pytest.raises(RegistrationError, match=r"acme/Exits-v0 .* SystemExit: bye"):
        gdpo_bench.make_env("acme/Exits-v0")


def test_declarations_that_cannot_be_accepted_are_complained_about_and_skipped(site: Callable[..., None]) -> None:
    site(
        "acme_envs",
        """
        [gdpo_bench.envs]
        no-slash = acme_envs:Plugged
        gdpo/MathMini-v1 = acme_envs:Plugged
        acme/NoClass-v0 = acme_envs
        acme/Plugged-v0 = acme_envs:Plugged
        """,
        ENV_MODULE,
    )
    complaints = sorted(registry.load_plugins())
    assert len(complaints) == 3
    assert all(complaint.startswith("Skipped an environment of package acme_envs: ") for complaint in complaints)
    assert "'gdpo/MathMini-v1' is already registered by package gdpo-bench" in complaints[0]
    assert "acme/Plugged-v0" in gdpo_bench.list_envs()
    assert gdpo_bench.spec("gdpo/MathMini-v1").entry_point == "gdpo_envs.math.mini:MathMini"


def test_package_with_unreadable_entry_points_is_complained_about_and_skipped(site: Callable[..., None]) -> None:
    site("acme_garbled", "[gdpo_bench.envs]\nthis is no entry point\n")
    site("acme_envs", "[gdpo_bench.envs]\nacme/Plugged-v0 = acme_envs:Plugged\n", ENV_MODULE)
    assert any("acme_garbled" in complaint for complaint in registry.load_plugins())
    assert "acme/Plugged-v0" in gdpo_bench.list_envs()


def test_package_without_a_name_still_brings_its_environments_or_a_complaint(
    site: Callable[..., None], tmp_path: Path
) -> None:
    site("acme_envs", "[gdpo_bench.envs]\nacme/Plugged-v0 = acme_envs:Plugged\n", ENV_MODULE)
    (tmp_path / "acme_envs-1.0.dist-info/METADATA").unlink()
    complaints = registry.load_plugins()
    assert ("acme/Plugged-v0" in gdpo_bench.list_envs()) is (complaints == [])


def test_module_before_the_id_is_imported_and_registers_it(site: Callable[..., None]) -> None:
    module = ENV_MODULE.replace("class Plugged", '@register("acme/Own-v0")\n    class Plugged')
    site("acme_own", "", module.replace("reward\n", "register, reward\n", 1))
    assert gdpo_bench.make_vec("acme_own:acme/Own-v0", 1, 1).env_id == "acme/Own-v0"
    assert gdpo_bench.spec("acme_own:acme/Own-v0").id == "acme/Own-v0"  # also when it is there already


def test_module_that_is_missing_or_does_not_register_the_id_is_named(site: Callable[..., None]) -> None:
    with pytest.raises(RegistrationError, match=r"'no_such_module_xyz', neither here in /.* nor installed$"):
        gdpo_bench.make_env("no_such_module_xyz:acme/Own-v0")
    site("acme_other", "", "")
    with pytest.raises(UnknownNameError, match="Unknown environment 'acme/Own-v0'"):
        gdpo_bench.make_env("acme_other:acme/Own-v0")


# What importing costs


def in_new_process(code: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_importing_and_listing_imports_no_environment_and_no_heavy_library() -> None:
    found = in_new_process(
        """
        import sys
        import gdpo_bench
        ids = gdpo_bench.list_envs()
        assert {"gdpo/GSM8K-v0", "gdpo/MathMini-v1", "gdpo/ToolCallingMini-v1"} <= set(ids) and ids == sorted(ids)
        heavy = ("torch", "transformers", "datasets", "scipy", "pandas", "matplotlib", "pydantic", "gdpo_envs")
        print([name for name in heavy if name in sys.modules])
        """
    )
    assert found == "[]"


def test_environment_modules_import_no_heavy_library_either() -> None:
    found = in_new_process(
        """
        import sys
        import gdpo_envs.loading, gdpo_envs.math.gsm8k, gdpo_envs.math.mini, gdpo_envs.tool_calling.mini
        heavy = ("torch", "transformers", "datasets", "scipy", "pandas", "matplotlib")
        print([name for name in heavy if name in sys.modules])
        """
    )
    assert found == "[]"


def test_broken_plugin_is_a_warning_of_the_import(tmp_path: Path) -> None:
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[gdpo_bench.envs]\nno-slash = acme:Env\n", encoding="utf-8")
    code = """
        import sys, warnings
        sys.path.insert(0, PATH)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import gdpo_bench
        print([str(w.message) for w in caught if "no-slash" in str(w.message)])
    """
    assert "Skipped an environment of package acme" in in_new_process(code.replace("PATH", repr(str(tmp_path))))


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({"limit": "abc"}, "option limit must be int; got 'abc'"),
        ({"limit": True}, "option limit must be int; got True"),
        ({"format_rate": "high"}, "option format_rate must be float; got 'high'"),
        ({"format_rate": 7}, "format_rate is a share and must lie in"),
        ({"max_addends": 1}, "max_addends must be at least 2; got 1"),
    ],
)
def test_an_option_of_the_wrong_type_or_range_is_refused(option, expected):
    with pytest.raises(DeclarationError, match=expected):
        gdpo_bench.make_env("gdpo/MathMini-v1", **option)
