"""All routes of the project."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from moovitamix.api.exceptions import unknown_route
from moovitamix.api.schema import ApiRootView, DocsView
from moovitamix.api.status import StatusView
from moovitamix.dashboard.search import search_page
from moovitamix.dashboard.views import operations_page, run_detail, run_log, run_progress
from moovitamix.metrics.view import metrics_view
from moovitamix.operations.health import badge, liveness, readiness
from moovitamix.security.two_factor import PAGE as TWO_FACTOR_PAGE
from moovitamix.security.two_factor import two_factor_page
from recommender.dashboard.cluster_page import cluster_page
from recommender.dashboard.listen import views as listen
from recommender.dashboard.listeners_page import similar_listeners_page
from recommender.dashboard.songs_page import songs_page
from recommender.dashboard.views import models_page

# Here and not when the apps start, so that commands do not load the code of every page.
admin.autodiscover()

handler400 = "moovitamix.api.exceptions.bad_request_page"
handler403 = "moovitamix.api.exceptions.permission_denied_page"
handler404 = "moovitamix.api.exceptions.not_found_page"
handler500 = "moovitamix.api.exceptions.server_error_page"

urlpatterns = [
    path("", operations_page, name="home"),
    path("operations/live/", run_progress, name="live"),
    path("runs/<id:pk>/", run_detail, name="run"),
    path("runs/<id:pk>/log/", run_log, name="run_log"),
    # In the place of Unfold's own search, which its window asks, too.
    path("admin/search/", admin.site.admin_view(search_page), name="search"),
    path("admin/", admin.site.urls),
    path("two-factor/", two_factor_page, name=TWO_FACTOR_PAGE),
    path("listen/", listen.listener_page, name="listen"),
    path("listen/mix/", listen.redraw_mix, name="listen_mix"),
    path("listen/new/", listen.draw_new_mix, name="listen_new"),
    path("listen/answers/", listen.answer_song, name="listen_answers"),
    re_path(r"^listen/mix\.(?P<form>m3u8|jspf)$", listen.playlist, name="listen_playlist"),
    path("listen/links/", listen.make_link, name="listen_links"),
    path("listen/open/<str:token>/", listen.open_link, name="listen_open"),
    path("listen/leave/", listen.leave, name="listen_leave"),
    path("models/", models_page, name="models"),
    path("models/songs/", songs_page, name="songs"),
    path("models/listeners/", similar_listeners_page, name="listeners"),
    path("models/clusters/<id:number>/", cluster_page, name="cluster"),
    path("health/live/", liveness, name="health-live"),
    path("health/ready/", readiness, name="health-ready"),
    path("health/badge.svg", badge, name="health-badge"),
    # Prometheus requests this path without a trailing slash.
    path("metrics", metrics_view, name="metrics"),
    # Browsers request it for pages without an icon link.
    path("favicon.ico", RedirectView.as_view(url=f"{settings.STATIC_URL}logo.svg"), name="favicon"),
    path("api/schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("api/docs/", DocsView.as_view(), name="api-docs"),
    path("api/v1/", ApiRootView.as_view(), name="api-root"),
    path("api/v1/status/", StatusView.as_view(), name="api-status"),
    path("api/v1/", include("ingestion.urls")),
    path("api/v1/", include("recommender.urls")),
    re_path("^api/", unknown_route, name="api-unknown"),
]
