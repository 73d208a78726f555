"""What of a network is spelt otherwise while torch.onnx.export reads it.

ONNX has an operator for all of an attention (opset 23, PyTorch 2.8); taken apart into products,
as the exporter would, it costs a small network in ONNX Runtime a tenth of its time.
"""

import torch
from torch import Tensor


def exporting() -> bool:
    """Whether the network is being exported to ONNX, by a PyTorch that knows its operators."""
    return hasattr(torch.onnx, "ops") and torch.onnx.is_in_onnx_export()


def onnx_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor | None = None,
    causal: bool = False,
    heads: int = 0,
) -> Tensor:
    """Attention as one operator.

    Args:
        queries: `(B, h, L, D / h)`, or `(B, L, D)` with `heads`.
        keys: likewise.
        values: likewise.
        bias: to add to the scores, or None.
        causal: whether a query sees no later key.
        heads: into how many the channels of three dimensions are split.

    Returns:
        the result in the shape of `queries`.
    """
    return torch.onnx.ops.attention(
        queries, keys, values, bias, is_causal=causal, q_num_heads=heads, kv_num_heads=heads
    )[0]
