"""Routes of the recommender's API."""

from django.urls import path, re_path

from recommender.api import views
from recommender.api.token_view import TokensView

urlpatterns = [
    path("songs/popular/", views.PopularSongsView.as_view(), name="api-popular"),
    path("songs/<id:pk>/similar/", views.SimilarSongsView.as_view(), name="api-similar"),
    path("users/<id:pk>/recommendations/", views.RecommendationsView.as_view(), name="api-recommendations"),
    path("users/<id:pk>/next/", views.NextSongView.as_view(), name="api-next"),
    path("users/<id:pk>/new-releases/", views.NewReleasesView.as_view(), name="api-new-releases"),
    path("users/<id:pk>/affinities/", views.AffinitiesView.as_view(), name="api-affinities"),
    path("clusters/", views.ClusterList.as_view(), name="api-clusters"),
    path("clusters/<id:pk>/", views.ClusterDetail.as_view(), name="api-cluster"),
    path("models/", views.ModelList.as_view(), name="api-models"),
    re_path(r"^models/(?P<label>[\w.-]{1,20})/$", views.ModelDetail.as_view(), name="api-model"),
    path("experiments/", views.ExperimentList.as_view(), name="api-experiments"),
    path("experiments/<id:pk>/", views.ExperimentDetail.as_view(), name="api-experiment"),
    re_path(
        r"^feedback/(?P<event_id>[^\x00]{1,64})/$",
        views.FeedbackEventView.as_view(),
        name="api-feedback-event",
    ),
    path("tokens/", TokensView.as_view(), name="api-tokens"),
    path("feedback/", views.FeedbackView.as_view(), name="api-feedback"),
]
