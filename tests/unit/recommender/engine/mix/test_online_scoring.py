from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommender.engine.algorithms.base import slice_profiles
from recommender.engine.data import Catalogue, NearestPlays, Profiles, SongActivity, TrainingSet
from recommender.engine.mix import components
from recommender.engine.mix.fit import fit_mix
from recommender.engine.mix.model import MixModel, OnlineMixModel
from recommender.engine.mix.scoring import sum_neighbour_votes, top_places

SONGS = 1_500
STYLES = 15


@pytest.fixture(scope="module")
def training() -> TrainingSet:
    draw = np.random.default_rng(4)
    styles, tastes = np.arange(SONGS) % STYLES, draw.integers(0, STYLES, 300)
    chance = np.where(tastes[:, None] == styles[None, :], 0.3, 0.002)
    plays = (draw.random((300, SONGS)) < chance) * draw.integers(1, 9, (300, SONGS))
    catalogue = Catalogue(
        ids=np.arange(SONGS, dtype=np.int64),
        artists=[f"Artist {song % 200}" for song in range(SONGS)],
        albums=[""] * SONGS,
        songwriters=[""] * SONGS,
        genres=[f"style {style}" for style in styles],
        release_years=np.full(SONGS, np.nan),
        durations=np.full(SONGS, np.nan),
        audio={"tempo": styles + draw.random(SONGS)},
        available=np.arange(SONGS) % 100 != 7,
    )
    genres = [f"style {style}" for style in tastes]
    activity = draw.integers(0, 90, (3, SONGS)).astype(np.float32)
    return TrainingSet(
        catalogue, csr_array(plays.astype(np.float32)), genres=genres,
        activity=SongActivity(*activity), keys=np.arange(300),
    )  # fmt: skip


@pytest.fixture(scope="module")
def mix(training: TrainingSet) -> MixModel:
    return fit_mix(training)


def listener(training: TrainingSet, row: int) -> Profiles:
    assert training.genres is not None
    return Profiles(training.plays[[row]], genres=[training.genres[row]], keys=np.array([row]))


def test_a_listeners_scores_do_not_depend_on_the_block_bit_for_bit(
    training: TrainingSet, mix: MixModel
) -> None:
    genres = training.genres or []
    block = Profiles(training.plays[:40], genres=genres[:40], keys=np.arange(40))
    model = OnlineMixModel(mix)
    songs = [np.arange(row, SONGS, 7, dtype=np.int32) for row in range(40)]

    found, scores = model.block_candidates(block, n=400, budget=200), model.block_scores(block, songs)

    for row in range(40):
        profile = listener(training, row)
        alone = model.candidates(profile, n=400, budget=200)
        np.testing.assert_array_equal(found[row].songs, alone.songs)
        np.testing.assert_array_equal(found[row].scores, alone.scores)
        np.testing.assert_array_equal(scores[row], model.score(profile, songs[row]))


def test_genres_of_all_songs_at_once_match_as_those_of_a_few(training: TrainingSet, mix: MixModel) -> None:
    genres = training.genres or []
    block = Profiles(training.plays[:9], genres=["", *genres[1:9]], keys=np.arange(9))
    model = OnlineMixModel(mix)
    every, few = np.arange(SONGS, dtype=np.int32), np.arange(0, SONGS, 40, dtype=np.int32)

    of_all, of_few = model.block_scores(block, [every] * 9), model.block_scores(block, [few] * 9)

    genre = [model.explain_scores(slice_profiles(block, row, row + 1), every)["genre"] for row in range(9)]
    assert [len(np.unique(one)) for one in genre] == [1] + [2] * 8
    for row in range(9):
        np.testing.assert_allclose(of_all[row][few], of_few[row], rtol=1e-4, atol=1e-5)


def test_songs_without_votes_get_no_votes_of_the_listener_before(
    training: TrainingSet, mix: MixModel
) -> None:
    block = Profiles(training.plays[:3], keys=np.arange(3))
    features = mix.listener_features(block, one_by_one=True)

    votes = sum_neighbour_votes(mix.components, features, block)

    for own in votes:
        columns = own.columns_of(np.arange(SONGS))
        assert own.songs.tolist() == np.flatnonzero(columns >= 0).tolist()
        assert columns[own.songs].tolist() == list(range(len(own.songs)))
        assert set(own.songs.tolist()) < set(range(SONGS))


