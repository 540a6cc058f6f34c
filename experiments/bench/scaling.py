"""How time and memory grow with the number of images, the size of the latent and the batch.

Every case is a run of `experiments.fit` in a process of its own, from images to a store of features, with few
iterations: what is measured is how they grow, not what a good protection costs. `peak_mbyte` is the largest
resident memory of that process, all libraries included; batches go to the store one by one, so it should not
grow with the number of images. `seconds_per_image` counts from when the networks are loaded until the last
batch is on disk, first inversions included.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
import yaml
from pytorch_lightning import LightningModule
from tqdm import tqdm

from datamodules import SyntheticFaces
from experiments.bench.timing import Row
from lightning_modules import Prior, TargetNetwork

PER_PERSON = 25
"""Pictures of each; a fifth of them are protected."""


class Case(NamedTuple):
    """One run.

    Args:
        images: how many are protected.
        latent_dim: d.
        batch: images that are protected together.
    """

    images: int
    latent_dim: int
    batch: int


@dataclass(frozen=True)
class Sizes:
    """What is run: ResNet18's encoder behind G1. Each of three sizes grows while the other two stay.

    Args:
        images: numbers of them.
        latents: sizes of the latent.
        batches: numbers of images that are protected together.
        few: images, where their number stays.
        latent: size of the latent, where it stays.
        batch: images in a batch, where it stays.
        image_size: H = W.
        width: of generator and critic.
        iterations: of Crafter, on every batch.
    """

    images: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    latents: tuple[int, ...] = (128, 256, 512, 1024)
    batches: tuple[int, ...] = (8, 64, 128)
    few: int = 128
    latent: int = 500
    batch: int = 64
    image_size: int = 64
    width: int = 64
    iterations: int = 2

    @property
    def cases(self) -> list[tuple[str, Case]]:
        """The runs, each with what grows."""
        return [
            *(("images", Case(images, self.latent, self.batch)) for images in self.images),
            *(("latent size", Case(self.few, latent, self.batch)) for latent in self.latents),
            *(("batch", Case(self.few, self.latent, batch)) for batch in self.batches),
        ]


FULL = Sizes()
QUICK = Sizes(images=(64, 128, 256), latents=(128, 512), batches=(8, 64), few=64, width=16, iterations=1)


def rows(sizes: Sizes, bar: tqdm, device: torch.device) -> list[Row]:
    """Seconds per image and peak memory of every run."""
    bar.reset(total=sum(case.images for _, case in sizes.cases))
    found = []
    with TemporaryDirectory() as folder:
        runs = Runs(sizes, Path(folder))
        for grows, case in sizes.cases:
            found.append(
                {"case": f"by {grows}", **case._asdict(), "iterations": sizes.iterations, **runs(case)}
            )
            bar.update(case.images)
    return found


class Runs:
    """Protects the same faces again and again, behind networks with random weights.

    Args:
        sizes: of networks and images.
        folder: that receives everything.
    """

    def __init__(self, sizes: Sizes, folder: Path) -> None:
        self.sizes, self.folder = sizes, folder
        self.taken: dict[Case, dict[str, float | None]] = {}
        people = -(-max(case.images for _, case in sizes.cases) * 5 // PER_PERSON)
        self.faces = {
            "n_identities": people + 8,  # 8 are public
            "images_per_identity": PER_PERSON,
            "image_size": sizes.image_size,
            "private_identities": people,
            "cache_dir": str(folder / "cache"),
        }
        SyntheticFaces(**self.faces).prepare_data()
        self.target = self._artifact("target", TargetNetwork, n_outputs=17)

    def __call__(self, case: Case) -> dict[str, float | None]:
        """What one run takes; a case in which several sizes meet is run once."""
        if case not in self.taken:
            self.taken[case] = self._run(case)
        return self.taken[case]

    def _run(self, case: Case) -> dict[str, float | None]:
        output = self.folder / "-".join(map(str, case))
        config = self.folder / f"{output.name}.yaml"
        config.write_text(yaml.safe_dump(self._config(case)))
        line = [sys.executable, "-m", "experiments.bench.protect", "--config", config, "--output", output]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"protecting {case.images} images failed:\n{done.stderr}")
        memory = json.loads(done.stdout.splitlines()[-1])
        began = (output / "config.yaml").stat().st_mtime  # written when the networks are loaded
        ended = max(file.stat().st_mtime for file in (output / "features").iterdir())
        return {"seconds_per_image": (ended - began) / case.images, **memory}

    def _config(self, case: Case) -> dict[str, Any]:
        crafter = {
            "target": self.target,
            "prior": self._prior(case.latent_dim),
            "iterations": self.sizes.iterations,
            "inner": {"first": 2, "starts": 1},
            "critic": {"width": self.sizes.width, "warmup": 0},
            "health": {"every": 0},
        }
        faces = self.faces | {"manifest_batch_size": case.batch, "predict_limit": case.images}
        return {
            "trainer": {"accelerator": "auto", "logger": False, "enable_model_summary": False},
            "model": {"class_path": "lightning_modules.Crafter", "init_args": crafter},
            "data": {"class_path": "datamodules.SyntheticFaces", "init_args": faces},
        }

    def _prior(self, latent_dim: int) -> str:
        arguments = {"latent_dim": latent_dim, "image_size": self.sizes.image_size, "width": self.sizes.width}
        return self._artifact(f"prior-{latent_dim}", Prior, **arguments)

    def _artifact(self, name: str, module: type[LightningModule], **init_args: Any) -> str:
        """A folder as a fit leaves it, if it is not there yet."""
        folder = self.folder / name
        if not folder.is_dir():
            folder.mkdir()
            torch.manual_seed(0)
            torch.save({"state_dict": module(**init_args).state_dict()}, folder / "last.ckpt")
            model = {"class_path": f"lightning_modules.{module.__name__}", "init_args": init_args}
            (folder / "config.yaml").write_text(yaml.safe_dump({"model": model}))
        return str(folder)
