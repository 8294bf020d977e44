"""The policy-optimization agent: policies, rollouts, advantages, clipped policy gradient."""
