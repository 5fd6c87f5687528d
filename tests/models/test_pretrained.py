"""Published weights: where they are looked for, what is refused, and that no file can run anything."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from rrg_lib.errors import CheckpointError, ConfigurationError
from rrg_lib.experiments.presets import DATASETS
from rrg_lib.models.visual import pretrained
from rrg_lib.models.visual.extractor import EXTRACTORS, VisualExtractor
from rrg_lib.models.visual.networks import build_network
from rrg_lib.models.visual.pretrained import Released, known_weights, published_state, read_state, released


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No network, and caches that are empty."""

    def refused(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", refused)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "weights", "file", "sha256"),
    [
        ("resnet18", "imagenet", "torch/hub/checkpoints/resnet18-f37072fd.pth", "f37072fd"),
        ("resnet50", "imagenet", "torch/hub/checkpoints/resnet50-0676ba61.pth", "0676ba61"),
        ("resnet101", "imagenet", "torch/hub/checkpoints/resnet101-63fe2227.pth", "63fe2227"),
        ("densenet121", "imagenet", "torch/hub/checkpoints/densenet121-a639ec97.pth", "a639ec97"),
        ("vit_b_16", "imagenet", "torch/hub/checkpoints/vit_b_16-c867db91.pth", "c867db91"),
        (
            "chest_densenet121",
            "chest",
            ".torchxrayvision/models_data/chex-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt",
            None,
        ),
        (
            "chest_resnet50",
            "chest",
            ".torchxrayvision/models_data/pc-nih-rsna-siim-vin-resnet50-test512-e400-state.pt",
            None,
        ),
    ],
)
def test_missing_and_offline_says_which_file_to_put_where(offline, name, weights, file, sha256):
    with pytest.raises(CheckpointError) as caught:
        published_state(name, weights)
    message = str(caught.value)
    assert (
        f"at {offline / file}" in message
        and Path(file).name in released(name, weights).url
        and released(name, weights).url in message
    )
    assert ("SHA-256" in message) == (sha256 is not None) and (sha256 or "") in message


def test_the_extractor_itself_tells_it(offline):
    with pytest.raises(CheckpointError, match=r"resnet18-f37072fd\.pth .*at .*checkpoints"):
        VisualExtractor("resnet18", weights="imagenet")


@pytest.mark.parametrize(
    ("name", "weights", "told"),
    [
        ("small", "imagenet", "none: train it"),
        ("resnet18", "chest", "'imagenet'"),
        ("chest_densenet121", "imagenet", "'chest-nih'"),
    ],
)
def test_weights_that_a_network_does_not_have_are_told(name, weights, told):
    with pytest.raises(ConfigurationError, match=told):
        VisualExtractor(name, weights=weights)


def test_a_file_in_the_cache_is_used_and_its_hash_is_checked(offline, monkeypatch):
    """The file that is there already is not fetched, and one that is not the published one is refused, loaded or
    not."""
    torch.manual_seed(1)
    net = VisualExtractor("resnet18")
    path = offline / "weights.pth"
    torch.save({**net.net.state_dict(), "fc.weight": torch.zeros(1000, 512)}, path)
    begins = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(
        pretrained, "released", lambda *_: Released("https://host/weights.pth", offline, begins, "toys")
    )
    assert VisualExtractor("resnet18", weights="imagenet").hash == net.hash
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(
        CheckpointError, match=rf"not the published file: its SHA-256 begins with \w{{8}}, not {begins}\. Delete it"
    ):
        VisualExtractor("resnet18", weights="imagenet")


def test_whose_films_weights_have_seen_and_that_the_defaults_have_seen_none_of_the_papers():
    assert pretrained.SEEN == {
        ("chest_densenet121", "chest"): ("chexpert_plus",),
        ("chest_densenet121", "chest-padchest"): ("padchest_gr",),
        ("chest_densenet121", "chest-mimic"): ("mimic_cxr",),
        ("chest_densenet121", "chest-all"): ("iu_xray", "mimic_cxr", "chexpert_plus", "padchest_gr"),
        ("chest_resnet50", "chest"): ("padchest_gr",),
    }
    assert {dataset for seen in pretrained.SEEN.values() for dataset in seen} <= set(DATASETS)


def test_torchxrayvisions_addresses_are_its_own():
    from torchxrayvision.models import model_urls

    theirs = {entry["weights_url"] for entry in model_urls.values()}
    assert {url for each in pretrained.CHEST_WEIGHTS.values() for url, *_ in each.values()} <= theirs


@pytest.fixture(scope="module")
def chest():
    from torchxrayvision.models import DenseNet

    torch.manual_seed(2)
    model = DenseNet().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    return model


