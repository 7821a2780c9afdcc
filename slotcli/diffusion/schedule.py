"""The noise schedule, at the 1,000 training steps and at continuous times. Paper, Eq. 3."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


class Schedule(nn.Module):
    """z_t = sqrt(alpha_bar_t) z + sqrt(1 - alpha_bar_t) eps, betas linear in their square roots.

    The paper's Eq. 5 leaves out the second square root; Eq. 4 and Eq. 7 have it. Continuous time
    runs over (0, 1]: time (i + 1) / steps is step i, and log alpha is linear in between, as in
    DPM-Solver (Lu et al. 2022).
    """

    alphas_bar: Tensor

    def __init__(self, steps: int = 1000, first: float = 0.0015, last: float = 0.0195) -> None:
        super().__init__()
        betas = np.linspace(math.sqrt(first), math.sqrt(last), steps) ** 2
        alphas_bar = np.cumprod(1 - betas)
        self.steps = steps
        self._times = np.arange(1, steps + 1) / steps
        self._log_alphas = np.log(alphas_bar) / 2
        constant = torch.tensor(alphas_bar, dtype=torch.float32, device="cpu")
        self.register_buffer("alphas_bar", constant, persistent=False)

    def add_noise(
        self,
        clean: Float[Tensor, "b *shape"],
        noise: Float[Tensor, "b *shape"],
        step: Int64[Tensor, " b"],
    ) -> Float[Tensor, "b *shape"]:
        """Diffuses `clean` (x0) to noise level `step` (0 to steps - 1). Paper, Eq. 4 and 7."""
        alpha, sigma = self.levels(step, clean.ndim)
        return alpha * clean + sigma * noise

    def levels(self, step: Int64[Tensor, " b"], ndim: int) -> tuple[Tensor, Tensor]:
        """Signal and noise scale at `step`, each shaped to broadcast over `ndim` axes."""
        alpha_bar = self.alphas_bar[step].view(-1, *[1] * (ndim - 1))
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def log_alpha(self, time: float) -> float:
        """Log of the signal scale at a continuous time; extrapolated linearly before step 0."""
        if time < self._times[0]:
            slope = (self._log_alphas[1] - self._log_alphas[0]) * self.steps
            return float(self._log_alphas[0] + slope * (time - self._times[0]))
        return float(np.interp(time, self._times, self._log_alphas))

    def alpha(self, time: float) -> float:
        return math.exp(self.log_alpha(time))

    def sigma(self, time: float) -> float:
        return math.sqrt(-math.expm1(2 * self.log_alpha(time)))

    def half_log_snr(self, time: float) -> float:
        """log(alpha / sigma): the variable in which DPM-Solver's equation is linear."""
        log_alpha = self.log_alpha(time)
        return log_alpha - math.log(-math.expm1(2 * log_alpha)) / 2

    def model_step(self, time: float) -> float:
        """The network's timestep, not rounded to an integer, at a continuous time."""
        return time * self.steps - 1
