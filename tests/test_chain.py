"""Chains of plain Flax blocks: measured and scored as the whole network, refused by name where they must be."""

import gc
import weakref

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import proxies, scoring
from zsnas_jax.base import Batch, KernelSum, Proxy, SearchSpace
from zsnas_jax.measure.blocks import Step
from zsnas_jax.measure.chain import trace_chain
from zsnas_jax.measure.programs import Programs
from zsnas_jax.measure.tape import Tape, Value
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.probes import COLLECTIONS, RNGS, Features, LayerOutput, Site

REFUSED = ("grasp", "zico", "lswag", "dyniso", "dextr", "phi_bn", "zen", "bt", "bndlent")
SERVED = tuple(name for name in proxies.expand(["all"]) if name not in REFUSED)
MASKED = tuple(name for name in SERVED if name.startswith(("sam", "ncd")))


class Stem(nn.Module):
    channels: int

    @nn.compact
    def __call__(self, image):
        x = nn.BatchNorm(use_running_average=False)(nn.Conv(self.channels, (3, 3), use_bias=False)(image))
        x = LayerOutput()(nn.relu(Site()(x)))
        return {"trunk": x, "shortcut": x[..., :1]}  # what passes between blocks is a tree


class Residual(nn.Module):
    channels: int
    stride: int = 1

    @nn.compact
    def __call__(self, state):
        x, strides = state["trunk"], (self.stride, self.stride)
        y = nn.relu(Site()(nn.BatchNorm(use_running_average=False)(nn.Conv(self.channels, (3, 3), strides)(x))))
        y = nn.Conv(self.channels, (1, 1))(y)
        x = x if x.shape == y.shape else nn.Conv(self.channels, (1, 1), strides, name="project")(x)
        x = LayerOutput()(nn.relu(Site()(x + y)))
        return {"trunk": x, "shortcut": state["shortcut"]}


class Tower(nn.Module):
    """A stack that `nn.scan` makes of one layer."""

    depth: int

    @nn.compact
    def __call__(self, state):
        axes = {"variable_axes": {"params": 0} | dict.fromkeys(COLLECTIONS, 0), "split_rngs": RNGS}
        x, _ = nn.scan(Layer, **axes, length=self.depth)()(state["trunk"], None)
        return x, state["shortcut"]


class Split(nn.Module):
    """Without parameters."""

    def __call__(self, state):
        return state["trunk"], state["shortcut"]


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        y = nn.BatchNorm(use_running_average=False)(nn.Conv(x.shape[-1], (1, 1))(x))
        return LayerOutput()(x + nn.relu(Site()(y))), None


class Head(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x, shortcut):
        x = Features()(x)
        return nn.Dense(self.num_classes)(jnp.concatenate([x.mean((1, 2)), shortcut.mean((1, 2))], -1))


def steps(arch, num_classes):
    """A width, and whether there is a tower."""
    width, is_tall = (int(gene) for gene in arch)
    tower = Step("tower", Tower(2), ("x",), ("x", "shortcut"))
    return (
        Step("stem", Stem(3)),
        Step("body", Residual(3 + width, 2)),
        tower if is_tall else Step("split", Split(), ("x",), ("x", "shortcut")),
        Step("head", Head(num_classes), ("x", "shortcut"), ("logits",)),
    )


