"""API routes of the ingestion app."""

from django.urls import path

from ingestion.api.views import HistoryList, RunDetail, RunList, SongDetail, SongList, UserDetail, UserList

urlpatterns = [
    path("songs/", SongList.as_view(), name="api-songs"),
    path("songs/<id:pk>/", SongDetail.as_view(), name="api-song"),
    path("users/", UserList.as_view(), name="api-users"),
    path("users/<id:pk>/", UserDetail.as_view(), name="api-user"),
    path("listening-history/", HistoryList.as_view(), name="api-listening-history"),
    path("runs/", RunList.as_view(), name="api-runs"),
    path("runs/<id:pk>/", RunDetail.as_view(), name="api-run"),
]
