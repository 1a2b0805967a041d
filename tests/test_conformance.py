"""Conformance over foreign modules: every proxy equals the oracle's value in float64, or refuses by name.

Modules and their twins stand in tests/foreign.py, the proxies written out in numpy in tests/oracle.py.
"""

from collections.abc import Mapping
import functools
from types import MappingProxyType
from typing import Any, NamedTuple

from flax import nnx
import flax.linen as nn
from flax.traverse_util import flatten_dict
import foreign
from foreign import MARKS, Foreign
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import reverse

from zsnas_jax import proxies, scoring
from zsnas_jax.base import Batch
from zsnas_jax.measure import losses
from zsnas_jax.measure.trunk import random_signs
from zsnas_jax.nn.initializers import draw_kernels, kaiming_normal, kaiming_uniform
from zsnas_jax.nn.roles import Role
from zsnas_jax.nn.weights import survey

KEY = jax.random.key(7)
NAMES = tuple(proxies.expand(["all"]))
COSTLY = tuple(name for name, make in proxies.PROXIES.items() if make().is_costly and not make().only_for)
EVERY = (*NAMES, *COSTLY)
LOG_DETERMINANTS = {name for name in NAMES if name.endswith(("cor", "nwot")) or name.startswith("gcor")} - {"jaccor"}
LOG_DETERMINANTS |= {"naswot"}
RTOL = {"fisher": 1e-2, "grasp": 5e-3, "ntk_cond": 1e-2, "lswag": 1e-2, "intrain": 2e-2, "dextr": 1e-2}
# GraSP's terms are of order 1, and cancel where a norm makes the scale of a layer irrelevant.
ATOL = {"grasp": 1e-6, "neg_log_fisher": 1e-2, **dict.fromkeys(LOG_DETERMINANTS, 0.05)}
ATOL |= {"vkdnw_entropy": 0.02, "vkdnw": 0.02, "meco": 1e-3, "meco_opt": 1e-3}  # small eigenvalues

# Which proxies need what, by what their equations say.
SITES = {*LOG_DETERMINANTS, "num_sites", "swap", "swap_regularized", "sam_swap", "nir_swap", "ncd_swap"}
MECO = {"meco", "meco_opt"}
OWN_SIZE = {name: f"{name}:image_size=null" for name in MECO}  # the twins are of one size
SITES |= MECO | {"regions", "intrain", "lswag", "dextr", "near"}
SAM = {"sam_nwot", "sam_swap"}
NIR = {"nir_nwot", "nir_swap", "ncd_nwot", "ncd_swap"}
MASKED = SAM | {"ncd_nwot", "ncd_swap"}
FEATURES = {"phi", "phi_bn", "zen", "bt"}
AZ = {"az_expressivity", "az_progressivity", "az_trainability"}
LAYERS = {"bndlent"} | AZ
JACOBIAN = {"jaccor", "epe", "netsens", "dyniso"}
KERNELS = {"pnorm", "pgnorm", "snip", "grasp", "synflow", "zico", "lydyniso"} | AZ
KERNELS |= {"gradsign", "vkdnw", "vkdnw_entropy", "ntk_cond", "lswag"}
FISHER = {"fisher", "neg_log_fisher"}
ATTENTION = {name: f"proxy {name} does not serve transformers, and ViT has attention" for name in MECO}
ATTENTION |= {"az_progressivity": "proxy az_progressivity does not serve transformers, and ViT has attention"}
NO_CONVOLUTION = {"near": "has no convolution whose output could be seen"}
NO_BATCH_NORM = {name: "has no batch norm that norm 'ln' could replace" for name in NIR}


def refuse(names, message):
    return dict.fromkeys(sorted(names), message)