class Network(nn.Module):
    """The same network, whole."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, image, arch):
        values = {"x": image}
        for step in steps(arch, self.num_classes):
            block = step.block.clone(parent=self, name=step.name)
            step.write(values, block(*(values[name] for name in step.reads)))
        return values["logits"]


def make_space(**own):
    return SearchSpace(
        name="widths",
        sample=lambda key: jax.random.randint(key, (2,), 0, 2),
        mutate=lambda key, arch: (arch + 1) % 2,
        encode=lambda arch: f"{int(arch[0])}{int(arch[1])}",
        decode=lambda string: np.array(list(map(int, string))),
        make_network=lambda num_classes: Network(num_classes),
        is_dispatched=False,
        static=lambda arch: (int(arch[0]), int(arch[1])),
        chain=trace_chain(steps, (8, 8, 3)),
        num_flops=lambda arch, classes, size: 7,
    )._replace(**own)


SPACE = make_space()
TALL, ARCHS = np.array([[1, 1]], np.int32), np.array([[1, 0]], np.int32)


def scores(chosen, programs, batch, archs=ARCHS, space=SPACE, **own):
    own = {"num_classes": 3, "programs": programs, **own}
    return scoring.make_scorer(jax.random.key(5), space, chosen, **own).score(archs, [0], batch)[0]


def compare(chosen, batch, **own):
    whole, chained = (scores(chosen, programs, batch, **own) for programs in ("static", "chained"))
    assert np.isfinite(whole).all(), dict(zip([proxy.name for proxy in chosen], whole, strict=True))
    np.testing.assert_allclose(chained, whole, rtol=2e-4, err_msg=str([proxy.name for proxy in chosen]))


def three_classes(batch_size=4):
    batch = tiny.batch(batch_size=batch_size)
    return Batch(batch.image, jnp.arange(batch_size) % 3)


@pytest.mark.dear
def test_one_pass_scores_as_on_the_whole_network():
    names = ("wrcor", "naswot", "swap", "jaccor", "epe", "pnorm", "pgnorm", "snip", "fisher", "params")
    compare(proxies.make_proxies(names), three_classes(), archs=TALL)


@pytest.mark.slow
def test_every_proxy_that_is_served_scores_as_on_the_whole_network():
    compare(proxies.make_proxies([name for name in SERVED if name not in MASKED]), three_classes(), archs=TALL)


@pytest.mark.slow  # two programs
def test_what_is_seen_of_outputs_and_of_the_trunk_is_that_of_the_whole_network():
    names = (
        "az_expressivity",
        "az_progressivity",
        "az_trainability",
        "meco:outputs=convolutions",
        "near",
        "num_tensors",
    )
    compare(proxies.make_proxies(names), three_classes(), archs=TALL)


def test_masks_are_those_of_the_whole_network():
    compare(proxies.make_proxies(["sam_nwot"]), three_classes())


def test_homogeneous_chains_are_rescaled_as_the_whole_network():
    compare(proxies.make_proxies(["synflow", "phi"]), three_classes(), space=make_space(is_homogeneous=True))


def test_a_users_own_proxy_is_served_by_what_it_needs():
    # The built-in PNorm's name, statistics of its own, the gradients of all parameters, a loss of its own.
    entropy = lambda x: jnp.abs(x).mean()
    tail = KernelSum(lambda w, g: jnp.cos(w) + jnp.square(g), lambda total: total**0.25)

    def score(m):
        seen = sum((o.times * o.value).sum() for o in m.observed["mean"])
        slopes = sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(m.kernel_gradients))
        return seen + m.kernel_sums["tail"] + slopes

    own = {"observe": {"mean": entropy}, "kernel_sums": {"tail": tail}}
    proxy = Proxy("pnorm", score, frozenset({"kernel_gradients"}), {}, "a test", **own)
    label = jax.random.normal(jax.random.key(1), (4, 3))
    batch = Batch(three_classes().image, {"target": label})
    loss = lambda logits, label: jnp.square(logits - label["target"]).mean()
    compare([proxy], batch, loss=loss)


def test_programs_are_shared_and_scores_depend_on_key_and_architecture_alone():
    batch, chosen = three_classes(), proxies.make_proxies(["wrcor", "pnorm"])
    scorer = scoring.make_scorer(jax.random.key(1), SPACE, chosen, num_classes=3)
    assert scorer.programs == "chained" and scorer.capacity == 1
    archs = np.array([[0, 0], [1, 0]], np.int32)
    first = scorer.score(archs[:1], [0], batch)
    before = scorer.num_compilations()
    other = scorer.score(archs[1:], [0], batch)
    assert scorer.num_compilations() - before < before
    before = scorer.num_compilations()
    np.testing.assert_array_equal(first, scorer.score(archs[:1], [0], batch))
    assert (first != other).all() and (first != scorer.score(archs[:1], [1], batch)).all()
    assert scorer.num_compilations() == before


def test_what_a_chain_does_not_serve_is_refused_by_name():
    batch = three_classes()
    make = lambda name, space=SPACE: scoring.make_scorer(
        jax.random.key(0), space, proxies.make_proxies([name]), num_classes=3
    )
    for name in REFUSED:
        with pytest.raises(
            ValueError, match=f"proxy {name} runs the network itself, .* space widths offers it by prog"
        ):
            make(name)
    with pytest.raises(ValueError, match="offers it by no other programs"):
        make("grasp", make_space(static=None))
    with pytest.raises(ValueError, match="2 candidates in one call: allowed is 1"):
        make("wrcor").score(np.zeros((2, 2), np.int32), [0, 0], batch)
    with pytest.raises(ValueError, match="labels are needed, the batch has none"):
        make("wrcor").score(ARCHS, [0], Batch(batch.image, None))
    gelu = LayerOptions(activation="gelu")
    with pytest.raises(ValueError, match="Chained chooses its own activation: 'gelu' cannot replace it"):
        scores(proxies.make_proxies(["acor"]), "chained", batch, options=gelu)
    plain = trace_chain(lambda arch, classes: (Step("d", Dense(classes)),), (8, 8, 3))
    for name, problem in (
        ("acor", "has no response site"),
        ("gcor", "has no response site"),
        ("phi", "has no feature"),
    ):
        with pytest.raises(ValueError, match=f"Chained {problem}"):
            scores(proxies.make_proxies([name]), "chained", batch, space=make_space(chain=plain))
    learnt = (Step("table", Table()), Step("d", Dense(3)))
    table = trace_chain(lambda arch, classes: learnt, (8, 8, 3))
    with pytest.raises(
        ValueError, match="a chain draws kernels, tables, norms and biases: table/table of Table is none"
    ):
        scores(proxies.make_proxies(["pnorm"]), "chained", batch, space=make_space(chain=table))


class Dense(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, image):
        return nn.Dense(self.num_classes)(image.mean((1, 2)))


class Table(nn.Module):
    @nn.compact
    def __call__(self, image):
        return image + self.param("table", nn.initializers.normal(), image.shape[-1:])


def test_a_norm_on_every_path_leaves_no_jacobian():
    class Flat(nn.Module):
        @nn.compact
        def __call__(self, image):
            return nn.BatchNorm(use_running_average=False)(nn.Conv(4, (3, 3))(image))

    flat = (Step("flat", Flat()), Step("d", Dense(3)))
    chain = trace_chain(lambda arch, classes: flat, (8, 8, 3))
    chosen = proxies.make_proxies(["netsens", "jaccor", "epe"])
    assert scores(chosen, "chained", three_classes(), space=make_space(chain=chain)).tolist() == [-np.inf] * 3


def test_dead_pictures_have_no_score():
    batch = three_classes()
    blank = Batch(jnp.zeros_like(batch.image), batch.label)
    assert scores(proxies.make_proxies(["acor", "naswot"]), "chained", blank).tolist() == [-np.inf, -np.inf]


def test_a_tape_is_gone_when_it_is_done_with():
    programs = Programs(8)
    tape, x, other = Tape(programs), Value(np.ones(3, np.float32)), Value(np.ones(3, np.float32), is_constant=True)
    double = lambda gradients, found: found.append("double") or [2 * gradients[0]]
    (y,) = tape.record([x], [Value(2 * x.array)], double)
    (_nothing,) = tape.record([x], [Value(x.array)], lambda gradients, found: found.append("nothing"))
    z = tape.total([y, x, other])
    found = []
    np.testing.assert_array_equal(tape.back(z, np.full(3, 5.0, np.float32), x, found), np.full(3, 15.0))
    np.testing.assert_array_equal(z.array, np.full(3, 4.0))
    assert found == ["nothing", "double"]  # what nobody reads is pulled too: it may have findings of its own
    np.testing.assert_array_equal(tape.back(z, np.ones(3, np.float32), other, found), np.zeros(3))
    gone = weakref.ref(tape)
    gc.disable()  # its arrays are gigabytes: they must not wait for cycles to be found
    try:
        del tape
        assert gone() is None
    finally:
        gc.enable()


def test_programs_make_room_for_others():
    add, programs = lambda x: x + 1, Programs(2)
    for length in (1, 2, 1, 3, 1, 2):  # 2 makes room for 3, since 1 was used later
        x = np.zeros(length, np.float32)
        np.testing.assert_array_equal(programs.compiled(add, "add", x)(x), np.ones(length))
    assert programs.num_compiled == 4
