"""Times WRCor on AutoFormers beside the bare matrix products of the same networks, in one process.

    python perf/score_transformers.py
    python perf/score_transformers.py --space=autoformer_s --num_archs=2 --batch_size=32
    python perf/score_transformers.py --torch    # beside a plain PyTorch, which has to be installed

Prints compile seconds of the one program, seconds a network (median over calls, one device), those of its floor, their
ratio, and peak memory before anything else runs. The floor are the products of the network built alone, one after the
other with nothing between them, forward and the gradients with respect to what enters: patches, query, key and value,
query by key, weights by value, relative positions as sums over the grid's rows and columns, projection, both layers of
each block. Networks and floors are timed in turn; the ratio is the figure to compare. Figures: perf/RESULTS.md.
"""

from collections.abc import Callable
import functools
import resource
import time
from typing import Any

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax import datasets, proxies, scoring, search_spaces
from zsnas_jax.nn.initializers import transformer
from zsnas_jax.search_spaces import autoformer

FLAGS = flags.FLAGS
flags.DEFINE_enum("space", "autoformer_t", [name for name in autoformer.GRIDS if name != "autoformer_plain"], "Space.")
flags.DEFINE_integer("num_archs", 3, "Random networks.")
flags.DEFINE_integer("batch_size", 64, "Pictures in a batch.")
flags.DEFINE_integer("input_size", 224, "Pixels along a side.")
flags.DEFINE_integer("calls", 3, "Calls of each network, of which the median counts.")
flags.DEFINE_bool("torch", False, "Also time a plain PyTorch forward and backward of the same networks.")

HEAD = 64


def seconds(function: Callable[[], Any], calls: int) -> float:
    """Median wall time."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def products(plan: autoformer.Plan, grid: int, x: jax.Array, weights: Any) -> jax.Array:
    """The products of a network of tokens float[N, T, C]."""
    n, t, _ = x.shape
    for heads, (qkv, proj, fc1, fc2, relative) in zip(plan.heads, weights, strict=True):
        query, key, value = jnp.moveaxis((x @ qkv).reshape(n, t, 3, heads, HEAD), 2, 0)
        weights_of = jnp.einsum("nahd,nbhd->nhab", query, key)
        placed = query[:, 1:].reshape(n, grid, grid, heads, HEAD)
        sides = jnp.einsum("nrchd,rsd->nhrcs", placed, relative), jnp.einsum("nrchd,ctd->nhrct", placed, relative)
        back = jnp.einsum("nhrcs,rsd->nrchd", sides[0], relative) + jnp.einsum("nhrct,ctd->nrchd", sides[1], relative)
        output = jnp.einsum("nhab,nbhd->nahd", weights_of, value)
        output = output.at[:, 1:].add(back.reshape(n, grid**2, heads, HEAD))
        x = ((output.reshape(n, t, -1) @ proj) @ fc1) @ fc2
    return x


def floor_of(plan: autoformer.Plan, grid: int, batch: int, patch: int) -> Callable[[], Any]:
    """A function that runs the bare products of a network, forward and back to what enters."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32) / shape[0] ** 0.5
    e, weights = plan.width, []
    for heads, ratio in zip(plan.heads, plan.ratios, strict=True):
        q, f = HEAD * heads, int(e * ratio)
        weights.append((draw(e, 3 * q), draw(q, e), draw(e, f), draw(f, e), draw(grid, grid, HEAD)))
    pixels, embed = draw(batch, grid**2, 3 * patch**2), draw(3 * patch**2, e)

    @jax.jit
    def run(pixels: jax.Array, weights: Any) -> Any:
        def forward(pixels: jax.Array) -> jax.Array:
            x = pixels @ embed
            return products(plan, grid, jnp.concatenate([x[:, :1], x], axis=1), weights)

        output, pullback = jax.vjp(forward, pixels)
        return pullback(output)

    call = functools.partial(run, pixels, weights)
    jax.block_until_ready(call())
    return call


