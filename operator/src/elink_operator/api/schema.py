"""Building blocks of the resource models: one declaration gives the pydantic check and the CRD's rule."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

VALIDATIONS: Final = "x-kubernetes-validations"


class Part(BaseModel):
    """Base of every nested object: camelCase outside, snake_case inside, frozen, unknown fields ignored.

    `RULES` holds the CEL rules of the object for the CRD; the API server enforces them on every write.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )
    RULES: ClassVar[tuple["Rule", ...]] = ()

    def dump(self) -> dict[str, Any]:
        """The object as it goes over the wire: camelCase JSON types, nothing that is None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """Read an object from the API server; raises `pydantic.ValidationError` (a ValueError)."""
        return cls.model_validate(body)


@dataclass(frozen=True)
class Rule:
    """One CEL rule; `message` is the sentence that the user gets, so it says what to do next.

    As a field annotation it goes to the CRD only: transition rules need the old object, which the API server has.
    """

    rule: str
    message: str
    optional_old_self: bool = False

    def as_schema(self) -> dict[str, str | bool]:
        """The entry of `x-kubernetes-validations`."""
        entry: dict[str, str | bool] = {"rule": self.rule, "message": self.message}
        if self.optional_old_self:
            entry["optionalOldSelf"] = True
        return entry

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        json_schema = handler(schema)
        json_schema.setdefault(VALIDATIONS, []).append(self.as_schema())
        return json_schema


def immutable(path: str, why: str) -> Rule:
    """The transition rule of a field that keeps its first value."""
    return Rule("self == oldSelf", f"{path} cannot be changed: {why}")


@dataclass(frozen=True)
class Matches:
    """The whole string has at most `max_size` characters and matches `pattern`.

    The pattern must mean the same in Python `re` and in RE2.
    Write non-ASCII characters as `\\uXXXX`: RE2 gets `\\x{XXXX}`.
    """

    pattern: str
    message: str
    max_size: int | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        compiled = re.compile(self.pattern)

        def check(value: str) -> str:
            too_long = self.max_size is not None and len(value) > self.max_size
            if too_long or compiled.fullmatch(value) is None:
                raise PydanticCustomError("pattern", "{message}", {"message": self.message})
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        size = "" if self.max_size is None else f"self.size() <= {self.max_size} && "
        rule = f"{size}self.matches({self.cel_pattern()})"
        return Rule(rule, self.message).__get_pydantic_json_schema__(schema, handler)

    def cel_pattern(self) -> str:
        """The anchored pattern as a CEL string literal."""
        re2 = re.sub(r"\\u([0-9a-fA-F]{4})", r"\\x{\1}", self.pattern)
        return cel_string(f"^(?:{re2})$")


def cel_string(text: str) -> str:
    """A CEL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


DNS_LABEL: Final = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
NAME_RULE: Final = Rule(
    f"self.metadata.name.matches({cel_string(f'^{DNS_LABEL}$')})",
    "metadata.name must be 1 to 63 lower-case letters, digits and hyphens, start with a letter "
    "and not end with a hyphen: choose another name",
)

_ANY_LABEL: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_HOST: Final = rf"({_ANY_LABEL}\.)+{DNS_LABEL}|{_ANY_LABEL}"
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_EMAIL: Final = rf"{_ATOM}(\.{_ATOM})*@([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?\.)+[A-Za-z]([-A-Za-z0-9]*[A-Za-z0-9])"
_QUANTITY: Final = r"[0-9]{1,12}(\.[0-9]{1,3})?(m|k|Ki|M|Mi|G|Gi|T|Ti)?"

_CONTROL: Final = r"\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffd"
_INVISIBLE: Final = (
    r" \xa0\xad\u034f\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200a\u200c\u200d\u202f\u205f\u2800\u3000"
    r"\u3164\ufe00-\ufe0f\uffa0"
)

Host = Annotated[
    str,
    Field(max_length=253),
    Matches(
        _HOST,
        "host must be one DNS label such as 'acme' or a full domain name such as 'book.acme.co.jp', "
        "in lower-case letters, digits and hyphens; write other scripts in punycode (xn--...)",
    ),
]
"""A DNS label (then the host is `<label>.<base domain>`) or a full domain name."""

