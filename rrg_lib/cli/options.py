"""What the commands share: the application itself, their common options, and the run that these name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rrg_lib.errors import CheckpointError, ConfigurationError
from rrg_lib.experiments.presets import DATASETS, PRESETS, PROFILES
from rrg_lib.models.decoding import PROTOCOLS

if TYPE_CHECKING:
    from rrg_lib.experiments.run import Run
    from rrg_lib.experiments.run_folders import RunFolder
    from rrg_lib.experiments.trained_system import TrainedSystem
    from rrg_lib.models.decoding import DecodingConfig

app = typer.Typer(
    name="rrg",
    help="Rebuild, train and measure systems that write the findings of a chest X-ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Try: rrg train iu_phantom/cmn --profile ci, then: rrg evaluate iu_phantom/cmn --profile ci",
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="DATASET/PRESET", help=f"What to run. Datasets: {', '.join(DATASETS)}. Presets: {', '.join(PRESETS)}."
    ),
]
NameOrFolder = Annotated[
    str,
    typer.Argument(
        metavar="DATASET/PRESET|RUN_FOLDER",
        help="What was trained: by its preset (see rrg train --help), or the folder of its run, copied from anywhere.",
    ),
]
ProfileName = Annotated[str, typer.Option("--profile", help=f"How big: {', '.join(PROFILES)}.")]
Seed = Annotated[int | None, typer.Option(help="Seed of weights, order and dropout; by default the released one.")]
DataRoot = Annotated[
    Path | None,
    typer.Option(help="Folder of the real images, for every dataset that is not drawn; or one that was prepared."),
]
Layout = Annotated[str | None, typer.Option(help="Layout of the real images; by default told from the folder.")]
Views = Annotated[str | None, typer.Option(help="Which views of a study: as_released, frontal_first or frontal.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PART.FIELD=VALUE", help="Override a setting, e.g. training.epochs=3. Repeatable."),
]
RunOption = Annotated[
    Path | None, typer.Option("--run", help="Run folder; by default one named after dataset, preset, profile and seed.")
]
SplitName = Annotated[str, typer.Option("--split", help="train, val or test.")]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help="What a memory gated by labels is told: classifier (the default), none, or reference (a leak; or "
        "reference_SOURCE).",
    ),
]
Decoding = Annotated[
    str | None,
    typer.Option(
        "--decoding",
        help=f"How reports are searched: {', '.join(PROTOCOLS)}. By default as `rrg tune` chose, else as the settings "
        f"say.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


def agreeing(settings: list[str] | None, seed: int | None) -> list[str]:
    """The settings. Raises `ConfigurationError` for one that is set twice, to two values."""
    given = {} if seed is None else {"training.seed": str(seed)}
    for text in settings or ():
        path, _, value = text.partition("=")
        if (before := given.setdefault(path.strip(), value)) != value:
            raise ConfigurationError(f"{path.strip()} is set twice, to {before} and to {value}. Say it once")
    return settings or []


def named_run(
    name: str,
    profile: str,
    seed: int | None,
    settings: list[str] | None,
    data_root: Path | None,
    folder: Path | None,
    quiet: bool,
    trained: bool = True,
) -> Run:
    """The run of a preset, with its dataset."""
    from rrg_lib.experiments.presets import experiment
    from rrg_lib.experiments.run import Run

    return Run.of(
        experiment(name, profile, agreeing(settings, seed), seed),
        data_root=data_root,
        folder=folder,
        progress=not quiet,
        trained=trained,
    )


def given_folder(name: str) -> Path | None:
    """The run folder that stands where a preset could stand; None for a preset."""
    path = Path(name).expanduser()
    is_preset = name.partition("/")[0] in DATASETS and not (path / "experiment.json").is_file()
    return path if not is_preset and (path.is_dir() or name.startswith(("/", ".", "~"))) else None


def named_system(
    name: str, profile: str, seed: int | None, settings: list[str] | None, folder: Path | None
) -> TrainedSystem:
    """The trained system of a preset, which needs no dataset. Raises `CheckpointError` when it is not trained, or the
    folder is of other settings."""
    from rrg_lib.experiments.presets import experiment
    from rrg_lib.experiments.run_folders import RunFolder, run_folder
    from rrg_lib.experiments.trained_system import TrainedSystem

    asked = experiment(name, profile, agreeing(settings, seed), seed)
    folder = folder or run_folder(asked)
    RunFolder(folder, asked).check_trained()
    system = TrainedSystem.open(folder)
    if system.experiment.hash != asked.hash:
        raise CheckpointError(
            f"{folder} is a run of {system.command}, with other settings than {name} has here. Give its folder in "
            f"place of the preset: rrg generate {folder} --image FILE"
        )
    return system


def named_decoding(run: RunFolder, labels: str | None, protocol: str | None = None) -> DecodingConfig:
    """How a run is to write: in the protocol that is asked for; by default as was chosen for its weights on the
    validation studies, and as its experiment says where nothing was. With other labels at test time if asked for.
    Raises `ConfigurationError` for a memory that is told none."""
    if labels is not None and not run.gated:
        raise ConfigurationError(
            f"--labels {labels}: the memory of {run.experiment.name} is not gated by labels; leave --labels out"
        )
    return run.decoding(protocol, labels) if protocol else run.best_decoding(labels)
