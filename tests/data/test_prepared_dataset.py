"""Reading a prepared dataset: what comes back is what was drawn, or what the files hold."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trees
from PIL import Image
from torch.utils.data import DataLoader

from rrg_lib.data import phantom
from rrg_lib.data.prepare import prepare
from rrg_lib.data.prepared_dataset import PreparedDataset
from rrg_lib.data.study_stream import StudyStream
from rrg_lib.errors import AnnotationError, ConfigurationError, DataRootError, ImageError, ReportError, UnknownNameError

COUNT, SHARD = 20, 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> PreparedDataset:
    """20 phantom studies in 3 shards."""
    out = tmp_path_factory.mktemp("prepared") / "whole"
    return prepare("phantom", count=COUNT, shard_size=SHARD, workers=1, progress=False, out=out)


def test_every_study_picture_and_box_comes_back(whole):
    studies = phantom.sample_studies(COUNT, seed=0)
    assert len(whole) == COUNT and list(whole) == list(studies)
    for i in (0, SHARD - 1, SHARD, COUNT - 1):  # both sides of a shard's edge
        drawing = phantom.draw(studies[i], seed=0, size=256)
        assert np.array_equal(whole.views(i), drawing.views)
        assert whole.boxes(i) == tuple(drawing.boxes)
    assert np.array_equal(whole.views_array([COUNT - 1, 0]), np.stack([whole.views(COUNT - 1), whole.views(0)]))
    assert any(whole.boxes(i) for i in range(COUNT))


def test_labels_words_and_splits_are_those_of_the_studies(whole):
    studies = list(whole)
    assert whole.drawn_findings.dtype == np.uint8 and whole.drawn_findings.tolist() == [
        list(study.drawn) for study in studies
    ]
    assert whole.observations.tolist() == [list(study.observations) for study in studies]
    assert whole.coded.all() and whole.reports == [study.report for study in studies]
    protocol = whole.vocabulary.protocol
    for i, study in enumerate(studies):
        assert whole.tokens(i) == whole.vocabulary.encode(study.report)
        assert whole.cleaned(i) == protocol.clean(study.report)
        assert whole.reference(i) == protocol.reference(study.report, whole.vocabulary)
    parts = {split: whole.split_indices(split) for split in ("train", "val", "test")}
    assert sorted(i for part in parts.values() for i in part) == list(range(COUNT))
    assert {split: len(part) for split, part in parts.items()} == whole.manifest["splits"]


def test_studies_are_found_by_id_or_their_neighbours_are_named(whole):
    assert [whole.index(study_id) for study_id in whole.ids] == list(range(COUNT))
    with pytest.raises(UnknownNameError, match=f"nearest: .*{whole.ids[3]}"):
        whole.index(whole.ids[3] + "x")
    with pytest.raises(UnknownNameError, match="nearest: train"):
        whole.split_indices("training")


def test_views_are_mapped_read_only_and_the_dataset_travels_by_its_path(whole):
    assert not whole.views(0).flags.writeable
    data = pickle.dumps(whole)
    assert len(data) < 500 and np.array_equal(pickle.loads(data).views(9), whole.views(9))


def test_a_file_is_not_mapped_before_it_is_read_and_damage_is_found_then(tmp_path):
    out = prepare("phantom", count=4, shard_size=2, workers=1, progress=False, out=tmp_path / "data").folder
    _, second = sorted(out.glob("*.arrow"))
    second.write_bytes(b"\0" * second.stat().st_size)  # of the right length
    opened = PreparedDataset.open(out)
    assert len(opened) == 4 and "table" not in vars(opened)
    with pytest.raises(DataRootError, match=r"the prepared dataset is damaged .* Run: rrg prepare phantom"):
        opened.views(3)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("padchest_gr", {}, "--layout padchest_gr --data-root"),
        ("padchest_gr", {"layout": "padchest_gr_spanish"}, "--layout padchest_gr_spanish --data-root"),
        ("padchest_gr", {"views": "frontal"}, "--layout padchest_gr --views frontal --data-root"),
        ("rexgradient", {}, "--layout rexgradient --data-root"),  # its own rule is frontal_first
        ("rexgradient", {"views": "as_released"}, "--layout rexgradient --views as_released --data-root"),
    ],
)
def test_real_images_are_read_again_as_they_were(name, options, told, tmp_path):
    root = getattr(trees, name)(tmp_path / "root")
    out = prepare(
        name, data_root=root, out=tmp_path / "data", workers=1, max_rejected=1, progress=False, **options
    ).folder
    (out / "manifest.json").unlink()
    with pytest.raises(DataRootError, match=rf"Run: rrg prepare {name} --protocol \w+ {told} FOLDER --out "):
        PreparedDataset.open(out)


def test_opening_needs_neither_torch_nor_another_library_of_datasets():
    code = "import sys, rrg_lib.data.prepare; print(*({'torch', 'datasets'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b""


def test_opening_what_is_not_there_tells_the_command(tmp_path):
    with pytest.raises(
        DataRootError, match=r"looked for manifest\.json; the folder does not exist; .*Run: rrg prepare iu_phantom"
    ):
        PreparedDataset.open(tmp_path / "none")


# ---- a stream for many nodes


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("seed", [None, 5])
def test_the_shares_of_all_nodes_are_every_study_once(world_size, seed, whole):
    shares = [
        [row["id"] for row in StudyStream(whole, rank=rank, world_size=world_size, seed=seed)]
        for rank in range(world_size)
    ]
    assert sorted(study_id for share in shares for study_id in share) == whole.ids
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    if world_size == 1:
        assert (shares[0] == whole.ids) == (seed is None)


def test_a_node_reads_few_shards_and_never_the_whole(whole):
    shard = {study_id: i // SHARD for i, study_id in enumerate(whole.ids)}
    for rank in range(5):
        shares = StudyStream(whole, rank=rank, world_size=5, seed=rank, buffer=1, columns=["id"])
        assert len({shard[row["id"]] for row in shares}) <= 2


def test_a_streams_order_follows_from_seed_and_epoch_alone(whole):
    orders = [
        [row["id"] for row in StudyStream(whole, "train", seed=seed, epoch=epoch)]
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    ]
    assert orders[0] == orders[1] and len({tuple(order) for order in orders}) == 3
    assert sorted(orders[2]) == [whole.ids[i] for i in whole.split_indices("train")]


def test_the_workers_of_a_loader_divide_the_share_of_their_node(whole):
    shares = [
        DataLoader(StudyStream(whole, rank=rank, world_size=2, columns=["id"]), batch_size=3, num_workers=2)
        for rank in range(2)
    ]
    assert sorted(study_id for share in shares for batch in share for study_id in batch["id"]) == whole.ids


def test_a_streamed_row_holds_the_views_and_a_node_that_is_none_is_refused(whole):
    row = next(iter(StudyStream(whole)))
    assert np.array_equal(np.frombuffer(row["views"], np.uint8).reshape(2, 256, 256), whole.views(0)) and row[
        "tokens"
    ] == whole.tokens(0)
    with pytest.raises(ConfigurationError, match="rank is 2 of 2 nodes; expected 0 to 1"):
        StudyStream(whole, rank=2, world_size=2)
    with pytest.raises(UnknownNameError, match="nearest: train"):
        StudyStream(whole, "trian")


# ---- real images


@pytest.fixture
def release(tmp_path):
    """Makes a tree in the layout of the R2Gen release from {split: {id: (report, number of images)}}."""

    def make_tree(splits: dict, name: str = "root", file: str = "{}.png") -> Path:
        root, annotation = tmp_path / name, {}
        for split, studies in splits.items():
            annotation[split] = []
            for study_id, (report, images) in studies.items():
                paths = [f"{study_id}/{file.format(i)}" for i in range(images)]
                for i, path in enumerate(paths):
                    (root / "images" / path).parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(np.full((64, 64), 10 + i, np.uint8)).save(root / "images" / path)
                annotation[split].append({"id": study_id, "report": report, "image_path": paths})
        (root / "annotation.json").write_text(json.dumps(annotation))
        return root

    return make_tree


def test_a_study_with_one_view_repeats_it_and_says_so_and_one_with_five_keeps_two(release, tmp_path):
    root = release(
        {"train": {"one": ("Clear lungs.", 1), "two": ("Clear lungs.", 2)}, "test": {"five": ("Clear lungs.", 5)}}
    )
    data = prepare("iu_xray", data_root=root, out=tmp_path / "out", workers=1, progress=False)
    assert [data.num_views(i) for i in range(3)] == [1, 2, 2]
    assert [data.provenance(i)["repeated_views"] for i in range(3)] == [1, 0, 0]
    assert data.provenance(2)["left_out"] == 3 and len(data.study(2).views) == 5
    assert data.views_array(range(3))[:, :, 0, 0].tolist() == [[10, 10], [10, 11], [10, 11]]
    assert not data.coded.any() and data.boxes(0) == ()


def test_the_same_pictures_from_another_place_have_the_same_hash(release, tmp_path):
    studies = {"train": {"a": ("Clear lungs.", 2)}, "test": {"b": ("Heart is large.", 2)}}
    roots = [release(studies, "here"), release(studies, "there", "view-{}.png")]
    Image.fromarray(np.full((64, 64), 99, np.uint8)).save(release(studies, "other") / "images" / "b" / "1.png")
    roots.append(tmp_path / "other")
    hashes = [
        prepare("iu_xray", data_root=root, out=tmp_path / f"out{i}", workers=1, progress=False).hash
        for i, root in enumerate(roots)
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_changed_collection_is_another_request(release, tmp_path):
    root = release({"train": {"a": ("Clear lungs.", 2)}})
    prepare("iu_xray", data_root=root, out=tmp_path / "out", workers=1, progress=False)
    (root / "annotation.json").write_text((root / "annotation.json").read_text().replace("Clear", "Dark"))
    with pytest.raises(ConfigurationError, match=r"annotation is '.*' there and '.*' here"):
        prepare("iu_xray", data_root=root, out=tmp_path / "out", workers=1, progress=False)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_image_that_is_none_stops_the_run_by_name(workers, release, tmp_path):
    root = release({"train": {"a": ("Clear lungs.", 2), "b": ("Clear lungs.", 1)}})
    (root / "images" / "b" / "0.png").write_text("<html>")
    with pytest.raises(ImageError, match=r"b/0\.png is an HTML"):
        prepare("iu_xray", data_root=root, out=tmp_path / "out", workers=workers, shard_size=1, progress=False)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_report_without_words_is_named_before_anything_is_made(release, tmp_path):
    root = release({"train": {"a": ("Clear lungs.", 1), "b": (" . ", 1)}})
    with pytest.raises(ReportError, match="study 'b': the report is empty"):
        prepare("iu_xray", data_root=root, out=tmp_path / "out", workers=1, progress=False)
    assert not (tmp_path / "out").exists()


def test_without_training_studies_there_is_no_vocabulary(release, tmp_path):
    root = release({"test": {"a": ("Clear lungs.", 1)}})
    with pytest.raises(AnnotationError, match="none of the 1 studies is in the split 'train'"):
        prepare("iu_xray", data_root=root, out=tmp_path / "out", workers=1, progress=False)
