import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.decomposition import TruncatedSVD

from recommender.engine import svd as factors_module
from recommender.engine.algorithms.baselines import Popularity
from recommender.engine.data import Catalogue, Profiles, SongActivity, TrainingSet
from recommender.engine.evaluation.metrics import ndcg
from recommender.engine.identity.genres import genre_words
from recommender.engine.mix.components import MixComponents
from recommender.engine.mix.fit import content_features_of, fit_mix, fit_with_weights, start_weights
from recommender.engine.mix.fit_components import CONTENT_WEIGHT, clustering_points
from recommender.engine.mix.model import MixModel
from recommender.engine.mix.terms import TERM_NAMES, build_profile_weights
from recommender.engine.svd import truncated_svd

STYLES = ("rock", "jazz", "folk", "techno")


def make_training(songs: int = 120, listeners: int = 160, seed: int = 1) -> TrainingSet:
    """A world of four styles: a listener plays the songs of one, the lower numbers more."""
    draw = np.random.default_rng(seed)
    style, taste = np.arange(songs) % 4, np.arange(listeners) % 4
    fame = 0.5 / (1 + np.arange(songs) / 40)
    chance = np.where(taste[:, None] == style[None, :], fame, 0.02)
    plays = (draw.random((listeners, songs)) < chance) * draw.integers(1, 6, (listeners, songs))
    catalogue = Catalogue(
        ids=np.arange(songs, dtype=np.int64),
        artists=[f"Artist {song % 24}" for song in range(songs)],
        albums=[""] * songs,
        songwriters=[""] * songs,
        genres=[STYLES[song % 4] for song in range(songs)],
        release_years=np.full(songs, np.nan),
        durations=np.full(songs, np.nan),
        audio={},
        available=np.ones(songs, dtype=np.bool_),
    )
    genres = [STYLES[row % 4] for row in range(listeners)]
    return TrainingSet(catalogue, csr_array(plays.astype(np.float32)), genres=genres)


@pytest.fixture(scope="module")
def mix() -> MixModel:
    return fit_mix(make_training())


def with_activity(training: TrainingSet, listeners: np.ndarray) -> TrainingSet:
    """The training with times: `listeners` have played each song lately, and all songs are equally old."""
    days = np.full(len(listeners), 400, dtype=np.float32)
    return replace(
        training,
        activity=SongActivity(listeners.astype(np.float32), listeners.astype(np.float32), days),
    )


def empty(genres: str, songs: int = 120) -> Profiles:
    return Profiles(csr_array((1, songs), dtype=np.float32), genres=[genres])


@pytest.mark.slow
def test_it_ranks_held_out_plays_better_than_popularity() -> None:
    training = make_training()
    cells = training.plays.tocoo()
    out = np.random.default_rng(5).random(cells.nnz) < 0.2

    def part(chosen: np.ndarray) -> csr_array:
        rows, columns = cells.coords
        places = (rows[chosen], columns[chosen])
        return csr_array((cells.data[chosen], places), shape=cells.shape)

    known, later = replace(training, plays=part(~out)), part(out)

    ours, floor = (model.recommend(known.profiles(), 20) for model in (fit_mix(known), Popularity.fit(known)))

    assert np.nanmean(ndcg(ours, later)) > 1.5 * np.nanmean(ndcg(floor, later))


def test_a_new_listener_gets_songs_similar_to_those_played(
    mix: MixModel,
) -> None:
    heard = np.zeros((1, 120), dtype=np.float32)
    heard[0, [1, 5, 9]] = 1

    best = mix.recommend(Profiles(csr_array(heard)), 4)[0]

    assert (best % 4 == 1).all()


def test_a_cold_start_gets_the_most_played_songs_of_the_favourite_genres(mix: MixModel) -> None:
    best = mix.recommend(empty("Jazz"), 10)[0]

    assert (best % 4 == 1).all()
    assert (np.diff(mix.components.listeners[best]) <= 0).all()


def test_a_cold_start_without_genres_gets_the_most_played_songs(mix: MixModel) -> None:
    best = mix.recommend(empty(""), 5)[0]

    assert best.tolist() == np.argsort(-mix.components.listeners, kind="stable")[:5].tolist()


def test_one_played_song_outweighs_popularity_but_not_genres(mix: MixModel) -> None:
    heard = np.zeros((1, 120), dtype=np.float32)
    heard[0, 2] = 1
    plays = csr_array(heard)

    of_folk, of_both = (mix.affinities(Profiles(plays, genres=[genres]))[0] for genres in ("", "rock"))

    styles_of = [np.bincount(mix.labels[style::4], minlength=len(of_folk)).argmax() for style in range(4)]
    assert of_both[styles_of[0]] > of_folk[styles_of[0]]
    assert of_both.sum() == pytest.approx(1, abs=1e-5)


def test_affinities_are_shares_and_uniform_for_an_unknown_listener(mix: MixModel) -> None:
    shares = mix.affinities(empty(""))[0]

    np.testing.assert_allclose(shares, 1 / mix.components.n_clusters, rtol=1e-5)


