//! Signed notes: checkpoints, artifacts, manifests.
//!
//! One format for all three, the C2SP signed note: a text that ends in a newline, an empty line, and signature lines of
//! the form `— <key name> <base64 of 4-byte key id and signature>`. The text's first line is the domain: a
//! checkpoint's origin never reads like `faramesh artifact v1`, so no signature of one can pass for another.
//!
//! Invariants:
//! - A [`Verified`] statement comes from [`PublicKey::open`] (or, by two keys, from [`EpochKeys`]) and nowhere else: its
//!   text was signed by that key, parsed to this statement, and formatting the statement again gives the same text.
//! - A [`PublicKey`] is canonical and not of small order, and signatures are checked with `verify_strict`: a signature
//!   that holds here holds for every other strict verifier.

mod epochs;

pub use epochs::{EpochKeys, EpochSigned, FIRST_EPOCH, LogKey};

use std::fmt;
use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::tree::{Hash, Head};

/// A note of ours is a few hundred bytes; sixteen witnesses fit with room to spare.
pub const NOTE_BYTES_MAX: usize = 16 << 10;

/// The C2SP specification asks verifiers to bound this; sixteen is its own suggestion's order of magnitude.
pub const SIGNATURES_MAX: usize = 16;

/// A stack's name is a directory's name.
pub const STACK_NAME_BYTES_MAX: usize = 64;

/// A key's name: `faramesh/`, a stack, `/` and eight hex digits or `policy`, with room for a witness's host name.
const KEY_NAME_BYTES_MAX: usize = 256;

/// The signer of a manifest: a user name and a number.
const SIGNED_BY_BYTES_MAX: usize = 128;

/// The signature type of Ed25519 in C2SP key ids and vkeys.
const ALGORITHM_ED25519: u8 = 0x01;

/// The same of a witness's timestamped Ed25519 cosignature ([`crate::cosign`]).
pub(crate) const ALGORITHM_COSIGNATURE: u8 = 0x04;

/// Begins each signature line: an em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

const ARTIFACT_DOMAIN: &str = "faramesh artifact v1";
const MANIFEST_DOMAIN: &str = "faramesh manifest v1";

