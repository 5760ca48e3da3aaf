//! Proofs from a journal's directory, for readers: no daemon, no lock, nothing written.
//!
//! Hash tiles make a proof cost a few reads however long the journal is; what they do not hold yet comes from the last
//! segments. Where there are none, every segment is read.
//!
//! Invariants:
//! - Neither a tile nor a segment is believed: a proof is returned only where it leads to the root of the checkpoint that
//!   it was made for. Tiles that lead elsewhere are passed over.
//! - Memory holds one segment and a few hundred tiles.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use crate::journal::{self, SegmentFile};
use crate::output::Output;
use faramesh_core::checkpoint::{self, Checkpoint, Statement};
use faramesh_core::frame::{self, Frame, Item};
use faramesh_core::tree::tiles::{Gather, Node, Plan, Tile, TileId, Tiles, WIDTH};
use faramesh_core::tree::{Frontier, Hash, Head, leaf_hash};
use indicatif::{ProgressBar, ProgressStyle};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A journal's directory, as it was when it was opened.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    segments: Vec<SegmentFile>,
}

/// A checkpoint as it stands in the journal: nobody has looked at its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The note, with every signature that it has.
    pub note: String,
    /// What it says.
    pub head: Head,
}

impl Noted {
    /// From a note's bytes.
    ///
    /// # Errors
    /// Where they are no checkpoint, in words.
    pub fn parse(note: &[u8]) -> Result<Noted, String> {
        let text = checkpoint::unverified_text(note).map_err(|e| e.to_string())?;
        Ok(Noted {
            head: Checkpoint::parse(text)?.head,
            note: String::from_utf8(note.to_vec()).map_err(|e| e.to_string())?,
        })
    }
}

/// What a proof was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Tiles, and the records after them.
    Tiles {
        /// Tiles that were asked for.
        tiles: usize,
        /// Records that were hashed.
        records: u64,
    },
    /// Every record.
    Segments {
        /// Why not tiles.
        why: &'static str,
    },
}

/// A proof that leads to the root of the checkpoint that it was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// RFC 6962.
    pub hashes: Vec<Hash>,
    /// What it was made of.
    pub source: Source,
}

impl Log {
    /// Lists the journal.
    ///
    /// # Errors
    /// The directory cannot be read, or holds no journal.
    pub fn open(dir: &Path) -> Result<Log, Failure> {
        let segments = journal::segments(dir)?;
        if segments.is_empty() {
            return Err(
                Failure::data(format!("there is no journal in `{}`", dir.display()))
                    .next("name its directory, or start the daemon once"),
            );
        }
        Ok(Log {
            dir: dir.to_path_buf(),
            segments,
        })
    }

