from __future__ import annotations

from pathlib import Path

import lpips
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image.lpips import _NoTrainLpips
from torchvision.models import alexnet

from facecrafter.metrics import Lpips


def pair() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(3, 3, 64, 64, generator=rng)
    return images, (images + 0.2 * torch.randn(images.shape, generator=rng)).clamp(0, 1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("lpips") / "alexnet.pth"
    torch.save({name: w for name, w in alexnet().state_dict().items() if name.startswith("features")}, file)
    return file


def other_implementation() -> torch.nn.Module:
    return _NoTrainLpips(net="alex", pnet_rand=True)


def test_lpips_uses_the_given_backbone_and_the_calibrated_layers(weights: Path) -> None:
    reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)  # calibrated by the package itself
    state = torch.load(weights, weights_only=True)
    for name, parameter in reference.net.named_parameters():
        parameter.data = state["features." + name.split(".", 1)[1]]
    images, references = pair()
    with torch.no_grad():
        expected = reference(images, references, normalize=True).flatten()
    torch.testing.assert_close(Lpips(weights)(images, references), expected)
    assert (expected > 0).all()


def test_the_package_can_be_exchanged_for_torchmetrics(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another implementation, with calibrated layers of its own copy, in place of the one function."""
    images, references = pair()
    measured = Lpips(weights)(images, references)
    monkeypatch.setattr("facecrafter.metrics.lpips.calibrated", other_implementation)
    torch.testing.assert_close(measured, Lpips(weights)(images, references), rtol=1e-4, atol=1e-6)


def test_lpips_says_which_weights_are_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.pth"):
        Lpips(tmp_path / "nothing.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth is not a state dict of torchvision's AlexNet"):
        Lpips(tmp_path / "other.pth")
