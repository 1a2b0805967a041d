"""Every proxy by its equation, in float64 and plain numpy: nothing of zsnas_jax, nothing of JAX. Slow.

A network is given as a twin: a function of (`Walk`, picture) that computes what a Flax module computes, step by step,
from the same tree of parameters, and says at each step what it is: a weight layer, a batch norm, a site, a layer's
output, the feature map. Gradients come from tests/reverse.py.

Axes: N batch, L layers of the network, P positions along a scan, D features.
"""

from collections.abc import Callable
import dataclasses
import functools
import math
from typing import Any, NamedTuple

import numpy as np
import reverse
from reverse import Var, convolve, dilate, einsum, gradients, log_softmax, sqrt


class WeightOutput(NamedTuple):
    """One call of a weight layer: its output a, and the axes that tell its filters apart."""

    a: Var
    filter_size: int
    filter_axes: tuple[int, ...]


class Walk:
    """One pass through a twin.

    Args:
        params: {path: array}, path a tuple of names.
        norm: what stands for batch norm: "bn", "ln", "identity", or "initial", its evaluation mode before training.
        masks: {(path, position): masks of the calls of a convolution in order}, zero where an input is dropped.
    """

    def __init__(self, params, norm="bn", masks=None):
        self.params = {path: Var(leaf) for path, leaf in params.items()}
        self.norm = norm
        self.masks = {place: list(several) for place, several in (masks or {}).items()}
        self.sites: list[tuple[Any, Var]] = []  # (name of the layer, pre-activation)
        self.layers: list[Var] = []
        self.features: Var | None = None
        self.weight_outputs: list[WeightOutput] = []
        self.kernels: dict[Any, Callable[[np.ndarray], list[np.ndarray]]] = {}  # of a parameter: its matrices [I, O]
        self.biases: set[Any] = set()
        self.scales: set[Any] = set()
        self.positions: dict[Any, set[Any]] = {}  # of parameters: where lifts stacked the tensors that are used
        self.convolutions: list[np.ndarray] = []  # their outputs
        self.norm_inputs: list[np.ndarray] = []  # of batch norms, [features, rest]
        self.multiply_adds = 0

    def own(self, path, name, at=None):
        """A parameter; `at` = (axis, position) where a lift stacked it."""
        leaf = self.params[(*path, name)]
        self.positions.setdefault((*path, name), set()).add(at)
        return leaf if at is None else leaf[_slice(at)]

    def site(self, x, layer):
        x = x * 1.0  # a node of its own: the gradient is that of what reads the site
        self.sites.append((layer, x))
        return x

    def layer(self, x):
        self.layers.append(x)
        return x

    def feature_map(self, x):
        self.features = x * 1.0
        return self.features

    def weight_layer(self, path, apply, order, *, groups=0, filters=(-1,), at=None, kernel="kernel", bias="bias"):
        """A layer with a kernel: its output, bias included.

        Args:
            path: of the module.
            apply: kernel to output without bias.
            order: the kernel's axes: first groups, then what a filter sums over, then the filters.
            groups: how many of them are groups.
            filters: axes of the output that tell groups and filters apart, as many as the kernel has of them.
            at: as in `own`.
            kernel: the parameter's name.
            bias: likewise; there need not be one.
        """
        w = self.own(path, kernel, at)
        shape = [w.shape[i] for i in order]
        inputs = math.prod(shape[groups : len(shape) - len(filters) + groups])

        def matrices(leaf):
            own = leaf if at is None else leaf[_slice(at)]
            return list(own.transpose(order).reshape(math.prod(shape[:groups]), inputs, -1))

        self.kernels[(*path, kernel), at] = matrices
        y = apply(w)
        self.multiply_adds += y.value.size * inputs
        if (*path, bias) in self.params:
            self.biases.add((*path, bias))
            y = y + self.own(path, bias, at)
        y = y * 1.0
        self.weight_outputs.append(WeightOutput(y, inputs, tuple(i % y.ndim for i in filters)))
        return y

    def _masked(self, x, path, at):
        of_calls = self.masks.get((path, at[1] if at else 0))
        return x * of_calls.pop(0) if of_calls else x

    def conv(self, x, path, stride=1, padding="SAME", groups=1, at=None, transposed=False, transpose_kernel=False):
        """`nn.Conv` of any rank; transposed: `nn.ConvTranspose`, which convolves x with zeros between its pixels.

        `transpose_kernel` says that its kernel is [*window, D, C], and turned round.
        """
        x, rank = self._masked(x, path, at), x.ndim - 2
        if transposed:
            window = self.own(path, "kernel", at).shape[:-2]
            sides = [(w - 1 if stride > w - 1 else math.ceil((w + stride - 2) / 2), w) for w in window]
            padding = [(low, w + stride - 2 - low) for low, w in sides]
            x, stride = dilate(x, stride), 1

        def apply(kernel):
            if transpose_kernel:
                kernel = kernel[(slice(None, None, -1),) * rank].transpose(*range(rank), rank + 1, rank)
            return convolve(x, kernel, stride, padding, groups)

        channels = (rank + 1, rank) if transpose_kernel else (rank, rank + 1)
        y = self.weight_layer(path, apply, (*range(rank), *channels), at=at)
        self.convolutions.append(y.value)
        return y

    def dense(self, x, path, at=None):
        """`nn.Dense`."""
        return self.weight_layer(path, lambda kernel: x @ kernel, (0, 1), at=at)

    def contract(self, x, path, spec, at=None, filters=""):
        """A layer by an einsum of x and the kernel: `nn.DenseGeneral`, `nn.Einsum`, `nn.ConvLocal` of single pixels.

        Letters that x, the kernel and the output share tell kernels of their own apart, unless they stand in `filters`.
        """
        x = self._masked(x, path, at)
        (given, own), out = spec.split("->")[0].split(","), spec.split("->")[1]
        kind = lambda letter: 1 if letter not in out else 2 if letter not in given or letter in filters else 0
        kinds = [kind(letter) for letter in own]
        order = sorted(range(len(own)), key=lambda i: kinds[i])
        axes = [i for i, letter in enumerate(out) if letter in own]
        apply = lambda kernel: einsum(spec, x, kernel)
        return self.weight_layer(path, apply, order, groups=kinds.count(0), filters=axes, at=at)

    def product(self, spec, a, b):
        """A product of two activations, as attention has."""
        letters = {letter: size for x, word in zip((a, b), spec.split("->")[0].split(","), strict=True)
                   for letter, size in zip(word, x.shape, strict=True)}  # fmt: skip
        self.multiply_adds += math.prod(letters.values())
        return einsum(spec, a, b)

    def attention(self, x, path, at=None):
        """`nn.MultiHeadDotProductAttention` of x [N, T, C] with itself."""
        query, key, value = (self.contract(x, (*path, name), "ntc,chd->nthd", at) for name in ("query", "key", "value"))
        shares = reverse.softmax(self.product("nqhd,nkhd->nhqk", query / math.sqrt(query.shape[-1]), key))
        mixed = self.product("nhqk,nkhd->nqhd", shares, value)
        return self.contract(mixed, (*path, "out"), "nqhd,hdc->nqc", at)

    def batch_norm(self, x, path, axis=-1, epsilon=1e-5, at=None):
        """`nn.BatchNorm` by the batch's statistics, or what stands in its place."""
        axis %= x.ndim
        others = tuple(i for i in range(x.ndim) if i != axis)
        self.norm_inputs.append(np.moveaxis(x.value, axis, 0).reshape(x.shape[axis], -1))
        if self.norm == "identity":
            return x
        if self.norm == "initial":
            y = x / math.sqrt(1 + epsilon)
        else:
            y = standardise(x, others if self.norm == "bn" else tuple(range(1, x.ndim)), epsilon)
        return self._affine(y, path, axis, at)

    def layer_norm(self, x, path, axes=(-1,), epsilon=1e-6, at=None):
        """`nn.LayerNorm`; `nn.InstanceNorm` with axes those of the pixels."""
        return self._affine(standardise(x, axes, epsilon), path, x.ndim - 1, at)

    def rms_norm(self, x, path, epsilon=1e-6, at=None):
        return self._affine(x / sqrt((x * x).mean(-1, keepdims=True) + epsilon), path, x.ndim - 1, at)

    def group_norm(self, x, path, groups, epsilon=1e-6, at=None):
        split = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
        axes = (*range(1, x.ndim - 1), x.ndim)
        return self._affine(standardise(split, axes, epsilon).reshape(*x.shape), path, x.ndim - 1, at)

    def _affine(self, x, path, axis, at):
        broad = tuple(-1 if i == axis else 1 for i in range(x.ndim))
        if (*path, "scale") in self.params:
            self.scales.add((*path, "scale"))
            x = x * self.own(path, "scale", at).reshape(*broad)
        return x + self.own(path, "bias", at).reshape(*broad) if (*path, "bias") in self.params else x


