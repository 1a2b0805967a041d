"""MobileNetV2 as a chain, in tiles of channels and whole: scored as the one module, with programs that are shared."""

import csv
import json
import subprocess
import sys

import conftest
from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import proxies, scoring
from zsnas_jax.base import Batch
from zsnas_jax.correlation import response_matrix
from zsnas_jax.measure import sums, tiles
from zsnas_jax.measure.blocks import Asked, moments
from zsnas_jax.measure.chain import Chain
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.proxies.activation import code_agreement
from zsnas_jax.search_spaces import mobilenetv2
from zsnas_jax.search_spaces.mobilenetv2.network import (
    MobileNetV2,
    Plan,
    StagePlan,
    layers_of,
    padded,
    steps,
    tile_of,
    weights,
)

SPACE = mobilenetv2.space()
# Widths that are padded, more than one tile, a stride, both kinds of shortcut.
SMALL = Plan(8, 136, 32, (StagePlan(2, 3, 2, 2, 24, 72),))
TWO_STAGES = SMALL._replace(stages=(*SMALL.stages, StagePlan(1, 5, 1, 1, 8, 8)))
IN_TILES = ("wrcor", "naswot", "jaccor", "epe", "pnorm", "snip", "pgnorm", "params")
WHOLE = ("fisher", "swap", "phi", "nir_nwot", "sam_nwot")
ARCHS = np.zeros((1, 45), np.int32)


def small_space(plan=SMALL, squeeze_excite=True):
    """A space of one network."""
    own = lambda make: lambda arch, num_classes: make(plan, num_classes, squeeze_excite)
    return SPACE._replace(
        name="small",
        make_network=lambda num_classes: MobileNetV2(num_classes, squeeze_excite),
        encode=lambda arch: "small",
        static=lambda arch: plan,
        chain=Chain(own(steps), own(weights)),
        num_params=None,
        num_flops=lambda arch, num_classes, size: 8,
    )


def scores(names, programs, batch, options=None, **space):
    own = {"num_classes": 10, "options": options, "programs": programs}
    chosen = proxies.make_proxies(names)
    return scoring.make_scorer(jax.random.key(3), small_space(**space), chosen, **own).score(ARCHS, [0], batch)[0]


def compare(names, rtol=2e-4, **how):
    batch = tiny.batch(batch_size=6)
    whole, chained = (scores(names, programs, batch, **how) for programs in ("static", "chained"))
    assert np.isfinite(whole).all()
    np.testing.assert_allclose(chained, whole, rtol=rtol)


@pytest.mark.dear  # half a minute
def test_tiles_score_as_the_whole_network_does():
    assert max(layer.middle for layer in layers_of(SMALL)) > tile_of(SMALL.resolution // 2)
    assert padded(SMALL.stem) > SMALL.stem
    compare(IN_TILES)


@pytest.mark.slow
def test_synflow_is_taken_from_tiles_in_float64():
    compare(["synflow"])


@pytest.mark.slow
def test_blocks_that_run_whole_do_so_too():
    compare(WHOLE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        {"plan": TWO_STAGES},
        {"squeeze_excite": False},
        {"options": LayerOptions(activation="gelu")},
        {"options": LayerOptions("identity")},
    ],
)
def test_so_they_do_in_other_guises(how):
    compare([name for name in IN_TILES if name != "params"], 1e-3, **how)


@pytest.mark.parametrize("squeeze_excite", [True, False])
def test_a_plan_says_what_the_parameters_of_its_network_are(squeeze_excite):
    network, image = MobileNetV2(10, squeeze_excite), jnp.zeros((1, 8, 8, 3))
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), image, SMALL))["params"]
    said = {path: weight.shape for path, weight in weights(SMALL, 10, squeeze_excite).items()}
    assert {path: leaf.shape for path, leaf in flatten_dict(shapes).items()} == said