def test_full_arrays_of_a_small_catalogue_sum_the_same_votes_bit_for_bit(
    training: TrainingSet, mix: MixModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plays = training.plays[:40].tolil()
    plays[7] = 0
    block = Profiles(csr_array(plays), keys=np.arange(40))
    features = mix.listener_features(block, one_by_one=True)
    sparse = sum_neighbour_votes(mix.components, features, block)
    monkeypatch.setattr(components, "MOST_SONGS_OF_FULL_ARRAYS", SONGS)
    small = replace(mix.components)

    votes = sum_neighbour_votes(small, features, block)

    assert (small.full_neighbours is None, mix.components.full_neighbours is None) == (False, True)
    for own, other in zip(votes, sparse, strict=True):
        assert own.names == other.names
        assert own.songs.tobytes() == other.songs.tobytes()
        assert own.sums.tobytes() == other.sums.tobytes()
        assert own.terms.tobytes() == other.terms.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("row", range(0, 300, 37))
def test_online_scores_equal_batch_scores(training: TrainingSet, mix: MixModel, row: int) -> None:
    profile = listener(training, row)
    dense = mix.scores(profile)[0]

    found = OnlineMixModel(mix).candidates(profile, n=400, budget=200)

    np.testing.assert_allclose(found.scores, dense[found.songs], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_budget_of_the_whole_catalogue_gives_the_batch_ranking(
    training: TrainingSet, mix: MixModel
) -> None:
    profile = listener(training, 3)

    found = OnlineMixModel(mix).candidates(profile, n=50, budget=SONGS)

    assert found.songs.tolist() == mix.recommend(profile, 50)[0].tolist()


def test_an_eighth_of_the_songs_contains_nearly_all_of_the_best(training: TrainingSet, mix: MixModel) -> None:
    profiles = [listener(training, row) for row in range(40)]

    shared = [
        len(
            set(OnlineMixModel(mix).candidates(profile, n=20, budget=180).songs)
            & set(mix.recommend(profile, 20)[0])
        )
        for profile in profiles
    ]

    assert np.mean(shared) > 19


def test_no_played_excluded_or_unavailable_song_is_a_candidate(training: TrainingSet, mix: MixModel) -> None:
    excluded = np.zeros((1, SONGS), dtype=np.float32)
    excluded[0, :200] = 1
    profile = replace(listener(training, 8), excluded=csr_array(excluded))

    songs = OnlineMixModel(mix).candidates(profile, n=SONGS).songs

    assert not set(songs) & set(profile.plays.indices)
    assert songs.min() >= 200
    assert mix.components.available[songs].all()


def test_a_small_budget_grows_until_n_songs_are_found(training: TrainingSet, mix: MixModel) -> None:
    found = OnlineMixModel(mix).candidates(listener(training, 1), n=1_300, budget=40)

    assert len(found.songs) == len(set(found.songs.tolist())) == 1_300
    assert (np.diff(found.scores) <= 0).all()


def test_a_cold_start_gets_candidates_of_the_favourite_genre(training: TrainingSet, mix: MixModel) -> None:
    profile = Profiles(csr_array((1, SONGS), dtype=np.float32), genres=["style 4"])

    found = OnlineMixModel(mix).candidates(profile, n=20, budget=200)

    assert (found.songs % STYLES == 4).all()
    np.testing.assert_allclose(found.scores, mix.scores(profile)[0][found.songs], rtol=1e-3)


def test_given_songs_are_scored_like_in_the_batch(training: TrainingSet, mix: MixModel) -> None:
    profile = listener(training, 5)
    songs = np.setdiff1d(np.arange(60), profile.plays.indices).astype(np.int32)

    found = OnlineMixModel(mix).score(profile, songs)

    np.testing.assert_allclose(found, mix.scores(profile)[0][songs], rtol=1e-3, atol=1e-4)


def test_what_one_model_kept_of_a_listener_does_not_reach_another_model(
    training: TrainingSet, mix: MixModel
) -> None:
    profile, same = listener(training, 5), listener(training, 5)
    songs = np.setdiff1d(np.arange(60), profile.plays.indices).astype(np.int32)
    other = OnlineMixModel(replace(mix, components=replace(mix.components, neighbours={})))

    first = OnlineMixModel(mix).score(profile, songs)
    after, alone = other.score(profile, songs), other.score(same, songs)

    np.testing.assert_array_equal(after, alone)
    assert not np.allclose(first, after)


def test_a_listener_who_has_played_every_song_has_no_candidates(training: TrainingSet, mix: MixModel) -> None:
    profile = Profiles(csr_array(np.ones((1, SONGS), dtype=np.float32)))

    found = OnlineMixModel(mix).candidates(profile, n=400)

    assert len(found.songs) == 0


@pytest.mark.parametrize("n", [0, 1, 7, 40, 99, 100, 120])
def test_the_best_are_in_order_and_ties_by_index(n: int) -> None:
    scores = np.random.default_rng(n).integers(0, 9, 100).astype(np.float32)

    places = top_places(scores, n).tolist()

    assert places == sorted(range(100), key=lambda place: (-scores[place], place))[:n]


@pytest.fixture(scope="module")
def without_genres(mix: MixModel) -> OnlineMixModel:
    none = csr_array(mix.components.genres.shape, dtype=np.float32)
    return OnlineMixModel(replace(mix, components=replace(mix.components, genres=none)))


def test_songs_are_near_played_songs_by_common_listeners(
    training: TrainingSet, without_genres: OnlineMixModel
) -> None:
    profile = listener(training, 8)
    songs = np.setdiff1d(np.arange(SONGS), profile.plays.indices).astype(np.int32)
    listeners = (training.plays.toarray() > 0).astype(int)

    near = without_genres.nearest_plays(profile, [songs])

    common = (listeners[:, near.songs] * listeners[:, near.played]).sum(axis=0)
    assert len(near.songs) > 100
    assert common.min() >= 3
    assert (near.songs % STYLES == near.played % STYLES).mean() > 0.9
    assert set(near.played.tolist()) <= set(profile.plays.indices.tolist())


def test_songs_share_a_genre_that_the_listener_plays_a_lot(mix: MixModel) -> None:
    plays = np.zeros((1, SONGS), dtype=np.float32)
    plays[0, [4, 4 + STYLES, 5]] = [20, 30, 1]  # two songs of style 4, one of style 5
    songs = np.array([4 + 9 * STYLES, 5 + 9 * STYLES], dtype=np.int32)
    components = replace(mix.components, neighbours={}, genre_idf=mix.components.genre_idf.copy())
    components.genre_idf[mix.words.index("style")] = 0  # a word of all songs
    model = OnlineMixModel(replace(mix, components=components))

    near = model.nearest_plays(Profiles(csr_array(plays)), [songs])

    pairs = set(zip(near.songs.tolist(), near.played.tolist(), strict=True))
    assert pairs >= {(songs[0], 4), (songs[0], 4 + STYLES)}
    assert all(song % STYLES == played % STYLES for song, played in pairs)


def test_songs_with_the_same_genres_have_the_pairs_of_one_of_them(
    training: TrainingSet, mix: MixModel
) -> None:
    components = replace(mix.components, neighbours={})
    model = OnlineMixModel(replace(mix, components=components))
    block = Profiles(training.plays[:5], keys=np.arange(5))
    songs = [np.arange(row, SONGS, 3, dtype=np.int32) for row in range(5)]

    near = model.nearest_plays(block, songs)

    assert len(np.unique(near.songs)) <= 5 * STYLES  # as many sets of genres
    pairs = _pairs_by_song(near.listeners, near)
    alike = zip(*(one.tolist() for one in near.alike), strict=True)
    pairs |= {(listener, song): pairs.get((listener, other), []) for listener, song, other in alike}
    assert any(pairs.values())
    for row, asked in enumerate(songs):
        for song in asked[::40].tolist():
            alone = model.nearest_plays(slice_profiles(block, row, row + 1), [np.array([song], np.int32)])
            expected = _pairs_by_song(alone.listeners + row, alone)
            assert pairs.get((row, song), []) == expected.get((row, song), [])


def _pairs_by_song(
    listeners: NDArray[np.intp], near: NearestPlays
) -> dict[tuple[int, int], list[tuple[int, float]]]:
    pairs: dict[tuple[int, int], list[tuple[int, float]]] = {}
    rows = zip(listeners.tolist(), *(one.tolist() for one in near[1:4]), strict=True)
    for listener, song, played, nearness in rows:
        pairs.setdefault((listener, song), []).append((played, nearness))
    return pairs


def test_without_common_listeners_or_in_an_earlier_artifact_no_song_is_near(
    without_genres: OnlineMixModel,
) -> None:
    mix = without_genres.mix
    old = replace(mix, components=replace(mix.components, neighbourhood=None))
    played = Profiles(csr_array(([np.float32(1)], ([0], [STYLES])), shape=(1, SONGS)))
    others = np.array([1, 2, 3], dtype=np.int32)  # of other styles

    assert len(without_genres.nearest_plays(played, [others]).songs) == 0
    assert len(OnlineMixModel(old).nearest_plays(played, [np.arange(60, dtype=np.int32)]).songs) == 0
