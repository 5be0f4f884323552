"""`rehearse`, the former name of `simulate`, kept for scripts that use it."""

from moovitamix.management.commands.simulate import HELP
from moovitamix.management.commands.simulate import Command as SimulateCommand


class Command(SimulateCommand):
    help = f"`rehearse` is the former name of `simulate` and does the same.\n\n{HELP}"
