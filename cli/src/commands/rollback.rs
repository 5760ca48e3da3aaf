//! `faramesh rollback`: an older policy in force again.
//!
//! There is no way back in the numbers: the older artifact gets a new manifest with a higher one, and goes through every
//! step of [`apply`], so that a refused activation leaves the policy in force where it is and uses the number up.
#![forbid(unsafe_code)]

use crate::args::{Global, RollbackArgs};
use crate::changes;
use crate::commands::policy::{Known, State};
use crate::commands::{apply, plan};
use crate::constructs::Places;
use crate::failure::{Failure, exit};
use crate::output::Output;
use crate::policies::{self, digest_text};
use crate::source::Compiled;
use crate::stack;
use crate::untrusted::Untrusted;
use faramesh_core::checkpoint::Manifest;
use faramesh_policy_compiler::SourceMap;
use std::io::{BufRead, IsTerminal, Write};

/// Shows what changes, asks, and applies.
///
/// # Errors
/// There is nothing to go back to, it cannot be trusted or enforced, or a step of apply failed: the policy in force
/// keeps deciding.
pub fn run(global: &Global, args: &RollbackArgs, output: &Output) -> Result<u8, Failure> {
    let mut layout = stack::to_apply(global, None)?;
    if !layout.stack_toml().exists() {
        return Err(Failure::unavailable(format!(
            "no policy of `{}` was applied yet",
            layout.dir.display()
        ))
        .next("run `faramesh apply`"));
    }
    let known = Known::of(&layout)?;
    let target = target(&known, args.to)?;
    let (artifact, stored) = policies::stored(&layout, &target.digest)?;
    apply::capabilities(&layout, &artifact, &Places::default())?;
    let before = known
        .in_force()
        .map(|named| policies::artifact(&layout, &named.digest))
        .transpose()?;
    output.line(format!(
        "{}: back to {} {}, signed {} by {}",
        layout.stack,
        target.number,
        digest_text(&target.digest),
        Untrusted(&target.time),
        Untrusted(&target.signed_by)
    ));
    plan::print(&changes::between(before.as_ref(), &artifact), output);
    plan::print_meaning(before.as_ref(), &artifact, output);
    confirmed(args, output)?;
    let compiled = Compiled {
        artifact,
        stored,
        map: SourceMap::default(),
        places: Places::default(),
    };
    let (outcome, applied) = apply::apply(&mut layout, &compiled, None, output)?;
    apply::report(&layout, &compiled, &outcome, applied, output);
    Ok(exit::OK)
}

/// The manifest to go back to: the one that was asked for, or the newest before the one in force that says another
/// thing and was not refused.
fn target(known: &Known, to: Option<u64>) -> Result<Manifest, Failure> {
    let in_force = known.in_force();
    if let Some(number) = to {
        let manifest = known.manifest(number)?;
        if in_force.is_some_and(|named| named.digest == manifest.digest) {
            return Err(Failure::data(format!(
                "{number} is the policy in force: {}",
                digest_text(&manifest.digest)
            ))
            .next("`faramesh policy list` shows every one"));
        }
        return Ok(manifest.clone());
    }
    let Some(in_force) = in_force else {
        return Err(
            Failure::data("nothing is in force, so nothing comes before it")
                .next("name a number with --to"),
        );
    };
    known
        .written
        .iter()
        .filter(|written| {
            written.number < in_force.number && known.state(written) != State::Refused
        })
        .filter_map(|written| written.manifest.as_ref().ok())
        .find(|manifest| manifest.digest != in_force.digest)
        .cloned()
        .ok_or_else(|| {
            Failure::data(format!(
                "no other policy was in force before {}",
                in_force.number
            ))
            .next("`faramesh policy list` shows every one")
        })
}

/// A person at a terminal is asked; anybody else has said `--yes`.
fn confirmed(args: &RollbackArgs, output: &Output) -> Result<(), Failure> {
    if args.yes {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if output.is_json() || !stdin.is_terminal() {
        return Err(
            Failure::usage("nobody can be asked here, so nothing was changed")
                .next("say --yes to go back without being asked"),
        );
    }
    // The question is no part of the result.
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "put it in force? [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::usage("not confirmed, so nothing was changed")),
    }
}
