"""Base class of the API's views, which rejects unknown query parameters and ids beyond 64 bits."""

from collections.abc import Iterable
from typing import Any, ClassVar

from rest_framework.exceptions import NotFound
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.views import APIView

from ingestion.api.query_params import FORMAT_PARAMETER, QueryParameter, is_possible_id, refuse_unknown


class StrictView(APIView):
    """Rejects unknown query parameters, so that a misspelt `disocvery` does not return an unwanted list."""

    query_parameters: ClassVar[tuple[QueryParameter, ...]] = ()
    noun: str = "object"  # what the id in the path identifies

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # After authentication, so that any request without a key is answered with 401.
        super().initial(request, *args, **kwargs)
        sent = (name for name in request.query_params if name != FORMAT_PARAMETER)
        refuse_unknown(sent, self._known_names())
        pk = kwargs.get("pk", 0)
        if not is_possible_id(pk):
            raise NotFound(f"There is no {self.noun} {pk}.")

    def _known_names(self) -> Iterable[str]:
        yield from (parameter.name for parameter in self.query_parameters)
        if isinstance(self, ListAPIView) and self.paginator is not None:
            yield self.paginator.cursor_query_param
            yield self.paginator.page_size_query_param
