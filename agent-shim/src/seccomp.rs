//! The lists of [`crate::syscalls`] as two filters. Both are built by seccompiler, which first kills a process whose
//! call comes from a foreign architecture; the first has a prologue of ours in front that also kills x32, because
//! x32's calls come with the native architecture's mark and only a bit in the number differs.
//!
//! 1. *numbers*: a listed number (allowed or refused) passes, any other answers ENOSYS;
//! 2. *refusals*: a refused number or argument answers EPERM, any other passes.
//!
//! The kernel runs both and takes the stricter answer: kill before errno before allow. No number gets an errno from
//! both, so their order does not matter: a refused number passes the first.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use crate::syscalls::{self, Test};

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum Unfiltered {
    /// Another processor.
    #[error("no system call lists exist for this processor")]
    Architecture,
    /// The lists do not make a program.
    #[error("cannot build the seccomp filter: {0}")]
    Build(#[source] seccompiler::BackendError),
    /// The kernel refuses it.
    #[error("cannot load the seccomp filter: {0}")]
    Load(#[source] seccompiler::Error),
}

/// Both filters, ready to load.
#[derive(Debug)]
pub struct Filters {
    numbers: BpfProgram,
    refusals: BpfProgram,
}

impl Filters {
    /// Builds them; nothing takes effect.
    ///
    /// # Errors
    /// [`Unfiltered::Architecture`], [`Unfiltered::Build`].
    pub fn build() -> Result<Self, Unfiltered> {
        let arch =
            TargetArch::try_from(std::env::consts::ARCH).map_err(|_| Unfiltered::Architecture)?;
        let compile = |rules, otherwise, matched| -> Result<BpfProgram, Unfiltered> {
            SeccompFilter::new(rules, otherwise, matched, arch)
                .and_then(BpfProgram::try_from)
                .map_err(Unfiltered::Build)
        };
        let listed = syscalls::allowed()
            .chain(syscalls::refused())
            .map(|number| (number, Vec::new()))
            .collect();
        let numbers = compile(
            listed,
            SeccompAction::Errno(libc::ENOSYS as u32),
            SeccompAction::Allow,
        )?;
        let refusals = compile(
            refusals().map_err(Unfiltered::Build)?,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EPERM as u32),
        )?;
        Ok(Self {
            numbers: [foreign_prologue(), numbers].concat(),
            refusals,
        })
    }

    /// Puts them on the calling process, for good.
    ///
    /// # Errors
    /// [`Unfiltered::Load`].
    pub fn load(&self) -> Result<(), Unfiltered> {
        seccompiler::apply_filter(&self.numbers).map_err(Unfiltered::Load)?;
        seccompiler::apply_filter(&self.refusals).map_err(Unfiltered::Load)
    }
}

fn refusals() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = syscalls::refused()
        .map(|number| (number, Vec::new()))
        .collect();
    for &(number, argument, test) in syscalls::REFUSED_ARGUMENTS {
        let condition = |op, value: u32| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value.into())
        };
        let conditions = match test {
            Test::Is(value) => vec![condition(SeccompCmpOp::Eq, value)?],
            Test::Has(bit) => vec![condition(SeccompCmpOp::MaskedEq(bit.into()), bit)?],
            Test::IsNot(values) => values
                .iter()
                .map(|value| condition(SeccompCmpOp::Ne, *value))
                .collect::<Result<_, _>>()?,
        };
        rules
            .entry(number)
            .or_default()
            .push(SeccompRule::new(conditions)?);
    }
    Ok(rules)
}

/// Kills a call of a foreign architecture, and one whose number has x32's bit; everything else falls through to what
/// follows. Jumps are relative, so the program behind it is unchanged. Number -1 (what a tracer leaves of a call that
/// it cancelled) is no x32 call.
///
/// `struct seccomp_data` (linux/seccomp.h): the number is at offset 0, the architecture at 4.
fn foreign_prologue() -> BpfProgram {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const JUMP_IF_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const X32_BIT: u32 = 0x4000_0000;
    if !cfg!(target_arch = "x86_64") {
        return Vec::new(); // only x86_64 has a second ABI under its own mark
    }
    vec![
        sock_filter {
            code: LOAD,
            jt: 0,
            jf: 0,
            k: 0,
        },
        sock_filter {
            code: JUMP_IF_EQUAL,
            jt: 2,
            jf: 0,
            k: u32::MAX,
        },
        sock_filter {
            code: JUMP_IF_SET,
            jt: 0,
            jf: 1,
            k: X32_BIT,
        },
        sock_filter {
            code: RETURN,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_KILL_PROCESS,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_filters_fit_the_kernels_limit() {
        const BPF_MAXINSNS: usize = 4096;
        let filters = Filters::build().unwrap();
        assert!(
            filters.numbers.len() <= BPF_MAXINSNS,
            "{}",
            filters.numbers.len()
        );
        assert!(
            filters.refusals.len() <= BPF_MAXINSNS,
            "{}",
            filters.refusals.len()
        );
    }
}
