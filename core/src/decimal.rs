//! Exact decimals: two different amounts never share a form.

use serde::{Deserialize, Serialize};

/// An exact decimal, in its canonical text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Decimal(String);
