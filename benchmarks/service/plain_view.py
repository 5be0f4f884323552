"""A plain view to compare with: the API's authentication and throttle, one read and one insert."""

import uuid
from typing import Any

from django.urls import path
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion.models import Listener
from recommender.models import Feedback

# As large as a list of 20 recommendations.
SONG_RESPONSE: dict[str, Any] = {
    "rank": 1, "affinity": 0.34, "propensity": 0.021, "familiar": False,
    "reason": "From Rock, energetic: 34 % of what you play",
    "cluster": {"id": 1, "name": "Rock, calm"},
    "song": {"id": 1, "name": "Song", "artist": "Artist", "album": "Album", "genres": "rock",
             "duration": 180},
}  # fmt: skip


class PlainListView(APIView):  # type: ignore[misc]
    def get(self, request: Request, listener_id: int) -> Response:
        """Read one row, write one row, answer in the size of a list."""
        listener = Listener.objects.only("id").get(pk=listener_id)
        now = timezone.now()
        Feedback.objects.create(
            event_id=uuid.uuid4().hex, listener_id=listener.pk, song_id=1, kind=Feedback.Kind.LIKE,
            at=now, received_at=now,
        )  # fmt: skip
        return Response({"user_id": listener.pk, "items": [SONG_RESPONSE] * 20})


urlpatterns = [path("plain/<int:listener_id>/", PlainListView.as_view())]
