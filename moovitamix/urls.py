"""Every route."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from moovitamix.api.exceptions import no_route
from moovitamix.api.schema import ApiRoot, Docs
from moovitamix.api.status import StatusView
from moovitamix.dashboard.views import live as live_run
from moovitamix.dashboard.views import operations, run_page
from moovitamix.health import live, ready
from moovitamix.metrics.view import metrics
from recommender.dashboard.views import listen, models

# Here and not when the apps start: a command that serves no page need not load every page's code.
admin.autodiscover()

handler400 = "moovitamix.api.exceptions.bad_request_page"
handler404 = "moovitamix.api.exceptions.not_found_page"
handler500 = "moovitamix.api.exceptions.broken_page"

urlpatterns = [
    path("", operations, name="home"),
    path("operations/live/", live_run, name="live"),
    path("runs/<int:pk>/", run_page, name="run"),
    path("admin/", admin.site.urls),
    path("listen/", listen, name="listen"),
    path("models/", models, name="models"),
    path("health/live/", live, name="health-live"),
    path("health/ready/", ready, name="health-ready"),
    # Prometheus asks without a slash at the end.
    path("metrics", metrics, name="metrics"),
    # Browsers ask for it on pages that name no icon of their own.
    path("favicon.ico", RedirectView.as_view(url=f"{settings.STATIC_URL}logo.svg"), name="favicon"),
    path("api/schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("api/docs/", Docs.as_view(), name="api-docs"),
    path("api/v1/", ApiRoot.as_view(), name="api-root"),
    path("api/v1/status/", StatusView.as_view(), name="api-status"),
    path("api/v1/", include("ingestion.urls")),
    path("api/v1/", include("recommender.urls")),
    re_path("^api/", no_route, name="api-unknown"),
]