/// What is wrong with a note, a key or a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not of the form of a signed note.
    #[error("not a signed note: {0}")]
    NotANote(&'static str),
    /// No line by the pinned key.
    #[error("the note is not signed by `{0}`")]
    NotSignedBy(String),
    /// A line by the pinned key, and its signature does not hold.
    #[error("the signature by `{0}` does not match the note's text")]
    Signature(String),
    /// The text is signed, but is not this kind of statement.
    #[error("not a {kind}: {why}")]
    Statement {
        /// Which kind was expected.
        kind: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// The statement is about one stack or origin, and the key belongs to another.
    #[error("the {kind} does not belong to the key `{key}`")]
    WrongKeyName {
        /// Which kind.
        kind: &'static str,
        /// The key's name.
        key: String,
    },
    /// Not a public key's line.
    #[error("not a public key line (`name+id+key`): {0}")]
    Vkey(&'static str),
    /// A key that strict verifiers refuse.
    #[error("not a usable Ed25519 public key: {0}")]
    Key(&'static str),
    /// Not what is pinned of a log.
    #[error("not the two lines of a log's public keys (origin, first epoch): {0}")]
    LogKey(&'static str),
    /// An epoch that cannot follow.
    #[error("the epoch cannot begin: {0}")]
    Epoch(&'static str),
    /// A name that cannot stand in a note.
    #[error("`{0}` cannot be a key's name")]
    KeyName(String),
    /// A name that cannot be a stack's.
    #[error(
        "`{0}` cannot be a stack's name: 1 to 64 letters, digits, `.`, `_`, `-`, the first a letter or digit"
    )]
    StackName(String),
}

/// A name as it stands in front of a signature: no spaces, no `+`, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// Any name that fits the form.
    ///
    /// # Errors
    /// Where it does not.
    pub fn new(name: &str) -> Result<Self, Error> {
        let fits = !name.is_empty()
            && name.len() <= KEY_NAME_BYTES_MAX
            && name
                .chars()
                .all(|c| c != '+' && !c.is_whitespace() && !c.is_control());
        if fits {
            Ok(KeyName(name.to_owned()))
        } else {
            Err(Error::KeyName(name.escape_debug().to_string()))
        }
    }

    /// The name under which a stack's policy key signs: `faramesh/<stack>/policy`.
    ///
    /// # Errors
    /// Where the stack's name is not one.
    pub fn policy(stack: &str) -> Result<Self, Error> {
        check_stack_name(stack)?;
        KeyName::new(&format!("faramesh/{stack}/policy"))
    }

    /// The name under which a stack's log key signs, which is the log's origin: `faramesh/<stack>/<8 hex digits>`, the
    /// digits being the first of SHA-256 of the public key.
    ///
    /// # Errors
    /// Where the stack's name is not one.
    pub fn origin(stack: &str, key: &[u8; 32]) -> Result<Self, Error> {
        check_stack_name(stack)?;
        let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(key).into();
        KeyName::new(&format!("faramesh/{stack}/{a:02x}{b:02x}{c:02x}{d:02x}"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The stack that an origin belongs to; `None` for a name of another form.
    pub fn stack(&self) -> Option<&str> {
        let (stack, _) = self.0.strip_prefix("faramesh/")?.split_once('/')?;
        Some(stack)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a name can be a stack's: it stands in paths, units, origins and notes.
///
/// # Errors
/// Where it cannot.
pub fn check_stack_name(stack: &str) -> Result<(), Error> {
    let fits = stack.len() <= STACK_NAME_BYTES_MAX
        && stack.starts_with(|c: char| c.is_ascii_alphanumeric())
        && stack
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if fits {
        Ok(())
    } else {
        Err(Error::StackName(stack.escape_debug().to_string()))
    }
}

/// A pinned key: the only thing that turns bytes into a [`Verified`] statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: KeyName,
    key: VerifyingKey,
    id: [u8; 4],
}

impl PublicKey {
    /// From a name and the key's 32 bytes.
    ///
    /// # Errors
    /// Where the bytes are not a canonical point, or one of small order.
    pub fn new(name: KeyName, bytes: &[u8; 32]) -> Result<Self, Error> {
        let key = strict_key(bytes)?;
        let id = key_id(&name, ALGORITHM_ED25519, bytes);
        Ok(PublicKey { name, key, id })
    }

    /// From the one line of a `policy.pub` or `log.pub`: `name+id+key`. One final newline is accepted.
    ///
    /// # Errors
    /// Where the line is not of that form, or the id is not that of the name and key.
    pub fn parse_vkey(line: &str) -> Result<Self, Error> {
        let (name, key) = read_vkey(line, ALGORITHM_ED25519)?;
        PublicKey::new(name, &key)
    }

    /// The line, without a newline.
    pub fn vkey(&self) -> String {
        write_vkey(&self.name, ALGORITHM_ED25519, self.key.as_bytes())
    }

    /// The key's name.
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Signs a statement: `sign` returns the Ed25519 signature of the bytes that it is given, by the private half of
    /// this key. The result is checked before it is returned, so that a wrong key is found where it is used.
    ///
    /// # Errors
    /// Where the statement is not one that [`PublicKey::open`] would return, or the signature does not hold.
    pub fn seal<S: Statement>(
        &self,
        statement: &S,
        sign: impl Fn(&[u8]) -> [u8; 64],
    ) -> Result<String, Error> {
        let note = compose(statement, &[(self, &sign)]);
        self.open::<S>(note.as_bytes())?;
        Ok(note)
    }

    /// Verifies a note and reads the statement that it signs.
    ///
    /// # Errors
    /// Where the note is malformed, not signed by this key, or does not say an `S` that belongs to this key.
    pub fn open<S: Statement>(&self, note: &[u8]) -> Result<Verified<S>, Error> {
        self.read(verify(note, &[self])?)
    }

    /// The same, where another key has to have signed it too: the statement belongs to this one.
    fn open_beside<S: Statement>(
        &self,
        beside: &PublicKey,
        note: &[u8],
    ) -> Result<Verified<S>, Error> {
        self.read(verify(note, &[self, beside])?)
    }

    /// The statement of a text that this key signed.
    fn read<S: Statement>(&self, text: &str) -> Result<Verified<S>, Error> {
        let statement = S::parse(text).map_err(|why| Error::Statement { kind: S::KIND, why })?;
        if statement.text() != text {
            return Err(Error::Statement {
                kind: S::KIND,
                why: "the text is not in its canonical form",
            });
        }
        if !statement.belongs_to(&self.name) {
            return Err(Error::WrongKeyName {
                kind: S::KIND,
                key: self.name.to_string(),
            });
        }
        Ok(Verified(statement))
    }
}

/// The note's text, where each of these keys signed it. Lines of other keys are passed over, as C2SP asks.
fn verify<'a>(note: &'a [u8], keys: &[&PublicKey]) -> Result<&'a str, Error> {
    let (text, signatures) = split_note(note)?;
    let mut missing: Vec<&PublicKey> = keys.to_vec();
    for (count, line) in signatures.split_terminator('\n').enumerate() {
        if count >= SIGNATURES_MAX {
            return Err(Error::NotANote("too many signatures"));
        }
        let (name, id, signature) = parse_signature(line)?;
        let by = |key: &&PublicKey| name == key.name.as_str() && id == key.id;
        for key in keys.iter().copied().filter(by) {
            let signature: &[u8; 64] = signature
                .as_slice()
                .try_into()
                .map_err(|_| Error::Signature(key.name.to_string()))?;
            key.key
                .verify_strict(text.as_bytes(), &Signature::from_bytes(signature))
                .map_err(|_| Error::Signature(key.name.to_string()))?;
            missing.retain(|other| *other != key);
        }
    }
    match missing.first() {
        None => Ok(text),
        Some(key) => Err(Error::NotSignedBy(key.name.to_string())),
    }
}

/// Signs with the private half of a key.
pub type Sign<'a> = &'a dyn Fn(&[u8]) -> [u8; 64];

/// A note of a statement with these signatures, which nobody has checked: whoever acts on it opens it.
pub fn compose<S: Statement>(statement: &S, signers: &[(&PublicKey, Sign<'_>)]) -> String {
    let text = statement.text();
    let lines: String = signers
        .iter()
        .map(|(key, sign)| signature_line(&key.name, key.id, &sign(text.as_bytes())))
        .collect();
    format!("{text}\n{lines}")
}

/// The text of a note, with its final newline, without looking at the signatures. For display and for finding out whose
/// a note is; never for deciding anything.
///
/// # Errors
/// Where the bytes are not of a note's form.
pub fn unverified_text(note: &[u8]) -> Result<&str, Error> {
    split_note(note).map(|(text, _)| text)
}

/// A key that every strict verifier takes: canonical, on the curve, not of small order.
pub(crate) fn strict_key(bytes: &[u8; 32]) -> Result<VerifyingKey, Error> {
    if !is_canonical(bytes) {
        return Err(Error::Key("the encoding is not canonical"));
    }
    let key =
        VerifyingKey::from_bytes(bytes).map_err(|_| Error::Key("not a point on the curve"))?;
    if key.is_weak() {
        return Err(Error::Key("the point has a small order"));
    }
    Ok(key)
}

/// The id of an Ed25519 key of that signature type.
pub(crate) fn key_id(name: &KeyName, algorithm: u8, key: &[u8; 32]) -> [u8; 4] {
    let mut hasher = Sha256::new();
    hasher.update(name.as_str().as_bytes());
    hasher.update([b'\n', algorithm]);
    hasher.update(key);
    let [a, b, c, d, ..]: [u8; 32] = hasher.finalize().into();
    [a, b, c, d]
}

/// Name and 32 bytes of a vkey of that signature type, whose id was checked.
pub(crate) fn read_vkey(line: &str, algorithm: u8) -> Result<(KeyName, [u8; 32]), Error> {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let (name, rest) = line.split_once('+').ok_or(Error::Vkey("no `+`"))?;
    let (id, key) = rest.split_once('+').ok_or(Error::Vkey("just one `+`"))?;
    let bytes = BASE64
        .decode(key)
        .map_err(|_| Error::Vkey("the key is not base64"))?;
    let key = match bytes.split_first() {
        Some((found, key)) if *found == algorithm => key,
        Some((&ALGORITHM_ED25519, _)) => {
            return Err(Error::Vkey("a log's key (type 1) and not a witness's"));
        }
        Some((&ALGORITHM_COSIGNATURE, _)) => {
            return Err(Error::Vkey("a witness's key (type 4) and not a log's"));
        }
        _ => return Err(Error::Vkey("not an Ed25519 key")),
    };
    let key: &[u8; 32] = key
        .try_into()
        .map_err(|_| Error::Vkey("an Ed25519 key has 32 bytes"))?;
    let name = KeyName::new(name)?;
    if hex(&key_id(&name, algorithm, key)) == id {
        Ok((name, *key))
    } else {
        Err(Error::Vkey("the id is not that of the name and key"))
    }
}

/// The inverse of [`read_vkey`], without a newline.
pub(crate) fn write_vkey(name: &KeyName, algorithm: u8, key: &[u8; 32]) -> String {
    let id = hex(&key_id(name, algorithm, key));
    let mut bytes = vec![algorithm];
    bytes.extend_from_slice(key);
    format!("{name}+{id}+{}", BASE64.encode(bytes))
}

/// A signature line with its newline.
pub(crate) fn signature_line(name: &KeyName, id: [u8; 4], signature: &[u8]) -> String {
    let mut bytes = id.to_vec();
    bytes.extend_from_slice(signature);
    format!("{SIGNATURE_PREFIX}{name} {}\n", BASE64.encode(bytes))
}

/// Text with its newline, and the signature lines.
pub(crate) fn split_note(note: &[u8]) -> Result<(&str, &str), Error> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(Error::NotANote("too long"));
    }
    let note = str::from_utf8(note).map_err(|_| Error::NotANote("not UTF-8"))?;
    if note.chars().any(|c| c != '\n' && c.is_control()) {
        return Err(Error::NotANote("a control character"));
    }
    let at = note
        .rfind("\n\n")
        .ok_or(Error::NotANote("no empty line before the signatures"))?;
    let (text, signatures) = note.split_at_checked(at + 1).unwrap_or_default();
    let signatures = signatures.strip_prefix('\n').unwrap_or_default();
    if !signatures.ends_with('\n') {
        return Err(Error::NotANote("no newline at the end"));
    }
    Ok((text, signatures))
}

/// Key name, key id, signature of one line, without its newline.
pub(crate) fn parse_signature(line: &str) -> Result<(&str, [u8; 4], Vec<u8>), Error> {
    const WHY: Error = Error::NotANote("a malformed signature line");
    let (name, encoded) = line
        .strip_prefix(SIGNATURE_PREFIX)
        .and_then(|rest| rest.split_once(' '))
        .ok_or(WHY)?;
    KeyName::new(name).map_err(|_| WHY)?;
    let bytes = BASE64.decode(encoded).map_err(|_| WHY)?;
    let (id, signature) = bytes.split_first_chunk::<4>().ok_or(WHY)?;
    if signature.is_empty() {
        return Err(WHY);
    }
    Ok((name, *id, signature.to_vec()))
}

/// Something that a note says. The text is canonical: one statement, one text.
pub trait Statement: Sized {
    /// For messages.
    const KIND: &'static str;

    /// The text that is signed, with its final newline.
    fn text(&self) -> String;

    /// The inverse; lenient parsing is caught by formatting again.
    ///
    /// # Errors
    /// What is wrong, in a few words.
    fn parse(text: &str) -> Result<Self, &'static str>;

    /// Whether a key of this name may say so.
    fn belongs_to(&self, name: &KeyName) -> bool;
}

/// A statement that was signed by a pinned key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<S>(S);

impl<S> Verified<S> {
    /// The statement alone, which proves nothing any more.
    pub fn into_inner(self) -> S {
        self.0
    }
}

impl<S> Deref for Verified<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0
    }
}

/// A signed tree head: C2SP tlog-checkpoint without extension lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log; equal to the key's name.
    pub origin: KeyName,
    /// Size and root.
    pub head: Head,
}

impl Statement for Checkpoint {
    const KIND: &'static str = "checkpoint";

    fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.head.size,
            BASE64.encode(self.head.root)
        )
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let [origin, size, root] = lines(text)?;
        let origin = KeyName::new(origin).map_err(|_| "the origin is not a key's name")?;
        let root = BASE64.decode(root).map_err(|_| "the root is not base64")?;
        let root: Hash = root.try_into().map_err(|_| "a root has 32 bytes")?;
        Ok(Checkpoint {
            origin,
            head: Head {
                size: number(size)?,
                root,
            },
        })
    }

    fn belongs_to(&self, name: &KeyName) -> bool {
        self.origin == *name
    }
}

