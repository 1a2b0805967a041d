"""How the papers train: recipes as data, each with its source."""

from collections.abc import Mapping
import dataclasses
import math
from types import MappingProxyType

from zsnas_jax.training.augmentations import AUGMENTATIONS

OPTIMIZERS = ("sgd", "rmsprop", "adamw")
SCHEDULES = ("cosine", "linear", "exponential")
PRECISIONS = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        source: where it comes from, and what had to be assumed.
        epochs: passes over the training pictures; the rest of the last incomplete batch of a pass is left out.
        batch_size: pictures of a step, over all devices.
        optimizer: "sgd" with momentum, "rmsprop" as TensorFlow has it: decay 0.9, epsilon 1 under the root, or "adamw":
            beta_2 0.999, epsilon 1e-8 beside the root.
        learning_rate: its peak.
        momentum: of the optimizer; of "adamw" beta_1.
        nesterov: whether the momentum of "sgd" is Nesterov's; "adamw" does not read it.
        weight_decay: added times the parameter to every gradient, those of norms included; with "adamw" not to
            gradients: a step takes rate times weight_decay of every kernel away, and nothing of other parameters.
        warmup_epochs: over which the rate rises linearly.
        warmup_rate: the rate that it rises from.
        schedule: how the rate falls from its peak: as half a "cosine" or "linear", a step at a time, or "exponential",
            by a factor after each epoch.
        final_rate: where "cosine" and "linear" end; "exponential" does not read it.
        rate_decay: the factor of the schedule "exponential"; others do not read it.
        clip: length that the gradient of all parameters together is cut to, before weight decay is added; 0: it is not.
        label_smoothing: share of a label that is spread over all classes.
        mixup: alpha; pictures and labels are mixed with a permutation of them, lambda ~ Beta(alpha, alpha); 0: off.
        cutmix: alpha; a box of every picture is that of another, of a share of about 1 - lambda, lambda ~ Beta(alpha,
            alpha), and labels are mixed by what is left; 0: off. Where mixup is on, too, a batch goes through one of
            both, each with probability 1/2.
        augmentations: names in `zsnas_jax.training.augmentations.AUGMENTATIONS`, in order.
        repeats: how often a picture stands in a row, each time augmented on its own (repeated augmentation); an epoch
            has as many steps as with 1, so fewer pictures.
        norm_momentum: share of the running statistics of batch norm that a step keeps.
        ema_decay: of an exponential moving average of weights and statistics, which then is what is evaluated; 0: off.
        teacher_weight: of the cross-entropy to a teacher's soft labels, added to that to the labels.
        auxiliary_weight: of the cross-entropy of an auxiliary head to the labels, added to that of the network, which
            has the head in training alone; 0: it has none. For networks that offer one.
        drop_path: rate at which operations or blocks are left out of a picture's way in training (drop path); 0: off.
            For networks that offer it, which may scale it over their depth.
        drop_path_grows: whether that rate grows from 0 by an equal share of it an epoch, so that it would be reached
            after the last; else it is constant.
        precision: of the forward and backward pass; the weights that are kept, the statistics of norms and the loss are
            float32.
    """

    source: str
    epochs: float
    batch_size: int
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    warmup_epochs: float = 0.0
    warmup_rate: float = 0.0
    schedule: str = "cosine"
    final_rate: float = 0.0
    rate_decay: float = 0.97
    clip: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    augmentations: tuple[str, ...] = ()
    repeats: int = 1
    norm_momentum: float = 0.9
    ema_decay: float = 0.0
    teacher_weight: float = 1.0
    auxiliary_weight: float = 0.0
    drop_path: float = 0.0
    drop_path_grows: bool = True
    precision: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "augmentations", tuple(self.augmentations))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{field.name} is {value}: a number is needed")
        for name in ("epochs", "batch_size", "learning_rate", "rate_decay", "repeats"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: more than 0 is needed")
        for name in ("momentum", "norm_momentum", "ema_decay", "label_smoothing", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: allowed are 0 to 1, 1 excluded")
        for name in ("weight_decay", "warmup_epochs", "mixup", "cutmix", "teacher_weight", "clip", "auxiliary_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: 0 or more is needed")
        for name in ("warmup_rate", "final_rate"):
            if not 0 <= getattr(self, name) <= self.learning_rate:
                raise ValueError(
                    f"{name} is {getattr(self, name)}: allowed are 0 to the learning_rate, {self.learning_rate}"
                )
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs}: fewer than the {self.epochs} epochs are needed")
        _choose("optimizer", self.optimizer, OPTIMIZERS)
        _choose("schedule", self.schedule, SCHEDULES)
        _choose("precision", self.precision, PRECISIONS)
        for name in self.augmentations:
            _choose("augmentation", name, tuple(AUGMENTATIONS))


def _choose(what: str, name: str, allowed: tuple[str, ...]) -> None:
    if name not in allowed:
        raise ValueError(f"unknown {what} {name!r}: allowed are {', '.join(allowed)}")


_NASBENCH201 = Recipe(
    source="Dong and Yang, NAS-Bench-201, ICLR 2020",
    epochs=200,
    batch_size=256,
    learning_rate=0.1,
    nesterov=True,
    weight_decay=5e-4,
    augmentations=("flip", "crop"),
)

_DARTS = Recipe(
    source="Liu et al., DARTS, ICLR 2019, on CIFAR; S1 to S4 alike: Zela et al., ICLR 2020. The rate falls a step at a "
    "time, there an epoch at a time",
    epochs=600,
    batch_size=96,
    learning_rate=0.025,
    weight_decay=3e-4,
    clip=5.0,
    augmentations=("crop", "flip", "cutout"),
    auxiliary_weight=0.4,
    drop_path=0.2,
)

_AUTOFORMER = Recipe(
    source="Chen et al., AutoFormer, ICCV 2021, and its published code, of the super-net: rate 5e-4 for 512 pictures; "
    "AZ-NAS, CVPR 2024, of a network alone, 250 epochs of AutoFormer-B. The rate changes a step at a time, there an "
    "epoch at a time, and precision is float32, there mixed",
    epochs=500,
    batch_size=1024,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.05,
    warmup_epochs=20,
    warmup_rate=1e-6,
    final_rate=1e-5,
    label_smoothing=0.1,
    mixup=0.8,
    cutmix=1.0,
    augmentations=("resized_crop", "flip", "randaugment", "erasing"),
    repeats=3,
    drop_path=0.1,
    drop_path_grows=False,
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "nasbench201": _NASBENCH201,
        "nasbench201_12": dataclasses.replace(_NASBENCH201, epochs=12),
        "nasbench101": Recipe(
            source="Ying et al., NAS-Bench-101, ICML 2019, and its published code: rate 0.1 for each of two shards",
            epochs=108,
            batch_size=256,
            optimizer="rmsprop",
            learning_rate=0.2,
            weight_decay=1e-4,
            augmentations=("flip", "crop"),
            norm_momentum=0.997,
        ),
        "imagenet": Recipe(
            source="Jing et al., WRCor, and the ZenNAS recipe that it follows; teacher by --teacher; mixup 0.4 is read "
            "as alpha, and the momentum of batch norm, which is not stated, is 0.9",
            epochs=480,
            batch_size=512,
            learning_rate=0.2,
            weight_decay=4e-5,
            label_smoothing=0.1,
            mixup=0.4,
            augmentations=("resized_crop", "flip", "lighting", "autoaugment_imagenet", "erasing"),
        ),
        "darts": _DARTS,
        "darts_imagenet": Recipe(
            source="Liu et al., DARTS, ICLR 2019, on ImageNet, for networks of C 48, L 14 with its stems; of its "
            "augmentations the jitter of colours is left out",
            epochs=250,
            batch_size=128,
            weight_decay=3e-5,
            schedule="exponential",
            clip=5.0,
            label_smoothing=0.1,
            augmentations=("resized_crop", "flip"),
            auxiliary_weight=0.4,
        ),
        "nasbench_macro": Recipe(
            source="Su et al., NAS-Bench-Macro (Prioritized Architecture Sampling with Monto-Carlo Tree Search), CVPR "
            "2021, whose figure is the best epoch's accuracy, ours the last's; plain momentum is assumed",
            epochs=50,
            batch_size=256,
            weight_decay=5e-4,
            augmentations=("flip", "crop"),
        ),
        "nats_size": dataclasses.replace(
            _NASBENCH201, source="Dong et al., NATS-Bench, PAMI 2021: NAS-Bench-201's, shorter", epochs=90
        ),
        "rlnas": Recipe(
            source="Zhang et al., RLNAS, CVPR 2021; augmentations are assumed, and dropout before the classifier is "
            "left out",
            epochs=240,
            batch_size=1024,
            learning_rate=0.5,
            weight_decay=4e-5,
            schedule="linear",
            clip=5.0,
            label_smoothing=0.1,
            augmentations=("resized_crop", "flip"),
        ),
        "autoformer": _AUTOFORMER,
        "autoformer_plain": dataclasses.replace(
            _AUTOFORMER,
            source="Wei et al., Auto-Prox, AAAI 2024, and its published settings: ViT-Bench's networks from scratch, "
            "at 224 pixels; which parameters decay is assumed",
            epochs=300,
            batch_size=128,
            learning_rate=5e-4,
            warmup_rate=5e-7,
            final_rate=5e-6,
            label_smoothing=0.0,
            mixup=0.0,
            cutmix=0.0,
            repeats=1,
        ),
    }
)
"""The published recipes by name. Of MobileNetV2 on ImageNet: "imagenet"; of S1 to S4: "darts"."""


def find_recipe(name: str) -> Recipe:
    """The recipe of a name; ValueError for another."""
    _choose("recipe", name, tuple(RECIPES))
    return RECIPES[name]
