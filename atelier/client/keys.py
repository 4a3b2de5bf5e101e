"""The key of what a server restricts: shared memory, statistics."""

from __future__ import annotations

from collections.abc import Mapping

from atelier import access
from atelier.client.addresses import is_loopback, port_of
from atelier.client.errors import InvalidRequest
from atelier.errors import InvalidInput


class AdminKey:
    """The key for one address.

    Args:
        address: the server's, as `atelier.client.addresses.split` gives it.
        key: ``None``: what the environment names, or for a server of this user on this machine its own.
        header: what it is sent as.

    Raises:
        InvalidRequest: it is none.
    """

    def __init__(self, address: str, key: str | None, header: str) -> None:
        self._address, self._key, self._header = address, key, header
        self.beside({})

    def beside(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Headers with the key among them, where there is one.

        It is looked up for each call where it was not named: a server that was started anew has another one.

        Raises:
            InvalidRequest: what the environment names is none.
        """
        try:
            key = self._find() if self._key is None else access.check(self._key, "admin_key")
        except InvalidInput as error:
            raise InvalidRequest(str(error)) from None
        return {**headers, **({} if key is None else {self._header: key})}

    def _find(self) -> str | None:
        return access.find(port_of(self._address)) if is_loopback(self._address) else access.given()
