"""Private pictures that leaked: what an attacker trains with beside the public ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facecrafter.data.splits import Splits, shuffled


def exposed_rows(splits: Splits, share: float, seed: int) -> NDArray[np.int64]:
    """Rows, ascending, of the private_train pictures that leaked: of each person the share, at least one.

    Which ones depends on the seed and the pictures' names. No private_test picture ever leaks: those are
    what is attacked (Crafter, section VI-F).
    """
    private = splits.rows("private_train")
    names = splits.identity[private].astype(str)
    order = np.argsort(names, kind="stable")
    _, first = np.unique(names[order], return_index=True)
    leaked: list[int] = []
    for rows in np.split(private[order], first[1:]):
        row_of = {splits.image[row]: int(row) for row in rows}
        count = max(1, round(share * len(row_of)))
        leaked += [row_of[image] for image in shuffled(row_of, seed)[:count]]
    return np.sort(np.array(leaked, dtype=np.int64))
