//! What decisions remember: a fold over records.