@pytest.mark.slow
def test_the_final_fit_includes_held_out_plays() -> None:
    training = make_training()
    later = np.zeros(training.plays.shape, dtype=np.float32)
    later[:, 119] = 1

    model = fit_mix(replace(training, tuning=csr_array(later)))

    assert model.components.listeners[119] == 160


def test_a_song_that_is_played_lately_ranks_above_equal_songs() -> None:
    training = make_training()
    lately = np.zeros(120)
    lately[101] = 150
    weights = start_weights()
    weights[TERM_NAMES.index("trend")] = 1.0

    before, after = (
        fit_with_weights(one, weights).scores(training.profiles())[:, 101]
        for one in (with_activity(training, np.zeros(120)), with_activity(training, lately))
    )

    expected = np.log(150.5 / 0.5) * training.plays.shape[0]
    assert (after - before)[np.diff(training.plays.indptr) > 0].sum() == pytest.approx(expected, rel=0.1)


@pytest.mark.slow
def test_tuning_learns_that_what_is_played_lately_will_be_played() -> None:
    training = make_training()
    lately = np.where(np.arange(120) >= 100, 80.0, 0.0)
    later = np.zeros(training.plays.shape, dtype=np.float32)
    later[:, 100:] = np.random.default_rng(3).random((160, 20)) < 0.2

    model = fit_mix(replace(with_activity(training, lately), tuning=csr_array(later)), refit=False)

    assert model.weights[TERM_NAMES.index("trend")] > 0.1


@pytest.mark.slow
def test_the_final_fit_knows_the_activity_up_to_the_newest_play() -> None:
    training = make_training()
    early = with_activity(training, np.zeros(120))
    late = with_activity(training, np.arange(120)).activity

    for refit in (True, False):
        model = fit_mix(replace(early, latest_activity=late, tuning=csr_array(training.plays)), refit=refit)

        assert model.components.activity is late


@pytest.mark.slow
def test_a_cold_start_gets_what_is_played_lately() -> None:
    model = fit_mix(with_activity(make_training(), np.arange(120)))

    assert model.recommend(empty(""), 4)[0].tolist() == [119, 118, 117, 116]
    assert model.recommend(empty("Jazz"), 3)[0].tolist() == [117, 113, 109]


def test_an_artifact_of_a_release_without_times_ranks_as_before(mix: MixModel) -> None:
    arrays = {name: array for name, array in mix.arrays().items() if not name.startswith("activity_")}
    known = mix.weights.copy()
    known[14:] = 0

    old = MixModel.from_parts({**arrays, "weights": mix.weights[:14]}, mix.facts())

    np.testing.assert_array_equal(
        old.scores(make_training().profiles()), replace(mix, weights=known).scores(make_training().profiles())
    )


def test_with_few_listeners_the_start_weights_stay() -> None:
    model = fit_mix(make_training(listeners=12))

    np.testing.assert_array_equal(model.weights, start_weights())


def test_without_any_plays_genres_and_metadata_decide() -> None:
    training = make_training()
    silent = replace(training, plays=csr_array(training.plays.shape, dtype=np.float32))
    heard = np.zeros((1, 120), dtype=np.float32)
    heard[0, 3] = 1

    model = fit_mix(silent)

    assert (model.recommend(empty("folk"), 10)[0] % 4 == 2).all()
    assert (model.recommend(Profiles(csr_array(heard)), 10)[0] % 4 == 3).all()


@pytest.mark.parametrize("songs", [1, 2, 3])
def test_a_tiny_catalogue_can_be_trained_on(songs: int) -> None:
    model = fit_mix(make_training(songs=songs, listeners=5))

    lists = model.recommend(empty("rock", songs), 5)

    assert sorted(lists[0, :songs].tolist()) == list(range(songs))
    assert (lists[0, songs:] == -1).all()
    assert np.isfinite(model.scores(empty("rock", songs))).all()


def test_old_plays_weigh_less_than_recent_ones(mix: MixModel) -> None:
    plays = np.zeros((1, 120), dtype=np.float32)
    plays[0, [0, 4, 1, 5]] = 1
    recent = plays * np.where(np.arange(120) % 4 == 0, 0.01, 1).astype(np.float32)

    best = mix.recommend(Profiles(csr_array(plays), csr_array(recent)), 5)[0]

    assert (best % 4 == 1).sum() > (best % 4 == 0).sum()


def test_at_most_five_hundred_songs_of_a_listener_are_used() -> None:
    plays = csr_array(np.arange(1, 601, dtype=np.float32)[np.newaxis])

    spoken = build_profile_weights(Profiles(plays))

    assert spoken.plain.nnz == spoken.weighted.nnz == 500
    assert spoken.plain.indices.min() == 100
    assert spoken.n_played.tolist() == [600]