class Case(NamedTuple):
    """A foreign module under score.

    Attributes:
        foreign: the module and its twin.
        options: what is told of it from outside.
        refused: proxies that refuse it: name to the message.
        quick: what is scored without --slow: proxies whose values tell most about the module.
    """

    foreign: Foreign
    options: Mapping[str, Any] = MappingProxyType({})
    refused: Mapping[str, str] = MappingProxyType({})
    quick: tuple[str, ...] = ()


def calls(cls, name=None):
    """Chooses calls of modules of a class, or of those of them that have a name."""
    return lambda module, method: isinstance(module, cls) and method == "__call__" and name in (None, module.name)


POSITIONS = {"positions": Role.EMBEDDING}
BATCH_STATS = ("batch_stats",)
CASES = {
    "ConvNet": Case(Foreign(foreign.ConvNet(**MARKS), foreign.conv_net)),
    "ConvNet, from outside": Case(
        Foreign(foreign.ConvNet(), foreign.conv_net),
        {
            "sites": calls(nn.BatchNorm),
            "layers": calls(foreign.Stage),
            "features": calls(foreign.Stage, "Stage_1"),
        },
        quick=("wrcor", "fisher", "snip", "jaccor", "naswot", "phi", "bndlent", "az_expressivity"),
    ),
    "ConvNet, unmarked": Case(
        Foreign(foreign.ConvNet(), foreign.conv_net),
        {},
        refuse(FEATURES, "ConvNet has no feature map")
        | refuse(LAYERS, "ConvNet has no layer output")
        | refuse(SITES, "ConvNet has no response site"),
    ),
    "ResNet": Case(Foreign(foreign.ResNet(**MARKS), foreign.res_net, num_classes=5), quick=("acor", "snip")),
    "Mixer": Case(Foreign(foreign.Mixer(**MARKS), foreign.mixer, num_classes=4), {}, NO_BATCH_NORM),
    "ViT": Case(Foreign(foreign.ViT(**MARKS), foreign.vit), {}, NO_BATCH_NORM),
    "ViT, from outside": Case(
        Foreign(foreign.ViT(), foreign.vit),
        {
            "sites": lambda m, method: isinstance(m, nn.Dense) and m.path[-2:] == ("Mlp_0", "Dense_0"),
            "layers": calls(foreign.Encoder),
            "features": calls(nn.LayerNorm, "LayerNorm_0"),
        },
        NO_BATCH_NORM,
        ("pnorm", "snip", "fisher", "lydyniso", "jaccor", "epe", "netsens", "naswot", "swap", "acor", "wrcor"),
    ),
    "ViT with positions of its own": Case(
        Foreign(foreign.ViT(is_table=False, **MARKS), functools.partial(foreign.vit, is_table=False)),
        {},
        NO_BATCH_NORM | refuse(KERNELS | FISHER | {"phi"}, "positions of ViT is of no known layer"),
    ),
    "ViT with positions told": Case(
        Foreign(foreign.ViT(is_table=False, **MARKS), functools.partial(foreign.vit, is_table=False)),
        {"roles": lambda module: POSITIONS if isinstance(module, foreign.ViT) else None},
        NO_BATCH_NORM,
        ("pnorm", "snip"),
    ),
    "Conv1d": Case(Foreign(foreign.Conv1d(**MARKS), foreign.conv1d, (8, 2)), quick=("acor", "snip")),
    "Conv3d": Case(Foreign(foreign.Conv3d(**MARKS), foreign.conv3d, (4, 4, 4, 2)), quick=("acor", "snip")),
    "Assortment": Case(
        Foreign(foreign.Assortment(**MARKS), foreign.assortment, (4, 4, 2), 4),
        {},
        NO_BATCH_NORM,
        ("pnorm", "snip", "fisher", "lydyniso"),
    ),
    "Grouped": Case(
        Foreign(foreign.Grouped(**MARKS), foreign.grouped, (4, 4, 2)),
        {},
        NO_BATCH_NORM | refuse(FISHER, "Fisher does not serve Einsum Einsum_0"),
        ("pnorm", "snip", "lydyniso"),
    ),
    "Scanned": Case(Foreign(foreign.Scanned(**MARKS), foreign.scanned), quick=("pnorm", "snip", "fisher", "wrcor")),
    "Scanned along axis 1": Case(
        Foreign(foreign.Scanned(params_axis=1, **MARKS), functools.partial(foreign.scanned, params_axis=1)),
        quick=("pnorm", "snip", "lydyniso"),
    ),
    "Scanned, only parameters mapped": Case(
        Foreign(foreign.Scanned(collections=BATCH_STATS, **MARKS), foreign.scanned),
        {},
        refuse(SITES | FISHER | LAYERS | {"zen"}, "Scanned: the nn.scan or nn.vmap around stack")
        | refuse(MASKED, "the nn.scan or nn.vmap around Conv stack/Conv_0 does not split the random stream 'mask'"),
    ),
    "Branches": Case(Foreign(foreign.Branches(**MARKS), foreign.branches), quick=("fisher", "wrcor")),
    "Branches, only parameters mapped": Case(
        Foreign(foreign.Branches(collections=BATCH_STATS, **MARKS), foreign.branches),
        {},
        refuse(SITES | FISHER | {"zen"}, "Branches: the nn.scan or nn.vmap around branches")
        | refuse(MASKED, "the nn.scan or nn.vmap around Conv branches/Conv_0 does not split the random stream 'mask'"),
    ),
    "Trained": Case(Foreign(foreign.Trained(**MARKS), foreign.trained, keywords={"train": True})),
    "Pooled": Case(Foreign(foreign.Pooled(**MARKS), foreign.pooled)),
    "Own": Case(
        Foreign(foreign.Own(**MARKS), foreign.own),
        {},
        NO_BATCH_NORM | refuse(SAM, "Own has no convolution that mask_rate 0.95 could mask"),
        ("pnorm", "snip", "fisher"),
    ),
    "Unknown": Case(
        Foreign(foreign.Unknown(**MARKS), foreign.unknown),
        {},
        NO_BATCH_NORM | refuse(KERNELS | FISHER | {"phi"}, "gate of Unknown is of no known layer"),
    ),
    "Tokens": Case(
        Foreign(foreign.Tokens(**MARKS), foreign.tokens, (5,), vocabulary=10),
        {},
        NO_BATCH_NORM
        | refuse(SAM, "Tokens has no convolution")
        | refuse(
            JACOBIAN | FEATURES | AZ | MECO | {"vkdnw", "vkdnw_entropy", "intrain", "dextr"},
            r"proxy .* needs pictures of floats, the batch has int32\[8, 5\]",
        ),
    ),
    "Normalised": Case(
        Foreign(foreign.Normalised(**MARKS), foreign.normalised),
        {},
        NO_BATCH_NORM
        | refuse(LAYERS, "Normalised has no layer output")
        | refuse(KERNELS | FISHER | {"phi"}, "Normalised: .* transforms its parameters, as WeightNorm"),
        ("wrcor", "gcor", "rcor", "naswot", "swap", "jaccor", "netsens", "bt"),
    ),
    "Batchless": Case(
        Foreign(foreign.Batchless(**MARKS), foreign.batchless, (4, 4, 2)),
        {},
        NO_BATCH_NORM
        | refuse(LAYERS, "Batchless has no layer output")
        | refuse(FEATURES, "Batchless has no feature map")
        | refuse(FISHER, "Dense_0"),
    ),
}