Email = Annotated[
    str,
    Field(max_length=254),
    Matches(_EMAIL, "an e-mail address must look like 'name@example.co.jp', without a display name or spaces"),
]
ObjectName = Annotated[
    str,
    Field(max_length=63),
    Matches(
        DNS_LABEL,
        "a name must be 1 to 63 lower-case letters, digits and hyphens, start with a letter and not end with a hyphen",
    ),
]
SecretName = Annotated[
    str,
    Field(max_length=253),
    Matches(
        r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?",
        "name must be the name of a Secret in the management namespace: lower-case letters, digits, '-' and '.'",
    ),
]
ImageTag = Annotated[
    str,
    Field(max_length=128),
    Matches(
        r"([A-Za-z0-9_][A-Za-z0-9._-]*)?",
        "version must be an image tag such as '0.1.0', or empty for the operator's default",
    ),
]
DisplayName = Annotated[
    str,
    # The API server speaks of bytes when it refuses by maxLength; 201 characters get the rule's sentence instead.
    Field(max_length=1000),
    Matches(
        rf"[^{_CONTROL}]*[^{_CONTROL}{_INVISIBLE}][^{_CONTROL}]*",
        "displayName must be 1 to 200 visible characters of any script; "
        "shorten it, and remove control characters, line breaks and text-direction marks",
        max_size=200,
    ),
]
Reason = Annotated[
    str,
    # As above: the rule's sentence instead of the API server's about bytes.
    Field(max_length=1000),
    Matches(
        rf"[^{_CONTROL}]*",
        "stateReason must have at most 200 characters of any script on one line; "
        "shorten it, and remove control characters, line breaks and text-direction marks",
        max_size=200,
    ),
]
DailyCron = Annotated[
    str,
    Field(max_length=64),
    Matches(
        r"[0-5]?[0-9](,[0-5]?[0-9])* ([01]?[0-9]|2[0-3])(,([01]?[0-9]|2[0-3]))* \* \* \*",
        "schedule must run every day, as 'MINUTE HOUR * * *' in Japan time, for example '30 2 * * *'",
    ),
]


def _quantity_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


@dataclass(frozen=True)
class _AtLeast:
    """The schema of a quantity with a floor: the API server then takes `1` as well as `1Gi`.

    The floor is the CRD's alone: an object that is stored already stays readable.
    """

    pattern: str
    floor: str
    message: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        literal = cel_string(f"^{self.pattern}$")
        floor = f"quantity(string(self)).compareTo(quantity({cel_string(self.floor)})) >= 0"
        return {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "maxLength": 20,
            VALIDATIONS: [Rule(f"string(self).matches({literal}) && {floor}", self.message).as_schema()],
        }


def _bytes(floor: str, example: str) -> _AtLeast:
    """A number of bytes. Thousandths of a byte, which Kubernetes knows, would become none at all."""
    message = f"a size must be bytes with an optional unit, such as {example}, and at least {floor}"
    return _AtLeast(_QUANTITY.replace("m|", ""), floor, message)


Quantity = Annotated[str, BeforeValidator(_quantity_text), Field(max_length=20, pattern=f"^({_QUANTITY})$")]
"""A Kubernetes quantity, always text inside; `quantity_value` gives the number."""
Cores = Annotated[
    Quantity,
    _AtLeast(
        r"[0-9]{1,12}(\.[0-9]{1,3})?m?", "10m", "cpu must be a number of cores, such as 500m or 2, and at least 10m"
    ),
]
Memory = Annotated[Quantity, _bytes("32Mi", "512Mi or 2Gi")]
Volume = Annotated[Quantity, _bytes("1Gi", "10Gi or 1.5Ti")]
"""Less has no room for PostgreSQL's write-ahead log, or for what a restore keeps."""
Allowance = Annotated[Quantity, _bytes("1Mi", "500Mi or 20Gi")]
"""What one customer may fill."""

_GROW: Final = "quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0"


def grow_only(path: str) -> Rule:
    """The transition rule of a volume's size."""
    return Rule(_GROW, f"{path} cannot shrink: a volume only grows; keep the present size or give a larger one")


Region = Annotated[
    str,
    Field(max_length=63),
    Matches(
        r"[a-z0-9]([-a-z0-9]*[a-z0-9])?",
        "region must be a region's short name such as 'jp': lower-case letters, digits and hyphens",
    ),
]

Time = Annotated[datetime, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339 with an offset."""

_SUFFIX: Final[dict[str, tuple[int, int]]] = {
    "": (1, 1),
    "m": (1, 1000),
    "k": (10**3, 1),
    "M": (10**6, 1),
    "G": (10**9, 1),
    "T": (10**12, 1),
    "Ki": (2**10, 1),
    "Mi": (2**20, 1),
    "Gi": (2**30, 1),
    "Ti": (2**40, 1),
}


def quantity_value(text: str) -> float:
    """A quantity as a number: bytes for storage and memory, cores for CPU.

    The `kubernetes` package has the same function, but importing it costs 29 MiB of memory.
    """
    match = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", text)
    if match is None or match[2] not in _SUFFIX:
        raise ValueError(f"not a quantity: {text!r}")
    times, divide = _SUFFIX[match[2]]
    return float(match[1]) * times / divide
