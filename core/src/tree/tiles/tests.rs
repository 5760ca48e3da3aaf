use super::super::tests::{leaves, naive_consistency, naive_path, naive_root};
use super::super::{Head, leaf_hash, verify_consistency, verify_inclusion};
use super::*;
use proptest::prelude::*;
use std::sync::OnceLock;

/// So many leaves that there are tiles of two levels and a begun one of the third.
const MANY: usize = 3 * 65_536 + 700;

/// Leaves, and every full tile of them.
struct World {
    leaves: Vec<Hash>,
    tiles: BTreeMap<TileId, Tile>,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let leaves = leaves(MANY);
        let mut tiles = BTreeMap::new();
        let mut builder = Builder::new();
        for leaf in &leaves {
            builder
                .push(*leaf, |id, tile| assert!(tiles.insert(id, tile).is_none()))
                .unwrap();
        }
        assert_eq!(
            builder.frontier().unwrap().root(),
            frontier(&leaves).root(),
            "the builder's own tree"
        );
        World { leaves, tiles }
    })
}

fn frontier(leaves: &[Hash]) -> Frontier {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.push(*leaf).unwrap();
    }
    frontier
}

/// A reader of the tiles that a tree of `size` leaves has in full.
fn stored(size: u64) -> Tiles<impl FnMut(TileId) -> Option<Tile>> {
    Tiles::new(move |id| world().tiles.get(&id).filter(|_| id.end() <= size).cloned())
}

/// The proof that a reader makes who has the tiles of `tiled` leaves and the leaves after them.
fn made(plan: &Plan, tiled: u64, size: u64) -> (Vec<Hash>, Hash) {
    let mut tiles = stored(tiled);
    let from = tiles.frontier(tiled).unwrap();
    let late = plan.nodes().filter(|node| node.end() > tiled);
    let mut gather = Gather::new(from, late);
    for leaf in &world().leaves[tiled as usize..size as usize] {
        gather.push(*leaf).unwrap();
    }
    let proof = plan
        .hashes(|node| match node.end() <= tiled {
            true => tiles.node(node),
            false => gather.node(node),
        })
        .unwrap();
    (proof, gather.frontier().root())
}

#[test]
fn tiles_have_the_paths_of_the_specification() {
    let path = |level, index| TileId::new(level, index).unwrap().path();
    assert_eq!(path(0, 0), "tile/0/000");
    assert_eq!(path(1, 999), "tile/1/999");
    assert_eq!(path(0, 1_000), "tile/0/x001/000");
    assert_eq!(path(0, 1_234_067), "tile/0/x001/x234/067");
    for level in 0..3 {
        for index in [0, 1, 255, 999, 1_000, 123_456, 999_999, 1_000_000] {
            let id = TileId::new(level, index).unwrap();
            assert_eq!(TileId::parse(&id.path()), Some(id));
        }
    }
    for other in [
        "tile/0/x000/001",
        "tile/0/1",
        "tile/0/0001",
        "tile/00/001",
        "tile/0/x001",
        "tile/0/001.p/5",
        "tile/9/001",
        "tile/0/x001/x234/67",
        "tile/0/+01",
        "tile/0/",
        "0/001",
        "tile/0/x001/x000",
        "tile/6/999",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert_eq!(TileId::parse(other), None, "{other}");
    }
}

/// 70,000 leaves are the specification's own example.
#[test]
fn a_tree_of_seventy_thousand_leaves_has_the_full_tiles_that_the_specification_counts() {
    let full = |level| {
        let of_level = world().tiles.keys().filter(|id| id.level() == level);
        of_level.filter(|id| id.end() <= 70_000).count()
    };
    assert_eq!((full(0), full(1), full(2)), (273, 1, 0));
}

#[test]
fn a_tile_is_the_roots_of_its_subtrees() {
    let World { leaves, tiles } = world();
    let first = &tiles[&TileId::new(0, 1).unwrap()];
    assert_eq!(first.hashes(), &leaves[256..512]);
    let above = &tiles[&TileId::new(1, 2).unwrap()];
    for i in [0, 1, 255] {
        let from = 2 * 65_536 + 256 * i;
        assert_eq!(above.hashes()[i], naive_root(&leaves[from..from + 256]));
    }
    assert_eq!(Tile::from_bytes(&first.to_bytes()).as_ref(), Some(first));
    assert_eq!(first.to_bytes().len(), TILE_BYTES);
    assert_eq!(Tile::from_bytes(&first.to_bytes()[..TILE_BYTES - 32]), None);
    assert_eq!(Tile::from_bytes(&first.to_bytes()[..TILE_BYTES - 1]), None);
}

