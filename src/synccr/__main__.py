"""The command ``synccr``, also ``python -m synccr``."""

from __future__ import annotations

import gc
import io
import os
import sys

from synccr.errors import SynccrError, out_of_order


def main() -> None:
    """Run the command line; every way out has the contract's exit code and no traceback."""
    gc.disable()  # loading makes no garbage; what lives long enables it
    debug = "--debug" in sys.argv or bool(os.environ.get("SYNCCR_DEBUG"))
    _streams()
    try:
        code = _quick(sys.argv[1:])
        if code is None:
            from synccr.cli.app import run

            gc.enable()
            code = run()
    except SynccrError as error:
        if debug:
            raise
        code = _show(error)
    except BrokenPipeError:
        code = _end_of_pipe()
    except OSError as error:
        if debug:
            raise
        code = _show(out_of_order(error))
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if debug:
            raise
        sys.stderr.write(
            f"synccr: something unforeseen went wrong: {type(error).__name__}: {error}\n"
            "  Run: synccr --debug COMMAND, and report what it prints.\n"
        )
        code = 1
    _flush()
    gc.freeze()  # the interpreter's end does not look through it all once more
    sys.exit(code)


def _show(error: SynccrError) -> int:
    from synccr.cli.output import print_error

    print_error(error, as_json="--json" in sys.argv)
    return error.exit_code


def _streams() -> None:
    """Output always works: a narrow encoding loses a sign, not the command, and a program
    without a terminal (``pythonw`` in a scheduled task) writes to a log."""
    if sys.stdout is None or sys.stderr is None:
        from synccr.files import open_to_append
        from synccr.paths import Paths

        log = open_to_append(Paths.from_environment().log / "service.log")
        stream = os.fdopen(log, "a", encoding="utf-8", buffering=1)
        sys.stdout, sys.stderr = sys.stdout or stream, sys.stderr or stream
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="replace")


def _quick(words: list[str]) -> int | None:
    """What runs at every turn, for weeks, or by habit does without the parser of the command
    line; None for all else."""
    match words:
        case ["--help"] | ["-h"]:
            from synccr.cli.help import root_help

            sys.stdout.write(root_help())
            return 0
        case ["statusline"]:
            from synccr.cli.commands import statusline

            statusline.run()
            return 0
        case ["status"] | ["status", "--json"]:
            from synccr.cli.result import print_result
            from synccr.cli.status_text import status

            return print_result(status(as_json=len(words) > 1))
        case ["models", *rest]:
            from synccr.cli.models_result import models, plain
            from synccr.cli.result import print_result

            if asked := plain(rest):
                return print_result(models(asked))
        case ["start", *rest]:
            from synccr.cli import start_options

            if options := start_options.plain(rest):
                from synccr.cli.serve import serve

                gc.enable()
                return serve(options)
    return None


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _end_of_pipe()
    except OSError:
        sys.stderr.write("synccr: the output could not be written.\n")
        sys.exit(1)


def _end_of_pipe() -> int:
    """The reader has gone, as in ``| head -1``: nothing more to say, and no fault."""
    from synccr.cli.output import redirect_to_devnull

    redirect_to_devnull(sys.stdout)
    return 0


if __name__ == "__main__":
    main()
