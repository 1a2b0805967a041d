"""Networks read piece by piece: equal to the whole ones, searched and stopped as they are, refused where they must be."""

import csv
import gc
import json
import subprocess
import sys
import weakref

import conftest
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tqdm import tqdm

from zsnas_jax import proxies, scoring, search, search_spaces
from zsnas_jax.base import Batch
from zsnas_jax.measure import pieces, piecewise
from zsnas_jax.nn.initializers import kaiming_uniform
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.proxies import naswot, wrcor, zico
from zsnas_jax.search import seeds
from zsnas_jax.search.host import HostLoop
from zsnas_jax.search_spaces import mobilenetv2
from zsnas_jax.search_spaces.mobilenetv2 import pieces as mobilenetv2_pieces
from zsnas_jax.search_spaces.mobilenetv2 import reading as mobilenetv2_reading
from zsnas_jax.search_spaces.mobilenetv2.network import MobileNetV2, Plan, StagePlan, kernel_shapes, layers_of

SPACE = mobilenetv2.space()
# Two stages: widths that are padded, more than one tile, both strides, all three kinds of shortcut and kernel sizes.
SMALL = Plan(8, 136, 32, (StagePlan(2, 3, 2, 2, 24, 72), StagePlan(1, 5, 1, 1, 8, 8)))
PROGRAMS = pieces.Programs()
SERVED = ("acor", "wrcor", "naswot", "jaccor", "epe", "pnorm", "snip", "pgnorm", "synflow", "params")


def small_space(plan=SMALL, squeeze_excite=True):
    """A space of one network."""

    def read(programs, arch, kernels, options, batch, wanted):
        return mobilenetv2_reading.read(programs, plan, kernels, options, batch, wanted, squeeze_excite)

    shapes = lambda arch, num_classes: kernel_shapes(plan, num_classes, squeeze_excite)
    own = piecewise.Pieces(shapes, read)
    sizes = {"num_params": lambda arch, classes: 7, "num_flops": lambda arch, classes, size: 8}
    return SPACE._replace(name="small", pieces=own, **sizes)


def whole_scores(names, key, batch, *, plan=SMALL, squeeze_excite=True, options=None):
    """The scores of the network as a Flax module, with the kernels that pieces draw."""
    network = MobileNetV2(num_classes=10, squeeze_excite=squeeze_excite)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), batch.image[:1], plan))["params"]
    fill = lambda path, leaf: (jnp.ones if path[-1] == "norm_scale" else jnp.zeros)(leaf.shape)
    flat = {path: fill(path, leaf) for path, leaf in flatten_dict(shapes).items()}
    kernels = {path: leaf.shape for path, leaf in flat.items() if path[-1] == "kernel"}
    assert kernels == kernel_shapes(plan, 10, squeeze_excite)
    params = unflatten_dict(
        flat | piecewise.draw_kernels(key, kernel_shapes(plan, 10, squeeze_excite), kaiming_uniform)
    )
    own = {"proxies": proxies.make_proxies(names), "options": options, "layer_of": network.layer_of}
    score = lambda params, batch: scoring.score_module(key, network, {"params": params}, batch, plan, **own)
    return np.asarray(jax.jit(score)(params, batch))


def piecewise_scores(names, key, batch, options=None, programs=PROGRAMS, **space):
    chosen, own = proxies.make_proxies(names), {"num_classes": 10, "initializer": kaiming_uniform, "programs": programs}
    own |= {"options": options or LayerOptions(), "space": small_space(**space), "proxies": chosen}
    return piecewise.score(key, np.zeros(45, np.int32), batch, **own)


