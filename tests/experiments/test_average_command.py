from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from experiments import attack, average
from experiments.evaluation.restarts import check_same_features
from facecrafter.store import TensorStore, encoder_hash

ROWS = [list(range(0, 16)), list(range(20, 36)), list(range(40, 50))]
SHAPE = (5, 4, 4)


@pytest.fixture
def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3, padding=1))


def clean(rows: list[int]) -> Tensor:
    return torch.stack([torch.randn(SHAPE, generator=torch.Generator().manual_seed(row)) for row in rows])


def write_query(folder: Path, encoder: nn.Module, query: int, noise: float = 0.3) -> str:
    """The features of one query: the clean ones, and noise of its own."""
    described = {"kind": "features", "shape": list(SHAPE), "dtype": "float32", "batches": len(ROWS)}
    store = TensorStore.create(folder, {"encoder": encoder_hash(encoder), **described})
    generator = torch.Generator().manual_seed(1000 + query)
    for number, rows in enumerate(ROWS):
        features = clean(rows) + noise * torch.randn(len(rows), *SHAPE, generator=generator)
        store.write(number, row=torch.tensor(rows), features=features)
    return str(folder)


@pytest.fixture
def queries(tmp_path: Path, encoder: nn.Module) -> list[str]:
    return [write_query(tmp_path / f"query{query}", encoder, query) for query in range(5)]


def command(tmp_path: Path, queries: list[str], **options: Any) -> tuple[TensorStore, dict[str, Any]]:
    """Runs the command over a YAML file, and opens what it wrote."""
    output = tmp_path / "-".join(["a3", *map(str, options.values())])
    file = tmp_path / "average.yaml"
    file.write_text(yaml.safe_dump({"features": queries, "output": str(output), **options}))
    average.main(["--config", str(file)])
    return TensorStore.open(output / "features"), json.loads((output / "matching.json").read_text())


def error(store: TensorStore) -> float:
    content = store.load("row", "features")
    return (content["features"] - clean(content["row"].tolist())).square().mean().item()


def test_averaging_removes_independent_noise(tmp_path: Path, queries: list[str]) -> None:
    store, matching = command(tmp_path, queries)
    assert error(store) == pytest.approx(0.3**2 / 5, rel=0.05)
    assert matching == {"queries": 5, "images": 42, "aligned": 1.0}
    assert store.load("row")["row"].tolist() == [row for rows in ROWS for row in rows]


def test_shuffling_stops_plain_averaging_and_not_the_matched_one(tmp_path: Path, queries: list[str]) -> None:
    plain, by_chance = command(tmp_path, queries, countermeasure="shuffle", matching="plain")
    matched, found = command(tmp_path, queries, countermeasure="shuffle", matching="matched")
    assert error(plain) > 0.5
    assert by_chance["aligned"] < 0.2, "in a batch of 16, one in sixteen meets itself"
    assert error(matched) == pytest.approx(0.3**2 / 5, rel=0.05)
    assert found["aligned"] == 1.0


def test_what_is_said_of_the_matching_is_counted_image_by_image(
    tmp_path: Path, queries: list[str], encoder: nn.Module
) -> None:
    """Noise so strong that some are found and some are not: the count must agree with the averages."""
    loud = [write_query(tmp_path / f"loud{query}", encoder, query, noise=3.0) for query in range(2)]
    store, found = command(tmp_path, loud, countermeasure="shuffle", matching="matched")
    assert 0.05 < found["aligned"] < 0.95
    first, second = (TensorStore.open(path).load("features")["features"] for path in loud)
    content = store.load("features", "aligned")
    own = (content["features"] - (first + second) / 2).flatten(1).norm(dim=1) < 1e-4
    assert torch.equal(own.float(), content["aligned"])


def test_a_recorded_feature_leaves_nothing_to_average(tmp_path: Path, queries: list[str]) -> None:
    store, _ = command(tmp_path, queries, countermeasure="record")
    first = TensorStore.open(queries[0]).load("features")["features"]
    torch.testing.assert_close(store.load("features")["features"], first)


def test_orders_follow_the_seed(tmp_path: Path, queries: list[str]) -> None:
    one, other = (
        command(tmp_path, queries, countermeasure="shuffle", seed=seed)[0].load("features")["features"]
        for seed in (0, 1)
    )
    assert not torch.equal(one, other)
    with pytest.raises(ValueError, match="written for another run: seed is 0 there and 1 now"):
        average.run([Path(query) for query in queries], tmp_path / "a3-shuffle-0", "shuffle", seed=1)


