"""Trains an architecture from scratch by a published recipe, and tests it.

    train_main --arch=13714 --dataset=cifar10                     # a NAS-Bench-201 cell by its index, 200 epochs
    train_main --arch=results/found/report.json --recipe=nasbench201_12 --augmentations=flip,crop,cutout
    train_main --space=mobilenetv2 --arch='SuperConvK3BNRELU(...)...@224' --dataset=imagenet2012 --teacher=logits.npy

Stopped at any moment and started again with the same flags, it goes on from the last checkpoint, to the same weights.
"""

from collections.abc import Callable
import dataclasses
import json
import pathlib
from typing import Any

from absl import flags as absl_flags
import jax
import numpy as np

from zsnas_jax import datasets, flags, search_spaces, training
from zsnas_jax.base import Arch, SearchSpace
from zsnas_jax.datasets import PictureSource
from zsnas_jax.nn.initializers import INITIALIZERS
from zsnas_jax.reports import score_report, train_report
from zsnas_jax.training import Data, Frame, Model, Recipe

FLAGS = absl_flags.FLAGS
_RECIPE_OF = {"nasbench201": "nasbench201", "nasbench101": "nasbench101", "mobilenetv2": "imagenet"}
_USUAL_SIZE = 224
_DEFINE: dict[type, Callable[..., Any]] = {
    int: absl_flags.DEFINE_integer,
    float: absl_flags.DEFINE_float,
    bool: absl_flags.DEFINE_bool,
    str: absl_flags.DEFINE_string,
    tuple[str, ...]: absl_flags.DEFINE_list,
}


def define_flags() -> None:
    """The flags of this binary; those of a recipe's fields take the place of what it says."""
    flags.define_common_flags()
    flags.define_network_flags("cifar10")
    absl_flags.DEFINE_string(
        "arch", None, "What to train: a string, a published index, or the report.json of a search, of which the best."
    )
    absl_flags.DEFINE_string(
        "recipe", None, f"How: {', '.join(training.RECIPES)}; default that of the space. The flags below change it."
    )
    allowed = {"augmentations": f" Names, separated by commas: {', '.join(training.AUGMENTATIONS)}."}
    for field in dataclasses.fields(Recipe):
        if field.name != "source":
            said = f"In the place of the recipe's {field.name}.{allowed.get(field.name, '')}"
            _DEFINE[field.type](field.name, None, said)  # type: ignore[index]
    absl_flags.DEFINE_string(
        "teacher",
        None,
        "Whose soft labels to learn, too: a folder that train_main made, or the .npy of logits [pictures, classes].",
    )
    absl_flags.DEFINE_integer("image_size", None, "Pixels along a side; default the data set's, 224 where they differ.")
    absl_flags.DEFINE_integer("num_devices", 0, "Devices that share a batch; 0: every GPU, or one CPU.")
    absl_flags.DEFINE_integer("checkpoint_every", 0, "Steps between checkpoints beside those of each epoch; 0: none.")
    absl_flags.DEFINE_integer("test_every", 1, "Epochs between tests; the last is tested in any case.")


def _arch(space: SearchSpace) -> Arch:
    """The architecture that --arch names."""
    text = FLAGS.arch
    if not text:
        raise ValueError("arch is missing: give --arch a string, a published index, or the report.json of a search")
    if text.endswith(".json"):
        try:
            text = str(json.loads(pathlib.Path(text).read_text())["best"]["arch"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"arch {text}: it is no report of a search ({type(error).__name__})") from error
    if text.isdigit() and space.from_index and space.num_archs:
        if int(text) >= space.num_archs:
            raise ValueError(f"arch {text}: space {space.name} has {space.num_archs}")
        return np.asarray(space.from_index(np.array([int(text)])))[0]
    return space.decode(text)


def _recipe(space: SearchSpace) -> Recipe:
    """The recipe of the space or of --recipe, with what other flags say."""
    names = [field.name for field in dataclasses.fields(Recipe) if field.name != "source"]
    given: dict[str, Any] = {name: FLAGS[name].value for name in names if FLAGS[name].value is not None}
    if "augmentations" in given:
        given["augmentations"] = tuple(name for name in given["augmentations"] if name)
    return dataclasses.replace(training.find_recipe(name_recipe(space, FLAGS.recipe)), **given)


def name_recipe(space: SearchSpace, asked: str | None) -> str:
    """The recipe that is asked for, or that of the papers of a space.

    Raises:
        ValueError: if none is asked for and the space has none.
    """
    name = asked or _RECIPE_OF.get(space.name)
    if name is None:
        raise ValueError(
            f"space {space.name} has no recipe of its own: give --recipe, allowed are {', '.join(training.RECIPES)}"
        )
    return name


def _data(source: PictureSource) -> Data:
    if source.examples is None:
        raise ValueError(f"data set {source.name} holds nothing to learn: give --dataset pictures")
    train = source.examples("train")
    assert train is not None
    if FLAGS.image_size is not None and FLAGS.image_size < 1:
        raise ValueError(f"image_size is {FLAGS.image_size}: at least 1 is needed")
    frame = Frame(FLAGS.image_size or source.image_size or _USUAL_SIZE, source.mean, source.std)
    return Data(train, source.examples("test"), frame, source.num_classes)


def _teacher(path: str | None) -> tuple[Any, dict[str, Any]]:
    """(a function of pictures to logits, or logits float[M, K], or None; what settings say of it)."""
    if path is None:
        return None, {"teacher": None}
    if path.endswith(".npy"):
        try:
            return np.load(path, allow_pickle=False, mmap_mode="r"), {"teacher": path}
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"teacher {path} cannot be read: {error}") from error
    module, variables = training.load(path)
    own = {"teacher": path, "teacher_sha256": training.fingerprint(path)}
    return lambda image: module.apply(variables, image), own


