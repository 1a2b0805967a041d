"""Trains an architecture from scratch by a published recipe, and tests it.

    train_main --arch=13714 --dataset=cifar10                     # a NAS-Bench-201 cell by its index, 200 epochs
    train_main --arch=results/found/report.json --recipe=nasbench201_12 --augmentations=flip,crop,cutout
    train_main --space=darts --arch='Genotype(...)' --channels=36 --layers=20 --dataset=cifar10    # C and L, told here
    train_main --space=mobilenetv2 --arch='SuperConvK3BNRELU(...)...@224' --dataset=imagenet2012 --teacher=logits.npy

Stopped at any moment and started again with the same flags, it goes on from the last checkpoint, to the same weights.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from zsnas_jax import command

    command.run("zsnas_jax.train_main")

import dataclasses
import json
import pathlib
from typing import Any

from absl import flags as absl_flags
import jax
import numpy as np

from zsnas_jax import datasets, flags, training
from zsnas_jax.arguments import Range, Subject
from zsnas_jax.base import Arch, SearchSpace
from zsnas_jax.datasets import PictureSource
from zsnas_jax.nn.initializers import INITIALIZERS
from zsnas_jax.reports import score_report, train_report
from zsnas_jax.runs.log import RunLog, now
from zsnas_jax.search_spaces import darts
from zsnas_jax.storage import files
from zsnas_jax.storage.reading import open_regular, read_bytes, reading
from zsnas_jax.training import Data, Frame, Model, Recipe
from zsnas_jax.training.recipes import OPTIMIZERS, PRECISIONS, SCHEDULES

FLAGS = absl_flags.FLAGS
_RECIPE_OF = {
    "nasbench201": "nasbench201",
    "nasbench101": "nasbench101",
    "mobilenetv2": "imagenet",
    "nasbench_macro": "nasbench_macro",
    "nats_size": "nats_size",
    "rlnas": "rlnas",
    **dict.fromkeys(darts.OFFERS, "darts"),
    **dict.fromkeys(("autoformer_t", "autoformer_s", "autoformer_b"), "autoformer"),
    **dict.fromkeys(("autoformer_plain", "pit"), "autoformer_plain"),
}
_USUAL_SIZE = 224
TRAINING = Subject("Training")
RECIPE = Subject("In the place of what the recipe says")
_MOST_STEPS, _MOST_EPOCHS = 2**31 - 1, 100_000
_MAX_REPORT = 1 << 28  # bytes
_SHARE, _WEIGHT = Range(0, 1, without=(1,)), Range(0, 1e6)
_ALLOWED: dict[str, Any] = {
    "epochs": Range(0, _MOST_EPOCHS, without=(0,)),
    "batch_size": Range(1, 65_536),
    "optimizer": OPTIMIZERS,
    "learning_rate": Range(0, 1e6, without=(0,)),
    "momentum": _SHARE,
    "weight_decay": _WEIGHT,
    "warmup_epochs": Range(0, _MOST_EPOCHS),
    "warmup_rate": _WEIGHT,
    "schedule": SCHEDULES,
    "final_rate": _WEIGHT,
    "rate_decay": Range(0, 1, without=(0,)),
    "clip": _WEIGHT,
    "label_smoothing": _SHARE,
    "mixup": _WEIGHT,
    "cutmix": _WEIGHT,
    "repeats": Range(1, 100),
    "norm_momentum": _SHARE,
    "ema_decay": _SHARE,
    "teacher_weight": _WEIGHT,
    "auxiliary_weight": _WEIGHT,
    "drop_path": _SHARE,
    "precision": PRECISIONS,
}
"""Fields of a recipe that are numbers or one of some words."""


def define_flags() -> None:
    """The flags of this binary; those of a recipe's fields take the place of what it says."""
    flags.NETWORK.path(
        "arch", None, "What to train: a string, a published index, or the report.json of a search, of which the best."
    )
    flags.define_network_flags("cifar10")
    flags.DATA.whole(
        "image_size", None, "Pixels along a side; default the data set's, 224 where they differ.", Range(1, 1024)
    )
    TRAINING.choice("recipe", None, "How to train; default as the papers do in the space.", training.RECIPES)
    TRAINING.path(
        "teacher",
        None,
        "Whose soft labels to learn, too: a folder that train_main made, or the .npy of logits [pictures, classes].",
    )
    TRAINING.whole(
        "checkpoint_every",
        0,
        "Steps between checkpoints beside those of each epoch; 0: none.",
        Range(0, _MOST_STEPS),
    )
    TRAINING.whole("test_every", 1, "Epochs between tests; the last is tested in any case.", Range(1, _MOST_EPOCHS))
    for field in dataclasses.fields(Recipe):
        _define_field(field.name, field.type)
    flags.define_common_flags()
    flags.RUN.whole("num_devices", 0, "Devices that share a batch; 0: every GPU, or one CPU.", flags.NUM_DEVICES)


