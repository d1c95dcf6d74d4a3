"""python -m fanfare.dev demo | dev"""

import argparse
import io
import signal
import sys
from pathlib import Path

try:
    from fanfare.dev import demo, serve
    from fanfare.dev.processes import StackProblem
    from fanfare.dev.terminal import Terminal
except ModuleNotFoundError as missing:
    sys.exit(f"The package {missing.name} is missing: install fanfare-push[dev].")

INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended


def main() -> int:
    """Run a command. 0 where it went well, 1 where it did not."""
    arguments = _arguments()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A check mark is no reason to fail where the locale has none.
        sys.stdout.reconfigure(errors="replace")
    terminal = Terminal()
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As Ctrl-C does it: what was started is ended on the way out.
        signal.signal(number, signal.default_int_handler)
    try:
        match arguments.command:
            case "demo":
                return _demo(terminal, arguments)
            case _:
                return _dev(terminal, arguments)
    except (StackProblem, OSError) as problem:
        terminal.problem(str(problem))
        return 1


def _demo(terminal: Terminal, arguments: argparse.Namespace) -> int:
    try:
        agrees = demo.run(terminal, users=arguments.users, tokens=arguments.tokens)
    except KeyboardInterrupt:
        terminal.note("Interrupted. Nothing is left running.")
        return INTERRUPTED
    return 0 if agrees else 1


def _dev(terminal: Terminal, arguments: argparse.Namespace) -> int:
    try:
        serve.run(terminal, home=arguments.home, users=arguments.users)
    except KeyboardInterrupt:
        terminal.note("Stopped. The data is kept for the next start.")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("fanfare.dev", description="Fanfare on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo_parser = commands.add_parser("demo", help="send three campaigns, audit them, and end")
    demo_parser.add_argument("--users", type=_positive, default=10_000)
    demo_parser.add_argument("--tokens", type=_positive, default=12_000, help="devices in all")
    dev_parser = commands.add_parser("dev", help="keep everything running until Ctrl-C")
    dev_parser.add_argument("--home", type=Path, default=Path(".fanfare"), help="keeps the data")
    dev_parser.add_argument(
        "--users", type=_positive, default=1_000, help="made up at the first start"
    )
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
