"""What the configuration's fields are made of: the base of all sections, and types of values."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

V = TypeVar("V")


class FrozenMapping(Mapping[str, V]):
    """A mapping that nobody can change, so that a frozen model is frozen all through."""

    def __init__(self, items: Mapping[str, V]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def over(defaults: Mapping[str, Any]) -> BeforeValidator:
    """Lays a given mapping over `defaults`, so that a file names only what differs."""

    def merge(value: Any) -> Any:
        return (
            {**defaults, **(value or {})} if value is None or isinstance(value, Mapping) else value
        )

    return BeforeValidator(merge)


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    return dict(value)


Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
ListOf = BeforeValidator(_as_tuple)
Plain = PlainSerializer(_plain)
DatasetKey = Annotated[str, Field(pattern=r"^[A-Z0-9_]+$")]
ColourMean = Annotated[float, Field(ge=0, le=1)]
ColourSpread = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A group of keys: strict, frozen, closed. An empty section (`TRAIN:`) changes nothing."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=str.upper,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_section(cls, data: Any) -> Any:
        return {} if data is None else data
