from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from facecrafter.metrics.image import EIGHT_BITS, SCALES, MsSsim, Psnr, Ssim, ms_ssim, n_scales, psnr, ssim


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


def test_psnr_agrees_with_scikit_image_image_by_image() -> None:
    images, references = pair()
    expected = [
        peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=1.0)
        for a, b in zip(images, references, strict=True)
    ]
    assert psnr(images, references).tolist() == pytest.approx(expected, abs=2e-6)  # its log(10) is a float32


def test_psnr_of_a_copy_is_a_number() -> None:
    """An infinite one would make the mean over images infinite, and no JSON can hold it."""
    images, _ = pair()
    assert psnr(images, images).tolist() == pytest.approx([EIGHT_BITS] * 3)
    rounded = (images * 255).round() / 255
    assert psnr(rounded, images).tolist() == pytest.approx([EIGHT_BITS] * 3, abs=0.15), "what 8 bits lose"


def structure(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Means over inner windows of one channel: luminance times structure, structure alone (Wang et al.)."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2

    def mean(values: np.ndarray) -> np.ndarray:
        return correlate2d(values, window, mode="valid")

    a, b = mean(first), mean(second)
    variances = mean(first**2) - a**2 + mean(second**2) - b**2
    contrast = (2 * (mean(first * second) - a * b) + 0.03**2) / (variances + 0.03**2)
    luminance = (2 * a * b + 0.01**2) / (a**2 + b**2 + 0.01**2)
    return float((luminance * contrast).mean()), float(contrast.mean())


def halved(image: np.ndarray) -> np.ndarray:
    """Means of 2×2 pixels; a last odd row or column is dropped."""
    rows, columns = (side // 2 * 2 for side in image.shape)
    return image[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))


@pytest.mark.parametrize(("size", "scales"), [(12, 1), (32, 2), (45, 3), (64, 3), (112, 4), (180, 5)])
def test_ms_ssim_agrees_with_its_definition_at_every_size(size: int, scales: int) -> None:
    images, references = pair(size)
    assert n_scales(size, size) == scales
    expected = []
    for image, reference in zip(images.numpy(), references.numpy(), strict=True):
        pairs, value = list(zip(image, reference, strict=True)), 1.0
        for scale, weight in enumerate(SCALES[:scales]):
            whole, contrast = np.mean([structure(*channels) for channels in pairs], axis=0)
            value *= (whole if scale == scales - 1 else contrast) ** (weight / sum(SCALES[:scales]))
            pairs = [(halved(a), halved(b)) for a, b in pairs]
        expected.append(value)
    assert ms_ssim(images, references).tolist() == pytest.approx(expected, abs=1e-9)


def test_ms_ssim_of_a_copy_is_one_and_of_a_negative_zero() -> None:
    images, _ = pair(64)
    assert ms_ssim(images, images).tolist() == pytest.approx([1, 1, 1])
    assert ms_ssim(images, 1 - images).tolist() == [0, 0, 0], "a negative factor to a broken power is NaN"
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ms_ssim(*pair(8))


def test_metrics_to_name_are_the_functions_and_say_what_they_are() -> None:
    """Columns of the results are called after them: a swapped name would swap two figures."""
    images, references = pair()
    for metric, function in ((Psnr(), psnr), (Ssim(), ssim), (MsSsim(), ms_ssim)):
        assert torch.equal(metric(images, references), function(images, references))
        assert metric.name == function.__name__
        assert "more alike" in metric.describe
