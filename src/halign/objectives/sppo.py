"""Self-play preference optimisation, on the best and the worst of a prompt's samples."""

from torch import Tensor

from halign.objectives.contract import Positive, log_ratios, monitored, needs, probabilities, required
from halign.objectives.items import Pairs


def out_of_reach(win_rate: Tensor, ref_logps: Tensor, beta: float) -> Tensor:
    """1 where no policy has the wanted log-ratio: log pi <= 0, so D never exceeds -ref_logps. 0 elsewhere."""
    return ((win_rate - 0.5) / beta > -ref_logps).to(ref_logps.dtype)


def unreachable(pairs: Pairs, *, beta: float) -> dict[str, Tensor]:
    """``sppo_unreachable``: the share of each pair's two responses whose target is out of reach, [P] of 0, 1/2, 1."""
    pw, pl, sw, sl = required(
        pairs, "chosen_win_rate", "rejected_win_rate", "ref_chosen_logps", "ref_rejected_logps"
    )
    return {"sppo_unreachable": (out_of_reach(pw, sw, beta) + out_of_reach(pl, sl, beta)) / 2}


@monitored(unreachable)
@needs("chosen_win_rate", "rejected_win_rate")
def sppo(pairs: Pairs, *, beta: Positive = 0.001) -> Tensor:
    r"""Each response's log-ratio is drawn to how much more often than not it wins; there are no margins between the two.

    .. math:: \tfrac12\left[\left(D_w - \frac{p_w - 1/2}{\beta}\right)^2 + \left(D_l - \frac{p_l - 1/2}{\beta}\right)^2\right]

    Source: Wu et al. 2024, arXiv 2405.00675, equation 4.7, as in its code on the best and the worst of K samples (the paper has
    all K: ``sppo_all``). beta is 1 / eta. The normaliser that the exact target has is replaced by 1/2, as there.

    Targets lie up to 1 / (2 beta) nats from the reference: 500 at the default. A log-ratio cannot exceed -log pi_ref(y), so for
    short responses good targets are never reached, and such a response is pushed up for ever. The share of them is logged as
    ``sppo_unreachable``; if it is large, raise beta.

    Args:
        pairs: P pairs; uses the four ``*_logps`` (sums, nats), ``chosen_win_rate`` and ``rejected_win_rate``: the mean, over
            the K samples, of the probability of beating each, 1/2 against itself.
        beta: one over the step size of the self-play, per nat.

    Returns:
        float32 [P], nats squared.

    Raises:
        ValueError: if a win rate is outside [0, 1].

    >>> import torch
    >>> t = torch.tensor
    >>> pairs = Pairs(t([-7.0]), t([-9.0]), t([-8.0]), t([-8.0]), chosen_win_rate=t([0.75]), rejected_win_rate=t([0.5]))
    >>> sppo(pairs, beta=0.125).tolist()  # half of (1 - 0.25 / 0.125)^2 + (-1 - 0)^2
    [1.0]
    """
    chosen, rejected = log_ratios(pairs)
    wins, losses = required(pairs, "chosen_win_rate", "rejected_win_rate")
    probabilities("Pairs.chosen_win_rate", wins)
    probabilities("Pairs.rejected_win_rate", losses)
    return ((chosen - (wins - 0.5) / beta).square() + (rejected - (losses - 0.5) / beta).square()) / 2
