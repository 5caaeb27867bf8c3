"""What each input adds to the output of a network of dense layers with relu between them.

Source: M. Sundararajan, A. Taly and Q. Yan, 2017, Axiomatic attribution for deep networks, equation
1, along the straight way from a baseline; the integral is a sum over its middle points.
"""

import numpy as np

from behavsql.models.parts.dense_layers import DenseLayers

STEPS = 64  # points on the way; what they leave over is told as the residual
BLOCK_ROWS = 512  # rows whose points are worked on together


def attributed(
    network: DenseLayers, matrix: np.ndarray, baseline: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Output at the baseline (m,), (n, m) parts, (n,) output, all before the last activation."""
    kernels = [np.asarray(layer.kernel, np.float64) for layer in network.layers]
    biases = [np.asarray(layer.bias, np.float64) for layer in network.layers]
    parts, output = np.empty(matrix.shape), np.empty(len(matrix))
    single = [kernel.astype(np.float32) for kernel in kernels]
    shares = ((np.arange(STEPS) + 0.5) / STEPS).astype(np.float32)
    for start in range(0, len(matrix), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        way = matrix[rows] - baseline
        first = (matrix[rows] @ kernels[0] + biases[0]).astype(np.float32)
        at_start = (baseline @ kernels[0] + biases[0]).astype(np.float32)
        slope = np.zeros((len(way), matrix.shape[1]))
        # The first layer is linear in the share of the way: it is multiplied once, not at each step.
        slope_of_first = np.zeros_like(first)
        for share in shares:
            slope_of_first += _back(at_start + share * (first - at_start), single, biases)
        slope = (slope_of_first / STEPS) @ single[0].T
        parts[rows] = way * slope
        output[rows] = _forward(matrix[rows], kernels, biases)
    return float(_forward(baseline[np.newaxis], kernels, biases)[0]), parts, output


def _back(first: np.ndarray, kernels: list[np.ndarray], biases: list[np.ndarray]) -> np.ndarray:
    """(n, units) how much the output grows with each sum of the first layer."""
    sums = [first]
    for kernel, bias in zip(kernels[1:-1], biases[1:-1], strict=True):
        sums.append(np.maximum(sums[-1], 0) @ kernel + bias.astype(np.float32))
    slope = np.broadcast_to(kernels[-1][:, 0], sums[-1].shape)
    for sum_, kernel in zip(reversed(sums[1:]), reversed(kernels[1:-1]), strict=True):
        slope = ((sum_ > 0) * slope) @ kernel.T
    return (sums[0] > 0) * slope


def _forward(matrix: np.ndarray, kernels: list[np.ndarray], biases: list[np.ndarray]) -> np.ndarray:
    values = matrix
    for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
        values = np.maximum(values @ kernel + bias, 0)
    return (values @ kernels[-1] + biases[-1])[:, 0]
