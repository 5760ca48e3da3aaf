//! Tiles: the tree in pieces of 256 hashes, as [C2SP tlog-tiles](https://c2sp.org/tlog-tiles) cuts it, and proofs that are
//! made of them.
//!
//! A tile of level `l` holds 256 roots of subtrees of 256^l leaves each. Only full tiles exist here: what stands right of
//! the last full one comes from the leaves themselves ([`Gather`]).
//!
//! Invariants:
//! - Nothing here trusts a tile. A proof that was made of wrong hashes is a wrong proof: whoever makes one checks it
//!   against a signed root before it leaves.
//! - A [`Node`] is a full subtree and never changes once its last leaf is there: so a tile never changes either.

use super::{Error, Frontier, Hash, SIZE_MAX, node_hash};
use std::collections::{BTreeMap, BTreeSet};

/// Hashes in a tile.
pub const WIDTH: usize = 256;

/// Levels of the tree in one tile: 256 is 2^8.
const HEIGHT: u32 = 8;

/// Bytes of a tile.
pub const TILE_BYTES: usize = WIDTH * 32;

/// Full tiles have levels below this: one of level 7 would hold 2^64 leaves.
const TILE_LEVELS: u32 = 7;

/// What the names of tiles begin with.
const ROOT: &str = "tile/";

/// Digits in one element of a tile's path.
const DIGITS: usize = 3;

/// The name of a full tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TileId {
    level: u32,
    index: u64,
}

impl TileId {
    /// The tile of this level and index; `None` where no tree has it in full.
    #[must_use]
    pub fn new(level: u32, index: u64) -> Option<TileId> {
        let id = TileId { level, index };
        (level < TILE_LEVELS && id.end_checked().is_some()).then_some(id)
    }

    /// 0 holds leaf hashes.
    #[must_use]
    pub const fn level(&self) -> u32 {
        self.level
    }

    /// Its place in its level.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The number of leaves that a tree needs so that this tile is full.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end_checked().unwrap_or(SIZE_MAX)
    }

    fn end_checked(&self) -> Option<u64> {
        let leaves = 1_u64.checked_shl(HEIGHT * (self.level + 1))?;
        let end = self.index.checked_add(1)?.checked_mul(leaves)?;
        (end < SIZE_MAX).then_some(end)
    }

    /// The tiles that the last of `size` leaves makes full, lower levels first.
    pub fn completed_by(size: u64) -> impl Iterator<Item = TileId> {
        let levels = size.trailing_zeros() / HEIGHT;
        (0..levels.min(TILE_LEVELS)).filter_map(move |level| {
            let index = (size >> (HEIGHT * (level + 1))).checked_sub(1)?;
            TileId::new(level, index)
        })
    }

    /// Where it lies below the log: `tile/0/x001/x234/067`.
    #[must_use]
    pub fn path(&self) -> String {
        let mut groups = vec![format!("{:03}", self.index % 1_000)];
        let mut rest = self.index / 1_000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1_000));
            rest /= 1_000;
        }
        groups.reverse();
        format!("{ROOT}{}/{}", self.level, groups.join("/"))
    }

    /// The inverse of [`TileId::path`]: every tile has one path.
    #[must_use]
    pub fn parse(path: &str) -> Option<TileId> {
        let (level, groups) = path.strip_prefix(ROOT)?.split_once('/')?;
        let mut index: u64 = 0;
        let mut parts = groups.split('/').peekable();
        while let Some(part) = parts.next() {
            let digits = match parts.peek() {
                Some(_) => part.strip_prefix('x')?,
                None => part,
            };
            let number = Some(digits)
                .filter(|d| d.len() == DIGITS && d.bytes().all(|b| b.is_ascii_digit()))?
                .parse::<u64>()
                .ok()?;
            index = index.checked_mul(1_000)?.checked_add(number)?;
        }
        let id = TileId::new(level.parse().ok()?, index)?;
        (id.path() == path).then_some(id)
    }
}

/// The hashes of a full tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile(Vec<Hash>);

