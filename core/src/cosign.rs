//! Cosignatures: what a witness says of a checkpoint, C2SP tlog-cosignature `cosignature/v1`.
//!
//! A witness is somebody else: another user, another host. It signs a checkpoint once it has seen, by a consistency proof,
//! that the tree extends the one that it signed before. What it signs is two lines and the checkpoint's text:
//!
//! ```text
//! cosignature/v1
//! time 1679315147
//! faramesh/shop/0a1b2c3d
//! 42
//! BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=
//! ```
//!
//! Its line in the note carries the time as 8 big-endian bytes, then the 64 bytes of the Ed25519 signature.
//!
//! Invariants:
//! - A [`Cosigned`] comes from [`Witnesses::open`] and nowhere else: the log's own key signed the checkpoint, and each
//!   witness that it names is pinned, signed exactly this checkpoint, and is counted once, however many lines it has.
//! - A set of witnesses holds no name and no key twice, so that k of n are k different keys.

use std::fmt;

use ed25519_dalek::{Signature, VerifyingKey};

use crate::checkpoint::{
    self, ALGORITHM_COSIGNATURE, Checkpoint, Error, KeyName, PublicKey, SIGNATURES_MAX, Statement,
    Verified,
};

/// Witnesses that can be pinned: a note has sixteen signatures, and two of them are the log's own.
pub const WITNESSES_MAX: usize = SIGNATURES_MAX - 2;

/// A file of witnesses' keys: a line of at most 512 bytes each, and room for remarks.
pub const WITNESSES_BYTES_MAX: usize = 16 << 10;

/// C2SP has times up to 2^63 - 1; ours end with the year 9999, so that each can be shown as a date.
const TIME_S_MAX: u64 = 253_402_300_799;

/// Begins what is signed; nothing else that is signed as a note begins so.
const HEADER: &str = "cosignature/v1";

/// What is wrong with a set of witnesses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotASet {
    /// A line that is not a witness's key.
    #[error("line {line}: {cause}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Why.
        cause: Error,
    },
    /// A name or a key that stands there already.
    #[error("`{0}` is pinned twice: a name and a key count once")]
    Twice(String),
    /// More than [`WITNESSES_MAX`].
    #[error("more than {WITNESSES_MAX} witnesses: a note has room for no more signatures")]
    TooMany,
}

/// A witness's pinned key: a vkey of signature type 4.
#[derive(Clone, PartialEq, Eq)]
pub struct WitnessKey {
    name: KeyName,
    key: VerifyingKey,
    id: [u8; 4],
}

impl fmt::Debug for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WitnessKey({})", self.vkey())
    }
}

impl WitnessKey {
    /// From a name and the key's 32 bytes.
    ///
    /// # Errors
    /// Where the bytes are not a canonical point, or one of small order.
    pub fn new(name: KeyName, bytes: &[u8; 32]) -> Result<WitnessKey, Error> {
        let key = checkpoint::strict_key(bytes)?;
        let id = checkpoint::key_id(&name, ALGORITHM_COSIGNATURE, bytes);
        Ok(WitnessKey { name, key, id })
    }

    /// From its line, `name+id+key`. One final newline is accepted.
    ///
    /// # Errors
    /// Where the line is not of that form, or is a log's key, or the id is not that of the name and key.
    pub fn parse_vkey(line: &str) -> Result<WitnessKey, Error> {
        let (name, key) = checkpoint::read_vkey(line, ALGORITHM_COSIGNATURE)?;
        WitnessKey::new(name, &key)
    }

    /// The line, without a newline.
    pub fn vkey(&self) -> String {
        checkpoint::write_vkey(&self.name, ALGORITHM_COSIGNATURE, self.key.as_bytes())
    }

