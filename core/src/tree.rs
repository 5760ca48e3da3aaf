//! The RFC 6962 Merkle tree: leaf and node hashes, the frontier, inclusion and consistency.
//!
//! Invariants:
//! - A [`Frontier`] holds exactly one node for each set bit of its size, the largest subtree first: nothing else of
//!   the tree is needed to extend it, so whoever keeps a frontier can only ever append.
//! - A [`Batch`] computes each node that its leaves touch once; paths are read from it, never hashed again.

use sha2::{Digest, Sha256};

pub mod tiles;

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// A frontier of a tree of at most 2^63 leaves has at most this many nodes.
const LEVELS: u32 = 63;

/// Sizes stay below this, so that no shift or sum of sizes can overflow. It is far above the 2^53 of a record.
const SIZE_MAX: u64 = 1 << LEVELS;

/// What is wrong with a tree, a frontier or a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The number of nodes is not the number of set bits of the size.
    #[error("a frontier of size {size} has {expected} nodes, not {found}")]
    NodeCount {
        /// Size claimed.
        size: u64,
        /// Set bits of the size.
        expected: u32,
        /// Nodes given.
        found: usize,
    },
    /// The bytes are not 8 + 32·n long.
    #[error("a frontier is 8 bytes and 32 for each node, not {0} bytes")]
    Length(usize),
    /// More leaves than a tree may have.
    #[error("a tree has fewer than 2^63 leaves")]
    TooLarge,
    /// A proof that does not have the length that its sizes demand.
    #[error("the proof has the wrong number of nodes")]
    ProofLength,
    /// A proof that does not lead to the root.
    #[error("the proof does not lead to the root")]
    Root,
    /// An index at or past the size, or an old size past the new.
    #[error("the proof's sizes do not fit each other")]
    Sizes,
}

/// `SHA-256(0x00 ‖ leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0x00]);
    hasher.update(leaf);
    hasher.finalize().into()
}

/// `SHA-256(0x01 ‖ left ‖ right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0x01]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// The root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// What is needed of a tree to append to it: the roots of its full subtrees, the largest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    nodes: Vec<Hash>,
}

impl Frontier {
    /// The tree without leaves.
    pub const fn new() -> Self {
        Frontier {
            size: 0,
            nodes: Vec::new(),
        }
    }

    /// From its parts.
    ///
    /// # Errors
    /// Where the number of nodes is not what the size demands.
    pub fn from_parts(size: u64, nodes: Vec<Hash>) -> Result<Self, Error> {
        if size >= SIZE_MAX {
            return Err(Error::TooLarge);
        }
        let expected = size.count_ones();
        if usize::try_from(expected) != Ok(nodes.len()) {
            return Err(Error::NodeCount {
                size,
                expected,
                found: nodes.len(),
            });
        }
        Ok(Frontier { size, nodes })
    }

    /// The canonical bytes: the size as 8 big-endian bytes, then the nodes, the largest subtree first.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + 32 * self.nodes.len());
        bytes.extend_from_slice(&self.size.to_be_bytes());
        for node in &self.nodes {
            bytes.extend_from_slice(node);
        }
        bytes
    }

    /// The inverse of [`Frontier::to_bytes`].
    ///
    /// # Errors
    /// Where the length is not exactly what the size demands.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (size, rest) = bytes
            .split_first_chunk::<8>()
            .ok_or(Error::Length(bytes.len()))?;
        let (nodes, []) = rest.as_chunks::<32>() else {
            return Err(Error::Length(bytes.len()));
        };
        Frontier::from_parts(u64::from_be_bytes(*size), nodes.to_vec())
    }

    /// Number of leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the full subtrees, the largest first.
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    /// Appends one leaf.
    ///
    /// # Errors
    /// Where the tree is full.
    pub fn push(&mut self, leaf: Hash) -> Result<(), Error> {
        self.push_with(leaf, |_, _| {})
    }

    /// Appends one leaf, and shows the level and hash of each full subtree that it completes, itself first.
    fn push_with(&mut self, leaf: Hash, mut complete: impl FnMut(u32, &Hash)) -> Result<(), Error> {
        if self.size + 1 >= SIZE_MAX {
            return Err(Error::TooLarge);
        }
        let mut node = leaf;
        complete(0, &node);
        // Each trailing one bit of the size is a full subtree that the new leaf completes to one of twice its size.
        for level in 1..=self.size.trailing_ones() {
            if let Some(left) = self.nodes.pop() {
                node = node_hash(&left, &node);
                complete(level, &node);
            }
        }
        self.nodes.push(node);
        self.size += 1;
        Ok(())
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let mut nodes = self.nodes.iter().rev();
        match nodes.next() {
            None => empty_root(),
            Some(smallest) => nodes.fold(*smallest, |right, left| node_hash(left, &right)),
        }
    }
}