ONE_LAYER = (
    *("Mixer", "Conv1d", "Conv3d", "Assortment", "Grouped", "Branches", "Branches, only parameters mapped"),
    *("Trained", "Pooled", "Own"),
)
NEIGHBOURS = dict.fromkeys(("az_progressivity", "az_trainability"), "compares layer outputs with those before them")
CASES |= {name: CASES[name]._replace(refused={**CASES[name].refused, **NEIGHBOURS}) for name in ONE_LAYER}
CASES |= {name: CASES[name]._replace(refused={**NO_CONVOLUTION, **CASES[name].refused}) for name in ("Own", "Tokens")}
VITS = [name for name in CASES if name.startswith("ViT")]
CASES |= {name: CASES[name]._replace(refused={**NEIGHBOURS, **ATTENTION, **CASES[name].refused}) for name in VITS}


def score(case, chosen, *, label=None, **options):
    """Scores of a case by proxies, float32[P], as one compiled program."""
    return np.asarray(jax.jit(lambda v: scored(case, chosen, v, label, **options))(case.foreign.draw()[0]))


def scored(case, chosen, variables, label, **options):
    _, image, own_label = case.foreign.draw()
    label = jax.tree.map(jnp.asarray, own_label if label is None else label)
    options = {**case.options, **case.foreign.keywords, **options}
    batch = Batch(jnp.asarray(image), label)
    return scoring.score_module(KEY, case.foreign.module, variables, batch, proxies=chosen, **options)