def _slice(at):
    axis, position = at
    return (*(slice(None) for _ in range(axis)), position)


def standardise(x, axes, epsilon):
    centred = x - x.mean(axes, keepdims=True)
    return centred / sqrt((centred * centred).mean(axes, keepdims=True) + epsilon)


def cross_entropy(logits, label):
    """Mean of -log softmax(logits)[label]: logits [N, ..., K], label int[N, ...]."""
    return -(log_softmax(logits) * np.eye(logits.shape[-1])[np.asarray(label)]).sum() / np.size(label)


def soft_cross_entropy(logits, label):
    """Mean of -sum_k label_k log softmax(logits)_k."""
    return -(log_softmax(logits) * np.asarray(label)).sum() / len(logits)


def absolute_error(logits, label):
    """Mean of |logits - label|."""
    return reverse.absolute(logits - np.asarray(label)).mean()


def squared_error(logits, label):
    """Mean of (logits - label)^2."""
    return ((logits - np.asarray(label)) ** 2).mean()


class Passed(NamedTuple):
    """A walk, the picture as it entered and the logits."""

    walk: Walk
    image: Var
    logits: Var


@dataclasses.dataclass
class Oracle:
    """A network under score; each proxy is the method of its name.

    Attributes:
        twin: (walk, picture) to logits.
        params: {path: array}.
        image: [N, ...].
        label: as the loss takes it.
        loss: of this module.
        noise: two arrays like `image`, standard normal.
        masks: as in `Walk`, of SAM.
        drawn: (params, image) in the place of the network's, for proxies that draw their own.
        drawn_image: the second of these.
        picture: one picture of noise, of another size.
        slack: by proxy, by how much its score may differ for gradients that are zero in truth and rounding in float32.
        curve: U of Dextr, and how many logits there are to which count.
        signs: (i, shape) to +1 and -1 of that shape, of AZ-NAS.
    """

    twin: Callable[[Walk, Var], Var]
    params: dict[Any, np.ndarray]
    image: np.ndarray
    label: Any
    loss: Callable[[Var, Any], Var] = cross_entropy
    noise: tuple[np.ndarray, np.ndarray] | None = None
    masks: Any = None
    drawn: Any = None
    drawn_image: Any = None
    picture: Any = None
    curve: Any = None
    slack: dict[str, float] = dataclasses.field(default_factory=dict)
    signs: Any = None

    def walk(self, image=None, *, params=None, norm="bn", masks=None) -> Passed:
        walk = Walk(self.params if params is None else params, norm, masks)
        image = Var(self.image if image is None else image)
        return Passed(walk, image, self.twin(walk, image))

    @functools.cached_property
    def once(self) -> Passed:
        """The network's own pass."""
        return self.walk()

    @functools.cached_property
    def loss_gradients(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """(of the sites, of the outputs of weight layers)."""
        sites = [x for _, x in self.once.walk.sites]
        outputs = [output.a for output in self.once.walk.weight_outputs]
        found = gradients(self.loss(self.once.logits, self.label), sites + outputs)
        return found[: len(sites)], found[len(sites) :]

    def kernel_gradients(self, params=None, image=None, label=None) -> dict[Any, np.ndarray]:
        """{path: gradient of the loss} of the leaves that hold kernels."""
        passed = self.walk(image, params=params)
        loss = self.loss(passed.logits, self.label if label is None else label)
        paths = list(dict.fromkeys(path for path, _ in passed.walk.kernels))
        return dict(zip(paths, gradients(loss, [passed.walk.params[path] for path in paths]), strict=True))

    @functools.cached_property
    def g(self) -> dict[Any, np.ndarray]:
        return self.kernel_gradients()

    def matrices(self, tree) -> list[np.ndarray]:
        """The kernels [I, O] of a tree of leaves, one by one."""
        return [m for (path, _), cut in self.once.walk.kernels.items() for m in cut(np.asarray(tree[path], np.float64))]

    @functools.cached_property
    def jacobian(self) -> np.ndarray:
        """[N, D]: of the sum of all logits."""
        return gradients(self.once.logits, [self.once.image])[0].reshape(len(self.image), -1)

    @functools.cached_property
    def own_jacobian(self) -> np.ndarray:
        """[N, D]: of the sum of each picture's own logits, picture by picture."""
        rows = []
        for n in range(len(self.image)):
            weights = np.zeros(self.once.logits.shape)
            weights[n] = 1
            rows.append(gradients(self.once.logits, [self.once.image], weights)[0][n].ravel())
        return np.stack(rows)

    @functools.cached_property
    def jacobian_is_zero(self) -> bool:
        """Whether the sum of the logits does not depend on the pictures: then J is rounding."""
        signs = np.random.default_rng(0).choice([-1.0, 1.0], self.once.logits.shape)
        other = gradients(self.once.logits, [self.once.image], signs)[0]
        return bool(np.abs(self.jacobian).mean() <= 1e-9 * np.abs(other).mean())

    # Size and weights.

    def params_(self):
        return sum(leaf.size for leaf in self.params.values())

    def log_params(self):
        return np.log(self.params_())

    def flops(self):
        return self.walk(self.image[:1]).walk.multiply_adds

    def num_sites(self):
        return len(self.once.walk.sites)

    def pnorm(self):
        return sum(np.linalg.norm(w) for w in self.matrices(self.params))

    def lydyniso(self):
        return -sum(np.linalg.norm(w.T @ w - np.eye(w.shape[1])) for w in self.matrices(self.params))

    # Saliency.

    def pgnorm(self):
        return sum(np.linalg.norm(g) for g in self.matrices(self.g))

    def snip(self):
        return sum(np.abs(w * g).sum() for w, g in zip(self.matrices(self.params), self.matrices(self.g), strict=True))

    def grasp(self):
        """The Hessian's product with g by the difference of two gradients."""
        step = 1e-6 / max(np.abs(g).max() for g in self.g.values())
        moved = lambda sign: self.kernel_gradients(
            {p: w + sign * step * self.g.get(p, 0.0) for p, w in self.params.items()}
        )
        after, before = moved(1), moved(-1)
        product = {path: (after[path] - before[path]) / (2 * step) for path in after}
        return -sum((w * h).sum() for w, h in zip(self.matrices(self.params), self.matrices(product), strict=True))

    def synflow(self):
        """Everything absolute, biases of weight layers zero, batch norm the identity, a picture of ones."""
        walk = self.once.walk
        params = {p: np.zeros_like(w) if p in walk.biases else np.abs(w) for p, w in self.params.items()}
        passed = self.walk(np.ones_like(self.image[:1]), params=params, norm="identity")
        paths = [path for path, _ in walk.kernels]
        flow = dict(zip(paths, gradients(passed.logits, [passed.walk.params[path] for path in paths]), strict=True))
        pairs = zip(self.matrices(params), self.matrices(flow), strict=True)
        with np.errstate(divide="ignore"):
            return np.log(sum(np.abs(w * g).sum() for w, g in pairs))

    def fisher(self):
        total = 0.0
        for output, gradient in zip(self.once.walk.weight_outputs, self.loss_gradients[1], strict=True):
            places = tuple(i for i in range(1, gradient.ndim) if i not in output.filter_axes)
            products = (output.a.value * gradient).sum(places)
            total += output.filter_size * 0.5 * (products**2).mean(0).sum()
        return total

    def neg_log_fisher(self):
        return -np.log(self.fisher())

    def zico(self):
        half = len(self.image) // 2
        parts = [slice(0, half), slice(half, None)]
        label = lambda part: _map_labels(lambda x: x[part], self.label)
        several = [self.matrices(self.kernel_gradients(image=self.image[part], label=label(part))) for part in parts]
        total = 0.0
        for pair in zip(*several, strict=True):
            mean, deviation = np.abs(pair).mean(0), np.std(pair, 0)
            inner = (mean[deviation > 0] / deviation[deviation > 0]).sum()
            total += np.log(inner) if inner > 0 else 0.0
        return total

    # Jacobian.

    def jaccor(self):
        return -np.inf if self.jacobian_is_zero else self.jaccor_of(self.jacobian)

    def jaccor_of(self, jacobian, k=1e-5):
        correlation = pearson(jacobian)
        if not np.isfinite(correlation).all():
            return -np.inf
        v = np.maximum(np.linalg.eigvalsh(correlation), 0) + k
        return -(np.log(v) + 1 / v).sum()

    def epe(self, k=1e-5):
        correlation = pearson(self.jacobian)
        if self.jacobian_is_zero or not np.isfinite(correlation).all():
            return -np.inf
        label = np.asarray(self.label)
        members = [label == c for c in np.unique(label)]  # at most 100 classes
        return sum(abs(np.log(np.abs(correlation[m][:, m]) + k).sum()) for m in members)

    def netsens(self):
        return -np.inf if self.jacobian_is_zero else np.abs(self.jacobian).mean()

    def dyniso(self, num_samples=8):
        """The gradient of each logit with respect to one shift of all pictures, row by row."""
        if self.jacobian_is_zero:
            return -np.inf
        logits, image = (passed := self.walk(self.image[:num_samples])).logits, passed.image
        scores = []
        for n in range(len(logits)):
            rows = []
            for k in np.ndindex(logits.shape[1:]):
                seed = np.zeros(logits.shape)
                seed[(n, *k)] = 1.0
                rows.append(gradients(logits, [image], seed)[0].sum(0).ravel())
            s = np.zeros(len(rows))
            values = np.linalg.svd(np.array(rows), compute_uv=False)
            s[: len(values)] = values
            rounding = s.max() * len(rows[0]) * np.finfo(np.float32).eps
            v = np.log(np.maximum(s, rounding)).mean() if s.max() > 0 else -np.inf
            scores.append(v + np.exp(-v))
        return -np.mean(scores)

    # Codes.

    def naswot(self, norm="bn", masks=None):
        passed = self.once if norm == "bn" and masks is None else self.walk(norm=norm, masks=masks)
        total = 0.0
        for _, x in passed.walk.sites:
            codes = x.value.reshape(len(x), -1) > 0
            total = total + (codes[:, None] == codes[None, :]).sum(-1)
        return log_abs_det(total)

    def swap(self, norm="bn", masks=None, num_samples=32):
        passed = self.once if norm == "bn" and masks is None else self.walk(norm=norm, masks=masks)
        codes = [x.value[:num_samples].reshape(min(num_samples, len(x)), -1) > 0 for _, x in passed.walk.sites]
        return len({tuple(neuron) for neurons in codes for neuron in neurons.T})

    def swap_regularized(self):
        return self.swap() * np.exp(-((self.params_() / 1e3 - 40) ** 2) / 40)

    def sam_nwot(self):
        return self.naswot(masks=self.masks)

    def sam_swap(self):
        return self.swap(masks=self.masks)

    def nir_nwot(self):
        return self.naswot("ln")

    def nir_swap(self):
        return self.swap("ln")

    def ncd_nwot(self):
        return self.naswot("ln", self.masks)

    def ncd_swap(self):
        return self.swap("ln", self.masks)

    # Function space.

    def _features(self, image, **options):
        walk = self.walk(image, **options).walk
        return walk.features.value.reshape(len(image), -1), walk

    def phi(self):
        """Without batch norm, biases of weight layers zero."""
        base, direction = self.noise
        biases = self.once.walk.biases
        params = {path: np.zeros_like(leaf) if path in biases else leaf for path, leaf in self.params.items()}
        feature = lambda image: self._features(image, params=params, norm="identity")[0]
        return np.log1p(np.abs(feature(base + 0.01 * direction) - feature(base)).sum())

    def phi_bn(self):
        base, direction = self.noise
        return np.log1p(np.abs(self._features(base + 0.01 * direction)[0] - self._features(base)[0]).sum())

    def zen(self):
        base, direction = self.noise
        (perturbed, first), (clean, second) = self._features(base + 0.01 * direction), self._features(base)
        score = np.log(np.abs(perturbed - clean).sum() + 1e-6)
        for one, two in zip(first.norm_inputs, second.norm_inputs, strict=True):
            running = 0.9 * (0.9 * 1.0 + 0.1 * one.var(1, ddof=1)) + 0.1 * two.var(1, ddof=1)
            score += np.log(np.sqrt(running.mean()) + 1e-6)
        return score

    def bt(self):
        views = [self._features(self.image + 0.01 * noise)[0] for noise in self.noise]
        first, second = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in views)
        c = first.T @ second / len(first)
        off_diagonal = c - np.diag(np.diag(c))
        return -(((np.diag(c) - 1) ** 2).sum() + 0.005 * (off_diagonal**2).sum())

    def bndlent(self, learning_rate=1e-3):
        """Bundles as float32 makes them; none may hang on the last digits of the activations."""
        largest = np.float32(max(np.abs(leaf).max() for leaf in self.params.values()))
        label, rng = np.asarray(self.label), np.random.default_rng(0)
        entropies = []
        for output in self.walk(norm="initial").walk.layers:
            a = output.value.reshape(len(label), -1)

            def bundles(a):
                rows = largest - np.float32(a) * np.float32(learning_rate / len(a))
                return (rows[:, None] == rows[None, :]).all(-1)

            together = bundles(a)
            for _ in range(5):
                assert (bundles(a * (1 + 1e-6 * rng.standard_normal(a.shape))) == together).all()
            share = (together & (label[:, None] == label[None, :])).sum(1) / together.sum(1)
            entropies.append(-np.log(share).mean())
        return -np.mean(entropies)

    def num_tensors(self):
        return len(self._tensors())

    def _tensors(self):
        """(path, where a lift stacked it) of every tensor."""
        used = self.once.walk.positions
        return [(path, at) for path in self.params for at in used.get(path, {None})]

    # Gradients of single pictures.

    def gradsign(self):
        total = 0.0
        for n in range(len(self.image)):
            label = _map_labels(lambda rows, n=n: rows[n : n + 1], self.label)
            g = self.kernel_gradients(image=self.image[n : n + 1], label=label)
            g = np.concatenate([m.ravel() for m in self.matrices(g)])
            unsure = ((np.abs(g) < 1e-5 * np.abs(g).max()) & (g != 0)).sum()
            self.slack["gradsign"] = self.slack.get("gradsign", 0) + 2 * unsure
            total = total + np.sign(g)
        return np.abs(total).sum()

    def ntk_cond(self):
        passed = self.once
        paths = [*{path for path, _ in passed.walk.kernels}, *passed.walk.scales]
        rows = []
        for n in range(len(self.image)):
            weights = np.zeros(passed.logits.shape)
            weights[n] = 1
            own = gradients(passed.logits, [passed.walk.params[path] for path in paths], weights)
            rows.append(np.concatenate([g.ravel() for g in own]))
        v = np.linalg.eigvalsh(np.array(rows) @ np.array(rows).T)
        return -v[-1] / v[0] if v[0] > 1e-10 * v[-1] else -np.inf

    def regions(self):
        codes = [x.value.reshape(len(x), -1) > 0 for _, x in self.once.walk.sites]
        return len({tuple(row) for row in np.concatenate(codes, 1)})

    def vkdnw_entropy(self):
        params, image = self.drawn
        total = 0.0
        for n in range(len(image)):
            passed = self.walk(image[n : n + 1], params=params, norm="initial")
            logits = passed.logits.value.ravel()
            rows = []
            for k in range(len(logits)):
                seed = (np.arange(len(logits)) == k).astype(float).reshape(passed.logits.shape)
                paths = list(params)
                found = dict(
                    zip(paths, gradients(passed.logits, [passed.walk.params[p] for p in paths], seed), strict=True)
                )
                own = lambda path, at: found[path] if at is None else found[path][_slice(at)]
                rows.append([own(path, at).ravel()[0] for path, at in self._tensors()])
            s = np.exp(logits - logits.max())
            s = 0.95 * s / s.sum() + 0.05 / len(s)
            rows = np.array(rows)
            total = total + rows.T @ (np.diag(s) - np.outer(s, s)) @ rows
        q = np.quantile(np.linalg.svd(total / len(image), compute_uv=False), np.linspace(0.1, 0.9, 9))
        t = q / (q.sum() + 1e-10)
        return -(t * np.log(t + 1e-10)).sum()

    def vkdnw(self):
        return self.num_tensors() + self.vkdnw_entropy()

    # Outputs of layers.

    def _smallest_eigenvalues(self, num_channels):
        walk = self.walk(self.picture).walk
        for _, x in walk.sites:
            rows = np.maximum(x.value[0], 0).reshape(-1, x.shape[-1]).T
            few = rows[: num_channels or len(rows)]
            with np.errstate(invalid="ignore", divide="ignore"):
                matrix = np.atleast_2d(np.corrcoef(few))
            yield len(rows) / len(few), np.linalg.eigvalsh(np.nan_to_num(matrix)).min()

    def meco(self):
        return sum(smallest for _, smallest in self._smallest_eigenvalues(None))

    def meco_opt(self):
        return sum(share * smallest for share, smallest in self._smallest_eigenvalues(8))

    def near(self):
        total, walk = 0.0, self.once.walk
        for x in [*walk.convolutions, *(np.maximum(x.value, 0) for _, x in walk.sites)]:
            s = np.linalg.svd(x.reshape(-1, x.shape[-1])[: x.shape[-1]], compute_uv=False)
            p = s[s > 0] / s.sum()
            total += np.exp(-(p * np.log(p)).sum())
        return total

    def dextr(self):
        """The second derivative of the curve by a difference; NaN where the first is rounding."""
        (plane, draw), first = self.curve, self.image[:1]
        coordinates = draw(self.once.logits.value[0].size)
        total = 0.0
        for _, x in self.walk(first).walk.sites:
            s = np.linalg.svd(np.maximum(x.value, 0)[0].reshape(-1, x.shape[-1]).T, compute_uv=False)
            total += s[-1] / s[0] if s[0] > 0 else 0.0

        def velocity(t):
            passed = self.walk((plane @ [np.cos(t), np.sin(t)]).reshape(first.shape))
            along = (plane @ [-np.sin(t), np.cos(t)]).reshape(first.shape)
            unit = lambda k: (np.arange(passed.logits.value.size) == k).astype(float).reshape(passed.logits.shape)
            own = [gradients(passed.logits, [passed.image], unit(k))[0] for k in coordinates]
            return np.array([(g * along).sum() for g in own])

        v, w = velocity(0.0), (velocity(1e-7) - velocity(-1e-7)) / 2e-7
        if v @ v < 1e-18:  # a batch norm of one picture leaves rounding of the curve
            return np.nan
        kappa = np.sqrt((v @ v) * (w @ w) - (v @ w) ** 2) / (v @ v) ** 1.5
        a, b = np.log1p(total), np.log1p(kappa)
        return a * b / (a + b)

    def intrain(self):
        passed = self.walk(self.drawn_image)
        gamma = 0.0
        for _, x in passed.walk.sites:
            a = np.maximum(x.value, 0).reshape(-1, x.shape[-1])
            s = np.cov(a.T, bias=True).reshape(a.shape[1], -1) + 1e-10 * np.eye(a.shape[1])
            gamma += np.log(np.trace(s) ** 2 / np.trace(s @ s)) if a.any() else 0.0
        loss = self.loss(passed.logits, self.label)
        found = dict(zip(self.params, gradients(loss, [passed.walk.params[p] for p in self.params]), strict=True))
        own = lambda path, at: found[path] if at is None else found[path][_slice(at)]
        tensors = [own(*tensor) for tensor in self._tensors()]
        largest = max(np.abs(g).max() for g in tensors)
        unsure = sum(np.abs(g).max() < 1e-6 * largest for g in tensors)  # zero in truth, rounding in float32
        self.slack["intrain"] = 1.1 * unsure * gamma / np.log(len(passed.walk.sites) + 1)
        o = sum(min(1.0, g.std() / (np.abs(g).max() + 1e-10)) for g in tensors)
        return gamma * (1 + o) / np.log(len(passed.walk.sites) + 1)

    def lswag(self):
        batches = []
        for half in np.split(np.arange(len(self.image)), 2):
            label = _map_labels(lambda rows, half=half: rows[half], self.label)
            batches.append(self.matrices(self.kernel_gradients(image=self.image[half], label=label)))
        total = 0.0
        for pair in zip(*batches, strict=True):
            deviation = np.abs(np.stack(pair)).std(0)
            if (deviation > 0).any():
                total += np.log((1 / deviation[deviation > 0]).sum())
        codes = [x.value.reshape(len(x), -1) > 0 for _, x in self.once.walk.sites]
        return total * sum(len({tuple(neuron) for neuron in neurons.T}) for neurons in codes)

    # AZ-NAS.

    @functools.cached_property
    def trunk(self) -> list[Var]:
        """The outputs of layers, of the weights and the pictures that are drawn."""
        params, image = self.drawn
        return self.walk(image, params=params).walk.layers

    def _entropies(self):
        found = []
        for feature in self.trunk:
            a = feature.value.reshape(-1, feature.shape[-1])
            s = np.linalg.svd(a - a.mean(0), compute_uv=False) ** 2
            p = s / s.sum()
            found.append(-(p * np.log(p + 1e-8)).sum())
        return found

    def az_expressivity(self):
        return sum(self._entropies())

    def az_progressivity(self):
        return np.diff(self._entropies()).min()

    def az_trainability(self):
        scores = []
        for i in range(1, len(self.trunk)):
            before, after = self.trunk[i - 1 : i + 1]
            r = self.signs(i, after.shape)
            g = gradients(after, [before], r)[0]
            if g.shape == r.shape and (g == r).all():
                return -np.inf
            channels, rows = r.shape[-1], r.size // r.shape[-1]
            whole = g.reshape(rows, -1)
            if g.shape[1:-1] != r.shape[1:-1]:  # pictures, halved
                n, height, width = r.shape[:3]
                split = g.reshape(n, height, g.shape[1] // height, width, g.shape[2] // width, -1)
                whole = split.transpose(0, 1, 3, 2, 4, 5).reshape(rows, -1)
            s = np.linalg.norm(whole.T @ r.reshape(rows, channels) / rows, 2)
            scores.append(2 - s - 1 / (s + 1e-6))
        return np.mean(scores)

    # Response correlations.

    def _layers(self, responses):
        """|corr| of the sites by layer, [L, N, N], and how many of them are defined, [L]."""
        names = list(dict.fromkeys(layer for layer, _ in self.once.walk.sites))
        size = len(self.image)
        sums, counts = np.zeros((len(names), size, size)), np.zeros(len(names))
        for response in responses:
            values = [x.value for _, x in self.once.walk.sites] if response == "A" else self.loss_gradients[0]
            for (layer, _), value in zip(self.once.walk.sites, values, strict=True):
                matrix = np.abs(pearson(value))
                if np.isfinite(matrix).all():
                    sums[names.index(layer)] += matrix
                    counts[names.index(layer)] += 1
        return sums, counts

    def _correlation(self, responses, weight=lambda layer: 1.0, num_layers=None, count_exponent=1.0):
        sums, counts = self._layers(responses)
        weights = np.array([weight(layer) for layer in range(1, len(sums) + 1)])[:num_layers]
        sums, counts = sums[:num_layers], counts[:num_layers]
        c = (weights * counts).sum()
        if c == 0:
            return -np.inf
        return log_abs_det(np.tensordot(weights, sums, 1) / c) + count_exponent * len(self.image) * np.log(c)

    def acor(self):
        return self._correlation("A")

    def gcor(self):
        return self._correlation("G")

    def rcor(self):
        return self._correlation("AG")

    def wrcor(self, weighting="expb2t"):
        num_layers = len(self._layers("")[0])
        weights = {
            "none": lambda layer: 1.0,
            "linear": lambda layer: layer,
            "quad": lambda layer: layer**2,
            "expb2t": lambda layer: 2.0**layer,
            "expt2b": lambda layer: 2.0 ** (num_layers + 1 - layer),
        }
        return self._correlation("AG", weights[weighting])

    def gcor_first2(self):
        return self._correlation("G", num_layers=2, count_exponent=0.1)

    def gcor_first5(self):
        return self._correlation("G", num_layers=5, count_exponent=0.0)

    def score(self, name):
        """A proxy by its name."""
        return float(getattr(self, "params_" if name == "params" else name)())


def _map_labels(function, label):
    """A function of every array of a pytree of labels: an array, or a dictionary of them."""
    if isinstance(label, dict):
        return {name: _map_labels(function, part) for name, part in label.items()}
    return function(np.asarray(label))


def pearson(rows):
    """Correlation of the samples; NaN where one has no variance."""
    rows = np.asarray(rows).reshape(len(rows), -1)
    centred = rows - rows.mean(1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return centred @ centred.T / np.outer(norms, norms)


def log_abs_det(matrix):
    return np.linalg.slogdet(matrix)[1]