def test_the_pieces_score_as_the_whole_network_does():
    key, batch = jax.random.key(3), tiny.batch(batch_size=6)
    assert max(layer.middle for layer in layers_of(SMALL)) > mobilenetv2_pieces.tile_of(SMALL.resolution // 2)
    parts, whole = piecewise_scores(SERVED, key, batch), whole_scores(SERVED, key, batch)
    size = SERVED.index("params")
    assert parts[size] == 7 and np.isfinite(whole).all()
    np.testing.assert_allclose(np.delete(parts, size), np.delete(whole, size), rtol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [{"squeeze_excite": False}, {"options": LayerOptions(activation="gelu")}, {"options": LayerOptions("identity")}],
)
def test_so_they_do_in_other_guises(how):
    key, batch = jax.random.key(4), tiny.batch(batch_size=6)
    names = [name for name in SERVED if name != "params"]
    np.testing.assert_allclose(
        piecewise_scores(names, key, batch, **how), whole_scores(names, key, batch, **how), rtol=1e-3
    )


def test_programs_are_shared():
    key, batch = jax.random.key(5), tiny.batch(batch_size=6)
    wider = SMALL._replace(stages=(SMALL.stages[0]._replace(bottleneck=80), SMALL.stages[1]._replace(bottleneck=16)))
    piecewise_scores(["wrcor"], key, batch)
    before = PROGRAMS.num_compiled
    assert np.isfinite(piecewise_scores(["wrcor"], key, batch, plan=wider)).all()
    assert PROGRAMS.num_compiled == before


def test_programs_make_room_for_others():
    add, programs = lambda piece, x: x + 1, pieces.Programs(limit=2)
    for length in (1, 2, 1, 3, 1, 2):  # 2 makes room for 3, since 1 was used later
        np.testing.assert_array_equal(programs.run(add, None, np.zeros(length, np.float32)), np.ones(length))
    assert programs.num_compiled == 4


def test_a_tape_is_gone_when_it_is_done_with():
    tape = pieces.Tape(PROGRAMS, 1, correlation=False, codes=False)
    x = pieces.Value(np.ones((2, 4, 4, 3), np.float32))
    kernel = pieces.Kernel(("kernel",), np.ones((3, 5), np.float32))
    y = tape.run(mobilenetv2_pieces.Widen(), x, kernel)
    back, gradient = tape.back(y, jnp.ones_like(y.array), x, correlation=False, saliency=True)
    np.testing.assert_allclose(gradient, 5.0)
    assert back.totals() == {("kernel",): (15 * 32.0, 15 * 32.0**2)}
    gone = weakref.ref(tape)
    gc.disable()  # its arrays are gigabytes: they must not wait for cycles to be found
    try:
        del tape
        assert gone() is None
    finally:
        gc.enable()


def test_a_score_depends_on_the_key_and_the_architecture_alone():
    batch, archs = tiny.batch(batch_size=6), np.stack([np.zeros(45, np.int32), np.ones(45, np.int32)])
    chosen = proxies.make_proxies(["pnorm", "acor"])
    scorer = scoring.make_scorer(jax.random.key(1), small_space(), chosen, num_classes=10)
    first, other = scorer.score(archs[:1], [0], batch), scorer.score(archs[1:], [0], batch)
    np.testing.assert_array_equal(first, scorer.score(archs[:1], [0], batch))
    assert (first != other).all() and (first != scorer.score(archs[:1], [1], batch)).all()


def test_dead_pictures_have_no_score():
    batch = tiny.batch(batch_size=6)
    blank = Batch(jnp.zeros_like(batch.image), batch.label)
    assert piecewise_scores(["acor", "naswot"], jax.random.key(3), blank).tolist() == [-np.inf, -np.inf]


def test_what_pieces_do_not_serve_is_refused():
    batch, archs = tiny.batch(batch_size=6), np.zeros((2, 45), np.int32)
    make = lambda proxy, **own: scoring.make_scorer(jax.random.key(0), SPACE, [proxy], num_classes=10, **own)
    for name in ("zico", "grasp", "fisher", "swap", "phi", "zen", "bt", "dyniso", "lydyniso", "neg_log_fisher"):
        with pytest.raises(ValueError, match=f"proxy {name}: networks of mobilenetv2 are scored piece by piece, which"):
            make(*proxies.make_proxies([name]))
    with pytest.raises(ValueError, match="naswot under norm ln and mask rate 0.0: .* allows the norms bn, identity"):
        make(naswot(), options=LayerOptions("ln"))
    with pytest.raises(ValueError, match="sam_nwot under norm bn and mask rate 0.95"):
        make(*proxies.make_proxies(["sam_nwot"]))
    with pytest.raises(ValueError, match="2 candidates in one call: allowed is 1"):
        make(wrcor()).score(archs, [0, 0], batch)
    with pytest.raises(ValueError, match="labels are needed, the batch has none"):
        make(wrcor()).score(archs[:1], [0], Batch(batch.image, None))
    with pytest.raises(ValueError, match="read piece by piece: score it by make_scorer"):
        scoring.score_arch(jax.random.key(0), archs[0], batch, space=SPACE, proxies=[zico()], num_classes=10)


@pytest.mark.parametrize("name", search.STRATEGIES)
def test_a_search_on_the_host_ends_as_the_scan_does(name):
    space = search_spaces.make_space("nasbench201")
    options = {"evolution": {"population_size": 3, "tournament_size": 2}, "reinforce": {"num_reference": 3}}.get(
        name, {}
    )
    strategy = search.make_strategy(name, space, num_experts=1, **options)
    score_fn = lambda arch: jnp.asarray(arch).sum()[None].astype(jnp.float32)
    key = jax.random.key(2)
    scanned = jax.jit(lambda: search.run(key, strategy, score_fn, 12, reuse=True))()
    scored = []
    state = search.start(key, strategy, score_fn, 12)
    loop = HostLoop(strategy, lambda arch: scored.append(arch) or score_fn(arch))
    for count in (5, 7):
        state = loop.advance(state, count, {})
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(scanned), strict=True):
        plain = lambda leaf: np.asarray(jax.random.key_data(leaf) if leaf.dtype == key.dtype else leaf)
        np.testing.assert_allclose(plain(one), plain(other), rtol=1e-5, atol=1e-6)
    assert len(scored) == int(state.is_new.sum())


