"""Labels: readable, one for each identity, and read back."""

import hashlib
import inspect
import json

from hypothesis import given
from hypothesis import strategies as st
import pytest

from zsnas_jax import proxies
from zsnas_jax.base import Proxy
from zsnas_jax.nn.options import ACTIVATIONS, NORMS, LayerOptions
from zsnas_jax.proxies import PROXIES, WEIGHTINGS, with_options
from zsnas_jax.proxies.activation import has_options
from zsnas_jax.proxies.labels import OPTIONS, Digest, label, parse, split
from zsnas_jax.votes import VOTES


def own_proxy(name, settings):
    return Proxy(name, lambda measured: 0.0, frozenset(), settings, "mine")


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [
        (proxies.wrcor(), "wrcor"),
        (proxies.wrcor(weighting="none"), "wrcor:weighting=none"),
        (proxies.swap(num_samples=2), "swap:num_samples=2"),
        (proxies.swap(mu=40.0, sigma=40.0), "swap_regularized"),
        (with_options(proxies.naswot(), LayerOptions("ln")), "naswot:norm=ln"),
        (with_options(proxies.naswot(), LayerOptions("ln", 0.5)), "naswot:mask_rate=0.5:norm=ln"),
        (with_options(proxies.naswot(), LayerOptions()), "naswot:norm=bn"),
        (proxies.sam_nwot(mask_rate=0.5), "sam_nwot:mask_rate=0.5"),
        (own_proxy("mine", {}), "mine"),
        (own_proxy("mine", {"k": 1, "how": "fast", "b": [1, None], "of": "3"}), 'mine:b=[1,null]:how=fast:k=1:of="3"'),
        (own_proxy("mine", {"norm": "ln", "mask_rate": 0.0, "activation": "relu"}), "mine:norm=ln"),
        (own_proxy("a:b", {"c=d": True, "-e": "f:g", "h": ""}), '"a:b":"-e"="f:g":"c=d"=true:h=""'),
        (own_proxy("swap", {}), "swap:-mu:-num_samples:-sigma"),
        (own_proxy("swap", {"num_samples": 32, "mu": None, "sigma": None, "norm": "in"}), "swap:-activation:-mask_rate:norm=in"),
        (own_proxy("sam_nwot", {"norm": "bn"}), "sam_nwot:-activation:-mask_rate"),
        (own_proxy("mine", {"k": "#3"}), 'mine:k="#3"'),
        (own_proxy("mine", {"k": list(range(30))}), "mine:k=#a6442ecc61a4de61"),
        (own_proxy("pnorm", {"k": 2}), "pnorm:k=2"),
        (own_proxy("jaccor", {"k": 1}), "jaccor:k=1"),
        (own_proxy("jaccor", {"k": 1.0}), "jaccor:k=1.0"),
        (VOTES["sjw"], 'sjw:experts=["synflow","jaccor","wrcor"]:method=copeland:weights=null'),
    ],
)  # fmt: skip
def test_labels_are_read_by_people(proxy, expected):
    assert label(proxy) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
default_settings = {name: dict(factory().settings) for name, factory in PROXIES.items()}
usual_keys = sorted({key for settings in default_settings.values() for key in settings} | OPTIONS.keys())


@st.composite
def any_proxy(draw):
    """Of a registered name or another, with some of the factory's settings, changed or not, and some of its own."""
    name = draw(st.sampled_from(sorted(PROXIES)) | st.text())
    usual = default_settings.get(name, {}) | draw(st.sampled_from([{}, dict(OPTIONS)]))
    kept = {key: value for key, value in usual.items() if draw(st.booleans())}
    return own_proxy(
        name, kept | draw(st.dictionaries(st.text() | st.sampled_from(usual_keys), json_values, max_size=3))
    )


def settings_of(text):
    """What a label says, by the rule in words at the top of `zsnas_jax.proxies.labels`."""
    name, said, lacking = split(text)
    usual = default_settings.get(name, {})
    options = {key: value for key, value in OPTIONS.items() if key not in usual}
    if options.keys() & (said.keys() | lacking):
        usual = usual | options
    return name, {key: value for key, value in (usual | said).items() if key not in lacking}


