"""How jsonargparse reads configurations, which may be a stranger's: set once, when this is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Path as ConfigPath
from jsonargparse import get_loader, set_loader, set_parsing_settings

from facecrafter.documents import bound_yaml, read_text

# A configuration makes objects where an argument's type asks for them, and of that type. Where any value will
# do (a dict of further arguments) jsonargparse would make, or call, whatever a class_path there names; and it
# would import what only runs commands, such as os.system, which its own list denies once one is set.
set_parsing_settings(instantiate_subclass_spec_in_any=False, import_path_denylist=["subprocess"])

_load = get_loader("yaml")


def _bounded(text: str) -> Any:
    """What jsonargparse makes of a YAML text, unless a few lines of it stand for millions."""
    bound_yaml(text)
    try:
        return _load(text)
    except ValueError as error:  # a number of thousands of digits
        raise yaml.YAMLError(str(error)) from error


set_loader("yaml", _bounded, (yaml.YAMLError,))

_read_text = ConfigPath.read_text


def _named(path: ConfigPath) -> str:
    """The text of a configuration file, read as all other documents are.

    jsonargparse reads in the machine's encoding, and says at which byte a file is no text, but not in which
    of several files.
    """
    file = Path(path.absolute)
    if not file.is_file():  # standard input or an address
        return _read_text(path)
    try:
        text = read_text(file)
        _bounded(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {error}; a configuration is YAML, a UTF-8 text") from error
    return text


ConfigPath.read_text = _named