    /// The witness's name.
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Cosigns a checkpoint that its log signed: `sign` returns the Ed25519 signature of the bytes that it is given, by
    /// the private half of this key. The line is checked before it is returned, with its newline.
    ///
    /// `time_s` is that of the witness's wall clock, seconds since the Unix epoch.
    ///
    /// # Errors
    /// Where the time cannot stand in a cosignature, or the signature does not hold.
    pub fn cosign(
        &self,
        checkpoint: &Verified<Checkpoint>,
        time_s: u64,
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Result<String, Error> {
        let text = checkpoint.text();
        let mut signature = time_s.to_be_bytes().to_vec();
        signature.extend_from_slice(&sign(message(time_s, &text).as_bytes()));
        self.check(&text, &signature)?;
        Ok(checkpoint::signature_line(&self.name, self.id, &signature))
    }

    /// The time of a cosignature of this key over a checkpoint's text.
    fn check(&self, text: &str, signature: &[u8]) -> Result<u64, Error> {
        let wrong = || Error::Signature(self.name.to_string());
        let (time, signature) = signature.split_first_chunk::<8>().ok_or_else(wrong)?;
        let signature: &[u8; 64] = signature.try_into().map_err(|_| wrong())?;
        let time_s = u64::from_be_bytes(*time);
        if time_s > TIME_S_MAX {
            return Err(wrong());
        }
        let signature = Signature::from_bytes(signature);
        self.key
            .verify_strict(message(time_s, text).as_bytes(), &signature)
            .map_err(|_| wrong())?;
        Ok(time_s)
    }

    fn wrote(&self, name: &str, id: [u8; 4]) -> bool {
        name == self.name.as_str() && id == self.id
    }
}

/// What is signed.
fn message(time_s: u64, text: &str) -> String {
    format!("{HEADER}\ntime {time_s}\n{text}")
}

/// The witnesses that somebody pinned: none twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Witnesses(Vec<WitnessKey>);

impl Witnesses {
    /// A set of these.
    ///
    /// # Errors
    /// A name or a key twice, or too many.
    pub fn new(keys: Vec<WitnessKey>) -> Result<Witnesses, NotASet> {
        if keys.len() > WITNESSES_MAX {
            return Err(NotASet::TooMany);
        }
        for (index, key) in keys.iter().enumerate() {
            let same = |other: &WitnessKey| other.name == key.name || other.key == key.key;
            if keys.iter().take(index).any(same) {
                return Err(NotASet::Twice(key.name.to_string()));
            }
        }
        Ok(Witnesses(keys))
    }

    /// From a file's text: a vkey a line; empty lines, and those that begin with `#`, are remarks.
    ///
    /// # Errors
    /// [`NotASet`].
    pub fn parse(text: &str) -> Result<Witnesses, NotASet> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let key = |(index, line): (usize, &str)| {
            WitnessKey::parse_vkey(line).map_err(|cause| NotASet::Line {
                line: index + 1,
                cause,
            })
        };
        Witnesses::new(lines.map(key).collect::<Result<_, _>>()?)
    }

    /// Each of them, in the order in which they were pinned.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &WitnessKey> {
        self.0.iter()
    }

    /// How many: the n of k of n.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is pinned.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Opens a checkpoint that the log signed, and says which of these witnesses cosigned it. Lines of others are passed
    /// over; a line of a pinned witness that does not hold makes the whole note invalid, as does one of the log's. The
    /// log's own key is never counted as a witness, whatever name it is pinned under.
    ///
    /// # Errors
    /// Where the note is malformed, not the log's, or a pinned witness's line does not hold.
    pub fn open(&self, note: &[u8], log: &PublicKey) -> Result<Cosigned, Error> {
        let checkpoint = log.open::<Checkpoint>(note)?;
        let (text, lines) = checkpoint::split_note(note)?;
        let mut by: Vec<Cosignature> = Vec::new();
        for line in lines.split_terminator('\n') {
            let (name, id, signature) = checkpoint::parse_signature(line)?;
            let Some(witness) = self.0.iter().find(|key| key.wrote(name, id)) else {
                continue;
            };
            let time_s = witness.check(text, &signature)?;
            if witness.as_bytes() == log.as_bytes() {
                continue;
            }
            match by.iter_mut().find(|other| other.witness == witness.name) {
                Some(earlier) => earlier.time_s = earlier.time_s.max(time_s),
                None => by.push(Cosignature {
                    witness: witness.name.clone(),
                    time_s,
                }),
            }
        }
        by.sort_by(|a, b| a.witness.as_str().cmp(b.witness.as_str()));
        Ok(Cosigned { checkpoint, by })
    }

    /// The lines of these witnesses in what one of them answered, each of which must hold over the checkpoint's text.
    /// Lines of others are passed over. Each is returned with its newline.
    ///
    /// # Errors
    /// Where a line is malformed, or one of a pinned witness does not hold.
    pub fn lines(
        &self,
        checkpoint: &Verified<Checkpoint>,
        answer: &str,
    ) -> Result<Vec<(KeyName, String)>, Error> {
        let text = checkpoint.text();
        let mut found = Vec::new();
        for (count, line) in answer.split_inclusive('\n').enumerate() {
            if count >= SIGNATURES_MAX {
                return Err(Error::NotANote("too many signatures"));
            }
            let bare = line
                .strip_suffix('\n')
                .ok_or(Error::NotANote("no newline at the end"))?;
            let (name, id, signature) = checkpoint::parse_signature(bare)?;
            if let Some(witness) = self.0.iter().find(|key| key.wrote(name, id)) {
                witness.check(&text, &signature)?;
                found.push((witness.name.clone(), line.to_owned()));
            }
        }
        Ok(found)
    }
}

