"""The meta-teacher written down plainly: padded, masked, every step as in the equations, no packing and no tricks."""

import torch
import torch.nn.functional as F


def attention(parameters, x_BKD, y_BLD, y_mask_BL):
    """MHA(x, y, y) of the parameters of an `nn.MultiheadAttention`, [B, K, D]; zero where a sample has no y."""
    D, heads = x_BKD.shape[2], parameters.num_heads
    weights, biases = parameters.in_proj_weight.split(D), parameters.in_proj_bias.split(D)
    q_BKHC, k_BLHC, v_BLHC = (
        F.linear(rows, weight, bias).unflatten(2, (heads, D // heads))
        for rows, weight, bias in zip((x_BKD, y_BLD, y_BLD), weights, biases, strict=True)
    )
    scores_BHKL = torch.einsum("bkhc, blhc -> bhkl", q_BKHC, k_BLHC) / (D // heads) ** 0.5
    probabilities_BHKL = masked_softmax(scores_BHKL, y_mask_BL[:, None, None, :])
    found_BKHC = torch.einsum("bhkl, blhc -> bkhc", probabilities_BHKL, v_BLHC)
    return parameters.out_proj(found_BKHC.flatten(2)) * y_mask_BL.any(dim=1)[:, None, None]


def masked_softmax(scores, mask):
    """Softmax over the last axis among what the mask shows, zero elsewhere and where it shows nothing."""
    powers = scores.sub(scores.detach().amax(dim=-1, keepdim=True)).exp() * mask
    return powers / powers.sum(dim=-1, keepdim=True).clamp(min=1e-30)


def layer(parameters, x_BKD, y_BLD, y_mask_BL):
    """LN(x + MHA(x, y, y)), and LN(x' + FFN(x')) where there is a feed-forward part."""
    x_BKD = parameters.norm(x_BKD + attention(parameters.attention, x_BKD, y_BLD, y_mask_BL))
    if parameters.feed_forward is None:
        return x_BKD
    return parameters.feed_forward_norm(x_BKD + parameters.feed_forward(x_BKD))


def cosine_pool(x_BKD, mask_BK, temperature):
    """sum_i w_i x_i with w = softmax_i(cos(x_i, mean x) / temperature), [B, D]."""
    shown_BKD = x_BKD * mask_BK[..., None]
    mean_BD = shown_BKD.sum(dim=1) / mask_BK.sum(dim=1, keepdim=True).clamp(min=1)
    cosine_BK = F.cosine_similarity(x_BKD, mean_BD[:, None], dim=2)
    return (masked_softmax(cosine_BK / temperature, mask_BK)[..., None] * shown_BKD).sum(dim=1)


def teacher(parameters, regions_BMD, region_mask_BM, spans_BND, span_mask_BN):
    """Unit z, [B, D], of the parameters of a `MetaTeacher`."""
    v, t = regions_BMD, spans_BND
    for text, image in zip(parameters.text_layers, parameters.image_layers, strict=True):
        v, t = layer(image, v, t, span_mask_BN), layer(text, t, v, region_mask_BM)
    image_BD = cosine_pool(v, region_mask_BM, parameters.pool_temperature)
    text_BD = cosine_pool(t, span_mask_BN, parameters.pool_temperature)
    has_text_B1 = span_mask_BN.any(dim=1, keepdim=True)
    return F.normalize(torch.where(has_text_B1, 0.5 * (image_BD + text_BD), image_BD), dim=-1)
