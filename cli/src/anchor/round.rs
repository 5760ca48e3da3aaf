//! One round: ask every witness, join what they signed, keep it, hand it on.
#![forbid(unsafe_code)]

use super::ask::{self, Asked, Lines, Trouble};
use super::follow::{self, Follower, Newest};
use crate::failure::Failure;
use crate::output::Output;
use crate::witness::address::Address;
use faramesh_core::checkpoint::SIGNATURES_MAX;
use faramesh_core::cosign::{Cosigned, Witnesses};
use tokio::task::JoinSet;

/// What a round came to.
#[derive(Debug)]
pub struct Round {
    /// The checkpoint with every signature that was given.
    pub note: String,
    /// The same, opened by the pinned keys.
    pub cosigned: Cosigned,
    /// What came of the others.
    pub troubles: Vec<(Address, Trouble)>,
}

impl Round {
    /// Whether a witness saw another history.
    pub fn is_alarm(&self) -> bool {
        self.troubles.iter().any(|(_, trouble)| trouble.is_alarm())
    }

    /// The witnesses' names.
    pub fn names(&self) -> Vec<String> {
        let by = self.cosigned.by().iter();
        by.map(|by| by.witness.to_string()).collect()
    }
}

/// Asks every witness at once.
///
/// # Errors
/// The journal cannot be read. What a witness says or does not say is a [`Round`].
pub async fn round(
    follower: &mut Follower,
    newest: &Newest,
    witnesses: &mut [Asked],
    pinned: &Witnesses,
    output: Output,
) -> Result<Round, Failure> {
    let mut asking = JoinSet::new();
    for (index, asked) in witnesses.iter().enumerate() {
        let (mut asked, dir) = (asked.clone(), follower.dir().to_owned());
        let (newest, pinned) = (newest.clone(), pinned.clone());
        asking.spawn(async move {
            let given = ask::cosignature(&mut asked, &dir, &newest, &pinned, output).await;
            (index, asked, given)
        });
    }
    let mut given: Vec<(usize, Lines)> = Vec::new();
    let mut troubles = Vec::new();
    while let Some(asked) = asking.join_next().await {
        let (index, asked, answer) =
            asked.map_err(|e| Failure::internal(format!("a question was lost: {e}")))?;
        match answer {
            Ok(lines) => given.push((index, lines)),
            Err(trouble) => troubles.push((index, asked.address.clone(), trouble)),
        }
        if let Some(place) = witnesses.get_mut(index) {
            *place = asked;
        }
    }
    given.sort_by_key(|(index, _)| *index);
    troubles.sort_by_key(|(index, _, _)| *index);
    // Somebody else may have pushed a newer checkpoint than the one that was read here.
    let now = follower.newest()?.map_or(0, |newest| newest.head().size);
    let troubles = troubles
        .into_iter()
        .map(|(_, address, trouble)| match trouble {
            Trouble::Rollback { known, .. } if known <= now => {
                let why = "it knows more than was read when it was asked".to_owned();
                (address, Trouble::Unreachable(why))
            }
            trouble => (address, trouble),
        })
        .collect();
    let note = join(newest, given.into_iter().flat_map(|(_, lines)| lines))?;
    let cosigned = pinned
        .open(note.as_bytes(), follower.key())
        .map_err(|e| Failure::internal(format!("the joined note does not verify: {e}")))?;
    Ok(Round {
        note,
        cosigned,
        troubles,
    })
}

/// The note with these lines behind its own, each witness once, as many as a note can have.
fn join(
    newest: &Newest,
    lines: impl Iterator<Item = (faramesh_core::checkpoint::KeyName, String)>,
) -> Result<String, Failure> {
    let mut note = String::from_utf8(newest.note.clone())
        .map_err(|_| Failure::internal("a verified note is not UTF-8"))?;
    let own = note.rsplit("\n\n").next().map_or(0, |s| s.lines().count());
    let mut names = Vec::new();
    for (name, line) in lines {
        if !names.contains(&name) && own + names.len() < SIGNATURES_MAX {
            note.push_str(&line);
            names.push(name);
        }
    }
    Ok(note)
}

/// Whether the journal still begins with what was anchored before.
///
/// # Errors
/// It does not: the trouble, or the journal cannot be read.
pub fn extends(
    follower: &Follower,
    newest: &Newest,
    anchored: &Cosigned,
    output: &Output,
) -> Result<(), Trouble> {
    let (old, new) = (anchored.checkpoint().head, newest.head());
    if old.size > new.size {
        return Err(Trouble::Rollback {
            known: old.size,
            size: new.size,
        });
    }
    let (before, _) =
        follow::consistency(follower.dir(), old.size, &new, output).map_err(Trouble::Journal)?;
    match before == old {
        true => Ok(()),
        false => Err(Trouble::Fork { known: old.size }),
    }
}
