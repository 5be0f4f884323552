"""Ids, names and titles of synthetic rows, the same for the same seed."""

import unicodedata
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Final

import numpy as np

from ingestion.demo.world.styles import Style

# The real source uses ids from about 1 to 100 000 for 1 000 rows.
MIN_ID_RANGE: Final = 100_000


class IdSequence:
    """Unique ids that, like the real source's, are neither dense nor in order.

    Args:
        seed: one per kind of row; the n-th id depends only on it and on `expected`.
        expected: about how many ids are needed; after four times as many (at least 100 000) ids count up.
    """

    def __init__(self, seed: tuple[int, ...], expected: int) -> None:
        span = max(MIN_ID_RANGE, 4 * expected)
        self._drawn = np.random.default_rng(seed).permutation(span) + 1
        self._given = 0

    def next_id(self) -> int:
        serial = self._given
        self._given += 1
        return int(self._drawn[serial]) if serial < len(self._drawn) else serial + 1


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES: Final = _words(
    "Ada Alma Amir Anouk Astrid Aurora Benoît Bruno Camille Carla Chidi Clara Dario Delia Dmitri Edith "
    "Elias Elif Emeka Esther Farah Felix Fiona Gaspard Greta Hana Hugo Ida Imani Ines Ivan Jade Jonas "
    "José Juno Kaito Karim Lena Leo Lucía Luis Mabel Maeve Malik Mara Mateo Milo Mina Nadia Naoki Nils "
    "Noor Olga Omar Otis Paloma Pavel Petra Priya Quentin Rafael Renée Rosa Ruben Salma Samir Selma "
    "Silas Sofia Stella Tariq Tessa Theo Tomás Uma Vera Victor Wanda Yara Yusuf Zoë"
)
LAST_NAMES: Final = _words(
    "Abbott Adeyemi Aguilar Almeida Andersson Baptiste Beaumont Bergström Bianchi Blake Calloway "
    "Castillo Chen Cohen Costa Cruz Delacroix Diaz Donovan Dubois Eriksen Farrell Ferreira Fischer "
    "Fontaine Garcia Ghosh Greenwood Haddad Hale Hartmann Hayes Holloway Ibrahim Ito Jansen Kaur Keller "
    "Kovács Lambert Laurent Lopez Lindqvist Marlowe Marsh Mbeki Mendes Moreau Nakamura Navarro Nguyen "
    "Novak Okafor Olsen Ortega Park Patel Pereira Petrov Quinn Ramos Reyes Rivera Rossi Sato Schneider "
    "Silva Sinclair Sørensen Tanaka Thorne Torres Vance Vargas Walker Weber Whitlock Winslow Yilmaz "
    "Zhang"
)
# The values that the real source uses.
GENDERS: Final = (
    "Female", "Male", "Non-binary", "Agender", "Bigender", "Genderfluid", "Genderqueer",
    "Gender nonconforming", "Gender questioning",
)  # fmt: skip
# A style has about 2 000 titles. If this many drawn names are all in use, the last one gets a number.
MAX_NAME_DRAWS: Final = 20


def random_person_name(random: Random) -> tuple[str, str]:
    return random.choice(FIRST_NAMES), random.choice(LAST_NAMES)


def email_address(first: str, last: str, number: int) -> str:
    plain = unicodedata.normalize("NFKD", f"{first}.{last}").encode("ascii", "ignore").decode().lower()
    return f"{plain}{number}@example.org"


def random_title(style: Style, random: Random) -> str:
    adjective, noun = random.choice(style.adjectives.split()), random.choice(style.nouns.split())
    other, place = random.choice(style.nouns.split()), random.choice(style.places.split(";"))
    patterns = (
        f"{adjective} {noun}", f"{adjective} {noun}", f"{noun} in {place}", f"{noun} and {other}",
        f"The {adjective} {noun}", f"Back to {place}", f"{adjective} for {place}", noun,
    )  # fmt: skip
    return random.choice(patterns)


def draw_unused_name(draw: Callable[[], str], taken: set[str]) -> str:
    for _ in range(MAX_NAME_DRAWS):
        name = draw()
        if name not in taken:
            break
    else:
        name = next(numbered for number in count(2) if (numbered := f"{name} {number}") not in taken)
    taken.add(name)
    return name


def random_artist_name(style: Style, random: Random) -> str:
    first, last = random_person_name(random)
    adjective, noun = random.choice(style.adjectives.split()), random.choice(style.nouns.split())
    place = random.choice(style.places.split(";")).removeprefix("the ").title()
    many = noun if noun.endswith("s") else f"{noun}s"
    patterns = {
        "band": (f"The {adjective} {many}", f"{adjective} {noun}", f"{last} & the {many}", f"{place} {noun}"),
        "solo": (f"{first} {last}", f"{first} {last}", first, f"{first} {noun}"),
        "rapper": (f"{adjective} {first}", f"MC {last}", f"Lil {noun}", f"{first} the {noun}"),
        "project": (f"{adjective} {noun}", f"DJ {first}", f"{noun} {random.randint(2, 99)}", f"Club {last}"),
        "ensemble": (f"The {first} {last} Trio", f"{first} {last}", f"{last} Quartet", f"{adjective} Five"),
        "orchestra": (f"{last} Quartet", f"{place} Philharmonic", f"{first} {last}", f"{last} Ensemble"),
    }  # fmt: skip
    return random.choice(patterns[style.artist_kind])
