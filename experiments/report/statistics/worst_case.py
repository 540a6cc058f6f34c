"""What the strongest attack leaves of a defence, and what each comes to against none."""

from __future__ import annotations

import re
from collections.abc import Container

import pandas as pd

from experiments.evaluation.combining import FUSION, UNION
from experiments.evaluation.exposure import EXPOSURE
from experiments.report.results import POINT
from experiments.report.statistics.floor import FIGURES, NOT_SHOWN, against_floor, leaves_room, shown_with
from experiments.report.statistics.paired_tests import Key, Outcomes, together

BOUNDS = ["", "_lo", "_hi"]
EVAL_ACC = [f"eval_acc{bound}" for bound in BOUNDS]
FOUND = ["attack", "oracle", "epoch", *EVAL_ACC]
WORST, LEAKED = ([f"{prefix}_{name}" for name in FOUND] for prefix in ("worst", "leaked"))
JUDGED = ["false_security", "not_faced", *FIGURES, "floor_note", "against_floor"]
ADAPTIVE = re.compile(r"^a[123]_|_each$")
"""What the scenarios put around the name of an attack that adapts."""
SUMMARY = [*POINT, "auc", *WORST, *JUDGED, *LEAKED]
"""The columns of summary.csv."""


def summarise(
    best: pd.DataFrame,
    gains: pd.DataFrame,
    acquainted: Container[str] = (),
    repeating: Container[str] = (),
) -> pd.DataFrame:
    """The worst case of every defence and strength: the attack and the judge that identify most.

    All attacks of the threat model count (`candidates`), and of an attack over epochs the best epoch. Where
    nothing is attacked, the worst case is empty. Attacks that were given private pictures or features have a
    worst case of their own, `leaked_*`, empty where there is none. `false_security` says whether an adaptive
    attack beats the strongest basic one; it is empty where none was run or there is no defence to adapt to,
    and 'not shown' where none could show it. `not_faced` names the attacks that are another point's
    worst case and were not run on this one: its own may be too low. What f's answers give away stands beside
    it, and `against_floor` says how near to that the worst case is.

    Args:
        best: `Results.best`.
        gains: see `adaptive_gains`.
        acquainted: defences whose f learned from the people on whom its utility is measured; a column says
            so of each point.
        repeating: defences that answer every query of a picture alike, whom averaging spares nothing.
    """
    groups = [group for _, group in best.groupby(POINT, sort=False)]
    table = pd.DataFrame([_summary(group, gains) for group in groups])
    worst = candidates(best)[["attack", "adaptive"]].drop_duplicates()
    worst = worst[worst["attack"].isin(table["worst_attack"])]
    table = table.assign(not_faced=[_not_faced(group, worst, repeating) for group in groups])
    known = [name in acquainted for name in table["defence"]]
    return table.assign(against_floor=against_floor(table), acquainted=known)


def _not_faced(group: pd.DataFrame, worst: pd.DataFrame, repeating: Container[str]) -> str:
    """The attacks that are somebody's worst case and that a point did not face; to no defence nobody
    adapts, and of answers that are all alike the mean is each."""
    found = candidates(group)
    if found.empty:
        return ""
    if (group["defence"] == "none").all():
        worst = worst[worst["adaptive"] == "none"]
    if group.iloc[0]["defence"] in repeating:
        worst = worst[worst["adaptive"] != "A3"]
    return ", ".join(sorted(set(worst["attack"]) - set(found["attack"])))


def _summary(group: pd.DataFrame, gains: pd.DataFrame) -> dict[str, object]:
    first, found = group.iloc[0], candidates(group)
    point = {name: first[name] for name in (*POINT, "auc", "auc_lo", "auc_hi", "n_identities")}
    point |= {name: first[name] for name in (*FIGURES, "floor_note") if name in first}
    point |= _worst(with_leaks(group), LEAKED)
    if found.empty:
        return point | dict.fromkeys([*WORST, "false_security"])
    worst = _worst(found, WORST)
    mine = answering(gains)
    mine = mine[(mine[POINT] == first[POINT]).all(axis=1)]
    return point | worst | {"false_security": _is_false(mine["verdict"])}


def _worst(found: pd.DataFrame, names: list[str]) -> dict[str, object]:
    """What the row that identifies most says in `FOUND`, under these names; nothing where there is no row."""
    if found.empty:
        return dict.fromkeys(names)
    strongest = found.loc[found["eval_acc"].idxmax()]
    return dict(zip(names, strongest[FOUND], strict=True))


def answering(gains: pd.DataFrame) -> pd.DataFrame:
    """Those of `adaptive_gains` whose attack answers a defence: there is one, and nothing private leaked."""
    return gains[(gains["adaptive"] != EXPOSURE) & (gains["defence"] != "none")]


def _is_false(verdicts: pd.Series) -> bool | str | None:
    """Of adaptive attacks on one point: whether one finds more; `not shown` where none could show it."""
    if verdicts.empty:
        return None
    told = verdicts[verdicts != NOT_SHOWN]
    return NOT_SHOWN if told.empty else bool((told == "higher").any())


