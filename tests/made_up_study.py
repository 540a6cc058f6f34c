"""The folder of a study that nobody ran: its results are made up, its faces are painted."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
CLASSES = {"white_box": "facecrafter.attacks.WhiteBox", "black_box": "facecrafter.attacks.BlackBox"}
ORACLES = {"classifier": 0.9, "embedding": 0.5}
DISCO_LEAK, DISCO_AUC = {"ratio=0.6": 0.35, "ratio=0.9": 0.05}, {"ratio=0.6": 0.867, "ratio=0.9": 0.858}
COLLAPSE = {"none": {0: 1.0, 5: 1.0}, "crafter": {0: 1.0, 5: 1.05}, "disco": {0: 1.0, 5: 1.6}}
"""What training on protected features multiplies the leak of the black box by, epoch by epoch."""
QUERIES = (100, 400, 3000)
RISE = {"none": (0.4, 0.8), "crafter": (0.5, 0.9), "disco": (0.6, 1.7)}
"""What it multiplies it by with the first few of 3000 answers; one happens to be luckier than all."""
AVERAGES = {"a3_average": (1.6, 0.1, 1.0), "a3_matched": (1.6, 1.5, 1.0)}
"""What averaging multiplies it by, under the countermeasures none, shuffle and record."""
ATTRIBUTES = {"Bald": 0.99, "Smiling": 0.6}


def write_study(folder: Path, cache: Path) -> Path:
    """Write everything that experiments.report reads into `folder`: one defence, basic attacks."""
    study = MadeUpStudy(folder, cache)
    for strength in LEAK:
        for attack in ATTACKS:
            study.attack(
                "crafter" if strength else "none", strength, attack, LEAK[strength] * ATTACKS[attack]
            )
    study.finish({"none": {}, "crafter": {}})
    return folder


def write_rich_study(folder: Path, cache: Path) -> Path:
    """Write a study with every kind of row: a second defence, adaptive attacks, a defence left alone."""
    study = MadeUpStudy(folder, cache, {"classifier": ORACLES["classifier"]}, probe_lost=0.1)
    points = [("crafter" if strength else "none", strength, leak) for strength, leak in LEAK.items()]
    points += [("disco", strength, leak) for strength, leak in DISCO_LEAK.items()]
    for defence, strength, leak in points:
        for attack, factor in ATTACKS.items():
            study.attack(defence, strength, attack, leak * factor)
        for epoch, factor in COLLAPSE[defence].items():
            study.attack(
                defence, strength, "a1_black_box", leak * factor, QUERIES[-1], adaptive="A1", epoch=epoch
            )
        for queries, factor in zip(QUERIES, RISE[defence], strict=False):
            labels = {"adaptive": "A1", "epoch": 5, "queries": queries}
            study.attack(defence, strength, "a1_black_box", leak * factor, **labels)
        study.identify(defence, strength, leak / 2)
        study.answer(defence, strength, 0.08)
        study.protect(defence, strength)
    for attack, factors in AVERAGES.items():
        for countermeasure, factor in zip(("none", "shuffle", "record"), factors, strict=True):
            leak = LEAK["beta=0.5"] * factor
            labels = {"adaptive": "A3", "countermeasure": countermeasure}
            study.attack("crafter", "beta=0.5", attack, leak, **labels)
    study.leave_alone("public_only", 0.8)
    study.write_data()
    black_box = {"class_path": CLASSES["black_box"]}
    averaging = {"queries": ["again"], "countermeasures": ["none", "shuffle", "record"]}
    study.finish(
        {"none": {}, "crafter": {}, "disco": {"fit_role": "private_train"}, "public_only": {}},
        {name: {"class_path": path} for name, path in CLASSES.items()}
        | {"a1_black_box": black_box | {"adaptive": "A1", "epochs": [0, 5], "pairs": list(QUERIES[:-1])}}
        | {
            name: black_box | {"adaptive": "A3", "averaging": averaging | {"matching": name[3:]}}
            for name in AVERAGES
        }
        | {"of_old": {"class_path": "somebody.gone.Attack", "adaptive": "none"}},
        {"exposure_features": {"identifier": "${identifier}", "adaptive": "exposure"}},
    )
    return folder


class MadeUpStudy:
    """Writes one stage after the other."""

    def __init__(
        self, folder: Path, cache: Path, oracles: dict[str, float] = ORACLES, probe_lost: float | None = None
    ) -> None:
        """`probe_lost`: how much less unknown attributes can be read than known ones, if that was asked."""
        self.folder, self.cache, self.oracles, self.probe_lost = folder, cache, oracles, probe_lost
        self.data = SyntheticFaces(**DATA["init_args"] | {"cache_dir": str(cache)})
        self.data.prepare_data()
        self.data.setup("test")
        self.faces = self.data.faces("private_test")
        self.stages: list[dict[str, Any]] = []

    def finish(
        self,
        defences: dict[str, dict[str, str]],
        attacks: dict[str, Any] | None = None,
        identifications: dict[str, Any] | None = None,
    ) -> None:
        """The configuration, with the data that each defence was trained on, and the plan."""
        config = {
            "name": "made-up",
            "scenario": "deployment",
            "defences": {name: {"data": data} for name, data in defences.items()},
            "seed": 0,
            "data": {**DATA, "init_args": DATA["init_args"] | {"cache_dir": str(self.cache)}},
            "attacks": attacks or {name: {"class_path": path} for name, path in CLASSES.items()},
            "fits": {"identifier": {"model": {"class_path": "lightning_modules.FeatureIdentifier"}}},
            "identifications": identifications or {},
        }
        (self.folder / "study.yaml").write_text(yaml.safe_dump(config))
        (self.folder / "plan.json").write_text(json.dumps(self.stages))

    def attack(
        self, defence: str, strength: str, attack: str, leak: float, answers: int | None = None, **labels: Any
    ) -> None:
        """An attack that identifies a share `leak` of the images, and its measurement, which counts from how
        many `answers` the attacker learned."""
        labels = _labels(defence, strength, attack) | labels
        parts = [defence, strength, attack, labels["countermeasure"].replace("none", "")]
        parts.append("" if labels["epoch"] is None else f"epoch={labels['epoch']}")
        parts.append(f"pairs={labels['queries']}" if "queries" in labels else "")
        name = ".".join(filter(None, parts))
        made = self._stage(name, "attack") / "reconstructions"
        measured = self._stage(f"{name}.measure", "measure", labels, [name])
        _reconstruct(made, self.faces, leak)
        rows = [
            {"queries": answers} | self._row(labels, oracle, leak * clean, clean) | _likeness(leak)
            for oracle, clean in self.oracles.items()
        ]
        _write_results(measured, rows)
        self._write_images(measured, rows)
        _write_lines(measured / "attributes.csv", "attribute,images,auc,auc_lo,auc_hi", [
            f"{name},50,{auc - leak / 10},{auc - 0.1},{min(1, auc + 0.1)}" for name, auc in ATTRIBUTES.items()
        ])  # fmt: skip
        lines = [f"{n},{0.02 - n / 1e5 + leak / 100},{0.02 - n / 1e5}" for n in (25, 50, 100)]
        _write_lines(measured / "epsilon.csv", "n,epsilon,null", lines)

    def identify(
        self,
        defence: str,
        strength: str,
        leak: float,
        attack: str = "exposure_features",
        adaptive: str = "exposure",
        **figures: float,
    ) -> None:
        """Identities read from the features, with `figures` beside."""
        labels = _labels(defence, strength, attack) | {"adaptive": adaptive}
        name = ".".join(filter(None, (defence, strength, attack)))
        measured = self._stage(name, "measure", labels)
        rows = [self._row(labels, "itself", leak, 0.3) | figures]
        _write_results(measured, rows)
        self._write_images(measured, rows)

    def answer(self, defence: str, strength: str, floor: float) -> None:
        """What f's answers give away; of Disco, for some reason, it is not known."""
        name = ".".join(filter(None, (defence, strength, "answers")))
        told = {} if defence == "disco" else {"floor": floor, "floor_lo": floor / 2, "floor_hi": 2 * floor}
        note = "floor: for some reason" if defence == "disco" else None
        raw = {"floor_raw": 0.09, "floor_raw_lo": 0.04, "floor_raw_hi": 0.15, "floor_note": note}
        links = {"d_sys": 0.31, "d_sys_lo": 0.2, "d_sys_hi": 0.4, "d_sys_lot": 0.06}
        counts = {"n_images": len(self.faces), "n_identities": 100, "seed": 0}
        point = {"defence": defence, "strength": strength}
        _write_results(self._stage(name, "answers"), [point | counts | told | raw | links])

    def protect(self, defence: str, strength: str) -> None:
        """The log of a defence that iterates. The second of its checks is a bad one."""
        folder = self._stage(".".join(filter(None, (defence, strength))), "fit")
        if defence == "crafter":
            (folder / "logs").mkdir()
            _write_lines(folder / "logs" / "iterations-rank0.csv", LOG, [
                "0,1,2,-0.5,0.0,90,0.01,0.99,0.01,0.02,1500", "0,2,2,-0.8,0.3,60,0.02,0.9,0.2,0.04,1700"
            ])  # fmt: skip

    def leave_alone(self, defence: str, auc: float) -> None:
        """A defence of which nothing leaves the device: its utility is all there is to measure."""
        labels = _labels(defence, "", "none") | {"access": "none", "oracle": "none", "restart": "best"}
        folder = self._stage(f"{defence}.measure", "measure", labels)
        counts = {"n_images": len(self.faces), "n_identities": 100, "seed": 0}
        utility = {"auc": auc, "auc_lo": auc - 0.01, "auc_hi": auc + 0.01}
        nothing = dict.fromkeys(("clean_acc", "eval_acc", "eval_acc_lo", "eval_acc_hi", "top5"))
        _write_results(folder, [labels | counts | utility | nothing])
        _write_lines(folder / "per_image.csv", "oracle,restart,row,identity", [])

    def write_data(self) -> None:
        """The table of pictures and people."""
        self.data.write_splits(self._stage("data", "study.data") / "splits.csv")

    def _stage(
        self, name: str, command: str, labels: dict[str, Any] | None = None, inputs: Sequence[str] = ()
    ) -> Path:
        stage = {"name": name, "command": command, "folder": f"artifacts/{name}-0"}
        self.stages.append({**stage, "inputs": list(inputs), "labels": labels})
        folder = self.folder / stage["folder"]
        folder.mkdir(parents=True)
        marker = {"stage": name, "key": "0" * 64, "seconds": 12.5, "megabytes": 3.0, "finished": ""}
        marker["made_with"] = "a machine, torch 1"
        (folder / "stage.json").write_text(json.dumps(marker))
        return folder

    def _row(self, labels: dict[str, Any], oracle: str, leak: float, clean: float) -> dict[str, Any]:
        n = len(self.faces)
        share, auc = wilson(round(n * leak), n), (AUC | DISCO_AUC)[labels["strength"]]
        probe = auc - (self.probe_lost or 0)
        return {
            **labels,
            **(
                {"probe_auc": probe, "probe_auc_lo": probe - 0.02, "probe_auc_hi": probe + 0.02}
                if self.probe_lost
                else {}
            ),
            "oracle": oracle,
            "restart": "best",
            "clean_acc": clean,
            "n_images": n,
            "n_identities": DATA["init_args"]["private_identities"],
            "seed": 0,
            "auc": auc,
            "auc_lo": auc - 0.01,
            "auc_hi": auc + 0.01,
            "eval_acc": share.value,
            "eval_acc_lo": share.lo,
            "eval_acc_hi": share.hi,
            "top5": min(1.0, 1.5 * share.value),
        }

    def _write_images(self, folder: Path, rows: list[dict[str, Any]]) -> None:
        """Of n images, the first ones are identified."""
        lines = []
        for row in rows:
            hits = round(row["eval_acc"] * len(self.faces))
            pairs = zip(self.faces.rows.tolist(), self.faces.identities.tolist(), strict=True)
            lines += [f"{line},{person},best,{row['oracle']},{int(i < hits)},0.5,0.4"
                      for i, (line, person) in enumerate(pairs)]  # fmt: skip
        _write_lines(folder / "per_image.csv", "row,identity,restart,oracle,correct,fsim,ssim", lines)