def test_summing_artists_leaves_the_profile_weights_unchanged(mix: MixModel) -> None:
    heard = np.zeros((1, 120), dtype=np.float32)
    heard[0, [2, 26, 50]] = [1, 5, 2]

    known = mix.listener_features(Profiles(csr_array(heard)))

    assert known.artists.nnz == 1
    np.testing.assert_array_equal(known.profile_weights.weighted.indices, known.profile_weights.plain.indices)
    assert known.profile_weights.weighted.data.mean() == pytest.approx(1)


@pytest.mark.slow
def test_the_same_training_gives_the_same_arrays() -> None:
    first, second = (fit_mix(make_training()).arrays() for _ in range(2))

    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_loading_neither_copies_nor_writes_arrays(mix: MixModel) -> None:
    arrays = mix.arrays()
    for array in arrays.values():
        array.flags.writeable = False

    loaded = MixModel.from_parts(arrays, mix.facts())

    for name, array in loaded.arrays().items():
        assert np.shares_memory(array, arrays[name]) or not array.size, name
    training = make_training()
    np.testing.assert_array_equal(loaded.scores(training.profiles()), mix.scores(training.profiles()))


def test_given_weights_are_used_unchanged() -> None:
    weights = np.arange(1.0, len(TERM_NAMES) + 1)

    model = fit_with_weights(make_training(), weights)

    np.testing.assert_array_equal(model.weights, weights)


def test_genre_words_are_whole_genres_and_their_words_once_each() -> None:
    assert genre_words("Indie Rock,  pop , Pop") == ["indierock", "pop", "indie", "rock"]
    assert genre_words("") == []


def test_both_svd_methods_agree_with_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = csr_array((np.random.default_rng(0).random((80, 60)) < 0.1).astype(np.float32))
    expected = TruncatedSVD(10, algorithm="arpack", random_state=0).fit(matrix).singular_values_

    _, exact = truncated_svd(matrix, 10, seed=3)
    monkeypatch.setattr(factors_module, "EXACT_SVD_LIMIT", 10)
    monkeypatch.setattr(factors_module, "POWER_ITERATIONS", 60)
    vectors, near = truncated_svd(matrix, 10, seed=3)
    transposed, _ = truncated_svd(csr_array(matrix.T), 10, seed=3)

    np.testing.assert_allclose(exact, expected, rtol=1e-5)
    np.testing.assert_allclose(near, expected, rtol=1e-3)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(10), atol=1e-4)
    assert (vectors.shape, transposed.shape) == ((60, 10), (80, 10))


def test_singular_vectors_are_stored_row_by_row(mix: MixModel) -> None:
    parts: MixComponents = mix.components

    assert all(space.flags.c_contiguous for space in (parts.taste, parts.content, parts.company))


def test_content_features_can_be_reused_by_another_model(mix: MixModel) -> None:
    weights = start_weights()

    alone = fit_with_weights(make_training(), weights)
    lent = fit_with_weights(make_training(), weights, build_content=lambda: content_features_of(mix))

    assert lent.words == alone.words
    for name, array in alone.arrays().items():
        np.testing.assert_array_equal(array, lent.arrays()[name], err_msg=name)


def test_plays_that_all_listeners_share_have_no_co_listening_axes() -> None:
    vectors, values = truncated_svd(
        csr_array((np.zeros(4, np.float32), ([0, 0, 1, 1], [0, 1, 0, 1]))), 1, seed=3
    )

    assert (vectors.shape, values.shape) == ((2, 0), (0,))


def test_there_are_at_most_as_many_axes_as_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0)
    matrix = csr_array((draws.normal(size=(90, 4)) @ draws.normal(size=(4, 50))).astype(np.float32))
    monkeypatch.setattr(factors_module, "EXACT_SVD_LIMIT", 10)

    vectors, values = truncated_svd(matrix, 12, seed=3)

    expected = np.linalg.svd(matrix.toarray(), compute_uv=False)[:4]
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(4), atol=1e-4)


def test_clustering_points_are_unit_rows_made_without_a_copy() -> None:
    draw = np.random.default_rng(3)
    content, company = (draw.normal(size=(40_000, width)).astype(np.float32) for width in (40, 24))
    content[::9], company[::6] = 0, 0
    content[1::9] = -0.0

    tracemalloc.start()
    try:
        points = clustering_points(content, company)
        needed = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert needed < 1.5 * points.nbytes
    rows = np.hstack([CONTENT_WEIGHT * content, company]).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(points, rows / np.where(lengths > 0, lengths, 1), rtol=1e-5, atol=1e-7)
    assert not np.signbit(points[points == 0]).any()


def test_singular_vectors_take_twice_their_memory() -> None:
    draw = np.random.default_rng(5)
    rows, columns = draw.integers(0, 2_000, 300_000), draw.integers(0, 60_000, 300_000)
    plays = csr_array((np.ones(300_000, np.float32), (rows, columns)), shape=(2_000, 60_000))

    tracemalloc.start()
    try:
        vectors, values = truncated_svd(plays, 48, seed=3)
        needed = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert vectors.shape == (60_000, 48)
    assert needed < 3.2 * vectors.nbytes  # with 16 more axes while they are computed
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(48)]
    assert (largest > 0).all()
    assert (np.diff(values) <= 0).all()