def test_programs_are_shared():
    batch, chosen = tiny.batch(batch_size=6), proxies.make_proxies(["acor"])
    wider = SMALL._replace(stages=(SMALL.stages[0]._replace(bottleneck=80),))
    plans = [SMALL, wider]
    of = lambda make: lambda arch, num_classes: make(plans[int(arch[0])], num_classes)
    space = small_space()._replace(chain=Chain(of(steps), of(weights)))
    scorer = scoring.make_scorer(jax.random.key(1), space, chosen, num_classes=10)
    first, before = scorer.score(ARCHS, [0], batch), scorer.num_compilations()
    second = scorer.score(ARCHS + 1, [0], batch)
    assert np.isfinite(first).all() and np.isfinite(second).all() and first != second
    assert scorer.num_compilations() == before


def test_tiles_serve_what_adds_up_over_channels():
    chain, asked = steps(SMALL, 10), Asked(LayerOptions())
    serves = lambda **changes: tiles.serves(chain, asked._replace(**changes), [code_agreement])
    assert serves(statistics=(response_matrix, code_agreement), gradients=True) and serves(
        options=LayerOptions("identity")
    )
    for changes in (
        {"statistics": (jnp.abs,)},
        {"features": True},
        {"rescale": True},
        {"fisher": True},
        {"options": LayerOptions("ln")},
        {"options": LayerOptions(mask_rate=0.5)},
    ):
        assert not serves(**changes)
    assert not tiles.serves((*chain, chain[-1]._replace(split=None)), asked, [])


def test_matrices_of_parts_are_those_of_the_site():
    x = jax.random.normal(jax.random.key(0), (4, 3, 3, 5))
    parts = [x[..., :2], jnp.pad(x[..., 2:], [(0, 0)] * 3 + [(0, 2)])]
    found = sums.Sums()
    for statistic in (moments, code_agreement):
        for part, channels in zip(parts, (2, 3), strict=True):
            found.add_part(statistic, ("site",), statistic(part), part.shape, channels)
    joined = sums.join_matrices(found.parts[moments, ("site",)])
    np.testing.assert_allclose(joined, response_matrix(x), atol=1e-6)
    agreement = sums.join_values(code_agreement, found.parts[code_agreement, ("site",)], 4)
    np.testing.assert_array_equal(agreement, code_agreement(x))


def test_dead_pictures_have_no_score():
    batch = tiny.batch(batch_size=6)
    blank = Batch(jnp.zeros_like(batch.image), batch.label)
    assert scores(["acor"], "chained", blank).tolist() == [-np.inf]


def test_one_program_for_all_is_not_offered():
    batch = tiny.batch(batch_size=6)
    chosen = proxies.make_proxies(["zico"])
    with pytest.raises(
        ValueError, match="proxy zico runs the network itself, .*: space mobilenetv2 offers it by programs static"
    ):
        scoring.make_scorer(jax.random.key(0), SPACE, chosen, num_classes=10)
    with pytest.raises(ValueError, match="space mobilenetv2 offers chained, static"):
        scoring.make_scorer(jax.random.key(0), SPACE, chosen, num_classes=10, programs="dispatched")
    with pytest.raises(ValueError, match="mobilenetv2 take no traced genotype: score them by make_scorer"):
        scoring.score_arch(jax.random.key(0), ARCHS[0], batch, space=SPACE, proxies=chosen, num_classes=10)


def run(*flags, cwd):
    command = [sys.executable, "-m", *flags, f"--compilation_cache={conftest.CACHE}"]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
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
        *("zsnas_jax.score_main", "--space=mobilenetv2", "--archs=archs.txt", "--proxies=acor,pnorm,params"),
        *("--batch_size=4", "--out=scored"),
        cwd=tmp_path,
    )
    assert scored.returncode == 0, scored.stderr
    report = json.loads((tmp_path / "scored" / "report.json").read_text())
    assert list(report["proxies"]) == ["acor", "pnorm", "params"]
    with open(tmp_path / "scored" / "scores.csv") as file:
        [row] = csv.DictReader(file)
    assert row["arch"] == arch and np.isfinite([float(row[name]) for name in report["proxies"]]).all()
    refused = run("zsnas_jax.score_main", "--space=mobilenetv2", "--archs=0:4", cwd=tmp_path)
    assert refused.returncode == 1 and "has no published order, use random:COUNT or a file" in refused.stderr
    limited = run("zsnas_jax.search_main", "--space=mobilenetv2", "--flops_limit=1e6", cwd=tmp_path)
    assert limited.returncode == 1 and "the smallest is" in limited.stderr and "10000 sampled" in limited.stderr
