from __future__ import annotations

from pathlib import Path

import lpips
import pytest
import torch
from skimage.metrics import structural_similarity
from torchvision.models import alexnet

from facecrafter.metrics.image import Lpips, ssim


def pair(size: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 3, size, size, generator=generator, dtype=torch.float64)
    noise = torch.randn(images.shape, generator=generator, dtype=torch.float64)
    return images, (images + 0.2 * noise).clamp(0, 1)


def test_ssim_agrees_with_scikit_image() -> None:
    images, references = pair()
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = [
        structural_similarity(a.numpy(), b.numpy(), channel_axis=0, **settings)
        for a, b in zip(images, references, strict=True)
    ]
    assert ssim(images, references).tolist() == pytest.approx(expected, abs=1e-12)


def test_ssim_of_an_image_does_not_depend_on_its_batch() -> None:
    images, references = pair()
    torch.testing.assert_close(ssim(images, references)[:1], ssim(images[:1], references[:1]))
    assert ssim(images, images).tolist() == pytest.approx([1, 1, 1])


def test_ssim_of_images_smaller_than_its_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ssim(*pair(8))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("lpips") / "alexnet.pth"
    torch.save({name: w for name, w in alexnet().state_dict().items() if name.startswith("features")}, file)
    return file


def test_lpips_uses_the_given_backbone_and_the_calibrated_layers(weights: Path) -> None:
    reference = lpips.LPIPS(
        net="alex", pnet_rand=True, verbose=False
    )  # calibrated layers by the package itself
    state = torch.load(weights, weights_only=True)
    for name, parameter in reference.net.named_parameters():
        parameter.data = state["features." + name.split(".", 1)[1]]
    images, references = (tensor.float() for tensor in pair(64))
    with torch.no_grad():
        expected = reference(images, references, normalize=True).flatten()
    torch.testing.assert_close(Lpips(weights)(images, references), expected)
    assert (expected > 0).all()


def test_lpips_says_which_weights_are_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.pth"):
        Lpips(tmp_path / "nothing.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth is not a state dict of torchvision's AlexNet"):
        Lpips(tmp_path / "other.pth")