/// Leaves appended together, with every node that they touched.
#[derive(Debug, Clone)]
pub struct Batch {
    first: u64,
    after: Frontier,
    root: Hash,
    levels: Vec<Level>,
}

/// The full nodes of one level that the batch touched or needs as a left neighbour, and the ragged right edge below.
#[derive(Debug, Clone)]
struct Level {
    /// Index of `nodes[0]` in its level.
    first: u64,
    nodes: Vec<Hash>,
    /// The hash over the leaves right of the last full node of this level, where there are any.
    edge: Option<Hash>,
}

impl Batch {
    /// Appends `leaves` to the tree of `before`.
    ///
    /// # Errors
    /// Where the tree would be too large.
    pub fn append(before: &Frontier, leaves: &[Hash]) -> Result<Self, Error> {
        let size = before
            .size
            .checked_add(leaves.len() as u64)
            .filter(|size| *size < SIZE_MAX)
            .ok_or(Error::TooLarge)?;
        let mut frontier_nodes = before.nodes.iter().rev();
        let mut levels: Vec<Level> = Vec::new();
        let mut nodes = leaves.to_vec();
        let mut first = before.size;
        let mut edge = None;
        let mut after_nodes = Vec::new();
        for level in 0.. {
            if size >> level == 0 {
                break;
            }
            if first & 1 == 1 {
                // A set bit of the old size: the left neighbour of the first new node is a node of the old frontier.
                if let Some(left) = frontier_nodes.next() {
                    nodes.insert(0, *left);
                    first -= 1;
                }
            }
            let parents = nodes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|[left, right]| node_hash(left, right))
                .collect();
            let last = if (size >> level) & 1 == 1 {
                nodes.last().copied()
            } else {
                None
            };
            levels.push(Level { first, nodes, edge });
            if let Some(last) = last {
                after_nodes.push(last);
                edge = Some(edge.map_or(last, |right| node_hash(&last, &right)));
            }
            nodes = parents;
            first >>= 1;
        }
        after_nodes.reverse();
        let after = Frontier {
            size,
            nodes: after_nodes,
        };
        Ok(Batch {
            first: before.size,
            root: edge.unwrap_or_else(empty_root),
            after,
            levels,
        })
    }

    /// The root after the batch.
    pub const fn root(&self) -> Hash {
        self.root
    }

    /// The frontier after the batch.
    pub const fn frontier(&self) -> &Frontier {
        &self.after
    }

    /// The inclusion path of a leaf of the batch, leaf to root; `None` for an index outside the batch.
    pub fn path(&self, index: u64) -> Option<Vec<Hash>> {
        if index < self.first || index >= self.after.size {
            return None;
        }
        let mut path = Vec::with_capacity(self.levels.len());
        for (level, at) in self.levels.iter().enumerate() {
            let own = index >> level;
            let full = self.after.size >> level;
            let sibling = own ^ 1;
            if sibling < full {
                let offset = usize::try_from(sibling.checked_sub(at.first)?).ok()?;
                path.push(*at.nodes.get(offset)?);
            } else if sibling == full {
                path.extend(at.edge);
            }
        }
        Some(path)
    }
}

