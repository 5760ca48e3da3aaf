//! One page: how a call becomes a decision.
