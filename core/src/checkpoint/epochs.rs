//! Key epochs: which two keys have to have signed a checkpoint, at each place of a journal.
//!
//! The origin key signs every checkpoint of a log and never changes: it is what witnesses and tool servers know. Beside it
//! signs the key of the current epoch, which is erased when the next epoch begins. Whoever takes both keys today can go on
//! with the log, and cannot write anew what was signed before the epoch began: the key for that is gone.
//!
//! The first epoch's key is pinned together with the origin's ([`LogKey`], two lines in `log.pub`). Each later one is named
//! by an `epoch` record, so the key before vouches for it: the note that covers the record is the old key's last.
//!
//! Invariants:
//! - [`EpochKeys::note`] accepts a checkpoint with the signatures of both keys that are due at its place, and nothing else.
//! - An epoch begins after the note that covers its record, and numbers rise by one.

use std::fmt;
use std::ops::Deref;

use super::{Checkpoint, Error, KeyName, PublicKey, Verified};
use crate::record::{BodyView, Epoch, LogEvent};

/// The number of the first epoch: its key is pinned and no record names it.
pub const FIRST_EPOCH: u64 = 1;

impl KeyName {
    /// The name under which the key of an epoch signs: `<origin>/epoch-<number>`.
    ///
    /// # Errors
    /// Where the origin is so long that no name is left for it.
    pub fn epoch(origin: &KeyName, number: u64) -> Result<Self, Error> {
        KeyName::new(&format!("{origin}/epoch-{number}"))
    }
}

/// What is pinned of a log: its origin key, and the key of its first epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    origin: PublicKey,
    genesis: PublicKey,
}

impl LogKey {
    /// From both keys.
    ///
    /// # Errors
    /// Where a name is not the one that belongs to its key, or both are one key.
    pub fn new(origin: PublicKey, genesis: PublicKey) -> Result<Self, Error> {
        let stack = origin
            .name()
            .stack()
            .ok_or(Error::LogKey("the first name is no origin"))?;
        if KeyName::origin(stack, origin.as_bytes())? != *origin.name() {
            return Err(Error::LogKey("the first name is not that of its key"));
        }
        if KeyName::epoch(origin.name(), FIRST_EPOCH)? != *genesis.name() {
            return Err(Error::LogKey(
                "the second name is not the first with `/epoch-1` after it",
            ));
        }
        if origin.as_bytes() == genesis.as_bytes() {
            return Err(Error::LogKey("both lines hold one key"));
        }
        Ok(LogKey { origin, genesis })
    }

    /// From the two lines of a `log.pub`. One final newline is accepted.
    ///
    /// # Errors
    /// Where there are not two lines, or they are not the keys of one log.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let (origin, genesis) = text.split_once('\n').ok_or(Error::LogKey(
            "the line of the first epoch's key is missing",
        ))?;
        LogKey::new(
            PublicKey::parse_vkey(origin)?,
            PublicKey::parse_vkey(genesis)?,
        )
    }

    /// The key that signs every checkpoint of the log.
    pub const fn origin(&self) -> &PublicKey {
        &self.origin
    }

    /// The key of the first epoch.
    pub const fn genesis(&self) -> &PublicKey {
        &self.genesis
    }

    /// The log's origin.
    pub const fn name(&self) -> &KeyName {
        self.origin.name()
    }
}

/// The two lines, each ended.
impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.origin.vkey(), self.genesis.vkey())
    }
}

/// A checkpoint that the origin key and the key of an epoch signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochSigned {
    checkpoint: Verified<Checkpoint>,
    epoch: u64,
}

impl EpochSigned {
    /// The epoch whose key signed it.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Deref for EpochSigned {
    type Target = Checkpoint;

    fn deref(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

/// The keys that are due at a place of a journal. Whoever walks through one shows it every record and every note, in
/// order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochKeys {
    origin: PublicKey,
    number: u64,
    current: PublicKey,
    /// Of an `epoch` record that no note has covered yet.
    next: Option<PublicKey>,
}

impl EpochKeys {
    /// At the beginning of a log.
    pub fn begin(key: &LogKey) -> Self {
        EpochKeys {
            origin: key.origin.clone(),
            number: FIRST_EPOCH,
            current: key.genesis.clone(),
            next: None,
        }
    }

    /// At a note, from the last `epoch` record before it: what a snapshot holds. `None`: still the first epoch.
    ///
    /// # Errors
    /// Where the record's key is not one of that number and log.
    pub fn after(key: &LogKey, last: Option<&Epoch>) -> Result<Self, Error> {
        let mut keys = EpochKeys::begin(key);
        if let Some(epoch) = last {
            keys.current = keys.key_of(epoch)?;
            keys.number = epoch.number;
        }
        Ok(keys)
    }

