"""Twelve musical styles: hidden properties of the songs, which the server never sends."""

from typing import Final, NamedTuple

FEATURES: Final = (
    "danceability", "energy", "valence", "acousticness", "instrumentalness", "liveness", "speechiness",
    "loudness", "tempo",
)  # fmt: skip
# Standard deviation within a style, in the units of FEATURES; large enough that similar styles overlap.
FEATURE_SPREAD: Final = (0.08, 0.09, 0.12, 0.09, 0.07, 0.07, 0.03, 1.6, 12.0)


class Style(NamedTuple):
    name: str
    share: float  # of all artists; all shares sum to 1
    genres: tuple[str, ...]  # possible second genres of its songs
    centre: tuple[float, ...]  # mean of each of FEATURES; loudness in dB, tempo in beats per minute
    year: int  # mean year of an artist's first album
    seconds: int
    artist_kind: str
    adjectives: str
    nouns: str
    places: str


STYLES: Final = (
    Style("Rock", 0.13, ("Alternative", "Blues"), (0.49, 0.77, 0.52, 0.13, 0.06, 0.22, 0.06, -7.0, 126.0),
          1988, 245, "band",
          "Restless Burning Crooked Electric Broken Golden Reckless Hollow Rusted Scarlet Loud Stray",
          "Highway Engine Thunder Mirror Stranger Rider Avenue Fever Signal Echo Shadow Ember",
          "the Rain;the Backstreets;Detroit;the Last Mile;the Underpass;the Dark"),
    Style("Pop", 0.15, ("Dance", "R&B"), (0.69, 0.68, 0.63, 0.17, 0.01, 0.16, 0.07, -5.8, 117.0),
          2012, 205, "solo",
          "Sweet Neon Perfect Sugar Glitter Secret Crystal Paper Lucky Summer Pink Weightless",
          "Heart Kiss Mirrorball Crush Weekend Daydream Lipstick Secret Confetti Rumour Balloon Wish",
          "the Moonlight;Paris;the Dancefloor;Your Arms;the Afterglow;Slow Motion"),
    Style("Hip Hop", 0.11, ("Rap", "R&B"), (0.79, 0.64, 0.48, 0.13, 0.01, 0.19, 0.26, -6.6, 94.0),
          2008, 215, "rapper",
          "Concrete Hungry Midnight Heavy Cold Royal Hustling Bulletproof Velvet Sharp Grown Blessed",
          "Cipher Crown Pavement Corner Ledger Throne Chain Block Verse Hustle Headline Witness",
          "the Block;Brooklyn;the Booth;the Corner Store;Third Street;the Trenches"),
    Style("R&B", 0.08, ("Soul", "Funk"), (0.66, 0.47, 0.52, 0.36, 0.01, 0.13, 0.09, -8.6, 98.0),
          1999, 235, "solo",
          "Tender Slow Velvet Honey Satin Faithful Candlelit Midnight Warm Silken Lonely Brown",
          "Touch Promise Whisper Silhouette Pillow Devotion Honey Groove Tears Ribbon Letter Desire",
          "the Morning;Memphis;the Half Light;Your Eyes;the Quiet Storm;the Small Hours"),
    Style("Electronic", 0.11, ("Techno", "House"), (0.72, 0.80, 0.36, 0.04, 0.68, 0.15, 0.05, -7.4, 127.0),
          2006, 330, "project",
          "Parallel Analog Liquid Binary Phantom Static Infinite Polar Magnetic Silent Modular Solar",
          "Circuit Pulse Vector Orbit Signal Prism Lattice Voltage Cascade Horizon Drift Sequence",
          "Zero Gravity;Berlin;the Grid;Low Orbit;the Machine;Room 9"),
    Style("Jazz", 0.07, ("Blues", "Swing"), (0.53, 0.30, 0.48, 0.79, 0.48, 0.16, 0.05, -14.2, 108.0),
          1964, 345, "ensemble",
          "Blue Smoky Round Lazy Crooked Mellow Autumn Sentimental Lean Cool Late Amber",
          "Samba Lullaby Corner Alley Ballad Waltz Sketch Bird Saxophone Sonnet Stroll Interlude",
          "Harlem;the Vanguard;Half Past Two;Montmartre;the Blue Room;April"),
    Style("Classical", 0.07, ("Instrumental",), (0.25, 0.14, 0.17, 0.94, 0.87, 0.11, 0.04, -22.0, 92.0),
          1975, 410, "orchestra",
          "Solemn Quiet Pastoral Winter Radiant Silver Nocturnal Grave Distant Gentle Minor Northern",
          "Nocturne Prelude Sonata Elegy Adagio Fugue Rondo Serenade Overture Requiem Etude Pavane",
          "D Minor;G Major;the Cathedral;the Snow;F Sharp;the Garden"),
    Style("Folk", 0.08, ("Indie", "Acoustic"), (0.48, 0.31, 0.41, 0.82, 0.09, 0.13, 0.04, -12.6, 114.0),
          2003, 225, "band",
          "Silver Wooden Wandering Salt Quiet Barefoot Harvest Weathered Wild Paper Mossy Faithful",
          "Pines Harbour River Lantern Orchard Sparrow Hollow Meadow Ferry Cradle Willow Feather",
          "the Valley;the Shore;Late October;the Old Mill;the Tall Grass;Galway"),
    Style("Country", 0.07, ("Folk", "Americana"), (0.57, 0.60, 0.66, 0.39, 0.01, 0.19, 0.04, -7.2, 132.0),
          1996, 212, "solo",
          "Dusty Lonesome Whiskey Gravel Backroad Honest Wide Tin Southern Sunday Borrowed Worn",
          "Truck Fence Saddle Porch Creek Jukebox Barn Prairie Rodeo Boots Tailgate Farewell",
          "Tennessee;the County Line;the Front Porch;Amarillo;the Long Way Home;Texas"),
    Style("Metal", 0.06, ("Rock",), (0.36, 0.94, 0.27, 0.02, 0.20, 0.25, 0.10, -5.0, 138.0),
          1997, 290, "band",
          "Black Iron Ashen Bleeding Eternal Frozen Wicked Savage Fallen Unholy Molten Ancient",
          "Throne Ritual Abyss Wolves Altar Plague Serpent Crypt Hammer Oblivion Siege Raven",
          "the Void;Hell;the Ruins;the Northern Waste;the Pit;Ashes"),
    Style("Punk", 0.04, ("Alternative", "Rock"), (0.45, 0.91, 0.60, 0.03, 0.02, 0.27, 0.08, -4.6, 165.0),
          1992, 150, "band",
          "Angry Bored Nervous Cheap Plastic Useless Rotten Spare Radioactive Toxic Dirty Wrong",
          "Riot Youth Television Suburb Brick Boredom Siren Curfew Detention Parade Scissors Nation",
          "the Suburbs;Detention;My Street;the Basement;the Riot;Camden"),
    Style("Reggae", 0.03, ("Dub", "Ska"), (0.76, 0.52, 0.74, 0.24, 0.06, 0.15, 0.10, -8.0, 78.0),
          1984, 240, "band",
          "Righteous Sunny Easy Rising Natural Humble Island Conscious Tall Roots Steady Upful",
          "Lion Vibration Skank Riddim Zion Freedom Version Sunrise Mango Rebel Blessing Drum",
          "Kingston;Babylon;the Yard;the Sunshine;Trenchtown;the Islands"),
)  # fmt: skip
