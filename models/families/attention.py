"""Linear attention: the last token asks all tokens, without a softmax, f(θ; x) = Σ_t ⟨K x_t, Q x_T⟩ ⟨v, x_t⟩."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor
from typing_extensions import override

from maxmargin.models.model import HomogeneousModel
from maxmargin.models.registry import Data, ProblemError, at_least, family


@final
@dataclass(frozen=True)
class LinearAttention(HomogeneousModel):
    """f(θ; x) = ⟨v, G Kᵀ Q x_T⟩ with G = Σ_t x_t x_tᵀ, for inputs x that are tokens x_1, …, x_T, one after another.

    Blocks ``Q``, ``K`` (width, token) and ``v`` (token,), or ``V`` (classes, token) for more than two classes; L = 3.

    Attributes:
        token: Numbers of one token.
        tokens: Tokens T of one input.
        width: Rows of the queries and keys.
        classes: Outputs; 1 for two classes.
    """

    token: int
    tokens: int
    width: int
    classes: int = 1
    name: ClassVar[str] = "attention"

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        head = {"v": (self.token,)} if self.classes == 1 else {"V": (self.classes, self.token)}
        return {"Q": (self.width, self.token), "K": (self.width, self.token), **head}

    @property
    @override
    def features(self) -> int:
        return self.token * self.tokens

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        x = X.reshape(X.shape[0], self.tokens, self.token)
        weights = self._attend(x, x[:, -1] @ theta["Q"].T @ theta["K"])
        read = self._attend(x.transpose(1, 2), weights)  # Σ_t weight_t x_t
        return (read @ theta["v"]).unsqueeze(-1) if self.classes == 1 else read @ theta["V"].T

    @override
    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        Q, K = theta["Q"], theta["K"]
        x = X.reshape(X.shape[0], self.tokens, self.token)
        query = x[:, -1] @ Q.T
        read = self._attend(x.transpose(1, 2), self._attend(x, query @ K))
        if self.classes == 1:
            head, values = {"v": (c * read).sum(0)}, c * theta["v"]
        else:
            head, values = {"V": c.T @ read}, c @ theta["V"]
        keys = self._attend(x.transpose(1, 2), self._attend(x, values))  # c_i G_i v: the gradient by Kᵀ q_i
        return {"Q": (keys @ K.T).T @ x[:, -1], "K": query.T @ keys, **head}

    @staticmethod
    def _attend(x: Tensor, by: Tensor) -> Tensor:
        """x_i by_i for each sample i: (n, a, b) and (n, b) → (n, a)."""
        return (x * by.unsqueeze(1)).sum(-1)


@family("attention", "linear attention over tokens, scores without a softmax (L = 3)")
def attention(data: Data, *, tokens: int = 2, width: int = 4) -> HomogeneousModel:
    """Linear attention; an input's features are its tokens, one after another, so ``tokens`` divides their number."""
    at_least("attention", 1, tokens=tokens, width=width)
    if data.features % tokens:
        raise ProblemError(f"attention: tokens={tokens} does not divide the data's {data.features} features")
    return LinearAttention(data.features // tokens, tokens, width, 1 if data.classes == 2 else data.classes)