@given(any_proxy())
def test_a_label_says_the_whole_identity_so_that_no_two_share_one(proxy):
    name, settings = settings_of(label(proxy))
    for key, value in settings.items():
        if isinstance(value, Digest):
            text = json.dumps(proxy.settings[key], sort_keys=True, separators=(",", ":"))
            assert len(text) > 48 and value == f"#{hashlib.sha256(text.encode()).hexdigest()[:16]}"
            settings[key] = proxy.settings[key]
    assert own_proxy(name, settings).identity == proxy.identity


@given(any_proxy(), any_proxy())
def test_labels_are_equal_where_identities_are(one, other):
    assert (label(one) == label(other)) == (one.identity == other.identity)


ARGUMENTS = {
    "weighting": st.sampled_from(sorted(WEIGHTINGS)),
    "mask_rate": st.floats(0, 1, exclude_max=True),
    "mu": st.floats(-1e9, 1e9),
    "sigma": st.floats(1e-9, 1e9),
    "k": st.floats(0, 1),
    "jacobian": st.sampled_from(["batch", "per_sample"]),
    "learning_rate": st.floats(0, 1),
    "num_samples": st.integers(2, 99),
    "num_batches": st.integers(2, 9),
    "num_tensors": st.integers(1, 999),
    "weights": st.sampled_from(["normal", "own"]),
    "pictures": st.sampled_from(["noise", "own"]),
    "reduction": st.sampled_from(["sum", "mean"]),
    "form": st.sampled_from(["paper", "released"]),
    "parameters": st.sampled_from(["with_scales", "kernels"]),
    "outputs": st.sampled_from(["convolutions", "activations", "trunk"]),
    "image_size": st.none() | st.integers(1, 256),
    "zero_layers": st.sampled_from(["skipped", "counted"]),
    "share": st.floats(0, 1, exclude_min=True),
}


@st.composite
def registered_proxy(draw):
    factory = PROXIES[draw(st.sampled_from(sorted(PROXIES)))]
    names = [name for name in inspect.signature(factory).parameters if name != "name"]
    given = [name for name in names if draw(st.booleans())]
    if factory is proxies.swap:  # which is another proxy with mu and sigma
        given = [name for name in given if name == "num_samples"]
    proxy = factory(**{name: draw(ARGUMENTS[name]) for name in given})
    if has_options(proxy) or proxy.is_size or draw(st.booleans()):
        return proxy
    norm, activation = draw(st.sampled_from(sorted(NORMS))), draw(st.sampled_from(sorted(ACTIVATIONS)))
    return with_options(proxy, LayerOptions(norm, draw(ARGUMENTS["mask_rate"]), activation))


@given(registered_proxy())
def test_a_label_is_read_back(proxy):
    again = parse(label(proxy))
    assert (again.identity, again.reference) == (proxy.identity, proxy.reference)
    assert (again.needs, again.prepare) == (proxy.needs, proxy.prepare)


