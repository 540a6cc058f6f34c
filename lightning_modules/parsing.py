"""How jsonargparse reads configurations, which may be a stranger's: set once, when this is imported."""

from __future__ import annotations

from typing import Any

import yaml
from jsonargparse import get_loader, set_loader, set_parsing_settings

from facecrafter.documents import bound_yaml

# A configuration makes objects where an argument's type asks for them, and of that type. Where any value will
# do (a dict of further arguments) jsonargparse would make, or call, whatever a class_path there names; and it
# would import what only runs commands, such as os.system, which its own list denies once one is set.
set_parsing_settings(instantiate_subclass_spec_in_any=False, import_path_denylist=["subprocess"])

_load = get_loader("yaml")


def _bounded(text: str) -> Any:
    """What jsonargparse makes of a YAML text, unless a few lines of it stand for millions."""
    bound_yaml(text)
    return _load(text)


set_loader("yaml", _bounded, (yaml.YAMLError,))
