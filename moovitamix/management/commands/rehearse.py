"""`rehearse`, the former name of `simulate`, kept for scripts that use it."""

from moovitamix.management.commands.simulate import Command as SimulateCommand


class Command(SimulateCommand):
    help = "The former name of `simulate`, which does the same: python manage.py simulate --help"
