"""The nouns as types that Gradio can make a schema of: its generator reads a ``TypedDict``, not a pydantic class."""

from __future__ import annotations

from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable

Function = TypeVar("Function", bound="Callable[..., Any]")


@cache
def json_type(kind: Any) -> Any:
    """The type of a noun's JSON, computed fields included; tuples are the lists that they are in JSON."""
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        hints = get_type_hints(kind, include_extras=True)
        fields = {name: hints[name] for name in kind.model_fields}
        fields |= {name: field.return_type for name, field in kind.model_computed_fields.items()}
        return TypedDict(kind.__name__, {name: json_type(field) for name, field in fields.items()})  # type: ignore[operator]
    if origin is Annotated:
        return json_type(arguments[0])
    if origin in {Union, UnionType}:
        return Union[tuple(json_type(each) for each in arguments)]  # noqa: UP007 - made of what is found
    if origin is tuple:
        return list[json_type(arguments[0])]  # type: ignore[misc]
    if origin is dict:
        return dict[str, json_type(arguments[1])]  # type: ignore[misc]
    return kind


def answers(kind: type[BaseModel]) -> Callable[[Function], Function]:
    """Decorate an endpoint that returns, or yields, the JSON of a noun: Gradio reads its return annotation."""

    def annotate(function: Function) -> Function:
        function.__annotations__["return"] = json_type(kind)
        return function

    return annotate
