"""How a binary runs: it can be stopped at any moment, and whatever goes wrong is one line on stderr.

The console commands start here, before the imports that take seconds, so that these can be stopped, too. This module
imports nothing that takes long.
"""

import contextlib
import importlib
import importlib.util
import os
import re
import select
import signal
import sys
import threading
from typing import NoReturn
import warnings

from zsnas_jax import __version__

_STOPPED: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 143}
_UNREAD = 141
"""The exit code of a program that SIGPIPE ends."""
_EXTRAS = ("grain", "importlib_resources", "matplotlib", "orbax", "PIL", "tensorboardX", "tensorflow_datasets")
"""Modules that the extras of the package install."""
_LONGEST = 1000
"""Characters of an error that are shown."""


def score_main() -> NoReturn:
    """The console command."""
    run("zsnas_jax.score_main")


def search_main() -> NoReturn:
    """The console command."""
    run("zsnas_jax.search_main")


def train_main() -> NoReturn:
    """The console command."""
    run("zsnas_jax.train_main")


def merge_main() -> NoReturn:
    """The console command."""
    run("zsnas_jax.merge_main")


def compare_main() -> NoReturn:
    """The console command."""
    run("zsnas_jax.compare_main")


_NEEDED = {
    "zsnas_jax.compare_main": ("matplotlib",),
    "zsnas_jax.score_main": ("matplotlib",),
    "zsnas_jax.search_main": ("matplotlib",),
    "zsnas_jax.train_main": ("grain", "matplotlib", "orbax.checkpoint", "PIL", "tensorboardX"),
}
"""What commands take beside what scoring from Python does: looked for before anything is computed."""


def run(name: str) -> NoReturn:
    """Runs a binary, and leaves.

    What went wrong ends in one line on stderr and exit code 1; with --verbosity=1 the traceback stands above it.
    Ctrl-C and SIGTERM end in one line and 130 or 143, wherever Python or XLA is then: nothing has to be tidied, since
    what a run leaves behind survives kill -9. Where nobody reads its output any more, it ends quietly.

    Args:
        name: a module with `define_flags`, `main` and a docstring, which --help shows; its last part is the program's.
            One with `ARGUMENTS`, what --help calls that which stands beside flags, has a `main` that takes it.
    """
    program = name.rpartition(".")[2]
    _open_standard_files()
    _leave_when_told(program)
    # Threads of OpenBLAS wait by spinning, beside XLA's own: 14 decompositions of 256 x 768 take 0.17 s with one of
    # them, and on a busy machine 11 s of the processors with two.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ["MPLBACKEND"] = "agg"  # pictures are files; what the environment says may not be installed
    os.environ.pop("JAX_ENABLE_X64", None)  # scores and random draws are those of float32, and what needs more takes it
    code = _run(name, program)
    for number in _STOPPED:  # everything is done and said; Python's own end would die of a signal without a word
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _run(name: str, program: str) -> int:
    """The exit code."""
    warnings.showwarning = lambda message, *_: print(f"{program}: warning: {message}", file=sys.stderr)
    try:
        if "--version" in sys.argv[1:]:
            print(f"{program} {__version__}")
        else:
            _check_installed(name)
            binary, flags = importlib.import_module(name), importlib.import_module("zsnas_jax.flags")
            binary.define_flags()
            argv = [program, *sys.argv[1:]]
            if takes := getattr(binary, "ARGUMENTS", ""):
                if (given := flags.parse_with_arguments(argv, binary.__doc__, takes)) is not None:
                    binary.main(given)
            elif flags.parse(argv, binary.__doc__):
                binary.main()
        sys.stdout.flush()
        return 0
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _is_unread():
            return _UNREAD
        if _is_verbose():
            sys.excepthook(type(error), error, error.__traceback__)
        print(f"{program}: error: {describe(error)}", file=sys.stderr)
        return 1


def _check_installed(name: str) -> None:
    """Raises ModuleNotFoundError if a binary needs what only the extras install."""
    for module in _NEEDED.get(name, ()):
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def describe(error: Exception) -> str:
    """What went wrong in one line. Where nobody foresaw it, the line names the type and says how to see more."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _EXTRAS:
        return f"{error.name} is not installed: pip install 'zsnas-jax[all]' brings it"
    words = "".join(letter if letter.isprintable() else " " for letter in str(error)).split()
    text = " ".join(words)
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    if type(error) in (ValueError, RuntimeError) or isinstance(error, OSError):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text or 'no more is known'}; --verbosity=1 shows the traceback"


def _is_verbose() -> bool:
    """Whether the flags ask for tracebacks; they may not have been read yet."""
    return bool(re.search(r"(?:^| )--?(?:v|verbosity)[= ][1-9]", " ".join(sys.argv[1:])))


def _open_standard_files() -> None:
    """Where one of the three is closed, the next file that is opened would take its place, and be written to."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 open for as long as the program runs
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # a path need not be text


def _is_unread() -> bool:
    """Whether the reader of stdout or stderr is gone; nothing is written to that one any more."""
    poll = select.poll()
    for file in (1, 2):
        poll.register(file, 0)
    unread = [file for file, event in poll.poll(0) if event & select.POLLERR]
    for file in unread:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file)
    return bool(unread)


def _leave_when_told(program: str) -> None:
    """Makes Ctrl-C and SIGTERM end the process at once; a signal that is ignored here, as under nohup, stays so.

    Python's own way raises KeyboardInterrupt in the main thread, which a callback of XLA swallows, and which waits for
    as long as XLA compiles. The signal is written to a pipe instead, and a thread that reads it leaves.
    """
    signals, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def watch() -> None:
        while (number := os.read(signals, 1)[0]) not in _STOPPED:
            pass  # another that Python was told to handle
        with contextlib.suppress(OSError):  # whoever read stderr may be gone, or not be reading
            if select.select([], [2], [], 1)[1]:
                os.write(2, f"\n{program}: stopped; the same command goes on from here\n".encode())
        os._exit(_STOPPED[number])

    threading.Thread(target=watch, daemon=True, name="signals").start()
    for number in _STOPPED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
