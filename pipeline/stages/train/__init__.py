"""Train the joint network on sampled cells of the cube."""
