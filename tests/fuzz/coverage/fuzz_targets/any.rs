//! One binary for all targets: `FARAMESH_FUZZ_TARGET` chooses.
#![no_main]
#![allow(missing_docs, reason = "libfuzzer's macro makes public functions")]

#[path = "../../targets.rs"]
#[expect(dead_code, reason = "seeds and memory limits are the stable driver's; libfuzzer has its own")]
mod targets;

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("FARAMESH_FUZZ_TARGET").expect("FARAMESH_FUZZ_TARGET");
    targets::ALL.iter().find(|target| target.name == wanted).expect("a target of that name").run
});

fuzz_target!(|data: &[u8]| TARGET(data));
