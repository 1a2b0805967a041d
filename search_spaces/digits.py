"""Genotypes int32[G] in which every gene has equally many choices, numbered as digits: the first counts most."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Digits(NamedTuple):
    """How such genotypes are drawn, changed and numbered.

    Attributes:
        name: of the space, in errors.
        num_genes: G.
        num_choices: of a gene, C.
    """

    name: str
    num_genes: int
    num_choices: int

    @property
    def num_archs(self) -> int:
        """C^G."""
        return self.num_choices**self.num_genes

    def sample(self, key: jax.Array) -> jax.Array:
        """A uniformly drawn genotype, int32[G]."""
        return jax.random.randint(key, (self.num_genes,), 0, self.num_choices, jnp.int32)

    def mutate(self, key: jax.Array, arch: jax.Array) -> jax.Array:
        """One uniformly drawn gene gets another choice, uniformly drawn from the others. int32[G] to int32[G]."""
        gene_key, choice_key = jax.random.split(key)
        gene = jax.random.randint(gene_key, (), 0, self.num_genes)
        step = jax.random.randint(choice_key, (), 1, self.num_choices)
        return arch.at[gene].set((arch[gene] + step) % self.num_choices)

    def from_index(self, index: Any) -> Any:
        """Genotypes int32[..., G] of indices int[...]; numpy in, numpy out.

        Raises:
            ValueError: if an index that is not a jax array lies outside [0, C^G).
        """
        places = self.num_choices ** np.arange(self.num_genes)[::-1]
        if isinstance(index, jax.Array):
            return (index[..., None] // jnp.asarray(places) % self.num_choices).astype(jnp.int32)
        index = np.asarray(index)
        if np.any(bad := (index < 0) | (index >= self.num_archs)):
            allowed = f"allowed are 0 to {self.num_archs - 1}"
            raise ValueError(f"{self.name} index {index[bad].flat[0]} is out of range: {allowed}")
        return (index[..., None] // places % self.num_choices).astype(np.int32)

    def to_index(self, arch: Any) -> Any:
        """Indices int[...] of genotypes int[..., G]; numpy in, numpy out, else a jax array."""
        places = self.num_choices ** np.arange(self.num_genes)[::-1]
        return arch @ jnp.asarray(places) if isinstance(arch, jax.Array) else np.asarray(arch) @ places