def test_a_search_on_the_host_that_is_stopped_goes_on(tmp_path):
    class Stop(Exception):
        pass

    class StoppedBar(tqdm):
        def set_postfix_str(self, *args, **kwargs):  # called behind the first commit
            raise Stop

    space, scored = search_spaces.make_space("nasbench201")._replace(pieces="on the host"), []
    strategy = search.evolution(space, population_size=3, tournament_size=2)
    score_fn = lambda arch: scored.append(arch) or np.float32([np.sum(arch)])
    running = seeds.Search(jax.random.key(0), space, strategy, score_fn, ("sum",), 6, 4, 1)
    with seeds.SearchStore(tmp_path / "whole", {}) as store:
        whole, _ = seeds.run_seeds(store, running, 2)
    num_scored = len(scored)
    with seeds.SearchStore(tmp_path / "stopped", {}) as store, pytest.raises(Stop):
        seeds.run_seeds(store, running, 2, progress=StoppedBar)
    with seeds.SearchStore(tmp_path / "stopped", {}) as store:
        again, num_now = seeds.run_seeds(store, running, 2)
    assert num_now == 8 and len(scored) == 2 * num_scored
    for one, other in zip(whole[:4], again[:4], strict=True):
        np.testing.assert_array_equal(one, other)


def run(*flags, cwd):
    command = [sys.executable, "-m", *flags, f"--compilation_cache={conftest.CACHE}"]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=500)


def test_the_commands_take_the_space(tmp_path):
    narrow = "SuperConvK3BNRELU(3,16,2,1)" + "".join(
        f"SuperResIDWE1K3({inputs},{out},{stride},{wide},{layers})"
        for inputs, out, stride, wide, layers in [
            *[(16, 16, 2, 16, 1), (16, 16, 2, 16, 2), (16, 32, 2, 16, 2), (32, 48, 2, 32, 2), (48, 80, 1, 48, 2)],
            *[(80, 80, 1, 80, 2), (80, 128, 1, 80, 1)],
        ]
    )
    arch = f"{narrow}SuperConvK1BNRELU(128,128,1,1)@192"
    (tmp_path / "archs.txt").write_text(f"{arch}\n")
    scored = run(
        *("zsnas_jax.score_main", "--space=mobilenetv2", "--archs=archs.txt", "--proxies=acor,synflow,params"),
        *("--batch_size=4", "--out=scored"),
        cwd=tmp_path,
    )
    assert scored.returncode == 0, scored.stderr
    report = json.loads((tmp_path / "scored" / "report.json").read_text())
    assert list(report["proxies"]) == ["acor", "synflow", "params"]
    with open(tmp_path / "scored" / "scores.csv") as file:
        [row] = csv.DictReader(file)
    assert row["arch"] == arch and np.isfinite([float(row[name]) for name in report["proxies"]]).all()
    refused = run("zsnas_jax.score_main", "--space=mobilenetv2", "--archs=0:4", cwd=tmp_path)
    assert refused.returncode == 1 and "has no published order, use random:COUNT or a file" in refused.stderr
    limited = run("zsnas_jax.search_main", "--space=mobilenetv2", "--flops_limit=1e6", cwd=tmp_path)
    assert limited.returncode == 1 and "the smallest is" in limited.stderr and "10000 sampled" in limited.stderr
