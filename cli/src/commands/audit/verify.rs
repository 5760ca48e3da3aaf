//! stub
use crate::args::{Global, VerifyArgs};
use crate::failure::Failure;
use crate::output::Output;
/// stub
pub fn run(_: &Global, _: &VerifyArgs, _: &Output) -> Result<u8, Failure> {
    Err(Failure::internal("not yet"))
}