def test_a_pickled_chest_network_gives_its_features_and_is_never_built(chest, tmp_path, monkeypatch):
    """torchxrayvision ships whole pickled networks. Ours reads the tensors, computes the same map, and calls no class
    of theirs."""
    import torchxrayvision as xrv

    path = tmp_path / "chest.pt"
    torch.save(chest, path, _use_new_zipfile_serialization=False)  # as saved in 2020
    films = torch.randint(0, 256, (1, 1, 224, 224), dtype=torch.uint8)
    with torch.no_grad():
        theirs = F.relu(
            chest.features(
                torch.from_numpy(xrv.datasets.normalize(films[0, 0].numpy().astype("float32"), 255))[None, None]
            )
        )
    monkeypatch.setattr(xrv.models.DenseNet, "__setstate__", lambda *_: pytest.fail("built"), raising=False)
    extractor = VisualExtractor("chest_densenet121", weights=path)
    torch.testing.assert_close(
        extractor(films).patches[0].T.reshape(1, 1024, 7, 7), theirs, atol=1e-4 * theirs.max().item(), rtol=1e-4
    )


def test_a_pickled_network_that_is_cut_short_or_lies_about_its_length_is_told(chest, tmp_path):
    path = tmp_path / "chest.pt"
    torch.save(chest, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for content, told in ((whole[:-1000], "half a download"), (whole[:5000], "damaged"), (whole[:30], "damaged")):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"chest\.pt.*{told}"):
            read_state(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_old_and_new_files_hold_the_same_tensors(tmp_path, zipped):
    state = {
        "a": torch.randn(3, 4).T,
        "b": torch.arange(5),
        "half": torch.randn(2).half(),
        "part": torch.randn(10)[3:6],
        "none": torch.zeros(0),
    }
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    found = read_state(tmp_path / "a.pt")
    assert found.keys() == state.keys() and all(torch.equal(found[key], value) for key, value in state.items())


class Harmful:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_nothing_in_a_file_is_run(tmp_path, zipped):
    torch.save(
        {"conv1.weight": Harmful(tmp_path / "was run")}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(
        CheckpointError, match=r"a\.pt is not a checkpoint that can be read safely: it names \w+\.mkdir"
    ):
        read_state(tmp_path / "a.pt")
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize("make", ["missing", "text", "plain pickle", "numbers", "list"])
def test_other_files_are_refused_by_name(tmp_path, make):
    path = tmp_path / "odd.pth"
    if make == "text":
        path.write_text("<html>")
    elif make == "plain pickle":
        path.write_bytes(pickle.dumps({"a": 1}))
    elif make != "missing":
        torch.save({"epoch": 3} if make == "numbers" else [torch.zeros(1)], path)
    with pytest.raises(CheckpointError, match=r"odd\.pth"):
        read_state(path)


def test_every_way_of_saving_weights_gives_the_same_extractor(tmp_path):
    torch.manual_seed(3)
    extractor = VisualExtractor("small")
    state = extractor.net.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    torch.save({"state_dict": state, "epoch": 7}, tmp_path / "c.pt")
    assert {VisualExtractor("small", weights=path).hash for path in sorted(tmp_path.iterdir())} == {extractor.hash}


def test_old_names_of_a_densenets_layers_are_understood(tmp_path):
    """torchvision's file is of 2017, when the layers were called `norm.1` and `conv.2`."""
    torch.manual_seed(4)
    extractor = VisualExtractor("densenet121")
    old = {
        key.replace(".norm1.", ".norm.1.")
        .replace(".norm2.", ".norm.2.")
        .replace(".conv1.", ".conv.1.")
        .replace(".conv2.", ".conv.2."): value
        for key, value in extractor.net.state_dict().items()
    }
    assert sum(".norm.1." in key for key in old) > 100
    torch.save({**old, "classifier.weight": torch.zeros(1000, 1024)}, tmp_path / "old.pth")
    assert VisualExtractor("densenet121", weights=tmp_path / "old.pth").hash == extractor.hash


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "vit_b_16"])
def test_a_map_is_what_torchvisions_own_head_would_pool(name):
    """The same weights in torchvision's classifier: its head on our map gives its answer, so the map is the one that
    ImageNet weights were trained for."""
    from torchvision import models

    torch.manual_seed(5)
    whole = getattr(models, name)(weights=None).eval()
    net = build_network(name).eval()
    net.load_state_dict({key: value for key, value in whole.state_dict().items() if key in net.state_dict()})
    pixels = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        maps = net(pixels)
        if name == "vit_b_16":
            torch.nn.init.normal_(whole.heads.head.weight)
            tokens = whole.encoder(torch.cat([whole.class_token, whole._process_input(pixels)], dim=1))[
                :, 1:
            ]  # (1, 196, 768)
            torch.testing.assert_close(maps[0, :, 3, 5], tokens[0, 3 * 14 + 5])
        else:
            head = whole.fc if name == "resnet18" else whole.classifier
            torch.testing.assert_close(head(maps.mean((2, 3))), whole(pixels), atol=1e-5, rtol=1e-4)


def test_the_lite_weights_need_no_network(offline):
    state = published_state("efficientnet_lite0", "imagenet")
    assert sum(value.numel() for value in state.values()) > 4_600_000
    assert set(EXTRACTORS) == {"small", *pretrained.CHEST_WEIGHTS} | {
        name for name in EXTRACTORS if known_weights(name) == ("imagenet",)
    }
