"""How a command ends that cannot go on: with one sentence, or, where `--debug` asks for it, a traceback."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps

from datamodules.faces import default_cache_dir

DEBUG = "--debug"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
LOCKED = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_TYPE = "Does not validate against any of the Union subtypes"
"""How jsonargparse begins where a value is of none of several types; a list of reasons follows."""
OF_TYPES = (NO_TYPE, "Expected a ", "Subclasses are disabled ")
AROUND = ("Subtypes: ", "Errors:", "Given value")

Main = Callable[[Sequence[str] | None], None]


def ends_in_sentences(main: Main) -> Callable[..., None]:
    """Give `main`, which takes the arguments of a command line, the option `--debug`.

    Without it, errors about what the command was given (ValueError) and about files (OSError) become the exit
    code 1 and a sentence. Any other is a fault of the program: its traceback is shown.
    """

    @wraps(main)
    def command(args: Sequence[str] | None = None) -> None:
        debug = DEBUG in (sys.argv if args is None else args)
        if args is None:
            sys.argv = [argument for argument in sys.argv if argument != DEBUG]
        else:
            args = [argument for argument in args if argument != DEBUG]
        if debug:
            os.environ["JSONARGPARSE_DEBUG"] = "true"  # mistakes in a configuration, too
        try:
            main(args)
        except (ValueError, OSError) as error:
            if debug:
                raise
            sys.exit(f"error: {sentence(error)} ({DEBUG} shows where)")
        finally:
            os.environ.pop("JSONARGPARSE_DEBUG", None)

    return command


def sentence(error: Exception) -> str:
    """The message of an error; of one of the file system also what would help."""
    if not isinstance(error, OSError) or error.errno not in FULL | LOCKED:
        return _cause(str(error))
    place = str(error.filename2 or error.filename or "a file")
    other = "name another folder in FACECRAFTER_CACHE" if _is_cached(place) else "choose another --output"
    if error.errno in FULL:
        return f"{place}: {error.strerror}; make room there, or {other}: what is finished is kept"
    return f"{place}: {error.strerror}; make it writable, or {other}"


def _cause(message: str) -> str:
    """What a class had against its arguments, where jsonargparse lists that among all types that would do."""
    if not message.startswith(NO_TYPE):
        return message
    said: list[list[str]] = []
    for line in map(str.strip, message.splitlines()):
        if line.startswith("- "):
            said.append([line.removeprefix("- ")])
        elif said and not line.startswith(AROUND):
            said[-1].append(line)
    causes = [" ".join(lines) for lines in said if not lines[0].startswith(OF_TYPES)]
    return "; ".join(dict.fromkeys(causes)) or message


def _is_cached(place: str) -> bool:
    try:
        return place.startswith(str(default_cache_dir()))
    except ValueError:  # there is none
        return False
