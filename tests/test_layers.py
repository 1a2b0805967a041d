import chex
import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from zsnas_jax.nn import initializers, layers
from zsnas_jax.nn.roles import Kernel, Role
from zsnas_jax.nn.weights import Weight

CONVOLUTION = Kernel((2,), (3,), (0, 1))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def with_gradients(fn, *operands):
    """The output, and the gradients of a generic scalar of it with respect to every operand, as one program."""
    weigh = lambda y: jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    def weighed(operands):
        y = fn(*operands)
        return weigh(y), y

    (_, y), gradients = jax.jit(jax.value_and_grad(weighed, has_aux=True))(operands)
    return y, gradients


def check(own, plain, *operands, atol, gradients_atol):
    """Whether two operations have equal outputs and equal gradients."""
    (y, gradients), (expected, others) = (with_gradients(fn, *operands) for fn in (own, plain))
    chex.assert_trees_all_close(y, expected, atol=atol)
    chex.assert_trees_all_close(gradients, others, atol=gradients_atol)


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pixels", [8, 5, 1])
def test_conv2d_and_its_gradients_are_xlas(size, stride, pixels):
    pad = (size - 1) // 2
    plain = lambda x, k: lax.conv_general_dilated(
        x, k, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    operands = normal(3, pixels, pixels, 4), normal(size, size, 4, 5, seed=1)
    check(lambda x, k: layers.conv2d(x, k, stride), plain, *operands, atol=1e-5, gradients_atol=2e-4)


@pytest.mark.parametrize("size", [3, pytest.param(5, marks=pytest.mark.slow), 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation, pixels", [(1, 6), (2, 6), (2, 5), (2, 2)])
def test_depthwise_conv2d_and_its_gradients_are_xlas(size, stride, dilation, pixels):
    pad, axes = (size - 1) // 2 * dilation, ("NHWC", "HWIO", "NHWC")
    plain = lambda x, k: lax.conv_general_dilated(
        x,
        k,
        (stride, stride),
        [(pad, pad)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=axes,
        feature_group_count=4,
    )
    operands = normal(3, pixels, pixels, 4), normal(size, size, 1, 4, seed=1)
    own = lambda x, k: layers.depthwise_conv2d(x, k, stride, dilation)
    check(own, plain, *operands, atol=1e-5, gradients_atol=2e-4)


def test_second_derivatives_of_a_depthwise_convolution_are_those_of_the_plain_one():
    plain = lambda x, k: lax.conv_general_dilated(
        x,
        k,
        (2, 2),
        [(2, 2)] * 2,
        rhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=3,
    )
    own = lambda x, k: layers.depthwise_conv2d(x, k, 2, 2)
    operands = normal(2, 5, 5, 3), normal(3, 3, 1, 3, seed=1)
    bent = lambda f: lambda x, k: jnp.tanh(f(jnp.tanh(x), jnp.tanh(k)))
    norm = lambda f: lambda *o: sum(jnp.sum(jnp.square(g)) for g in jax.grad(lambda o: bent(f)(*o).sum())(o))
    second = lambda f: jax.jit(jax.grad(lambda o: norm(f)(*o)))(operands)
    chex.assert_trees_all_close(second(own), second(plain), rtol=1e-3, atol=1e-4)


def test_conv_transpose2d_and_its_gradients_are_those_of_a_convolutions_gradient():
    """Of the convolution at stride 2 by the kernel turned by 180 degrees: so others define it."""
    operands = normal(2, 4, 4, 3), normal(3, 3, 3, 5, seed=1)

    def plain(x, kernel):
        turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
        halve = lambda y: lax.conv_general_dilated(
            y, turned, (2, 2), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jax.vjp(halve, jnp.zeros((2, 8, 8, 5)))[1](x)[0]

    check(layers.conv_transpose2d, plain, *operands, atol=1e-5, gradients_atol=2e-4)


@pytest.mark.parametrize("pixels", [6, 5, 1])
def test_strided_pools_and_their_gradients_are_xlas(pixels):
    x, window = normal(2, pixels, pixels, 3), ((1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    count = lax.reduce_window(jnp.ones_like(x), 0.0, lax.add, *window)
    average = lambda x: lax.reduce_window(x, 0.0, lax.add, *window) / count
    largest = lambda x: lax.reduce_window(x, -jnp.inf, lax.max, *window)
    for own, plain in ((layers.avg_pool_3x3, average), (layers.max_pool_3x3, largest)):
        check(lambda x, own=own: own(x, 2), plain, x, atol=1e-6, gradients_atol=1e-5)


def test_batch_norm_and_its_gradients_are_flaxs():
    x, scale, bias = normal(4, 5, 5, 3), normal(3, seed=1), normal(3, seed=2)
    module = nn.BatchNorm(use_running_average=False, epsilon=1e-5)
    stats = {"mean": jnp.zeros(3), "var": jnp.ones(3)}
    plain = lambda x, s, b: module.apply({"params": {"scale": s, "bias": b}, "batch_stats": stats}, x, mutable=True)[0]
    check(layers.batch_norm, plain, x, scale, bias, atol=1e-5, gradients_atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_avg_pool_3x3_is_flaxs(size):
    plain = lambda x: nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)
    x = normal(2, size, size, 3)
    check(layers.avg_pool_3x3, plain, x, atol=1e-6, gradients_atol=1e-5)


def test_avg_pool_2x2_is_flaxs():
    x = normal(2, 8, 8, 3)
    chex.assert_trees_all_close(layers.avg_pool_2x2(x), nn.avg_pool(x, (2, 2), (2, 2)), atol=1e-6)


BRANCHES = (lambda x, w: x @ w, lambda x, w: jnp.tanh(x), lambda x, w: jnp.zeros_like(x))
SWITCHED = tuple(lambda constants, x, w, branch=branch: branch(x, w) for branch in BRANCHES)


@pytest.mark.parametrize("index", range(3))
def test_rematerialised_switch_is_a_switch(index):
    operands = normal(4, 4), normal(4, 4, seed=1)
    own = lambda x, w: layers.rematerialised_switch(jnp.int32(index), SWITCHED, x, w)
    (y, gradients), (expected, others) = (with_gradients(fn, *operands) for fn in (own, BRANCHES[index]))
    chex.assert_trees_all_close(y, expected)
    chex.assert_trees_all_close(gradients, others, rtol=1e-5)


def test_the_gradient_can_be_differentiated_again():
    """A Hessian-vector product, reverse over reverse, as GraSP needs it; custom VJPs have no forward mode."""
    k = normal(3, 3, 2, 2, seed=1)

    def loss(k, x):
        y = layers.rematerialised_switch(jnp.int32(0), (lambda _, x, k: layers.conv2d(x, k), lambda _, x, k: x), x, k)
        return jnp.sum(jnp.sin(layers.batch_norm(y, jnp.ones(2), jnp.zeros(2))))

    x = normal(2, 4, 4, 2)
    gradient = jax.jit(jax.grad(loss))
    product = jax.jit(jax.grad(lambda k_: jnp.vdot(gradient(k_, x), k)))(k)
    step = 1e-2
    finite = (gradient(k * (1 + step), x) - gradient(k * (1 - step), x)) / (2 * step)
    np.testing.assert_allclose(product, finite, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(
    ("name", "variance"),
    [("kaiming_uniform", 1 / 3), ("kaiming_normal", 2.0), ("normal", 200.0), ("kaiming_fan_out", 200 * 2 / 7500)],
)
def test_initialisations_have_their_variance(name, variance):
    kernel = initializers.INITIALIZERS[name](jax.random.key(0), (5, 5, 8, 300))
    np.testing.assert_allclose(200 * np.var(kernel), variance, rtol=0.03)
    params = {"a": {"kernel": kernel, "bias": kernel[0]}}
    weights = {
        ("a", "kernel"): Weight("a test", CONVOLUTION, kernel.shape, ()),
        ("a", "bias"): Weight("a test", Role.BIAS, kernel.shape[1:], ()),
    }
    flat = initializers.draw_kernels(jax.random.key(1), params, weights, initializers.INITIALIZERS[name])
    np.testing.assert_allclose(200 * np.var(flat["a"]["kernel"]), variance, rtol=0.03)
    np.testing.assert_array_equal(flat["a"]["bias"], kernel[0])
    if name == "kaiming_uniform":
        assert np.abs(kernel).max() <= 1 / np.sqrt(200)


@pytest.mark.parametrize(
    ("name", "factor"), [("kaiming_normal", (8 / 6) ** 0.5), ("kaiming_fan_out", (30 / 20) ** 0.5)]
)
def test_padding_does_not_count_as_fan(name, factor):
    mask = np.zeros((5, 5, 8, 30), bool)
    mask[..., :6, :20] = True
    found = initializers.INITIALIZERS[name].rescale(CONVOLUTION, jnp.asarray(mask))
    np.testing.assert_allclose(found, factor, rtol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "shape", "fans"),
    [
        (CONVOLUTION, (3, 5, 4, 6), (60, 90)),
        (Kernel((0,), (1,)), (4, 6), (4, 6)),
        (Kernel((0,), (1, 2)), (8, 2, 3), (8, 6)),  # a projection of attention
        (Kernel((1,), (2,), groups=(0,)), (5, 4, 6), (4, 6)),
    ],
)
def test_fans_follow_the_axes_that_a_layer_tells(kernel, shape, fans):
    assert (kernel.fan_in(shape), kernel.fan_out(shape)) == fans