impl Tile {
    /// From a file's bytes; `None` where they are not exactly as many as a tile has.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Tile> {
        let (hashes, []) = bytes.as_chunks::<32>() else {
            return None;
        };
        (hashes.len() == WIDTH).then(|| Tile(hashes.to_vec()))
    }

    /// What is written into its file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.concat()
    }

    /// Its hashes, in order.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.0
    }
}

/// A full subtree: the leaves from `index`·2^`level` to (`index` + 1)·2^`level`, the last excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// 0 is a leaf.
    pub level: u32,
    /// Its place in its level.
    pub index: u64,
}

impl Node {
    /// Its first leaf.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.index << self.level
    }

    /// The leaf after its last.
    #[must_use]
    pub const fn end(&self) -> u64 {
        (self.index + 1) << self.level
    }

    /// The tile whose hashes it is made of, and which of them: from where, and how many.
    fn place(&self) -> (Option<TileId>, usize, usize) {
        let inner = self.level % HEIGHT;
        let within = HEIGHT - inner;
        let id = TileId::new(self.level / HEIGHT, self.index >> within);
        let from = (self.index & ((1 << within) - 1)) << inner;
        (id, usize::try_from(from).unwrap_or(WIDTH), 1 << inner)
    }

    fn children(&self) -> Option<[Node; 2]> {
        let level = self.level.checked_sub(1)?;
        let left = self.index << 1;
        Some([left, left + 1].map(|index| Node { level, index }))
    }
}

/// The full subtrees that a range of leaves is made of, the largest first, as a tree's right edge is.
fn subtrees(first: u64, end: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut at = first;
    while at < end {
        let aligned = match at {
            0 => u64::BITS - 1,
            _ => at.trailing_zeros(),
        };
        let level = aligned.min((end - at).ilog2());
        nodes.push(Node {
            level,
            index: at >> level,
        });
        at += 1 << level;
    }
    nodes
}

/// The hash over neighbouring subtrees, the largest first.
fn join(hashes: &[Hash]) -> Option<Hash> {
    let mut smallest_first = hashes.iter().rev();
    let smallest = *smallest_first.next()?;
    Some(smallest_first.fold(smallest, |right, left| node_hash(left, &right)))
}

/// The root over a power of two of hashes.
fn full_root(hashes: &[Hash]) -> Option<Hash> {
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        let (pairs, []) = level.as_chunks::<2>() else {
            return None;
        };
        level = pairs.iter().map(|[l, r]| node_hash(l, r)).collect();
    }
    level.first().copied()
}

/// What a proof is made of, before anything is read: for each of its hashes the full subtrees below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan(Vec<Vec<Node>>);

impl Plan {
    /// The inclusion path of leaf `index` in a tree of `size` leaves.
    ///
    /// # Errors
    /// [`Error::Sizes`] where the tree does not have the leaf.
    pub fn inclusion(index: u64, size: u64) -> Result<Plan, Error> {
        if index >= size || size >= SIZE_MAX {
            return Err(Error::Sizes);
        }
        let (mut first, mut end) = (0, size);
        let mut ranges = Vec::new();
        while end - first > 1 {
            let middle = first + split(end - first);
            if index < middle {
                ranges.push((middle, end));
                end = middle;
            } else {
                ranges.push((first, middle));
                first = middle;
            }
        }
        Ok(Plan::of(ranges))
    }

    /// That the tree of `new` leaves begins with the tree of `old`.
    ///
    /// # Errors
    /// [`Error::Sizes`] where it is not larger or as large.
    pub fn consistency(old: u64, new: u64) -> Result<Plan, Error> {
        if old > new || new >= SIZE_MAX {
            return Err(Error::Sizes);
        }
        let mut ranges = Vec::new();
        let (mut first, mut end) = (0, new);
        while old != 0 && old != end {
            let middle = first + split(end - first);
            if old <= middle {
                ranges.push((middle, end));
                end = middle;
            } else {
                ranges.push((first, middle));
                first = middle;
            }
        }
        // The old tree's own root is known to whoever checks; the root of a part of it is not.
        if first != 0 {
            ranges.push((first, end));
        }
        Ok(Plan::of(ranges))
    }

