//! `faramesh dev`: check, apply and serve in the foreground, in development mode also where root could do more.
#![forbid(unsafe_code)]

use crate::args::{Global, NameArgs};
use crate::commands::{apply, plan, serve};
use crate::failure::Failure;
use crate::layout::Layout;
use crate::output::Output;
use crate::source;
use crate::stack;
use faramesh_daemon::config::Config;

/// Applies and serves.
///
/// # Errors
/// What `apply` and `serve` say.
pub fn run(global: &Global, args: &NameArgs, output: &Output) -> Result<u8, Failure> {
    let (layout, config) = prepare(global, args.name.as_deref(), output)?;
    serve::serve(&layout, &config, output)
}

/// Checks and applies the development set-up. It does not run yet, so whatever is applied comes into force at its start.
///
/// # Errors
/// The policy has errors, or a step of `apply` failed.
pub fn prepare(
    global: &Global,
    name: Option<&str>,
    output: &Output,
) -> Result<(Layout, Config), Failure> {
    let mut layout = stack::development_to_apply(global, name)?;
    apply::loud(&layout, output);
    let (compiled, _) = source::compile_valid(&layout.source(), output)?;
    if let (plan::InForce::Decides(_), _) = plan::in_force(&layout)? {
        return Err(crate::supervise::already_running(&layout));
    }
    apply::apply(&mut layout, &compiled, None, output)?;
    let config = serve::load(&layout)?;
    Ok((layout, config))
}
