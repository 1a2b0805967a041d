"""A proxy's identity as a short text: the key of its scores in columns and reports, and what `--proxies` takes.

    wrcor    wrcor:weighting=none    swap:num_samples=2    naswot:norm=ln

A label is a name and the settings that differ from those of the factory of that name; for a name without a factory, all
settings. Keys are sorted; values are compact JSON, strings bare where nothing else reads so, and a value too long for
people is # and the beginning of the SHA-256 of its JSON. `-key` is a setting that the factory has and this proxy lacks.
Of the options of layers (norm, mask_rate, activation) those are left out that are as in `LayerOptions()`, as long as
one is there to say that the proxy has options of its own. Two proxies have the same label only if they have the same
identity.
"""

from collections.abc import Callable, Mapping
import functools
import hashlib
import inspect
import json
from types import MappingProxyType, UnionType
from typing import Any, Literal, Protocol, get_args, get_origin

from zsnas_jax import user_code
from zsnas_jax.base import Proxy
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.proxies.activation import has_options, with_options
from zsnas_jax.proxies.registry import PROXIES

OPTIONS: Mapping[str, Any] = MappingProxyType(
    {name: getattr(LayerOptions(), name) for name in ("norm", "mask_rate", "activation")}
)
"""The options of layers that are part of a proxy's settings where it has options of its own, as they are by default."""


_LONGEST = 48  # characters of a value


class Digest(str):
    """What a label says of a value that is too long for it."""


class Identified(Protocol):
    """What has scores: a `Proxy`, a `zsnas_jax.votes.Vote`, anything that says these three."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything else that its scores depend on, JSON values."""

    @property
    def reference(self) -> str:
        """Where the formula comes from."""


def canonical_settings(proxy: Identified) -> str:
    """The settings as JSON text, the same for equal settings.

    Raises:
        ValueError: if one is not a JSON value.
    """
    try:
        return json.dumps(dict(proxy.settings), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"settings of proxy {proxy.name} are no JSON values: {error}") from error


@functools.cache
def _defaults(name: str) -> dict[str, Any]:
    """The settings of the factory of a name; empty if there is none."""
    factory = PROXIES.get(name)
    return json.loads(canonical_settings(factory())) if factory else {}


def _write(value: Any) -> str:
    """A value, such that `_read` gives it back, or its digest."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    if len(text) > _LONGEST:
        return f"#{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    is_bare = isinstance(value, str) and value and value[0] not in '"[{#' and ":" not in value and _read(value) == value
    return value if is_bare else text


def _read(word: str) -> Any:
    """JSON, a digest, or else a string as it stands."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON value")

    try:
        return json.loads(word, parse_constant=refuse)
    except ValueError:
        return Digest(word) if word.startswith("#") else word


def _quoted(word: str, ends: str) -> str:
    """A name or key, quoted where it would be read as something else."""
    return json.dumps(word) if not word or word[0] in '"-' or set(word) & set(ends) else word


def label(proxy: Identified) -> str:
    """The key of a proxy's scores; see the top of this file."""
    settings = json.loads(canonical_settings(proxy))
    defaults = _defaults(proxy.name)
    lacking = [name for name in OPTIONS if name not in defaults]
    has_options = any(name in settings for name in lacking)
    usual = defaults | ({name: OPTIONS[name] for name in lacking} if has_options else {})
    same = lambda key: key in settings and key in usual and _write(settings[key]) == _write(usual[key])  # 1 is not 1.0
    different = {key for key in settings.keys() | usual.keys() if not same(key)}
    if has_options and not different & set(lacking):
        different.add(lacking[0])
    items = [
        f"{_quoted(key, '=:')}={_write(settings[key])}" if key in settings else f"-{_quoted(key, '=:')}"
        for key in sorted(different)
    ]
    return ":".join([_quoted(proxy.name, ":"), *items])


def split(text: str) -> tuple[str, dict[str, Any], set[str]]:
    """(name, the settings that a label says, those that it says are lacking).

    Raises:
        ValueError: if the text is no label.
    """
    malformed = ValueError(f"proxy {text!r}: needed is NAME or NAME:KEY=VALUE:KEY=VALUE")
    given: dict[str, Any] = {}
    lacking: set[str] = set()

    def word(at: int, ends: str) -> tuple[str, int]:
        if text[at : at + 1] == '"':
            return _decode(text, at, malformed)
        stop = min((place for end in ends if (place := text.find(end, at)) >= 0), default=len(text))
        return text[at:stop], stop

    name, at = word(0, ":")
    while at < len(text):
        if text[at] != ":":
            raise malformed
        is_lacking = text[at + 1 : at + 2] == "-"
        key, at = word(at + 1 + is_lacking, ":=")
        if key in given or key in lacking:
            raise ValueError(f"proxy {text!r}: {key} is given twice")
        if is_lacking:
            lacking.add(key)
        elif text[at : at + 1] != "=":
            raise malformed
        elif text[at + 1 : at + 2] in tuple('"[{'):
            given[key], at = _decode(text, at + 1, malformed)
        else:
            value, at = word(at + 1, ":")
            given[key] = _read(value)
    return name, given, lacking


