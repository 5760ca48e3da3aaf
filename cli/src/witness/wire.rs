//! The body of `add-checkpoint` (C2SP tlog-witness): the size that the witness is believed to know, the proof from
//! there, an empty line, the checkpoint.
#![forbid(unsafe_code)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use faramesh_core::checkpoint::NOTE_BYTES_MAX;
use faramesh_core::tree::Hash;

/// The path that is posted to.
pub const ADD_CHECKPOINT: &str = "/add-checkpoint";
/// The content type of a 409 that says how many records the witness knows.
pub const SIZE_TYPE: &str = "text/x.tlog.size";
/// The specification's limit: a tree has fewer than 2^63 leaves.
pub const PROOF_MAX: usize = 63;
/// The size line, the proof's lines of 45 bytes, an empty line, a note.
pub const BODY_BYTES_MAX: usize = 64 + PROOF_MAX * 45 + NOTE_BYTES_MAX;

/// What is asked of a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Records of the checkpoint that the witness cosigned last, as the asker believes.
    pub old: u64,
    /// From there to the checkpoint, RFC 6962 section 2.1.2.
    pub proof: Vec<Hash>,
    /// The checkpoint with its signatures, as it came.
    pub note: Vec<u8>,
}

impl Submission {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong, in a few words: a 400.
    pub fn parse(body: &[u8]) -> Result<Submission, &'static str> {
        if body.len() > BODY_BYTES_MAX {
            return Err("the body is too long");
        }
        let (first, mut rest) = line(body).ok_or("no line with the old size")?;
        let old = first
            .strip_prefix("old ")
            .and_then(size)
            .ok_or("the first line is not `old` and a size")?;
        let mut proof = Vec::new();
        loop {
            let (text, behind) = line(rest).ok_or("no empty line before the checkpoint")?;
            rest = behind;
            if text.is_empty() {
                break;
            }
            if proof.len() >= PROOF_MAX {
                return Err("the proof has more than 63 lines");
            }
            let hash = BASE64
                .decode(text)
                .ok()
                .and_then(|bytes| Hash::try_from(bytes).ok())
                .ok_or("a line of the proof is not a hash in base64")?;
            proof.push(hash);
        }
        Ok(Submission {
            old,
            proof,
            note: rest.to_vec(),
        })
    }

    /// The body.
    pub fn body(&self) -> Vec<u8> {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            text.push_str(&BASE64.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        let mut body = text.into_bytes();
        body.extend_from_slice(&self.note);
        body
    }
}

/// The first line without its end, and what follows.
fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(end)?;
    Some((std::str::from_utf8(line).ok()?, rest.get(1..)?))
}

/// A size in decimal digits, without leading zeros.
pub fn size(text: &str) -> Option<u64> {
    let sane = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    sane.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission() -> Submission {
        Submission {
            old: 20_852_014,
            proof: vec![[1; 32], [2; 32]],
            note: b"a\n1\nb\n\n\xe2\x80\x94 a b\n".to_vec(),
        }
    }

    #[test]
    fn a_submission_survives_its_own_body() {
        let body = submission().body();
        assert_eq!(Submission::parse(&body), Ok(submission()));
        assert!(body.starts_with(b"old 20852014\nAQEB"));
        let first = Submission {
            old: 0,
            proof: vec![],
            ..submission()
        };
        assert!(first.body().starts_with(b"old 0\n\na\n"));
        assert_eq!(Submission::parse(&first.body()), Ok(first));
    }

    #[test]
    fn what_is_not_exactly_of_the_form_is_refused() {
        let body = |head: &str| [head.as_bytes(), &submission().note].concat();
        let hash = BASE64.encode([1; 32]);
        for head in [
            "",
            "\n",
            "old\n\n",
            "old -1\n\n",
            "old +1\n\n",
            "old 01\n\n",
            "old 1 \n\n",
            "old 1\r\n\r\n",
            "old  1\n\n",
            "new 1\n\n",
            "old 18446744073709551616\n\n",
            "old 1\nAQ==\n\n",
            &format!("old 1\n{hash} \n\n"),
            &format!("old 1\n{}\n", format!("{hash}\n").repeat(64)),
        ] {
            assert!(Submission::parse(&body(head)).is_err(), "{head:?}");
        }
        let most = format!("old 1\n{}\n", format!("{hash}\n").repeat(63));
        assert_eq!(Submission::parse(&body(&most)).unwrap().proof.len(), 63);
        assert!(Submission::parse(b"old 1").is_err());
        assert!(Submission::parse(&vec![b'o'; BODY_BYTES_MAX + 1]).is_err());
    }
}