#[test]
fn proofs_of_every_small_tree_are_those_of_the_recursive_definition() {
    let all = &world().leaves;
    for size in 1..40_usize {
        for at in 0..size {
            let plan = Plan::inclusion(at as u64, size as u64).unwrap();
            let (proof, _) = made(&plan, 0, size as u64);
            assert_eq!(proof, naive_path(at, &all[..size]), "{at} of {size}");
        }
        for old in 1..=size {
            let plan = Plan::consistency(old as u64, size as u64).unwrap();
            let (proof, _) = made(&plan, 0, size as u64);
            assert_eq!(
                proof,
                naive_consistency(old, &all[..size], true),
                "{old} to {size}"
            );
        }
        assert_eq!(Plan::consistency(0, size as u64).unwrap(), Plan(vec![]));
    }
    assert_eq!(Plan::inclusion(3, 3), Err(Error::Sizes));
    assert_eq!(Plan::consistency(4, 3), Err(Error::Sizes));
    assert!(Plan::inclusion(0, SIZE_MAX).is_err());
    assert!(Plan::inclusion(SIZE_MAX - 2, SIZE_MAX - 1).is_ok());
}

/// Nodes of a level whose tile is begun and not full are made of the tiles below it: at most 255 a level.
#[test]
fn a_proof_asks_for_few_tiles() {
    let tiled = (MANY - MANY % WIDTH) as u64;
    let mut tiles = stored(tiled);
    let plan = Plan::inclusion(5, tiled).unwrap();
    for node in plan.nodes() {
        tiles.node(node).unwrap();
    }
    let known: Vec<_> = plan.tiles(tiled).into_iter().collect();
    let expected = [(0, 0), (0, 768), (0, 769), (1, 0), (1, 1), (1, 2)];
    assert_eq!(
        known,
        expected.map(|(level, index)| TileId::new(level, index).unwrap())
    );
    // Besides those only the two that are not full were asked for.
    assert_eq!(tiles.asked(), known.len() + 2);
}

#[test]
fn a_tile_that_is_not_there_is_no_hash() {
    let missing = TileId::new(0, 700).unwrap();
    let mut tiles = Tiles::new(|id| world().tiles.get(&id).filter(|_| id != missing).cloned());
    let node = |level, index| Node { level, index };
    assert_eq!(tiles.node(node(0, 700 * 256 + 3)), None);
    assert_eq!(tiles.node(node(3, 700 * 32)), None);
    assert!(
        tiles.node(node(8, 700)).is_some(),
        "its root stands in the tile above"
    );
    assert!(tiles.node(node(0, 701 * 256)).is_some());
    assert_eq!(Tiles::new(|_| None).node(node(40, 0)), None);
    let refused = Plan::inclusion(700 * 256, MANY as u64)
        .unwrap()
        .hashes(|n| tiles.node(n));
    assert_eq!(refused, Err(node(0, 700 * 256 + 1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn proofs_of_tiles_and_late_leaves_lead_to_the_root(
        size in 1..=MANY, at in any::<prop::sample::Index>(), old in any::<prop::sample::Index>(),
        back in 0..4_usize, bit in 0..256_usize
    ) {
        let leaves = &world().leaves[..size];
        let full = size / WIDTH;
        let tiled = (full.saturating_sub([0, 1, 7, 300][back]) * WIDTH) as u64;
        let at = at.index(size);
        let (path, root) = made(&Plan::inclusion(at as u64, size as u64).unwrap(), tiled, size as u64);
        let check = |leaf: &Hash| verify_inclusion(leaf, at as u64, size as u64, &path, &root);
        prop_assert_eq!(check(&leaves[at]), Ok(()));
        let mut other = leaves[at];
        other[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(check(&other).is_err());

        let old = old.index(size) + 1;
        let (proof, new_root) = made(&Plan::consistency(old as u64, size as u64).unwrap(), tiled, size as u64);
        prop_assert_eq!(new_root, root);
        let head = |size: usize, root| Head { size: size as u64, root };
        let old_head = head(old, frontier(&leaves[..old]).root());
        prop_assert_eq!(verify_consistency(&old_head, &head(size, root), &proof), Ok(()));
        prop_assert!(verify_consistency(&head(old, leaf_hash(b"x")), &head(size, root), &proof).is_err());
    }

    #[test]
    fn a_builder_that_goes_on_from_its_tiles_makes_the_same_ones(full in 0..MANY / WIDTH, more in 1..1_500_usize) {
        let World { leaves, tiles } = world();
        let size = full * WIDTH;
        let mut builder = Builder::resume(size as u64, &mut stored(size as u64)).unwrap();
        prop_assert_eq!(builder.frontier().unwrap(), stored(size as u64).frontier(size as u64).unwrap());
        let end = (size + more).min(MANY);
        let mut made = BTreeMap::new();
        for leaf in &leaves[size..end] {
            builder.push(*leaf, |id, tile| { made.insert(id, tile); }).unwrap();
        }
        let expected = tiles.iter().filter(|(id, _)| id.end() > size as u64 && id.end() <= end as u64);
        prop_assert_eq!(made, expected.map(|(id, tile)| (*id, tile.clone())).collect());
        prop_assert_eq!(builder.frontier().unwrap().root(), frontier(&leaves[..end]).root());
        prop_assert_eq!(builder.size(), end as u64);
    }
}

#[test]
fn a_builder_does_not_go_on_where_a_tile_is_missing() {
    assert!(Builder::resume(100, &mut stored(MANY as u64)).is_none());
    assert!(Builder::resume(65_536, &mut Tiles::new(|_| None)).is_none());
    assert!(Builder::resume(512, &mut stored(256)).is_none());
}
