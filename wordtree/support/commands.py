"""What the three commands share: exit codes, and one line for a mistake instead of a traceback."""

import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import typer

# typer carries its own copy of click in new versions and uses the installed one in old ones;
# either way its public BadParameter is a UsageError, which is a ClickException.
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]


def run_app(app: typer.Typer, *base_errors: type[Exception]) -> None:
    """Run the command line and leave the process: the `main()` of every console command.

    Exit code 0; 2 with one line on stderr for a mistake in usage, one of `base_errors` or an OSError that names a
    file; 130 after Ctrl-C. Anything else is a bug and passes through as a plain traceback.
    """
    program = _program_name(app)
    warnings.showwarning = partial(_show_warning, program)
    try:
        outcome = app(prog_name=program, standalone_mode=False)
    except KeyboardInterrupt:
        sys.exit(130)
    except typer.Abort as abort:
        if abort.__cause__ is not None:  # typer's disguise of an EOFError
            raise abort.__cause__ from None
        sys.exit(130)
    except _ClickException as mistake:
        _fail(program, _usage_line(program, mistake))
    except base_errors as mistake:
        _fail(program, str(mistake))
    except OSError as mistake:
        if mistake.filename is None:
            raise
        _fail(program, f"{mistake.strerror}: {mistake.filename}")
    sys.exit(outcome if isinstance(outcome, int) else 0)


def _program_name(app: typer.Typer) -> str:
    """The name the app was given, else the one it was called by (`python -m PACKAGE`: the package's)."""
    if isinstance(app.info.name, str):
        return app.info.name
    called = Path(sys.argv[0])
    return called.parent.name if called.name == "__main__.py" else called.stem


def _usage_line(program: str, mistake: Exception) -> str:
    command = getattr(getattr(mistake, "ctx", None), "command_path", program)
    message = mistake.format_message() if hasattr(mistake, "format_message") else str(mistake)
    sentence = (message or "A command is needed").rstrip(".")
    return f"{sentence}. See '{command} --help'."


def _show_warning(program: str, message: Warning | str, category: type[Warning], *place: Any) -> None:
    """One line on stderr for a warning, without the place in the code that raised it."""
    print(f"{program}: warning: {_one_line(str(message))}", file=sys.stderr)


def _one_line(text: str) -> str:
    """The text on one line, with control characters shown and not obeyed."""
    line = " ".join(part.strip() for part in text.splitlines())
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)


def _fail(program: str, message: str) -> None:
    """One line on stderr; exit code 2."""
    print(f"{program}: {_one_line(message)}", file=sys.stderr)
    sys.exit(2)