def oracle_of(case, *, label=None, loss=oracle.cross_entropy, with_masks=False):
    """The same network for the oracle, with the noise, and the masks at `with_masks`, that the key draws."""
    variables, image, own_label = case.foreign.draw()
    noise = [jax.random.normal(key, image.shape) for key in jax.random.split(jax.random.fold_in(KEY, 1))]
    noise = tuple(np.asarray(n, np.float64) for n in noise)
    label = own_label if label is None else label
    drawn = redrawn(case, variables), np.float64(jax.random.normal(jax.random.fold_in(KEY, 6), image.shape))
    signs = lambda i, shape: np.float64(random_signs(jax.random.fold_in(KEY, 4))(i, shape))
    masks = sam_masks(case, variables, image) if with_masks else None
    picture = np.float64(jax.random.normal(jax.random.fold_in(KEY, 6), (1, *image.shape[1:])))
    own = {"noise": noise, "masks": masks, "drawn": drawn, "signs": signs, "drawn_image": drawn[1], "picture": picture}
    own["curve"] = curve(case, image) if image.dtype.kind == "f" else None
    return oracle.Oracle(case.foreign.twin, foreign.flat(variables), np.float64(image), label, loss, **own)


def curve(case, image):
    """(U, which logits) that Dextr draws."""
    of_plane, of_logits = jax.random.split(jax.random.fold_in(KEY, 7))
    plane = jnp.linalg.svd(jax.random.normal(of_plane, (image[0].size, 2)), full_matrices=False)[0]
    draw = lambda count: np.asarray(jax.random.randint(of_logits, (10,), 0, count))
    return np.float64(plane), draw


def redrawn(case, variables):
    """The parameters of proxies that draw their own, where anyone knows which are kernels; else None."""
    module, image = case.foreign.module, case.foreign.draw()[1]
    call = lambda params: module.apply({**variables, "params": params}, image, mutable=True, rngs={"dropout": KEY},
                                       **case.foreign.keywords)  # fmt: skip
    try:
        weights = survey("a module", variables["params"], call, case.options.get("roles"))
    except ValueError:
        return None
    kernels = draw_kernels(jax.random.fold_in(KEY, 5), variables["params"], weights, kaiming_normal)
    constants = {Role.BIAS: 0.0, Role.SHIFT: 0.0, Role.SCALE: 1.0}
    whole = lambda path, leaf: np.full(leaf.shape, constants.get(weights[path].role, leaf))
    return {path: whole(path, leaf) for path, leaf in foreign.flat({"params": kernels}).items()}