    /// The number of the first record whose body is still there.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.segments.first().map_or(0, |segment| segment.first)
    }

    /// The last checkpoint that stands whole in the journal. A frame that is being written ends the reading.
    ///
    /// # Errors
    /// The journal cannot be read, or has no checkpoint.
    pub fn newest(&self) -> Result<Noted, Failure> {
        for segment in self.segments.iter().rev() {
            let bytes = journal::read(segment)?;
            let mut last = None;
            let mut offset = 0;
            while let Item::Frame { at, frame } = frame::read(&bytes, offset) {
                offset = at.end;
                if let Frame::Note(note) = frame {
                    last = Some(note);
                }
            }
            if let Some(note) = last {
                return Noted::parse(note).map_err(|why| {
                    Failure::data(format!(
                        "the last checkpoint in `{}` is not one: {why}",
                        segment.path.display()
                    ))
                    .next("run `faramesh audit verify`")
                });
            }
        }
        Err(Failure::data(format!(
            "the journal in `{}` has no checkpoint yet",
            self.dir.display()
        ))
        .next("wait until the daemon has written a record"))
    }

    /// The hashes of a plan in the tree of `head`, where `holds` says that they are the proof that is wanted.
    ///
    /// # Errors
    /// The journal cannot be read, lacks what is needed, or does not lead to the head.
    pub fn prove(
        &self,
        plan: &Plan,
        head: &Head,
        holds: impl Fn(&[Hash]) -> bool,
        output: &Output,
    ) -> Result<Proof, Failure> {
        let why = match self.with_tiles(plan, head, output)? {
            Ok(proof) if holds(&proof.hashes) => return Ok(proof),
            Ok(_) => "the hash tiles do not lead to the checkpoint",
            Err(why) => why,
        };
        if self.first() > 0 {
            return Err(Failure::data(format!(
                "{why}, and the bodies of the first {} records are removed",
                self.first()
            ))
            .next("put the directory `tile` of the journal back from a backup"));
        }
        let gather = self.gather(Frontier::new(), plan.nodes(), head.size, output)?;
        let proof = plan.hashes(|node| gather.node(node)).ok();
        proof
            .filter(|hashes| gather.frontier().root() == head.root && holds(hashes))
            .map(|hashes| Proof {
                hashes,
                source: Source::Segments { why },
            })
            .ok_or_else(|| {
                Failure::data(format!(
                    "the records of `{}` do not lead to the checkpoint over {} of them",
                    self.dir.display(),
                    head.size
                ))
                .next("run `faramesh audit verify`; a checkpoint has to be one of this journal")
            })
    }

    fn with_tiles(
        &self,
        plan: &Plan,
        head: &Head,
        output: &Output,
    ) -> Result<Result<Proof, &'static str>, Failure> {
        let mut tiles = Tiles::new(|id: TileId| {
            let bytes = std::fs::read(self.dir.join(id.path())).ok()?;
            Tile::from_bytes(&bytes)
        });
        let begun = self.begins(head.size).find_map(|size| {
            let last = Node {
                level: 0,
                index: size - 1,
            };
            tiles.node(last)?;
            tiles.frontier(size)
        });
        let begun = match begun {
            Some(begun) => begun,
            // Nothing is sealed that could be in a tile.
            None if self.segments.last().is_none_or(|s| s.first < WIDTH as u64) => Frontier::new(),
            None => return Ok(Err("there are no hash tiles")),
        };
        let tiled = begun.size();
        let late = plan.nodes().filter(|node| node.end() > tiled);
        let gather = self.gather(begun, late, head.size, output)?;
        if gather.frontier().root() != head.root {
            return Ok(Err("the hash tiles do not lead to the checkpoint"));
        }
        let hashes = plan.hashes(|node| match node.end() <= tiled {
            true => tiles.node(node),
            false => gather.node(node),
        });
        Ok(hashes
            .map(|hashes| Proof {
                hashes,
                source: Source::Tiles {
                    tiles: tiles.asked(),
                    records: head.size - tiled,
                },
            })
            .map_err(|_| "a hash tile is missing"))
    }

    /// Up to where there may be tiles, the best first: the whole tree, or what is sealed below one of the segments. What
    /// comes after it has to be there.
    fn begins(&self, size: u64) -> impl Iterator<Item = u64> {
        let firsts = self.segments.iter().rev().map(|segment| segment.first);
        let first = self.first();
        std::iter::once(size)
            .chain(firsts.filter(move |first| *first < size))
            .map(|size| size - size % WIDTH as u64)
            .filter(move |size| *size > 0 && *size >= first)
    }

    /// Reads the records from the end of a tree up to `size`.
    fn gather(
        &self,
        from: Frontier,
        wanted: impl IntoIterator<Item = Node>,
        size: u64,
        output: &Output,
    ) -> Result<Gather, Failure> {
        let first = from.size();
        let holds = self.segments.iter().rposition(|s| s.first <= first);
        let after = self.segments.iter().position(|s| s.first >= size);
        let read = holds.unwrap_or(0)..after.unwrap_or(self.segments.len());
        let segments = self.segments.get(read).unwrap_or_default();
        let progress = progress(segments, output);
        let mut gather = Gather::new(from, wanted);
        for segment in segments {
            let bytes = journal::read(segment)?;
            progress.inc(bytes.len() as u64);
            // Damage ends the reading; a tree that lacks leaves does not have the root.
            let _ = journal::records(segment.first, &bytes, |seq, stored| {
                if seq >= size {
                    return ControlFlow::Break(());
                }
                if seq == gather.frontier().size() && gather.push(leaf_hash(stored.record)).is_err()
                {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
        }
        progress.finish_and_clear();
        Ok(gather)
    }
}

fn progress(segments: &[SegmentFile], output: &Output) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let sizes = segments.iter().filter_map(|s| s.path.metadata().ok());
    let total = sizes.map(|meta| meta.len()).sum();
    let style = ProgressStyle::with_template("hashing {bar:40} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Format, Global};
    use faramesh_core::checkpoint::KeyName;
    use faramesh_core::record::Encoded;
    use faramesh_core::tree::tiles::Builder;
    use faramesh_core::tree::{verify_consistency, verify_inclusion};

    /// Records in a segment.
    const SEGMENT: u64 = 300;
    /// Three sealed segments and a begun one.
    const RECORDS: u64 = 1_000;

    struct World {
        dir: tempfile::TempDir,
        leaves: Vec<Hash>,
    }

    /// Records that are no records and notes that nobody signed: this room looks at neither.
    fn world() -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut leaves: Vec<Hash> = Vec::new();
        let (mut frontier, mut builder) = (Frontier::new(), Builder::new());
        let mut sealed = Vec::new();
        for first in (0..RECORDS).step_by(SEGMENT as usize) {
            let mut bytes = Vec::new();
            for seq in first..RECORDS.min(first + SEGMENT) {
                let encoded = Encoded {
                    record: format!("record {seq}").into_bytes(),
                    detail: vec![],
                    salts: [[0; 16]; 2],
                };
                frame::write_record(&mut bytes, &encoded).unwrap();
                let leaf = leaf_hash(&encoded.record);
                leaves.push(leaf);
                frontier.push(leaf).unwrap();
                builder
                    .push(leaf, |id, tile| sealed.push((id, tile)))
                    .unwrap();
                if seq % 100 == 99 {
                    frame::write_note(&mut bytes, &note(&frontier)).unwrap();
                }
            }
            bytes.resize(bytes.len() + 4_096, 0);
            std::fs::write(dir.path().join(format!("{first:020}.seg")), bytes).unwrap();
        }
        sealed.retain(|(id, _)| id.end() <= 900);
        for (id, tile) in sealed {
            let path = dir.path().join(id.path());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, tile.to_bytes()).unwrap();
        }
        World { dir, leaves }
    }

    fn note(frontier: &Frontier) -> String {
        let checkpoint = Checkpoint {
            origin: KeyName::new("faramesh/x/00000000").unwrap(),
            head: Head {
                size: frontier.size(),
                root: frontier.root(),
            },
        };
        format!("{}\n\u{2014} somebody AAAAAAA=\n", checkpoint.text())
    }

    fn output() -> Output {
        Output::new(&Global {
            dir: ".".into(),
            format: Format::Json,
            no_color: true,
            quiet: true,
            development: true,
        })
    }

    fn head(world: &World, size: u64) -> Head {
        let mut frontier = Frontier::new();
        for leaf in &world.leaves[..size as usize] {
            frontier.push(*leaf).unwrap();
        }
        Head {
            size,
            root: frontier.root(),
        }
    }

    fn inclusion(world: &World, seq: u64, size: u64) -> Result<Proof, Failure> {
        let log = Log::open(world.dir.path()).unwrap();
        let head = head(world, size);
        let plan = Plan::inclusion(seq, size).unwrap();
        let leaf = world.leaves[seq as usize];
        let holds = |path: &[Hash]| verify_inclusion(&leaf, seq, size, path, &head.root).is_ok();
        log.prove(&plan, &head, holds, &output())
    }

    #[test]
    fn the_newest_checkpoint_is_the_last_that_stands_whole() {
        let world = world();
        let newest = || Log::open(world.dir.path()).unwrap().newest().unwrap().head;
        assert_eq!(newest(), head(&world, 1_000));
        let last = world.dir.path().join(format!("{:020}.seg", 900));
        let bytes = std::fs::read(&last).unwrap();
        std::fs::write(&last, &bytes[..bytes.len() - 4_200]).unwrap();
        assert_eq!(newest(), head(&world, 900), "the last one is torn");
    }

    #[test]
    fn proofs_come_from_tiles_and_the_records_after_them() {
        let world = world();
        for (seq, size) in [
            (0, 1_000),
            (255, 1_000),
            (256, 900),
            (700, 1_000),
            (767, 768),
            (999, 1_000),
        ] {
            let proof = inclusion(&world, seq, size).unwrap();
            let Source::Tiles { records, .. } = proof.source else {
                unreachable!("{:?}", proof.source)
            };
            assert_eq!(records, size - 768, "{seq} of {size}");
        }
        let log = Log::open(world.dir.path()).unwrap();
        for old in [1, 256, 300, 767, 768, 769, 950, 1_000] {
            let (old, new) = (head(&world, old), head(&world, 1_000));
            let plan = Plan::consistency(old.size, new.size).unwrap();
            let holds = |proof: &[Hash]| verify_consistency(&old, &new, proof).is_ok();
            let proof = log.prove(&plan, &new, holds, &output()).unwrap();
            assert!(matches!(proof.source, Source::Tiles { .. }));
        }
        // An old checkpoint that no tile of today ends at.
        assert!(inclusion(&world, 3, 200).is_ok());
    }

    #[test]
    fn missing_and_wrong_tiles_cost_time_and_nothing_else() {
        let world = world();
        let tile = world.dir.path().join("tile/0/001");
        let bytes = std::fs::read(&tile).unwrap();
        let why = |seq| match inclusion(&world, seq, 1_000).unwrap().source {
            Source::Segments { why } => why,
            Source::Tiles { .. } => "",
        };
        let mut wrong = bytes.clone();
        wrong[32 * 5] ^= 1;
        std::fs::write(&tile, &wrong).unwrap();
        assert_eq!(why(262), "the hash tiles do not lead to the checkpoint");
        let records = || match inclusion(&world, 3, 1_000).unwrap().source {
            Source::Tiles { records, .. } => records,
            Source::Segments { .. } => 1_000,
        };
        std::fs::write(&tile, &bytes[1..]).unwrap();
        assert_eq!(records(), 1_000 - 256, "from the tile before it");
        std::fs::write(&tile, &bytes).unwrap();
        std::fs::remove_file(world.dir.path().join("tile/0/002")).unwrap();
        assert_eq!(records(), 1_000 - 512, "from the tiles before it");
        std::fs::remove_dir_all(world.dir.path().join("tile")).unwrap();
        assert_eq!(why(3), "there are no hash tiles");
    }

    #[test]
    fn records_that_are_gone_are_proven_by_their_tiles_alone() {
        let world = world();
        std::fs::remove_file(world.dir.path().join(format!("{:020}.seg", 0))).unwrap();
        assert!(inclusion(&world, 299, 1_000).is_ok());
        assert!(inclusion(&world, 800, 1_000).is_ok());
        std::fs::remove_file(world.dir.path().join("tile/0/000")).unwrap();
        let refused = inclusion(&world, 800, 1_000).unwrap_err();
        assert!(refused.message.contains("are removed"), "{refused:?}");
    }

    #[test]
    fn a_checkpoint_of_another_log_is_not_proven() {
        let world = world();
        let log = Log::open(world.dir.path()).unwrap();
        let head = Head {
            root: [7; 32],
            ..head(&world, 1_000)
        };
        let plan = Plan::inclusion(5, 1_000).unwrap();
        let refused = log.prove(&plan, &head, |_| true, &output()).unwrap_err();
        assert!(
            refused.message.contains("do not lead to the checkpoint"),
            "{refused:?}"
        );
        // A proof that leads elsewhere is as good as none, whatever the tiles say.
        let head = self::head(&world, 1_000);
        assert!(log.prove(&plan, &head, |_| false, &output()).is_err());
    }
}
