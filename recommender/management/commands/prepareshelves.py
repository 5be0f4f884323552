"""`prepareshelves`, the former name of `preparelists`, kept for scripts that use it."""

from recommender.management.commands.preparelists import Command as PrepareListsCommand


class Command(PrepareListsCommand):
    help = "The former name of `preparelists`, which does the same: python manage.py preparelists --help"
