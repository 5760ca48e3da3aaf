//! Signed notes: checkpoints, artifacts, manifests.
