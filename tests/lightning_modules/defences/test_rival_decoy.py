"""A stranger's feature with this face's answer, as a defence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from artifact import QUIET, artifact
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader
from toy_rivals import CHANNELS, released, target_and_prior, toy_target

from facecrafter.crafter.towards import keyed_latents
from lightning_modules import AnswersCodebook, Decoy, Prior, QuantisedDecoy, ReducedAnswers, ReducedDecoy


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return target_and_prior(tmp_path_factory.mktemp("networks"))


IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_answer_is_that_of_the_face_and_the_feature_is_not(networks: dict[str, str]) -> None:
    defence = Decoy(**networks, steps=100).eval()
    features, raw = released(defence, IMAGES), defence.encoder(IMAGES)
    strangers = defence.encoder(defence.model.generator(torch.randn(2, 8)))
    assert (defence.head(features) - defence.head(raw)).norm() < 0.1 * (
        defence.head(strangers) - defence.head(raw)
    ).norm()
    assert (features - raw).norm() > 0.5 * (strangers - raw).norm()


def test_under_a_secret_every_query_shows_the_same_stranger(networks: dict[str, str]) -> None:
    """So averaging queries shows him again; without one each query has its own."""
    for secret, same in (("a", True), (None, False)):
        first, again = (
            released(Decoy(**networks, secret=secret, steps=5, query=query).eval(), IMAGES, number=query)
            for query in (0, 1)
        )
        assert torch.allclose(first, again, atol=1e-5) == same


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A head that reads the mean of each channel and maps it once, and a prior whose faces differ."""
    folder = tmp_path_factory.mktemp("linear")
    size = {"latent_dim": 8, "image_size": 32, "width": 4, "critic_width": 4}
    torch.manual_seed(0)
    prior = Prior(**size)
    with torch.no_grad():
        for weight in prior.network.parameters():
            weight.mul_(4)
    return {"target": toy_target(folder), "prior": artifact(folder / "prior", prior, **size)}


@pytest.mark.parametrize("secret", [None, "a"])
@pytest.mark.parametrize("layer", ["logits", "hidden"])
def test_of_the_face_its_feature_holds_what_the_layer_reads_and_nothing_else(
    linear: dict[str, str], layer: str, secret: str | None
) -> None:
    """In closed form: the stranger's feature, and the shortest way to what h reads. With more of the face in
    it, it would leak what no figure of h shows; with less, it would serve fewer tasks than asked for."""
    defence = Decoy(**linear, layer=layer, secret=secret).eval()
    found = defence.protect(IMAGES, torch.Generator().manual_seed(3))
    drawn = torch.randn(2, 8, generator=torch.Generator().manual_seed(3))
    z = drawn if secret is None else keyed_latents(secret, IMAGES, 8)
    with torch.no_grad():
        raw, stranger = defence.encoder(IMAGES), defence.encoder(defence.model.generator(z))
    assert (stranger[0] - stranger[1]).norm() > 0.1 * (raw - stranger).norm()
    reads = defence.head[-1].weight.detach() if layer == "logits" else torch.eye(CHANNELS)
    missing = (raw - stranger).mean(dim=(2, 3))
    correction = missing @ torch.linalg.pinv(reads) @ reads
    expected = stranger + correction[:, :, None, None]
    assert (found - expected).norm() < 1e-3 * (raw - stranger).norm()


Learnt = TypeVar("Learnt", bound=LightningModule)


class People(LightningDataModule):
    """Pictures of public people, of whose attributes colours tell something."""

    def __init__(self, fit_role: str = "public", private_exposure: float = 0) -> None:
        super().__init__()
        self.fit_role, self.private_exposure = fit_role, private_exposure
        self.images = torch.rand(60, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        self.images *= torch.rand(60, 3, 1, 1, generator=torch.Generator().manual_seed(2))
        self.attributes = (self.images.mean(dim=(2, 3)) > 0.25).float()

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, positions: list[int]) -> dict[str, torch.Tensor]:
        return {"image": self.images[positions], "attributes": self.attributes[positions]}

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self, batch_size=50, drop_last=True, collate_fn=lambda batch: batch)


def learnt(module: Learnt, data: People) -> Learnt:
    Trainer(max_epochs=1, accelerator="cpu", **QUIET).fit(module, datamodule=data)
    return module.eval()