ALLOWED = "allowed are num_samples, mu, sigma, norm, mask_rate, activation"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wcor", "unknown proxy 'wcor': allowed are all, pnorm, "),
        ("", "unknown proxy '': allowed are all, pnorm, "),
        ("wrcor:", "proxy 'wrcor:': needed is NAME or NAME:KEY=VALUE:KEY=VALUE"),
        ("wrcor:weighting", "proxy 'wrcor:weighting': needed is NAME or "),
        ("swap:num_samples=[2", "needed is NAME or "),
        ('swap:num_samples="2"3', "needed is NAME or "),
        ("swap:samples=2", f"proxy 'swap:samples=2': unknown setting 'samples': {ALLOWED}"),
        ("swap:name=mine", f"unknown setting 'name': {ALLOWED}"),
        ("swap:-mu", f"unknown setting '-mu': {ALLOWED}"),
        ("sam_nwot:norm=ln", "unknown setting 'norm': allowed are mask_rate"),
        ("params:norm=ln", "proxy 'params:norm=ln': unknown setting 'norm': allowed are none"),
        ("swap:num_samples=2:num_samples=3", "num_samples is given twice"),
        ("swap:num_samples=two", "proxy 'swap:num_samples=two': num_samples is 'two': needed is int"),
        ("swap:num_samples=2.5", "num_samples is 2.5: needed is int"),
        ("swap:num_samples=true", "num_samples is True: needed is int"),
        ("swap:mu=a:sigma=1", "mu is 'a': needed is float or none"),
        ("swap:num_samples=0", "swap with num_samples=0: at least 1 is needed"),
        ("wrcor:weighting=cubic", "unknown weighting 'cubic': allowed are none, linear"),
        ("wrcor:weighting=1", "weighting is 1: needed is str"),
        ("wrcor:weighting=#0123456789abcdef", "weighting is '#0123456789abcdef': needed is str"),
        ("naswot:norm=rms", "unknown norm 'rms': allowed are bn, ln"),
        ("naswot:norm=3", "norm is 3: needed is str"),
        ("naswot:mask_rate=NaN", "mask_rate is 'NaN': needed is float"),
    ],
)
def test_what_is_no_label_of_a_proxy_is_named(text, message):
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_integer_where_a_float_is_needed_is_the_float():
    assert parse("swap_regularized:mu=40:sigma=40").identity == proxies.swap_regularized().identity
    assert parse("swap_regularized:mu=41").identity == parse("swap_regularized:mu=41.0").identity


def test_a_list_is_made_under_the_settings_of_a_run():
    names = ["wrcor", "wrcor:weighting=linear", "naswot", "naswot:norm=bn", "nir_nwot", "params"]
    made = proxies.make_proxies(names, weighting="none", options=LayerOptions("gn8"))
    assert [label(proxy) for proxy in made] == [
        "wrcor:norm=gn8:weighting=none",
        "wrcor:norm=gn8:weighting=linear",
        "naswot:norm=gn8",
        "naswot:norm=bn",
        "nir_nwot",
        "params",
    ]
    assert [label(p) for p in proxies.make_proxies(["all"], options=LayerOptions())] == proxies.expand(["all"])


def test_a_weighting_of_ones_own_is_known_by_what_it_does():
    halves, thirds = (proxies.wrcor(weighting=lambda layer, n, base=base: layer * base) for base in (0.5, 0.3))
    assert len({label(halves), label(thirds), "wrcor"}) == 3 and len(label(halves)) < 80
    again = proxies.wrcor(weighting=lambda layer, count: 0.5 * layer)
    assert label(again) == label(halves)


def test_one_identity_twice_is_refused():
    with pytest.raises(ValueError, match="proxies acor, acor: acor is given twice"):
        proxies.make_proxies(["acor", "acor"])
    message = "proxies wrcor, wrcor:weighting=expb2t: wrcor:weighting=expb2t is wrcor, given twice"
    with pytest.raises(ValueError, match=message):
        proxies.make_proxies(["wrcor", "wrcor:weighting=expb2t"])
    assert len(proxies.make_proxies(["wrcor", "wrcor:weighting=expb2t"], weighting="none")) == 2
    with pytest.raises(ValueError, match=r"unknown proxy list \(empty\): allowed are all, pnorm"):
        proxies.make_proxies([])


def test_settings_that_are_no_json_are_refused():
    with pytest.raises(ValueError, match="settings of proxy mine are no JSON values: Object of type set"):
        label(own_proxy("mine", {"k": {1}}))
    with pytest.raises(ValueError, match="settings of proxy mine are no JSON values"):
        label(own_proxy("mine", {"k": float("nan")}))
    assert json.loads(label(own_proxy("mine", {"k": {"b": 1, "a": (2,)}})).partition("=")[2]) == {"a": [2], "b": 1}


def test_a_choice_is_a_setting_where_it_is_not_the_usual_one():
    own = parse("jaccor:jacobian=per_sample")
    assert dict(own.settings) == {"k": 1e-5, "jacobian": "per_sample"} and label(own) == "jaccor:jacobian=per_sample"
    assert label(parse("jaccor:jacobian=batch")) == "jaccor"
    with pytest.raises(ValueError, match="jacobian is 'both': allowed are batch, per_sample"):
        parse("netsens:jacobian=both")