def sam_masks(case, variables, image, rate=0.95):
    """{(path, position): masks of a convolution's calls}: an element is kept with probability 1 - rate."""

    def keep(next_fun, args, kwargs, context):
        module = context.module
        if isinstance(module, nn.Conv | nn.ConvTranspose | nn.ConvLocal) and context.method_name == "__call__":
            bits = jax.random.bits(module.make_rng("mask"), args[0].shape, jnp.uint16)
            module.sow("intermediates", "mask", bits >= round(rate * 2**16))
        return next_fun(*args, **kwargs)

    def apply(variables):
        with nn.intercept_methods(keep):
            rngs = {"mask": jax.random.fold_in(KEY, 0), "dropout": KEY}
            mutable = ["intermediates", "batch_stats"]
            keywords = case.foreign.keywords
            return case.foreign.module.apply(variables, image, rngs=rngs, mutable=mutable, **keywords)[1]

    found = flatten_dict(jax.jit(apply)(variables)["intermediates"])
    masks = {}
    for path, several in found.items():
        for mask in several:
            pixels = mask.ndim > image.ndim  # then its first axis is a lift's
            for position, one in enumerate(mask if pixels else mask[None]):
                masks.setdefault((path[:-1], position), []).append(np.float64(one))
    return masks


def check(names, found, expected, slack=MappingProxyType({})):
    """Every value by its proxy's tolerance; a table of what is wrong. What is undefined in truth is rounding here."""
    wrong, atol = [], {**ATOL, **slack}
    for name, value, right in zip(names, found, expected, strict=True):
        own = name.split()[0]
        if np.isfinite(value) and np.isnan(right):
            continue
        if value != right and not abs(value - right) <= max(atol.get(own, 0.0), RTOL.get(own, 1e-3) * abs(right)):
            wrong.append(f"{name}: {value:.6g} for {right:.6g}")
    assert not wrong, "\n" + "\n".join(wrong)


BUNDLING = 1e-7  # a rate of learning at which float32 makes some bundles of the first two networks, not one


def check_case(name, names):
    case = CASES[name]
    names = [n for n in names if n not in case.refused]
    chosen = list(proxies.make_proxies([OWN_SIZE.get(n, n) for n in names]))
    truth = oracle_of(case, with_masks=bool(set(names) & SAM))
    expected = [truth.score(n) for n in names]
    if "bndlent" in names:
        chosen.append(proxies.bndlent(learning_rate=BUNDLING))
        names.append(f"bndlent {BUNDLING}")
        expected.append(truth.bndlent(BUNDLING))
        assert expected[-1] < 0 or not name.startswith("ConvNet")  # or it would show nothing
    if "grasp" in names and "jaccor" in names:
        chosen += [make(jacobian="per_sample") for make in (proxies.jaccor, proxies.netsens)]
        names += ["jaccor per_sample", "netsens per_sample"]
        expected += [truth.jaccor_of(truth.own_jacobian), np.abs(truth.own_jacobian).mean()]
    for weighting in ("none", "linear", "quad", "expt2b") if "grasp" in names and "wrcor" in names else ():
        chosen.append(proxies.wrcor(weighting=weighting))
        names.append(f"wrcor {weighting}")
        expected.append(truth.wrcor(weighting))
    check(names, score(case, chosen), expected, truth.slack)


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.quick])
def test_proxies_are_the_oracles(name):
    check_case(name, CASES[name].quick)


@pytest.mark.slow
# The masks of a transformed convolution are not seen from outside, where the oracle takes them.
@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.quick != NAMES and n != "Normalised"])
def test_every_proxy_is_the_oracles(name):
    check_case(name, EVERY)


def check_refusals(name, names):
    case = CASES[name]
    variables = case.foreign.draw()[0]
    for proxy in names:
        with pytest.raises(ValueError, match=case.refused[proxy]) as raised:
            chosen = proxies.make_proxies([OWN_SIZE.get(proxy, proxy)])
            jax.eval_shape(lambda v: scored(case, chosen, v, None), variables)
        assert "\n" not in str(raised.value), proxy


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow) if n.startswith("ViT ") or n.startswith("ViT,") else n
        for n, case in CASES.items()
        if case.refused
    ],
)
def test_what_cannot_be_served_is_refused_by_name(name):
    """One proxy for every message."""
    check_refusals(name, {message: proxy for proxy, message in CASES[name].refused.items()}.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.refused])
