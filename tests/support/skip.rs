//! A test that cannot run here says so, on the terminal and in the list that `tests/run.sh` prints; CI as root counts
//! each as a failure.

use std::io::Write;

/// Records that a test did not run, and why.
pub fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
    if let Some(path) = std::env::var_os("FARAMESH_SKIP_LOG") {
        let mut log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path)
            .expect("the skip log can be written");
        writeln!(log, "{test}: {why}").expect("the skip log can be written");
    }
}

/// Whether the test may go on: it needs root.
#[must_use]
pub fn root_or_skip(test: &str) -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        skipped(test, "needs root (separate users, cgroups)");
    }
    root
}
