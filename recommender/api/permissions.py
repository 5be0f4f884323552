"""Decides what a key, a listener's token or a staff session may do; routes without a scope are closed."""

from typing import Any, Final

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from recommender.api.tokens import ListenerToken
from recommender.models.api_keys import Scope

ROUTE_SCOPES: Final = {
    **dict.fromkeys(
        ("api-root", "api-status", "api-songs", "api-song", "api-users", "api-user", "api-listening-history",
         "api-runs", "api-run", "api-clusters", "api-cluster", "api-models", "api-model", "api-experiments",
         "api-experiment"),
        Scope.CATALOGUE,
    ),
    **dict.fromkeys(
        (
            "api-popular", "api-similar", "api-recommendations", "api-next", "api-affinities",
            "api-new-releases", "api-tokens",
        ),
        Scope.RECOMMEND,
    ),
    **dict.fromkeys(("api-feedback", "api-feedback-event"), Scope.FEEDBACK),
}  # fmt: skip
# A staff session needs these permissions instead, which its role (viewer, operator, owner) may have.
SESSION_PERMISSIONS: Final = {
    Scope.CATALOGUE: "ingestion.view_song",
    Scope.RECOMMEND: "recommender.add_servedlist",
    Scope.FEEDBACK: "recommender.add_feedback",
}
# A listener's token: routes with the listener's id in the path, and routes without a listener.
TOKEN_LISTENER_ROUTES: Final = {"api-recommendations", "api-next", "api-affinities", "api-new-releases"}
TOKEN_PUBLIC_ROUTES: Final = {"api-popular", "api-similar"}
FEEDBACK_ROUTE: Final = "api-feedback"
# The view finds only the listener's own events.
EVENT_ROUTE: Final = "api-feedback-event"


class MayUseRoute(BasePermission):
    """Allows a key with the route's scope, a session with its permission, or a token of this listener."""

    def has_permission(self, request: Request, view: Any) -> bool:
        route = request.resolver_match.url_name
        scope = ROUTE_SCOPES.get(route)
        if scope is None:
            return False
        if request.auth is None:
            return bool(request.user.has_perm(SESSION_PERMISSIONS[scope]))
        if scope not in request.auth.scopes:
            self.message = (
                f"This key lacks the scope {scope}. Make one that has it: "
                f"python manage.py apikey NAME --user USER --scopes {scope}"
            )
            return False
        if isinstance(request.auth, ListenerToken):
            self.message = "This token may act for its own listener only."
            return _is_own(request, view, request.auth.listener_id, route)
        return True


def _is_own(request: Request, view: Any, listener_id: int, route: str) -> bool:
    if route in TOKEN_LISTENER_ROUTES:
        return int(view.kwargs["pk"]) == listener_id
    if route == EVENT_ROUTE or (route == FEEDBACK_ROUTE and request.method in SAFE_METHODS):
        return True
    if route == FEEDBACK_ROUTE:
        events = request.data if isinstance(request.data, list) else [request.data]
        return all(isinstance(event, dict) and event.get("user_id") == listener_id for event in events)
    return route in TOKEN_PUBLIC_ROUTES