def test_whatever_cannot_be_served_is_refused_by_name(name):
    check_refusals(name, CASES[name].refused)


def test_the_oracles_gradients_are_differences():
    for name in ("ConvNet", "ViT", "Assortment"):
        truth = oracle_of(CASES[name])
        rng = np.random.default_rng(0)
        passed = truth.walk()
        loss = lambda params: truth.loss(truth.walk(params=params).logits, truth.label)
        paths = list(truth.params)
        gradients = reverse.gradients(truth.loss(passed.logits, truth.label), [passed.walk.params[p] for p in paths])
        direction = {path: rng.standard_normal(truth.params[path].shape) for path in paths}
        moved = lambda step: loss({path: leaf + step * direction[path] for path, leaf in truth.params.items()}).value
        difference = (moved(1e-6) - moved(-1e-6)) / 2e-6
        slope = sum((g * direction[path]).sum() for path, g in zip(paths, gradients, strict=True))
        np.testing.assert_allclose(slope, difference, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in CASES if "," not in n and "told" not in n])
def test_a_twin_computes_what_its_module_computes(name):
    case = CASES[name]
    variables, image, _ = case.foreign.draw()

    def by_the_batch(next_fun, args, kwargs, context):
        if isinstance(context.module, nn.BatchNorm):
            object.__setattr__(context.module, "use_running_average", False)
        return args[0] if isinstance(context.module, nn.Dropout) else next_fun(*args, **kwargs)

    def apply(variables):
        with nn.intercept_methods(by_the_batch):
            return case.foreign.module.apply(variables, image, mutable=["batch_stats"], **case.foreign.keywords)[0]

    logits = jax.jit(apply)(variables)
    np.testing.assert_allclose(logits, oracle_of(case).once.logits.value, rtol=1e-4, atol=1e-5)


