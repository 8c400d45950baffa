"""What runs in the sandbox's process: limits are set, then the program is executed. ``sandbox.py`` reads this file as text."""


def _main() -> None:
    import os
    import resource
    import sys

    head, _, program = sys.stdin.buffer.read().decode().partition("\n")
    word, clock, memory = head.split()
    out = os.dup(1)
    isolated = _without_network()
    if isolated:
        os.write(out, b"isolated\n")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    seconds = max(1, int(float(clock) + 0.999))
    for kind, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, int(memory)),
        (resource.RLIMIT_FSIZE, 1 << 20),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        # at the soft limit of time a signal says why, at the hard one nothing does
        resource.setrlimit(kind, (most, most + (kind == resource.RLIMIT_CPU)))
    for name in ("resource", "_ctypes", "ctypes"):
        sys.modules[name] = None  # type: ignore[assignment]
    sys.addaudithook(_guard(os.getcwd(), [sys.base_prefix, sys.base_exec_prefix]))
    try:
        code = compile(program, "<program>", "exec", dont_inherit=True)
        exec(code, {"__name__": "__main__"})
    except BaseException as error:
        os.write(out, f"{word} {type(error).__name__}: {str(error)[:200]!r}\n".encode("utf-8", "replace"))
        os._exit(1)
    os.write(out, f"{word} passed\n".encode())
    os._exit(0)


def _without_network() -> bool:
    """A user and network namespace of its own, if the kernel lets us."""
    try:
        import ctypes

        return ctypes.CDLL(None, use_errno=True).unshare(0x10000000 | 0x40000000) == 0
    except (ImportError, OSError, AttributeError):
        return False


def _guard(folder: str, readable: "list[str]"):
    """An audit hook (it cannot be taken away again) that refuses what a solution of an exercise never needs."""
    import os

    refused = (
        *("socket.", "subprocess.", "ctypes.", "shutil.", "os.kill", "os.fork", "os.exec", "os.posix_spawn"),
        *(
            "os.spawn",
            "os.system",
            "os.putenv",
            "os.unsetenv",
            "os.remove",
            "os.rename",
            "os.rmdir",
            "os.link",
        ),
        *("os.symlink", "os.chmod", "os.chown", "os.chflags", "os.truncate", "os.startfile"),
        *("os.mkdir", "os.chdir", "os.fchdir", "os.utime", "os.lockf", "os.setxattr"),
        *("pty.", "signal.pthread_kill", "syslog.", "fcntl.", "mmap.", "webbrowser.", "urllib.", "ftplib."),
        *("http.", "smtplib.", "sqlite3.", "resource.", "gc.get_objects", "gc.get_referrers"),
        *("sys.settrace", "sys.setprofile", "sys.addaudithook"),
    )
    inside = os.path.realpath(folder) + os.sep
    libraries = tuple(os.path.realpath(r) + os.sep for r in readable)
    realpath, fspath, writes = os.path.realpath, os.fspath, os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def hook(event, arguments):
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, int):
                raise PermissionError("open of a descriptor is refused here")
            where = realpath(fspath(path))
            if isinstance(where, bytes):
                where = where.decode("utf-8", "surrogateescape")
            reading = not (isinstance(flags, int) and flags & writes) and not set(mode or "r") & set("wax+")
            if not (where.startswith(inside) or (reading and where.startswith(libraries))):
                raise PermissionError("open outside the program's folder is refused here")
        elif event.startswith(refused):
            raise PermissionError(f"{event} is refused here")

    return hook


if __name__ == "__main__":
    _main()
