"""What tests of spaces whose networks are chains share: samples, sites, costs by layer, the two ways to score."""

import csv
import functools
import gzip
import math

import flax.linen as nn
from golden import shared_file
import jax
import jax.numpy as jnp
import numpy as np
import tiny

from zsnas_jax import proxies, scoring
from zsnas_jax.measure.blocks import ChainNetwork
from zsnas_jax.measure.chain import trace_chain
from zsnas_jax.nn.modules import Conv
from zsnas_jax.nn.probes import is_site


def rows(name):
    """The rows of a published table of the shared folder."""
    with gzip.open(shared_file(f"data/extra/{name}.csv.gz"), "rt") as file:
        return list(csv.DictReader(file))


def draw(space, count=1000):
    """Samples, as jit and vmap draw them."""
    return _draw(space.sample, count)


@functools.cache
def _draw(sample, count):
    return np.asarray(jax.jit(jax.vmap(sample))(jax.random.split(jax.random.key(0), count)))


def mutants(space, archs, seed=1):
    """A mutation of each architecture, as jit and vmap make it."""
    return np.asarray(_mutate(space.mutate)(jax.random.split(jax.random.key(seed), len(archs)), archs))


@functools.cache
def _mutate(mutate):
    return jax.jit(jax.vmap(mutate))


def check_refused(space, string, message):
    """Whether a bad string is refused in one line that has the message in it."""
    try:
        space.decode(string)
    except ValueError as error:
        assert message in str(error) and "\n" not in str(error), error
    else:
        raise AssertionError(f"{string!r} is accepted")


def calls(space, arch, num_classes, image_size, wanted):
    """(module, shape of what enters, shape of what leaves) of a network's calls of wanted modules, in order."""
    network, found = space.make_network(num_classes), []

    def look(next_fun, args, kwargs, context):
        y = next_fun(*args, **kwargs)
        if context.method_name == "__call__" and wanted(context.module):
            found.append((context.module, args[0].shape, y.shape))
        return y

    def run(image):
        with nn.intercept_methods(look):
            return network.init_with_output(jax.random.key(0), image, space.static(arch))[0]

    jax.eval_shape(run, jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32))
    return found


def sites_per_layer(space, arch, num_classes=10, image_size=32):
    """How many response sites each layer has, from the first."""
    found = calls(space, arch, num_classes, image_size, lambda module: is_site(module, "__call__"))
    return np.bincount([space.layer_of(module.path, 0) for module, *_ in found])[1:].tolist()


def flops(space, arch, num_classes=10, image_size=32):
    """Multiply-adds of the network's convolutions and dense layers, counted where they are called."""
    total = 0
    for module, entering, leaving in calls(
        space, arch, num_classes, image_size, lambda m: isinstance(m, Conv | nn.Dense)
    ):
        window = 1 if isinstance(module, nn.Dense) else module.size**2
        inputs = 1 if getattr(module, "depthwise", False) else entering[-1]
        places = entering[1:-1] if getattr(module, "transposed", False) else leaving[1:-1]
        total += window * inputs * leaving[-1] * math.prod(places)
    return total


def params(space, arch, num_classes=10):
    """Parameters of the network, entry by entry."""
    return sum(map(math.prod, space.chain.shapes(arch, num_classes).values()))


def shortened(space, places, image_size):
    """The space with some steps of its networks alone, by their places; they still read what stands before them."""
    cut = lambda steps: tuple(steps[place] for place in places)
    list_steps = lambda arch, num_classes, **own: cut(space.make_network().list_steps(arch, num_classes, **own))
    return space._replace(
        make_network=lambda num_classes: ChainNetwork(list_steps, num_classes),
        chain=trace_chain(lambda *which: cut(space.chain.steps(*which)), (image_size, image_size, 3)),
        num_params=None,
    )


def compare(space, arch, names, image_size, num_classes=3, rtol=2e-4):
    """Whether the whole network and the chain give equal scores."""
    own = {"num_classes": num_classes}
    batch, chosen = tiny.batch(batch_size=5, image_size=image_size), proxies.make_proxies(names)
    batch = type(batch)(batch.image, batch.label % num_classes)
    score = lambda programs: scoring.make_scorer(jax.random.key(3), space, chosen, programs=programs, **own).score(
        np.asarray(arch)[None], [0], batch
    )[0]
    whole = score("static")
    assert np.isfinite(whole).all(), dict(zip(names, whole, strict=True))
    np.testing.assert_allclose(score("chained"), whole, rtol=rtol, err_msg=str(names))