def candidates(group: pd.DataFrame) -> pd.DataFrame:
    """Those of a point's rows that can be its worst case: of attackers of the threat model, who have public
    pictures alone."""
    found = attacks(group)
    return found[found["adaptive"] != EXPOSURE]


def with_leaks(group: pd.DataFrame) -> pd.DataFrame:
    """Those of a point's rows whose attackers have private pictures or features: these leaked."""
    found = attacks(group)
    return found[found["adaptive"] == EXPOSURE]


def attacks(group: pd.DataFrame) -> pd.DataFrame:
    """Those of a point's rows that are of one attacker, on the defence as it is: a countermeasure makes
    another one, and no attacker has what the union of several finds."""
    countered = group["countermeasure"] != "none"
    return group[~countered & group["eval_acc"].notna() & (group["attack"] != UNION)]


def adaptive_gains(best: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """Each adaptive attack, at its best, against the strongest basic one on the same images.

    Corrected (Holm) for the number of adaptive attacks on one defence at one strength. An attack's epoch 0 is
    its basic form, unless it has private pictures, and what is put together from several is none. `verdict`
    is 'higher' where the adaptive attack finds more, and 'not shown' where it does not and finds too little
    undefended, too, for that to say anything.
    """
    bare = best[best["defence"] == "none"]
    tables = [_gains(group, bare, outcomes) for _, group in best.groupby(POINT, sort=False)]
    return pd.concat(tables, ignore_index=True)


def _gains(group: pd.DataFrame, bare: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    found = attacks(group)
    # Epoch 0 of a network that is tuned is the network before: nobody has adapted yet.
    is_first = (found["epoch"] == 0) & (found["adaptive"] != EXPOSURE)
    is_basic = (found["adaptive"] == "none") | is_first
    basic, adaptive = found[is_basic], found[~is_basic & (found["attack"] != FUSION)]
    if basic.empty or adaptive.empty:
        return pd.DataFrame(columns=[*POINT, "adaptive", "attack", "epoch", "oracle", "verdict"])
    # An adaptive attack has to beat the best that was there without it, not its own basic form.
    strongest = basic.loc[basic["eval_acc"].idxmax()]
    ways = adaptive.loc[adaptive.groupby("attack", sort=False)["eval_acc"].idxmax()]
    tests = together([outcomes.difference(key(way), key(strongest)) for _, way in ways.iterrows()])
    room = [_is_strong(way, bare) for _, way in ways.iterrows()]
    tests = tests.assign(verdict=shown_with(room, tests["verdict"]))
    shown = ways[[*POINT, "adaptive", "attack", "epoch", "oracle", *EVAL_ACC]]
    basics = {f"basic_{name}": strongest[name] for name in ("attack", "oracle", "eval_acc")}
    return pd.concat([shown.reset_index(drop=True).assign(**basics), tests], axis=1)


def _is_strong(way: pd.Series, bare: pd.DataFrame) -> bool:
    """Whether an attack leaves room where nothing is defended; one that was not tried there, as what averages
    is not, is as strong as what it adapts. Where nothing was tried there, all are believed."""
    tried = attacks(bare)
    tried = tried[tried["oracle"] == way["oracle"]]
    if tried.empty:
        return True
    for name in (way["attack"], ADAPTIVE.sub("", way["attack"])):
        same = tried[tried["attack"] == name]
        if len(same):
            return leaves_room(same.loc[same["eval_acc"].idxmax()])
    return False


def key(row: pd.Series) -> Key:
    """The outcomes of a row of `Results.best`."""
    return Key(row["defence"], row["strength"], row["trial"], row["oracle"])


def compare(best: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """Each defence against none, on the same images, attack and oracle: the paired change of the Eval Acc.

    `left` is the share of the undefended Eval Acc that is left; below 0.5, the defence at least halves it.
    An attack that leaves no room undefended shows nothing: there no difference is 'not shown'.
    All lines are one family of tests (Holm).
    """
    names = [*POINT, "attack", "epoch", "countermeasure", "oracle"]
    pairs = [
        (row, key(row), key(row)._replace(defence="none", strength=""))
        for _, row in best[best["defence"] != "none"].iterrows()
    ]
    pairs = [pair for pair in pairs if pair[1] in outcomes and pair[2] in outcomes]
    shares = [outcomes.share(mine, undefended) for _, mine, undefended in pairs]
    shown = pd.DataFrame([row[names] for row, _, _ in pairs], columns=names).reset_index(drop=True)
    left = pd.DataFrame(shares, columns=["left", "left_lo", "left_hi"])
    tests = together([outcomes.difference(mine, undefended) for _, mine, undefended in pairs])
    bare = {key(row): row for _, row in best[best["defence"] == "none"].iterrows()}
    room = [leaves_room(bare[undefended]) for _, _, undefended in pairs]
    return pd.concat([shown, left, tests.assign(verdict=shown_with(room, tests["verdict"]))], axis=1)