/// That an artifact was made for a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactStatement {
    /// The stack's name.
    pub stack: String,
    /// SHA-256 of the artifact's bytes.
    pub digest: Hash,
}

impl Statement for ArtifactStatement {
    const KIND: &'static str = "artifact signature";

    fn text(&self) -> String {
        format!(
            "{ARTIFACT_DOMAIN}\n{}\nsha256:{}\n",
            self.stack,
            hex(&self.digest)
        )
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let [domain, stack, digest] = lines(text)?;
        if domain != ARTIFACT_DOMAIN {
            return Err("the first line is not `faramesh artifact v1`");
        }
        check_stack_name(stack).map_err(|_| "the second line is not a stack's name")?;
        Ok(ArtifactStatement {
            stack: stack.to_owned(),
            digest: digest_line(digest)?,
        })
    }

    fn belongs_to(&self, name: &KeyName) -> bool {
        KeyName::policy(&self.stack).as_ref() == Ok(name)
    }
}

/// Which artifact is in force from this number on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The stack's name.
    pub stack: String,
    /// Rises with each manifest.
    pub number: u64,
    /// SHA-256 of the artifact's bytes.
    pub digest: Hash,
    /// When it was signed: RFC 3339 in UTC to the second, `2026-01-31T09:30:00Z`.
    pub time: String,
    /// Who signed, as the signing host had it: `name(uid)`.
    pub signed_by: String,
}