    /// The frontier of a tree of `size` leaves: each node is one of the plan's hashes.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn frontier(size: u64) -> Result<Plan, Error> {
        if size >= SIZE_MAX {
            return Err(Error::TooLarge);
        }
        let nodes = subtrees(0, size);
        Ok(Plan(nodes.into_iter().map(|node| vec![node]).collect()))
    }

    fn of(mut ranges: Vec<(u64, u64)>) -> Plan {
        ranges.reverse();
        let subtrees = ranges.into_iter().map(|(first, end)| subtrees(first, end));
        Plan(subtrees.collect())
    }

    /// Every subtree whose hash is needed.
    pub fn nodes(&self) -> impl Iterator<Item = Node> {
        self.0.iter().flatten().copied()
    }

    /// The tiles that the subtrees are read from where a tree of `size` leaves has its full tiles: below one that is not
    /// full those that it is made of.
    #[must_use]
    pub fn tiles(&self, size: u64) -> BTreeSet<TileId> {
        let mut needed = BTreeSet::new();
        let mut open: Vec<Node> = self.nodes().collect();
        while let Some(node) = open.pop() {
            match node.place().0.filter(|id| id.end() <= size) {
                Some(id) => drop(needed.insert(id)),
                None => open.extend(node.children().into_iter().flatten()),
            }
        }
        needed
    }

    /// The proof's hashes.
    ///
    /// # Errors
    /// The first subtree that `hash` does not know.
    pub fn hashes(&self, mut hash: impl FnMut(Node) -> Option<Hash>) -> Result<Vec<Hash>, Node> {
        let mut proof = Vec::with_capacity(self.0.len());
        for nodes in &self.0 {
            let mut parts = Vec::with_capacity(nodes.len());
            for node in nodes {
                parts.push(hash(*node).ok_or(*node)?);
            }
            proof.extend(join(&parts));
        }
        Ok(proof)
    }
}

/// The largest power of two below `leaves`, which is at least 2.
fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// A reader of tiles: asks for each at most once.
pub struct Tiles<F> {
    lookup: F,
    known: BTreeMap<TileId, Option<Tile>>,
}

impl<F: FnMut(TileId) -> Option<Tile>> Tiles<F> {
    /// Over whatever finds tiles: `None` is one that is not there.
    pub const fn new(lookup: F) -> Self {
        Tiles {
            lookup,
            known: BTreeMap::new(),
        }
    }

    /// How many tiles were asked for.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.known.len()
    }

    /// The hash of a full subtree, from its tile; where that one is not full yet, from those below it, of which there
    /// are at most 255 a level. `None` where they do not hold it.
    pub fn node(&mut self, node: Node) -> Option<Hash> {
        let (id, from, count) = node.place();
        if let Some(id) = id
            && let Some(tile) = self.tile(id)
        {
            return full_root(tile.0.get(from..from + count)?);
        }
        let [left, right] = node.children()?;
        Some(node_hash(&self.node(left)?, &self.node(right)?))
    }

    fn tile(&mut self, id: TileId) -> Option<&Tile> {
        let Tiles { lookup, known } = self;
        known.entry(id).or_insert_with(|| lookup(id)).as_ref()
    }

    /// What is needed to go on from a tree of `size` leaves; `None` where the tiles do not hold it.
    pub fn frontier(&mut self, size: u64) -> Option<Frontier> {
        let plan = Plan::frontier(size).ok()?;
        let nodes = plan.hashes(|node| self.node(node)).ok()?;
        Frontier::from_parts(size, nodes).ok()
    }
}

/// Takes leaves in order and keeps the hashes of the subtrees that are wanted: what tiles do not hold yet, at a memory
/// that does not grow with the leaves.
#[derive(Debug, Clone)]
pub struct Gather {
    frontier: Frontier,
    wanted: BTreeSet<Node>,
    found: BTreeMap<Node, Hash>,
}