def test_pnorm_of_attention_is_the_sum_of_its_four_projections_by_hand():
    class Attention(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.MultiHeadDotProductAttention(num_heads=4, qkv_features=8, out_features=3)(x).mean(1)

    rng = np.random.default_rng(0)
    shapes = {"query": (6, 4, 2), "key": (6, 4, 2), "value": (6, 4, 2), "out": (4, 2, 3)}
    kernels = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    biases = {name: jnp.ones(shape[1:] if name != "out" else (3,)) for name, shape in shapes.items()}
    params = {name: {"kernel": jnp.asarray(kernel), "bias": biases[name]} for name, kernel in kernels.items()}
    variables = {"params": {"MultiHeadDotProductAttention_0": params}}
    batch = Batch(jnp.ones((2, 5, 6)), None)
    found = scoring.score_module(KEY, Attention(), variables, batch, proxies=[proxies.pnorm(), proxies.lydyniso()])
    rows = [kernel.reshape(6 if name != "out" else 8, -1).T for name, kernel in kernels.items()]
    expected = [sum(map(np.linalg.norm, rows)), -sum(np.linalg.norm(w @ w.T - np.eye(len(w))) for w in rows)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["ViT", "Assortment", "Grouped", "Scanned along axis 1", "Own"])
def test_kernels_are_drawn_by_the_fan_that_their_layer_tells(name):
    module, (variables, image, _) = CASES[name].foreign.module, CASES[name].foreign.draw()
    weights = survey(name, variables["params"], lambda params: module.apply({**variables, "params": params}, image))
    in_numpy = kaiming_uniform._replace(noise=lambda key, shape: np.random.default_rng(0).uniform(-1, 1, shape))
    drawn = foreign.flat({"params": draw_kernels(KEY, variables["params"], weights, in_numpy)})
    kernels = oracle_of(CASES[name]).once.walk.kernels
    assert {path for path, _ in kernels} == {path for path, weight in weights.items() if weight.kernel}
    for (path, _), matrices in kernels.items():
        for matrix in matrices(drawn[path]):
            assert 0.5 < np.abs(matrix).max() * len(matrix) ** 0.5 <= 1, path


@pytest.mark.dear
@pytest.mark.parametrize("depth", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_marks_do_not_change_synflow(depth):
    twin = functools.partial(foreign.vit, depth=depth)
    chosen = proxies.make_proxies(["synflow"])
    cases = [Case(Foreign(foreign.ViT(depth=depth, **marks), twin)) for marks in ({}, MARKS)]
    expected = oracle_of(cases[0]).synflow()
    for case in cases:
        np.testing.assert_allclose(score(case, chosen), [expected], rtol=1e-5)


def test_dropout_is_off_unless_asked_for_and_keywords_pass_through():
    case = CASES["Trained"]
    chosen = proxies.make_proxies(["snip"])
    expected = oracle_of(case).snip()
    np.testing.assert_allclose([*score(case, chosen), *score(case, chosen, train=False)], [expected] * 2, rtol=1e-3)
    dropped = score(case, chosen, with_dropout=True)[0]
    assert np.isfinite(dropped) and abs(dropped - expected) > 0.05 * expected


def test_a_missing_keyword_is_python_s_own_error():
    case = CASES["Trained"]
    case = case._replace(foreign=case.foreign._replace(keywords={}))
    with pytest.raises(TypeError, match="train"):
        jax.eval_shape(
            lambda v: scored(case, proxies.make_proxies(["snip"]), v, None), CASES["Trained"].foreign.draw()[0]
        )


def test_parameters_in_boxes_are_unboxed():
    case = CASES["ConvNet"]
    box = lambda leaf: nn.Partitioned(jnp.asarray(leaf), (None,) * leaf.ndim)
    run = lambda v: scored(case, proxies.make_proxies(["pnorm", "snip"]), jax.tree.map(box, v), None)
    truth = oracle_of(case)
    np.testing.assert_allclose(jax.jit(run)(case.foreign.draw()[0]), [truth.pnorm(), truth.snip()], rtol=1e-3)


def test_logits_that_are_no_array_are_refused():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(x.mean((1, 2))), {"loss": 0.0}

    batch = Batch(jnp.ones((4, 8, 8, 2)), jnp.arange(4) % 3)
    variables = Two().init(KEY, batch.image)
    for name in ("snip", "pnorm", "jaccor", "synflow"):
        with pytest.raises(ValueError, match="Two returns tuple: needed are logits, one array") as raised:
            scoring.score_module(KEY, Two(), variables, batch, proxies=proxies.make_proxies([name]))
        assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_layers_of_half_precision_are_scored():
    class Half(nn.Module):
        dtype: Any = jnp.bfloat16

        @nn.compact
        def __call__(self, x):
            x = nn.relu(foreign.Site()(nn.Conv(4, (3, 3), dtype=self.dtype)(x)))
            return nn.Dense(3, dtype=self.dtype)(x.mean((1, 2)))

    batch = Batch(jnp.asarray(CASES["ConvNet"].foreign.draw()[1]), jnp.arange(foreign.SIZE) % 3)
    variables = Half().init(KEY, batch.image)
    chosen = proxies.make_proxies(["wrcor", "naswot", "jaccor", "snip", "synflow"])
    scores = [
        scoring.score_module(KEY, Half(dtype), variables, batch, proxies=chosen) for dtype in (jnp.bfloat16, None)
    ]
    np.testing.assert_allclose(*scores, rtol=0.2)


def test_a_zero_jacobian_is_reported_as_undefined():
    names = ["jaccor", "epe", "netsens", "dyniso"]
    assert (score(CASES["Pooled"], proxies.make_proxies(names)) == -np.inf).all()


def test_modules_of_nnx_are_refused_in_one_line():
    network = foreign.NnxNet(nnx.Rngs(0))
    wrapped = nnx.bridge.to_linen(foreign.NnxNet)

    class Within(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nnx.bridge.to_linen(foreign.NnxNet)(x)

    batch = Batch(jnp.ones((2, 8, 8, 2)), jnp.arange(2))
    for module in (network, wrapped, Within()):
        variables = module.init(KEY, batch.image) if isinstance(module, nn.Module) else {}
        for name in ("pnorm", "synflow", "params"):
            with pytest.raises(ValueError, match="is a module of flax.nnx.*: write it in flax.linen") as raised:
                scoring.score_module(KEY, module, variables, batch, proxies=proxies.make_proxies([name]))
            assert "\n" not in str(raised.value)


LOSSES = {
    "soft labels": (losses.soft_cross_entropy, oracle.soft_cross_entropy),
    "absolute error": (losses.absolute_error, oracle.absolute_error),
    "squared error": (losses.squared_error, oracle.squared_error),
    "a dictionary of labels": (
        lambda logits, label: losses.absolute_error(logits * label["weight"], label["target"]),
        lambda logits, label: oracle.absolute_error(logits * label["weight"], label["target"]),
    ),
}
WITH_LOSS = ("gcor", "wrcor", "snip", "fisher", "pgnorm", "zico", "grasp")


@pytest.mark.parametrize("name", ["soft labels", "a dictionary of labels"])
def test_the_loss_is_an_argument(name):
    check_loss(name, ("gcor", "snip"))


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_every_proxy_with_a_loss_takes_it(name):
    check_loss(name, WITH_LOSS)


def check_loss(name, names):
    case = CASES["ConvNet"]
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(3), foreign.SIZE).astype(np.float32)
    label = {"target": shares, "weight": shares[:, :1]} if "dictionary" in name else shares
    loss, plain = LOSSES[name]
    found = score(case, proxies.make_proxies(names), label=label, loss=loss)
    truth = oracle_of(case, label=label, loss=plain)
    check(names, found, [truth.score(n) for n in names])


DENSE = Case(Foreign(foreign.Dense2d(**MARKS), foreign.dense2d))
PIXELS = np.random.default_rng(0).integers(0, 3, (foreign.SIZE, 4, 4))


def test_logits_may_be_pictures():
    names = ["gcor", "snip", "jaccor", "netsens"]
    found = score(DENSE, proxies.make_proxies(names), label=PIXELS, loss=losses.pixelwise_cross_entropy)
    truth = oracle_of(DENSE, label=PIXELS)
    check(names, found, [truth.score(n) for n in names])


@pytest.mark.slow
def test_every_proxy_of_logits_that_are_pictures():
    names = [n for n in NAMES if n not in ("epe", "bndlent")]
    found = score(DENSE, proxies.make_proxies(names), label=PIXELS, loss=losses.pixelwise_cross_entropy)
    truth = oracle_of(DENSE, label=PIXELS, with_masks=True)
    check(names, found, [truth.score(n) for n in names])


NO_INDICES = {
    "shares": np.eye(3)[np.arange(foreign.SIZE) % 3],
    "pixels": PIXELS,
    "a dictionary": {"target": np.arange(foreign.SIZE)},
    "numbers": np.linspace(0, 1, foreign.SIZE),
}


@pytest.mark.parametrize("kind", NO_INDICES)
def test_what_needs_class_indices_says_so(kind):
    case = CASES["ConvNet"]
    loss = lambda logits, label: jnp.square(logits).mean()
    for name in ("epe", "bndlent"):
        run = lambda v: scored(case, proxies.make_proxies([name]), v, NO_INDICES[kind], loss=loss)
        with pytest.raises(ValueError, match=f"{name}.*class indices|class indices.*{name}") as raised:
            jax.eval_shape(run, case.foreign.draw()[0])
        assert "\n" not in str(raised.value)