    /// The origin key.
    pub const fn origin(&self) -> &PublicKey {
        &self.origin
    }

    /// The epoch whose key signs the next note.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Its key.
    pub const fn current(&self) -> &PublicKey {
        &self.current
    }

    /// Takes a record. Only an `epoch` one changes anything, and not before the note that covers it.
    ///
    /// # Errors
    /// Where it names another epoch than the next, another log's key or a key that is in use, or is the second before one
    /// note.
    pub fn record(&mut self, body: &BodyView) -> Result<(), Error> {
        match body {
            BodyView::Log(LogEvent::Epoch(epoch)) => self.announce(epoch),
            _ => Ok(()),
        }
    }

    /// [`EpochKeys::record`] for an `epoch` record that is being written.
    ///
    /// # Errors
    /// The same.
    pub fn announce(&mut self, epoch: &Epoch) -> Result<(), Error> {
        if self.next.is_some() {
            return Err(Error::Epoch("a second one before the note of the first"));
        }
        if epoch.number != self.number.saturating_add(1) {
            return Err(Error::Epoch("its number is not the next"));
        }
        let key = self.key_of(epoch)?;
        if key.as_bytes() == self.current.as_bytes() {
            return Err(Error::Epoch("its key is that of the epoch before"));
        }
        self.next = Some(key);
        Ok(())
    }

    /// Verifies the note that covers every record so far. An epoch that was announced begins behind it.
    ///
    /// # Errors
    /// Where it is not a checkpoint of this origin signed by both keys that are due.
    pub fn note(&mut self, note: &[u8]) -> Result<EpochSigned, Error> {
        let signed = self.open(note)?;
        if let Some(next) = self.next.take() {
            self.current = next;
            self.number = self.number.saturating_add(1);
        }
        Ok(signed)
    }

    /// Verifies a note by the keys that are due now, and changes nothing.
    ///
    /// # Errors
    /// As [`EpochKeys::note`].
    pub fn open(&self, note: &[u8]) -> Result<EpochSigned, Error> {
        let checkpoint = self.origin.open_beside::<Checkpoint>(&self.current, note)?;
        Ok(EpochSigned {
            checkpoint,
            epoch: self.number,
        })
    }

    /// The same keys as at the last note: records behind it are as if they had not been shown.
    #[must_use]
    pub fn at_last_note(mut self) -> Self {
        self.next = None;
        self
    }

