"""What the machine refuses a command (a full disk, a folder that may not be written), in a line instead of a traceback."""

from __future__ import annotations

import errno
import os
import re

WAYS_OUT = {
    errno.ENOSPC: "make room there and give the same command again",
    errno.EDQUOT: "make room there and give the same command again",
    errno.EACCES: "name another place, or have its permissions changed",
    errno.EPERM: "name another place, or have its permissions changed",
    errno.EROFS: "name a place that can be written",
    errno.EEXIST: "name another output",
    errno.ENOTDIR: "part of the path is a file: name another place",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOENT: "see that the path is spelt right",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
"""Error number -> what helps. Others are no matter of paths and space, and may be a fault of ours."""

_OF_RUST = re.compile(r"\(os error (\d+)\)")
"""How safetensors and tokenizers, which are written in Rust, say what the operating system told them."""


def trouble(error: Exception) -> str | None:
    """What the machine refused, where, and the way out; None of an error of another kind.

    >>> trouble(FileExistsError(errno.EEXIST, "File exists", "runs"))
    'runs: File exists; name another output'
    >>> trouble(KeyError("a"))
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _OF_RUST.search(str(error))):
        number = int(found[1])
    if number not in WAYS_OUT:
        return None
    file = getattr(error, "filename2", None) or getattr(error, "filename", None)
    place = f"{os.fsdecode(file)}: " if file and not isinstance(file, int) else ""
    return f"{place}{os.strerror(number)}; {WAYS_OUT[number]}"