def _define_field(name: str, kind: Any) -> None:
    """A flag in the place of a field of the recipe."""
    says = f"The recipe's {name}."
    if name == "source":
        return
    if kind is bool:
        RECIPE.switch(name, None, says)
    elif kind is int:
        RECIPE.whole(name, None, says, _ALLOWED[name])
    elif kind is float:
        RECIPE.real(name, None, says, _ALLOWED[name])
    elif kind is str:
        RECIPE.choice(name, None, says, _ALLOWED[name])
    else:
        RECIPE.words(name, None, f"{says} Names, separated by commas: {', '.join(training.AUGMENTATIONS)}.")


def _arch(space: SearchSpace) -> Arch:
    """The architecture that --arch names."""
    text = FLAGS.arch
    if not text:
        raise ValueError("arch is missing: give --arch a string, a published index, or the report.json of a search")
    if text.endswith(".json"):
        with reading(f"arch {text}: it is no report of a search"), open_regular(text) as file:
            text = str(json.loads(read_bytes(file, _MAX_REPORT))["best"]["arch"])
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
    frame = Frame(FLAGS.image_size or source.image_size or _USUAL_SIZE, source.mean, source.std)
    return Data(train, source.examples("test"), frame, source.num_classes)


def _check_length(recipe: Recipe, data: Data) -> None:
    """Raises ValueError if there are more steps than a step's number can say."""
    steps = recipe.epochs * len(data.train) / recipe.batch_size
    if steps > _MOST_STEPS:
        raise ValueError(f"epochs is {recipe.epochs:g}: that is {steps:.3g} steps, at most {_MOST_STEPS:,} are allowed")


def _teacher(path: str | None) -> tuple[Any, dict[str, Any]]:
    """(a function of pictures to logits, or logits float[M, K], or None; what settings say of it)."""
    if path is None:
        return None, {"teacher": None}
    if path.endswith(".npy"):
        with reading(f"teacher {path} cannot be read"), open_regular(path):
            return np.load(path, allow_pickle=False, mmap_mode="r"), {"teacher": path}
    module, variables = training.load(path)
    own = {"teacher": path, "teacher_sha256": training.fingerprint(path)}
    return lambda image: module.apply(variables, image), own


def _model(space: SearchSpace, arch: Arch, recipe: Recipe, data: Data) -> tuple[Model, tuple[int, int]]:
    """(the network, (its parameters, its FLOPs))."""
    model = training.make_model(
        space,
        arch,
        data.num_classes,
        mean=data.frame.mean,
        std=data.frame.std,
        norm_momentum=recipe.norm_momentum,
        initializer=INITIALIZERS[FLAGS.init],
        auxiliary=bool(recipe.auxiliary_weight),
        drop_path=bool(recipe.drop_path),
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
    space = flags.sized_space()
    arch, recipe = _arch(space), _recipe(space)
    data = _data(datasets.load(FLAGS.dataset, FLAGS.data_dir, FLAGS.num_classes))
    _check_length(recipe, data)
    flags.check_memory(space.name, data.frame.size, recipe.batch_size)
    num_devices = FLAGS.num_devices or (1 if jax.default_backend() == "cpu" else jax.device_count())
    mesh = training.make_mesh(num_devices, recipe.batch_size)
    model, costs = _model(space, arch, recipe, data)
    benchmark = flags.ground_truth(space.name)
    own = FLAGS.benchmark_column, space, np.stack([arch]), FLAGS.dataset
    truth = score_report.find_truth(benchmark, *own) if benchmark else None
    teacher, said = _teacher(FLAGS.teacher)
    settings = {"space": space.name, "arch": space.encode(arch), "dataset": FLAGS.dataset, "init": FLAGS.init, **said}
    settings |= {"size": dict(space.size)} if space.size else {}
    whole = training.describe(recipe, data, FLAGS.seed, teacher, mesh) | settings
    name = pathlib.Path(FLAGS.dataset).stem
    out = flags.results_folder(f"train-{space.name}-{name}", whole)
    if data.test is None:
        print(f"no test pictures in {name}: there will be no test accuracy, only that of training pictures")
    started = now()
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
    files.sweep(out)
    log = RunLog(out, "train_main", flags.given(), started)
    made = train_report.make_report(whole, trained.history, costs, truth)
    written = train_report.write_report(out, made)
    log.say(train_report.as_text(made))
    log.say(f"\nwritten: {out}/ {', '.join(written)}")
