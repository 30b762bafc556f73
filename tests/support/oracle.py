"""The method's equations once more in float64 NumPy, written from the paper and not from the package."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def gru_cell(u, h, w_ih, w_hh, b_ih, b_hh):
    """One step for one series; the rows of the weights are reset, update, new, as in torch."""
    size = len(h)
    i, k = w_ih @ u + b_ih, w_hh @ h + b_hh
    r = sigmoid(i[:size] + k[:size])
    z = sigmoid(i[size : 2 * size] + k[size : 2 * size])
    n = np.tanh(i[2 * size :] + r * k[2 * size :])
    return (1 - z) * n + z * h


def direction(x, m, w_imp, b_imp, *gru):
    """e_t = W_imp h_{t-1} + b_imp; u_t = m_t x_t + (1 - m_t) e_t; h_t = GRU(u_t, h_{t-1}). One series (T, C)."""
    h = np.zeros(w_imp.shape[1])
    estimates = []
    for x_t, m_t in zip(x, m, strict=True):
        e = w_imp @ h + b_imp
        h = gru_cell(np.where(m_t == 1, x_t, e), h, *gru)
        estimates.append(e)
    return np.array(estimates)


def generator(x, m, parameters):
    """X_hat (B, T, C) of a bidirectional generator, whose parameters hold the forward direction first."""
    names = ("weight_imp", "bias_imp", "weight_ih", "weight_hh", "bias_ih", "bias_hh")
    forward, backward = ([parameters[name][d] for name in names] for d in range(2))
    return np.array(
        [
            (direction(x_i, m_i, *forward) + direction(x_i[::-1], m_i[::-1], *backward)[::-1]) / 2
            for x_i, m_i in zip(x, m, strict=True)
        ]
    )


def prediction_loss(x, x_hat, m):
    return sum(m[i, t, c] * (x[i, t, c] - x_hat[i, t, c]) ** 2 for i, t, c in np.ndindex(*x.shape)) / len(x)


def reconstruction_loss(x_tilde, reconstruction, m):
    total = 0.0
    for i, t, c in np.ndindex(*x_tilde.shape):
        total += m[i, t, c] * (x_tilde[i, t, c] - reconstruction[i, t * x_tilde.shape[2] + c]) ** 2
    return total / len(x_tilde)


def soft_assignment(z, centres):
    kernel = np.array([[1 / (1 + np.sum((z_i - mu) ** 2)) for mu in centres] for z_i in z])
    return kernel / kernel.sum(1, keepdims=True)


def target_distribution(q, cluster_sizes):
    p = np.array([[q_ij**2 / f_j for q_ij, f_j in zip(q_i, cluster_sizes, strict=True)] for q_i in q])
    return p / p.sum(1, keepdims=True)


def cluster_loss(p, q):
    return sum(p[i, j] * (np.log(p[i, j]) - np.log(q[i, j])) for i, j in np.ndindex(*p.shape)) / len(p)


def discriminator_loss(logits, m):
    d = sigmoid(logits)
    return -np.sum(m * np.log(d) + (1 - m) * np.log(1 - d)) / len(logits)


def generator_loss_paper(logits, m):
    return np.sum((1 - m) * np.log(1 - sigmoid(logits))) / len(logits)


def generator_loss_nonsaturating(logits, m):
    return -np.sum((1 - m) * np.log(sigmoid(logits))) / len(logits)


def filled_by_the_mean(X):
    """Series (n, T, C) whose gaps hold the mean of their series and channel, or of the channel where it has none."""
    filled = X.astype(np.float64).copy()
    for i, c in np.ndindex(X.shape[0], X.shape[2]):
        observed = X[i, ~np.isnan(X[i, :, c]), c].astype(np.float64)
        every = X[:, :, c][~np.isnan(X[:, :, c])].astype(np.float64)
        filled[i, np.isnan(X[i, :, c]), c] = observed.mean() if len(observed) else every.mean()
    return filled


def kmeans_loss(latent, n_clusters):
    """Tr(H^T H) - Tr(F^T H^T H F) with H (D, B) and F its top right singular vectors, by the whole decomposition."""
    h = latent.T
    _, _, right = np.linalg.svd(h, full_matrices=False)
    f = right[:n_clusters].T
    return np.trace(h.T @ h) - np.trace(f.T @ h.T @ h @ f)


def gru_sequence(inputs, weight_ih, weight_hh, bias_ih, bias_hh):
    """Hidden states of one sequence of inputs (T, n), from a zero state."""
    h, states = np.zeros(weight_hh.shape[1]), []
    for u in inputs:
        h = gru_cell(u, h, weight_ih, weight_hh, bias_ih, bias_hh)
        states.append(h)
    return np.array(states)
