"""Settings of the models: one function settles what applies.

Priority, lowest to highest: the class's default, the model's ``parameters`` in ``config.pbtxt``, the environment, the
request.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource

from atelier.errors import InvalidInput
from atelier.serving.repository import LAUNCHER_S

S = TypeVar("S", bound=BaseSettings)

LONGEST_SHOWN = 60
"""Characters of a refused value that its error repeats."""


@dataclass(frozen=True)
class Settled(Generic[S]):
    """Settings as they apply, and where each came from.

    Attributes:
        values: the validated settings.
        sources: field name to ``default``, ``config``, ``environment`` or ``request``.
    """

    values: S
    sources: dict[str, str]

    def override(self, request: Mapping[str, Any]) -> Settled[S]:
        """These settings with those that a request gives, by field name.

        Raises:
            InvalidInput: a value is not accepted; the sentence names the request's tensor.
        """
        if not request:
            return self
        given = {name: getattr(self.values, name) for name, source in self.sources.items() if source != "default"}
        values = _validate(type(self.values), {**given, **request}, {name: name.upper() for name in request})
        return Settled(values, self.sources | dict.fromkeys(request, "request"))


def settle(settings: type[S], parameters: Mapping[str, str]) -> Settled[S]:
    """The settings of a model when it is loaded.

    Args:
        settings: the class; its fields are the names of the parameters, with its prefix those of the environment.
        parameters: the ``parameters`` of ``config.pbtxt``. Names in capitals are Triton's own and are passed over.

    Raises:
        InvalidInput: a parameter is no setting, or a value is not accepted; the sentence says where it stands.
    """
    config = {name: text for name, text in parameters.items() if not name.isupper() and name not in LAUNCHER_S}
    accepted = ", ".join(sorted(settings.model_fields))
    if strangers := sorted(config.keys() - settings.model_fields.keys()):
        raise InvalidInput(f"The parameter '{strangers[0]}' in config.pbtxt is no setting; there are: {accepted}.")
    prefix = settings.model_config.get("env_prefix", "")
    named = {name for name in os.environ if prefix and name.startswith(prefix)}
    if strangers := sorted(named - {f"{prefix}{field.upper()}" for field in settings.model_fields}):
        raise InvalidInput(
            f"The variable {strangers[0]} is no setting; with the prefix {prefix} there are: {accepted}."
        )
    environment = EnvSettingsSource(settings)()
    where = {name: f"The parameter '{name}' in config.pbtxt" for name in config}
    where |= {name: f"The variable {prefix}{name.upper()}" for name in environment}
    values = _validate(settings, {**config, **environment}, where)
    sources = dict.fromkeys(settings.model_fields, "default")
    sources |= dict.fromkeys(config, "config") | dict.fromkeys(environment, "environment")
    return Settled(values, sources)


def _validate(settings: type[S], data: Mapping[str, Any], where: Mapping[str, str]) -> S:
    try:
        return settings.model_validate(dict(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        place = where.get(field, field.upper())
        accepted = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if not field:
            raise InvalidInput(f"The settings do not go together: {accepted.rstrip('.')}.") from None
        shown = repr(data.get(field, first["input"]))
        if len(shown) > LONGEST_SHOWN:  # an error's text travels in headers, whose size is limited
            shown = f"{shown[:LONGEST_SHOWN]}…"
        raise InvalidInput(f"{place} is {shown}; accepted: {accepted.rstrip('.')}.") from None
