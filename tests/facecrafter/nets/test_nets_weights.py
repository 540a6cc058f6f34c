"""Weights from elsewhere load whatever wraps them, or are refused by a sentence saying what they are."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from facecrafter.nets.weights import load_into, read_state_dict


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


WRAPPED = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "args": {"lr": 0.1}},
    "both": lambda state: {"model": {"state_dict": state}},
    "data parallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "compiled and data parallel": lambda state: {f"_orig_mod.module.{n}": v for n, v in state.items()},
    "without counts": lambda state: {n: v for n, v in state.items() if "num_batches" not in n},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_wrappers_and_prefixes_are_taken_off(wrap, tmp_path: Path) -> None:
    trained, loaded = network(), network()
    torch.save(wrap(trained.state_dict()), tmp_path / "net.pth")
    load_into(loaded, read_state_dict(tmp_path / "net.pth"), "net.pth")
    x = torch.randn(4, 3)
    assert torch.equal(loaded.eval()(x), trained.eval()(x))


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "net.safetensors")
    load_into(network(), read_state_dict(tmp_path / "net.safetensors"), "net")


FILES = {
    "page": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
    "page after a line": (b"\n  <html>quota exceeded</html>", "is a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git-lfs pointer"),
    "empty": (b"", "is empty"),
    "noise": (bytes(range(256)), "damaged|tensors alone"),
}


@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES)
def test_a_file_that_is_something_else_is_named_for_what_it_is(content, said, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as refusal:
        read_state_dict(path)
    assert str(path) in str(refusal.value)


def test_a_truncated_download_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"damaged|tensors alone"):
        read_state_dict(path)


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("opened",)


def test_a_file_that_would_run_code_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": RunsCode()}, "net.pth")
    with pytest.raises(ValueError, match="tensors alone"):
        read_state_dict("net.pth")
    assert not Path("opened").exists()


@pytest.mark.parametrize(
    "content", [[torch.ones(2)], {"epoch": 3}, {"a": torch.ones(1), "b": "x"}, torch.ones(2)]
)
def test_what_is_no_state_dict_is_refused(content, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(ValueError, match="state dict"):
        read_state_dict(tmp_path / "net.pth")


def test_a_file_larger_than_it_may_be_is_refused_before_it_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match="more than weights may have"):
        read_state_dict(tmp_path / "net.pth", most_bytes=1000)


def test_few_numbers_that_stand_for_many_are_counted_as_many(tmp_path: Path) -> None:
    """A kilobyte would else fill the memory when its numbers are looked at."""
    torch.save({"a": torch.zeros(1).expand(10**6, 10**7)}, tmp_path / "net.pth")
    assert (tmp_path / "net.pth").stat().st_size < 10_000
    with pytest.raises(ValueError, match="holds 40,000,000,000,000 bytes, more than weights may have"):
        read_state_dict(tmp_path / "net.pth")


def test_an_archive_without_its_table_of_contents_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(network().state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"PK\x01\x02", b"PK\x09\x09"))
    with pytest.raises(ValueError, match="is damaged"):
        read_state_dict(path)
    # Of a version of which zipfile wants to know nothing, and torch does not ask.
    path.write_bytes(re.sub(rb"(PK\x01\x02..).", lambda found: found[1] + b"\x63", whole, flags=re.DOTALL))
    assert read_state_dict(path).keys() == network().state_dict().keys()


def test_what_does_not_fit_is_named_at_once() -> None:
    state = dict(network().state_dict())
    state["other"] = state.pop("0.bias")
    state["0.weight"] = torch.zeros(9, 9)
    with pytest.raises(
        ValueError, match=r"lacks 0\.bias.*beside them other.*shape 0\.weight \(9, 9\) for \(2, 3\)"
    ):
        load_into(network(), state, "net.pth")


def test_statistics_for_a_norm_that_keeps_none_are_named() -> None:
    """Left out without a word, the network would answer otherwise than the one that was saved."""
    saved = nn.Sequential(nn.BatchNorm2d(2)).state_dict()
    with pytest.raises(ValueError, match=r"beside them 0\.num_batches_tracked, 0\.running_mean"):
        load_into(nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False)), saved, "net.pth")


def test_weights_that_are_not_finite_are_named() -> None:
    state = network().state_dict()
    state["0.weight"] = state["0.weight"] * torch.nan
    with pytest.raises(ValueError, match=r"net\.pth holds numbers that are not finite in 0\.weight"):
        load_into(network(), state, "net.pth")
