//! The fuzz targets on stable: seeds and their mutations, a fixed number of rounds, the seed printed.
//!
//! `FARAMESH_FUZZ_SEED=N` replays a run; `FARAMESH_FUZZ_ROUNDS=N` makes it longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test that cannot go on fails; which of these a file needs changes with its tests"
)]

mod targets;

use std::panic::catch_unwind;
use std::time::{SystemTime, UNIX_EPOCH};

/// splitmix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Bytes that parsers stumble over.
const SPICE: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"1e999",
    b"-",
    b"((((((((",
    b"not not not ",
    b"\r\n",
    b"\xe2\x80\xae",
    b"$",
    b"deny! ",
    b"\n\n",
];

fn mutate(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 if !bytes.is_empty() => {
                let at = at.min(bytes.len() - 1);
                bytes[at] ^= 1 << random.below(8);
            }
            1 => bytes.truncate(at),
            2 => {
                let spice = SPICE[random.below(SPICE.len())];
                bytes.splice(at..at, spice.iter().copied());
            }
            3 => {
                let from = random.below(bytes.len() + 1).min(at);
                let part = bytes[from..at].to_vec();
                bytes.splice(at..at, part);
            }
            4 if at < bytes.len() => {
                let to = at + random.below(bytes.len() - at) + 1;
                bytes.drain(at..to);
            }
            _ => bytes.insert(at, random.next() as u8),
        }
    }
    bytes.truncate(64 * 1024);
    bytes
}

#[test]
fn no_target_panics_on_seeds_and_their_mutations() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seed = number("FARAMESH_FUZZ_SEED").unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64
    });
    let rounds = number("FARAMESH_FUZZ_ROUNDS").unwrap_or(50_000);
    println!("FARAMESH_FUZZ_SEED={seed}");
    for (name, target, seeds) in targets::ALL {
        let mut random = Random(seed);
        let mut pool: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
        for round in 0..rounds {
            let input = if (round as usize) < pool.len() {
                pool[round as usize].clone()
            } else {
                mutate(&pool[random.below(pool.len())], &mut random)
            };
            if catch_unwind(|| target(&input)).is_err() {
                panic!(
                    "{name} fails with FARAMESH_FUZZ_SEED={seed}, round {round}, on {:?}",
                    String::from_utf8_lossy(&input)
                );
            }
            // A walk: some mutations become seeds of their own.
            if random.below(16) == 0 && pool.len() < 512 {
                pool.push(input);
            }
        }
    }
}
