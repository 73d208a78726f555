"""The wheel, the console command, and what git would leave out."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lib import __version__, cli
from lib.commands import entry

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.yaml"))
ASSETS = sorted(
    path for folder in ("report/assets", "serve/page") for path in (ROOT / "lib" / folder).iterdir()
)
SPLITS = sorted(p for p in (ROOT / "lib/datasets/splits").iterdir() if p.is_file())


def call(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to build from: building in the checkout would leave `build/` behind."""
    source = tmp_path_factory.mktemp("source")
    for name in ("lib", "seqtrack", "experiments"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for extra in ("tests", "test"):
        (source / extra).mkdir()
        (source / extra / "__init__.py").touch()
    return source


@pytest.fixture(scope="session")
def wheel(source: Path) -> Path:
    options = ("--no-build-isolation", "--no-deps", "--no-index", "--quiet")
    built = call(sys.executable, "-m", "pip", "wheel", *options, "-w", "out", ".", cwd=source)
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = (source / "out").glob("seqtrack-*.whl")
    return file


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {"lib", "seqtrack", f"seqtrack-{__version__}.dist-info"}
    assert {name.split("/")[0] for name in names} == tops
    code = {
        p.relative_to(ROOT).as_posix()
        for top in ("lib", "seqtrack")
        for p in (ROOT / top).rglob("*.py")
    }
    assert code == {name for name in names if name.endswith(".py")}


def test_wheel_holds_configurations_splits_and_assets(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert EXPERIMENTS
    assert {f"lib/{p.relative_to(ROOT).as_posix()}" for p in EXPERIMENTS} <= names
    assert {p.relative_to(ROOT).as_posix() for p in [*SPLITS, *ASSETS]} <= names


def test_unpacked_wheel_finds_its_configurations(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import sys; sys.path[0] = sys.argv[1]\n"
        "import lib; assert lib.__file__.startswith(sys.argv[1]), lib.__file__\n"
        "import seqtrack; assert seqtrack.__version__ == lib.__version__\n"
        "from lib.config.loader import list_configs, load_config\n"
        "print(*list_configs()); load_config('seqtrack_b256')"
    )
    done = call(sys.executable, "-c", code, str(site), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {p.stem for p in EXPERIMENTS}


def test_unpacked_wheel_has_every_engine(wheel: Path, tmp_path: Path) -> None:
    """The reference engine was a file of the repository only."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import sys; sys.path[0] = sys.argv[1]\n"
        "from lib.config.loader import load_config\n"
        "from lib.tracker.engine.build import build_engine\n"
        "from lib.models.seqtrack import build_seqtrack\n"
        "cfg = load_config('seqtrack_tiny')\n"
        "for name in ('torch', 'reference'):\n"
        "    engine = build_engine(name, build_seqtrack(cfg), cfg)\n"
        "    print(engine.name, sys.modules[type(engine).__module__].__file__)"
    )
    done = call(sys.executable, "-c", code, str(site), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = dict(line.split() for line in done.stdout.splitlines())
    assert set(found) == {"torch", "reference"}
    assert all(Path(file).is_relative_to(site) for file in found.values())


def test_an_editable_install_is_a_folder_on_the_path(source: Path, tmp_path: Path) -> None:
    """An import hook would come after a clone called `seqtrack` that lies beside a script."""
    code = "import sys; from setuptools.build_meta import build_editable as b; b(sys.argv[1])"
    built = call(sys.executable, "-c", code, str(tmp_path), cwd=source)
    assert built.returncode == 0, built.stderr
    (file,) = tmp_path.glob("seqtrack-*.whl")
    archive = zipfile.ZipFile(file)
    (path,) = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert path.endswith(".pth") and Path(archive.read(path).decode().strip()).samefile(source)


def test_wheel_says_what_it_is(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    info = f"seqtrack-{__version__}.dist-info"
    metadata = archive.read(f"{info}/METADATA").decode()
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nLicense-Expression: MIT\n" in metadata
    assert "\nRequires-Python: >=3.10\n" in metadata
    assert "seqtrack = lib.cli:main" in archive.read(f"{info}/entry_points.txt").decode()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        pytest.param(["--version"], 0, __version__, id="version"),
        pytest.param(["--help"], 0, "exit codes", id="help ends with the exit codes"),
        pytest.param(["test", "--help"], 0, "--dataset", id="help of a sub-command"),
        pytest.param(["tset"], 2, "did you mean 'test'", id="typo"),
        pytest.param(["xyzzy"], 2, "choose of ", id="unknown, nothing close"),
        pytest.param(["pack", "--help"], 0, "trackingnet", id="an alias"),
    ],
)
def test_console_command(
    arguments: list[str],
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["seqtrack", *arguments])
    with pytest.raises(SystemExit) as ending:
        cli.main()
    assert ending.value.code == code
    captured = capsys.readouterr()
    assert says in captured.out + captured.err


def test_the_command_alone_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([])
    captured = capsys.readouterr()
    assert "submit" in captured.out and "exit codes" in captured.out and not captured.err


def test_benchmarks_are_of_a_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    with pytest.raises(SystemExit) as ending:
        cli.main(["bench", "track"])
    assert ending.value.code == 2 and "bench needs a checkout" in capsys.readouterr().err
    cli.main([])
    assert "bench" not in capsys.readouterr().out


def test_console_command_hands_everything_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options after the command are the sub-command's, also those `seqtrack` has itself."""
    got: list[str] = []
    stub = type("Stub", (), {"main": staticmethod(lambda argv: got.extend(argv) or 7)})
    monkeypatch.setattr(entry.importlib, "import_module", lambda name: stub)
    words = ["--config", "a", "b", "--help", "--version", "--", "-x"]
    with pytest.raises(SystemExit) as ending:
        cli.main(["test", *words])
    assert ending.value.code == 7
    assert got == words


def test_constraints_are_plain_pins() -> None:
    """No hosts, no files, no local builds; and every dependency that we declare is pinned."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    plain = re.compile(r'[\w.-]+==[\w.]+( ; python(_full)?_version [<>]=? ?"[\d.]+")?')
    assert [line for line in lines if not plain.fullmatch(line)] == []
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    assert not [name for name in pinned if name.startswith(("nvidia", "triton", "cuda"))]
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.findall(r"^    \"([\w-]+)(?:[<>=].*)?\",$", pyproject, re.MULTILINE)
    declared = {name.lower() for name in listed} - {"lib", "website"}
    assert {"torch", "ruff"} <= declared
    assert declared <= pinned


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_ignores_outputs_and_no_code(tmp_path: Path) -> None:
    """`.gitignore` templates like to drop lib/ or data/, and with them our packages."""
    call("git", "init", "--quiet", cwd=tmp_path)
    shutil.copy(ROOT / ".gitignore", tmp_path)

    def ignored(*paths: str) -> set[str]:
        done = call("git", "check-ignore", "--no-index", *paths, cwd=tmp_path)
        return set(done.stdout.split())

    ours = [
        p.relative_to(ROOT).as_posix()
        for folder in ("lib", "tracking", "scripts", "experiments", "tests", ".ci", ".github")
        for p in (ROOT / folder).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    ]
    assert ignored(*ours) == set()
    outputs = ["test/tracking_results/a.txt", "runs/quickstart/x", "checkpoints/train/a", "logs/a"]
    outputs += ["external/vot22_sts/seqtrack/results/a", "external/AR/ltr/a", ".venv-vot/a"]
    outputs += [".venv/bin/python", ".venv.lock", "data/lasot/a", "seqtrack.egg-info/PKG-INFO"]
    assert ignored(*outputs) == set(outputs)


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.sh")), ids=lambda p: p.name)
def test_shell_scripts_parse(script: Path) -> None:
    checked = call("bash", "-n", script.name, cwd=script.parent)
    assert checked.returncode == 0, checked.stderr


def test_tensorboard_is_one_whose_viewer_starts_beside_a_setuptools_of_today() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lowest = re.search(r'"tensorboard>=(\d+)\.(\d+)', text)
    # 2.20 and older import pkg_resources, which setuptools 82 no longer has.
    assert lowest is not None and (int(lowest[1]), int(lowest[2])) >= (2, 21)


def test_the_job_with_the_oldest_versions_pins_every_dependency() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert declared is not None
    lowest = dict(re.findall(r'"([\w-]+)>=([\d.]+)', declared[1]))
    job = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8").partition("lowest:")[2]
    pinned = dict(re.findall(r"([\w-]+)==([\d.]+)", job))
    assert len(lowest) >= 10 and lowest.keys() <= pinned.keys()
    for name, version in lowest.items():
        # `>=6` and `6.0.*`, `>=2.6` and `2.6.*`
        assert f"{pinned[name].rstrip('.')}.0".startswith(version), name