def test_an_attack_reads_the_averages_and_is_measured_with_a_query(
    tmp_path: Path, queries: list[str], encoder: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = command(tmp_path, queries)
    decoder = nn.Sequential(nn.Conv2d(5, 3, 1), nn.Sigmoid())
    artifacts = {"defence": SimpleNamespace(encoder=encoder), "decoder": nn.Module()}
    artifacts["decoder"].network = decoder
    monkeypatch.setattr(attack, "load_artifact", lambda folder, expected: artifacts[Path(folder).name])
    spec = {"class_path": "facecrafter.attacks.BlackBox"}
    networks = {"decoder": Path("decoder")}
    attack.run(store.path, Path("defence"), spec, tmp_path / "attacked", networks)
    attacked = TensorStore.open(tmp_path / "attacked")
    with torch.no_grad():
        expected = decoder(store.load("features")["features"])
    torch.testing.assert_close(attacked.load("images")["images"][:, 0], expected)
    check_same_features(attacked, TensorStore.open(queries[0]))
    check_same_features(attacked, store)
    other = TensorStore.open(write_query(tmp_path / "other", encoder, query=9))
    with pytest.raises(ValueError, match="was not made from the features"):
        check_same_features(attacked, other)


def test_a_killed_run_goes_on_batch_by_batch(tmp_path: Path, queries: list[str]) -> None:
    store, _ = command(tmp_path, queries, countermeasure="shuffle", matching="matched")
    whole = store.load("features")["features"]
    store.file(1).unlink()
    before = store.file(0).stat().st_mtime_ns
    command(tmp_path, queries, countermeasure="shuffle", matching="matched")
    assert store.file(0).stat().st_mtime_ns == before
    assert torch.equal(store.load("features")["features"], whole)


def test_queries_that_cannot_be_averaged_are_refused(
    tmp_path: Path, queries: list[str], encoder: nn.Module
) -> None:
    with pytest.raises(ValueError, match="1 query cannot be averaged"):
        command(tmp_path, queries[:1])
    with pytest.raises(ValueError, match="holds the same features as a query before it"):
        command(tmp_path, [queries[0], queries[1], queries[0]])
    other = write_query(tmp_path / "other", nn.Conv2d(3, 5, 3), 7)
    with pytest.raises(ValueError, match="has another encoder than"):
        command(tmp_path, [*queries, other])
    mixed = TensorStore.open(write_query(tmp_path / "mixed", encoder, 8))
    batch = mixed.read(1)
    mixed.write(1, **{**batch, "row": batch["row"].flip(0)})
    with pytest.raises(ValueError, match="holds other images than"):
        command(tmp_path, [queries[0], str(mixed.path)])
    TensorStore.open(queries[3]).file(2).unlink()
    with pytest.raises(ValueError, match=r"query3 is unfinished: batches \[2\]"):
        command(tmp_path, queries)


def test_of_a_defence_that_answers_alike_the_average_is_its_answer(
    tmp_path: Path, queries: list[str], encoder: nn.Module
) -> None:
    """Whoever averages has that answer too: without it, deterministic rivals would not face the attack."""
    folders = [tmp_path / name for name in ("first", "second")]
    stores = [write_query(folder / "features", encoder, query=5) for folder in folders]
    config = {"model": {"class_path": "lightning_modules.Undefended", "init_args": {"target": "t"}}}
    with pytest.raises(ValueError, match="or name the `defence`, if it is one without randomness"):
        command(tmp_path, stores)
    (folders[0] / "config.yaml").write_text(yaml.safe_dump(config))
    store, _ = command(tmp_path, stores, defence=str(folders[0]))
    expected = TensorStore.open(stores[0]).load("features")["features"]
    torch.testing.assert_close(store.load("features")["features"], expected)
    config["model"]["class_path"] = "lightning_modules.GaussianNoise"
    (folders[1] / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(
        ValueError, match="holds the same features as a query before it: protect with another"
    ):
        command(tmp_path, stores, defence=str(folders[1]))
    config["model"]["class_path"] = "no_such.Defence"
    (folders[1] / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=r"cannot import 'no_such.Defence'"):
        command(tmp_path, stores, defence=str(folders[1]))


def test_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        average.main(["--help"])
    assert stop.value.code == 0
    assert "what the user does against it" in capsys.readouterr().out