def test_of_fewer_answers_no_more_leaves_the_device(networks: dict[str, str], tmp_path: Path) -> None:
    """What f reads of the released feature are the combinations that public people taught, of all of them."""
    data = People()
    module = learnt(ReducedAnswers(networks["target"], 32), data)
    folder = artifact(tmp_path / "reduced", module, encoder=networks["target"], image_size=32)
    defence = ReducedDecoy(**networks, reduced=folder, rank=1).eval()
    raw, read = defence.head(defence.encoder(data.images)), defence.head(released(defence, data.images))
    torch.testing.assert_close(module.network.mean, raw.mean(dim=0), atol=1e-4, rtol=1e-3)
    module.network.rank = 1
    expected = module.network(raw)
    assert (read - expected).norm() < 0.02 * (raw - expected).norm()
    assert torch.linalg.matrix_rank((expected - expected.mean(dim=0)).double(), rtol=1e-4) == 1
    with pytest.raises(ValueError, match="rank=4 must lie between 1 and 3, the number of answers"):
        ReducedDecoy(**networks, reduced=folder, rank=4)


def test_private_people_teach_no_reduction(networks: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="private"):
        learnt(ReducedAnswers(networks["target"], 32), People("private_train"))
    with pytest.raises(ValueError, match="adds private ones"):
        learnt(ReducedAnswers(networks["target"], 32), People(private_exposure=0.1))


@pytest.fixture(scope="module")
def codebook(networks: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    target, bits = networks["target"], 3
    module = learnt(AnswersCodebook(target, 32, bits), People())
    folder = tmp_path_factory.mktemp("codebook")
    return artifact(folder, module, encoder=target, image_size=32, bits=bits)


def test_a_feature_holds_one_word_and_nothing_else_of_the_face(
    networks: dict[str, str], codebook: str
) -> None:
    """Pictures of the same word are sent as the same feature, bit by bit, where the same stranger is drawn.
    Were anything else of them in it, the bound that is shipped with it would be wrong."""
    images = People().images
    defence = QuantisedDecoy(**networks, codebook=codebook, bits=2).eval()
    words = defence.release.keep(defence.head(defence.encoder(images)))
    which = words.unique(dim=0, return_inverse=True)[1]
    assert 2 <= len(which.unique()) <= 2**defence.bits < len(images)
    for word in which.unique():
        first, *others = images[which == word][:4]
        sent = [released(defence, image[None]) for image in (first, *others)]
        assert all(torch.equal(sent[0], other) for other in sent)
        told = defence.head(sent[0])[0]
        assert (told - words[which == word][0]).norm() < 0.02 * words.norm(dim=1).mean()
    assert not torch.equal(*(released(defence, images[which == word][:1]) for word in (0, 1)))


def test_nor_of_the_other_faces_in_the_batch(networks: dict[str, str], codebook: str) -> None:
    """Two batches of different pictures, whose words are the same one by one, are sent alike."""
    images = People().images
    defence = QuantisedDecoy(**networks, codebook=codebook, bits=2).eval()
    words = defence.release.keep(defence.head(defence.encoder(images)))
    which = words.unique(dim=0, return_inverse=True)[1]
    pairs = [(which == word).nonzero()[:2, 0] for word in which.unique() if (which == word).sum() > 1]
    one, other = torch.stack(pairs).T
    assert len(one) > 1
    assert torch.equal(released(defence, images[one]), released(defence, images[other]))


def test_what_was_learnt_of_another_head_is_refused(
    networks: dict[str, str], codebook: str, tmp_path: Path
) -> None:
    """Its words mean other attributes; with as many answers nobody would notice."""
    other = shutil.copytree(networks["target"], tmp_path / "target")
    kept = torch.load(other / "last.ckpt", weights_only=True)
    name = next(name for name in kept["state_dict"] if name.startswith("head."))
    kept["state_dict"][name] += 1
    torch.save(kept, other / "last.ckpt")
    with pytest.raises(ValueError, match="learnt from the answers of another head than the target's"):
        QuantisedDecoy(str(other), networks["prior"], codebook)


def test_asking_again_shows_another_stranger_with_the_same_word(
    networks: dict[str, str], codebook: str
) -> None:
    assert QuantisedDecoy.is_randomised({})
    first, again = (
        released(QuantisedDecoy(**networks, codebook=codebook, bits=2, query=query).eval(), IMAGES)
        for query in (0, 1)
    )
    head = Decoy(**networks).eval().head
    assert (first - again).norm() > 0.05 * first.norm()
    assert (head(first) - head(again)).norm() < 0.02 * head(first).norm()


def test_bits_that_the_codebook_does_not_have_are_refused(networks: dict[str, str], codebook: str) -> None:
    for bits in (0, 4):
        with pytest.raises(ValueError, match=f"bits={bits} must lie between 1 and 3, those of {codebook}"):
            QuantisedDecoy(**networks, codebook=codebook, bits=bits)


def test_what_is_proved_goes_with_the_features(networks: dict[str, str], codebook: str) -> None:
    assert QuantisedDecoy(**networks, codebook=codebook, bits=2).meta()["bits"] == 2
    assert "bits" not in Decoy(**networks).meta()
