from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from loopback import served
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules import SyntheticFaces
from experiments import measure
from experiments.errors import ends_in_sentences
from experiments.evaluation import utility
from experiments.evaluation.faces import Faces
from experiments.evaluation.judge import Judge, first_of_each
from experiments.evaluation.rows import COUNTS, LABELS
from experiments.evaluation.utility import chosen_by_the_others
from facecrafter.metrics import (
    ImageMetric,
    LinearProbe,
    attribute_aucs,
    clustered_aucs,
    mean_auc,
    person_scores,
    ssim,
    tar_at_far,
)
from facecrafter.store import TensorStore, encoder_hash
from lightning_modules.networks.oracle import IdentityOracle

SIZE = 32
DESIGNED = {
    "dataset", "scenario", "network", "defence", "strength", "attack", "access", "adaptive",
    "countermeasure", "oracle", "clean_acc", "n_images", "n_identities", "eval_acc", "eval_acc_lo",
    "eval_acc_hi", "top5", "fsim", "psnr", "ssim", "ms_ssim", "lpips", "nn_distance", "nn_same_person",
    "tar_at_far_1", "tar_at_far_1_lo", "tar_at_far_1_hi", "tar_at_far_01", "tar_at_far_01_lo",
    "tar_at_far_01_hi", "fnir_at_fpir_1", "fnir_at_fpir_1_lo", "fnir_at_fpir_1_hi", "frechet", "auc",
    "auc_lo", "auc_hi", "probe_auc", "probe_auc_lo", "probe_auc_hi", "epsilon", "epsilon_null", "restart",
    "epoch", "budget", "queries", "seed", "seconds",
}  # fmt: skip


