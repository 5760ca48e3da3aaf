//! The fuzz targets on stable: seeds and their mutations, a fixed number of rounds, the seed printed. No input panics,
//! takes more memory than its target allows, or goes on for ever.
//!
//! `FARAMESH_SEED=N` replays a run; `FARAMESH_FUZZ_ROUNDS=N` makes it longer, and `FARAMESH_FUZZ_TARGET=NAME` runs one
//! target alone.
#![expect(
    unsafe_code,
    reason = "an allocator that counts is the only way to see what memory an input takes"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test that cannot go on fails; which of these a file needs changes with its tests"
)]

mod targets;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Memory that any run may take: tables of the engines, and findings with their source lines.
const BYTES_ALWAYS: usize = 16 << 20;
/// Beyond this an allocation fails, so that a fault of ours does not take the machine with it.
const BYTES_NEVER: usize = 2 << 30;
/// A single input that takes longer hangs: usual ones take microseconds, and the machine may be busy.
const HANG: Duration = Duration::from_secs(120);
/// Of each target.
const ROUNDS: u64 = 40_000;
const ROUNDS_LONG: u64 = 200_000;

/// Counts what this thread holds, and the most that it held.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

/// Whether that much more may be held.
fn take(bytes: usize) -> bool {
    // Gone while a thread ends: nobody counts then.
    HELD.try_with(|held| {
        let now = held.get().saturating_add(bytes);
        held.set(now);
        let _ = MOST.try_with(|most| most.set(most.get().max(now)));
        now < BYTES_NEVER
    })
    .unwrap_or(true)
}

fn give_back(bytes: usize) {
    // What another thread took is given back here too: never below nothing.
    let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(bytes)));
}

// SAFETY: every call goes on to the system's allocator unchanged, or fails by the null pointer that the trait allows.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as the trait demands of the caller; nothing is asked of it besides.
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        give_back(layout.size());
        // SAFETY: the caller's promises are the system's.
        unsafe { System.dealloc(memory, layout) }
    }

    // SAFETY: as the trait demands of the caller; nothing is asked of it besides.
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        give_back(layout.size());
        if !take(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are the system's.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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

/// What is being run, so that a watcher can say it.
static RUNNING: Mutex<String> = Mutex::new(String::new());

/// Ends the process where one input takes for ever: there is no other way to stop it.
fn watch(signs_of_life: &Receiver<()>) {
    loop {
        match signs_of_life.recv_timeout(HANG) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let running = RUNNING.lock().map_or_else(|_| String::new(), |r| r.clone());
                println!("hangs: {running}");
                eprintln!("hangs: {running}");
                std::process::abort();
            }
        }
    }
}

#[test]
fn no_target_panics_or_hangs_or_takes_memory_beyond_its_limit() {
    let variable = |name: &str| std::env::var(name).ok();
    let number = |name: &str| variable(name).and_then(|v| v.parse::<u64>().ok());
    let seed = number("FARAMESH_SEED").unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64
    });
    let long = variable("FARAMESH_TEST_LONG").is_some();
    let usual = if long { ROUNDS_LONG } else { ROUNDS };
    let rounds = number("FARAMESH_FUZZ_ROUNDS").unwrap_or(usual);
    println!("FARAMESH_SEED={seed}");
    let (alive, signs_of_life) = channel();
    let watcher = std::thread::spawn(move || watch(&signs_of_life));
    let wanted = variable("FARAMESH_FUZZ_TARGET");
    for target in targets::ALL {
        if wanted.as_ref().is_none_or(|wanted| wanted == target.name) {
            run(target, seed, rounds, &|| alive.send(()).unwrap());
        }
    }
    drop(alive);
    watcher.join().unwrap();
}

fn run(target: &targets::Target, seed: u64, rounds: u64, alive: &dyn Fn()) {
    let name = target.name;
    let began = SystemTime::now();
    let mut random = Random(seed);
    let mut pool: Vec<Vec<u8>> = (target.seeds)();
    // Once before it is counted: tables that are made at first use belong to nobody.
    for seed in &pool {
        let _ = catch_unwind(|| (target.run)(seed));
    }
    let mut most = 0;
    let seeds = pool.len() as u64;
    for round in 0..rounds.max(seeds) {
        let input = match pool.get(round as usize) {
            Some(seed) if round < seeds => seed.clone(),
            _ => mutate(&pool[random.below(pool.len())], &mut random),
        };
        *RUNNING.lock().unwrap() = format!("{name}, FARAMESH_SEED={seed}, round {round}");
        alive();
        let shown = || String::from_utf8_lossy(&input).into_owned();
        let held = HELD.get();
        MOST.set(held);
        if catch_unwind(|| (target.run)(&input)).is_err() {
            panic!(
                "{name} fails with FARAMESH_SEED={seed}, round {round}, on {:?}",
                shown()
            );
        }
        let took = MOST.get().saturating_sub(held);
        let may = BYTES_ALWAYS + input.len() * target.bytes_per_byte;
        assert!(
            took <= may,
            "{name} takes {took} bytes, more than {may}, with FARAMESH_SEED={seed}, round {round}, on {:?}",
            shown()
        );
        most = most.max(took);
        // A walk: some mutations become seeds of their own.
        if random.below(16) == 0 && pool.len() < 1_024 {
            pool.push(input);
        }
    }
    let seconds = began.elapsed().map_or(0.0, |took| took.as_secs_f32());
    println!("{name}: {rounds} inputs from {seeds} seeds, at most {most} bytes, {seconds:.1} s");
}
