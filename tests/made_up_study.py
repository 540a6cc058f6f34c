"""The folder of a study that nobody ran: its results are made up, its faces are painted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from datamodules import SyntheticFaces
from facecrafter.metrics.intervals import wilson
from facecrafter.store import TensorStore

DATA: dict[str, Any] = {
    "class_path": "datamodules.SyntheticFaces",
    "init_args": {
        "n_identities": 120,
        "images_per_identity": 5,
        "image_size": 32,
        "private_identities": 100,
        "cache_dir": None,
    },
}
LEAK = {"": 0.6, "beta=0.5": 0.1, "beta=1": 0.12, "beta=2": 0.3, "beta=4": 0.5}
AUC = {"": 0.9, "beta=0.5": 0.84, "beta=1": 0.862, "beta=2": 0.866, "beta=4": 0.885}
ATTACKS = {"white_box": 0.8, "black_box": 1.0}
ORACLES = {"classifier": 0.9, "embedding": 0.5}


def write_study(folder: Path, cache: Path) -> Path:
    """Write everything that experiments.report reads into `folder`."""
    data = SyntheticFaces(**DATA["init_args"] | {"cache_dir": str(cache)})
    data.prepare_data()
    data.setup("test")
    faces = data.faces("private_test")
    config = {
        "name": "made-up",
        "seed": 0,
        "data": {**DATA, "init_args": DATA["init_args"] | {"cache_dir": str(cache)}},
        "attacks": {attack: {} for attack in ATTACKS},
    }
    stages = []
    for strength in LEAK:
        for attack in ATTACKS:
            name = f"{'crafter' if strength else 'none'}{'.' * bool(strength)}{strength}.{attack}"
            labels = {"defence": "crafter" if strength else "none", "strength": strength, "attack": attack}
            stages += [_stage(name, "attack", None), _stage(f"{name}.measure", "measure", labels)]
            _finish(folder, stages[-2:])
            _reconstruct(folder / stages[-2]["folder"] / "reconstructions", faces, LEAK[strength])
            _measure(folder / stages[-1]["folder"], labels, faces)
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    (folder / "plan.json").write_text(json.dumps(stages))
    return folder


def _stage(name: str, command: str, labels: dict[str, str] | None) -> dict[str, Any]:
    return {
        "name": name,
        "command": command,
        "folder": f"artifacts/{name}-0",
        "inputs": [],
        "labels": labels,
    }


def _finish(folder: Path, stages: list[dict[str, Any]]) -> None:
    for stage in stages:
        (folder / stage["folder"]).mkdir(parents=True)
        marker = {"stage": stage["name"], "seconds": 12.5, "megabytes": 3.0, "finished": ""}
        (folder / stage["folder"] / "stage.json").write_text(json.dumps(marker))


def _reconstruct(path: Path, faces: Any, leak: float) -> None:
    images = faces.images(torch.arange(len(faces)))
    blurred = leak * images + (1 - leak) * images.mean(dim=0)
    shape = [1, *images.shape[1:]]
    meta = {"kind": "reconstructions", "shape": shape, "dtype": "float32", "encoder": "", "batches": 1}
    store = TensorStore.create(path, meta)
    rows = torch.as_tensor(faces.rows)
    store.write(0, row=rows, images=blurred[:, None], losses=torch.zeros(len(rows), 1))


def _measure(folder: Path, labels: dict[str, str], faces: Any) -> None:
    rows, lines = [], ["row,identity,restart,oracle,correct,fsim,ssim"]
    n, auc = len(faces), AUC[labels["strength"]]
    for oracle, clean in ORACLES.items():
        hits = round(n * LEAK[labels["strength"]] * ATTACKS[labels["attack"]] * clean)
        share = wilson(hits, n)
        rows.append(
            {
                **labels,
                "access": labels["attack"].partition("_")[0],
                "adaptive": "none",
                "oracle": oracle,
                "restart": "best",
                "clean_acc": clean,
                "n_images": n,
                "n_identities": DATA["init_args"]["private_identities"],
                "auc": auc,
                "auc_lo": auc - 0.01,
                "auc_hi": auc + 0.01,
                "eval_acc": share.value,
                "eval_acc_lo": share.lo,
                "eval_acc_hi": share.hi,
                "top5": min(1.0, 1.5 * share.value),
                "tar_at_far_1": 0.3,
                "tar_at_far_1_lo": 0.2,
                "tar_at_far_1_hi": 0.4,
                "fsim": 0.5,
                "ssim": 0.4,
                "ms_ssim": 0.45,
                "psnr": 18.0,
                "lpips": None,
                "frechet": 0.2,
                "epsilon": 0.01,
                "epsilon_null": 0.008,
            }
        )
        pairs = zip(faces.rows.tolist(), faces.identities.tolist(), strict=True)
        lines += [
            f"{row},{person},best,{oracle},{int(i < hits)},0.5,0.4" for i, (row, person) in enumerate(pairs)
        ]
    (folder / "results.json").write_text(json.dumps(rows))
    (folder / "per_image.csv").write_text("\n".join(lines) + "\n")
