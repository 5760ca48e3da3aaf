//! Frames: how records and notes lie in a segment.