class NearestPixels(IdentityOracle):
    """Names the person whose mean enrolled image is nearest."""

    def __init__(self) -> None:
        super().__init__()
        self.sums: dict[int, Tensor] = {}

    def embed(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def enrol(self, embeddings: Tensor, identities: Tensor) -> None:
        for image, identity in zip(embeddings, identities.tolist(), strict=True):
            count = torch.cat([image, torch.ones(1)])
            self.sums[identity] = self.sums.get(identity, 0) + count

    def scores(self, embeddings: Tensor) -> Tensor:
        sums = torch.stack([self.sums[identity] for identity in sorted(self.sums)])
        return -torch.cdist(embeddings, sums[:, :-1] / sums[:, -1:])


class Artifact(nn.Module):
    """Stands for what a fit leaves behind."""

    latent_dim = 4

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


class TrainedHead(nn.Sequential):
    """Stands for a HeadTraining: f, and the hash of the encoder whose features it reads."""

    def __init__(self, encoder: nn.Module, n_outputs: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(2 * (SIZE // 4) ** 2, n_outputs))
        self.encoder_hash = encoder_hash(encoder)


@pytest.fixture(scope="module")
def data_config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    sizes = {"n_identities": 12, "images_per_identity": 12, "private_identities": 5, "image_size": SIZE}
    sizes["val_fraction"] = 0.4  # three strangers for the development scenario
    sizes["train_test_ratio"] = 5.0  # two of each person to test, ten for the toy oracle to know them by
    cache = str(tmp_path_factory.mktemp("cache"))
    return {"class_path": "datamodules.SyntheticFaces", "init_args": {**sizes, "cache_dir": cache}}


@pytest.fixture(scope="module")
def data(data_config: dict[str, Any]) -> SyntheticFaces:
    faces = SyntheticFaces(**data_config["init_args"])
    faces.prepare_data()
    faces.setup("test")
    return faces


@pytest.fixture
def networks(data: SyntheticFaces, monkeypatch: pytest.MonkeyPatch) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    pixels = 3 * SIZE * SIZE
    found: dict[str, nn.Module] = {
        "defence": Artifact(
            encoder=nn.Conv2d(3, 2, 4, stride=4),
            head=nn.Sequential(nn.Flatten(), nn.Linear(2 * (SIZE // 4) ** 2, len(data.attribute_names))),
        ),
        "prior": Artifact(
            network=nn.Sequential(nn.Linear(4, pixels), nn.Unflatten(1, (3, SIZE, SIZE)), nn.Sigmoid())
        ),
        "oracle": NearestPixels(),
    }
    attributes, encoder = len(data.attribute_names), found["defence"].encoder
    found["head"] = TrainedHead(encoder, attributes)
    found["other_head"] = TrainedHead(nn.Conv2d(3, 2, 4, stride=4), attributes)
    for module in (measure, utility):
        monkeypatch.setattr(module, "load_artifact", lambda folder, _: found[Path(folder).name].eval())
    return found


@pytest.fixture
def defence(networks: dict[str, nn.Module]) -> Artifact:
    return networks["defence"]


@pytest.fixture
def command(
    data: SyntheticFaces,
    data_config: dict[str, Any],
    defence: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., list[dict[str, Any]]]:
    """Stores features and two restarts (the clean image, noise), runs the command and reads its rows."""
    faces = data.faces("private_test")
    images = faces.images(range(len(faces)))
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    meta = {"dtype": "float32", "encoder": encoder_hash(defence.encoder), "batches": 2}
    shape = list(defence.encoder(images).shape[1:])
    features = TensorStore.create(tmp_path / "features", {"kind": "features", "shape": shape, **meta})
    shape = [2, 3, SIZE, SIZE]
    losses = torch.tensor([1.0, 2.0]).expand(len(faces), 2)
    parts = torch.arange(len(faces)).flip(0).tensor_split(2)
    for number, part in enumerate(parts):
        features.write(number, row=faces.rows[part], features=defence.encoder(images[part]))
    meta |= {"kind": "reconstructions", "features": features.fingerprint()}
    attacked = TensorStore.create(tmp_path / "attack", {"shape": shape, **meta})
    for number, part in enumerate(parts):
        restarts = torch.stack([images[part], noise[part]], dim=1)
        seconds = torch.full((len(part),), 0.5)
        attacked.write(number, row=faces.rows[part], images=restarts, losses=losses[part], seconds=seconds)

    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "external_defences")

    def run(**changes: Any) -> list[dict[str, Any]]:
        config = {
            "data": data_config,
            "defence": str(tmp_path / "defence"),
            "features": str(tmp_path / "features"),
            "reconstructions": str(tmp_path / "attack"),
            "oracles": {"nearest": {"artifact": str(tmp_path / "oracle")}},
            "prior": str(tmp_path / "prior"),
            "labels": {"defence": "none", "attack": "white_box", "access": "white", "strength": "beta=1"},
            "output": str(tmp_path / "measure"),
            **changes,
        }
        (tmp_path / "measure.yaml").write_text(yaml.safe_dump(config))
        measure.main(["--config", str(tmp_path / "measure.yaml")])
        return json.loads((tmp_path / "measure" / "results.json").read_text())

    return run


def test_rows_have_the_columns_of_results(
    command: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    """And say how many answers an attacker had, where that is asked for: as many as the store has images."""
    rows = command(answers=str(tmp_path / "features"))
    assert {row["queries"] for row in rows} == {rows[0]["n_images"]}
    assert [row["restart"] for row in rows] == ["0", "1", "best"]
    assert all(set(row) == DESIGNED for row in rows)
    assert (rows[0]["defence"], rows[0]["attack"], rows[0]["strength"]) == ("none", "white_box", "beta=1")
    assert rows[0]["lpips"] is None
    assert rows[0]["seconds"] == 0.5


class SmallPixels(nn.Module):
    """Somebody's network: an image of eight by eight pixels, about grey."""

    def forward(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, 8) - 0.5


def test_judges_are_named_by_import_path_and_by_url(
    command: Callable[..., list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that sees what the network sees judges alike; one that names nobody does not."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def service(question: dict[str, Any], _: int) -> list[float]:
        image = Image.open(io.BytesIO(base64.b64decode(question["image"])))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        return SmallPixels()(pixels).flatten().tolist()

    with served(service) as server:
        http = {
            "url": server.url,
            "task": "embed",
            "question": {"image": "{image}"},
            "answer": "",
            "cache_dir": str(tmp_path / "service"),
            "private_images": True,
            "side": SIZE,
            "requests_per_second": 1e4,
        }
        rows = command(
            oracles={
                "own": {
                    "class_path": "lightning_modules.OwnOracle",
                    "init_args": {"make": f"{__name__}.SmallPixels"},
                },
                "service": {"class_path": "lightning_modules.HttpOracle", "init_args": http},
            }
        )
    own, other = ([row for row in rows if row["oracle"] == name] for name in ("own", "service"))
    assert own[0]["eval_acc"] == own[0]["clean_acc"] > 0.5
    for one, same in zip(own, other, strict=True):
        assert one["eval_acc"] == pytest.approx(same["eval_acc"], abs=0.11)  # eight bits may exchange a few
        assert one["fsim"] == pytest.approx(same["fsim"], abs=0.02)


def test_clean_images_are_recognised_as_the_oracle_recognises_them(
    command: Callable[..., list[dict[str, Any]]],
) -> None:
    clean, noise, best = command()
    assert clean["eval_acc"] == clean["clean_acc"] > 0.5
    assert clean["eval_acc_lo"] < clean["eval_acc"] < clean["eval_acc_hi"] + 1e-9
    assert clean["fsim"] == pytest.approx(1, abs=1e-5)
    assert clean["ssim"] == pytest.approx(1, abs=1e-5)
    assert noise["clean_acc"] == clean["clean_acc"]
    assert noise["ssim"] < 0.1
    assert noise["eval_acc"] < clean["eval_acc"]
    assert best == clean | {"restart": "best"}, "the lower loss"


def test_utility_is_the_heads_auc_on_the_stored_features(
    command: Callable[..., list[dict[str, Any]]], data: SyntheticFaces, defence: Artifact
) -> None:
    row = command()[0]
    faces = data.faces("private_test")
    with torch.no_grad():
        scores = defence.head(defence.encoder(faces.images(range(len(faces)))))
    assert row["auc"] == pytest.approx(mean_auc(scores, faces.attributes).value, abs=1e-6)
    assert row["auc_lo"] < row["auc"] < row["auc_hi"]
    assert (row["n_images"], row["n_identities"]) == (len(faces), 5)


def test_a_task_that_nobody_knew_is_read_by_probes_of_raw_public_features(
    command: Callable[..., list[dict[str, Any]]], data: SyntheticFaces, defence: Artifact
) -> None:
    """Trained on released features, or on private people, they would say what nobody can have."""
    unseen = data.attribute_names[2:4]
    row = command(unseen=unseen)[0]
    public, faces = data.faces("public"), data.faces("private_test")
    with torch.no_grad():
        learnt = defence.encoder(public.images(range(len(public))))
        released = defence.encoder(faces.images(range(len(faces))))
        scores = [
            LinearProbe.fit(h(learnt), public.attributes[:, 2:4])(h(released)).float()
            for h in (torch.nn.Identity(), defence.head[:-1], defence.head)
        ]
    wanted = faces.attributes[:, 2:4]
    one, other = (
        max(scores, key=lambda found: attribute_aucs(found, wanted)[judge])[:, told]
        for told, judge in ((0, 1), (1, 0))
    )
    expected = mean_auc(torch.stack([one, other], dim=1), wanted).value
    assert row["probe_auc"] == pytest.approx(expected, abs=1e-6)
    assert row["probe_auc_lo"] <= row["probe_auc"] <= row["probe_auc_hi"]
    assert command()[0]["probe_auc"] is None, "nobody asked"


def test_probes_are_learnt_once_for_all_attacks_on_one_f(
    data: SyntheticFaces, defence: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every measurement of a study, hundreds, reads the public pictures again; kept too long, they
    would tell of another f or of other labels."""
    learnt: list[int] = []
    fit = LinearProbe.fit

    def counted(features: Tensor, labels: Tensor) -> LinearProbe:
        learnt.append(len(features))
        return fit(features, labels)

    monkeypatch.setattr(LinearProbe, "fit", counted)
    data.cache_dir = tmp_path / "cache"
    names, public = data.attribute_names[2:4], data.faces("public")

    def scores(attributes: list[str]) -> list[Tensor]:
        known = data.labelled(attributes).faces("public")
        features = defence.encoder(public.images(range(5))).detach()
        read = utility._read(defence.head, features)
        probes = utility._learn_from(known, defence, 0, data.cache_dir)
        return [probe(layer) for probe, layer in zip(probes, read, strict=True)]

    first = scores(names)
    layers = len(learnt)
    assert layers == len(first) > 1
    assert all(torch.equal(one, other) for one, other in zip(first, scores(names), strict=True))
    assert len(learnt) == layers, "kept"
    scores(names[::-1])
    assert len(learnt) == 2 * layers, "other labels"
    with torch.no_grad():
        next(defence.head.parameters()).mul_(1.01)
    scores(names)
    assert len(learnt) == 3 * layers, "another f"


def test_several_queries_are_for_who_reads_features(command: Callable[..., list[dict[str, Any]]]) -> None:
    """Nobody else would read the others: what was asked for would be left out, and nothing would say so."""
    with pytest.raises(ValueError, match="`again` names further queries for a Linker or a Matcher"):
        command(again=["somewhere"])
    with pytest.raises(ValueError, match="name one of them"):
        command(again=["somewhere"], averages="elsewhere", identifier="defence", reconstructions=None)


def test_protected_photographs_are_for_who_compares(command: Callable[..., list[dict[str, Any]]]) -> None:
    with pytest.raises(ValueError, match="`known` names photographs for a Matcher"):
        command(known="somewhere")


class SecondChannel(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features[:, 1:]


def test_a_release_that_keeps_what_f_reads_is_read_there(
    data: SyntheticFaces, defence: Artifact, tmp_path: Path
) -> None:
    """With a probe of the feature alone it would look worthless: the rest of it is a stranger's."""
    pixels, attributes = (SIZE // 4) ** 2, len(data.attribute_names)
    defence.head = nn.Sequential(SecondChannel(), nn.Flatten(), nn.Linear(pixels, attributes))
    faces, public = data.faces("private_test"), data.faces("public")
    with torch.no_grad():
        learnt = defence.encoder(public.images(range(len(public))))
        released = defence.encoder(faces.images(range(len(faces))))
    released[:, 0] = 9 * torch.randn(released[:, 0].shape, generator=torch.Generator().manual_seed(0))
    meta = {"kind": "features", "dtype": "float32", "encoder": encoder_hash(defence.encoder), "batches": 1}
    store = TensorStore.create(tmp_path / "stranger", {"shape": list(released.shape[1:]), **meta})
    store.write(0, row=faces.rows, features=released)
    worth = utility.unknown_tasks(defence, store, data, Faces.of(data), data.attribute_names, seed=0)
    of_feature, of_hidden = (
        mean_auc(LinearProbe.fit(h(learnt), public.attributes)(h(released)).float(), faces.attributes).value
        for h in (nn.Identity(), SecondChannel())
    )
    assert of_feature < 0.6 < of_hidden
    assert worth.value > of_hidden - 0.05


def test_the_layer_of_a_new_task_is_not_chosen_by_what_is_measured() -> None:
    """Two probes that read nothing: chosen by its own AUC, a task would look as if it were read."""
    rng = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 2, (30, 40), generator=rng)
    scores = [torch.randn(30, 40, generator=rng) for _ in range(8)]
    own = torch.stack([attribute_aucs(found, truth) for found in scores]).max(dim=0).values.mean()
    chosen = mean_auc(chosen_by_the_others(scores, truth), truth).value
    assert own > 0.6
    assert abs(chosen - 0.5) < 0.03
    good = truth + 0.1 * torch.randn(30, 40, generator=rng)
    assert torch.equal(chosen_by_the_others([*scores, good], truth), good), "where one reads all tasks best"
    alone = chosen_by_the_others([found[:, :1] for found in scores], truth[:, :1])
    assert torch.equal(alone, scores[0][:, :1]), "one task alone is read from the feature"


def test_an_unseen_attribute_that_the_data_lacks_is_named(
    command: Callable[..., list[dict[str, Any]]],
) -> None:
    with pytest.raises(ValueError, match="moustaches"):
        command(unseen=["moustaches"])


def test_in_development_utility_is_that_of_f_on_raw_features_of_strangers(
    command: Callable[..., list[dict[str, Any]]],
    data: SyntheticFaces,
    networks: dict[str, nn.Module],
    tmp_path: Path,
) -> None:
    """The defence's own head never saw the attributes there, and f serves images that nobody protects."""
    rows = command(head=str(tmp_path / "head"))
    strangers = data.faces("public_val")
    with torch.no_grad():
        features = networks["defence"].encoder(strangers.images(range(len(strangers))))
        scores = networks["head"](features)
    aucs, attributes = rows[0], strangers.attributes
    expected, _ = clustered_aucs(scores, attributes, strangers.identities)
    for name, value in zip(("auc", "auc_lo", "auc_hi"), expected, strict=True):
        assert aucs[name] == pytest.approx(value, abs=1e-6)
    with (tmp_path / "measure" / "attributes.csv").open() as lines:
        counts = [int(line["images"]) for line in csv.DictReader(lines)]
    assert counts == attributes.sum(dim=0).int().tolist()
    figures = {"auc", "auc_lo", "auc_hi"}
    for row, other in zip(rows, command(), strict=True):
        changed = {name for name in row if row[name] != other[name]}
        assert changed == figures, "the attack reads the private-test features as before"


def test_an_f_trained_for_another_encoder_is_refused(
    command: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    """It would read nothing, and the defence would look useless."""
    with pytest.raises(ValueError, match=r"other_head was trained for .* but .*defence has encoder"):
        command(head=str(tmp_path / "other_head"))


def test_where_no_feature_leaves_there_is_the_utility_alone(
    command: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Training on public images needs no private one: the row says what it reaches, and of no attack."""
    attacked = command(head=str(tmp_path / "head"))[0]
    (row,) = command(head=str(tmp_path / "head"), reconstructions=None)
    assert {row[name] for name in ("attack", "access", "oracle")} == {"none"}
    assert (row["defence"], row["restart"]) == ("none", "best")
    assert all(row[name] is None for name in ("eval_acc", "eval_acc_lo", "eval_acc_hi"))
    for name in ("auc", "auc_lo", "auc_hi", "n_images", "seed"):
        assert row[name] == attacked[name]
    assert set(row) < DESIGNED
    assert not {"fsim", "ssim", "epsilon"} & set(row)
    file = tmp_path / "measure" / "per_image.csv"
    assert file.read_text().split() == ["oracle,restart,row,identity"]


def test_epsilon_stands_beside_its_null(command: Callable[..., list[dict[str, Any]]]) -> None:
    clean, noise, _ = command()
    assert clean["epsilon"] != noise["epsilon"]
    assert clean["epsilon_null"] == noise["epsilon_null"] > 0
    assert command(prior=None)[0]["epsilon"] is None


def test_per_image_results_are_for_their_owner_alone(
    command: Callable[..., list[dict[str, Any]]], data: SyntheticFaces, tmp_path: Path
) -> None:
    rows = command()
    file = tmp_path / "measure" / "per_image.csv"
    assert file.stat().st_mode & 0o777 == 0o600
    with file.open() as lines:
        table = list(csv.DictReader(lines))
    assert {"row", "identity", "restart", "oracle", "correct", "nn_same_person"} < set(table[0])
    faces = data.faces("private_test")
    for row in rows:
        mine = [line for line in table if line["restart"] == row["restart"]]
        assert [int(line["row"]) for line in mine] == sorted(faces.rows.tolist())
        assert sum(int(line["correct"]) for line in mine) / len(mine) == pytest.approx(row["eval_acc"])
        for name in ("top5", "fsim", "psnr", "ssim", "ms_ssim", "nn_distance", "nn_same_person"):
            mean = sum(float(line[name]) for line in mine) / len(mine)
            assert mean == pytest.approx(row[name], abs=1e-5), name


def test_a_clean_image_is_near_its_person_and_noise_is_not(
    command: Callable[..., list[dict[str, Any]]],
) -> None:
    clean, noise, _ = command()
    assert clean["nn_distance"] < 0.1 < noise["nn_distance"]
    assert clean["nn_same_person"] > noise["nn_same_person"]
    assert clean["frechet"] == pytest.approx(0, abs=1e-6)
    assert noise["frechet"] > 0.1
    assert clean["psnr"] > 50 > 15 > noise["psnr"]
    assert clean["ms_ssim"] == pytest.approx(1, abs=1e-5)


def test_a_rate_that_ten_images_of_five_people_cannot_show_is_left_empty(
    command: Callable[..., list[dict[str, Any]]],
) -> None:
    """There are 40 impostor pairs: an accept rate of one in a hundred is beyond them."""
    row = command()[0]
    assert row["tar_at_far_1"] is None
    assert row["tar_at_far_01_hi"] is None


class FewFaces:
    """Thirty people with two photographs each, or what is needed of the role's data."""

    def __init__(self, seed: int) -> None:
        self.identities, self.rows = torch.arange(60) % 30, torch.arange(60)
        self.noise = 0.6 * torch.rand(60, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
        self.looks = torch.rand(30, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return 60

    def images(self, positions: Tensor) -> Tensor:
        return (0.5 * self.looks[self.identities] + self.noise)[positions]


def test_verification_compares_embeddings_with_the_gallery(tmp_path: Path) -> None:
    """Each rate under its own name: one impostor in a hundred admits more than one in a thousand."""
    known, test = FewFaces(1), FewFaces(2)
    faces = Faces(test.rows, test.identities, torch.zeros(60, 1), test.images(test.rows))
    judge = Judge("pixels", NearestPixels(), known, faces, seed=0, cache=tmp_path)
    row = judge.columns(judge.clean, judge.verdict(judge.clean))
    pixels = [faces_.images(test.rows).flatten(1) for faces_ in (test, known)]
    scores = person_scores(*pixels, known.identities)
    assert row["tar_at_far_1"] == tar_at_far(scores, test.identities, 0.01).value
    assert row["tar_at_far_01_hi"] == tar_at_far(scores, test.identities, 0.001).hi
    assert 0 < row["tar_at_far_01"] < row["tar_at_far_1"] < 1


def test_whoever_says_in_which_direction_a_photograph_stands_is_judged_by_directions(tmp_path: Path) -> None:
    """A linker's answers have length one: read by a layer that goes by length, they named hardly anybody."""
    known, test = FewFaces(1), FewFaces(2)
    faces = Faces(test.rows, test.identities, torch.zeros(60, 1), test.images(test.rows))
    judge = Judge("pixels", NearestPixels(), known, faces, seed=0, cache=tmp_path)
    perfect = F.normalize(judge.clean.features)
    named = judge.verdict(judge.see_directions(perfect)).correct
    photographs = F.normalize(known.images(known.rows).flatten(1))
    centres = torch.stack([photographs[known.identities == person].mean(dim=0) for person in range(30)])
    nearest = F.cosine_similarity(perfect[:, None], centres[None], dim=2).argmax(dim=1)
    assert named.tolist() == (nearest == test.identities).tolist()
    assert named.double().mean() > 0.8
    assert judge.verdict(judge.see_embeddings(perfect)).correct.double().mean() < 0.5


def test_seen_from_the_mean_face_whoever_is_right_is_as_near_as_can_be(tmp_path: Path) -> None:
    """Directions from the mean face beside embeddings from the origin: a perfect linker looked imperfect."""
    known, test = FewFaces(1), FewFaces(2)
    faces = Faces(test.rows, test.identities, torch.zeros(60, 1), test.images(test.rows))
    judge = Judge("pixels", NearestPixels(), known, faces, seed=0, cache=tmp_path)
    mean = F.normalize(judge.gallery).mean(dim=0)
    seen = judge.from_mean_face(mean)
    sight = seen.see_directions(F.normalize(F.normalize(judge.clean.features) - mean))
    row = seen.columns(sight, seen.verdict(sight))
    assert row["fsim"] == pytest.approx(1)
    assert row["frechet"] == pytest.approx(0, abs=1e-4)
    assert row["clean_acc"] == judge.columns(judge.clean, judge.verdict(judge.clean))["clean_acc"]
    assert row["eval_acc"] > 0.8


def test_verification_and_neighbours_know_a_few_photographs_of_each_person() -> None:
    """Somebody with a hundred photographs must not be everybody's nearest neighbour for that."""
    people = torch.tensor([1, 0, 1, 1, 2, 1, 0])
    assert first_of_each(people, 2).tolist() == [0, 1, 2, 4, 6]


def test_each_attribute_has_its_own_line(
    command: Callable[..., list[dict[str, Any]]], data: SyntheticFaces, tmp_path: Path
) -> None:
    row = command()[0]
    with (tmp_path / "measure" / "attributes.csv").open() as lines:
        table = list(csv.DictReader(lines))
    assert [line["attribute"] for line in table] == list(data.attribute_names)
    found = [float(line["auc"]) for line in table if line["auc"]]
    assert sum(found) / len(found) == pytest.approx(row["auc"])
    one_class = [line for line in table if int(line["images"]) in (0, row["n_images"])]
    assert all(line["auc"] == line["auc_lo"] == "" for line in one_class)


def test_epsilon_over_the_number_of_images_ends_at_epsilon(
    command: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    best = command()[-1]
    with (tmp_path / "measure" / "epsilon.csv").open() as lines:
        last = list(csv.DictReader(lines))[-1]
    assert int(last["n"]) == best["n_images"]
    assert float(last["epsilon"]) == pytest.approx(best["epsilon"])
    assert float(last["null"]) == pytest.approx(best["epsilon_null"])


def test_reconstructions_that_nobody_judges_are_refused(
    command: Callable[..., list[dict[str, Any]]],
) -> None:
    """There would be no row, and the attack would be missing from the results."""
    with pytest.raises(ValueError, match="reconstructions need oracles"):
        command(oracles={})


def test_several_oracles_give_rows_of_their_own(command: Callable[..., list[dict[str, Any]]]) -> None:
    rows = command(
        oracles={
            "a": {"artifact": "oracle"},
            "b": {"class_path": f"{NearestPixels.__module__}.NearestPixels"},
        }
    )
    assert [(row["oracle"], row["restart"]) for row in rows] == [
        (oracle, restart) for oracle in "ab" for restart in ("0", "1", "best")
    ]
    assert rows[0]["eval_acc"] == rows[3]["eval_acc"]


def test_features_protected_again_do_not_stand_beside_an_old_attack(
    command: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    store = TensorStore.open(tmp_path / "features")
    batch = store.read(0)
    store.write(0, **{**batch, "features": batch["features"] + 1})
    with pytest.raises(ValueError, match="was not made from the features"):
        command()


def test_every_private_test_image_must_be_there_once(
    command: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    store = TensorStore.open(tmp_path / "attack")
    batch = store.read(0)
    store.write(0, **{**batch, "row": batch["row"] + 1000})
    with pytest.raises(ValueError, match=r"attack must hold each of the 10 private-test images once: 5 are"):
        command()


def test_a_store_of_another_encoder_is_refused(
    command: Callable[..., list[dict[str, Any]]], defence: Artifact
) -> None:
    with torch.no_grad():
        defence.encoder.bias += 1
    with pytest.raises(ValueError, match="has encoder"):
        command()


def test_a_metric_of_ones_own_is_a_column_of_everything(
    command: Callable[..., list[dict[str, Any]]], data: SyntheticFaces, tmp_path: Path
) -> None:
    """One class is all that a user writes: rows, lines and what the report shows follow from it."""
    plain = command()
    rows = command(metrics=[{"class_path": "mean_error.MeanError", "init_args": {"power": 2.0}}])
    clean, noise, _ = rows
    assert clean["mean_error"] == pytest.approx(0, abs=1e-6)
    assert 0.01 < noise["mean_error"] < 1
    for row, other in zip(rows, plain, strict=True):
        assert {name: row[name] for name in other} == other, "and nothing else changes"
    with (tmp_path / "measure" / "per_image.csv").open() as lines:
        table = [line for line in csv.DictReader(lines) if line["restart"] == "1"]
    found = sum(float(line["mean_error"]) for line in table) / len(table)
    assert found == pytest.approx(noise["mean_error"], abs=1e-6)
    columns = {column["name"]: column for column in described(tmp_path)}
    assert columns["mean_error"] == {
        "name": "mean_error",
        "title": "mean error",
        "describe": "Mean absolute difference of the pixels, 0 to 1; lower is more alike.",
        "format": ".2f",
        "interval": False,
        "group": "likeness",
    }


def described(folder: Path) -> list[dict[str, Any]]:
    """What the command says of its columns."""
    return json.loads((folder / "measure" / "columns.json").read_text())


def test_every_figure_says_what_it_is(command: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    """A column without words would be shown to nobody, or under a name that only the code knows."""
    row, columns = command()[0], described(tmp_path)
    names = [column["name"] for column in columns]
    bounds = {f"{c['name']}_{bound}" for c in columns if c["interval"] for bound in ("lo", "hi")}
    labels = {*LABELS, *COUNTS, "oracle", "restart"}
    assert {*names, *bounds, *labels} == set(row)
    assert len(names) == len(set(names))
    for column in columns:
        assert column["title"]
        assert column["describe"].endswith(".")
        format(0.5, column["format"])


class Reversed(ImageMetric):
    """Another implementation of a standard metric."""

    name, title, describe = "ssim", "SSIM, reversed", "One minus SSIM."

    def __call__(self, images: Tensor, originals: Tensor) -> Tensor:
        return 1 - ssim(images, originals)


class Scalar(ImageMetric):
    name, title, describe = "scalar", "scalar", "One figure for all images."

    def __call__(self, images: Tensor, originals: Tensor) -> Tensor:
        return (images - originals).abs().mean()[None]


class Wordless(Scalar):
    name, title = "wordless", ""


class Fsim(Scalar):
    name = "fsim"


def test_a_standard_metric_is_exchanged_by_its_name(
    command: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    plain = command()[1]
    row = command(metrics=[{"class_path": f"{__name__}.Reversed"}])[1]
    assert row["ssim"] == pytest.approx(1 - plain["ssim"], abs=1e-6)
    titles = [column["title"] for column in described(tmp_path)]
    assert "SSIM, reversed" in titles
    assert "SSIM" not in titles


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["Scalar"], r"metric scalar returned \(1,\) for 10 images"),
        (["Wordless"], "metric Wordless needs 'title'"),
        (["Fsim"], "cannot be named 'fsim'"),
        (["Reversed", "Reversed"], "two metrics are named 'ssim'"),
    ],
)
def test_a_metric_that_would_spoil_the_results_is_refused(
    command: Callable[..., list[dict[str, Any]]], metrics: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        command(metrics=[{"class_path": f"{__name__}.{name}"} for name in metrics])


class Broken(NearestPixels):
    """An oracle whose weights are NaN."""

    def embed(self, images: Tensor) -> Tensor:
        return images.flatten(1) * torch.nan


def test_an_oracle_with_broken_weights_is_named(command: Callable[..., list[dict[str, Any]]]) -> None:
    """It names nobody, so that every defence would look safe."""
    oracles = {"good": {"artifact": "oracle"}, "bad": {"class_path": f"{__name__}.Broken"}}
    with pytest.raises(ValueError, match="oracle bad answers 50 of 50 clean photographs with NaN"):
        command(oracles=oracles)


def test_unknown_labels_and_missing_weights_are_refused_first(
    command: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"labels \['colour'\] are no columns"):
        command(labels={"colour": "red"})
    with pytest.raises(FileNotFoundError, match=r"nothing\.pth"):
        command(lpips_weights=str(tmp_path / "nothing.pth"))


def test_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        measure.main(["--help"])
    assert stop.value.code == 0
    assert "who judges identity" in capsys.readouterr().out


def test_a_full_disk_is_named_and_what_is_measured_stays(
    command: Callable[..., list[dict[str, Any]]], tmp_path: Path, small_disk: dict[str, Any]
) -> None:
    rows = command()
    inputs = {path: path.read_bytes() for path in tmp_path.glob("*/*.safetensors")}
    line = ["--config", str(tmp_path / "measure.yaml"), f"--output={tmp_path / 'again'}"]
    small_disk["room"] = 100
    with pytest.raises(SystemExit, match=r"again/\w+\.\w+: No space left on device; make room there"):
        ends_in_sentences(measure.main)(line)
    assert not list((tmp_path / "again").glob("*")), "nothing in part"
    small_disk["room"] = 10**12
    measure.main(line)
    assert json.loads((tmp_path / "again" / "results.json").read_text()) == rows
    assert {path: path.read_bytes() for path in inputs} == inputs