LOG = (
    "batch,iteration,iterations,privacy_loss,utility_loss,stationarity,solver_residual,implicit_cosine,"
    "implicit_error,inner_gap,largest_eigenvalue"
)


def _likeness(leak: float) -> dict[str, float | None]:
    return {
        **{"tar_at_far_1": 0.3, "tar_at_far_1_lo": 0.2, "tar_at_far_1_hi": 0.4},
        **{"fsim": 0.3 + leak / 2, "ssim": 0.4, "ms_ssim": 0.45, "psnr": 18.0, "lpips": None, "frechet": 0.2},
        **{"epsilon": 0.008 + leak / 100, "epsilon_null": 0.008},
    }


def _labels(defence: str, strength: str, attack: str) -> dict[str, Any]:
    study = {"dataset": "made-up", "scenario": "deployment", "network": "none"}
    point = {"defence": defence, "strength": strength, "attack": attack}
    how = {"access": "white" if attack.startswith("white") else "black", "adaptive": "none"}
    return study | point | how | {"countermeasure": "none", "epoch": None}


def _reconstruct(path: Path, faces: Any, leak: float) -> None:
    images = faces.images(torch.arange(len(faces)))
    blurred = leak * images + (1 - leak) * images.mean(dim=0)
    shape = [1, *images.shape[1:]]
    meta = {"kind": "reconstructions", "shape": shape, "dtype": "float32", "encoder": "", "batches": 1}
    store = TensorStore.create(path, meta)
    rows = torch.as_tensor(faces.rows)
    store.write(0, row=rows, images=blurred[:, None], losses=torch.zeros(len(rows), 1))


def _write_results(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "results.json").write_text(json.dumps(rows))


def _write_lines(path: Path, header: str, lines: list[str]) -> None:
    path.write_text("\n".join([header, *lines]) + "\n")
