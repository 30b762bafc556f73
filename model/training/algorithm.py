"""Algorithm 1 of the paper: joint training of networks and cluster centres.

Equations are those of the paper. The state of training, its returns to earlier states and its records are in
`resumable`, `safeguards` and `update_records`.
"""

import torch
from torch import Tensor

from model.losses import (
    cluster_loss,
    discriminator_loss,
    generator_loss,
    prediction_loss,
    reconstruction_loss,
    target_distribution,
)
from model.networks.networks import Discriminator
from model.training.progress import report_iteration
from model.training.resumable import ResumableTraining
from model.training.target import TargetUpdate
from model.training.update_records import LOSSES


class JointTraining(ResumableTraining):
    """One run of Algorithm 1."""

    def run(self) -> TargetUpdate:
        """Train to n_iter iterations, or until fewer than `tol` of the labels change; return the last target update.

        A restored training goes on where it was. ValueError where its population is another one than then.
        """
        options = self.options
        target = self.last_target() if self.updates else self.renew_target(None)  # q and f_j of all series (Eq 6)
        while self.n_iter < options.n_iter and not self.safeguards.stopped_early:
            self.n_iter += 1
            rows = next(self.batches)  # of a permutation of all series, a new one every epoch
            losses = self.iterate(rows.to(self.x.device), target)  # one step on Eq 8, one on Eq 10
            self.follow(losses)
            if self.n_iter % options.target_interval == 0 or self.n_iter == options.n_iter:
                target = self.renew_target(target)  # q and f_j again (Eq 6)
        return target

    def iterate(self, rows: Tensor, target: TargetUpdate) -> Tensor | None:
        """Take both steps on one batch of series, whose row numbers (B,) are given.

        Returns the losses in the order of LOSSES, or None where one, or its gradient, is not finite.
        """
        options, step = self.options, self.safeguards.step
        x, m = self.x[rows], self.m[rows]
        out = self.model(x, m)  # X_hat, X_tilde, z, q (Eqs 1-3 and 6): one forward pass serves both steps
        judged = out.x_tilde if options.discriminator_input == "merged" else out.x_hat
        loss_dis = loss_gen = x.new_zeros(())
        discriminator = self.discriminator_of(self.n_iter)
        if discriminator is not None and self.discriminator_optimiser is not None:
            loss_dis = discriminator_loss(discriminator(judged.detach()), m)  # Eq 8
            if not step(loss_dis, self.discriminator_optimiser):
                return None
            discriminator.requires_grad_(False)
            loss_gen = generator_loss(discriminator(judged), m, options.adversarial)  # Eq 9, of the updated D
            discriminator.requires_grad_(True)
        loss_pre = prediction_loss(x, out.x_hat, m)  # Eq 4
        counted = m if options.masked_reconstruction else torch.ones_like(m)
        loss_rec = reconstruction_loss(out.x_tilde, self.model.autoencoder.decode(out.z), counted)  # Eq 7
        p = target_distribution(target.assign(rows, x, m), target.cluster_sizes)  # P of Eq 5, a constant
        loss_clu = cluster_loss(p, out.q)  # Eq 5
        loss = (  # Eq 10
            options.w_pre * loss_pre + options.w_rec * loss_rec + options.w_clu * loss_clu + options.w_gen * loss_gen
        )
        if not step(loss, self.optimiser):
            return None
        return torch.stack((loss_rec, loss_pre, loss_clu, loss_dis, loss_gen)).detach()

    def discriminator_of(self, iteration: int) -> Discriminator | None:
        """Return the discriminator where the game, both its steps, is part of an iteration (counted from 1)."""
        return self.model.discriminator if iteration % self.options.adversarial_interval == 0 else None

    def renew_target(self, before: TargetUpdate | None) -> TargetUpdate:
        """Compute the target from the whole training set; first return to the best state where training diverged.

        The state is recorded and kept; `before` is the target before this one.
        """
        target = self.compute_target()
        if self.safeguards.has_diverged(target.prediction_loss):
            self.safeguards.return_from_divergence(self.n_iter, target.prediction_loss)
            target = self.compute_target()
        self.safeguards.keep_good()
        self.safeguards.keep_best(target.prediction_loss)
        self.records.add(self.n_iter, target, before, self.model)
        self.snapshots.take(self.n_iter, self.model, self.x, self.m)
        self.safeguards.stop_where_labels_rest(self.updates, self.options.tol, self.options.n_iter)
        if self.keep is not None:
            self.keep(self.state(target))
        return target

    def follow(self, losses: Tensor | None) -> None:
        """Count and report the losses of an iteration; return to the last good state where one is not finite."""
        if losses is None:
            self.safeguards.return_from_not_finite(self.n_iter)
        else:
            self.records.count(losses, played=self.discriminator_of(self.n_iter) is not None)
        report_iteration(self.progress, self.n_iter, self.options.n_iter, LOSSES, losses)
