//! Bytes to a call: parsed and bounded at the door.