    fn key_of(&self, epoch: &Epoch) -> Result<PublicKey, Error> {
        let key = PublicKey::parse_vkey(&epoch.key)?;
        if key.vkey() != epoch.key {
            return Err(Error::Vkey("not in its canonical form"));
        }
        if KeyName::epoch(self.origin.name(), epoch.number)? != *key.name() {
            return Err(Error::Epoch("its key's name is not that of the epoch"));
        }
        if key.as_bytes() == self.origin.as_bytes() {
            return Err(Error::Epoch("its key is the origin's"));
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::compose;
    use crate::tree::Head;
    use ed25519_dalek::{Signer as _, SigningKey};

    const ORIGIN: u8 = 1;

    fn secret(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn public(seed: u8, name: KeyName) -> PublicKey {
        PublicKey::new(name, secret(seed).verifying_key().as_bytes()).unwrap()
    }

    fn origin() -> PublicKey {
        let bytes = secret(ORIGIN).verifying_key().to_bytes();
        public(ORIGIN, KeyName::origin("shop", &bytes).unwrap())
    }

    /// The key of an epoch; its seed is the number and ten.
    fn epoch_key(number: u64) -> PublicKey {
        let seed = u8::try_from(number).unwrap() + 10;
        public(seed, KeyName::epoch(origin().name(), number).unwrap())
    }

    fn log_key() -> LogKey {
        LogKey::new(origin(), epoch_key(1)).unwrap()
    }

    fn epoch(number: u64) -> Epoch {
        Epoch {
            number,
            key: epoch_key(number).vkey(),
        }
    }

    /// A note of so many records with both signatures.
    fn note(size: u64, epoch: u64) -> String {
        let checkpoint = Checkpoint {
            origin: origin().name().clone(),
            head: Head {
                size,
                root: [5; 32],
            },
        };
        let seed = u8::try_from(epoch).unwrap() + 10;
        compose(
            &checkpoint,
            &[
                (&origin(), &|text| secret(ORIGIN).sign(text).to_bytes()),
                (&epoch_key(epoch), &|text| {
                    secret(seed).sign(text).to_bytes()
                }),
            ],
        )
    }

    #[test]
    fn the_two_lines_of_a_log_key_round_trip_and_belong_together() {
        let text = log_key().to_string();
        assert_eq!(text.lines().count(), 2);
        assert_eq!(LogKey::parse(&text).unwrap(), log_key());
        assert_eq!(LogKey::parse(text.trim_end()).unwrap(), log_key());
        let (first, second) = text.trim_end().split_once('\n').unwrap();
        let other = public(2, KeyName::new("faramesh/shop/00000000").unwrap()).vkey();
        let twice = public(ORIGIN, epoch_key(1).name().clone()).vkey();
        for bad in [
            first.to_owned(),
            format!("{second}\n{first}"),
            format!("{first}\n{first}"),
            format!("{first}\n{second}\n{second}"),
            format!("{first}\n{}", epoch_key(2).vkey()),
            format!("{first}\n{twice}"),
            format!("{other}\n{second}"),
            format!("{first}\r\n{second}"),
        ] {
            assert!(LogKey::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_note_needs_the_signatures_of_the_origin_and_of_the_current_epoch() {
        let keys = EpochKeys::begin(&log_key());
        let both = note(3, 1);
        assert_eq!(keys.open(both.as_bytes()).unwrap().epoch(), 1);
        let lines: Vec<&str> = both.lines().collect();
        for (missing, name) in [
            (4, origin().name().clone()),
            (5, epoch_key(1).name().clone()),
        ] {
            let mut lines = lines.clone();
            lines.remove(missing);
            let one = format!("{}\n", lines.join("\n"));
            let refused = keys.open(one.as_bytes());
            assert_eq!(refused, Err(Error::NotSignedBy(name.to_string())));
        }
        // A receipt's reader and a witness look at the origin's line alone.
        origin().open::<Checkpoint>(both.as_bytes()).unwrap();
    }

    #[test]
    fn every_flipped_bit_of_a_note_with_two_signatures_is_refused() {
        let keys = EpochKeys::begin(&log_key());
        let good = note(3, 1).into_bytes();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(keys.open(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_note_that_covers_an_epoch_record_is_the_old_keys_last_and_the_next_is_the_new_keys() {
        let mut keys = EpochKeys::begin(&log_key());
        keys.announce(&epoch(2)).unwrap();
        assert!(keys.clone().note(note(3, 2).as_bytes()).is_err());
        assert_eq!(keys.note(note(3, 1).as_bytes()).unwrap().epoch(), 1);
        assert_eq!(keys.number(), 2);
        assert!(keys.clone().note(note(4, 1).as_bytes()).is_err());
        assert_eq!(keys.note(note(4, 2).as_bytes()).unwrap().epoch(), 2);
        let resumed = EpochKeys::after(&log_key(), Some(&epoch(2))).unwrap();
        assert_eq!(resumed, keys);
    }

    #[test]
    fn the_keys_of_today_make_no_note_that_verifies_below_the_epochs_beginning() {
        // Stolen: the origin key and the key of epoch 2. The record that began epoch 2 is covered by a note of size 3.
        let mut keys = EpochKeys::begin(&log_key());
        for size in 1..=3 {
            let forged = note(size, 2);
            assert!(keys.open(forged.as_bytes()).is_err(), "{size}");
        }
        keys.announce(&epoch(2)).unwrap();
        assert!(keys.open(note(3, 2).as_bytes()).is_err());
        keys.note(note(3, 1).as_bytes()).unwrap();
        keys.open(note(4, 2).as_bytes()).unwrap();
    }

    #[test]
    fn an_epoch_record_that_does_not_follow_is_refused() {
        let keys = EpochKeys::begin(&log_key());
        let with = |number, key: PublicKey| Epoch {
            number,
            key: key.vkey(),
        };
        let named = |seed, number| public(seed, epoch_key(number).name().clone());
        for bad in [
            epoch(1),
            epoch(3),
            with(2, epoch_key(3)),
            with(2, named(11, 2)),
            with(2, named(ORIGIN, 2)),
            with(
                2,
                public(12, KeyName::new("faramesh/other/epoch-2").unwrap()),
            ),
            Epoch {
                number: 2,
                key: format!("{}\n", epoch_key(2).vkey()),
            },
        ] {
            assert!(keys.clone().announce(&bad).is_err(), "{bad:?}");
        }
        let mut twice = keys.clone();
        twice.announce(&epoch(2)).unwrap();
        assert!(twice.announce(&epoch(2)).is_err());
        assert!(twice.announce(&epoch(3)).is_err());
        assert_eq!(twice.at_last_note(), keys);
    }
}