impl Statement for Manifest {
    const KIND: &'static str = "manifest";

    fn text(&self) -> String {
        let Manifest {
            stack,
            number,
            digest,
            time,
            signed_by,
        } = self;
        format!(
            "{MANIFEST_DOMAIN}\n{stack}\n{number}\nsha256:{}\n{time}\n{signed_by}\n",
            hex(digest)
        )
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let [domain, stack, manifest_number, digest, time, signed_by] = lines(text)?;
        if domain != MANIFEST_DOMAIN {
            return Err("the first line is not `faramesh manifest v1`");
        }
        check_stack_name(stack).map_err(|_| "the second line is not a stack's name")?;
        if !is_rfc3339_utc(time) {
            return Err("the time is not of the form 2026-01-31T09:30:00Z");
        }
        if signed_by.is_empty() || signed_by.len() > SIGNED_BY_BYTES_MAX {
            return Err("the signer's line is empty or too long");
        }
        Ok(Manifest {
            stack: stack.to_owned(),
            number: number(manifest_number)?,
            digest: digest_line(digest)?,
            time: time.to_owned(),
            signed_by: signed_by.to_owned(),
        })
    }

    fn belongs_to(&self, name: &KeyName) -> bool {
        KeyName::policy(&self.stack).as_ref() == Ok(name)
    }
}

