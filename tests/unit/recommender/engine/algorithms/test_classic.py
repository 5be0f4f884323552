"""`classic`: clusters drawn in proportion to engagement, then any song of the cluster."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import chisquare

from recommender.engine.algorithms.classic import ClassicModel
from recommender.engine.algorithms.fit_classic import fit_classic
from recommender.engine.data import Catalogue, Profiles, TooFewSongs, TrainingSet

STYLES = ("rock", "jazz", "techno")
SONGS = 60  # song j is of style j % 3, and of the cluster of its style
MANY = 4_000  # listeners: a share is then known to a percent and a half


def catalogue(genres: Sequence[str], **columns: NDArray[np.float64]) -> Catalogue:
    songs = len(genres)
    return Catalogue(
        ids=np.arange(songs), artists=[f"Artist {song % 7}" for song in range(songs)], albums=[""] * songs,
        songwriters=[""] * songs, genres=list(genres), release_years=np.full(songs, np.nan),
        durations=np.full(songs, np.nan), audio=columns, available=np.ones(songs, dtype=np.bool_),
    )  # fmt: skip


def training(genres: Sequence[str], plays: NDArray[np.float32] | None = None) -> TrainingSet:
    known = np.ones((2, len(genres)), dtype=np.float32) if plays is None else plays
    return TrainingSet(catalogue(genres), csr_array(known))


@pytest.fixture(scope="module")
def model() -> ClassicModel:
    """Three clusters, one a style; by name, not by number, for k-means numbers them as it likes."""
    songs = replace(catalogue([STYLES[song % 3] for song in range(SONGS)]), artists=[""] * SONGS)
    # Rock was played three times as often as jazz, techno by nobody.
    heard = np.array([[song % 3 == 0, song % 3 == 0, song % 3 == 0, song % 3 == 1] for song in range(SONGS)])
    return fit_classic(TrainingSet(songs, csr_array(heard.T.astype(np.float32))), n_clusters=3)


def row(songs: dict[int, float] | None = None) -> csr_array:
    values = np.zeros((1, SONGS), dtype=np.float32)
    for song, plays in (songs or {}).items():
        values[0, song] = plays
    return csr_array(values)


def times(one: csr_array, n: int) -> csr_array:
    return csr_array(np.repeat(one.toarray(), n, axis=0))


def crowd(plays: csr_array, n: int = MANY, **known: csr_array) -> Profiles:
    """The same listener many times under different keys, so that each gets another draw."""
    repeated = {name: times(one, n) for name, one in known.items()}
    return Profiles(times(plays, n), keys=np.arange(n), **repeated)


def styles(songs: NDArray[np.int32]) -> NDArray[np.int64]:
    """The numbers of rock, jazz and techno songs."""
    return np.bincount(songs.ravel() % 3, minlength=3)


def test_the_clusters_are_the_styles(model: ClassicModel) -> None:
    groups = {tuple(model.labels[style::3].tolist()) for style in range(3)}

    assert groups == {(label,) * 20 for label in range(3)}


@pytest.mark.slow
def test_clusters_are_drawn_in_proportion_to_affinity(model: ClassicModel) -> None:
    asked = crowd(row({0: 6, 1: 3, 2: 1}))

    first = model.recommend(asked, 1)

    drawn = styles(first)
    assert chisquare(drawn, MANY * np.array([0.6, 0.3, 0.1])).pvalue > 0.001


@pytest.mark.slow
def test_every_place_of_a_list_is_drawn_with_the_same_shares(model: ClassicModel) -> None:
    asked = crowd(row({0: 6, 1: 3, 2: 1}))

    lists = model.recommend(asked, 8)

    for place in (1, 4, 7):
        drawn = styles(lists[:, place])
        assert chisquare(drawn, MANY * np.array([0.6, 0.3, 0.1])).pvalue > 0.001


@pytest.mark.slow
def test_when_a_cluster_is_used_up_the_others_keep_their_shares(model: ClassicModel) -> None:
    without_rock = row(dict.fromkeys(range(0, SONGS, 3), 1.0))

    first = model.recommend(crowd(row({0: 6, 1: 3, 2: 1}), excluded=without_rock), 1)

    drawn = styles(first)
    assert drawn[0] == 0
    assert chisquare(drawn[1:], MANY * np.array([0.75, 0.25])).pvalue > 0.001


@pytest.mark.slow
def test_any_song_of_a_cluster_is_as_likely_as_another(model: ClassicModel) -> None:
    first = model.recommend(crowd(row({0: 1})), 1)

    counts = np.bincount(first.ravel(), minlength=SONGS)[3::3]
    assert counts.sum() == MANY
    assert chisquare(counts).pvalue > 0.001


def test_lists_use_up_the_liked_clusters_first(model: ClassicModel) -> None:
    lists = model.recommend(Profiles(row({0: 1}), keys=np.array([1])), 25)

    liked, others = lists[0, :19], lists[0, 19:]
    assert sorted(liked.tolist()) == list(range(3, SONGS, 3))
    assert len(set(others.tolist())) == 6
    # What everybody plays comes next: jazz was played, techno was not.
    assert styles(others).tolist() == [0, 6, 0]


@pytest.mark.slow
def test_skips_lower_the_affinity_of_their_cluster(model: ClassicModel) -> None:
    plays, skips = row({0: 4, 1: 4}), row({3: 1, 6: 1, 9: 1})

    shares = model.affinities(Profiles(plays, skips=skips))[0]
    first = model.recommend(crowd(plays, skips=skips), 1)

    # Four of the cluster's seven events are plays.
    assert shares[model.labels[0]] / shares[model.labels[1]] == pytest.approx(4 / 7)
    assert chisquare(styles(first)[:2], MANY * np.array([4, 7]) / 11).pvalue > 0.001


def test_recent_plays_count_by_their_weights(model: ClassicModel) -> None:
    asked = Profiles(row({0: 10, 1: 1}), recent=row({0: 0.1, 1: 0.9}))

    shares = model.affinities(asked)[0]

    assert shares[model.labels[[0, 1, 2]]].tolist() == pytest.approx([0.1, 0.9, 0])


@pytest.mark.parametrize(
    ("genres", "expected"),
    [("jazz", [0, 1, 0]), ("Rock, Techno", [0.5, 0, 0.5]), ("", [0.75, 0.25, 0]), ("polka", [0.75, 0.25, 0])],
)
def test_a_cold_start_uses_favourite_genres_or_everybody_s_plays(
    model: ClassicModel, genres: str, expected: list[float]
) -> None:
    shares = model.affinities(Profiles(row(), genres=[genres]))[0]

    assert shares[model.labels[[0, 1, 2]]].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_same_seed_gives_the_same_lists_and_another_seed_other_ones(model: ClassicModel) -> None:
    asked = crowd(row({0: 1, 1: 1}), 30)

    first = model.recommend(asked, 10, seed=1)

    assert np.array_equal(model.recommend(asked, 10, seed=1), first)
    assert (model.recommend(asked, 10, seed=2) != first).mean() > 0.8


def test_a_new_play_or_skip_changes_the_draw(model: ClassicModel) -> None:
    def drawn(plays: float, skips: float = 0) -> list[int]:
        known = Profiles(row({0: plays}), skips=row({1: skips} if skips else {}), keys=np.array([1]))
        return list(model.recommend(known, 10)[0].tolist())

    assert drawn(1) == drawn(1)
    assert drawn(2) != drawn(1)
    assert drawn(1, skips=1) != drawn(1)


def test_candidates_are_the_drawn_songs_with_equal_scores(model: ClassicModel) -> None:
    known = Profiles(row({0: 3, 1: 1}), keys=np.array([5]))

    found = model.candidates(known, n=30)

    assert found.songs.tolist() == model.recommend(known, 30)[0].tolist()
    assert found.scores.tolist() == [0.0] * 30
    assert model.score(known, found.songs[:4]).tolist() == [0.0] * 4


def test_a_listener_without_plays_has_no_candidates(model: ClassicModel) -> None:
    assert model.candidates(Profiles(row(), genres=["jazz"]), n=30).songs.tolist() == []


def test_there_are_fewer_candidates_if_fewer_songs_are_left(model: ClassicModel) -> None:
    heard = row(dict.fromkeys(range(SONGS - 2), 1.0))

    assert sorted(model.candidates(Profiles(heard), n=30).songs.tolist()) == [SONGS - 2, SONGS - 1]


def test_a_score_is_explained_by_the_affinity_for_the_cluster(model: ClassicModel) -> None:
    known = Profiles(row({0: 3, 1: 1}))

    told = model.explain_scores(known, np.array([3, 4, 5], dtype=np.int32))

    assert list(told) == ["affinity"]
    assert told["affinity"].tolist() == pytest.approx([0.75, 0.25, 0])


def test_similar_songs_are_the_nearest_and_other_clusters_come_later() -> None:
    energy = np.concatenate([np.linspace(0, 0.2, 20), np.linspace(0.8, 1, 20)])
    songs = replace(catalogue(["rock"] * 40, energy=energy), artists=[""] * 40)
    model = fit_classic(TrainingSet(songs, csr_array(np.ones((1, 40), dtype=np.float32))), n_clusters=2)

    found = model.similar(10, n=25)

    assert sorted(found.songs[:6].tolist()) == [7, 8, 9, 11, 12, 13]
    assert sorted(found.songs[:19].tolist()) == [song for song in range(20) if song != 10]
    assert found.songs[19:].tolist() == [20, 21, 22, 23, 24, 25]
    assert (np.diff(found.scores) <= 0).all()
    assert 0 < found.scores.min() < found.scores.max() < 1


def test_equal_songs_have_similarity_one_and_unavailable_songs_are_left_out(
    model: ClassicModel,
) -> None:
    available = np.ones(SONGS, dtype=np.bool_)
    available[3] = False

    found = replace(model, available=available).similar(0, n=5)

    assert found.songs.tolist() == [6, 9, 12, 15, 18]
    assert found.scores.tolist() == [1.0] * 5


def test_a_single_song_has_no_similar_songs() -> None:
    model = fit_classic(training(["rock"]))

    assert model.similar(0, n=5).songs.tolist() == []


def test_an_empty_catalogue_cannot_be_fitted() -> None:
    with pytest.raises(TooFewSongs, match="There are no songs to cluster"):
        fit_classic(training([], np.empty((0, 0), dtype=np.float32)))


def test_equal_songs_are_one_cluster_and_all_can_be_drawn() -> None:
    songs = replace(catalogue(["rock"] * 30), artists=[""] * 30)
    model = fit_classic(TrainingSet(songs, csr_array(np.ones((1, 30), dtype=np.float32))), n_clusters=5)
    heard = np.zeros((1, 30), dtype=np.float32)
    heard[0, 0] = 1

    lists = model.recommend(crowd(csr_array(heard), 1_000), 1)

    assert model.n_clusters == 1
    assert chisquare(np.bincount(lists.ravel(), minlength=30)[1:]).pvalue > 0.001


def test_songs_without_genres_give_a_model_without_words() -> None:
    model = fit_classic(training([""] * 30), n_clusters=4)

    songs = model.recommend(Profiles(csr_array((1, 30), dtype=np.float32), genres=["rock"]), 5)[0]

    assert (model.words, model.genre_shares.shape) == ([], (0, model.n_clusters))
    assert len(set(songs.tolist())) == 5


def test_a_catalogue_without_available_songs_gives_empty_lists() -> None:
    world = training(["rock"] * 5)
    gone = replace(world.catalogue, available=np.zeros(5, dtype=np.bool_))
    model = fit_classic(replace(world, catalogue=gone))

    assert model.recommend(world.profiles(), 3).tolist() == [[-1, -1, -1]] * 2
    assert model.similar(0, n=3).songs.tolist() == []


def test_songs_are_indexed_by_cluster(model: ClassicModel) -> None:
    for label in range(model.n_clusters):
        members = model.by_cluster[model.cluster_starts[label] : model.cluster_starts[label + 1]]

        assert members.tolist() == np.flatnonzero(model.labels == label).tolist()


def test_songs_are_near_the_played_songs_of_their_cluster(model: ClassicModel) -> None:
    songs = np.array([4, 6, 7], dtype=np.int32)

    near = model.nearest_plays(Profiles(row({3: 1, 9: 2})), [songs])

    assert set(zip(near.songs.tolist(), near.played.tolist(), strict=True)) == {(6, 3), (6, 9)}
    assert (near.nearness > 0).all()
