"""A score's profile over the layers."""

import csv

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax import scoring
from zsnas_jax.base import Batch
from zsnas_jax.nn.probes import Site
from zsnas_jax.proxies import response
from zsnas_jax.reports import plots, profile_report


class Layers(nn.Module):
    """Three dense layers, each with a response site."""

    @nn.compact
    def __call__(self, x):
        for _ in range(3):
            x = Layer()(x)
        return nn.Dense(3)(x)


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(Site()(nn.Dense(8)(x)))


BATCH = Batch(jax.random.normal(jax.random.key(0), (4, 6)), jnp.arange(4) % 3)


def test_a_layer_alone_is_scored_and_what_is_not_there_has_no_score():
    whole = [response.num_layers(), response.rcor(), response.response_correlation("first", layers=(1,))]
    module = Layers()
    variables = module.init(jax.random.key(0), BATCH.image)
    score = lambda chosen: np.asarray(scoring.score_module(jax.random.key(1), module, variables, BATCH, proxies=chosen))
    count, rcor, first = score(whole)
    layers = score(response.profile("rcor", 4))
    assert count == 3 and layers[3] == -np.inf and np.isfinite(layers[:3]).all()
    np.testing.assert_allclose(layers[0], first)
    assert rcor > layers[:3].max()  # det(A + B) >= det A + det B of positive semi-definite ones, which |corr| nearly is


def test_a_profile_is_written_and_drawn(tmp_path):
    values, asked = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, -np.inf]]), []

    def score(chosen):
        asked.extend(proxy.name for proxy in chosen)
        return values

    found = profile_report.profile("gcor", ["a", "b"], np.array([[3.0], [2.0]]), score)
    assert asked == ["gcor"] * 3
    for accuracy in (None, np.array([0.5, 0.75])):
        assert profile_report.write(tmp_path, found, accuracy) == ["profile.csv", "profile.png"]
    with open(tmp_path / "profile.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["arch"], row["layer"], row["gcor"]) for row in rows][3:] == [
        ("b", "1", "4"),
        ("b", "2", "5"),
        ("b", "3", "-inf"),
    ]
    assert (tmp_path / "profile.png").read_bytes().startswith(b"\x89PNG")


def test_long_architectures_keep_their_ends_in_the_legend(tmp_path, monkeypatch):
    labels, draw = [], plots.Axes.plot

    def plot(axes, *values, **style):
        labels.append(style["label"])
        return draw(axes, *values, **style)

    monkeypatch.setattr(plots.Axes, "plot", plot)
    plots.profile(tmp_path / "profile.png", {"a" * 60 + "b" * 60: np.ones(2)}, "rcor")
    assert len(labels) == 1 and labels[0].startswith("aaaa") and labels[0].endswith("bbbb") and len(labels[0]) == 90
