"""NAS-Bench-Suite-Zero's values of any space beside the accuracies in its files, and beside ours."""

import golden
import numpy as np
import pytest

from projects.spaces.scored import Scored
from projects.suite import report_main, stored_values
from zsnas_jax import search_spaces
from zsnas_jax.reports import metrics

FILES = {
    "transnas101_micro": "data/extra/transnas101_micro_suite_zero.csv.gz",
    "transnas101_macro": "data/extra/transnas101_macro_suite_zero.csv.gz",
    "darts": "data/extra/nb301_surrogate_1225.csv.gz",
    "nasbench101": "data/extra/nb101_zc_proxies_500.csv.gz",
}
COUNTS = {"transnas101_micro": 711, "transnas101_macro": 662, "darts": 1218, "nasbench101": 292}


@pytest.mark.parametrize("name", FILES)
def test_the_published_files_are_read(name):
    values = stored_values.read(golden.shared_file(FILES[name]), name)
    assert len(values) == (7 if "transnas" in name else 1) and len(values[0].archs) == COUNTS[name]
    space = search_spaces.make_space(name)
    if name == "transnas101_micro":
        space = space.with_task("jigsaw")
        own = next(own for own in values if own.task == "jigsaw")
        params = [int(space.num_params(space.decode(arch), 1000)) for arch in own.archs[:50]]
        assert metrics.spearman(np.array(params, float), own.scores["params"][:50]) > 0.999
    assert all(np.isfinite(own.accuracy).all() for own in values)


def values(**own):
    given = {"params": np.array([1.0, 3, 2, 4]), "jaccor": np.array([1.0, np.nan, -np.inf, 3]), **own}
    return stored_values.Values("darts", "", ["a", "b", "c", "d"], given, np.array([0.1, 0.3, 0.2, 0.4]), "f00d")


def test_what_is_not_there_is_left_out_and_what_failed_is_last():
    params, jaccor = report_main.worth(values())
    assert (params["archs"], params["rho"], params["below"]) == (4, 1, "")
    assert (jaccor["archs"], jaccor["failed"], jaccor["below"]) == (3, 1, "params") and jaccor["rho"] == pytest.approx(
        0.5
    )


def test_ours_are_compared_where_both_are():
    report = {"settings": {"space": "darts"}}
    ours = Scored(report, ["d", "x", "a", "b"], {"params": np.array([9.0, 0, 1, 5])}, np.array([0.4, 0.9, 0.1, 0.3]))
    (record,) = report_main.agreement(ours, values())
    assert (record["proxy"], record["archs"], record["alike"], record["ours"]) == ("params", 3, 1, 1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("nasbench201", "", "values of space 'nasbench201': allowed are transnas101_micro"),
        ("darts", "compact,snip\n", r"lacks a column 'val_accuracy', or one of epe_nas"),
        ("darts", "compact,val_accuracy,snip\nx,1,2\n", r"line 2: "),
        ("transnas101_micro", 'naslib_ops,val_metric,task,snip\n"(1, 2)",1,a,2\n', "line 2: '.1, 2.' is no tuple of six"),
        ("transnas101_micro", 'naslib_ops,val_metric,task,snip\n__import__,1,a,2\n', "line 2: "),
        ("nasbench101", "index,val_accuracy,snip\n1.5,1,2\n", "line 2: index is '1.5': a whole number"),
        ("nasbench101", "index,val_accuracy,snip\n1,much,2\n", "line 2: val_accuracy is 'much'"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused(tmp_path, name, text, message):
    (tmp_path / "values.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        stored_values.read(tmp_path / "values.csv", name)
