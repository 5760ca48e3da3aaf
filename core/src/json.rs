//! Strict JSON in, canonical text out.