impl Gather {
    /// Goes on from a tree; subtrees that end in it are not found any more.
    #[must_use]
    pub fn new(from: Frontier, wanted: impl IntoIterator<Item = Node>) -> Gather {
        Gather {
            frontier: from,
            wanted: wanted.into_iter().collect(),
            found: BTreeMap::new(),
        }
    }

    /// The next leaf.
    ///
    /// # Errors
    /// Where the tree is full.
    pub fn push(&mut self, leaf: Hash) -> Result<(), Error> {
        let Gather {
            frontier,
            wanted,
            found,
        } = self;
        let index = frontier.size();
        frontier.push_with(leaf, |level, hash| {
            let node = Node {
                level,
                index: index >> level,
            };
            if wanted.contains(&node) {
                found.insert(node, *hash);
            }
        })
    }

    /// The tree up to the last leaf.
    #[must_use]
    pub const fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The hash of a subtree that was wanted and is complete.
    #[must_use]
    pub fn node(&self, node: Node) -> Option<Hash> {
        self.found.get(&node).copied()
    }
}

/// Makes tiles of leaves, in order.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    size: u64,
    /// The hashes of each level's tile that is not full yet.
    levels: Vec<Vec<Hash>>,
}

impl Builder {
    /// From the first leaf.
    #[must_use]
    pub const fn new() -> Builder {
        Builder {
            size: 0,
            levels: Vec::new(),
        }
    }

    /// Goes on from the full tiles of a tree of `size` leaves, a multiple of 256; `None` where they are not all there.
    pub fn resume<F>(size: u64, tiles: &mut Tiles<F>) -> Option<Builder>
    where
        F: FnMut(TileId) -> Option<Tile>,
    {
        if !size.is_multiple_of(WIDTH as u64) {
            return None;
        }
        let mut levels = Vec::new();
        for tile_level in 0..=TILE_LEVELS {
            let level = tile_level * HEIGHT;
            let end = size >> level;
            if end == 0 {
                break;
            }
            let begun = end - end % WIDTH as u64;
            let hashes = (begun..end).map(|index| tiles.node(Node { level, index }));
            levels.push(hashes.collect::<Option<Vec<_>>>()?);
        }
        Some(Builder { size, levels })
    }

    /// Leaves so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf. `full` is given each tile that it completes, lower levels first.
    ///
    /// # Errors
    /// Where the tree is full.
    pub fn push(&mut self, leaf: Hash, mut full: impl FnMut(TileId, Tile)) -> Result<(), Error> {
        if self.size + 1 >= SIZE_MAX {
            return Err(Error::TooLarge);
        }
        self.size += 1;
        let mut completed = TileId::completed_by(self.size);
        let mut hash = Some(leaf);
        let mut levels = self.levels.iter_mut();
        while let (Some(next), Some(begun)) = (hash, levels.next()) {
            begun.push(next);
            if begun.len() < WIDTH {
                return Ok(());
            }
            let tile = Tile(std::mem::replace(begun, Vec::with_capacity(WIDTH)));
            hash = full_root(&tile.0);
            if let Some(id) = completed.next() {
                full(id, tile);
            }
        }
        self.levels.extend(hash.map(|hash| vec![hash]));
        Ok(())
    }

    /// The tree so far.
    ///
    /// # Errors
    /// Never for one that [`Builder::push`] made.
    pub fn frontier(&self) -> Result<Frontier, Error> {
        let mut nodes = Vec::new();
        for begun in self.levels.iter().rev() {
            let mut rest = begun.as_slice();
            while let Some(bit) = rest.len().checked_ilog2() {
                let (block, after) = rest.split_at_checked(1 << bit).unwrap_or((rest, &[]));
                nodes.extend(full_root(block));
                rest = after;
            }
        }
        Frontier::from_parts(self.size, nodes)
    }
}

#[cfg(test)]
mod tests;
