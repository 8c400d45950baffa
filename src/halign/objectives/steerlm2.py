"""SteerLM 2.0: responses that have the attributes asked for."""

import torch
from torch import Tensor

from halign.objectives.contract import monitored, needs, required
from halign.objectives.items import Lists
from halign.objectives.lists import tidied


def log_weights(lists: Lists) -> tuple[Tensor, Tensor]:
    """(log w', log b') of tidied lists: normalised over each list's responses, -inf where none is; detached, [L, K]."""
    prior, attribute, mask = required(lists, "prior_logps", "attribute_logps", "mask")
    behaviour = lists.behaviour_logps
    if behaviour is None:
        (behaviour,) = required(lists, "ref_logps")
    with torch.no_grad():
        wanted = (attribute + prior - behaviour).masked_fill(~mask, -torch.inf)
        current = (lists.logps - behaviour).masked_fill(~mask, -torch.inf)
        return wanted.log_softmax(1), current.log_softmax(1)


def divergence(lists: Lists) -> dict[str, Tensor]:
    """``steerlm2_kl``: KL(w' || b') of each list, nats [L]. The loss's gradient is this one's, so this is what falls."""
    lists = tidied(lists)
    wanted, current = log_weights(lists)
    terms = torch.where(lists.mask, wanted.exp() * (wanted - current), 0.0)  # type: ignore[arg-type]
    return {"steerlm2_kl": terms.sum(1)}


@monitored(divergence)
@needs("prior_logps", "attribute_logps")
def steerlm2(lists: Lists) -> Tensor:
    r"""Of a prompt's samples, make those likelier that have the attributes and would be likely without them.

    .. math:: -\sum_i (w'_i - b'_i) \log Q(y_i|a, x), \quad
              w' = \operatorname{softmax}_i \log\frac{P(a|x, y_i)\, P(y_i|x)}{Q'(y_i|a, x)}, \quad
              b' = \operatorname{softmax}_i \log\frac{Q(y_i|a, x)}{Q'(y_i|a, x)}

    w' are importance weights of the optimal policy, which is proportional to P(a|x, y) P(y|x); b' is a baseline, the same
    weights for the policy itself. Both are detached. The value of the loss says little: watch ``steerlm2_kl``, KL(w' || b'),
    of which it has the gradient.

    Source: Wang et al. 2024, arXiv 2406.08673 (HelpSteer2), where it is derived as SteerLM 2.0.

    Args:
        lists: L groups of samples of one prompt x and one set of attributes a; uses ``logps`` (policy Q, conditioned on a),
            ``prior_logps`` (P(y|x)), ``attribute_logps`` (P(a|x, y), from categorical attribute heads), and
            ``behaviour_logps`` (Q', the model that the samples are from), or, where None, ``ref_logps``: the reference is then
            taken for Q'. All are sums in nats. Order and ranks play no part.

    Returns:
        float32 [L]; 0 where the weights agree.

    >>> t = torch.tensor([[-1.0, -1.0]])
    >>> lists = Lists(logps=t, ref_logps=t, prior_logps=t, attribute_logps=torch.tensor([[0.75, 0.25]]).log())
    >>> lists.logps.requires_grad_()
    tensor([[-1., -1.]], requires_grad=True)
    >>> steerlm2(lists).sum().backward()
    >>> lists.logps.grad  # b' - w' = (1/2, 1/2) - (3/4, 1/4)
    tensor([[-0.2500,  0.2500]])
    """
    lists = tidied(lists)
    wanted, current = log_weights(lists)
    return -((wanted.exp() - current.exp()) * lists.logps).sum(1)