/// Checks that `leaf` is the leaf at `index` of the tree with this size and root.
///
/// # Errors
/// Where it is not, or the path does not have exactly the length that the sizes demand.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    path: &[Hash],
    root: &Hash,
) -> Result<(), Error> {
    if index >= size || size >= SIZE_MAX {
        return Err(Error::Sizes);
    }
    let (mut own, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return Err(Error::ProofLength);
        }
        if own & 1 == 1 || own == last {
            hash = node_hash(sibling, &hash);
            // On the right edge a level without a sibling passes in silence.
            while own & 1 == 0 && own != 0 {
                own >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        own >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(Error::ProofLength);
    }
    if hash == *root {
        Ok(())
    } else {
        Err(Error::Root)
    }
}

/// A tree's head: how many leaves, and their root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of leaves.
    pub size: u64,
    /// RFC 6962 root.
    pub root: Hash,
}

/// Checks that the tree of `new` begins with the tree of `old`.
///
/// # Errors
/// Where it does not, or the proof does not have exactly the length that the sizes demand.
pub fn verify_consistency(old: &Head, new: &Head, proof: &[Hash]) -> Result<(), Error> {
    if old.size > new.size || new.size >= SIZE_MAX {
        return Err(Error::Sizes);
    }
    if old.size == new.size {
        return match proof {
            [] if old.root == new.root => Ok(()),
            [] => Err(Error::Root),
            _ => Err(Error::ProofLength),
        };
    }
    if old.size == 0 {
        return match proof {
            [] if old.root == empty_root() => Ok(()),
            [] => Err(Error::Root),
            _ => Err(Error::ProofLength),
        };
    }
    let (mut own, mut last) = (old.size - 1, new.size - 1);
    while own & 1 == 1 {
        own >>= 1;
        last >>= 1;
    }
    // Where the old tree is one full subtree its root is the proof's first node, unsaid.
    let mut proof = proof.iter();
    let start = if own == 0 {
        old.root
    } else {
        *proof.next().ok_or(Error::ProofLength)?
    };
    let (mut old_hash, mut new_hash) = (start, start);
    for sibling in proof {
        if last == 0 {
            return Err(Error::ProofLength);
        }
        if own & 1 == 1 || own == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while own & 1 == 0 && own != 0 {
                own >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        own >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(Error::ProofLength);
    }
    if old_hash == old.root && new_hash == new.root {
        Ok(())
    } else {
        Err(Error::Root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6962 section 2.1, word for word.
    pub(super) fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                node_hash(&naive_root(left), &naive_root(right))
            }
        }
    }

    /// RFC 6962 section 2.1.1.
    pub(super) fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let k = split(leaves.len());
        let (left, right) = leaves.split_at(k);
        if index < k {
            let mut path = naive_path(index, left);
            path.push(naive_root(right));
            path
        } else {
            let mut path = naive_path(index - k, right);
            path.push(naive_root(left));
            path
        }
    }

    /// RFC 6962 section 2.1.2.
    pub(super) fn naive_consistency(old: usize, leaves: &[Hash], complete: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if complete {
                Vec::new()
            } else {
                vec![naive_root(leaves)]
            };
        }
        let k = split(leaves.len());
        let (left, right) = leaves.split_at(k);
        if old <= k {
            let mut proof = naive_consistency(old, left, complete);
            proof.push(naive_root(right));
            proof
        } else {
            let mut proof = naive_consistency(old - k, right, false);
            proof.push(naive_root(left));
            proof
        }
    }

    /// The largest power of two below `n`.
    fn split(n: usize) -> usize {
        n.next_power_of_two() / 2
    }

    pub(super) fn leaves(n: usize) -> Vec<Hash> {
        (0..n)
            .map(|i| leaf_hash(&(i as u64).to_be_bytes()))
            .collect()
    }

    fn frontier_of(leaves: &[Hash]) -> Frontier {
        let mut frontier = Frontier::new();
        for leaf in leaves {
            frontier.push(*leaf).unwrap();
        }
        frontier
    }

    fn hex(hash: &Hash) -> String {
        hash.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn the_known_certificate_transparency_vectors_hold() {
        assert_eq!(
            hex(&empty_root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            hex(&leaf_hash(b"")),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        // The inputs and roots that the Certificate Transparency implementations share.
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::new();
        for (input, root) in inputs.iter().zip(roots) {
            frontier.push(leaf_hash(input)).unwrap();
            assert_eq!(hex(&frontier.root()), root, "size {}", frontier.size());
        }
    }

    #[test]
    fn frontier_and_batches_agree_with_the_recursive_definition_up_to_seventy_leaves() {
        for n in 0..70 {
            let all = leaves(n);
            let root = naive_root(&all);
            assert_eq!(frontier_of(&all).root(), root);
            for old in 0..=n {
                let batch = Batch::append(&frontier_of(&all[..old]), &all[old..]).unwrap();
                assert_eq!(batch.root(), root, "{old} then {n}");
                assert_eq!(*batch.frontier(), frontier_of(&all), "{old} then {n}");
                for index in old..n {
                    let path = batch.path(index as u64).unwrap();
                    assert_eq!(path, naive_path(index, &all), "{index} of {n} after {old}");
                    verify_inclusion(&all[index], index as u64, n as u64, &path, &root).unwrap();
                }
                assert_eq!(batch.path(n as u64), None);
                let proof = if old == 0 {
                    Vec::new()
                } else {
                    naive_consistency(old, &all, true)
                };
                let head = |n: usize| Head {
                    size: n as u64,
                    root: naive_root(&all[..n]),
                };
                verify_consistency(&head(old), &head(n), &proof).unwrap();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_path_proves_its_own_leaf_index_size_and_root_and_no_other(
            n in 1usize..200, pick in any::<prop::sample::Index>(), bit in 0usize..256, node in any::<prop::sample::Index>()
        ) {
            let all = leaves(n);
            let index = pick.index(n);
            let root = naive_root(&all);
            let path = naive_path(index, &all);
            let check = |leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash| {
                verify_inclusion(leaf, index, size, path, root)
            };
            prop_assert!(check(&all[index], index as u64, n as u64, &path, &root).is_ok());
            let flip = |hash: &Hash| { let mut h = *hash; h[bit / 8] ^= 1 << (bit % 8); h };
            prop_assert!(check(&flip(&all[index]), index as u64, n as u64, &path, &root).is_err());
            prop_assert!(check(&all[index], index as u64, n as u64, &path, &flip(&root)).is_err());
            prop_assert!(check(&all[index], index as u64 ^ 1, n as u64, &path, &root).is_err());
            if !path.is_empty() {
                let mut other = path.clone();
                let at = node.index(path.len());
                other[at] = flip(&other[at]);
                prop_assert!(check(&all[index], index as u64, n as u64, &other, &root).is_err());
                prop_assert!(check(&all[index], index as u64, n as u64, &path[1..], &root).is_err());
            }
            let mut longer = path.clone();
            longer.push(root);
            prop_assert!(check(&all[index], index as u64, n as u64, &longer, &root).is_err());
        }

        #[test]
        fn a_frontier_is_its_bytes_and_no_other_length_is_one(n in 0usize..300, cut in 1usize..32) {
            let frontier = frontier_of(&leaves(n));
            let bytes = frontier.to_bytes();
            prop_assert_eq!(Frontier::from_bytes(&bytes).unwrap(), frontier);
            prop_assert!(Frontier::from_bytes(&bytes[..bytes.len() - cut.min(bytes.len())]).is_err());
            let mut longer = bytes;
            longer.extend_from_slice(&[0; 32]);
            prop_assert!(Frontier::from_bytes(&longer).is_err());
        }
    }

    #[test]
    fn a_consistency_proof_for_another_old_root_is_refused() {
        let all = leaves(13);
        let proof = naive_consistency(6, &all, true);
        let new = Head {
            size: 13,
            root: naive_root(&all),
        };
        let mut old = Head {
            size: 6,
            root: naive_root(&all[..6]),
        };
        verify_consistency(&old, &new, &proof).unwrap();
        assert_eq!(
            verify_consistency(&old, &new, &proof[..2]),
            Err(Error::ProofLength)
        );
        old.root[0] ^= 1;
        assert_eq!(verify_consistency(&old, &new, &proof), Err(Error::Root));
        assert_eq!(
            verify_consistency(&Head { size: 14, ..old }, &new, &proof),
            Err(Error::Sizes)
        );
    }
}
