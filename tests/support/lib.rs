//! What the tests that cross crates share: a world in three lines, and loud skips.
//!
//! ```no_run
//! # use faramesh_tests::World;
//! let world = World::development(r#"agent "bot" { default deny  permit crm/lookup }"#);
//! assert_eq!(world.govern("bot", "crm/lookup", "{}").effect, "permit");
//! ```
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set its world up must fail, with the reason"
)]

pub mod policy;
pub mod skip;
mod world;

pub use world::{Answer, Inside, World};
