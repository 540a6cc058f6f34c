"""What the fits of a study build on."""

from __future__ import annotations

from collections.abc import Iterable

from datamodules.protected import ProtectedPairs
from experiments.study.config import DEFENCE, ORACLE, StudyConfig
from experiments.study.data import class_of
from experiments.study.keys import references
from lightning_modules.attackers.identifier import FeatureIdentifier


class Lineage:
    """Answers for each fit of a study.

    Args:
        config: the study.
    """

    def __init__(self, config: StudyConfig) -> None:
        self.config = config

    def below(self, name: str) -> set[str]:
        """All names that the fit `name` refers to, directly or through other fits."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            if fit := self.config.fits.get(waiting.pop()):
                new = (references(fit.model) | references(fit.data)) - found
                found |= new
                waiting.extend(new)
        return found

    def is_tailored(self, name: str, replaced: str | None = None) -> bool:
        """Whether the fit `name` builds on what a defence has of its own, or on a judge."""
        return self.is_of_a_defence(name, replaced) or ORACLE in self.below(name)

    def is_of_a_defence(self, name: str, replaced: str | None = None) -> bool:
        """Whether the fit `name` builds on the defence, its features or the encoder it replaces."""
        return bool(self.below(name) & {DEFENCE, replaced, *self.config.queries})

    def is_of_pairs(self, name: str) -> bool:
        """Whether the fit `name` is itself fitted to pairs of feature and image."""
        data = self.config.fits[name].data
        return "class_path" in data and issubclass(class_of(data, f"fits.{name}.data"), ProtectedPairs)

    def learns_from_pairs(self, name: str) -> bool:
        """Whether the fit `name`, or one that it builds on, is fitted to pairs."""
        return bool(self._of_pairs([name]))

    def leaked(self, names: Iterable[str]) -> list[str]:
        """Those of these fits, and of those below them, whose public pictures had private ones added, and
        those that learn whom a feature shows from private people themselves."""
        every = {name for start in names for name in (start, *self.below(start))}
        return [name for name in sorted(every & {*self.config.fits}) if self._has_leaks(name)]

    def _has_leaks(self, name: str) -> bool:
        fit = self.config.fits[name]
        names_people = issubclass(class_of(fit.model, f"fits.{name}.model"), FeatureIdentifier)
        return bool(fit.data.get("private_exposure")) or names_people

    def answers(self, names: Iterable[str], where: str) -> str:
        """The store of the pairs that these fits, and those below them, learn from.

        Raises:
            ValueError: there is none, or there are several, so that `pairs` in `where` has no meaning.
        """
        stores = {self.config.fits[name].data["init_args"]["features"] for name in self._of_pairs(names)}
        if len(stores) != 1:
            raise ValueError(
                f"{where}: pairs needs networks that learn from the ProtectedPairs of one query, not of "
                f"{len(stores)}"
            )
        return stores.pop()

    def _of_pairs(self, names: Iterable[str]) -> list[str]:
        every = {name for start in names for name in (start, *self.below(start))}
        return [name for name in sorted(every & {*self.config.fits}) if self.is_of_pairs(name)]
