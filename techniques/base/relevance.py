"""Relevance of a logit, handed back layer by layer to the pixels, for every technique that does so.

Layer-wise relevance propagation: Bach et al. 2015, doi:10.1371/journal.pone.0130140. The rules are in
`techniques.base.relevance_rules`; how they reach every operation of any network is told in `techniques.base.propagation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from model_zoo.deferred import torch
from techniques.base.calls import first_input
from techniques.base.propagation import Propagation
from techniques.base.relevance_rules import Rules

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.run import Run


class Relevance(NamedTuple):
    """`pixels` `[1, C, H, W]`, and `kept` `[N]`, what each operation on the way kept for itself, in the order of execution. Together
    they add up to the logit of `target`, but for what operations without a rule lose. All in logits; `logits` `[1, K]`."""

    pixels: torch.Tensor
    kept: torch.Tensor
    logits: torch.Tensor
    target: int

    @property
    def logit(self) -> float:
        return float(self.logits[0, self.target])

    @property
    def lost(self) -> float:
        """How much of the logit is neither in the pixels nor kept, in logits."""
        return self.logit - float(self.pixels.double().sum() + self.kept.double().sum())

    def on_the_way(self) -> torch.Tensor:
        """How much is still on its way back `[N + 1]`: at the logit, and after each operation that keeps some."""
        start = self.kept.new_tensor([self.logit], dtype=torch.float64)
        return torch.cat([start, start - self.kept.double().flip(0).cumsum(0)]).float()


def relevance_of(model: LoadedModel, pixels: torch.Tensor, target: int | None, rules: Rules, run: Run) -> Relevance:
    """Relevance of the logit of `target`, or of the predicted class, for one picture `[1, C, H, W]`.

    Where the rule for the first layer is that of the others, a pixel that has the mean colour of the model's preprocessing is
    zero to the network and gets none. Raises IncompatibleModel when the rules refuse an operation of the network.
    """
    mean, deviation = (torch.tensor(values).view(1, -1, 1, 1).to(pixels) for values in (model.preprocessing.mean, model.preprocessing.std))
    one = (mean + deviation).expand_as(pixels)  # 1 everywhere when it reaches the network
    others = {"box": (torch.zeros_like(pixels), torch.ones_like(pixels)), "flat": (one,), "squared weights": (one,)}.get(rules.first, ())
    images = [image.clone().requires_grad_(True) for image in (pixels, *others)]
    with torch.enable_grad():
        propagation = Propagation(rules, run, [first_input(model, image) for image in images[1:]])
        with propagation.mode():
            logits = model.logits(images[0])
        run.check()
        target = int(model.predicted(logits[0])) if target is None else target
        leaves = images + propagation.keepers
        found = torch.autograd.grad(logits[0, target], leaves, allow_unused=True) if logits.requires_grad else (None,) * len(leaves)
    of_pixels = [(image.detach() - mean) * gradient for image, gradient in zip(images, found) if gradient is not None]
    kept = [gradient for gradient in found[len(images) :] if gradient is not None]
    return Relevance(sum(of_pixels, torch.zeros_like(pixels)), torch.stack(kept) if kept else pixels.new_zeros(0), logits.detach(), target)


def parts_of(relevance: Relevance) -> str:
    """Where the logit went, in words: to the pixels, to what keeps some, and, where it is worth a word, nowhere."""
    whole = abs(relevance.logit) or 1.0
    pixels, kept, lost = float(relevance.pixels.sum()), float(relevance.kept.sum()), relevance.lost
    pixels, kept = (part if abs(part) >= 0.005 else 0.0 for part in (pixels, kept))  # not “-0.00”
    shares = tuple(100 * part / whole for part in (pixels, kept))
    told = f"{pixels:.2f} is in the pixels ({shares[0]:.0f} %), and {kept:.2f} ({shares[1]:.0f} %) stayed with biases and constants"
    return told + (f"; {lost:.2f} ({100 * lost / whole:.0f} %) was lost in operations without a rule" if abs(lost) > 0.01 * whole else "")


def without_rules(model: LoadedModel) -> str | None:
    """Why relevance cannot be followed through a model: what computes inside itself is not seen."""
    for name, module in model.network.named_modules():
        if isinstance(module, (torch.nn.RNNBase, torch.jit.ScriptModule)):
            return f"“{name}” is a {type(module).__name__}, for which there is no rule. Saliency and occlusion need none."
    return None