def _decode(text: str, at: int, malformed: ValueError) -> tuple[Any, int]:
    """(the JSON value that begins at a place, the place behind it)."""
    try:
        return json.JSONDecoder().raw_decode(text, at)
    except ValueError as error:
        raise malformed from error


def parse(text: str, *, weighting: Any = None, options: LayerOptions | None = None) -> Proxy:
    """The proxy that a label names.

    Args:
        text: NAME or NAME:KEY=VALUE:..., NAME in `PROXIES`, KEY a keyword argument of its factory, or norm, mask_rate,
            activation; PATH.py:NAME or MODULE:NAME, with KEY=VALUE behind it for a factory: a proxy of the user's code.
        weighting: of a proxy that has one, where the label does not say it; None: the factory's own.
        options: of the layers, where neither the label nor the factory says one, and they are not the default.

    Raises:
        ValueError: for an unknown name or key, or a value that is not allowed; it says what is.
    """
    if (reference := user_code.find_reference(text)) and reference.where not in PROXIES:
        return _of_user(reference, text, options)
    name, given, lacking = split(text)
    if name not in PROXIES:
        own_code = "your own as PATH.py:NAME or MODULE:NAME"
        raise ValueError(f"unknown proxy {name!r}: allowed are all, {', '.join(PROXIES)}, or {own_code}")
    factory = PROXIES[name]
    arguments = _arguments(factory)
    layers = {} if has_options(factory()) or factory().is_size else dict(OPTIONS)
    allowed = dict.fromkeys([*arguments, *layers])
    if unknown := [*(f"-{key}" for key in sorted(lacking)), *(key for key in given if key not in allowed)]:
        raise ValueError(f"proxy {text!r}: unknown setting {unknown[0]!r}: allowed are {', '.join(allowed) or 'none'}")
    own = {key: _checked(text, key, value, arguments[key]) for key, value in given.items() if key in arguments}
    if weighting is not None and "weighting" in arguments:
        own.setdefault("weighting", weighting)
    proxy = factory(**own)
    asked = {key: _checked(text, key, given[key], type(usual)) for key, usual in layers.items() if key in given}
    if asked:
        return with_options(proxy, LayerOptions(**(layers | asked)))
    return with_options(proxy, options) if layers and options not in (None, LayerOptions()) else proxy


def _of_user(reference: user_code.Reference, text: str, options: LayerOptions | None) -> Proxy:
    """A proxy of the user's code, or what its factory makes of the keywords behind it.

    The code's SHA-256 becomes a setting, `source`: scores of another version of it are other scores.
    """
    _, given, lacking = split(f"{reference.name}{reference.rest}")
    if lacking:
        raise ValueError(f"proxy {text!r}: -{min(lacking)} is a setting that only a proxy of this package can lack")
    proxy, checksum = user_code.make(reference, "proxy", Proxy, PROXIES, **given)
    own = proxy._replace(settings={**proxy.settings, "source": checksum[:16]})
    if options in (None, LayerOptions()) or has_options(own) or own.is_size:
        return own
    return with_options(own, options)


def _arguments(factory: Callable[..., Proxy]) -> dict[str, Any]:
    """The keyword arguments of a factory that are settings of what it makes, with their types.

    Those that its usual settings hold, and choices, which settings may leave out where they are the usual ones.
    """
    annotations = {name: parameter.annotation for name, parameter in inspect.signature(factory).parameters.items()}
    usual = _defaults(factory.__name__)
    return {name: kind for name, kind in annotations.items() if name in usual or get_origin(kind) is Literal}


def _checked(text: str, key: str, value: Any, declared: Any) -> Any:
    """The value, if it is of the declared type, as far as a label can say it; an int where a float is needed is one."""
    if get_origin(declared) is Literal:
        if value not in get_args(declared):
            allowed_words = ", ".join(get_args(declared))
            raise ValueError(f"proxy {text!r}: {key} is {value!r}: allowed are {allowed_words}")
        return value
    kinds = get_args(declared) if isinstance(declared, UnionType) else (declared,)
    allowed = {int: (int,), float: (int, float), str: (str,), type(None): (type(None),)}
    taken = [kind for kind in kinds if kind in allowed]
    if not any(type(value) in allowed[kind] for kind in taken):
        names = " or ".join("none" if kind is type(None) else kind.__name__ for kind in taken)
        raise ValueError(f"proxy {text!r}: {key} is {value!r}: needed is {names}")
    return float(value) if type(value) is int and int not in kinds else value
