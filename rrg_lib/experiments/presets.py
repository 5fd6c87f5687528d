"""A named configuration per row of every published table, and the profiles that scale it to a machine.

`cmn` is the system as released, `cmn_as_printed` as its paper describes it. A profile changes sizes, schedule and
search, never the mechanism: `gpu` is the published setting, `laptop` trains in ten minutes or twenty on two cores, `ci`
in one, and `study` in a few on a single core, so that many seeds can be had.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.models.adaatt import AdaAttConfig
from rrg_lib.models.att2in import Att2inConfig
from rrg_lib.models.coatt import CoAttConfig
from rrg_lib.models.decoding import DecodingConfig
from rrg_lib.models.ekagen import EKAGenConfig, KnowledgeConfig
from rrg_lib.models.generator import TransformerConfig
from rrg_lib.models.interface import GeneratorConfig
from rrg_lib.models.memory import CMNConfig, MCSAMConfig, MemoryConfig, XProNetConfig
from rrg_lib.models.pair_alignment import PairConfig
from rrg_lib.models.r2gen import R2GenConfig
from rrg_lib.models.ratchet import RatchetConfig
from rrg_lib.models.sentsat_kg import SentSATKGConfig
from rrg_lib.models.show_tell import ShowTellConfig
from rrg_lib.models.topdown import TopDownConfig
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.settings import Count, check_settings
from rrg_lib.training import TrainingConfig

DATASETS = (
    "iu_phantom",
    "phantom",
    "iu_xray",
    "mimic_cxr",
    "chexpert_plus",
    "rexgradient",
    "padchest_gr",
    "own",
)


@dataclass(frozen=True)
class ExtractorConfig:
    """Which visual extractor and where its weights come from: None random, "imagenet", "findings" (trained by the book
    on the training studies' findings), "reports" (on the words of their reports, and nothing else) or a safetensors
    file. A frozen one's patch features are computed once and cached."""

    name: str = "resnet101"
    weights: str | None = "imagenet"
    frozen: bool = False

    def __post_init__(self):
        check_settings(self, "extractor")


@dataclass(frozen=True)
class Preset:
    """One row of a published table. `row` names it; `memory` None is BASE; `pair` aligns reports with images beside any
    memory. Raises `ConfigurationError` for a part that its generator does not take."""

    name: str
    row: str
    memory: MemoryConfig | None = None
    generator: GeneratorConfig = field(default_factory=TransformerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    pair: PairConfig | None = None

    def __post_init__(self):
        self.generator.check(memory=self.memory, pair=self.pair)


#: CMN, section 3.3: the learning rates and the decay that the paper prints.
_AS_PRINTED = TrainingConfig(lr=1e-4, lr_visual=5e-5, step_epochs=1)

#: XProNet's released script for IU X-Ray. It selects by validation BLEU-4 + 0.33 BLEU-1 + 0.67 METEOR; METEOR is not
#: computed while training here.
_XPRONET = TrainingConfig(lr=2e-3, lr_visual=1e-3, epochs=30, monitor={"BLEU-4": 1.0, "BLEU-1": 0.33})

PRESETS: dict[str, Preset] = {}


def register_preset(preset: Preset) -> Preset:
    """Make a preset known by its name."""
    PRESETS[preset.name] = preset
    return preset


register_preset(Preset("base", "CMN Table 2, BASE"))
register_preset(Preset("mem", "CMN Table 2, BASE+MEM", CMNConfig(shared=False)))
register_preset(Preset("cmn", "CMN Table 2, BASE+CMN", CMNConfig()))
register_preset(
    Preset(
        "cmn_as_printed",
        "CMN Table 2, BASE+CMN, as its text describes it",
        CMNConfig(fusion="replace", scale="model"),
        training=_AS_PRINTED,
    )
)
register_preset(Preset("xpronet", "XProNet Table 1 and 2, XProNet, as released", XProNetConfig(), training=_XPRONET))
register_preset(
    Preset(
        "xpronet_as_printed",
        "XProNet Table 1 and 2, XProNet, as its text describes it",
        XProNetConfig(
            initialise="kmeans",
            heads="single",
            scale="full",
            weights="linear",
            values="key",
            theta=1.75,
            clamp=False,
            padding=False,
        ),
        training=_XPRONET,
    )
)
register_preset(
    Preset(
        "xpronet_wo_pi",
        "XProNet Table 2, w/o PI: random prototypes",
        XProNetConfig(initialise="random"),
        training=_XPRONET,
    )
)
register_preset(
    Preset("xpronet_wo_imlcs", "XProNet Table 2, w/o IMLCS: theta 1", XProNetConfig(theta=1.0), training=_XPRONET)
)
register_preset(Preset("xpronet_wo_cmpnet", "XProNet Table 2, w/o CMPNet: BASE, trained as XProNet", training=_XPRONET))
# Ours, no row of any table: what of XProNet stands between it and its baseline?
register_preset(
    Preset(
        "xpronet_residual",
        "XProNet, its features passing beside the fusion (ours)",
        XProNetConfig(residual=True),
        training=_XPRONET,
    )
)
register_preset(
    Preset(
        "xpronet_wo_gate",
        "XProNet, every class open to every study (ours)",
        XProNetConfig(gate=False),
        training=_XPRONET,
    )
)
register_preset(
    Preset(
        "xpronet_image_only",
        "XProNet, asked about patches only (ours)",
        XProNetConfig(sides="image"),
        training=_XPRONET,
    )
)

_MCSAM = {
    "mcsam": ("MCSAM, reconstructed", {}),
    "mcsam_random_bank": ("MCSAM, its bank drawn at random", {"initialisation": "random"}),
    "mcsam_frozen_bank": ("MCSAM, its bank never learning", {"frozen": True}),
    "mcsam_wo_retrieval": ("MCSAM, nothing retrieved, the features themselves aligned", {"retrieval": "none"}),
    "mcsam_wo_alignment": (
        "MCSAM without alignment, and without the embedding that it makes",
        {"alignment": "none", "semantic_slot": False},
    ),
    "mcsam_wo_tokens": ("MCSAM without memory tokens", {"memory_tokens": 0}),
    "mcsam_direct": ("MCSAM aligned directly, without the pairs that do not match", {"alignment": "direct"}),
    "mcsam_hard": ("MCSAM asking the best slot alone", {"retrieval": "hard"}),
}
for _name, (_row, _settings) in _MCSAM.items():
    register_preset(Preset(_name, _row, MCSAMConfig(**_settings)))

# The paper names no weight. Of 1, 0.3 and 0.1 the last names most findings on the validation studies after a `ci`
# training, and 1 names none.
register_preset(
    Preset(
        "cmn_pair",
        "Student paper Table 3, CMN + pair alignment, as its text describes it",
        CMNConfig(),
        pair=PairConfig(weight=0.1),
    )
)
register_preset(
    Preset(
        "cmn_pair_as_printed",
        "Student paper Table 3, CMN + pair alignment, by its printed formula",
        CMNConfig(),
        pair=PairConfig(form="positives"),
    )
)

#: The captioning code's shipped configurations: Adam as it comes, every gradient value clipped, 0.8 every third epoch,
#: the best epoch by validation CIDEr. Which settings the radiology papers gave these systems, they do not say.
_CAPTIONING = TrainingConfig(
    epochs=30,
    batch_size=10,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    amsgrad=False,
    step_epochs=3,
    clip_value=0.1,
    monitor={"CIDEr": 1.0},
)
#: R2Gen's released script for IU X-Ray.
_R2GEN = TrainingConfig(
    lr=1e-4,
    lr_visual=5e-5,
    betas=(0.9, 0.999),
    eps=1e-8,
    step_epochs=50,
    step_factor=0.1,
    clip_value=0.1,
    seed=9223,
)
register_preset(Preset("st", "CMN Table 3, ST", generator=ShowTellConfig(), training=_CAPTIONING))
register_preset(Preset("att2in", "CMN Table 3, ATT2IN", generator=Att2inConfig(), training=_CAPTIONING))
register_preset(Preset("adaatt", "CMN Table 3, ADAATT", generator=AdaAttConfig(), training=_CAPTIONING))
register_preset(Preset("topdown", "CMN Table 3, TOPDOWN", generator=TopDownConfig(), training=_CAPTIONING))
register_preset(Preset("r2gen", "CMN Table 3, R2GEN", generator=R2GenConfig(), training=_R2GEN))

#: Code and reconstructions: what is as released and what is ours, their modules say part by part. Both search greedily.
_ONE_BEAM = DecodingConfig(beam_size=1)
#: EKAGen's released script for IU X-Ray; no rule there chooses the epoch. Its decay is left out: decoupled, it is 1e-8
#: of a weight a step, and the decay of Adam here would be another.
_EKAGEN = TrainingConfig(
    epochs=50,
    batch_size=8,
    lr=1e-4,
    lr_visual=1e-5,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    amsgrad=False,
    step_epochs=20,
    step_factor=0.1,
    clip_norm=0.1,
    seed=42,
)
register_preset(
    Preset(
        "ekagen",
        "Student paper Table 1, EKAGen (RN-101), reconstructed",
        KnowledgeConfig(),
        generator=EKAGenConfig(),
        training=_EKAGEN,
        decoding=_ONE_BEAM,
    )
)
#: The public code for COATT, a third party's; which epoch is best it means to choose on validation, but its validation
#: loss is always 0.
_COATT = TrainingConfig(
    epochs=1000,
    lr=1e-3,
    lr_visual=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    amsgrad=False,
    schedule="constant",
)
register_preset(
    Preset(
        "coatt",
        "CMN Table 3, COATT, reconstructed",
        generator=CoAttConfig(),
        training=_COATT,
        decoding=_ONE_BEAM,
    )
)
# Reconstructions; `rrg_lib/models/NAME.py` says part by part how well each is founded.
#: RATCHET's released training, the learning rate's peak where the warm-up ends. It keeps the epoch with the most words
#: right on the validation reports, which is not computed here: the lowest validation loss stands for it.
_RATCHET = TrainingConfig(
    epochs=10,
    batch_size=32,
    lr=(512 * 4_000) ** -0.5,
    lr_visual=(512 * 4_000) ** -0.5,
    weight_decay=0.0,
    amsgrad=False,
    schedule="inverse_root",
    warmup_steps=4_000,
    monitor={"validation_loss": -1.0},
    seed=42,
)
#: The successor's code; the CNN's learning rate is that of its findings classifier.
_SENTSAT_KG = TrainingConfig(
    batch_size=8,
    lr=1e-4,
    lr_visual=1e-6,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=1e-5,
    amsgrad=False,
    schedule="constant",
    clip_value=5.0,
    monitor=dict.fromkeys(("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"), 1.0),
    seed=123,
)
register_preset(
    Preset("ratchet", "XProNet Table 1, RATCHET, reconstructed", generator=RatchetConfig(), training=_RATCHET)
)
register_preset(
    Preset(
        "sentsat_kg", "XProNet Table 1, SentSAT+KG, reconstructed", generator=SentSATKGConfig(), training=_SENTSAT_KG
    )
)


@dataclass(frozen=True)
class Profile:
    """How a preset is scaled: fields to replace in its parts. Generator and memory take those that they have. `studies`
    limits the training split."""

    name: str
    extractor: ExtractorConfig
    generator: Mapping[str, Any] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    decoding: Mapping[str, Any] = field(default_factory=dict)
    studies: int | None = None


#: The small extractor of the offline default, frozen: its patch features are cached, so that an epoch is seconds.
_SMALL = ExtractorConfig("small", "findings", frozen=True)
#: Selection in the small profiles: BLEU-4 alone prefers a model that always says the same (see chapter 09), so the
#: findings count too.
_SMALL_MONITOR = {"BLEU-4": 1.0, "finding-F1": 1.0}
#: Small models are sure of a finding later than of a sentence that suits everybody, and beam search prefers what is
#: sure: it names fewer findings than greedy search (chapter 03 writes both). Their validation scores are greedy, so are
#: their reports; `--set decoding.beam_size=3` is as released.
_GREEDY = {"beam_size": 1}
#: The captioning code drops half of all words and outputs, at 512 units and 30 epochs. At a quarter of both its systems
#: hardly look at the image: after a `ci` training ADAATT has a validation loss of 2.53 and names no finding, with a
#: dropout of .1, which the Transformers have at every size, 2.18 and a finding-F1 of .23 (ST: 2.31 and 2.19).
_DROPOUT = {"dropout": 0.1, "feature_dropout": 0.1}
#: With the released decay the memory of a small model falls silent; `--set training.weight_decay_memory=5e-5` is as
#: released.
_AWAKE = {"weight_decay_memory": 0.0}

PROFILES = {
    "ci": Profile(
        "ci",
        _SMALL,
        {"d_model": 128, "d_ff": 256, "layers": 1, "heads": 4} | _DROPOUT,
        {"slots": 128, "top_k": 16, "image_dim": 256, "text_dim": 128},
        {"epochs": 4, "lr": 3e-3, "schedule": "cosine", "warmup_steps": 100, "monitor": _SMALL_MONITOR} | _AWAKE,
        _GREEDY,
    ),
    "study": Profile(
        "study",
        _SMALL,
        {"d_model": 128, "d_ff": 256, "layers": 1, "heads": 4} | _DROPOUT,
        {"slots": 256, "top_k": 16, "image_dim": 256, "text_dim": 128},
        {"epochs": 8, "lr": 3e-3, "schedule": "cosine", "warmup_steps": 100, "monitor": _SMALL_MONITOR} | _AWAKE,
        _GREEDY,
    ),
    "laptop": Profile(
        "laptop",
        _SMALL,
        {"d_model": 192, "d_ff": 384, "layers": 2, "heads": 6} | _DROPOUT,
        {"slots": 512, "top_k": 32, "image_dim": 256, "text_dim": 256},
        {"epochs": 12, "lr": 3e-3, "schedule": "cosine", "warmup_steps": 200, "monitor": _SMALL_MONITOR} | _AWAKE,
        _GREEDY,
    ),
    "gpu": Profile("gpu", ExtractorConfig()),
}


def released_settings(name: str, profile: str = "gpu") -> tuple[str, ...]:
    """What the releases set for a data set otherwise than for IU X-Ray, which the presets are of, in the form of
    `--set`: for `mimic_cxr/PRESET` reports of 100 words and at most 30 epochs, as the scripts of R2Gen's family;
    nothing for another data set, or in a profile that is not the published setting."""
    dataset, _, preset = name.partition("/")
    if dataset != "mimic_cxr" or profile != "gpu":
        return ()
    epochs = min(PRESETS[_known("preset", preset, PRESETS)].training.epochs, 30)
    return f"training.epochs={epochs}", "generator.max_length=100", "decoding.max_length=100"


@dataclass(frozen=True)
class Experiment:
    """Everything that decides the numbers of a run, as data: written beside its results, and enough to repeat it.
    `studies` and `validation` limit these two splits to their first studies; None takes all."""

    dataset: str
    preset: str
    profile: str
    extractor: ExtractorConfig
    generator: GeneratorConfig
    memory: MemoryConfig | None
    training: TrainingConfig
    decoding: DecodingConfig
    studies: Count | None = None
    pair: PairConfig | None = None
    validation: Count | None = None

    def __post_init__(self):
        check_settings(self)

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.preset}"

    @property
    def hash(self) -> str:
        """Of the settings that are not their default: a setting that a later edition adds, off by default, leaves the
        runs of this one their names."""
        data, parts = self.to_json(), {name: part for name, part in vars(self).items() if is_dataclass(part)}
        for name, part in parts.items():
            usual = json.loads(json.dumps(asdict(type(part)())))
            data[name] = {key: value for key, value in data[name].items() if key not in usual or value != usual[key]}
        return content_hash({name: value for name, value in data.items() if value is not None})

    def to_json(self) -> dict[str, Any]:
        memory = self.memory.to_json() if self.memory else None
        data = json.loads(json.dumps({**asdict(self), "generator": self.generator.to_json(), "memory": memory}))
        if not (self.memory and self.memory.gated):
            del data["decoding"]["labels_at_test"]  # nobody is told
        return data

    @staticmethod
    def from_json(data: dict[str, Any]) -> Experiment:
        training = TrainingConfig(**{**data["training"], "betas": tuple(data["training"]["betas"])})
        return Experiment(
            **{name: data[name] for name in ("dataset", "preset", "profile", "studies")},
            extractor=ExtractorConfig(**data["extractor"]),
            generator=GeneratorConfig.from_json(data["generator"]),
            memory=MemoryConfig.from_json(data["memory"]),
            training=training,
            decoding=DecodingConfig(**data["decoding"]),
            pair=PairConfig(**data["pair"]) if data.get("pair") else None,
            validation=data.get("validation"),
        )


def _known(kind: str, name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    if name not in known:
        raise UnknownNameError(kind, name, known)
    return name


def experiment(name: str, profile: str = "ci", overrides: Sequence[str] = (), seed: int | None = None) -> Experiment:
    """The experiment `DATASET/PRESET` in a profile, with overrides such as `training.epochs=3` or `memory.slots=64`,
    which are taken together: of two of one setting the later one.

    Raises `UnknownNameError` listing the nearest datasets, presets, profiles or settings, `ConfigurationError` for a
    value that cannot be.
    """
    dataset, slash, preset_name = name.partition("/")
    if not slash:
        raise ConfigurationError(
            f"{name!r} names no dataset and preset; write DATASET/PRESET, for example "
            f"iu_phantom/{name if name in PRESETS else 'cmn'}"
        )
    _known("dataset", dataset, DATASETS)
    preset, scale = PRESETS[_known("preset", preset_name, PRESETS)], PROFILES[_known("profile", profile, PROFILES)]
    settings = Experiment(
        dataset=dataset,
        preset=preset_name,
        profile=profile,
        extractor=scale.extractor,
        generator=_scaled(preset.generator, scale.generator),
        memory=None if preset.memory is None else _scaled(preset.memory, scale.memory),
        training=replace(preset.training, **scale.training),
        decoding=replace(preset.decoding, **scale.decoding),
        studies=scale.studies,
        pair=preset.pair,
    )
    if seed is not None:
        settings = replace(settings, training=replace(settings.training, seed=seed))
    return _overridden(settings, overrides)


def _scaled(part: Any, changes: Mapping[str, Any]) -> Any:
    """A part of a preset with those settings of a profile that it has."""
    has = {f.name for f in fields(part)}
    return replace(part, **{name: value for name, value in changes.items() if name in has})


def _overridden(settings: Experiment, texts: Sequence[str]) -> Experiment:
    """All at once, because some settings fit each other alone: heads and d_model, top_k and slots."""
    changes: dict[str, dict[str, Any]] = {}
    for text in texts:
        part, key, value = setting_of(settings, text)
        changes.setdefault(part, {})[key] = value
    whole = changes.pop("", {})
    return replace(settings, **whole, **{part: replace(getattr(settings, part), **of) for part, of in changes.items()})


def settings_given(e: Experiment) -> tuple[str, ...]:
    """What `--set` says of an experiment whose settings are not its preset's, the seed apart: with these overrides
    `experiment` makes it again. None for a preset or a profile that is not known here. A part of another kind than the
    preset's cannot be said, and is left out."""
    if e.preset not in PRESETS or e.profile not in PROFILES:
        return ()
    plain, texts = experiment(e.name, e.profile, seed=e.training.seed), []
    for part in fields(e):
        own, usual = getattr(e, part.name), getattr(plain, part.name)
        if part.name in ("studies", "validation") and own != usual:
            texts.append(f"{part.name}={_value_text(own)}")
        elif is_dataclass(own) and type(own) is type(usual):
            texts += [
                f"{part.name}.{f.name}={_value_text(getattr(own, f.name))}"
                for f in fields(own)
                if getattr(own, f.name) != getattr(usual, f.name) and f.name not in getattr(own, "of_the_data", ())
            ]
    return tuple(texts)


def _value_text(value: Any) -> str:
    """A value as `setting_of` reads it: JSON, a word without quotes where it is no JSON itself."""
    try:
        json.loads(value)
    except TypeError:  # no text
        return json.dumps(value)
    except ValueError:
        return value
    return json.dumps(value)


def setting_of(settings: Experiment, text: str) -> tuple[str, str, Any]:
    """Part ("" for the experiment itself), field and value of `PART.FIELD=VALUE`. Whether the value can be, the part
    says. Raises `UnknownNameError` and `ConfigurationError` for what names no setting of this experiment."""
    path, equals, value_text = text.partition("=")
    part_name, dot, key = path.strip().partition(".")
    parts = {f.name for f in fields(settings)} - {"dataset", "preset", "profile"}
    if not equals:
        raise ConfigurationError(f"{text!r} is not a setting; write PART.FIELD=VALUE, for example training.epochs=3")
    try:
        value = json.loads(value_text)
    except (ValueError, RecursionError):  # no JSON: a word; thousands of digits or of brackets
        value = value_text
    value = tuple(value) if isinstance(value, list) else value
    part = getattr(settings, _known("setting", part_name, parts))
    if part_name in ("studies", "validation"):
        if dot:
            raise ConfigurationError(f"{text!r}: {part_name} has no fields; write {part_name}=100")
        return "", part_name, value
    if not dot:
        raise ConfigurationError(
            f"{text!r}: {part_name} has fields; name one, for example "
            f"{part_name}.{fields(part)[0].name if part else 'slots'}=…"
        )
    if part is None:
        has = ", ".join(sorted(name for name in parts if is_dataclass(getattr(settings, name))))
        raise ConfigurationError(f"{text!r}: the preset {settings.preset!r} has no {part_name}; it has {has}")
    _known(f"setting of {part_name}", key, [f.name for f in fields(part)])
    if key in getattr(part, "of_the_data", ()):
        raise ConfigurationError(f"{text!r}: {path.strip()} follows from the data, whatever is set. Leave it out")
    return part_name, key, value
