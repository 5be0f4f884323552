"""Routes of the recommender app's part of the API."""

from django.urls import path, re_path

from recommender.api import views

urlpatterns = [
    path("songs/popular/", views.PopularSongsView.as_view(), name="api-popular"),
    path("songs/<int:pk>/similar/", views.SimilarSongsView.as_view(), name="api-similar"),
    path("users/<int:pk>/recommendations/", views.RecommendationsView.as_view(), name="api-recommendations"),
    path("users/<int:pk>/next/", views.NextSongView.as_view(), name="api-next"),
    path("users/<int:pk>/affinities/", views.AffinitiesView.as_view(), name="api-affinities"),
    path("clusters/", views.ClusterList.as_view(), name="api-clusters"),
    path("clusters/<int:pk>/", views.ClusterDetail.as_view(), name="api-cluster"),
    path("models/", views.ModelList.as_view(), name="api-models"),
    re_path(r"^models/(?P<label>[\w.-]{1,20})/$", views.ModelDetail.as_view(), name="api-model"),
    path("experiments/", views.ExperimentList.as_view(), name="api-experiments"),
    path("experiments/<int:pk>/", views.ExperimentDetail.as_view(), name="api-experiment"),
    path("feedback/", views.FeedbackView.as_view(), name="api-feedback"),
]