/// That a witness signed the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// Its name.
    pub witness: KeyName,
    /// When, by its clock: seconds since the Unix epoch. The latest, where it signed more than once.
    pub time_s: u64,
}

/// A checkpoint that its log signed, and who of the pinned witnesses cosigned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    checkpoint: Verified<Checkpoint>,
    by: Vec<Cosignature>,
}

impl Cosigned {
    /// The checkpoint.
    pub const fn checkpoint(&self) -> &Verified<Checkpoint> {
        &self.checkpoint
    }

    /// The cosignatures, one a witness, sorted by name.
    pub fn by(&self) -> &[Cosignature] {
        &self.by
    }

    /// Whether that many different witnesses cosigned. Nothing is ever attested by nobody: a quorum of 0 counts as 1.
    pub fn reaches(&self, quorum: usize) -> bool {
        self.by.len() >= quorum.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Head;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use ed25519_dalek::{Signer as _, SigningKey};
    use proptest::prelude::*;

    /// 2026-01-31T09:30:00Z.
    const TIME_S: u64 = 1_769_851_800;

    fn private(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn signer(seed: u8) -> impl Fn(&[u8]) -> [u8; 64] {
        move |message| private(seed).sign(message).to_bytes()
    }

    fn log() -> PublicKey {
        let bytes = private(1).verifying_key().to_bytes();
        PublicKey::new(KeyName::origin("shop", &bytes).unwrap(), &bytes).unwrap()
    }

    fn witness(seed: u8) -> WitnessKey {
        named(&format!("witness.example/w{seed}"), seed)
    }

    fn named(name: &str, seed: u8) -> WitnessKey {
        let bytes = private(seed).verifying_key().to_bytes();
        WitnessKey::new(KeyName::new(name).unwrap(), &bytes).unwrap()
    }

    fn set(seeds: &[u8]) -> Witnesses {
        Witnesses::new(seeds.iter().map(|seed| witness(*seed)).collect()).unwrap()
    }

    fn sealed(size: u64) -> String {
        let checkpoint = Checkpoint {
            origin: log().name().clone(),
            head: Head {
                size,
                root: [5; 32],
            },
        };
        log().seal(&checkpoint, signer(1)).unwrap()
    }

    /// The note of 42 records with a line of each of these.
    fn cosigned(seeds: &[u8]) -> String {
        let note = sealed(42);
        let checkpoint = log().open::<Checkpoint>(note.as_bytes()).unwrap();
        let lines = seeds
            .iter()
            .map(|seed| witness(*seed).cosign(&checkpoint, TIME_S, signer(*seed)))
            .map(Result::unwrap);
        lines.fold(note.clone(), |note, line| note + &line)
    }

    fn names(note: &str, pinned: &Witnesses) -> Vec<String> {
        let opened = pinned.open(note.as_bytes(), &log()).unwrap();
        let by = opened.by().iter();
        by.map(|by| by.witness.to_string()).collect()
    }

    #[test]
    fn a_cosignature_signs_the_header_the_time_and_the_checkpoints_text() {
        let note = cosigned(&[2]);
        let line = note.lines().last().unwrap();
        let (_, encoded) = line.rsplit_once(' ').unwrap();
        let bytes = BASE64.decode(encoded).unwrap();
        let (id, rest) = bytes.split_at(4);
        let (time, signature) = rest.split_at(8);
        assert_eq!(id, &witness(2).id);
        assert_eq!(time, TIME_S.to_be_bytes());
        let root = BASE64.encode([5; 32]);
        let signed = format!(
            "cosignature/v1\ntime 1769851800\n{}\n42\n{root}\n",
            log().name()
        );
        let signature = Signature::from_bytes(signature.try_into().unwrap());
        private(2)
            .verifying_key()
            .verify_strict(signed.as_bytes(), &signature)
            .unwrap();
    }

    #[test]
    fn the_line_in_the_specification_is_read_as_it_says() {
        // c2sp.org/tlog-cosignature gives the lines but no keys; the key id of `witness.example.com/w1` and the time in
        // its line are what can be checked without one.
        let line = "\u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==";
        let (name, id, signature) = checkpoint::parse_signature(line).unwrap();
        assert_eq!(
            (name, checkpoint::hex(&id)),
            ("witness.example.com/w1", "8d66cf3f".to_owned())
        );
        assert_eq!(signature.len(), 72);
        let (time, _) = signature.split_first_chunk::<8>().unwrap();
        assert_eq!(u64::from_be_bytes(*time), 1_679_315_147);
    }

    #[test]
    fn a_witnesses_key_survives_its_own_line_and_is_of_type_four() {
        let key = witness(2);
        assert_eq!(WitnessKey::parse_vkey(&key.vkey()), Ok(key.clone()));
        let (_, encoded) = key
            .vkey()
            .rsplit_once('+')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        assert_eq!(BASE64.decode(encoded).unwrap().first(), Some(&4));
        assert_eq!(
            WitnessKey::parse_vkey(&log().vkey()),
            Err(Error::Vkey("a log's key (type 1) and not a witness's"))
        );
        assert_eq!(
            PublicKey::parse_vkey(&key.vkey()),
            Err(Error::Vkey("a witness's key (type 4) and not a log's"))
        );
    }

    #[test]
    fn each_pinned_witness_counts_once_and_nobody_else_counts() {
        let pinned = set(&[2, 3, 4]);
        assert_eq!(names(&cosigned(&[]), &pinned), Vec::<String>::new());
        assert_eq!(
            names(&cosigned(&[3, 2, 3, 9]), &pinned),
            ["witness.example/w2", "witness.example/w3"]
        );
        let opened = pinned
            .open(cosigned(&[3, 3, 9]).as_bytes(), &log())
            .unwrap();
        assert!(opened.reaches(1));
        assert!(!opened.reaches(2));
        let nobody = pinned.open(sealed(42).as_bytes(), &log()).unwrap();
        assert!(!nobody.reaches(0), "nothing is attested by nobody");
    }

    #[test]
    fn one_key_under_two_names_is_no_set_of_two_and_neither_is_one_name_with_two_keys() {
        let twice = Witnesses::new(vec![witness(2), named("witness.example/other", 2)]);
        assert_eq!(
            twice,
            Err(NotASet::Twice("witness.example/other".to_owned()))
        );
        let twice = Witnesses::new(vec![witness(2), named("witness.example/w2", 3)]);
        assert_eq!(twice, Err(NotASet::Twice("witness.example/w2".to_owned())));
    }

    #[test]
    fn a_log_cannot_be_its_own_witness() {
        let pinned = Witnesses::new(vec![named("witness.example/self", 1)]).unwrap();
        let note = sealed(42);
        let checkpoint = log().open::<Checkpoint>(note.as_bytes()).unwrap();
        let line = named("witness.example/self", 1)
            .cosign(&checkpoint, TIME_S, signer(1))
            .unwrap();
        assert_eq!(names(&(note + &line), &pinned), Vec::<String>::new());
    }

    #[test]
    fn a_cosignature_holds_for_no_other_checkpoint_time_witness_or_signature_type() {
        let pinned = set(&[2]);
        let line = cosigned(&[2]).lines().last().unwrap().to_owned() + "\n";
        let wrong = Err(Error::Signature("witness.example/w2".to_owned()));
        assert_eq!(pinned.open((sealed(43) + &line).as_bytes(), &log()), wrong);

        // The same signature with a second later in the line.
        let (_, encoded) = line.trim_end().rsplit_once(' ').unwrap();
        let mut bytes = BASE64.decode(encoded).unwrap();
        bytes[11] += 1;
        let later = format!("\u{2014} witness.example/w2 {}\n", BASE64.encode(&bytes));
        assert_eq!(pinned.open((sealed(42) + &later).as_bytes(), &log()), wrong);

        // An ordinary note signature of the witness's key is no cosignature.
        let plain = private(2).sign(sealed(42).as_bytes()).to_bytes();
        let plain = checkpoint::signature_line(witness(2).name(), witness(2).id, &plain);
        assert_eq!(pinned.open((sealed(42) + &plain).as_bytes(), &log()), wrong);
    }

    #[test]
    fn a_note_that_the_log_did_not_sign_is_nobodys_however_many_cosign_it() {
        let note = cosigned(&[2, 3]);
        let (text, lines) = checkpoint::split_note(note.as_bytes()).unwrap();
        let lines: String = lines.split_inclusive('\n').skip(1).collect();
        let refused = set(&[2, 3]).open(format!("{text}\n{lines}").as_bytes(), &log());
        assert_eq!(refused, Err(Error::NotSignedBy(log().name().to_string())));
    }

    #[test]
    fn a_wrong_private_key_is_found_where_it_is_used() {
        let note = sealed(42);
        let checkpoint = log().open::<Checkpoint>(note.as_bytes()).unwrap();
        let refused = witness(2).cosign(&checkpoint, TIME_S, signer(3));
        assert_eq!(
            refused,
            Err(Error::Signature("witness.example/w2".to_owned()))
        );
        let refused = witness(2).cosign(&checkpoint, u64::MAX, signer(2));
        assert_eq!(
            refused,
            Err(Error::Signature("witness.example/w2".to_owned()))
        );
    }

    #[test]
    fn a_file_of_witnesses_has_a_key_a_line_and_names_the_line_that_is_none() {
        let text = format!(
            "# the office\n{}\n\n  {}  \n",
            witness(2).vkey(),
            witness(3).vkey()
        );
        assert_eq!(Witnesses::parse(&text), Ok(set(&[2, 3])));
        assert_eq!(Witnesses::parse(""), Ok(Witnesses::default()));
        let refused = Witnesses::parse(&format!("{}\nnot a key\n", witness(2).vkey()));
        assert!(
            matches!(refused, Err(NotASet::Line { line: 2, .. })),
            "{refused:?}"
        );
        let many: Vec<WitnessKey> = (2..).take(WITNESSES_MAX + 1).map(witness).collect();
        assert_eq!(Witnesses::new(many), Err(NotASet::TooMany));
    }

    #[test]
    fn of_an_answer_only_the_pinned_witnesses_lines_are_taken_and_each_must_hold() {
        let note = cosigned(&[2, 9]);
        let checkpoint = log().open::<Checkpoint>(note.as_bytes()).unwrap();
        let (_, all) = checkpoint::split_note(note.as_bytes()).unwrap();
        let answer: String = all.split_inclusive('\n').skip(1).collect();
        let taken = set(&[2, 3]).lines(&checkpoint, &answer).unwrap();
        let [(name, line)] = taken.as_slice() else {
            panic!("{taken:?}")
        };
        assert_eq!(name, witness(2).name());
        assert!(answer.starts_with(line.as_str()));
        let unended = answer.trim_end_matches('\n');
        assert!(set(&[2]).lines(&checkpoint, unended).is_err());
        let other = log().open::<Checkpoint>(sealed(43).as_bytes()).unwrap();
        assert!(set(&[2]).lines(&other, &answer).is_err());
    }

    proptest! {
        #[test]
        fn one_flipped_bit_anywhere_makes_no_note_attest_anything_else(at in any::<prop::sample::Index>(), bit in 0u32..8) {
            let pinned = set(&[2, 3]);
            let note = cosigned(&[2, 3]).into_bytes();
            let genuine = pinned.open(&note, &log()).unwrap();
            let mut flipped = note.clone();
            flipped[at.index(note.len())] ^= 1 << bit;
            if let Ok(opened) = pinned.open(&flipped, &log()) {
                prop_assert_eq!(opened.checkpoint(), genuine.checkpoint());
                // A line can be made another key's, and then counts no more; never can one be added or changed.
                prop_assert!(opened.by().iter().all(|by| genuine.by().contains(by)));
            }
        }

        #[test]
        fn whatever_bytes_are_opened_nothing_panics(note in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(set(&[2]).open(&note, &log()).is_err());
        }
    }
}
