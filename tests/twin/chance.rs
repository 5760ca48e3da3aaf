//! Chance that can be had again: one seed, printed, from which every run follows.

/// SplitMix64: small, and the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The seed of this run: `FARAMESH_SEED`, or a fresh one. Printed, so that a failure can be replayed.
    pub(crate) fn seed(test: &str) -> u64 {
        let fresh = || {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap();
            u64::from(now.subsec_nanos()) ^ now.as_secs().rotate_left(32)
        };
        let seed =
            std::env::var("FARAMESH_SEED").map_or_else(|_| fresh(), |text| text.parse().unwrap());
        println!("{test}: FARAMESH_SEED={seed}");
        seed
    }

    /// The chance of one round of a seed: rounds do not depend on each other, so that any can be replayed alone.
    pub(crate) fn of(seed: u64, round: u64) -> Chance {
        let mut chance = Chance(seed ^ round.wrapping_mul(0xd6e8_feb8_6659_fd93));
        chance.next();
        chance
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    /// Up to `most` times what `make` makes.
    pub(crate) fn some<T>(
        &mut self,
        most: usize,
        mut make: impl FnMut(&mut Chance) -> T,
    ) -> Vec<T> {
        let count = self.below(most + 1);
        (0..count).map(|_| make(self)).collect()
    }
}