def _model(space: SearchSpace, arch: Arch, recipe: Recipe, data: Data) -> tuple[Model, tuple[int, int]]:
    """(the network, (its parameters, its FLOPs))."""
    if FLAGS.init not in INITIALIZERS:
        raise ValueError(f"unknown init {FLAGS.init!r}: allowed are {', '.join(INITIALIZERS)}")
    model = training.make_model(
        space,
        arch,
        data.num_classes,
        mean=data.frame.mean,
        std=data.frame.std,
        norm_momentum=recipe.norm_momentum,
        initializer=INITIALIZERS[FLAGS.init],
    )
    try:
        num_params, num_flops = training.count_costs(model, data.frame.size)
    except TypeError as error:  # what jax says of shapes
        reason = str(error).splitlines()[0]
        raise ValueError(f"pictures of {data.frame.size} pixels do not fit space {space.name}: {reason}") from error
    if space.num_flops:  # by the rule of the space, as everywhere
        num_flops = int(space.num_flops(arch, data.num_classes, data.frame.size))
    return model, (num_params, num_flops)


def main() -> None:
    """Reads the flags, trains, writes the results."""
    flags.configure(most_cpu_devices=1)
    space = search_spaces.make_space(FLAGS.space)
    arch, recipe = _arch(space), _recipe(space)
    if not 0 <= FLAGS.seed < 2**32:
        raise ValueError(f"seed is {FLAGS.seed}: allowed are 0 to {2**32 - 1}")
    data = _data(datasets.load(FLAGS.dataset, FLAGS.data_dir, FLAGS.num_classes))
    num_devices = FLAGS.num_devices or (1 if jax.default_backend() == "cpu" else jax.device_count())
    mesh = training.make_mesh(num_devices, recipe.batch_size)
    model, costs = _model(space, arch, recipe, data)
    benchmark = flags.ground_truth(space.name)
    own = FLAGS.benchmark_column, space, np.stack([arch]), FLAGS.dataset
    truth = score_report.find_truth(benchmark, *own) if benchmark else None
    teacher, said = _teacher(FLAGS.teacher)
    settings = {"space": space.name, "arch": space.encode(arch), "dataset": FLAGS.dataset, "init": FLAGS.init, **said}
    whole = training.describe(recipe, data, FLAGS.seed, teacher, mesh) | settings
    name = pathlib.Path(FLAGS.dataset).stem
    out = flags.results_folder(f"train-{space.name}-{name}", whole)
    trained = training.fit(
        out,
        model,
        recipe,
        data,
        settings=settings,
        seed=FLAGS.seed,
        teacher=teacher,
        mesh=mesh,
        checkpoint_every=FLAGS.checkpoint_every,
        test_every=FLAGS.test_every,
        on_epoch=train_report.make_journal(out, name),
    )
    made = train_report.make_report(whole, trained.history, costs, truth)
    written = train_report.write_report(out, made)
    print(train_report.as_text(made))
    print(f"\nwritten: {out}/ {', '.join(written)}")


def cli() -> None:
    """The console command."""
    define_flags()
    flags.run(main, __doc__)


if __name__ == "__main__":
    cli()
