"""One process at a time in a folder that is being written."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import IO

from halign.errors import HalignError

LOCK = ".lock"
"""The file that is locked; it stays, empty, and means nothing by itself."""


def alone_in(folder: Path) -> IO[bytes]:
    """Keep other processes out of a folder for as long as the file returned is open; the end of the process opens the way again,
    however it ended. Where the file system knows no locks, nobody is kept out.

    Raises:
        HalignError: another process is at work there.
    """
    import fcntl

    file = open(folder / LOCK, "ab")  # noqa: SIM115
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            file.close()
            raise HalignError(
                f"another process is writing to {folder}: wait until it has ended, or take another folder"
            ) from None
    return file
