"""The main function of the three commands: exit codes, and errors and warnings as one line."""

import os
import sys
import warnings
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import typer

from wordtree.errors import message_line

# New versions of typer include a copy of click, old ones use the installed click. In both, the public
# BadParameter is a UsageError, which is a ClickException.
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]


def run_app(
    app: typer.Typer,
    *base_errors: type[Exception],
    memory_advice: str = "See the limits of memory, and the size of the input.",
) -> None:
    """Run the command line and exit the process: the `main()` of every console command.

    Exit code 0; 2 with one line on stderr for a usage error, one of `base_errors`, an OSError that names a file, or
    too little memory; 130 after Ctrl-C; 1 when the reader of a pipe, such as `head`, has gone. Any other exception
    is a bug and passes through with its traceback.
    """
    program = _program_name(app)
    warnings.filterwarnings(
        "ignore", module=r"PIL\."
    )  # warnings about irregular images that it reads nevertheless
    warnings.showwarning = partial(_show_warning, program)
    if isinstance(
        sys.stdout, TextIOWrapper
    ):  # escape what the terminal's encoding lacks, and bytes of file names
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        outcome = app(prog_name=program, standalone_mode=False, help_option_names=["-h", "--help"])
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # for the flush at the end of the process
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except typer.Abort as abort:
        if abort.__cause__ is not None:  # typer turns an EOFError into Abort
            raise abort.__cause__ from None
        sys.exit(130)
    except _ClickException as error:
        _fail(program, _usage_line(program, error))
    except base_errors as error:
        _fail(program, str(error))
    except MemoryError:
        _fail(program, f"not enough memory. {memory_advice}")
    except OSError as error:
        if error.filename is None:
            raise
        _fail(program, f"{error.strerror}: {error.filename}")
    sys.exit(outcome if isinstance(outcome, int) else 0)


def _program_name(app: typer.Typer) -> str:
    """The name of the app; without one, the name that it was called by (`python -m PACKAGE`: the package)."""
    if isinstance(app.info.name, str):
        return app.info.name
    called = Path(sys.argv[0])
    return called.parent.name if called.name == "__main__.py" else called.stem


def _usage_line(program: str, error: Exception) -> str:
    command = getattr(getattr(error, "ctx", None), "command_path", program)
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    sentence = (message or "A command is needed").rstrip(".")
    return f"{sentence}. See '{command} --help'."


def _show_warning(program: str, message: Warning | str, category: type[Warning], *location: Any) -> None:
    """Print a warning as one line on stderr, without its location in the code."""
    _print_line(f"{program}: warning: {message}")


def _fail(program: str, message: str) -> None:
    """Print one line on stderr and exit with code 2."""
    _print_line(f"{program}: {message}")
    sys.exit(2)


def _print_line(text: str) -> None:
    print(message_line(text), file=sys.stderr)