/// Exactly `N` lines, each ended.
fn lines<const N: usize>(text: &str) -> Result<[&str; N], &'static str> {
    let text = text.strip_suffix('\n').ok_or("no newline at the end")?;
    let lines: Vec<&str> = text.split('\n').collect();
    lines.try_into().map_err(|_| "the number of lines is wrong")
}

fn number(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "a number is not decimal digits")
}

fn digest_line(text: &str) -> Result<Hash, &'static str> {
    text.strip_prefix("sha256:")
        .and_then(unhex)
        .ok_or("the digest is not `sha256:` and 64 lower-case hex digits")
}

/// The form and the ranges, not the calendar.
fn is_rfc3339_utc(text: &str) -> bool {
    let pattern = b"0000-00-00T00:00:00Z";
    let shape = text.len() == pattern.len()
        && text.bytes().zip(pattern).all(|(c, p)| {
            if *p == b'0' {
                c.is_ascii_digit()
            } else {
                c == *p
            }
        });
    let field = |range: std::ops::Range<usize>, max: u32| {
        text.get(range)
            .and_then(|digits| digits.parse::<u32>().ok())
            .is_some_and(|value| value <= max)
    };
    shape
        && field(5..7, 12)
        && field(8..10, 31)
        && field(11..13, 23)
        && field(14..16, 59)
        && field(17..19, 60)
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |nibble: u8| {
        DIGITS
            .get(usize::from(nibble))
            .map_or('?', |digit| char::from(*digit))
    };
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Exactly 64 lower-case hex digits.
pub fn unhex(text: &str) -> Option<Hash> {
    // Without a branch on the digits: a journal is read at four of these a record.
    let nibble = |c: u8| match (c.wrapping_sub(b'0'), c.wrapping_sub(b'a')) {
        (digit @ 0..=9, _) => digit,
        (_, letter @ 0..=5) => letter + 10,
        _ => 0xff,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != 32 {
        return None;
    }
    let mut hash = [0; 32];
    let mut wrong = 0;
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        let (high, low) = (nibble(*high), nibble(*low));
        wrong |= (high | low) & 0xf0;
        *byte = high << 4 | (low & 0x0f);
    }
    (wrong == 0).then_some(hash)
}

/// Whether the y of a point's encoding is below the field's prime, 2^255 − 19.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = *bytes;
    high & 0x7f != 0x7f || middle != [0xff; 30] || low < 0xed
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};

    fn signing_key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn log_key(seed: u8) -> PublicKey {
        let bytes = signing_key(seed).verifying_key().to_bytes();
        PublicKey::new(KeyName::origin("shop", &bytes).unwrap(), &bytes).unwrap()
    }

    fn policy_key(seed: u8) -> PublicKey {
        let bytes = signing_key(seed).verifying_key().to_bytes();
        PublicKey::new(KeyName::policy("shop").unwrap(), &bytes).unwrap()
    }

    fn signer(seed: u8) -> impl Fn(&[u8]) -> [u8; 64] {
        move |message| signing_key(seed).sign(message).to_bytes()
    }

    fn checkpoint(key: &PublicKey) -> Checkpoint {
        Checkpoint {
            origin: key.name().clone(),
            head: Head {
                size: 42,
                root: [5; 32],
            },
        }
    }

    fn manifest() -> Manifest {
        Manifest {
            stack: "shop".into(),
            number: 7,
            digest: [3; 32],
            time: "2026-01-31T09:30:00Z".into(),
            signed_by: "root(0)".into(),
        }
    }

    #[test]
    fn a_sealed_checkpoint_opens_and_is_the_published_form() {
        let key = log_key(1);
        let note = key.seal(&checkpoint(&key), signer(1)).unwrap();
        assert_eq!(
            *key.open::<Checkpoint>(note.as_bytes()).unwrap(),
            checkpoint(&key)
        );
        let root = BASE64.encode([5; 32]);
        assert!(
            note.starts_with(&format!(
                "{}\n42\n{root}\n\n\u{2014} {} ",
                key.name(),
                key.name()
            )),
            "{note}"
        );
        assert_eq!(
            unverified_text(note.as_bytes()).unwrap(),
            checkpoint(&key).text()
        );
    }

    #[test]
    fn every_flipped_bit_of_a_note_is_refused() {
        let key = log_key(1);
        let note = key.seal(&checkpoint(&key), signer(1)).unwrap().into_bytes();
        for bit in 0..note.len() * 8 {
            let mut bad = note.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open::<Checkpoint>(&bad).is_err(), "bit {bit}");
        }
        for len in 0..note.len() {
            assert!(
                key.open::<Checkpoint>(&note[..len]).is_err(),
                "cut to {len}"
            );
        }
    }

    #[test]
    fn another_key_another_name_and_another_statement_are_refused() {
        let (key, other) = (log_key(1), log_key(2));
        let note = key.seal(&checkpoint(&key), signer(1)).unwrap();
        assert_eq!(
            other.open::<Checkpoint>(note.as_bytes()),
            Err(Error::NotSignedBy(other.name().to_string()))
        );
        assert!(matches!(
            key.open::<Manifest>(note.as_bytes()),
            Err(Error::Statement { .. })
        ));
        assert!(matches!(
            key.seal(&manifest(), signer(1)),
            Err(Error::WrongKeyName { .. })
        ));
        assert!(matches!(
            key.seal(&checkpoint(&other), signer(1)),
            Err(Error::WrongKeyName { .. })
        ));
        assert!(matches!(
            key.seal(&checkpoint(&key), signer(2)),
            Err(Error::Signature(_))
        ));
    }

    #[test]
    fn artifact_and_manifest_round_trip_and_never_pass_for_each_other() {
        let key = policy_key(3);
        let artifact = ArtifactStatement {
            stack: "shop".into(),
            digest: [3; 32],
        };
        let note = key.seal(&artifact, signer(3)).unwrap();
        assert_eq!(
            key.open::<ArtifactStatement>(note.as_bytes())
                .unwrap()
                .into_inner(),
            artifact
        );
        assert!(key.open::<Manifest>(note.as_bytes()).is_err());
        let note = key.seal(&manifest(), signer(3)).unwrap();
        assert_eq!(
            key.open::<Manifest>(note.as_bytes()).unwrap().into_inner(),
            manifest()
        );
        assert!(key.open::<ArtifactStatement>(note.as_bytes()).is_err());
        assert!(key.open::<Checkpoint>(note.as_bytes()).is_err());
    }

    #[test]
    fn a_signed_text_that_is_not_canonical_is_refused() {
        let key = policy_key(3);
        struct Raw(String);
        impl Statement for Raw {
            const KIND: &'static str = "text";
            fn text(&self) -> String {
                self.0.clone()
            }
            fn parse(text: &str) -> Result<Self, &'static str> {
                Ok(Raw(text.to_owned()))
            }
            fn belongs_to(&self, _: &KeyName) -> bool {
                true
            }
        }
        let good = manifest().text();
        for (what, bad) in [
            ("leading zero", good.replace("\n7\n", "\n07\n")),
            ("plus", good.replace("\n7\n", "\n+7\n")),
            ("negative", good.replace("\n7\n", "\n-7\n")),
            (
                "upper-case hex",
                good.replace("sha256:0303", "sha256:0303".to_uppercase().as_str()),
            ),
            ("another line", format!("{good}more\n")),
            ("month 13", good.replace("2026-01", "2026-13")),
            ("no zone", good.replace("00Z", "00 ")),
            ("other stack", good.replace("shop", "shop2")),
            ("no signer", good.replace("root(0)", "")),
        ] {
            let note = key.seal(&Raw(bad), signer(3)).unwrap();
            assert!(key.open::<Manifest>(note.as_bytes()).is_err(), "{what}");
        }
    }

    #[test]
    fn notes_may_carry_other_signatures_but_not_malformed_ones() {
        let key = log_key(1);
        let note = key.seal(&checkpoint(&key), signer(1)).unwrap();
        let witness = format!("\u{2014} witness.example/w1 {}\n", BASE64.encode([9; 76]));
        key.open::<Checkpoint>(format!("{note}{witness}").as_bytes())
            .unwrap();
        for bad in [
            "rubbish\n",
            "\u{2014} x\n",
            "\u{2014} x AAAA\n",
            "\u{2014} x+y AAAAAAAA\n",
            "\n",
        ] {
            assert!(
                key.open::<Checkpoint>(format!("{note}{bad}").as_bytes())
                    .is_err(),
                "{bad:?}"
            );
        }
        assert!(
            key.open::<Checkpoint>(format!("{note}{}", witness.repeat(16)).as_bytes())
                .is_err()
        );
    }

    #[test]
    fn a_key_line_round_trips_and_its_id_binds_name_and_key() {
        let key = log_key(1);
        assert_eq!(PublicKey::parse_vkey(&key.vkey()).unwrap(), key);
        assert_eq!(
            PublicKey::parse_vkey(&format!("{}\n", key.vkey())).unwrap(),
            key
        );
        for bit in 0..key.vkey().len() * 8 {
            let mut bad = key.vkey().into_bytes();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(bad) = String::from_utf8(bad) {
                assert!(PublicKey::parse_vkey(&bad).is_err(), "{bad}");
            }
        }
    }

    #[test]
    fn the_key_line_of_a_public_log_parses() {
        let line = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        assert_eq!(PublicKey::parse_vkey(line).unwrap().vkey(), line);
    }

    #[test]
    fn small_order_and_non_canonical_keys_are_refused() {
        let name = || KeyName::new("x").unwrap();
        let mut identity = [0; 32];
        identity[0] = 1;
        let zero = [0; 32];
        let mut p_plus_three = [0xff; 32];
        p_plus_three[0] = 0xf0;
        p_plus_three[31] = 0x7f;
        for bytes in [identity, zero, p_plus_three, [0xff; 32]] {
            assert!(
                matches!(PublicKey::new(name(), &bytes), Err(Error::Key(_))),
                "{bytes:02x?}"
            );
        }
    }

    #[test]
    fn names_that_could_break_a_line_or_a_path_are_refused() {
        for stack in [
            "",
            ".",
            "..",
            "-x",
            "a/b",
            "a b",
            "a+b",
            "a\nb",
            "é",
            &"x".repeat(65),
        ] {
            assert!(check_stack_name(stack).is_err(), "{stack:?}");
        }
        for stack in ["a", "support-bot", "A.b_c-9"] {
            check_stack_name(stack).unwrap();
        }
        for name in ["", "a b", "a+b", "a\u{a0}b", "a\nb"] {
            assert!(KeyName::new(name).is_err(), "{name:?}");
        }
    }
}
