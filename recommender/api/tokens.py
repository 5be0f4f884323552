"""Short-lived signed tokens: a browser or phone acts for one listener without the app's key."""

from dataclasses import dataclass
from typing import Any, Final

from django.core import signing

from recommender.models import ApiKey
from recommender.models.api_keys import Scope

PREFIX: Final = "lt."
SALT: Final = "recommender.listener-token"
DEFAULT_SECONDS: Final = 3_600
MAX_SECONDS: Final = 86_400
# A token never has the key's other scopes.
TOKEN_SCOPES: Final = (Scope.RECOMMEND, Scope.FEEDBACK)


class InvalidToken(ValueError):
    """The token was not made here, or was changed, or has expired."""


@dataclass(frozen=True)
class ListenerToken:
    """A listener's token; `pk` is that of the key, so that events are stored with the key."""

    key: ApiKey
    listener_id: int

    @property
    def pk(self) -> int:
        return self.key.pk

    @property
    def scopes(self) -> list[str]:
        return [scope for scope in TOKEN_SCOPES if scope in self.key.scopes]

    @property
    def throttle_name(self) -> str:
        return f"{self.key.throttle_name}:{self.listener_id}"


def make_token(key: ApiKey, listener_id: int, seconds: int) -> str:
    return PREFIX + signing.dumps([key.pk, listener_id, seconds], salt=SALT)


def read_token(text: str) -> tuple[int, int]:
    """The ids of the key and the listener in a token.

    Raises:
        InvalidToken: it was not made here, was changed, or has expired.
    """
    try:
        values: Any = signing.loads(text.removeprefix(PREFIX), salt=SALT, max_age=MAX_SECONDS)
        # The token's own maximum age, which may be shorter; the signature covers it.
        signing.loads(text.removeprefix(PREFIX), salt=SALT, max_age=values[2])
    except signing.SignatureExpired:
        raise InvalidToken("The token has expired. Ask your server for another one.") from None
    except signing.BadSignature:
        raise InvalidToken("The token is not valid. Ask your server for another one.") from None
    return values[0], values[1]