def torch_of(plan: autoformer.Plan, grid: int, batch: int, patch: int) -> Callable[[], Any]:
    """A function that runs a plain PyTorch network of the same sizes, forward and back, R_K and R_V made as tables."""
    import torch
    from torch import nn

    index = torch.arange(grid)
    steps = (index[None, :] - index[:, None]).clamp(-14, 14) + 15
    rows = torch.zeros(grid**2 + 1, grid**2 + 1, dtype=torch.long)
    columns = rows.clone()
    rows[1:, 1:] = steps.repeat_interleave(grid, 0).repeat_interleave(grid, 1)
    columns[1:, 1:] = steps.repeat(grid, grid)

    class Attention(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.heads, q = heads, HEAD * heads
            self.qkv, self.proj = nn.Linear(width, 3 * q), nn.Linear(q, width)
            self.tables = nn.ParameterList([nn.Parameter(0.02 * torch.randn(30, HEAD)) for _ in range(4)])

        def forward(self, x: Any) -> Any:
            n, t, _ = x.shape
            q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, HEAD).permute(2, 0, 3, 1, 4)
            key = self.tables[0][rows] + self.tables[1][columns]
            value = self.tables[2][rows] + self.tables[3][columns]
            logits = q @ k.transpose(-2, -1)
            logits = logits + (q.permute(2, 0, 1, 3).reshape(t, -1, HEAD) @ key.transpose(1, 2)).reshape(
                t, n, self.heads, t
            ).permute(1, 2, 0, 3)
            weights = (logits * HEAD**-0.5).softmax(-1)
            output = weights @ v
            output = output + (weights.permute(2, 0, 1, 3).reshape(t, -1, t) @ value).reshape(
                t, n, self.heads, HEAD
            ).permute(1, 2, 0, 3)
            return self.proj(output.transpose(1, 2).reshape(n, t, -1))

    class Encoder(nn.Module):
        def __init__(self, width: int, heads: int, hidden: int) -> None:
            super().__init__()
            self.attention, self.norm1, self.norm2 = Attention(width, heads), nn.LayerNorm(width), nn.LayerNorm(width)
            self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

        def forward(self, x: Any) -> Any:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    torch.set_num_threads(1)
    blocks = [Encoder(plan.width, h, int(plan.width * m)) for h, m in zip(plan.heads, plan.ratios, strict=True)]
    body, embed = nn.Sequential(*blocks), nn.Conv2d(3, plan.width, patch, patch)
    head, image = nn.Linear(plan.width, 1000), torch.randn(batch, 3, grid * patch, grid * patch)
    label = torch.arange(batch) % 1000

    def run() -> Any:
        x = embed(image).flatten(2).transpose(1, 2)
        logits = head(body(torch.cat([x[:, :1], x], 1))[:, 1:].mean(1))
        nn.functional.cross_entropy(logits, label).backward()
        return np.zeros(1)

    run()
    return run


def main(_: list[str]) -> None:
    """Scores and times."""
    space = search_spaces.make_space(FLAGS.space, {"input_size": FLAGS.input_size})
    grid, choices = FLAGS.input_size // 16, autoformer.GRIDS[FLAGS.space]
    source = datasets.noise(num_classes=1000)
    batch = datasets.draw_batch(jax.random.key(0), source, FLAGS.batch_size)
    archs = np.asarray(jax.vmap(space.sample)(jax.random.split(jax.random.key(1), FLAGS.num_archs)))
    scorer = scoring.make_scorer(
        jax.random.key(2),
        space,
        [proxies.wrcor()],
        num_classes=1000,
        initializer=transformer,
        devices=jax.local_devices()[:1],
    )
    start = time.perf_counter()
    score = lambda arch: scorer.score(arch[None], [0], batch)
    score(archs[0])
    first = time.perf_counter() - start
    times = [seconds(functools.partial(score, arch), FLAGS.calls) for arch in archs]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{FLAGS.space}, {FLAGS.batch_size} pictures of {FLAGS.input_size}: compiling {first - times[0]:.1f} s, ",
        end="",
    )
    print(f"{scorer.num_compilations()} program, peak memory {peak:.2f} GiB")
    for arch, own in zip(archs, times, strict=True):
        plan = autoformer.plan_of(choices, arch)
        floor = seconds(floor_of(plan, grid, FLAGS.batch_size, 16), FLAGS.calls)
        again = seconds(functools.partial(score, arch), FLAGS.calls)
        line = f"width {plan.width}, depth {len(plan.heads)}: WRCor {own:.2f} s, again {again:.2f} s, "
        line += f"products {floor:.2f} s, ratio {again / floor:.2f}"
        if FLAGS.torch:
            line += f", PyTorch {seconds(torch_of(plan, grid, FLAGS.batch_size, 16), FLAGS.calls):.2f} s"
        print(line, flush=True)


if __name__ == "__main__":
    app.run(main)
