"""The metric: a positive semidefinite matrix, checked once and factored once for all rows."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .errors import ProblemError

Array = NDArray[np.float64]
UNIT_ROUNDOFF = 2.0**-53
ASYMMETRY = 1e-9
INDEFINITE = 1e-10
SINGULAR = 2.0**10 * UNIT_ROUNDOFF


class Gram:
    """Gram matrix `XᵀX / samples` of a layer's inputs, shape (columns, columns), never damped.

    Every factorisation is computed at its first use and kept, so that all rows, bit-widths and
    sparsities that share a Gram share its cost.

    Raises
    ------
    ProblemError
        Not square, not finite, asymmetric by more than 1e-9 of its largest entry (smaller rounding is
        averaged away: `E` does not see the antisymmetric part), or with an eigenvalue below
        `-1e-10 · columns` after scaling to a unit diagonal.
    """

    def __init__(self, array: object) -> None:
        matrix = real(array, "the Gram matrix")
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
            raise ProblemError(f"a Gram matrix is square and not empty, got shape {matrix.shape}")
        if not np.isfinite(matrix).all():
            i, j = np.argwhere(~np.isfinite(matrix))[0]
            raise ProblemError(
                f"the Gram matrix holds {matrix[i, j]} at ({i}, {j}): remove the calibration samples that produce it"
            )
        largest = float(np.abs(matrix).max())
        skew = np.abs(matrix - matrix.T)
        if skew.max() > ASYMMETRY * largest:
            i, j = np.unravel_index(int(skew.argmax()), skew.shape)
            raise ProblemError(
                f"the Gram matrix is asymmetric: entries ({i}, {j}) and ({j}, {i}) are "
                f"{matrix[i, j]:.17g} and {matrix[j, i]:.17g}; pass XᵀX / samples"
            )
        self.array: Array = matrix / 2 + matrix.T / 2
        self.array.setflags(write=False)
        diagonal = self.array.diagonal()
        if diagonal.min() < 0 or np.any(self.array[self.dead] != 0.0):
            bad = int(diagonal.argmin())
            raise ProblemError(
                f"the Gram matrix is indefinite: column {bad} has diagonal {diagonal[bad]:.3g} "
                "but a non-zero row; it is not the Gram matrix of any input"
            )
        if self.smallest_eigenvalue < -INDEFINITE * self.columns:
            raise ProblemError(
                "the Gram matrix is indefinite: scaled to a unit diagonal its smallest eigenvalue is "
                f"{self.smallest_eigenvalue:.3g}; accumulate XᵀX in float64, without subtracting anything"
            )

    @property
    def columns(self) -> int:
        return int(self.array.shape[0])

    @cached_property
    def dead(self) -> NDArray[np.bool_]:
        """(columns,) True where the input is always zero: the weight there has no effect."""
        return np.asarray(self.array.diagonal() == 0.0)

    @cached_property
    def live(self) -> NDArray[np.intp]:
        """Indices of the inputs that are not dead."""
        return np.flatnonzero(~self.dead)

    @cached_property
    def _spectrum(self) -> tuple[Array, Array]:
        """Eigenvalues and eigenvectors of the live part, scaled to a unit diagonal."""
        if self.live.size == 0:
            return np.ones(1), np.ones((1, 1))
        root = np.sqrt(self.array.diagonal()[self.live])
        scaled = self.array[np.ix_(self.live, self.live)] / root / root[:, None]
        values, vectors = np.linalg.eigh(scaled)
        return values, vectors

    @property
    def eigenvalues(self) -> Array:
        """Eigenvalues of the live part scaled to a unit diagonal, ascending (no unit)."""
        return self._spectrum[0]

    @property
    def eigenvectors(self) -> Array:
        """Eigenvectors in columns, (live, live), of the live part scaled to a unit diagonal."""
        return self._spectrum[1]

    @property
    def smallest_eigenvalue(self) -> float:
        """Smallest eigenvalue of the live part scaled to a unit diagonal (no unit)."""
        return float(self._spectrum[0][0])

    @property
    def singular(self) -> bool:
        """True when the live part has no numerical inverse (duplicated or dependent inputs)."""
        return self.smallest_eigenvalue <= SINGULAR * self.columns

    @cached_property
    def null_share(self) -> Array:
        """(columns,) norm of a unit vector's part in the numerical null space, at unit diagonal; 0 on dead inputs."""
        values, vectors = self._spectrum
        share = np.zeros(self.columns)
        if self.live.size:
            share[self.live] = np.sqrt((vectors[:, values <= SINGULAR * self.columns] ** 2).sum(axis=1))
        return share

    @property
    def amplification(self) -> float:
        """Relative error of `E` caused by a relative error 1 in each product `gᵢⱼ`: columns / smallest eigenvalue.

        The eigenvalue is that of the live part with unit diagonal: column scaling does not hurt.
        """
        return self.columns / max(self.smallest_eigenvalue, UNIT_ROUNDOFF)

    def require_definite(self, method: str) -> None:
        """Refuse a singular Gram by the name of the dependent columns.

        Raises
        ------
        ProblemError
        """
        if not self.singular:
            return
        direction = np.abs(self._spectrum[1][:, 0])
        names = self.live[np.argsort(-direction)[: min(4, direction.size)]]
        involved = sorted(int(c) for c in names if direction[np.flatnonzero(self.live == c)[0]] > 0.1)
        raise ProblemError(
            f"{method} needs a Gram matrix of full rank: columns {involved} are duplicates or linearly "
            f"dependent (smallest eigenvalue {self.smallest_eigenvalue:.2g} at unit diagonal); "
            "merge or drop one of them, give more calibration samples, or ask for damping explicitly"
        )

    @cached_property
    def cholesky(self) -> Array:
        """Lower triangular `L` with `L Lᵀ = gram`; needs full rank and no dead inputs."""
        if self.dead.any():
            raise ProblemError(
                f"inputs {np.flatnonzero(self.dead).tolist()} are dead (zero diagonal), so the Gram matrix has no "
                "inverse: solve on gram.restrict(gram.live), the dead inputs have no effect"
            )
        self.require_definite("a Cholesky factor")
        return np.asarray(np.linalg.cholesky(self.array), dtype=np.float64)

    @cached_property
    def inverse(self) -> Array:
        """Symmetric inverse, (columns, columns); needs full rank and no dead inputs."""
        inverse_root = np.linalg.inv(self.cholesky)
        return np.asarray(inverse_root.T @ inverse_root)

    def restrict(self, columns: NDArray[np.intp]) -> Gram:
        """The Gram matrix of some of the inputs."""
        return Gram(self.array[np.ix_(columns, columns)])


def real(values: object, name: str) -> Array:
    """A copy in float64; `name` is what messages call it.

    Raises
    ------
    ProblemError
        No array of real numbers.
    """
    try:
        found = np.asarray(values)
        if np.iscomplexobj(found):
            raise TypeError("its entries are complex")
        return found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ProblemError(f"{name} is no array of real numbers: {error}") from error
